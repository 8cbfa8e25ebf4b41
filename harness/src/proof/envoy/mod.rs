//! What an Envoy's own configuration says of where it counts what. Pure: from `/config_dump` to a [`Meter`]
//! for one port, and from two readings of `/stats` to what happened there in between. Fetching either is
//! `cluster::envoy`'s.
//!
//! Nothing is assumed of names: stat prefixes, listener addresses, filters and clusters are all read. What
//! cannot be explained is an error that names it.

mod cluster;
mod config;
mod error;
mod filters;
mod gate;
mod http;
mod json;
mod listener;
mod marks;
mod meter;
mod names;
mod origins;
mod port;
mod ready;
mod stats;
#[cfg(test)]
mod tests;

pub use config::Envoy;
pub use error::ConfigError;
pub use gate::{Gate, Rbac, San, wanted};
pub use marks::Marks;
pub use meter::{Happened, Meter};
pub use ready::{Lacking, lacking, sources, trusted};
pub use stats::Stats;
