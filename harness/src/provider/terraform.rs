//! Terraform (or `OpenTofu`, whichever is on PATH), driven as its user would: init, apply, output, destroy,
//! in a copy of the root inside the run's folder.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::sys::files::{self, FileError};
use crate::sys::tool::{self, Tool, ToolError};

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
    #[error("the outputs that {program} printed are not understood")]
    Output { program: String, source: serde_json::Error },
}

/// The names of a root's variables.
pub fn variables(root: &Path) -> Result<Vec<String>, FileError> {
    let text = files::read_text(&root.join("variables.tf"))?;
    let name = |line: &str| Some(line.strip_prefix("variable \"")?.split_once('"')?.0.to_owned());
    Ok(text.lines().filter_map(name).collect())
}

/// One root with its state.
#[derive(Debug, Clone)]
pub struct Terraform {
    program: PathBuf,
    dir: PathBuf,
    env: Vec<(String, String)>,
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
        let program =
            ["terraform", "tofu"].into_iter().find_map(tool::find).ok_or(TerraformError::Missing)?;
        Ok(Self { program, dir, env })
    }

    /// init and apply with these variables; they are kept beside the state, for destroy.
    pub async fn apply(&self, variables: &Value) -> Result<(), TerraformError> {
        let path = self.dir.join("terraform.tfvars.json");
        files::write(&path, variables.to_string()).map_err(TerraformError::Variables)?;
        self.step("init", &["init", "-input=false", "-no-color"]).await?;
        self.step("apply", &["apply", "-auto-approve", "-input=false", "-no-color"]).await.map(drop)
    }

    /// The root's outputs by name.
    pub async fn outputs(&self) -> Result<Value, TerraformError> {
        let printed = self.step("output", &["output", "-json", "-no-color"]).await?;
        let outputs: serde_json::Map<String, Value> = serde_json::from_str(&printed)
            .map_err(|source| TerraformError::Output { program: self.name(), source })?;
        Ok(outputs.into_iter().map(|(name, mut output)| (name, output["value"].take())).collect())
    }

    /// Destroys what the state holds. A root that was never initialised holds nothing.
    pub async fn destroy(&self) -> Result<(), TerraformError> {
        if !self.dir.join("terraform.tfstate").exists() {
            return Ok(());
        }
        // The apply of a run that was interrupted or killed may still be on its way to its end; it holds the
        // state's lock until then.
        let args =
            ["destroy", "-auto-approve", "-input=false", "-no-color", "-refresh=false", "-lock-timeout=3m"];
        self.step("destroy", &args).await.map(drop)
    }

    async fn step(&self, step: &'static str, args: &[&str]) -> Result<String, TerraformError> {
        let tool = Tool::new(&self.program)
            .args(args.iter().copied())
            .dir(&self.dir)
            .envs(self.env.iter().map(|(k, v)| (k, v)));
        // A user's own defaults (-var and the like) must not reach a run's root.
        let tool = tool
            .env_remove("TF_CLI_ARGS")
            .env_remove("TF_WORKSPACE")
            .env("TF_IN_AUTOMATION", "1")
            .env("CHECKPOINT_DISABLE", "1");
        let failed = |source| TerraformError::Step { program: self.name(), step, source };
        tool.run().await.map(|output| output.stdout).map_err(failed)
    }

    /// Which of the two it is.
    fn name(&self) -> String {
        self.program.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::sys::chain;

    fn tofu(dir: &Path) -> Terraform {
        Terraform { program: "/nowhere/tofu".into(), dir: dir.into(), env: vec![] }
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
    async fn variables_that_cannot_be_kept_are_not_a_failed_copy() {
        let error = tofu(Path::new("/nowhere")).apply(&json!({})).await.unwrap_err();
        let expected =
            "the root's variables could not be kept: could not write /nowhere/terraform.tfvars.json: ";
        assert!(chain(&error).starts_with(expected), "{}", chain(&error));
    }
}
