//! Random work on the whole store, in phases of different character, noted in histories.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use coreline_storage::compaction::CompactionConfig;
use coreline_storage::config::{CleanupPolicy, DurabilityClass};
use coreline_storage::io::sim::{Rng, SimDisk};
use coreline_storage::journal::SyncMode;
use coreline_storage::{AppendContext, AppendError, AppendOrigin, CleanedStats, Log, LogConfig, Store, StoreConfig};
use coreline_wire::record::batch::{patch_base_offset, patch_leader_epoch};
use coreline_wire::record::{BatchBuilder, Compression, Origin, RawBatch, ValidBatch};
use coreline_wire::{TopicId, TopicPartition};
use futures_lite::future::{or, pending, yield_now, zip};

use super::history::{Batch, Histories, Line, LogHistory};
use super::{check, compacted};

const SLOTS: usize = 4;

/// Configuration of a seed.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) log: LogConfig,
    pub(crate) store: StoreConfig,
    pub(crate) stores: usize,
    /// Durability class of each slot.
    classes: [DurabilityClass; SLOTS],
    /// What happens to old records in each slot.
    policies: [CleanupPolicy; SLOTS],
    /// Keys of compacted logs.
    keys: u64,
    compaction: CompactionConfig,
}

impl Setup {
    pub(crate) fn new(rng: &mut Rng) -> Setup {
        let mut log = LogConfig {
            segment_bytes: [16 << 10, 64 << 10, 256 << 10, 1 << 20][rng.below(4) as usize],
            index_interval_bytes: [0, 1000, 4096][rng.below(3) as usize],
            max_message_bytes: 1 << 20,
            segment_ms: if rng.percent(30) { 50 } else { i64::MAX },
            retention_ms: -1,
            ..LogConfig::default()
        };
        let store = StoreConfig {
            journal_file_bytes: 1 << 20,
            journal_bytes_max: 3 << 20,
            journal_sync_mode: if rng.percent(50) { SyncMode::Dsync } else { SyncMode::Flush },
            tail_budget_bytes: [1 << 20, 4 << 20][rng.below(2) as usize],
            tail_chunk_bytes_max: [4 << 10, 32 << 10][rng.below(2) as usize],
            flush_chunk_bytes: [4 << 10, 64 << 10][rng.below(2) as usize],
            flush_interval: Duration::from_millis([1, 50, 1000, 60_000][rng.below(4) as usize]),
            open_files_max: 8,
            copied_read_bytes_max: 64 << 10,
            ..StoreConfig::default()
        };
        if rng.percent(40) {
            log.retention_bytes = 2 * i64::from(log.segment_bytes);
        }
        let stores = 1 + rng.below(2) as usize;
        let mut classes = [DurabilityClass::Durable; SLOTS];
        if rng.percent(50) {
            classes[2] = DurabilityClass::Replicated;
            classes[3] = [DurabilityClass::Replicated, DurabilityClass::Memory][rng.below(2) as usize];
        }
        if rng.percent(20) {
            log.retention_ms = 100;
        }
        let mut policies = [CleanupPolicy::default(); SLOTS];
        for slot in [1, 3] {
            if rng.percent(60) {
                policies[slot] = CleanupPolicy { compact: true, delete: rng.percent(30) };
            }
        }
        log.min_cleanable_dirty_ppm = [0, 0, 300_000][rng.below(3) as usize];
        log.delete_retention_ms = [0, 40, 86_400_000][rng.below(3) as usize];
        let keys = 1 + rng.below(30);
        // Room for all keys, for some, for hardly any.
        let keys_bytes = [1 << 20, 1 << 20, 240, 0][rng.below(4) as usize];
        let compaction = CompactionConfig { keys_bytes, ..CompactionConfig::default() };
        Setup { log, store, stores, classes, policies, keys, compaction }
    }

    pub(crate) fn compacts(&self, tp: TopicPartition) -> bool {
        self.policies[tp.partition as usize].compact
    }

    pub(crate) fn log_of(&self, tp: TopicPartition) -> LogConfig {
        LogConfig { durability: self.class(tp), cleanup_policy: self.policies[tp.partition as usize], ..self.log.clone() }
    }

    fn class(&self, tp: TopicPartition) -> DurabilityClass {
        self.classes[tp.partition as usize]
    }
}

/// What a phase does most.
#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Batches of all sizes, some waited for, in any order.
    Mixed(u64),
    /// Small batches, each waited for: journal frames of one block.
    Tiny(u64),
    /// Batches of many blocks, each waited for.
    Large(u64),
    /// A few batches and nothing waited for.
    Few(u64),
    /// Enough records with keys for several segments, checkpointed, and a compaction.
    Keyed(u64),
}

/// What a seed carries through its lives.
pub(crate) struct World {
    pub(crate) rng: RefCell<Rng>,
    pub(crate) setup: Setup,
    pub(crate) histories: RefCell<Histories>,
    /// Partition in each slot.
    slots: RefCell<Vec<TopicPartition>>,
    now_ms: Cell<i64>,
    epoch: Cell<i32>,
    incarnations: Cell<u8>,
}

fn tp(slot: usize, incarnation: u8) -> TopicPartition {
    let mut id = [9; 16];
    id[15] = incarnation;
    TopicPartition { topic: TopicId(id), partition: slot as i32 }
}

impl World {
    pub(crate) fn new(seed: u64) -> World {
        let mut rng = Rng::new(seed);
        let setup = Setup::new(&mut rng);
        let slots: Vec<_> = (0..SLOTS).map(|slot| tp(slot, 0)).collect();
        let histories = slots.iter().map(|tp| (*tp, LogHistory::new(0))).collect();
        World {
            rng: RefCell::new(rng),
            setup,
            histories: RefCell::new(histories),
            slots: RefCell::new(slots),
            now_ms: Cell::new(1_000_000),
            epoch: Cell::new(0),
            incarnations: Cell::new(0),
        }
    }

    pub(crate) fn below(&self, n: u64) -> u64 {
        self.rng.borrow_mut().below(n)
    }

    fn percent(&self, n: u64) -> bool {
        self.below(100) < n
    }

    /// The next life begins: partitions that the crash did not leave are created again.
    pub(crate) fn begin(&self, histories: Histories) {
        self.epoch.set(self.epoch.get() + 1);
        let mut slots = self.slots.borrow_mut();
        for slot in 0..SLOTS {
            let alive = histories.keys().find(|tp| tp.partition == slot as i32);
            slots[slot] = alive.copied().unwrap_or_else(|| self.new_partition(slot));
        }
        drop(slots);
        *self.histories.borrow_mut() = histories;
        let mut all = self.histories.borrow_mut();
        for tp in self.slots.borrow().iter() {
            all.entry(*tp).or_insert_with(|| LogHistory::new(0));
        }
    }

    fn phase(&self) -> Phase {
        let compacts = self.setup.policies.iter().any(|p| p.compact);
        match self.below(12) {
            0..=3 if compacts => Phase::Keyed(5 + self.below(25)),
            0..=5 => Phase::Mixed(self.below(60)),
            6 => Phase::Tiny(self.below(40)),
            7 => Phase::Large(self.below(15)),
            _ => Phase::Few(self.below(7)),
        }
    }

    fn new_partition(&self, slot: usize) -> TopicPartition {
        self.incarnations.set(self.incarnations.get() + 1);
        tp(slot, self.incarnations.get())
    }

    fn with<T>(&self, tp: TopicPartition, f: impl FnOnce(&mut LogHistory) -> T) -> T {
        f(self.histories.borrow_mut().get_mut(&tp).expect("a known partition"))
    }
}

struct Life<'a> {
    world: &'a World,
    disk: &'a SimDisk,
    stores: Vec<Store<SimDisk>>,
    logs: RefCell<BTreeMap<TopicPartition, Log<SimDisk>>>,
}

/// One life: recovery, work, and perhaps a clean end. The disk records. Answers with what became of old data.
pub(crate) async fn live(world: &World, disk: &SimDisk) -> Result<CleanedStats, String> {
    let alive: Vec<_> = world.slots.borrow().clone();
    let fresh = 0xabc0 + 64 * world.epoch.get() as u64;
    let opened = check::open(disk, &world.setup, &alive, world.setup.stores, fresh).await?;
    for (tp, log) in &opened.logs {
        let seen = if world.setup.compacts(*tp) { Some(check::seen(log).await?) } else { None };
        world.with(*tp, |h| h.opened(disk.recorded_events(), log.log_start_offset(), seen));
    }
    for tp in &opened.report.unknown {
        opened.stores[0].delete_log(*tp).await.map_err(|e| e.to_string())?;
    }
    let life = Life { world, disk, stores: opened.stores, logs: RefCell::new(opened.logs.into_iter().collect()) };
    let work = async {
        let phases = match world.below(20) {
            // The journal's first file full of small frames, then used again by large ones that leave a gap at its end.
            0..=2 => vec![Phase::Tiny(280), Phase::Large(45)],
            3 => vec![Phase::Large(45)],
            _ => (0..1 + world.below(3)).map(|_| world.phase()).collect(),
        };
        for phase in phases {
            life.phase(phase).await?;
        }
        if world.percent(25) {
            for store in &life.stores {
                store.shutdown().await.map_err(|e| format!("a clean end: {e}"))?;
            }
            for tp in life.partitions() {
                life.note_acked(tp, world.with(tp, |h| h.end()));
            }
        }
        Ok(())
    };
    life.beside(work).await?;
    let mut cleaned = CleanedStats::default();
    for stats in life.stores.iter().map(|s| s.stats().cleaned) {
        cleaned.compactions += stats.compactions;
        cleaned.segments_removed += stats.segments_removed;
        cleaned.logs_removed += stats.logs_removed;
    }
    Ok(cleaned)
}

impl Life<'_> {
    fn partitions(&self) -> Vec<TopicPartition> {
        self.world.slots.borrow().clone()
    }

    fn event(&self) -> usize {
        self.disk.recorded_events()
    }

    fn any(&self) -> TopicPartition {
        self.world.slots.borrow()[self.world.below(SLOTS as u64) as usize]
    }

    fn log(&self, tp: TopicPartition) -> Log<SimDisk> {
        self.logs.borrow()[&tp].clone()
    }

    fn store(&self, tp: TopicPartition) -> &Store<SimDisk> {
        self.stores.iter().find(|s| s.log(tp).is_some()).expect("an open log has a store")
    }

    fn note_acked(&self, tp: TopicPartition, end: i64) {
        let event = self.event();
        self.world.with(tp, |h| h.acked.push((event, end)));
    }

    /// Runs `body` beside the background tasks of the stores.
    async fn beside(&self, body: impl Future<Output = Result<(), String>>) -> Result<(), String> {
        let background = async {
            let tasks = self.stores.iter().map(|s| async {
                let (journal, flusher) = zip(s.run_journal(), s.run_flusher()).await;
                journal.and(flusher).map_err(|e| format!("the background ended on an honest disk: {e}"))
            });
            for ended in futures_util::future::join_all(tasks).await {
                ended?;
            }
            pending().await
        };
        or(body, background).await
    }

    async fn phase(&self, phase: Phase) -> Result<(), String> {
        let world = self.world;
        match phase {
            Phase::Mixed(steps) => {
                for _ in 0..steps {
                    let tp = self.any();
                    match world.below(24) {
                        0..=13 => self.append(tp, [300, 300, 3000, 30_000][world.below(4) as usize]).await?,
                        14..=17 => self.acknowledge(tp).await?,
                        18 => self.delete_records(tp).await?,
                        19 if world.percent(30) => self.delete_topic(tp).await?,
                        20 => self.apply_retention().await?,
                        21 => self.compact().await?,
                        _ => {
                            for _ in 0..world.below(150) {
                                yield_now().await;
                            }
                        }
                    }
                }
            }
            Phase::Tiny(steps) => {
                for _ in 0..steps {
                    let tp = self.any();
                    self.append(tp, 200).await?;
                    self.acknowledge(tp).await?;
                }
            }
            Phase::Large(steps) => {
                for _ in 0..steps {
                    let tp = self.any();
                    self.append(tp, 120_000.min(u64::from(world.setup.log.segment_bytes) * 3 / 4)).await?;
                    self.acknowledge(tp).await?;
                }
            }
            Phase::Keyed(steps) => {
                let compacted: Vec<_> = (0..SLOTS).filter(|slot| world.setup.policies[*slot].compact).collect();
                for _ in 0..1 + world.below(2) {
                    let slot = compacted[world.below(compacted.len() as u64) as usize];
                    let bytes_max = 6 * u64::from(world.setup.log.segment_bytes.min(64 << 10)) / steps;
                    for _ in 0..steps {
                        let tp = self.partitions()[slot];
                        self.append(tp, bytes_max).await?;
                    }
                    self.acknowledge(self.partitions()[slot]).await?;
                    // Only what a checkpoint covers can be compacted.
                    for _ in 0..500 {
                        if self.stores.iter().all(|s| s.stats().dirty_logs == 0) {
                            break;
                        }
                        yield_now().await;
                    }
                    self.compact().await?;
                }
            }
            Phase::Few(steps) => {
                for _ in 0..steps {
                    let tp = self.any();
                    self.append(tp, 500).await?;
                    for _ in 0..world.below(8) {
                        yield_now().await;
                    }
                }
            }
        }
        Ok(())
    }

    fn build(&self, producer: Option<(i64, i32)>, bytes_max: u64, keyed: bool) -> ValidBatch {
        let world = self.world;
        let mut builder = BatchBuilder::new();
        if keyed && world.percent(20) {
            builder = builder.compression(Compression::ALL[world.below(Compression::ALL.len() as u64) as usize], None);
        }
        if let Some((id, sequence)) = producer {
            builder = builder.producer(id, 0, sequence);
        }
        let records = 1 + world.below(if keyed { 6 } else { 3 });
        let len = world.below((bytes_max / records).max(1));
        for _ in 0..records {
            world.now_ms.set(world.now_ms.get() + world.below(4) as i64);
            // No two sectors alike, or a torn write could look whole.
            let mut rng = Rng::new(world.below(u64::MAX));
            let period: [u8; 509] = std::array::from_fn(|_| rng.next_u64() as u8);
            let mut value = period.repeat(len as usize / 509 + 1);
            value.truncate(len as usize);
            let key = (keyed && !world.percent(5)).then(|| world.below(world.setup.keys).to_le_bytes());
            let value = (!keyed || !world.percent(15)).then_some(&value[..]);
            builder.push(world.now_ms.get(), key.as_ref().map(|k| &k[..]), value, &[]);
        }
        RawBatch::new(builder.build().expect("a batch")).validate(Origin::Client { zstd_allowed: true }).expect("valid")
    }

    async fn append(&self, tp: TopicPartition, bytes_max: u64) -> Result<(), String> {
        let world = self.world;
        let producer = world.percent(50).then(|| {
            let id = 100 + world.below(3) as i64;
            (id, world.with(tp, |h| h.next_sequence(id)))
        });
        let keyed = world.setup.compacts(tp);
        let batch = self.build(producer, bytes_max, keyed);
        if batch.size_bytes() > world.setup.log.segment_bytes as usize {
            return Ok(());
        }
        let log = self.log(tp);
        let context = AppendContext { now_ms: world.now_ms.get(), leader_epoch: world.epoch.get(), origin: AppendOrigin::Client };
        let (appended, at) = loop {
            let at = self.event();
            match log.append(&batch, context) {
                Ok(appended) => break (appended, at),
                Err(AppendError::Backpressure) => {
                    self.store(tp).wait_space(batch.size_bytes()).await.map_err(|e| e.to_string())?;
                }
                Err(error) => return Err(format!("append to {tp}: {error}")),
            }
        };
        world.with(tp, |history| {
            if appended.duplicate || appended.base_offset != history.end() {
                return Err(format!("{tp}: appended at {appended:?}, the log ends at {}", history.end()));
            }
            let mut bytes = batch.bytes().to_vec();
            patch_base_offset(&mut bytes, appended.base_offset);
            patch_leader_epoch(&mut bytes, world.epoch.get());
            let next_offset = appended.last_offset + 1;
            let records = (next_offset - appended.base_offset) as i32;
            let producer = producer.map(|(id, first)| (id, first + records - 1));
            let lines = if keyed { compacted::lines(&bytes, 0)? } else { Vec::<Line>::new() };
            let base_offset = appended.base_offset;
            history.batches.push(Rc::new(Batch { base_offset, next_offset, bytes, producer, raw: batch, lines: Rc::new(lines), at }));
            Ok(())
        })
    }

    async fn acknowledge(&self, tp: TopicPartition) -> Result<(), String> {
        let end = self.world.with(tp, |h| h.end());
        let log = self.log(tp);
        match self.world.setup.class(tp) {
            DurabilityClass::Durable => log.wait_durable(end).await.map_err(|e| e.to_string())?,
            _ if self.world.percent(20) => log.wait_durable(end).await.map_err(|e| e.to_string())?,
            DurabilityClass::Replicated => {
                while log.settled_end_offset() < end {
                    yield_now().await;
                }
                let event = self.event();
                self.world.with(tp, |h| h.written.push((event, end)));
            }
            DurabilityClass::Memory => {}
        }
        self.note_acked(tp, log.durable_end_offset());
        Ok(())
    }

    async fn delete_records(&self, tp: TopicPartition) -> Result<(), String> {
        let log = self.log(tp);
        let before = self.world.below(log.durable_end_offset() as u64 + 1) as i64;
        let event = self.event();
        self.world.with(tp, |h| h.start_asked.push((event, before)));
        let start = log.delete_records(before).await.map_err(|e| e.to_string())?;
        let event = self.event();
        // A start that is answered stands for what lies below it too.
        self.world.with(tp, |h| {
            h.start_answered.push((event, start));
            h.acked.push((event, start));
        });
        Ok(())
    }

    /// What a broker without replicas says: everything durable may be read, and goes for good when it goes.
    fn raise_high_watermark(&self, tp: TopicPartition) -> i64 {
        let log = self.log(tp);
        let end = log.durable_end_offset();
        log.set_high_watermark(end);
        self.note_acked(tp, end);
        end
    }

    /// One compaction in each store, alone or beside other work on the same logs.
    async fn compact(&self) -> Result<(), String> {
        let world = self.world;
        for store in &self.stores {
            for tp in self.partitions().into_iter().filter(|tp| world.setup.compacts(*tp) && store.log(*tp).is_some()) {
                let below = self.raise_high_watermark(tp);
                let (event, now_ms) = (self.event(), world.now_ms.get());
                world.with(tp, |h| h.clean_asked.push((event, below, now_ms)));
            }
            let beside = async {
                match world.below(8) {
                    0 | 1 => {
                        for _ in 0..world.below(6) {
                            let tp = self.any();
                            self.append(tp, 3000).await?;
                            self.acknowledge(tp).await?;
                        }
                        Ok(())
                    }
                    2 => self.delete_records(self.any()).await,
                    3 => self.apply_retention().await,
                    4 if world.percent(30) => self.delete_topic(self.any()).await,
                    _ => Ok(()),
                }
            };
            let (compacted, beside) = zip(store.compact_next(world.now_ms.get(), &world.setup.compaction), beside).await;
            beside?;
            if let Some(report) = compacted.map_err(|e| format!("compaction: {e}"))? {
                let event = self.event();
                let mut histories = world.histories.borrow_mut();
                if let Some(history) = histories.get_mut(&report.partition) {
                    history.clean_answered.push((event, report.cleaned_to));
                }
            }
        }
        Ok(())
    }

    /// Deletes what is beyond the configured size and age, in all logs.
    async fn apply_retention(&self) -> Result<(), String> {
        for tp in self.partitions() {
            self.raise_high_watermark(tp);
            let event = self.event();
            self.world.with(tp, |h| h.start_asked.push((event, h.end())));
        }
        for store in &self.stores {
            store.apply_retention(self.world.now_ms.get()).await.map_err(|e| e.to_string())?;
        }
        for tp in self.partitions() {
            let (event, start) = (self.event(), self.log(tp).log_start_offset());
            self.world.with(tp, |h| {
                h.start_answered.push((event, start));
                h.acked.push((event, start));
            });
        }
        Ok(())
    }

    /// Deletes a topic and creates one in its place.
    async fn delete_topic(&self, tp: TopicPartition) -> Result<(), String> {
        let store = self.store(tp).clone();
        let event = self.event();
        self.world.with(tp, |h| h.deleted_at = Some(event));
        store.delete_log(tp).await.map_err(|e| e.to_string())?;
        self.logs.borrow_mut().remove(&tp);
        let slot = tp.partition as usize;
        let next = self.world.new_partition(slot);
        self.world.histories.borrow_mut().insert(next, LogHistory::new(self.event()));
        let log = store.open_log(next, self.world.setup.log_of(next)).await.map_err(|e| e.to_string())?;
        self.logs.borrow_mut().insert(next, log);
        self.world.slots.borrow_mut()[slot] = next;
        Ok(())
    }
}
