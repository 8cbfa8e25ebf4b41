//! Commands in pods: one that runs to its end, and one that is talked to over its standard streams.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{AttachParams, AttachedProcess};
use tokio::io::{AsyncRead, AsyncWriteExt};

use super::{Kube, KubeError};
use crate::sys::bounded::{End, end_of_stream, whole};
use crate::sys::{chain, wait};

/// A command of a SPIRE server takes a fraction of a second; a stream that broke off unnoticed ends never.
const LONGEST: Duration = Duration::from_mins(2);

/// What a SPIRE server lists of a hundred thousand entries is less, in bytes.
const MOST: usize = 64 << 20;

/// Where and what to run.
#[derive(Debug, Clone)]
pub struct Exec {
    /// Where the pod is.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// Which of its containers.
    pub container: String,
    /// The program, as the container finds it, and its arguments.
    pub argv: Vec<String>,
}

impl Exec {
    fn what(&self) -> String {
        format!(
            "run `{}` in container {} of pod {}/{}",
            self.argv.join(" "),
            self.container,
            self.namespace,
            self.pod
        )
    }
}

impl Kube {
    /// Runs to the end; returns what it printed on standard output.
    ///
    /// # Errors
    /// The API server refused, or the command ended with another status than 0: then with what it printed.
    /// Or it was not done within two minutes, or printed more than 64 MB.
    pub async fn exec(&self, exec: &Exec, stdin: &[u8]) -> Result<String, KubeError> {
        let done = wait::within(&exec.what(), LONGEST, self.exec_to_its_end(exec, stdin)).await;
        done.map_err(|e| KubeError::Other { what: exec.what(), problem: e.to_string() })?
    }

    async fn exec_to_its_end(&self, exec: &Exec, stdin: &[u8]) -> Result<String, KubeError> {
        let failed = |problem: String| KubeError::Other { what: exec.what(), problem };
        let mut process = self.attach(exec, !stdin.is_empty()).await?;
        let status = process.take_status();
        let input = process.stdin();
        let said = said(process.stdout(), process.stderr());
        let write = async {
            if let Some(mut input) = input {
                input.write_all(stdin).await?;
                input.shutdown().await?;
            }
            Ok::<_, std::io::Error>(())
        };
        let ((), (printed, complaint)) = tokio::try_join!(write, said).map_err(KubeError::io(exec.what()))?;
        let status = match status {
            Some(status) => status.await,
            None => None,
        };
        process.join().await.map_err(|e| failed(chain(&e)))?;
        match status {
            Some(status) if status.status.as_deref() == Some("Success") => Ok(printed),
            Some(status) => {
                let said = status.message.unwrap_or_default();
                Err(failed(format!(
                    "{said}\n{}",
                    crate::sys::tool::last_lines(&format!("{printed}\n{complaint}"))
                )))
            }
            None => Err(failed("its end was not reported".into())),
        }
    }

    /// Starts a command whose standard streams the caller holds.
    pub async fn attach(&self, exec: &Exec, stdin: bool) -> Result<AttachedProcess, KubeError> {
        let pods: Api<Pod> = Api::namespaced(self.client(), &exec.namespace);
        let params =
            AttachParams::default().container(&exec.container).stdin(stdin).stdout(true).stderr(true);
        pods.exec(&exec.pod, &exec.argv, &params).await.map_err(KubeError::api(exec.what()))
    }
}

/// All of its standard output, and the end of its standard error. Both are read side by side: neither waits
/// for the other to be taken.
async fn said(
    stdout: Option<impl AsyncRead + Unpin>,
    stderr: Option<impl AsyncRead + Unpin>,
) -> std::io::Result<(String, String)> {
    let out = async {
        match stdout {
            Some(stream) => whole(stream, MOST).await,
            None => Ok(String::new()),
        }
    };
    let err = async {
        match stderr {
            Some(stream) => end_of_stream(stream).await.map(End::into_string),
            None => Ok(String::new()),
        }
    };
    tokio::try_join!(out, err)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, repeat};

    use super::*;

    #[tokio::test]
    async fn what_a_command_prints_is_read_up_to_a_limit() {
        let long = repeat(b'x').take(8 << 20);
        let (printed, complaint) =
            said(Some(&b"yes"[..]), Some(long.chain(&b"\nthe end\n"[..]))).await.unwrap();
        assert_eq!(printed, "yes");
        assert!(complaint.ends_with("\nthe end\n") && complaint.len() < 2 << 20, "{}", complaint.len());
        let error = said(Some(repeat(b'x')), Some(&b""[..])).await.unwrap_err();
        assert!(
            chain(&error).starts_with("more than 64 MB came, and no more of it is read\nhint: "),
            "{error}"
        );
    }
}
