//! Start and stop order of the process and of each shard.
//!
//! ```text
//!  main: preflight, lock the data directory, bind the listeners, rescue thread, one pinned executor per shard
//!  each shard                                       enters
//!    joins the mesh; shard 0: `metadata::open`        Recovered   (quorum leads, store recovered, image known)
//!    opens its partitions, answers the mesh           Meshed
//!    shard 0: publishes, loads the groups             Serving     (listeners accept, "ready")
//!    ... until a signal ...                           Draining    (no new requests, parked ones answered)
//!    waits for its requests in flight                 Stopping    (stores flush and close)
//!                                                     Flushed     (shard 0 leaves the mark of a clean stop, the shards end)
//! ```
//! A shard waits at each phase for all others. A failure anywhere ends the process with one sentence.

use std::cell::{Cell, OnceCell, RefCell};
use std::net::{SocketAddr, ToSocketAddrs};
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::mpsc;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use coreline_storage::data_dir::{CleanShutdown, DataDir, JournalId, Meta};
use coreline_storage::io::{HostDisk, Poison};
use coreline_storage::{Claims, SegmentListing, StorageError, StoreConfig};
use coreline_wire::TopicPartition;
use glommio::{LocalExecutorBuilder, Placement, PoolPlacement};
use socket2::Socket;

use super::lifecycle::{Event, Lifecycle, Phase};
use super::mesh::{self, MeshEnd};
use super::remote::{MeshController, MeshPublisher};
use super::request::{self, ShardReply, ShardRequest};
use super::rescue::{self, Pulse, Rescue};
use super::task_queue::{self, Queue, Task};
use super::{Shard, ShardId, cleaner, clock, group, maintenance, metadata};
use crate::admin;
use crate::config::{Config, HostPort, effective};
use crate::controller::ControllerClient;
use crate::coordinator::GroupClient;
use crate::error::Fatal;
use crate::fetch_session::SessionCache;
use crate::limits;
use crate::metadata::{MetadataDelta, MetadataImage, Publication};
use crate::metrics::ShardMetrics;
use crate::net::accept::{self, Net};
use crate::net::connection::panic_text;
use crate::net::quota::{ConnectionLimits, ConnectionQuota};
use crate::net::read_ahead;
use crate::partition::{PartitionConfig, PartitionManager, ShardStore};
use crate::preflight;
use crate::purgatory::Watermark;
use crate::quota::{QuotaRegistry, ShardQuotas, WindowSpec};
use crate::telemetry::TelemetryStore;
use crate::{shutdown, sys};

/// Runs the broker until it is told to stop or cannot go on.
pub fn run(config: Arc<Config>) -> Result<(), Fatal> {
    let started = Instant::now();
    let plan = preflight::check(config.shards, &config.data_dir())?;
    // Held to the end of the process, however it ends.
    let _idle_bound = preflight::hold_cpu_latency(config.runtime_cpu_latency_us);
    let _lock = DataDir::new(config.data_dir()).lock().map_err(|error| preflight::judge_storage(&error))?;
    let count = u16::try_from(plan.cpus.len()).map_err(|_| Fatal::new("more than 65535 shards"))?;

    let (events, received) = mpsc::channel();
    let lifecycle = Arc::new(Lifecycle::new(events));
    shutdown::watch_signals(Arc::clone(&lifecycle))?;

    let (listeners, bound) = accept::bind(resolve(&config.listen(), "listeners")?, count, "listeners")?;
    let (mut admin_listeners, admin_bound) = accept::bind(resolve(&config.admin_listen(), "admin.listen")?, 1, "admin.listen")?;
    // Scripts and tests read the ports from these two lines; connections are accepted when the last one, "ready", is there.
    tracing::info!("listening on {bound}");
    tracing::info!("admin on http://{admin_bound}");

    let threads = usize::try_from(config.read_ahead_threads).unwrap_or(1);
    read_ahead::start(threads, u64::try_from(config.read_ahead_bytes).unwrap_or(0))
        .map_err(|error| Fatal::new(format!("the threads that read ahead cannot be started: {error}")))?;

    let window = WindowSpec::new(config.quota_window_num, config.quota_window_size_seconds);
    let quota = ConnectionQuota::new(ConnectionLimits::from_settings(&config), window);
    let buckets = Arc::new(QuotaRegistry::new(
        window,
        WindowSpec::new(config.controller_quota_window_num, config.controller_quota_window_size_seconds),
    ));
    let telemetry = Arc::new(TelemetryStore::default());
    let pulses = Pulse::for_shards(count);
    let watchdog = u64::try_from(config.runtime_watchdog_ms).ok().filter(|ms| *ms > 0).map_or(Duration::MAX, Duration::from_millis);
    let _rescue = Rescue::start(pulses.clone(), watchdog, move |shard| {
        crate::logging::finish();
        eprintln!("coreline: shard {shard} has work and did not turn for {} s; the process ends", watchdog.as_secs());
        std::process::exit(1);
    })
    .map_err(|error| Fatal::new(format!("the rescue thread cannot be started: {error}")))?;

    let boot = Arc::new(OnceLock::new());
    let mut threads = Vec::new();
    let ends = mesh::ends::<ShardRequest, ShardReply>(&pulses);
    for (i, ((mesh, listener), pulse)) in ends.into_iter().zip(listeners).zip(&pulses).enumerate() {
        let setup = Setup {
            id: ShardId(i as u16),
            cpu: plan.cpus[i],
            io_memory: plan.io_memory,
            segment_files: effective::segment_files_max(&config, plan.descriptors, u64::from(count)),
            sendfile: plan.tells_residency,
            config: Arc::clone(&config),
            lifecycle: Arc::clone(&lifecycle),
            pulse: Arc::clone(pulse),
            mesh,
            listener,
            bound,
            admin: if i == 0 { admin_listeners.pop() } else { None },
            quota: Arc::clone(&quota),
            buckets: Arc::clone(&buckets),
            telemetry: Arc::clone(&telemetry),
            boot: Arc::clone(&boot),
        };
        let thread = std::thread::Builder::new().name(shard_name(ShardId(i as u16))).spawn(move || thread_main(setup));
        threads.push(thread.map_err(|error| Fatal::new(format!("a thread for shard {i} cannot be started: {error}")))?);
    }

    // Beside the start, not before it: reading the host takes longer than starting. What would be fatal, preflight has refused.
    let data_dir = config.data_dir();
    let _ = std::thread::Builder::new().name("host-check".into()).spawn(move || preflight::advise(&data_dir));
    // Behind the start, whose memory is given back first: what is locked cannot be.
    let before_serving = || preflight::lock_memory(config.runtime_memory_lock);
    shutdown::supervise(&received, &lifecycle, usize::from(count), started, before_serving)?;
    for thread in threads {
        // A panic has been reported as an event already.
        let _ = thread.join();
    }
    tracing::info!("stopped");
    Ok(())
}

/// The first address of a host and port.
fn resolve(address: &HostPort, setting: &str) -> Result<SocketAddr, Fatal> {
    let text = address.to_string();
    let resolved = text.to_socket_addrs().map(|mut all| all.next());
    match resolved {
        Ok(Some(address)) => Ok(address),
        Ok(None) => Err(Fatal::new(format!("{setting} {text} has no address: check the name"))),
        Err(error) => Err(Fatal::new(format!("{setting} {text} cannot be resolved: {error}"))),
    }
}

/// What a shard's thread starts with.
struct Setup {
    id: ShardId,
    cpu: usize,
    io_memory: usize,
    /// Segment files it may keep open.
    segment_files: usize,
    /// Whether the kernel tells what is in the page cache, so that `sendfile` never waits for the disk.
    sendfile: bool,
    config: Arc<Config>,
    lifecycle: Arc<Lifecycle>,
    pulse: Arc<Pulse>,
    mesh: MeshEnd<ShardRequest, ShardReply>,
    listener: Socket,
    /// Address of the Kafka listener with its real port.
    bound: SocketAddr,
    /// The admin listener, on shard 0.
    admin: Option<Socket>,
    quota: Arc<ConnectionQuota>,
    buckets: Arc<QuotaRegistry>,
    telemetry: Arc<TelemetryStore>,
    /// Set by shard 0 before `Recovered`.
    boot: Arc<OnceLock<Boot>>,
}

/// What shard 0 found out for all.
#[derive(Debug)]
pub(super) struct Boot {
    /// The metadata as of the last run, with this run's registration.
    pub(super) image: Arc<MetadataImage>,
    /// A journal for each shard.
    pub(super) journals: Vec<JournalId>,
    /// What recovery saw in the partitions' directories.
    pub(super) segments: Arc<SegmentListing>,
    /// Partitions that the metadata log says were deleted and whose files are still there.
    pub(super) removed: Vec<TopicPartition>,
    /// Random id of the data directory.
    pub(super) directory_id: [u8; 16],
    /// The first failure of the data directory's device, for all shards: after it nobody acknowledges anything.
    pub(super) poison: Poison,
    pub(super) claims: Claims,
}

/// Name of a shard's thread, as `ps -L` and `perf` show it.
fn shard_name(id: ShardId) -> String {
    format!("shard-{}", id.0)
}

/// Names the calling thread, up to 15 bytes; a refusal leaves the name as it was.
fn name_this_thread(name: &str) {
    if let Ok(name) = std::ffi::CString::new(name) {
        let _ = nix::sys::prctl::set_name(&name);
    }
}

/// A shard's thread, from its executor's birth to its end. Every way out is reported.
fn thread_main(setup: Setup) {
    let (id, lifecycle, pulse) = (setup.id, Arc::clone(&setup.lifecycle), Arc::clone(&setup.pulse));
    let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| {
        // The executor's pool threads get the name of the thread that starts them; they are not pinned, unlike the shard.
        name_this_thread(&format!("pool-{}", id.0));
        let executor = LocalExecutorBuilder::new(Placement::Fixed(setup.cpu))
            .name("shard")
            .io_memory(setup.io_memory)
            .ring_depth(limits::RING_ENTRIES)
            .preempt_timer(Duration::from_millis(u64::try_from(setup.config.runtime_preempt_timer_ms).unwrap_or(3_600_000)))
            // Spinning would take the CPU from the kernel's own workers: each flush would be longer by the spin.
            .spin_before_park(Duration::ZERO)
            .blocking_thread_pool_placement(PoolPlacement::Unbound(limits::BLOCKING_THREADS))
            .make()
            .map_err(|error| Fatal::new(format!("the executor of shard {id} on CPU {} cannot be started: {error}", setup.cpu)))?;
        name_this_thread(&shard_name(id));
        // Behind the pool's threads, which are to keep the kernel's longer slices.
        match setup.config.runtime_shard_slice_us {
            0 => {}
            us => drop(sys::take_short_slices(Duration::from_micros(us.unsigned_abs().into()))),
        }
        executor.run(shard_main(setup))
    }));
    task_queue::forget();
    pulse.end();
    match outcome {
        Ok(Ok(())) => lifecycle.report(Event::Ended(id)),
        Ok(Err(fatal)) => lifecycle.fail(fatal),
        Err(panic) => lifecycle.report(Event::Panicked(id, panic_text(&*panic).to_string())),
    }
}

/// A shard's life.
async fn shard_main(setup: Setup) -> Result<(), Fatal> {
    let Setup {
        id, segment_files, sendfile, config, lifecycle, pulse, mesh, listener, bound, admin, quota, buckets, telemetry, boot, ..
    } = setup;
    let failed = |what: &str, error: &dyn std::fmt::Display| Fatal::new(format!("shard {id}: {what}: {error}"));
    task_queue::create(Arc::clone(&pulse)).map_err(|error| failed("queues", &error))?;
    let timekeeping = clock::start();
    let pokes = rescue::answer_pokes(id, Arc::clone(&pulse));
    let mesh = mesh.join().await;
    let known = Rc::new(OnceCell::new());
    let admin = match admin {
        Some(listener) => {
            let answering = admin::start(Arc::clone(&lifecycle), Rc::clone(&known), listener);
            Some(answering.map_err(|error| failed("admin listener", &error))?)
        }
        None => None,
    };

    let dir = DataDir::new(config.data_dir());
    let disk = HostDisk::open(dir.root()).await.map_err(|error| failed("data directory", &error))?;
    let metadata = match id {
        ShardId::METADATA => {
            let (formatted, directory_id) = identify(&config, &disk, &dir).await.map_err(|error| preflight::judge_storage(&error))?;
            let (opened, metadata) = metadata::open(&config, &disk, (&dir, formatted, directory_id), mesh.count(), bound, {
                let lifecycle = Arc::clone(&lifecycle);
                move |fatal| lifecycle.fail(fatal)
            })
            .await?;
            // Set once, here.
            let _ = boot.set(opened);
            Some(metadata)
        }
        _ => None,
    };
    enter(id, &lifecycle, Phase::Recovered).await;

    let boot = boot.get().ok_or_else(|| failed("start", &"shard 0 has left nothing"))?;
    let mut store_config = effective::store_config(&config, segment_files);
    store_config.sendfile &= sendfile;
    let store = open_store(id, store_config, disk.clone(), &dir, boot).await?;
    let metrics = Rc::new(ShardMetrics::new(id.0));
    let quotas = Rc::new(ShardQuotas::new(buckets, Rc::clone(&metrics)));
    let net = Net::new(&config, Rc::clone(&metrics), quota);
    let resolve = {
        let config = Arc::clone(&config);
        Rc::new(move |image: &MetadataImage, topic: &str| PartitionConfig::of_topic(&config, image, topic))
    };
    let controller = match &metadata {
        Some(metadata) => metadata.controller.client(),
        None => ControllerClient::new(Rc::new(MeshController(mesh.clone()))),
    };
    let groups = metadata.as_ref().map(|_| group::driver(&config, Rc::clone(&known)));
    let shard = Rc::new(Shard {
        id,
        count: mesh.count(),
        groups: groups.as_ref().map_or_else(|| GroupClient::remote(mesh.clone()), GroupClient::local),
        partitions: PartitionManager::new(id, mesh.count(), config.node_id, store, resolve),
        sessions: RefCell::new(SessionCache::new(usize::try_from(config.max_incremental_fetch_session_cache_slots).unwrap_or(0))),
        image: RefCell::new(Arc::new(MetadataImage::empty())),
        producer_ids: RefCell::default(),
        quotas,
        telemetry,
        telemetry_version: Cell::new(0),
        mesh,
        pulse,
        config: Arc::clone(&config),
        metrics,
        lifecycle: Arc::clone(&lifecycle),
        net: Rc::clone(&net),
        stopping: Watermark::new(0),
        coordinator: groups.clone(),
        directory_id: boot.directory_id,
        controller,
    });
    let _ = known.set(Rc::clone(&shard));
    let storing = run_store(&shard);
    let everything = Publication { image: Arc::clone(&boot.image), delta: Arc::new(MetadataDelta::full(&boot.image)) };
    shard.partitions.store().know_segments(Some(Arc::clone(&boot.segments)));
    shard.publish(&everything).await.map_err(|error| failed("opening the partitions", &error))?;
    shard.partitions.store().know_segments(None);
    let serving = Rc::clone(&shard);
    shard.mesh.serve(Rc::new(move |from, request| request::serve(Rc::clone(&serving), from, request)));
    enter(id, &lifecycle, Phase::Meshed).await;

    if let Some(metadata) = &metadata {
        metadata.controller.attach_publisher(Rc::new(MeshPublisher(shard.mesh.clone())));
    }
    let coordinating = groups.clone().map(|groups| task_queue::spawn(Queue::Background, async move { groups.run().await }));
    // Who connects at the sight of "ready" must not be refused: from here on the kernel queues connections.
    listener.listen(config.socket_listen_backlog_size.max(limits::LISTEN_BACKLOG_MIN)).map_err(|error| failed("listener", &error))?;
    let maintaining = maintenance::start(&shard);
    let cleaning = cleaner::start(&shard, &boot.removed);
    sys::give_back_memory();
    enter(id, &lifecycle, Phase::Serving).await;
    task_queue::stalls().count_into(Rc::clone(&shard.metrics));

    let accepting = accept::start(&shard, &net, listener, limits::CONNECTIONS_PER_SECOND).map_err(|error| failed("listener", &error))?;
    let sweeping = task_queue::spawn(Queue::Background, Rc::clone(&net).sweep());

    lifecycle.reached(Phase::Draining).await;
    accepting.cancel().await;
    shard.stop_parked();
    shard.partitions.store().stop_cleaning();
    if let Some(groups) = &groups {
        groups.stop();
    }
    net.drain(Duration::from_millis(u64::try_from(config.shutdown_drain_ms).unwrap_or(0))).await;
    sweeping.cancel().await;
    // Requests of other shards are still answered until every shard has drained.
    enter(id, &lifecycle, Phase::Stopping).await;

    maintaining.cancel().await;
    for task in cleaning {
        task.await;
    }
    if let Some(coordinating) = coordinating {
        coordinating.cancel().await;
    }
    if let Some(metadata) = metadata {
        metadata.close().await;
    }
    close_store(&shard, storing).await?;
    enter(id, &lifecycle, Phase::Flushed).await;
    if id == ShardId::METADATA {
        let broker_epoch = shard.image().broker(config.node_id).map_or(-1, |broker| broker.epoch);
        dir.write_clean_shutdown(&disk, CleanShutdown { broker_epoch }).await.map_err(|error| preflight::judge_storage(&error))?;
    }
    if let Some(admin) = admin {
        admin.cancel().await;
    }
    shard.mesh.close().await;
    pokes.cancel().await;
    timekeeping.cancel().await;
    Ok(())
}

/// This shard is ready for a phase; waits until all are.
async fn enter(id: ShardId, lifecycle: &Lifecycle, phase: Phase) {
    lifecycle.arrive(id, phase);
    lifecycle.reached(phase).await;
}

// What follows is called in this order by `shard_main`.

/// Shard 0, first of all: whose directory this is and whether the last stop was clean. The cluster's id is in the metadata log, so the
/// directory's own identity names only the node. The answer is whether the directory is new, and its id.
async fn identify(config: &Config, disk: &HostDisk, dir: &DataDir) -> Result<(bool, [u8; 16]), StorageError> {
    let mut directory_id = [0; 16];
    // Only a name: a directory without a random one is still usable.
    let _ = getrandom::fill(&mut directory_id);
    let meta = dir.open_or_format(disk, &Meta { cluster_id: String::new(), node_id: config.node_id, directory_id }).await?;
    // Without randomness nothing tells a new directory from an old one: it is taken for an old one.
    let formatted = meta.directory_id == directory_id && directory_id != [0; 16];
    match dir.take_clean_shutdown(disk).await? {
        Some(_) => tracing::debug!("the last stop was clean"),
        None if formatted => tracing::debug!("a new data directory"),
        None => tracing::warn!("the last stop was not clean: recovering from the journals"),
    }
    Ok((formatted, meta.directory_id))
}

/// Every shard, after `Recovered`.
async fn open_store(id: ShardId, config: StoreConfig, disk: HostDisk, dir: &DataDir, boot: &Boot) -> Result<ShardStore, Fatal> {
    ShardStore::open_sharing(disk, dir, boot.journals[id.index()], config, boot.poison.clone(), boot.claims.clone())
        .await
        .map_err(|error| preflight::judge_storage(&error).of(format!("shard {id}: opening the store")))
}

/// Every shard: the journal's writer and the flusher. A failure of the disk ends the process: what was acknowledged is durable, and
/// nothing more can be.
fn run_store(shard: &Rc<Shard>) -> Vec<Task<()>> {
    let (id, lifecycle) = (shard.id, Arc::clone(&shard.lifecycle));
    let fail = move |what: &str, outcome: Result<(), StorageError>| {
        if let Err(error) = outcome {
            lifecycle.fail(preflight::judge_storage(&error).of(format!("shard {id}: {what}")));
        }
    };
    let (store, failed) = (shard.partitions.store().clone(), fail.clone());
    let watched = Rc::clone(shard);
    store.set_on_frame(move |cost| {
        watched.partitions.frame_cost.set(cost);
        watched.metrics.observe_frame(cost);
    });
    let journal = task_queue::spawn(Queue::Produce, async move { failed("the journal", store.run_journal().await) });
    let store = shard.partitions.store().clone();
    let flusher = task_queue::spawn(Queue::Background, async move { fail("writing segments", store.run_flusher().await) });
    vec![journal, flusher]
}

/// Every shard, in `Stopping`: writes and flushes everything.
async fn close_store(shard: &Rc<Shard>, running: Vec<Task<()>>) -> Result<(), Fatal> {
    shard.partitions.close();
    let closed = shard.partitions.store().shutdown().await;
    for task in running {
        task.cancel().await;
    }
    closed.map_err(|error| preflight::judge_storage(&error).of(format!("shard {}: the last flush", shard.id)))
}
