//! Handlers: one file per API, named as in `wire/src/message` and the protocol guide; this file owns what they share.
//!
//! A handler takes the shard, the request's context and its body and gives a [`Response`] (body only: the header is added by
//! `dispatch`). It never writes to the socket. Handlers are listed one per line in alphabetical order.

pub mod admin;
pub mod alter_client_quotas;
pub mod alter_configs;
pub mod alter_partition_reassignments;
pub mod alter_replica_log_dirs;
pub mod api_versions;
pub mod broker_logger;
pub mod codec;
pub mod consumer_group_describe;
pub mod consumer_group_heartbeat;
pub mod create_partitions;
pub mod create_topics;
pub mod delete_groups;
pub mod delete_records;
pub mod delete_topics;
pub mod describe_client_quotas;
pub mod describe_cluster;
pub mod describe_configs;
pub mod describe_groups;
pub mod describe_log_dirs;
pub mod describe_producers;
pub mod describe_quorum;
pub mod describe_topic_partitions;
pub mod describe_user_scram_credentials;
pub mod elect_leaders;
pub mod fetch;
pub mod find_coordinator;
pub mod get_telemetry_subscriptions;
pub mod heartbeat;
pub mod incremental_alter_configs;
pub mod init_producer_id;
pub mod join_group;
pub mod leave_group;
pub mod list_config_resources;
pub mod list_groups;
pub mod list_offsets;
pub mod list_partition_reassignments;
pub mod metadata;
pub mod offset_commit;
pub mod offset_delete;
pub mod offset_fetch;
pub mod offset_for_leader_epoch;
pub mod produce;
pub mod push_telemetry;
pub mod sync_group;
pub mod unregister_broker;
pub mod update_features;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};

pub use crate::error::HandlerError;
use crate::quota::shard::ResolvedCell;
use crate::quota::work::Account;
use crate::shard::parked::parked;
use crate::shard::rescue::WorkGuard;
use crate::stage::{Stage, StageStamps, monotonic_us};

/// What a handler knows about the request beside its body.
#[derive(Clone, Debug)]
pub struct RequestContext {
    /// API key as on the wire.
    pub api_key: i16,
    /// Version of the request, already known to be served.
    pub api_version: i16,
    /// The client's number for this request, repeated in the response.
    pub correlation_id: i32,
    /// The client's name for itself, if it gave one.
    pub client_id: Option<Rc<str>>,
    /// Address of the client.
    pub peer: SocketAddr,
    /// The connection it came on.
    pub connection: Rc<ConnectionState>,
    /// When the last byte of the request was received.
    pub received_at: Instant,
    /// Its stage stamps and its claim on the rescue thread.
    pub track: Rc<Track>,
}

impl RequestContext {
    /// Ends a stage of this request.
    pub fn mark(&self, stage: Stage) {
        let mut stamps = self.track.stamps.get();
        stamps.mark(stage, monotonic_us());
        self.track.stamps.set(stamps);
    }

    /// Waits out a delay planted in the stage just ended, see `shard/planted_delay.rs`.
    pub async fn planted(&self, stage: Stage) {
        let mut stamps = self.track.stamps.get();
        crate::shard::planted_delay::planted(stage, &mut stamps).await;
        self.track.stamps.set(stamps);
    }

    /// Takes over the stamps of a part of this request that ran on another shard.
    pub fn adopt(&self, part: &StageStamps) {
        let mut stamps = self.track.stamps.get();
        stamps.adopt(part);
        self.track.stamps.set(stamps);
    }

    /// The stamps so far, to send along with a part of this request.
    pub fn stamps(&self) -> StageStamps {
        self.track.stamps.get()
    }

    /// Waits for something that may take long and is nobody's fault (a long poll, a rebalance): meanwhile the request is not work that
    /// the rescue thread expects to progress (until it is woken), and its time is charged to the park stage.
    pub async fn parked<T>(&self, wait: impl Future<Output = T>) -> T {
        let released = self.track.work.borrow_mut().take();
        let out = match released.as_ref().map(WorkGuard::pulse) {
            None => wait.await,
            Some(pulse) => {
                drop(released);
                let out = parked(Arc::clone(&pulse), wait).await;
                *self.track.work.borrow_mut() = Some(pulse.work());
                out
            }
        };
        self.mark(Stage::Park);
        out
    }

    /// A context as a client on this host would have, for tests of handlers.
    pub fn for_test(api_key: i16, api_version: i16) -> Self {
        let peer = SocketAddr::from(([127, 0, 0, 1], 40_000));
        let local = SocketAddr::from(([127, 0, 0, 1], 9092));
        RequestContext {
            api_key,
            api_version,
            correlation_id: 1,
            client_id: Some(Rc::from("test")),
            peer,
            connection: Rc::new(ConnectionState {
                id: 1,
                peer,
                local,
                client_software: RefCell::new(None),
                quotas: ResolvedCell::default(),
            }),
            received_at: Instant::now(),
            track: Rc::new(Track::start(monotonic_us(), None)),
        }
    }
}

/// What is measured of a request while it runs.
#[derive(Debug)]
pub struct Track {
    stamps: Cell<StageStamps>,
    /// Time on the shards' threads that no quota has counted yet, nanoseconds.
    worked_ns: Cell<u64>,
    /// For how long the connection is to be muted, milliseconds.
    throttle_ms: Cell<u64>,
    /// Tells the rescue thread that this request must make progress; released while it is parked.
    work: RefCell<Option<WorkGuard>>,
}

impl Track {
    /// Starts the clock, at the first byte of the request on the clock of [`monotonic_us`].
    pub fn start(first_byte_us: u64, work: Option<WorkGuard>) -> Self {
        Track {
            stamps: Cell::new(StageStamps::start(first_byte_us)),
            worked_ns: Cell::new(0),
            throttle_ms: Cell::new(0),
            work: RefCell::new(work),
        }
    }

    /// What was not counted yet, nanoseconds; from now on it is.
    pub fn take_worked_ns(&self) -> u64 {
        self.worked_ns.take()
    }

    /// The connection is to be muted for at least so long, and the client told.
    pub fn throttle(&self, ms: u64) {
        self.throttle_ms.set(self.throttle_ms.get().max(ms));
    }

    /// For how long, milliseconds.
    pub fn throttle_ms(&self) -> u64 {
        self.throttle_ms.get()
    }
}

impl Account for Track {
    fn charge(&self, ns: u64) {
        self.worked_ns.set(self.worked_ns.get().saturating_add(ns));
    }
}

/// What a connection remembers between its requests. Owned by the connection's task; everything else only borrows it.
#[derive(Debug)]
pub struct ConnectionState {
    /// Unique in this process.
    pub id: u64,
    /// Address of the client.
    pub peer: SocketAddr,
    /// Address it connected to.
    pub local: SocketAddr,
    /// Name and version of the client library, as told by ApiVersions v3 and later.
    pub client_software: RefCell<Option<(String, String)>>,
    /// What its client may use.
    pub quotas: ResolvedCell,
}

/// A handler's answer, without the response header.
#[derive(Debug)]
pub enum Response {
    /// The whole body in one buffer.
    Frame(BytesMut),
    /// The body in parts that are sent one after the other without being joined.
    Chunks(Vec<Chunk>),
    /// No response is sent (a produce with acks=0).
    None,
}

impl Response {
    /// Bytes of the body.
    pub fn len(&self) -> usize {
        match self {
            Response::Frame(body) => body.len(),
            Response::Chunks(chunks) => chunks.iter().map(Chunk::len).sum(),
            Response::None => 0,
        }
    }

    /// True for a body of no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A part of a response's body.
#[derive(Debug, Clone)]
pub enum Chunk {
    /// Bytes in memory.
    Bytes(Bytes),
    /// A range of a file that is sent with `sendfile`. The range never changes after it was handed out.
    File(FileSpan),
}

impl Chunk {
    /// Bytes of this part.
    pub fn len(&self) -> usize {
        match self {
            Chunk::Bytes(bytes) => bytes.len(),
            Chunk::File(span) => span.len as usize,
        }
    }

    /// True for a part of no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// (file, position, length) ready for `sendfile`.
#[derive(Debug, Clone)]
pub struct FileSpan {
    /// A read-only descriptor through the page cache.
    pub file: Arc<dyn SendSource>,
    /// Byte position in the file.
    pub position: u64,
    /// Bytes.
    pub len: u32,
    /// Bytes behind the range that whoever reads it will want next, as far as that is known; they never change either.
    pub ahead: u32,
}

/// A file that `sendfile` may read: the storage layer's `SendFile`.
pub trait SendSource: AsFd + fmt::Debug + Send + Sync {}

impl<T: AsFd + fmt::Debug + Send + Sync> SendSource for T {}

/// What handling a request comes to.
pub type HandlerResult = Result<Response, HandlerError>;

/// A request whose ordered part is over: later requests of the connection may start, answers still go out in request order.
pub enum Begun {
    /// Answered already.
    Done(HandlerResult),
    /// Runs on beside the connection's other requests.
    Pending(Pin<Box<dyn Future<Output = HandlerResult>>>),
}

impl Begun {
    /// A request without an ordered part of its own.
    pub fn pending(future: impl Future<Output = HandlerResult> + 'static) -> Self {
        Begun::Pending(Box::pin(future))
    }
}
