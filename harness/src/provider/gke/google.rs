//! What is read of Google's REST APIs: which clusters are svidproof's, and what of a run is still there.
//! Making and destroying is Terraform's.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::credentials::{self, Token};
use super::{Env, GkeError};
use crate::cluster::kube::Balancer;

/// The labels of terraform/gke: whose a thing is, and when it may be taken for lost, in seconds since 1970.
pub(super) const LABEL: &str = "svidproof";
pub(super) const EXPIRES: &str = "svidproof-expires";
/// The label that GKE itself gives to what it makes for a cluster (GKE documentation, "Creating and managing
/// labels").
const OF_GKE: &str = "goog-k8s-cluster-name";
const ANSWER: Duration = Duration::from_secs(30);

/// Google's services, each where it is and the variable by which its Terraform provider is told another
/// place.
const COMPUTE: [&str; 2] = ["GOOGLE_COMPUTE_CUSTOM_ENDPOINT", "https://compute.googleapis.com/compute/v1/"];
const CONTAINER: [&str; 2] = ["GOOGLE_CONTAINER_CUSTOM_ENDPOINT", "https://container.googleapis.com/v1/"];
const IAM: [&str; 2] = ["GOOGLE_IAM_CUSTOM_ENDPOINT", "https://iam.googleapis.com/v1/"];
const CLUSTERS: &str = "locations/-/clusters";
/// All that lead somewhere else.
pub(super) const ENDPOINTS: [&str; 3] = [COMPUTE[0], CONTAINER[0], IAM[0]];

/// One project, and who asks.
pub(super) struct Google<'a> {
    env: &'a Env,
    project: &'a str,
    http: reqwest::Client,
    token: Token,
}

/// A cluster that svidproof made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// `svidproof-` and the run's ID, unless its user named it.
    pub name: String,
    /// Its region.
    pub location: String,
    /// When it may be taken for lost; absent where that was not said.
    pub expires: Option<jiff::Timestamp>,
}

/// What is still there, in words.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Left(pub String);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    #[serde(default)]
    items: Value,
    #[serde(default)]
    clusters: Value,
    #[serde(default)]
    accounts: Value,
    next_page_token: Option<String>,
    /// Kubernetes Engine's: zones whose clusters are not in the list.
    #[serde(default)]
    missing_zones: Vec<String>,
    /// Compute Engine's: places whose things are not.
    #[serde(default)]
    unreachables: Vec<String>,
}

/// What did not answer, though the list was given.
fn silent(pages: &[Page]) -> Vec<String> {
    pages.iter().flat_map(|page| page.missing_zones.iter().chain(&page.unreachables).cloned()).collect()
}

impl<'a> Google<'a> {
    /// With a token of the credentials that this machine has.
    pub(super) async fn open(env: &'a Env, project: &'a str) -> Result<Self, GkeError> {
        let token = credentials::token(env).await?;
        let http = reqwest::Client::builder()
            .timeout(ANSWER)
            .build()
            .map_err(|source| GkeError::Asked { what: "anything".into(), source })?;
        Ok(Self { env, project, http, token })
    }

    /// Whether the account is let in at all.
    pub(super) async fn greets(&self) -> Result<(), GkeError> {
        self.asked(CONTAINER, CLUSTERS, "").await.map(drop)
    }

    /// The project's clusters that carry svidproof's label, in any region.
    pub(super) async fn clusters(&self) -> Result<Vec<Made>, GkeError> {
        let pages = self.pages(CONTAINER, CLUSTERS, "").await?;
        let all = pages.iter().flat_map(|page| page.clusters.as_array().into_iter().flatten());
        Ok(all.filter_map(made).collect())
    }

    /// Everything that carries the label of the run's cluster, or by its name or address must be the run's:
    /// of every kind that terraform/gke makes, or that GKE makes for a cluster.
    pub(super) async fn carrying(&self, name: &str, balancers: &[Balancer]) -> Result<Vec<Left>, GkeError> {
        let mut left: Vec<_> = self
            .clusters()
            .await?
            .into_iter()
            .filter(|one| one.name == name)
            .map(|one| Left(format!("cluster {} in {}", one.name, one.location)))
            .collect();
        let labelled = format!("(labels.{LABEL} = \"{name}\") OR (labels.{OF_GKE} = \"{name}\")");
        for kind in ["instances", "disks", "addresses"] {
            left.extend(self.aggregated(kind, &labelled).await?.iter().map(|one| of_compute(kind, one)));
        }
        let rules = self.aggregated("forwardingRules", &labelled).await?;
        left.extend(rules.iter().map(|one| of_compute("forwardingRules", one)));
        // A Service's load balancer need not carry a label.
        if !balancers.is_empty() {
            let all = self.aggregated("forwardingRules", "").await?;
            let ours = all.iter().filter(|rule| balancers.iter().any(|one| is_for(rule, one)));
            left.extend(ours.map(|one| of_compute("forwardingRules", one)));
        }
        let named = format!("name = \"{name}\"");
        for kind in ["routers", "subnetworks"] {
            left.extend(self.aggregated(kind, &named).await?.iter().map(|one| of_compute(kind, one)));
        }
        for page in self.pages(COMPUTE, "global/networks", &named).await? {
            let all = page.items.as_array().cloned().unwrap_or_default();
            left.extend(all.iter().map(|one| of_compute("networks", one)));
        }
        // GKE's own, of load balancers and nodes, which hold the network back.
        for page in self.pages(COMPUTE, "global/firewalls", "").await? {
            let all = page.items.as_array().into_iter().flatten();
            let ours = all.filter(|one| is_in(one, name));
            left.extend(ours.map(|one| of_compute("firewalls", one)));
        }
        let account = format!("{}@", account(name));
        for page in self.pages(IAM, "serviceAccounts", "").await? {
            let emails =
                page.accounts.as_array().into_iter().flatten().filter_map(|one| one["email"].as_str());
            let ours = emails.filter(|email| email.starts_with(&account));
            left.extend(ours.map(|email| Left(format!("service account {email}"))));
        }
        left.sort();
        left.dedup();
        Ok(left)
    }

    /// Of all regions and zones.
    async fn aggregated(&self, kind: &str, filter: &str) -> Result<Vec<Value>, GkeError> {
        let pages = self.pages(COMPUTE, &format!("aggregated/{kind}"), filter).await?;
        let scopes = pages.into_iter().flat_map(|page| match page.items {
            Value::Object(scopes) => scopes.into_iter().map(|(_, scope)| scope).collect(),
            _ => vec![],
        });
        let of = |mut scope: Value| match scope[kind].take() {
            Value::Array(all) => all,
            _ => vec![],
        };
        Ok(scopes.flat_map(of).collect())
    }

    /// All of them, and of every place: what is not in such a list is not there.
    async fn pages(&self, service: [&str; 2], path: &str, filter: &str) -> Result<Vec<Page>, GkeError> {
        let pages = self.asked(service, path, filter).await?;
        match silent(&pages) {
            silent if silent.is_empty() => Ok(pages),
            silent => Err(GkeError::Partial { what: path.into(), silent }),
        }
    }

    async fn asked(&self, service: [&str; 2], path: &str, filter: &str) -> Result<Vec<Page>, GkeError> {
        let [variable, default] = service;
        let base = self.env.of(variable).unwrap_or_else(|| default.to_owned());
        let url = format!("{base}projects/{}/{path}", self.project);
        let (mut pages, mut next) = (vec![], None::<String>);
        loop {
            let mut query = BTreeMap::new();
            if !filter.is_empty() {
                query.insert("filter", filter);
            }
            if let Some(next) = &next {
                query.insert("pageToken", next);
            }
            let asked = self.http.get(&url).bearer_auth(&self.token.text).query(&query).send();
            let failed = |source| GkeError::Asked { what: url.clone(), source };
            let answer = asked.await.map_err(failed)?;
            let (status, said) = (answer.status(), answer.text().await.map_err(failed)?);
            if !status.is_success() {
                return Err(GkeError::Answered { what: url, status: status.as_u16(), said: in_words(&said) });
            }
            let page: Page = serde_json::from_str(&said)
                .map_err(|source| GkeError::Unread { what: url.clone(), source })?;
            next.clone_from(&page.next_page_token);
            pages.push(page);
            if next.as_deref().is_none_or(str::is_empty) {
                return Ok(pages);
            }
        }
    }
}

/// The account of a cluster's nodes, as terraform/gke names it.
fn account(name: &str) -> String {
    format!("svidproof-{}", &hex::encode(Sha256::digest(name))[..12])
}

fn made(cluster: &Value) -> Option<Made> {
    let labels = &cluster["resourceLabels"];
    let name = labels[LABEL].as_str()?.to_owned();
    let location = cluster["location"].as_str().unwrap_or_default().to_owned();
    let expires = labels[EXPIRES].as_str().and_then(|text| text.parse().ok());
    Some(Made { name, location, expires: expires.and_then(|at| jiff::Timestamp::from_second(at).ok()) })
}

/// Whether a forwarding rule is that of a Service that had this address: an address alone may be another's by
/// now. What a rule is for, its description says (Kubernetes' cloud provider for GCP).
fn is_for(rule: &Value, balancer: &Balancer) -> bool {
    rule["IPAddress"] == balancer.address.as_str()
        && rule["description"]
            .as_str()
            .is_some_and(|said| said.contains(&format!("\"{}\"", balancer.service)))
}

fn is_in(item: &Value, network: &str) -> bool {
    item["network"].as_str().and_then(|link| link.rsplit('/').next()) == Some(network)
}

fn of_compute(kind: &str, item: &Value) -> Left {
    let last = |key: &str| item[key].as_str().and_then(|text| text.rsplit('/').next()).map(ToOwned::to_owned);
    let place = last("zone").or_else(|| last("region"));
    let kind = match kind {
        "instances" => "machine",
        "disks" => "disk",
        "addresses" => "address",
        "forwardingRules" => "load balancer's forwarding rule",
        "routers" => "router",
        "subnetworks" => "subnet",
        other => other.trim_end_matches('s'),
    };
    let name = item["name"].as_str().unwrap_or_default();
    Left(format!("{kind} {name}{}", place.map(|place| format!(" in {place}")).unwrap_or_default()))
}

/// Google's own words (Google Cloud APIs, "Errors"), or the whole answer.
fn in_words(said: &str) -> String {
    let read: Option<Value> = serde_json::from_str(said).ok();
    let words = read.as_ref().and_then(|read| read["error"]["message"].as_str());
    words.unwrap_or(said).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_cluster_is_svidproofs_by_its_label() {
        let cluster = json!({"name": "c", "location": "us-central1",
            "resourceLabels": {"svidproof": "svidproof-0a", "svidproof-expires": "1700000000"}});
        let expires = jiff::Timestamp::from_second(1_700_000_000).ok();
        let expected = Made { name: "svidproof-0a".into(), location: "us-central1".into(), expires };
        assert_eq!(made(&cluster), Some(expected));
        assert_eq!(made(&json!({"name": "c", "resourceLabels": {"team": "a"}})), None);
        assert_eq!(made(&json!({"name": "c"})), None);
    }

    #[test]
    fn a_forwarding_rule_is_ours_by_address_and_service() {
        let balancer = Balancer { service: "proxy/proxy".into(), address: "203.0.113.7".into() };
        let rule = |address: &str, service: &str| {
            let description = format!("{{\"kubernetes.io/service-name\":\"{service}\"}}");
            json!({"name": "a1", "IPAddress": address, "description": description})
        };
        assert!(is_for(&rule("203.0.113.7", "proxy/proxy"), &balancer));
        assert!(!is_for(&rule("203.0.113.8", "proxy/proxy"), &balancer), "another's address");
        assert!(!is_for(&rule("203.0.113.7", "web/proxy"), &balancer), "the address is another's by now");
    }

    /// Of a place that did not answer nobody knows what is left there.
    #[test]
    fn a_list_without_a_place_is_not_whole() {
        let page = |said: Value| serde_json::from_value::<Page>(said).unwrap();
        assert_eq!(silent(&[page(json!({"clusters": []}))]), Vec::<String>::new());
        let pages =
            [page(json!({"missingZones": ["us-central1-f"]})), page(json!({"unreachables": ["regions/b"]}))];
        assert_eq!(silent(&pages), ["us-central1-f", "regions/b"]);
    }

    #[test]
    fn a_firewall_is_ours_by_its_network() {
        let firewall =
            json!({"name": "k8s-fw-a1", "network": "https://x/compute/v1/projects/p/global/networks/n"});
        assert!(is_in(&firewall, "n") && !is_in(&firewall, "k") && !is_in(&json!({"name": "n"}), "n"));
    }

    #[test]
    fn what_is_left_is_said_with_its_place() {
        let disk = json!({"name": "pvc-1", "zone": "https://x/compute/v1/projects/p/zones/us-central1-a"});
        assert_eq!(of_compute("disks", &disk), Left("disk pvc-1 in us-central1-a".into()));
        assert_eq!(of_compute("networks", &json!({"name": "n"})), Left("network n".into()));
    }

    /// terraform/gke: `substr(sha256(var.name), 0, 12)`.
    #[test]
    fn the_nodes_account_is_called_as_terraform_calls_it() {
        assert_eq!(account("svidproof-1f2e3d4c").len(), "svidproof-".len() + 12);
        assert!(account("abc").ends_with("-ba7816bf8f01"), "SHA-256 of `abc`, FIPS 180-2, appendix B.1");
    }
}
