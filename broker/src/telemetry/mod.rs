//! Metrics that clients push (KIP-714): which are asked for, who pushes, and how they are shown in `/metrics`.
//!
//! `subscription` matches clients, `store` keeps them and decides their requests, `otlp` reads what they push, `render` writes it.

pub mod otlp;
pub mod render;
pub mod store;
pub mod subscription;

pub use store::TelemetryStore;

/// An instance id as Kafka writes it.
pub fn id_text(id: uuid::Uuid) -> String {
    coreline_wire::ids::TopicId(id.into_bytes()).to_string()
}
