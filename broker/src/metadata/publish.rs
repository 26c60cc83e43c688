//! Publication: an applied image and its delta reach every shard before the answer to the request that caused them.
//!
//! Order: committed -> applied -> published (every shard acknowledged) -> answered, so that a client reads its own writes on any
//! connection. The trait is implemented over the mesh by the shell; the controller's driver calls it, one publication at a time.

use std::sync::Arc;

use futures_util::future::LocalBoxFuture;

use super::{MetadataDelta, MetadataImage};

/// An image with what changed since the publication before it.
#[derive(Clone, Debug)]
pub struct Publication {
    /// The image to use from now on.
    pub image: Arc<MetadataImage>,
    /// What changed since the image that was published before.
    pub delta: Arc<MetadataDelta>,
}

/// Carries publications to all shards of the process.
pub trait Publisher {
    /// Resolves when every shard has taken the image over and has created, changed or deleted its partitions accordingly.
    ///
    /// It cannot fail: a shard that cannot follow ends the process. Called with one publication at a time, in order.
    fn publish(&self, publication: Publication) -> LocalBoxFuture<'_, ()>;
}
