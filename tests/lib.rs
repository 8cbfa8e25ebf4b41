//! The tiers that need more than a Rust compiler, a folder each: `browser` (a Chromium), `container` (a real
//! Envoy in a container engine), `conformance` (a real cluster), `existing` (one that
//! is somebody else's). CONTRIBUTING.md says what each may use.
//!
//! Not for what can be held without those: that is `unit` (beside the code) or `cli` (harness/tests).
