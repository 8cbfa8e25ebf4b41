//! Federation, as a SPIRE server's command line does it: bundles shown, set and deleted, and entries that are
//! given those of other trust domains.

use serde::Deserialize;
use serde_json::Value;

use super::{OK, Server, SpireError, Wanted, document};

impl Server {
    /// The trust domain's own bundle, as a document (SPIFFE Trust Domain and Bundle, section 4).
    pub async fn bundle(&self) -> Result<Value, SpireError> {
        self.parsed(&self.run(&["bundle", "show", "-format", "spiffe"], &Value::Null).await?)
    }

    /// The other trust domains whose bundles it has.
    pub async fn trusted(&self) -> Result<Vec<String>, SpireError> {
        let listed: Bundles =
            self.parsed(&self.run(&["bundle", "list", "-output", "json"], &Value::Null).await?)?;
        Ok(listed.bundles.into_iter().map(|bundle| bundle.trust_domain).collect())
    }

    /// Takes another trust domain's bundle in, or the newer one in the place of that which is there.
    pub async fn trust(&self, trust_domain: &str, bundle: &Value) -> Result<(), SpireError> {
        let id = format!("spiffe://{trust_domain}");
        self.run(&["bundle", "set", "-id", &id, "-format", "spiffe"], bundle).await.map(drop)
    }

    /// Deletes another trust domain's bundle where there is one, and takes it from the entries that have it.
    pub async fn distrust(&self, trust_domain: &str) -> Result<(), SpireError> {
        if !self.trusted().await?.iter().any(|one| one == trust_domain) {
            return Ok(());
        }
        let id = format!("spiffe://{trust_domain}");
        self.run(&["bundle", "delete", "-id", &id, "-mode", "dissociate"], &Value::Null).await.map(drop)
    }

    /// Makes entries that [`Server::create`] made what is wanted now.
    pub async fn update(
        &self,
        trust_domain: &str,
        prefix: &str,
        wanted: &[Wanted],
    ) -> Result<(), SpireError> {
        if wanted.is_empty() {
            return Ok(());
        }
        let document = document(trust_domain, prefix, wanted);
        let answer = self.run(&["entry", "update", "-data", "-", "-output", "json"], &document).await?;
        for (result, one) in self.results(&answer)?.into_iter().zip(wanted) {
            if result.status.code != OK {
                let (id, code, message) = (one.entry.id.clone(), result.status.code, result.status.message);
                return Err(SpireError::Refused { server: self.name(), id, message, code });
            }
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct Bundles {
    #[serde(default)]
    bundles: Vec<Bundle>,
}

#[derive(Deserialize)]
struct Bundle {
    trust_domain: String,
}
