//! The marks on an answer that say who gave it, and whether they can be relied on.

/// Which marks on an answer say who gave it. Each holds for every connection manager of the port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each holds or not, whatever the others do")]
pub struct Marks {
    /// Every answer that was forwarded, and no other, has `x-envoy-upstream-service-time`.
    pub time: bool,
    /// Every denial that is counted is RBAC's and has Envoy's own text, so an answer without it is none.
    pub denial: bool,
    /// An answer with 2xx may be Envoy's own.
    pub serves: bool,
    /// A filter may put an answer of its own, with whatever status, in the place of the application's.
    pub replaces: bool,
}

impl Default for Marks {
    fn default() -> Self {
        Self { time: true, denial: true, serves: false, replaces: false }
    }
}
