//! Google Kubernetes Engine, through `terraform/gke`. What of it ran against Google and what against a
//! stand-in says docs/gke.md.

mod asked;
mod credentials;
mod google;

pub use asked::Asked;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Cluster, ClusterOptions, Provider, ProviderError, Site};
use crate::cluster::kube::{Balancer, Kube, KubeError};
use crate::lease::{Lease, Place, Thing};
use crate::provider::terraform::{Terraform, TerraformError};
use crate::sys::chain;
use crate::sys::files;
use crate::sys::progress::Progress;
use crate::sys::wait::{self, Look, TimedOut};
pub use google::Made;
use google::{Google, Left};

/// The subcommand that a cluster's kubeconfig fetches its tokens by.
pub const TOKEN: &str = "gke-token";
/// What leads to credentials and services, and must be the same when the cluster is destroyed.
const WAY: [&str; 5] = [
    "GOOGLE_APPLICATION_CREDENTIALS",
    "CLOUDSDK_CONFIG",
    "TF_CLI_CONFIG_FILE",
    "GOOGLE_BACKEND_STORAGE_CUSTOM_ENDPOINT",
    "GOOGLE_STORAGE_CUSTOM_ENDPOINT",
];
/// Who tells from which address a machine comes, in one line, and where another of them is named.
const ADDRESS: [&str; 2] = ["SVIDPROOF_ADDRESS_FROM", "https://checkip.amazonaws.com"];
const ANSWER: Duration = Duration::from_secs(10);
/// Google's lists may be behind what was done.
const LAG: Duration = Duration::from_secs(30);
const AGAIN: Duration = Duration::from_secs(3);
/// A cluster that does not answer for so long while it is to be taken down is taken down all the same.
const REACHED: Duration = Duration::from_secs(30);
/// How long the Terraform of a run that was killed may still take: Google's own limit for a cluster is
/// longer, and it takes 10 minutes as a rule.
const LAST: Duration = Duration::from_mins(30);
/// What the run's load balancers were, beside its state: when the cluster is gone, nobody else can say.
const BALANCERS: &str = "balancers.json";

/// What was not to be had of Google.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what it is about")]
pub enum GkeError {
    #[error(
        "no Google credentials are found\n\
         hint: `gcloud auth application-default login` makes some; GOOGLE_APPLICATION_CREDENTIALS names a \
         file of them"
    )]
    NoCredentials(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error(
        "the Google credentials in {} are of no use: {why}\n\
         hint: GOOGLE_APPLICATION_CREDENTIALS names the file; `gcloud auth application-default login` makes \
         another",
        path.display()
    )]
    Credentials { path: PathBuf, why: String },
    #[error(
        "Google gave no token\n\
         hint: are the credentials still good? `gcloud auth application-default login` makes new ones"
    )]
    NoToken(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error(
        "no cluster was made in project {project}\n\
         hint: what Google refused is among the last lines: a quota, an API that is off, a role that the \
         account lacks, a bucket that is not there (docs/gke.md lists what is needed); what was made is \
         taken down"
    )]
    NotMade { project: String, source: Box<TerraformError> },
    #[error(
        "cluster {name} is made, and does not let this machine in\n\
         hint: does the account have roles/container.admin, and is the address that this machine comes from \
         among `authorized_networks`?"
    )]
    Unreached { name: String, source: Box<KubeError> },
    #[error("{what} does not answer\nhint: is the network shut? `curl` shows whether it is reached at all")]
    Asked { what: String, source: reqwest::Error },
    #[error(
        "{what} answered {status}: {said}\n\
         hint: docs/gke.md lists the APIs that the project must have on, and the roles that the account needs"
    )]
    Answered { what: String, status: u16, said: String },
    #[error(
        "Google's list of {what} is without {}, which did not answer: what is there is not known\n\
         hint: try again once it does; https://status.cloud.google.com says whether it is down",
        silent.join(", ")
    )]
    Partial { what: String, silent: Vec<String> },
    #[error("the answer of {what} is not understood")]
    Unread { what: String, source: serde_json::Error },
    #[error(
        "from which address this machine comes was not told by {url}: {why}\n\
         hint: name the networks that may reach the API server yourself, as `--set \
         'authorized_networks=[\"203.0.113.7/32\"]'`; SVIDPROOF_ADDRESS_FROM names another who tells"
    )]
    Address { url: String, why: String },
    #[error(
        "the cluster is destroyed, and this of it is still in project {project}, and is paid for:\n{}\n\
         hint: Google Cloud's console, or `gcloud`, removes each; `svidproof gc` looks again",
        in_lines(left)
    )]
    Left { project: String, left: Vec<Left> },
    #[error(
        "not all of the run could be destroyed; in project {project} there is still:\n{}\n\
         hint: what stands in the way is among these, or an operation under way, which ends",
        in_lines(left)
    )]
    NotDestroyed { project: String, left: Vec<Left>, source: Box<TerraformError> },
    #[error(
        "of {name} in {location}, which expired at {expires}, neither this machine nor a bucket has \
         Terraform's state\n\
         hint: `--set state_bucket=NAME` names the bucket that it was made with; else `gcloud container \
         clusters delete {name} --region {location}`, and then its network and subnet of the same name"
    )]
    NoState { name: String, location: String, expires: Timestamp },
    #[error(transparent)]
    Silent(#[from] TimedOut),
}

fn in_lines(left: &[Left]) -> String {
    left.iter().map(|one| format!("  {}", one.0)).collect::<Vec<_>>().join("\n")
}

/// Variables of the environment, as they were when the cluster was made.
#[derive(Debug, Clone, Default)]
pub(in crate::provider) struct Env(pub(in crate::provider) Vec<(String, String)>);

impl Env {
    /// Of this process.
    fn now() -> Self {
        let all = WAY.into_iter().chain(google::ENDPOINTS);
        Self(all.filter_map(|name| Some((name.into(), std::env::var(name).ok()?))).collect())
    }

    fn of(&self, name: &str) -> Option<String> {
        let kept = self.0.iter().find(|(one, _)| one == name).map(|(_, value)| value.clone());
        kept.or_else(|| std::env::var(name).ok()).filter(|value| !value.is_empty())
    }
}

pub(super) async fn create(site: &Site<'_>) -> Result<(Cluster, Kube), ProviderError> {
    let root = site.home.join("terraform/gke");
    let asked = Asked::of(&root, &site.options.set)?;
    let env = Env::now();
    // Before anything is made: is there an account, and is it let in?
    Google::open(&env, asked.text("project")).await?.greets().await?;
    let mut variables: serde_json::Map<String, Value> = site.options.set.clone().into_iter().collect();
    let name = format!("svidproof-{}", site.lease.id);
    let name = variables.entry("name").or_insert_with(|| name.into()).as_str().unwrap_or_default().to_owned();
    variables.insert("project".into(), asked.text("project").into());
    if !variables.contains_key("authorized_networks") {
        variables.insert("authorized_networks".into(), json!([own_address(&env).await?]));
    }
    if let Some(lifetime) = site.options.max_lifetime {
        let expires = Timestamp::now().as_second().saturating_add_unsigned(lifetime.as_secs());
        variables.entry("expires").or_insert_with(|| expires.to_string().into());
    }
    let dir = site.lease.dir.join("terraform");
    let terraform = rooted(&root, &dir, &env, site.lease, asked.text("state_bucket"), &name)?;
    let project = asked.text("project").to_owned();
    let not_made = |source| GkeError::NotMade { project, source: Box::new(source) };
    terraform.apply(&Value::Object(variables)).await.map_err(not_made)?;
    let kubeconfig = site.lease.dir.join("kubeconfig");
    let kube = reach(&terraform, &kubeconfig, &env).await?.ok_or(ProviderError::Output("endpoint"))?;
    let unreached = |source| GkeError::Unreached { name: name.clone(), source: Box::new(source) };
    kube.version().await.map_err(unreached)?;
    let uid = kube.identity().await?;
    site.lease.working_in(Place { name: name.clone(), kubeconfig: kubeconfig.clone(), uid: uid.clone() })?;
    let cluster =
        Cluster { provider: Provider::Gke, name, kubeconfig, context: None, uid, published: BTreeMap::new() };
    Ok((cluster, kube))
}

/// The root, copied to `dir`, with its backend; named in the lease first.
fn rooted(
    root: &Path,
    dir: &Path,
    env: &Env,
    lease: &Lease,
    bucket: &str,
    name: &str,
) -> Result<Terraform, ProviderError> {
    let made = Thing::Cluster {
        provider: Provider::Gke.to_string(),
        terraform: dir.into(),
        env: env.0.clone(),
        engine: String::new(),
    };
    lease.making(made)?;
    let terraform = Terraform::copy(root, dir.into(), env.0.clone())?;
    if !bucket.is_empty() {
        let gcs = json!({"bucket": bucket, "prefix": format!("svidproof/{name}")});
        terraform.keep_state_in(&json!({ "gcs": gcs }))?;
    }
    Ok(terraform)
}

/// The network of one address that this machine is seen at.
async fn own_address(env: &Env) -> Result<String, GkeError> {
    let [variable, default] = ADDRESS;
    let url = env.of(variable).unwrap_or_else(|| default.to_owned());
    let asked = async {
        let answer = reqwest::Client::builder().timeout(ANSWER).build()?.get(&url).send().await?;
        answer.error_for_status()?.text().await
    };
    let why = |why: String| GkeError::Address { url: url.clone(), why };
    let said = asked.await.map_err(|error| why(chain(&error)))?;
    let address: std::net::Ipv4Addr = said
        .trim()
        .parse()
        .map_err(|_| why(format!("it said `{}`, which is no IPv4 address", said.trim())))?;
    Ok(format!("{address}/32"))
}

/// A client of the cluster that the state names; none where there is no such cluster yet. The kubeconfig
/// holds no secret: svidproof itself fetches a token whenever one is needed.
async fn reach(terraform: &Terraform, kubeconfig: &Path, env: &Env) -> Result<Option<Kube>, ProviderError> {
    let outputs = terraform.outputs().await?;
    let (Some(endpoint), Some(authority)) =
        (outputs["endpoint"].as_str(), outputs["ca_certificate"].as_str())
    else {
        return Ok(None);
    };
    let program = std::env::current_exe().map_err(files::could_not("name", Path::new("svidproof itself")))?;
    let env: Vec<_> = env.0.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
    let exec = json!({
        "apiVersion": "client.authentication.k8s.io/v1", "command": program, "args": [TOKEN], "env": env,
        "interactiveMode": "Never",
    });
    let server = json!({"server": format!("https://{endpoint}"), "certificate-authority-data": authority});
    // JSON is YAML.
    let content = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "gke",
        "clusters": [{"name": "gke", "cluster": server}],
        "contexts": [{"name": "gke", "context": {"cluster": "gke", "user": "gke"}}],
        "users": [{"name": "gke", "user": {"exec": exec}}],
    });
    files::replace(kubeconfig, content.to_string())?;
    Ok(Some(Kube::connect(kubeconfig, None).await?))
}

/// What a kubeconfig's `exec` is answered with (Kubernetes documentation, "Authenticating": client-go
/// credential plugins).
///
/// # Errors
/// There is no token.
pub async fn exec_credential() -> Result<String, GkeError> {
    let token = credentials::token(&Env::default()).await?;
    let status = json!({"token": token.text, "expirationTimestamp": token.until});
    let answer = json!({
        "apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status,
    });
    Ok(answer.to_string())
}

/// Takes a cluster down: what a cloud made for it first, then all that Terraform made, and then a look
/// whether something is left. Ready to be called again.
///
/// # Errors
/// Something is left, or could not be looked for.
pub async fn destroy(dir: &Path, env: &[(String, String)], progress: &Progress) -> Result<(), ProviderError> {
    let env = Env(env.to_vec());
    let terraform = Terraform::at(dir.into(), env.0.clone())?.may_last(LAST);
    let Some(asked) = terraform.variables_kept()? else {
        // Nothing was applied yet.
        return Ok(());
    };
    let (name, project) = (asked["name"].as_str().unwrap_or_default(), asked["project"].as_str());
    let project = project.unwrap_or_default();
    let mut destroyed = Ok(());
    if terraform.is_begun() {
        if let Err(error) = give_back(&terraform, dir, &env, progress).await {
            // The look below says what that left.
            progress.note(&format!("warning: {}", chain(&error)));
        }
        destroyed = terraform.destroy().await;
    }
    let balancers = files::read_text(&dir.join(BALANCERS)).ok();
    let balancers: Vec<Balancer> =
        balancers.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    let google = Google::open(&env, project).await;
    if let Err(source) = destroyed {
        // What stands in its way, if that can be seen.
        let left = match google {
            Ok(google) => google.carrying(name, &balancers).await.unwrap_or_default(),
            Err(_) => vec![],
        };
        if left.is_empty() {
            return Err(source.into());
        }
        return Err(GkeError::NotDestroyed { project: project.into(), left, source: Box::new(source) }.into());
    }
    let google = google?;
    let mut left = vec![];
    let look = async || match google.carrying(name, &balancers).await {
        Ok(found) if found.is_empty() => Look::Ready(()),
        Ok(found) => {
            left = found;
            Look::NotYet(in_lines(&left))
        }
        Err(error) => Look::Fatal(error),
    };
    // Its lists tell nobody when they change.
    match wait::poll("Google to list nothing more of the run", LAG, AGAIN, look).await {
        Ok(()) => Ok(()),
        Err(wait::WaitError::Fatal { source, .. }) => Err(source.into()),
        Err(wait::WaitError::TimedOut(silent)) if left.is_empty() => Err(GkeError::from(silent).into()),
        Err(wait::WaitError::TimedOut(_)) => Err(GkeError::Left { project: project.into(), left }.into()),
    }
}

/// Load balancers and disks that Kubernetes had made are not in Terraform's state.
async fn give_back(
    terraform: &Terraform,
    dir: &Path,
    env: &Env,
    progress: &Progress,
) -> Result<(), ProviderError> {
    let Some(kube) = reach(terraform, &dir.join("kubeconfig"), env).await? else { return Ok(()) };
    let version = wait::within("the cluster that is taken down to answer", REACHED, kube.version()).await;
    version.map_err(GkeError::from)??;
    let balancers = kube.balancers().await?;
    if !balancers.is_empty() {
        let kept = serde_json::to_string(&balancers).unwrap_or_default();
        files::replace(&dir.join(BALANCERS), kept)?;
    }
    let step = progress.part("what the cloud made for the cluster");
    kube.give_back().await?;
    step.done();
    Ok(())
}

/// The clusters of the project whose time is over, with when that was.
///
/// # Errors
/// They could not be listed.
pub async fn expired(root: &Path, options: &ClusterOptions) -> Result<Vec<(Made, Timestamp)>, ProviderError> {
    let asked = Asked::of(root, &options.set)?;
    let env = Env::now();
    let now = Timestamp::now();
    let made = Google::open(&env, asked.text("project")).await?.clusters().await?;
    let over = |one: Made| one.expires.filter(|at| *at < now).map(|at| (one, at));
    Ok(made.into_iter().filter_map(over).collect())
}

/// Takes up a cluster that another machine made, by the state that it kept in a bucket: the lease names it
/// then.
///
/// # Errors
/// No bucket is named, or it has no such state.
pub async fn adopt(
    root: &Path,
    options: &ClusterOptions,
    lease: &Lease,
    (made, expires): &(Made, Timestamp),
) -> Result<(), ProviderError> {
    let asked = Asked::of(root, &options.set)?;
    let Made { name, location, .. } = made;
    let none = || GkeError::NoState { name: name.clone(), location: location.clone(), expires: *expires };
    let bucket = asked.text("state_bucket");
    if bucket.is_empty() {
        return Err(none().into());
    }
    let terraform = rooted(root, &lease.dir.join("terraform"), &Env::now(), lease, bucket, name)?;
    let project = asked.text("project");
    terraform.keep_variables(&json!({"name": name, "project": project, "region": location}))?;
    terraform.init().await?;
    // The outputs of a state that is not there are none.
    if terraform.outputs().await? == json!({}) { Err(none().into()) } else { Ok(()) }
}
