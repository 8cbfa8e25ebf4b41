//! Every stage of every scenario, once or after each change.

pub mod watch;
