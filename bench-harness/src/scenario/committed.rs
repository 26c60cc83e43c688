//! The scenarios of this repository, built into the program so that a name is enough.

macro_rules! committed {
    ($($name:literal),* $(,)?) => {
        /// Name and text of each.
        pub const COMMITTED: &[(&str, &str)] = &[$(($name, include_str!(concat!("../../scenarios/", $name, ".toml"))),)*];
    };
}

committed![
    "throughput",
    "records-100b",
    "produce-only",
    "latency",
    "end-to-end",
    "keyed-small",
    "durable-64-partitions",
    "fan-out-20",
    "catch-up",
    "connections-10k",
    "partitions-10k",
    "group-churn",
    "restart",
    "idle",
    "start-up",
    "recovery",
    "retention-soak",
    "shape-step",
    "shape-sine",
    "shape-burst",
    "shape-replay",
];

/// Names of the committed scenarios.
pub fn names() -> impl Iterator<Item = &'static str> {
    COMMITTED.iter().map(|(name, _)| *name)
}
