//! Which cluster a command is to make or find.

use std::path::PathBuf;

use clap::Args;

use crate::images::Source;
use crate::provider::{Provider, Wish};

/// Where the cluster comes from.
#[derive(Debug, Clone, Args)]
pub(super) struct Where {
    #[arg(long, value_enum, default_value_t = Provider::Kind)]
    pub(super) provider: Provider,
    /// Context of an existing cluster
    #[arg(long)]
    context: Option<String>,
    /// Kubeconfig of an existing cluster
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Terraform variable of the provider `gke`
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = variable)]
    set: Vec<(String, serde_json::Value)>,
    /// Where images come from
    #[arg(long, value_enum, default_value_t = Source::Auto)]
    pub(super) images: Source,
}

impl Where {
    pub(super) fn wish(&self) -> Wish {
        Wish {
            context: self.context.clone(),
            kubeconfig: self.kubeconfig.clone(),
            set: self.set.iter().cloned().collect(),
        }
    }
}

/// `name=value`; a value that is JSON is taken as it is, anything else as text.
fn variable(text: &str) -> Result<(String, serde_json::Value), String> {
    let (name, value) = text.split_once('=').ok_or("it is NAME=VALUE")?;
    Ok((name.into(), serde_json::from_str(value).unwrap_or_else(|_| value.into())))
}
