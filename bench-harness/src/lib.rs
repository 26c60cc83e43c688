//! The load tester's parts. It speaks only the Kafka protocol, so that it measures any server of it.
//!
//! | module | owns |
//! |---|---|
//! | [`scenario`] | the TOML of a scenario: keys, bounds, overrides; the committed ones |
//! | [`run`] | one run: set-up, phases, verdict |
//! | [`client`] | the protocol from the client's side |
//! | [`load`] | producers and readers on load threads |
//! | [`schedule`], [`payload`], [`delivery`], [`steady`], [`quiet`] | decisions: when records are due, what proves them, whether a run drifts, when nothing was taken from its CPUs |
//! | [`result`](mod@result), [`latency`] | what a run found out; its histograms |
//! | [`target`] | what the engine needs of a server under test |
//! | [`adapter`] | servers that the harness starts itself |
//! | [`cost`], [`stages`], [`probe`] | what a run cost server and host; where the tail went; the host and its disk |
//! | [`session`] | one run with all of that around it |
//! | [`objective`], [`stats`], [`history`] | what is promised of a run; ratios with intervals; results over time |
//! | [`error`], [`interrupt`], [`clock`] | ways to fail and their exit codes; Ctrl-C in every wait; the clocks |

pub mod adapter;
pub mod cli;
pub mod client;
pub mod clock;
pub mod compare;
pub mod cost;
pub mod cpus;
pub mod delivery;
pub mod error;
pub mod figures;
pub mod history;
pub mod interrupt;
pub mod latency;
pub mod load;
pub mod objective;
pub mod pacing;
pub mod payload;
pub mod probe;
pub mod quiet;
pub mod report;
pub mod result;
pub mod run;
pub mod scenario;
pub mod schedule;
pub mod session;
pub mod slo;
pub mod stages;
pub mod stats;
pub mod steady;
pub mod target;
