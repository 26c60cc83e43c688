//! How any shard asks the controller: directly on the metadata shard, through the mesh from the others.
//!
//! Callers: handlers, the coordinator, start-up. An answer means: committed, applied and published to every shard.

use std::rc::Rc;

use futures_util::future::LocalBoxFuture;

use super::{ControllerError, ControllerRequest, ControllerResponse};

/// Carries a request to the controller and brings its answer back.
///
/// Implemented by the controller itself on the metadata shard, and by the shell over the mesh on every other shard.
pub trait ControllerTransport {
    /// Submits one request. The future may be dropped; the request may then still take effect.
    fn submit(&self, request: ControllerRequest) -> LocalBoxFuture<'_, Result<ControllerResponse, ControllerError>>;
}

/// A shard's access to the controller; clones share it.
#[derive(Clone)]
pub struct ControllerClient {
    transport: Rc<dyn ControllerTransport>,
}

impl ControllerClient {
    /// A client over a transport: the controller's own on the metadata shard, the mesh elsewhere.
    pub fn new(transport: Rc<dyn ControllerTransport>) -> ControllerClient {
        ControllerClient { transport }
    }

    /// Asks and waits until the answer holds on every shard.
    ///
    /// # Errors
    /// See [`ControllerError`]; each maps to a code that clients retry.
    pub async fn submit(&self, request: ControllerRequest) -> Result<ControllerResponse, ControllerError> {
        self.transport.submit(request).await
    }
}

impl std::fmt::Debug for ControllerClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ControllerClient")
    }
}
