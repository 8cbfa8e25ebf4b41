//! Where svidproof keeps things: the XDG base directories (freedesktop.org), nothing beside them.

use std::path::PathBuf;

/// `$XDG_CACHE_HOME/svidproof`: images, programs, the private engine. Safe to delete while nothing runs.
pub fn cache() -> PathBuf {
    under("XDG_CACHE_HOME", ".cache")
}

/// `$XDG_STATE_HOME/svidproof`: the leases of runs and what they need to be torn down.
pub fn state() -> PathBuf {
    under("XDG_STATE_HOME", ".local/state")
}

fn under(variable: &str, default: &str) -> PathBuf {
    let set = std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    set.unwrap_or_else(|| std::env::home_dir().unwrap_or_else(std::env::temp_dir).join(default))
        .join("svidproof")
}
