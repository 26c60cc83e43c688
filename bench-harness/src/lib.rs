//! The load tester's parts. It speaks only the Kafka protocol, so that it measures any server of it.
//!
//! | module | owns |
//! |---|---|
//! | [`scenario`] | the TOML of a scenario: keys, bounds, overrides; the committed ones |
//! | [`run`] | one run: set-up, phases, verdict |
//! | [`result`](mod@result), [`latency`] | what a run found out; its histograms |
//! | [`target`] | what the engine needs of a server under test |
//! | [`error`], [`clock`] | ways to fail and their exit codes; the clocks |

pub mod clock;
pub mod error;
pub mod latency;
pub mod result;
pub mod run;
pub mod scenario;
pub mod target;
