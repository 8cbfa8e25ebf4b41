//! Envoy's counters, as `/stats` prints them.

use std::collections::BTreeMap;

/// One reading: counter and gauge names with their values. Histograms are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats(BTreeMap<String, u64>);

impl Stats {
    /// Reads lines of `name: value` (Envoy's admin interface, `/stats`); any other line is passed over.
    pub fn read(text: &str) -> Self {
        let pair = |line: &str| {
            let (name, value) = line.rsplit_once(": ")?;
            Some((name.to_owned(), value.trim().parse().ok()?))
        };
        Self(text.lines().filter_map(pair).collect())
    }

    /// The value; `None` where Envoy does not list the name.
    pub fn get(&self, name: &str) -> Option<u64> {
        self.0.get(name).copied()
    }

    /// The stat name of every cluster whose requests are counted. A TCP proxy's connections are counted with
    /// them: `upstream_rq_total` is the connection pool's, whatever it is that waits for a connection.
    pub(super) fn clusters(&self) -> impl Iterator<Item = &str> {
        self.0.keys().filter_map(|name| name.strip_prefix("cluster.")?.strip_suffix(".upstream_rq_total"))
    }
}

impl<'a> FromIterator<(&'a str, u64)> for Stats {
    fn from_iter<I: IntoIterator<Item = (&'a str, u64)>>(pairs: I) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }
}
