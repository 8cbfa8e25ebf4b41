//! `svidproof schema`: JSON Schemas of the files that people and programs share with svidproof.

use clap::{Args, ValueEnum};

use super::exit::{Ended, Exit, print};
use crate::{history, project, report, scenario};

#[derive(Debug, Args)]
pub(super) struct SchemaArgs {
    /// Of which file
    #[arg(value_enum)]
    of: Of,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Of {
    /// A scenario
    Scenario,
    /// svidproof.yaml
    Project,
    /// report.json
    Report,
    /// history.json
    History,
}

pub(super) fn schema(args: &SchemaArgs) -> Result<Exit, Ended> {
    print(&match args.of {
        Of::Scenario => scenario::schema_text(),
        Of::Project => project::schema(),
        Of::Report => report::schema::text(),
        Of::History => history::schema(),
    })?;
    Ok(Exit::Passed)
}
