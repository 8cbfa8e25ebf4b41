//! Machines outside of the cluster: each has a SPIRE agent of its own, and clients that are its users. Not
//! for how an agent is started: that is `session`'s.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A machine outside of the cluster, with a SPIRE agent of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Machine {
    /// The path of the SPIFFE ID that stands for its agent, whichever that is: the `parent` of the entries of
    /// its workloads.
    pub id: String,
    /// How its agent proves to the SPIRE server which machine it is.
    pub attest: Attest,
}

/// How an agent outside of the cluster attests (SPIRE's node attestors of these names).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Attest {
    /// By a certificate, and its key, of a CA that the server trusts for this; svidproof makes both.
    X509pop,
    /// By a token that the server gives out once.
    JoinToken,
}
