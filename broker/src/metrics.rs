//! Metrics: every series is declared here once with name, help and type; a shard counts in plain cells, a snapshot crosses the mesh, `/metrics` is text.
//!
//! A shard's counts are touched by its own thread only, so an increment is an addition. Memory is bounded: fixed arrays, and one histogram per
//! (API, stage) made when the pair first occurs. `render.rs` writes Prometheus text format 0.0.4; `process.rs` reads `/proc`.

pub mod observe;
pub mod process;
pub mod registry;
pub mod render;
pub mod shard;

pub use process::ProcessFacts;
pub use registry::{Counter, Gauge, MetricKind, MetricSpec, Timing};
pub use render::render_prometheus;
pub use shard::{ShardMetrics, ShardSnapshot};
