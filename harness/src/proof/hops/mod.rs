//! Which hop of a client's way to its answer broke. Pure: from what was read of each hop to the first that is
//! broken, with its evidence. Reading is `session::hops`'; a verdict is never made here.
//!
//! Each room makes [`Found`] of facts, and [`walk`] names the first: what could not be read is told as that,
//! and is taken neither for well nor for broken.

mod dial;
mod envoy;
mod pods;
mod service;
mod spire;
#[cfg(test)]
mod tests;

use std::fmt::{Display, Formatter};

use schemars::JsonSchema;
use serde::Serialize;

pub use dial::{Dial, Leg, of_dial};
pub use envoy::{Proxy, Svid, Upstream, of_envoy};

pub use pods::{Container, Pod, Trouble, of_pods};
pub use service::{Service, of_service};
pub use spire::{Agent, Entry, Registry, of_spire};

/// What was read, or in words why it was not.
pub type Known<T> = Result<T, String>;

/// Makes the enum, and keeps each docstring for docs/troubleshooting.md: it is written once.
macro_rules! hops {
    ($(#[doc = $sentence:literal] $hop:ident,)+) => {
        /// A hop on the way from an image to an answer, in the order in which they come.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum Hop {
            $(#[doc = $sentence] $hop,)+
        }

        impl Hop {
            /// All there are, in their order.
            pub const ALL: &[Self] = &[$(Self::$hop),+];

            /// What holds where it is well.
            pub const fn sentence(self) -> &'static str {
                match self {
                    $(Self::$hop => $sentence.trim_ascii(),)+
                }
            }

            /// Its name, as reports have it.
            pub fn name(self) -> String {
                match self {
                    $(Self::$hop => stringify!($hop).to_ascii_lowercase(),)+
                }
            }
        }
    };
}

hops! {
    /// The images of the pods' containers are on the node.
    Image,
    /// The pods have a node, and their containers run.
    Pod,
    /// The SPIRE server knows the agent of the pods' node, and that agent runs.
    Agent,
    /// The SPIRE server has an entry for the SPIFFE ID.
    Entry,
    /// The selectors of such an entry are those of the pod.
    Selectors,
    /// The parent of such an entry is the agent of the pod's node, or an alias of it.
    Parent,
    /// The agent hands the SVID out, and it is valid.
    Svid,
    /// Envoy has the secrets that it asks SDS for, and the SVID among them is its own, and of SPIRE's CA.
    Sds,
    /// Envoy listens at the port that the Service leads to.
    Listener,
    /// The name resolves, and the Service leads to the pods.
    Service,
    /// Both sides take each other's certificate.
    Handshake,
    /// The policy says of the client what the check expects.
    Policy,
    /// The application answers, and as the check expects.
    Application,
}

impl Display for Hop {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name())
    }
}

/// What was found at a hop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// It is broken.
    Broken {
        /// What shows it.
        evidence: String,
        /// What to do.
        hint: String,
    },
    /// In words, why it is not known whether it is well.
    Unread(String),
}

/// What was found at a hop of a part of the system. Of what is well there is nothing to be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where.
    pub hop: Hop,
    /// Of what: `endpoint backend`.
    pub of: String,
    /// What.
    pub finding: Finding,
}

impl Found {
    /// Broken, by this evidence.
    pub fn broken(hop: Hop, of: &str, evidence: impl Into<String>, hint: impl Into<String>) -> Self {
        let finding = Finding::Broken { evidence: evidence.into(), hint: hint.into() };
        Self { hop, of: of.into(), finding }
    }

    /// Not known, for this reason.
    pub fn unread(hop: Hop, of: &str, why: impl Into<String>) -> Self {
        Self { hop, of: of.into(), finding: Finding::Unread(why.into()) }
    }
}

/// The first hop that is broken, and those before it that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Walk {
    /// Absent where none is, among those that could be read.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub broken: Option<Broken>,
    /// `agent of endpoint backend: …`; absent where all were read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unread: Vec<String>,
}

/// A broken hop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Broken {
    /// Which.
    pub name: Hop,
    /// Of what: `endpoint backend`, or `client frontend`.
    pub of: String,
    /// What shows it.
    pub evidence: String,
    /// What to do.
    pub hint: String,
}

/// Names the first broken hop of all that was found, in the order of the hops; of one hop the first that was
/// found. `None` where there is neither a broken one nor one that could not be read.
pub fn walk(found: &[Found]) -> Option<Walk> {
    let broken = found.iter().filter_map(|one| match &one.finding {
        Finding::Broken { evidence, hint } => {
            Some(Broken { name: one.hop, of: one.of.clone(), evidence: evidence.clone(), hint: hint.clone() })
        }
        Finding::Unread(_) => None,
    });
    let broken = broken.min_by_key(|one| one.name);
    let mut before: Vec<_> = found
        .iter()
        .filter(|one| broken.as_ref().is_none_or(|broken| one.hop <= broken.name))
        .filter_map(|one| match &one.finding {
            Finding::Unread(why) => Some((one.hop, format!("{} of {}: {why}", one.hop, one.of))),
            Finding::Broken { .. } => None,
        })
        .collect();
    before.sort_by_key(|(hop, _)| *hop);
    let mut unread: Vec<_> = before.into_iter().map(|(_, text)| text).collect();
    unread.dedup();
    (broken.is_some() || !unread.is_empty()).then_some(Walk { broken, unread })
}

/// `hop: selectors of endpoint backend: the pod has …`, and a line for the hint and for each that could not
/// be read.
impl Display for Walk {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match &self.broken {
            Some(Broken { name, of, evidence, hint }) => {
                write!(f, "hop: {name} of {of}: {evidence}\nhint: {hint}")?;
            }
            None => f.write_str("hop: none that could be read is broken")?,
        }
        for one in &self.unread {
            write!(f, "\nnot known: {one}")?;
        }
        Ok(())
    }
}
