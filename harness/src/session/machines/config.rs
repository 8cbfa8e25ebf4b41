//! What an agent outside of the cluster is told, and what it says of itself: its configuration (SPIRE,
//! `doc/spire_agent.md`) and its log.

use std::path::{Path, PathBuf};

use crate::scenario::Attest;

/// The program, and the flag by which it is given its configuration: a process is known again by both.
pub(super) const PROGRAM: &str = "spire-agent";
pub(super) const FLAG: &str = "-config";

/// Where what belongs to one machine lies.
pub(super) struct Site {
    /// In the run's own folder.
    pub(super) folder: PathBuf,
    /// Where every user of this machine may come, to the agent's socket.
    pub(super) open: PathBuf,
}

impl Site {
    pub(super) fn of(dir: &Path, run: &str, name: &str) -> Self {
        Self {
            folder: dir.join("machines").join(name),
            // Short: the path of a socket has 108 bytes (unix(7)).
            open: PathBuf::from(format!("/tmp/svidproof-{run}-{name}")),
        }
    }

    pub(super) fn config(&self) -> PathBuf {
        self.folder.join("agent.conf")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.folder.join("agent.log")
    }

    pub(super) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    pub(super) fn bundle(&self) -> PathBuf {
        self.folder.join("bundle.pem")
    }

    pub(super) fn certificate(&self) -> PathBuf {
        self.folder.join("certificate.pem")
    }

    pub(super) fn key(&self) -> PathBuf {
        self.folder.join("key.pem")
    }

    pub(super) fn token(&self) -> PathBuf {
        self.folder.join("token")
    }

    /// The paths of the SPIFFE IDs that its agents had, one a line: the last is that of the one that runs.
    pub(super) fn agents(&self) -> PathBuf {
        self.folder.join("agents")
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.open.join("agent.sock")
    }

    /// The agent's program, where every user may run it.
    pub(super) fn program(&self) -> PathBuf {
        self.open.join(PROGRAM)
    }

    /// The agent's configuration. It keeps its keys in memory: one that is started again attests again.
    pub(super) fn text(&self, trust_domain: &str, host: &str, port: u16, attest: Attest) -> String {
        let path = |path: PathBuf| quoted(&path.display().to_string());
        let (token, attestor) = match attest {
            Attest::JoinToken => {
                let token = format!("  join_token_file = {}\n", path(self.token()));
                (token, "  NodeAttestor \"join_token\" { plugin_data {} }\n".to_owned())
            }
            Attest::X509pop => {
                let (certificate, key) = (path(self.certificate()), path(self.key()));
                let data = format!("certificate_path = {certificate}\n    private_key_path = {key}");
                let attestor = format!("  NodeAttestor \"x509pop\" {{ plugin_data {{\n    {data}\n  }} }}\n");
                (String::new(), attestor)
            }
        };
        format!(
            "agent {{\n  \
               trust_domain = {}\n  \
               server_address = {}\n  \
               server_port = {port}\n  \
               trust_bundle_path = {}\n  \
               data_dir = {}\n  \
               socket_path = {}\n\
             {token}  \
               experimental {{ sync_interval = \"500ms\" }}\n\
             }}\n\
             plugins {{\n\
             {attestor}  \
               KeyManager \"memory\" {{ plugin_data {{}} }}\n  \
               WorkloadAttestor \"unix\" {{ plugin_data {{}} }}\n\
             }}\n",
            quoted(trust_domain),
            quoted(host),
            path(self.bundle()),
            path(self.data()),
            path(self.socket()),
        )
    }
}

/// As HCL writes a text: as JSON does.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// What an agent's log says of it so far.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Said {
    /// Its last word; of two, the one that is about what went wrong.
    pub(super) last: String,
    /// Its server has answered that it does not take this agent.
    pub(super) is_refused: bool,
}

/// Reads a log from the line on with which the agent began.
pub(super) fn said(log: &str) -> Said {
    let from = log.rfind("Starting agent").unwrap_or_default();
    let lines: Vec<_> = log[from..].lines().filter(|line| !line.trim().is_empty()).collect();
    let is_bad = |line: &&&str| ["level=error", "level=warning"].iter().any(|bad| line.contains(bad));
    // A warning as such is none of a failure: one that tries again says so with the reason.
    let bad = lines.iter().rev().filter(is_bad).find(|line| line.contains("error="));
    let last = bad.or(lines.last()).map_or("it has said nothing", |line| line.trim());
    // gRPC's codes for what no second try can mend.
    let refusals = ["InvalidArgument", "PermissionDenied", "Unauthenticated", "FailedPrecondition"];
    let refused = |code: &&str| last.contains(&format!("code = {code}"));
    Said { last: last.into(), is_refused: bad.is_some() && refusals.iter().any(refused) }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::nothing("", "it has said nothing", false)]
    #[case::begins(
        "time=1 level=info msg=\"Starting agent\"\ntime=2 level=info msg=\"Bundle loaded\"\n",
        "time=2 level=info msg=\"Bundle loaded\"",
        false
    )]
    #[case::tries_again(
        "level=info msg=\"Starting agent\"\nlevel=warning msg=\"Failed to retrieve attestation result\" \
         error=\"rpc error: code = Unavailable desc = refused\"\nlevel=info msg=\"again\"\n",
        "level=warning msg=\"Failed to retrieve attestation result\" error=\"rpc error: code = Unavailable \
         desc = refused\"",
        false
    )]
    #[case::turned_down(
        "level=info msg=\"Starting agent\"\nlevel=warning msg=\"Failed\" error=\"rpc error: code = \
         InvalidArgument desc = used\"\n",
        "level=warning msg=\"Failed\" error=\"rpc error: code = InvalidArgument desc = used\"",
        true
    )]
    #[case::another_of_before(
        "level=info msg=\"Starting agent\"\nlevel=error error=\"code = PermissionDenied\"\nlevel=info \
         msg=\"Starting agent\"\nlevel=info msg=ok\n",
        "level=info msg=ok",
        false
    )]
    fn a_log_says_whether_the_server_takes_the_agent(
        #[case] log: &str,
        #[case] last: &str,
        #[case] is_refused: bool,
    ) {
        assert_eq!(said(log), Said { last: last.into(), is_refused });
    }

    #[test]
    fn a_socket_has_a_path_that_the_kernel_takes() {
        let site = Site::of(Path::new("/x"), "01234567", &"m".repeat(63));
        assert!(site.socket().as_os_str().len() < 108, "{}", site.socket().display());
    }

    #[test]
    fn a_token_and_a_key_are_named_by_their_files_alone() {
        let site = Site::of(Path::new("/runs/a \"b\""), "1", "vm");
        let token = site.text("example.org", "10.0.0.1", 8081, Attest::JoinToken);
        assert!(token.contains(r#"join_token_file = "/runs/a \"b\"/machines/vm/token""#), "{token}");
        assert!(token.contains(r#"NodeAttestor "join_token""#) && !token.contains("x509pop"), "{token}");
        let certificate = site.text("example.org", "spire.example", 8081, Attest::X509pop);
        assert!(certificate.contains(r#"server_address = "spire.example""#), "{certificate}");
        assert!(certificate.contains("machines/vm/key.pem") && !certificate.contains("join_token"));
        assert!(!certificate.contains("insecure"), "{certificate}");
    }
}
