//! The admin listener: HTTP/1.1 `GET` and `HEAD` of /metrics, /health and /ready. On shard 0, which asks the others over the mesh.
//!
//! One request per connection (`Connection: close`). Bounded: connections, bytes of a request's head, seconds per request. Only method and
//! path of the request line are read, so there is no header to parse and no body.

use std::cell::{Cell, OnceCell};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use glommio::io::PollableFd;
use socket2::{SockRef, Socket};

use crate::handler::Chunk;
use crate::limits;
use crate::metrics::{ProcessFacts, render_prometheus};
use crate::net::send;
use crate::shard::lifecycle::{Lifecycle, Phase};
use crate::shard::task_queue::{self, Queue, Task};
use crate::shard::{Shard, ShardReply, ShardRequest, clock};
use crate::sys;

/// What the answers come from.
struct Source {
    lifecycle: Arc<Lifecycle>,
    /// There once the store is recovered.
    shard: Rc<OnceCell<Rc<Shard>>>,
}

/// Starts to listen; answers until the task is cancelled.
pub fn start(lifecycle: Arc<Lifecycle>, shard: Rc<OnceCell<Rc<Shard>>>, listener: Socket) -> io::Result<Task<()>> {
    listener.listen(limits::ADMIN_CONNECTIONS_MAX as i32)?;
    let listener = PollableFd::new(OwnedFd::from(listener)).map_err(io::Error::from)?;
    Ok(task_queue::spawn(Queue::Background, accept_loop(Rc::new(Source { lifecycle, shard }), listener)))
}

async fn accept_loop(source: Rc<Source>, listener: PollableFd<OwnedFd>) {
    let open = Rc::new(Cell::new(0usize));
    loop {
        let socket = match SockRef::from(listener.get_ref()).accept() {
            Ok((socket, _)) => socket,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if listener.readable().await.is_err() {
                    return;
                }
                continue;
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept admin connections");
                clock::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        if open.get() >= limits::ADMIN_CONNECTIONS_MAX || socket.set_nonblocking(true).is_err() {
            continue;
        }
        let Ok(socket) = PollableFd::new(OwnedFd::from(socket)) else { continue };
        let (source, open) = (Rc::clone(&source), Rc::clone(&open));
        open.set(open.get() + 1);
        task_queue::spawn(Queue::Background, async move {
            let answered = answer(&source, &socket);
            let deadline = clock::sleep(Duration::from_secs(limits::ADMIN_SECONDS));
            futures_lite::pin!(answered, deadline);
            futures_util::future::select(answered, deadline).await;
            open.set(open.get() - 1);
        })
        .detach();
    }
}

/// Reads one request and answers it.
async fn answer(source: &Source, socket: &PollableFd<OwnedFd>) {
    let mut head = BytesMut::new();
    let request = loop {
        if let Some(request) = parse(&head) {
            break request;
        }
        head.reserve(1024);
        match sys::recv(socket.get_ref().as_fd(), &mut head, 1024) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if socket.readable().await.is_err() {
                    return;
                }
            }
            Err(_) => return,
        }
    };
    let (status, kind, body) = match request {
        Request::Get { path: Path::Metrics, .. } => match source.shard.get() {
            Some(shard) => (Status::Ok, TEXT_METRICS, metrics(shard).await),
            None => (Status::Unavailable, TEXT, "starting\n".to_string()),
        },
        Request::Get { path: Path::Health, .. } => match health(source).await {
            Ok(()) => (Status::Ok, TEXT, "ok\n".to_string()),
            Err(reason) => (Status::Unavailable, TEXT, format!("{reason}\n")),
        },
        Request::Get { path: Path::Ready, .. } => match source.lifecycle.phase() {
            Phase::Serving => (Status::Ok, TEXT, "ready\n".to_string()),
            Phase::Boot | Phase::Recovered | Phase::Meshed => (Status::Unavailable, TEXT, "starting\n".to_string()),
            Phase::Draining | Phase::Stopping | Phase::Flushed => (Status::Unavailable, TEXT, "stopping\n".to_string()),
        },
        Request::Get { path: Path::Other, .. } => (Status::NotFound, TEXT, "there are /metrics, /health and /ready\n".to_string()),
        Request::OtherMethod => (Status::MethodNotAllowed, TEXT, "GET and HEAD only\n".to_string()),
        Request::Malformed => (Status::BadRequest, TEXT, "not an HTTP request\n".to_string()),
        Request::TooLarge => (Status::TooLarge, TEXT, "the request's head is too large\n".to_string()),
    };
    let with_body = !matches!(request, Request::Get { head_only: true, .. });
    let mut parts = VecDeque::from([Chunk::Bytes(Bytes::from(response_head(status, kind, body.len())))]);
    if with_body {
        parts.push_back(Chunk::Bytes(Bytes::from(body)));
    }
    // The client went away: nobody to tell.
    let _ = send::send_all(socket, &mut parts, |_| {}).await;
    let _ = SockRef::from(socket.get_ref()).shutdown(std::net::Shutdown::Write);
}

/// The counts of all shards as Prometheus text.
async fn metrics(shard: &Rc<Shard>) -> String {
    let mut snapshots = Vec::new();
    for id in shard.mesh.shards() {
        let snapshot = if id == shard.id {
            Some(shard.snapshot())
        } else {
            match within_seconds(2, shard.mesh.call(id, ShardRequest::Metrics)).await {
                Some(Ok(ShardReply::Metrics(snapshot))) => Some(*snapshot),
                _ => None,
            }
        };
        snapshots.extend(snapshot);
    }
    let mut text = render_prometheus(&snapshots, &ProcessFacts::read());
    crate::telemetry::render::append(&mut text, &shard.telemetry, crate::stage::monotonic_us() / 1000);
    text
}

/// Whether every shard turns: each answers over the mesh within two seconds. (Before the mesh answers, turning is enough.)
async fn health(source: &Source) -> Result<(), String> {
    let Some(shard) = source.shard.get().filter(|_| source.lifecycle.phase() >= Phase::Meshed) else { return Ok(()) };
    for id in shard.mesh.shards().filter(|id| *id != shard.id) {
        match within_seconds(2, shard.mesh.call(id, ShardRequest::Ping)).await {
            Some(Ok(ShardReply::Pong)) => {}
            _ => return Err(format!("shard {id} does not turn")),
        }
    }
    Ok(())
}

async fn within_seconds<T>(seconds: u64, future: impl Future<Output = T>) -> Option<T> {
    let deadline = clock::sleep(Duration::from_secs(seconds));
    futures_lite::pin!(future, deadline);
    match futures_util::future::select(future, deadline).await {
        futures_util::future::Either::Left((out, _)) => Some(out),
        futures_util::future::Either::Right(_) => None,
    }
}

const TEXT: &str = "text/plain; charset=utf-8";
const TEXT_METRICS: &str = crate::metrics::render::CONTENT_TYPE;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Path {
    Metrics,
    Health,
    Ready,
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Request {
    Get { path: Path, head_only: bool },
    OtherMethod,
    Malformed,
    TooLarge,
}

/// The request in a head, once the head is complete (ends with an empty line) or can be refused.
fn parse(head: &[u8]) -> Option<Request> {
    let complete = head.windows(4).any(|w| w == b"\r\n\r\n") || head.windows(2).any(|w| w == b"\n\n");
    if !complete {
        return (head.len() >= limits::ADMIN_HEAD_BYTES_MAX).then_some(Request::TooLarge);
    }
    let line = head.split(|b| *b == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let mut words = line.split(|b| *b == b' ');
    let (Some(method), Some(target), Some(version), None) = (words.next(), words.next(), words.next(), words.next()) else {
        return Some(Request::Malformed);
    };
    if !version.starts_with(b"HTTP/1.") || method.is_empty() || !method.iter().all(u8::is_ascii_uppercase) {
        return Some(Request::Malformed);
    }
    let head_only = match method {
        b"GET" => false,
        b"HEAD" => true,
        _ => return Some(Request::OtherMethod),
    };
    let path = match target.split(|b| *b == b'?').next().unwrap_or_default() {
        b"/metrics" => Path::Metrics,
        b"/health" => Path::Health,
        b"/ready" => Path::Ready,
        _ => Path::Other,
    };
    Some(Request::Get { path, head_only })
}

#[derive(Debug, Clone, Copy)]
enum Status {
    Ok,
    BadRequest,
    NotFound,
    MethodNotAllowed,
    TooLarge,
    Unavailable,
}

fn response_head(status: Status, kind: &str, body_bytes: usize) -> String {
    let line = match status {
        Status::Ok => "200 OK",
        Status::BadRequest => "400 Bad Request",
        Status::NotFound => "404 Not Found",
        Status::MethodNotAllowed => "405 Method Not Allowed\r\nAllow: GET, HEAD",
        Status::TooLarge => "431 Request Header Fields Too Large",
        Status::Unavailable => "503 Service Unavailable",
    };
    format!("HTTP/1.1 {line}\r\nContent-Type: {kind}\r\nContent-Length: {body_bytes}\r\nConnection: close\r\n\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_by_method_and_path() {
        let get = |path| Some(Request::Get { path, head_only: false });
        for (head, expected) in [
            (&b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"[..], get(Path::Metrics)),
            (b"GET /metrics?x=1 HTTP/1.0\r\n\r\n", get(Path::Metrics)),
            (b"HEAD /ready HTTP/1.1\r\n\r\n", Some(Request::Get { path: Path::Ready, head_only: true })),
            (b"GET /health HTTP/1.1\n\n", get(Path::Health)),
            (b"GET / HTTP/1.1\r\n\r\n", get(Path::Other)),
            (b"GET /metricsx HTTP/1.1\r\n\r\n", get(Path::Other)),
            (b"POST /metrics HTTP/1.1\r\n\r\n", Some(Request::OtherMethod)),
            (b"GET /metrics\r\n\r\n", Some(Request::Malformed)),
            (b"GET /metrics SMTP/1.1\r\n\r\n", Some(Request::Malformed)),
            (b"\x00\x00\x00\x10\r\n\r\n", Some(Request::Malformed)),
            (b"", None),
            (b"GET /metrics HTTP/1.1\r\n", None),
        ] {
            assert_eq!(parse(head), expected, "{}", String::from_utf8_lossy(head));
        }
        assert_eq!(parse(&vec![b'a'; limits::ADMIN_HEAD_BYTES_MAX - 1]), None);
        assert_eq!(parse(&vec![b'a'; limits::ADMIN_HEAD_BYTES_MAX]), Some(Request::TooLarge));
    }
}
