//! Waiting for time on a shard: the only place where requests meet a timer.

use std::future::Future;
use std::time::Duration;

/// Waits on this shard's reactor.
pub async fn sleep(duration: Duration) {
    glommio::timer::sleep(duration).await;
}

/// `Some` if the future ends first, `None` after `limit`. The future is tried first, so what is ready costs no timer.
pub async fn within<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    if let std::task::Poll::Ready(out) = futures_util::poll!(future.as_mut()) {
        return Some(out);
    }
    if limit.is_zero() {
        return None;
    }
    futures_lite::future::or(async { Some(future.await) }, async {
        sleep(limit).await;
        None
    })
    .await
}
