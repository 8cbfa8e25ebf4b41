//! The conformance tier: see `conformance.rs`.
