//! The quorum of one on a real disk: founded, restarted, snapshotted, replayed to the same image.

use std::path::Path;
use std::time::{Duration, Instant};

use coreline_storage::io::Disk;
use coreline_storage::io::glommio::GlommioDisk;
use openraft::AsyncRuntime;

use super::driver::{MetadataLog, QuorumConfig, QuorumError, QuorumHandle};
use super::runtime::GlommioRuntime;
use crate::controller::testing::World;
use crate::controller::{ControllerRequest, NewTopic};
use crate::metadata::{MetadataDelta, MetadataImage};

async fn start(root: &Path, config: QuorumConfig) -> Result<QuorumHandle<GlommioDisk>, QuorumError> {
    let disk = GlommioDisk::open(root).await.expect("the disk opens");
    QuorumHandle::start(disk, &root.join("quorum"), config).await
}

/// The same but for what depends on how it was logged.
fn same(a: &MetadataImage, b: &MetadataImage) -> bool {
    let plain = |image: &MetadataImage| MetadataImage { position: Default::default(), controller_id: 0, ..image.clone() };
    plain(a) == plain(b)
}

#[test]
fn a_quorum_of_one_is_founded_and_found_again() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let mut world = World::with_topics(&["a", "b.c"]);
    GlommioRuntime::run(async {
        let quorum = start(root.path(), QuorumConfig::new(1, 1)).await.expect("founded");
        assert_eq!(quorum.image().controller_id, 1);
        for records in &world.history {
            quorum.submit(records.clone()).await.expect("committed");
        }
        assert!(same(&quorum.image(), &world.image));
        let delta = quorum.take_delta();
        assert_eq!(delta, MetadataDelta { controller_changed: true, ..MetadataDelta::full(&world.image) });
        assert!(quorum.take_delta().is_empty());
        quorum.shutdown().await;
        assert!(matches!(quorum.submit(vec![]).await, Err(QuorumError::Stopped)));
    });
    GlommioRuntime::run(async {
        let quorum = start(root.path(), QuorumConfig::new(1, 2)).await.expect("found again");
        assert!(same(&quorum.image(), &world.image));
        let decision = world.decide(&ControllerRequest::CreateTopics { topics: vec![NewTopic::with_defaults("c")], validate_only: false });
        world.apply(&decision.records);
        quorum.submit(decision.records).await.expect("committed");
        assert!(same(&quorum.image(), &world.image));
        // Stopped without a word, as by a power cut.
    });
    GlommioRuntime::run(async {
        let quorum = start(root.path(), QuorumConfig::new(1, 3)).await.expect("found again");
        assert!(same(&quorum.image(), &world.image));
        quorum.shutdown().await;
    });
}

#[test]
fn a_large_batch_is_applied_in_turns_and_seen_at_once() {
    const PARTITIONS: usize = 5_000;
    let root = tempfile::tempdir().expect("a temporary directory");
    let mut world = World::new();
    GlommioRuntime::run(async {
        let quorum = start(root.path(), QuorumConfig::new(1, 1)).await.expect("founded");
        quorum.submit(world.history[0].clone()).await.expect("committed");
        let _ = quorum.take_delta();
        let topic = NewTopic { partitions: PARTITIONS as i32, replication_factor: 1, ..NewTopic::with_defaults("wide") };
        let decision = world.decide(&ControllerRequest::CreateTopics { topics: vec![topic], validate_only: false });
        let change = world.apply(&decision.records);
        let disk = GlommioDisk::open(root.path()).await.expect("the disk opens");
        let state = quorum.state();
        // Looks at every turn of the executor until the topic is there.
        let looking = glommio::spawn_local(async move {
            let mut looks = 0;
            loop {
                let image = state.image();
                match image.partition_count() {
                    0 => looks += 1,
                    PARTITIONS => break looks,
                    some => panic!("an image with {some} of {PARTITIONS} partitions is seen"),
                }
                assert!(image.topic_by_name("wide").is_none(), "the topic is seen without its partitions");
                disk.sleep(Duration::ZERO).await;
            }
        });
        quorum.submit(decision.records).await.expect("committed");
        assert!(same(&quorum.image(), &world.image));
        assert_eq!(quorum.take_delta(), change);
        let looks = looking.await;
        assert!(looks >= PARTITIONS / 512, "the image was looked at {looks} times meanwhile");
        quorum.shutdown().await;
    });
    GlommioRuntime::run(async {
        let quorum = start(root.path(), QuorumConfig::new(1, 2)).await.expect("found again");
        assert!(same(&quorum.image(), &world.image));
        quorum.shutdown().await;
    });
}

#[test]
fn another_node_s_directory_is_refused() {
    let root = tempfile::tempdir().expect("a temporary directory");
    GlommioRuntime::run(async {
        start(root.path(), QuorumConfig::new(1, 1)).await.expect("founded").shutdown().await;
        let error = start(root.path(), QuorumConfig::new(2, 2)).await.err().expect("refused").to_string();
        assert!(error.ends_with("/quorum belongs to node 1, this node is node 2"), "{error}");
    });
}

#[test]
fn snapshots_bound_the_log_and_give_the_same_image() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let config = |salt| QuorumConfig { snapshot_entries: 20, ..QuorumConfig::new(1, salt) };
    let mut world = World::new();
    GlommioRuntime::run(async {
        let quorum = start(root.path(), config(1)).await.expect("founded");
        quorum.submit(world.history[0].clone()).await.expect("committed");
        for n in 0..100 {
            let topic = NewTopic { partitions: 3, replication_factor: 1, ..NewTopic::with_defaults(&format!("t{n}")) };
            let decision = world.decide(&ControllerRequest::CreateTopics { topics: vec![topic], validate_only: false });
            world.apply(&decision.records);
            quorum.submit(decision.records).await.expect("committed");
        }
        let last = quorum.state().last_applied().expect("much was applied").index;
        quorum.wait_for_snapshot(last - 20, Duration::from_secs(30)).await.expect("a snapshot was made");
        let kept = quorum.log().with(|content| content.entries.len());
        assert!(kept <= 21, "{kept} entries are kept beside a snapshot every 20");
        quorum.shutdown().await;
    });
    GlommioRuntime::run(async {
        let quorum = start(root.path(), config(2)).await.expect("from snapshot and log");
        assert!(same(&quorum.image(), &world.image));
        quorum.snapshot_of_all().await.expect("a snapshot of everything");
        assert_eq!(quorum.log().with(|content| content.entries.len()), 0);
        quorum.shutdown().await;
    });
    GlommioRuntime::run(async {
        let quorum = start(root.path(), config(3)).await.expect("from the snapshot alone");
        assert!(same(&quorum.image(), &world.image));
        quorum.submit(vec![]).await.expect("and it leads");
        quorum.shutdown().await;
    });
    // Snapshot gone, log purged: refused.
    for generation in ["metadata.a", "metadata.b"] {
        let _ = std::fs::remove_file(root.path().join("quorum").join(generation));
    }
    GlommioRuntime::run(async {
        let error = start(root.path(), config(4)).await.err().expect("refused").to_string();
        assert!(error.contains("the metadata log begins after entry"), "{error}");
    });
}

#[test]
fn a_lost_log_beside_a_snapshot_is_refused() {
    let root = tempfile::tempdir().expect("a temporary directory");
    GlommioRuntime::run(async {
        let quorum = start(root.path(), QuorumConfig::new(1, 1)).await.expect("founded");
        quorum.submit(World::new().history[0].clone()).await.expect("committed");
        quorum.snapshot_of_all().await.expect("made");
        quorum.shutdown().await;
    });
    for entry in std::fs::read_dir(root.path().join("quorum")).expect("lists") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|ext| ext == "log") {
            std::fs::remove_file(path).expect("removed");
        }
    }
    GlommioRuntime::run(async {
        let error = start(root.path(), QuorumConfig::new(1, 2)).await.err().expect("refused").to_string();
        assert!(error.contains("the log files were lost"), "{error}");
    });
}

#[test]
fn a_start_takes_milliseconds() {
    let root = tempfile::tempdir().expect("a temporary directory");
    GlommioRuntime::run(async {
        for salt in 0..3 {
            let begin = Instant::now();
            let quorum = start(root.path(), QuorumConfig::new(1, salt)).await.expect("starts");
            let took = begin.elapsed();
            println!("start {salt} took {took:?}");
            // A few flushes; the bound is wide because tests share the machine.
            assert!(took < Duration::from_secs(2), "start {salt} took {took:?}");
            quorum.shutdown().await;
        }
    });
}
