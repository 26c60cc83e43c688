//! Runs the group coordinator on its shard: loads it from `__consumer_offsets`, appends its records, parks answers until they are durable.

use std::rc::Rc;

use coreline_wire::error_code::ErrorCode;

use super::client::GroupTransport;
use super::config::GroupConfig;
use super::request::{GroupRequest, GroupResponse};
use super::{LocalFuture, OffsetsLog, Runtime};

/// The group coordinator of this node. Lives on shard 0; clones are handles to the same one.
pub struct GroupDriver<L: OffsetsLog, R: Runtime> {
    inner: Rc<Inner<L, R>>,
}

#[expect(dead_code, reason = "the bodies follow")]
struct Inner<L, R> {
    config: GroupConfig,
    log: L,
    runtime: R,
}

impl<L: OffsetsLog, R: Runtime> Clone for GroupDriver<L, R> {
    fn clone(&self) -> Self {
        GroupDriver { inner: self.inner.clone() }
    }
}

impl<L: OffsetsLog, R: Runtime> GroupDriver<L, R> {
    /// A coordinator that has loaded nothing yet.
    pub fn new(config: GroupConfig, log: L, runtime: R) -> Self {
        GroupDriver { inner: Rc::new(Inner { config, log, runtime }) }
    }

    /// Loads what is in the log and fires timers, until [`GroupDriver::stop`]. The shell spawns it once.
    pub async fn run(&self) {}

    /// Ends [`GroupDriver::run`] and refuses everything from now on; parked requests get `NOT_COORDINATOR`.
    pub fn stop(&self) {}
}

impl<L: OffsetsLog, R: Runtime> GroupTransport for GroupDriver<L, R> {
    fn call(&self, request: GroupRequest) -> LocalFuture<'static, Result<GroupResponse, ErrorCode>> {
        Box::pin(std::future::ready(Ok(request.refuse(ErrorCode::CoordinatorNotAvailable))))
    }
}
