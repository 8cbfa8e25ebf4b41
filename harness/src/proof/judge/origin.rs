//! How an outcome came about: what the accounts of both sides are held against.

use crate::scenario::{CutOff, Kind};

/// How an outcome came about. A hop is a place on the dial's way: 0 is the endpoint that was dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// The handshake was turned down.
    Handshake(Kind),
    /// A filter of the hop's Envoy denied the request, and counted it as this.
    Denied(Kind, usize),
    /// The hop's Envoy answered by itself.
    Envoy(usize),
    /// The application behind the last hop answered.
    Application,
    /// The hop's Envoy forwarded the request, and the first one answered in place of whoever did not.
    Unanswered(usize),
    /// The first hop's Envoy ended the connection: a policy of connections, no filter chain, or a port that
    /// speaks TLS alone.
    CutOff(CutOff),
    /// Nothing that any Envoy would count.
    Uncounted,
}
