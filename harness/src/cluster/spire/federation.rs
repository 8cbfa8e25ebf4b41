//! Federation, as a SPIRE server's command line does it: bundles shown, set and deleted, and the entries that
//! are given those of other trust domains.

use serde_json::Value;

use super::{Entries, OK, Server, SpireError, Wanted, document};

impl Server {
    /// The trust domain's own bundle, as a document (SPIFFE Trust Domain and Bundle, section 4).
    pub async fn bundle(&self) -> Result<Value, SpireError> {
        self.parsed(&self.run(&["bundle", "show", "-format", "spiffe"], &Value::Null).await?)
    }

    /// Takes another trust domain's bundle in, or the newer one in the place of that which is there.
    pub async fn trust(&self, trust_domain: &str, bundle: &Value) -> Result<(), SpireError> {
        let id = format!("spiffe://{trust_domain}");
        self.run(&["bundle", "set", "-id", &id, "-format", "spiffe"], bundle).await.map(drop)
    }

    /// Deletes another trust domain's bundle where there is one, and takes it from the entries that have it.
    pub async fn distrust(&self, trust_domain: &str) -> Result<(), SpireError> {
        let shown: Entries =
            self.parsed(&self.run(&["bundle", "list", "-output", "json"], &Value::Null).await?)?;
        if !shown.bundles.iter().any(|bundle| bundle.trust_domain == trust_domain) {
            return Ok(());
        }
        let id = format!("spiffe://{trust_domain}");
        self.run(&["bundle", "delete", "-id", &id, "-mode", "dissociate"], &Value::Null).await.map(drop)
    }

    /// Gives entries that [`Server::create`] made the bundles of these trust domains, as far as each wants
    /// them. They must be there.
    pub async fn federate(
        &self,
        trust_domain: &str,
        prefix: &str,
        entries: &[Wanted],
        with: &[String],
    ) -> Result<(), SpireError> {
        let (document, given) = federated(trust_domain, prefix, entries, with);
        if given.is_empty() {
            return Ok(());
        }
        let answer = self.run(&["entry", "update", "-data", "-", "-output", "json"], &document).await?;
        for (result, one) in self.results(&answer)?.iter().zip(given) {
            if result.status.code != OK {
                let (code, message) = (result.status.code, result.status.message.clone());
                return Err(SpireError::Refused {
                    server: self.name(),
                    id: one.entry.id.clone(),
                    message,
                    code,
                });
            }
        }
        Ok(())
    }
}

/// The document that `entry update -data -` reads, of those entries that get a bundle; and these.
fn federated<'a>(
    trust_domain: &str,
    prefix: &str,
    entries: &'a [Wanted],
    with: &[String],
) -> (Value, Vec<&'a Wanted>) {
    let mut document = document(trust_domain, prefix, entries);
    let made = document["entries"].as_array_mut().map(std::mem::take).unwrap_or_default();
    let given = made.into_iter().zip(entries).filter_map(|(mut made, one)| {
        let with = with.iter().filter(|domain| one.entry.federates_with.contains(domain));
        let with: Vec<_> = with.map(|domain| Value::from(format!("spiffe://{domain}"))).collect();
        let wanted = !with.is_empty();
        made["federates_with"].as_array_mut()?.extend(with);
        wanted.then_some((made, one))
    });
    let (made, given): (Vec<_>, Vec<_>) = given.unzip();
    document["entries"] = made.into();
    (document, given)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::spire::under;
    use crate::scenario::Entry;

    #[test]
    fn each_entry_is_given_the_bundles_that_it_wants_and_that_are_there() {
        let entry = |id: &str, with: &str| -> Entry {
            serde_saphyr::from_str(&format!("{{id: {id}, select: ['k8s:ns:shop'], federates-with: {with}}}"))
                .unwrap()
        };
        let entries = [
            entry("/none", "[]"),
            entry("/both", "[a.example, b.example, c.example]"),
            entry("/b", "[b.example]"),
        ];
        let turns = ["a.example", "b.example"].map(ToOwned::to_owned);
        let entries: Vec<_> =
            under(&entries, &["/agent"]).into_iter().map(|one| one.by_turns(&turns)).collect();
        let of = |with: &[&str]| {
            let with: Vec<_> = with.iter().map(|one| (*one).to_owned()).collect();
            let (document, given) = federated("example.org", "run-", &entries, &with);
            let ids: Vec<_> = given.iter().map(|one| one.entry.id.clone()).collect();
            (document["entries"].clone(), ids)
        };
        assert_eq!(of(&[]), (json!([]), vec![]));
        let (document, ids) = of(&["a.example"]);
        assert_eq!(ids, ["/both"]);
        // The entry that was created, by its ID, with all that it had.
        let created = super::document("example.org", "run-", &entries);
        assert_eq!(document[0]["entry_id"], created["entries"][1]["entry_id"]);
        assert_eq!(created["entries"][1]["federates_with"], json!(["spiffe://c.example"]));
        assert_eq!(document[0]["selectors"], json!([{"type": "k8s", "value": "ns:shop"}]));
        assert_eq!(document[0]["federates_with"], json!(["spiffe://c.example", "spiffe://a.example"]));
        let (document, ids) = of(&["b.example", "a.example"]);
        assert_eq!(ids, ["/both", "/b"]);
        assert_eq!(
            document[0]["federates_with"],
            json!(["spiffe://c.example", "spiffe://b.example", "spiffe://a.example"])
        );
    }
}
