//! Terraform (or `OpenTofu`, whichever is on PATH), driven as its user would: init, apply, output, destroy,
//! in a copy of the root inside the run's folder.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde_json::{Value, json};

use crate::engine;
use crate::halt::{self, Halt};
use crate::sys::files::{self, FileError, could_not};
use crate::sys::tool::{self, Tool, ToolError};
use crate::sys::wait::{self, Look, WaitError};

/// Read by Terraform without being named.
const VARIABLES: &str = "terraform.tfvars.json";
/// How long the Terraform of a run that was killed may still take: a kind cluster is there by then, or never.
const LAST: Duration = Duration::from_mins(3);

/// What Terraform did not do with a root.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what it is about")]
pub enum TerraformError {
    #[error("neither terraform nor tofu is on PATH\nhint: ./scripts/setup installs one of them")]
    Missing,
    #[error("could not copy the Terraform root {} to {}", from.display(), to.display())]
    Copy { from: PathBuf, to: PathBuf, source: std::io::Error },
    #[error("the root's variables could not be kept")]
    Variables(#[source] FileError),
    #[error("{program} {step}")]
    Step { program: String, step: &'static str, source: ToolError },
    #[error(
        "{program} {step}: less than 1 MB is left on the disk of {}\n\
         hint: make room, or let XDG_STATE_HOME name a folder on another disk",
        dir.display()
    )]
    Full { program: String, step: &'static str, dir: PathBuf, source: ToolError },
    #[error("the state {} was cut short, and names nothing: by a disk that was full?", path.display())]
    Cut { path: PathBuf },
    #[error("another Terraform is at work in the run's folder: of a svidproof that was killed?")]
    Busy(#[from] WaitError<FileError>),
    #[error("the outputs that {program} printed are not understood")]
    Output { program: String, source: serde_json::Error },
}

/// A variable of a root.
#[derive(Debug, Clone, PartialEq)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// What it is where nobody says it; absent where somebody must.
    pub default: Option<Value>,
}

/// A root's variables, in their order. They are written as `terraform fmt` writes them, with defaults that
/// are JSON too.
pub fn variables(root: &Path) -> Result<Vec<Variable>, FileError> {
    let text = files::read_text(&root.join("variables.tf"))?;
    let mut all: Vec<Variable> = vec![];
    for line in text.lines() {
        if let Some((name, _)) = line.strip_prefix("variable \"").and_then(|rest| rest.split_once('"')) {
            all.push(Variable { name: name.to_owned(), default: None });
        } else if let Some(default) = line.strip_prefix("  default ")
            && let Some(last) = all.last_mut()
        {
            let default = default.trim_start_matches([' ', '=']);
            last.default = Some(serde_json::from_str(default).unwrap_or_default());
        }
    }
    Ok(all)
}

/// The program of the two that is on PATH.
fn program() -> Result<PathBuf, TerraformError> {
    ["terraform", "tofu"].into_iter().find_map(tool::find).ok_or(TerraformError::Missing)
}

/// Which of the two it is, and of which version: the first line of what it says of itself.
pub async fn version() -> Result<String, TerraformError> {
    let program = program()?;
    let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let said = Tool::new(&program).arg("version").env("CHECKPOINT_DISABLE", "1").run().await;
    let said = said.map_err(|source| TerraformError::Step { program: name, step: "version", source })?;
    Ok(said.stdout.lines().next().unwrap_or_default().into())
}

/// One root with its state.
#[derive(Debug, Clone)]
pub struct Terraform {
    program: PathBuf,
    dir: PathBuf,
    env: Vec<(String, String)>,
    last: Duration,
}

impl Terraform {
    /// Copies the root into `dir`, so that the state and the root that made it stay together. `env` is for
    /// the provisioners.
    pub fn copy(root: &Path, dir: PathBuf, env: Vec<(String, String)>) -> Result<Self, TerraformError> {
        let this = Self::at(dir, env)?;
        let copy = || {
            std::fs::create_dir_all(&this.dir)?;
            for entry in std::fs::read_dir(root)? {
                let path = entry?.path();
                if path.extension().is_some_and(|extension| extension == "tf") {
                    std::fs::copy(&path, this.dir.join(path.file_name().unwrap_or_default()))?;
                }
            }
            Ok(())
        };
        copy().map_err(|source| TerraformError::Copy { from: root.into(), to: this.dir.clone(), source })?;
        Ok(this)
    }

    /// A root that was copied before.
    pub fn at(dir: PathBuf, env: Vec<(String, String)>) -> Result<Self, TerraformError> {
        Ok(Self { program: program()?, dir, env, last: LAST })
    }

    /// How long the Terraform of a run that was killed may still take, where that is not three minutes.
    #[must_use]
    pub fn may_last(mut self, last: Duration) -> Self {
        self.last = last;
        self
    }

    /// The state goes into this backend, and not into the root's folder (Terraform documentation, "Override
    /// Files": a backend takes no variables).
    pub fn keep_state_in(&self, backend: &Value) -> Result<(), TerraformError> {
        let content = json!({"terraform": {"backend": backend}}).to_string();
        files::write(&self.dir.join("backend_override.tf.json"), content).map_err(TerraformError::Variables)
    }

    /// Keeps these variables beside the root, for all that is done with it.
    pub fn keep_variables(&self, variables: &Value) -> Result<(), TerraformError> {
        files::write(&self.dir.join(VARIABLES), variables.to_string()).map_err(TerraformError::Variables)
    }

    /// Those that were kept, if any were.
    pub fn variables_kept(&self) -> Result<Option<Value>, TerraformError> {
        let path = self.dir.join(VARIABLES);
        if !path.exists() {
            return Ok(None);
        }
        let text = files::read_text(&path).map_err(TerraformError::Variables)?;
        serde_json::from_str(&text)
            .map(Some)
            .map_err(|error| TerraformError::Variables(files::could_not("understand", &path)(error.into())))
    }

    /// Providers and backend.
    pub async fn init(&self) -> Result<(), TerraformError> {
        self.step("init", &["init", "-input=false", "-no-color"]).await.map(drop)
    }

    /// init and apply with these variables; they are kept beside the state, for destroy.
    pub async fn apply(&self, variables: &Value) -> Result<(), TerraformError> {
        self.keep_variables(variables)?;
        let _at_work = self.at_work().await?;
        self.init().await?;
        let args = ["apply", "-auto-approve", "-input=false", "-no-color"];
        halt::beside(Halt::Applying, self.work("apply", &args)).await
    }

    /// The root's outputs by name.
    pub async fn outputs(&self) -> Result<Value, TerraformError> {
        let printed = self.step("output", &["output", "-json", "-no-color"]).await?;
        let outputs: serde_json::Map<String, Value> = serde_json::from_str(&printed)
            .map_err(|source| TerraformError::Output { program: self.name(), source })?;
        Ok(outputs.into_iter().map(|(name, mut output)| (name, output["value"].take())).collect())
    }

    /// The addresses of what the state holds, a line each.
    pub async fn state_list(&self) -> Result<String, TerraformError> {
        self.step("state list", &["state", "list"]).await
    }

    /// Destroys what the state holds. A root that was never initialised holds nothing.
    ///
    /// # Errors
    /// [`TerraformError::Cut`] where the state is no whole file: an empty one Terraform itself would take for
    /// one that holds nothing.
    pub async fn destroy(&self) -> Result<(), TerraformError> {
        if !self.dir.exists() {
            return Ok(());
        }
        // The apply of a run that was interrupted or killed may still be on its way to its end, and not have
        // written its state yet.
        let _at_work = self.at_work().await?;
        // A state that is elsewhere, init notes in here.
        if !["terraform.tfstate", ".terraform/terraform.tfstate"].iter().any(|of| self.dir.join(of).exists())
        {
            return Ok(());
        }
        let path = self.dir.join("terraform.tfstate");
        if path.exists()
            && serde_json::from_slice::<Value>(&std::fs::read(&path).unwrap_or_default()).is_err()
        {
            return Err(TerraformError::Cut { path });
        }
        let args =
            ["destroy", "-auto-approve", "-input=false", "-no-color", "-refresh=false", "-lock-timeout=3m"];
        halt::beside(Halt::Destroying, self.work("destroy", &args)).await
    }

    /// Whether there is a state, or a note of init's where it is.
    pub fn is_begun(&self) -> bool {
        ["terraform.tfstate", ".terraform/terraform.tfstate"].iter().any(|of| self.dir.join(of).exists())
    }

    /// Waits until no Terraform is at work in the folder. What is started while this is there holds it too,
    /// until it ends, also where svidproof itself is killed.
    async fn at_work(&self) -> Result<File, TerraformError> {
        let path = self.dir.join("at-work");
        let look = async || {
            let opened = File::create(&path).map_err(could_not("open", &path));
            let held = opened.and_then(|file| {
                let shared = rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty());
                shared.map_err(|e| could_not("share", &path)(e.into()))?;
                Ok((flock(&file, FlockOperation::NonBlockingLockExclusive), file))
            });
            match held {
                Ok((Ok(()), file)) => Look::Ready(file),
                Ok((Err(Errno::WOULDBLOCK), _)) => Look::NotYet(format!("{} is held", path.display())),
                Ok((Err(error), _)) => Look::Fatal(could_not("lock", &path)(error.into())),
                Err(error) => Look::Fatal(error),
            }
        };
        // A lock that is given back tells nobody.
        let every = Duration::from_millis(50);
        Ok(wait::poll("the Terraform that works on the run to end", self.last, every, look).await?)
    }

    async fn step(&self, step: &'static str, args: &[&str]) -> Result<String, TerraformError> {
        let failed = |source| TerraformError::Step { program: self.name(), step, source };
        self.tool(args).run().await.map(|output| output.stdout).map_err(failed)
    }

    /// A step that makes or destroys. It writes into a file: one that outlives svidproof must not end for
    /// want of a reader, without having kept in its state what it made, and its providers' processes behind
    /// it.
    async fn work(&self, step: &'static str, args: &[&str]) -> Result<(), TerraformError> {
        let failed = |mut source| {
            // The file goes with the run.
            if let ToolError::Failed { log, .. } = &mut source {
                *log = None;
            }
            let (program, dir) = (self.name(), self.dir.clone());
            // Its log then lacks the line that says so.
            if files::is_full(&dir) {
                return TerraformError::Full { program, step, dir, source };
            }
            TerraformError::Step { program, step, source }
        };
        self.tool(args).log(self.dir.join("terraform.log")).run().await.map(drop).map_err(failed)
    }

    fn tool(&self, args: &[&str]) -> Tool {
        let tool = Tool::new(&self.program)
            .args(args.iter().copied())
            .dir(&self.dir)
            .envs(self.env.iter().map(|(k, v)| (k, v)));
        // The engine is the one that `env` leads to, whatever shell this is.
        let tool = engine::WAY.into_iter().fold(tool, Tool::env_remove);
        // A user's own defaults (-var and the like) must not reach a run's root.
        tool.env_remove("TF_CLI_ARGS")
            .env_remove("TF_WORKSPACE")
            .env("TF_IN_AUTOMATION", "1")
            .env("CHECKPOINT_DISABLE", "1")
    }

    /// Which of the two it is.
    fn name(&self) -> String {
        self.program.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::chain;

    fn tofu(dir: &Path) -> Terraform {
        Terraform { program: "/nowhere/tofu".into(), dir: dir.into(), env: vec![], last: LAST }
    }

    #[tokio::test]
    async fn a_failed_step_names_the_program_that_ran() {
        let dir = tempfile::tempdir().unwrap();
        let error = tofu(dir.path()).apply(&json!({})).await.unwrap_err();
        assert!(
            chain(&error).starts_with("tofu init: could not start `/nowhere/tofu init "),
            "{}",
            chain(&error)
        );
    }

    #[tokio::test]
    async fn a_state_that_was_cut_short_is_not_one_that_holds_nothing() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["", "{\"version\": 4, \"resou"] {
            std::fs::write(dir.path().join("terraform.tfstate"), text).unwrap();
            let error = tofu(dir.path()).destroy().await.unwrap_err();
            assert!(matches!(error, TerraformError::Cut { .. }), "{error:?}");
        }
    }

    #[tokio::test]
    async fn variables_that_cannot_be_kept_are_not_a_failed_copy() {
        let error = tofu(Path::new("/nowhere")).apply(&json!({})).await.unwrap_err();
        let expected =
            "the root's variables could not be kept: could not write /nowhere/terraform.tfvars.json: ";
        assert!(chain(&error).starts_with(expected), "{}", chain(&error));
    }
}
