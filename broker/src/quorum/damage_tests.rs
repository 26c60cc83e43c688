//! Damage to the metadata quorum's files, its snapshots and a log that holds nothing but the vote included: a start has the image that was, or is refused by
//! a sentence that names a file. `coreline log verify` calls damage what the start refuses.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use coreline_storage::data_dir::DataDir;
use coreline_storage::io::glommio::GlommioDisk;
use coreline_storage::verify::Severity;
use futures_lite::future::block_on;
use openraft::AsyncRuntime;

use super::driver::{MetadataLog, QuorumConfig, QuorumError, QuorumHandle};
use super::frame;
use super::log_file::LogFileConfig;
use super::runtime::GlommioRuntime;
use crate::controller::testing::World;
use crate::controller::{ControllerRequest, NewTopic};
use crate::log_tool::metadata::{Found, read};
use crate::metadata::MetadataImage;

fn config(salt: u64) -> QuorumConfig {
    let log = LogFileConfig { file_bytes_max: 20 * 4096, prewrite_bytes: 8 * 4096 };
    QuorumConfig { snapshot_entries: 20, log, ..QuorumConfig::new(1, salt) }
}

async fn start(root: &Path, salt: u64) -> Result<QuorumHandle<GlommioDisk>, QuorumError> {
    let disk = GlommioDisk::open(root).await.expect("the disk opens");
    QuorumHandle::start(disk, &root.join("quorum"), config(salt)).await
}

fn plain(image: &MetadataImage) -> MetadataImage {
    MetadataImage { position: Default::default(), controller_id: 0, ..image.clone() }
}

/// A quorum's files with both snapshots, and every image there was. With `all_in_snapshot` the log has no entries: what is left of it is the vote.
fn filled(root: &Path, all_in_snapshot: bool) -> Vec<MetadataImage> {
    let mut world = World::new();
    let mut images = vec![plain(&MetadataImage::empty())];
    GlommioRuntime::run(async {
        let disk = GlommioDisk::open(root).await.expect("the disk opens");
        // Snapshots are made when they are asked for, so that entries lie behind the newest unless all are in it.
        let config = QuorumConfig { snapshot_entries: 10_000, ..config(1) };
        let quorum = QuorumHandle::start(disk, &root.join("quorum"), config).await.expect("founded");
        quorum.submit(world.history[0].clone()).await.expect("committed");
        images.push(plain(&world.image));
        for n in 0..50 {
            let topic = NewTopic { partitions: 1, replication_factor: 1, ..NewTopic::with_defaults(&format!("t{n}")) };
            let decision = world.decide(&ControllerRequest::CreateTopics { topics: vec![topic], validate_only: false });
            world.apply(&decision.records);
            quorum.submit(decision.records).await.expect("committed");
            images.push(plain(&world.image));
            if n == 20 || n == 40 || (all_in_snapshot && n == 49) {
                quorum.snapshot_of_all().await.expect("made");
            }
        }
        quorum.shutdown().await;
    });
    for generation in ["metadata.a", "metadata.b"] {
        assert!(root.join("quorum").join(generation).exists(), "both snapshots are there");
    }
    images
}

fn files(root: &Path) -> Vec<PathBuf> {
    let listed = fs::read_dir(root.join("quorum")).expect("lists");
    listed.map(|entry| entry.expect("an entry").path()).filter(|path| path.extension().is_some_and(|e| e != "new")).collect()
}

/// The image that a start of a copy with one file changed has; `None` when it is refused as it ought to be.
fn tried(from: &Path, changed: &Path, bytes: Option<&[u8]>, what: &str) -> Option<MetadataImage> {
    let copy = tempfile::tempdir().expect("a temporary directory");
    fs::create_dir(copy.path().join("quorum")).expect("made");
    for file in files(from) {
        let to = copy.path().join("quorum").join(file.file_name().expect("a name"));
        match bytes {
            Some(bytes) if file == changed => fs::write(to, bytes).expect("written"),
            None if file == changed => {}
            _ => drop(fs::copy(&file, to).expect("copied")),
        }
    }
    let mut found = Found::default();
    block_on(read(&DataDir::new(copy.path()), &mut found));
    let damage = found.findings.iter().any(|finding| finding.severity == Severity::Damage);
    GlommioRuntime::run(async {
        match start(copy.path(), 2).await {
            Ok(quorum) => {
                let image = plain(&quorum.image());
                quorum.shutdown().await;
                assert!(!damage, "{what}: it starts, and the tool says {:?}", found.findings);
                Some(image)
            }
            Err(error) => {
                let error = error.to_string();
                assert!(error.contains(&copy.path().display().to_string()), "{what}: no file is named: {error}");
                assert!(damage, "{what}: refused ({error}), and the tool finds nothing: {:?}", found.findings);
                None
            }
        }
    })
}

/// Where the last frame of a log's file begins.
fn last_frame(bytes: &[u8]) -> usize {
    frame::scan(bytes, None).expect("a good file").frames.last().map_or(0, |frame| frame.position as usize)
}

/// As a kill may leave it before the log's newest entries are marked.
fn forget_mark(root: &Path) {
    let marks = files(root).into_iter().filter(|path| path.file_stem().is_some_and(|stem| stem == "mark"));
    assert!(marks.map(|path| fs::remove_file(path).expect("removed")).count() > 0, "there was a mark");
}

fn damage_everything(all_in_snapshot: bool, marked: bool) {
    let root = tempfile::tempdir().expect("a temporary directory");
    let images = filled(root.path(), all_in_snapshot);
    if !marked {
        forget_mark(root.path());
    }
    let newest = images.last().expect("some");
    let all = files(root.path());
    let last_log = all.iter().filter(|path| path.extension().is_some_and(|e| e == "log")).max().expect("a log").clone();
    for path in &all {
        let bytes = fs::read(path).expect("reads");
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let is_log = name.ends_with(".log");
        let used = bytes.len() - bytes.iter().rev().take_while(|byte| **byte == 0).count();
        let mut positions: BTreeSet<usize> = (0..44).step_by(4).chain((44..used).step_by(used / 12 + 1)).chain([used - 1]).collect();
        if is_log {
            positions.extend([last_frame(&bytes), last_frame(&bytes) + 40]);
        }
        positions.retain(|at| *at < bytes.len());
        for at in positions {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            let what = format!("byte {at} of {name}, all in the snapshot: {all_in_snapshot}");
            let Some(image) = tried(root.path(), path, Some(&changed), &what) else { continue };
            // Where no mark says that it was durable, the last frame is like one that was being written when the power went: what it says is lost, what was
            // before it is not.
            let torn = *path == last_log && at >= last_frame(&bytes);
            assert!(image == *newest || (torn && images[images.len() - 2] == image), "{what}: another image");
        }
        for cut in [Some(0), Some(1), Some(used / 2), None] {
            let what = format!("{name} cut to {cut:?}, all in the snapshot: {all_in_snapshot}");
            let Some(image) = tried(root.path(), path, cut.map(|len| &bytes[..len]), &what) else { continue };
            // A file that ends behind a whole frame is as one whose later frames were never written: nothing says how long the last one is.
            assert!(image == *newest || (*path == last_log && images.contains(&image)), "{what}: another image");
        }
    }
}

/// What a log that was cut behind a whole frame says by itself is good; the mark knows that it was longer.
#[test]
fn a_log_that_ends_before_its_mark_is_refused() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let images = filled(root.path(), false);
    let (mut refused, mut started) = (0, 0);
    let log = files(root.path()).into_iter().filter(|path| path.extension().is_some_and(|e| e == "log")).max().expect("a log");
    let bytes = fs::read(&log).expect("reads");
    for frame in frame::scan(&bytes, None).expect("a good file").frames.iter().skip(1) {
        let mut cut = bytes.clone();
        cut[frame.position as usize..].fill(0);
        match tried(root.path(), &log, Some(&cut), &format!("cut at {}", frame.position)) {
            None => refused += 1,
            Some(image) => {
                assert!(image == images[images.len() - 1], "cut at {}: an entry is missing", frame.position);
                started += 1;
            }
        }
    }
    assert!(refused > 5, "{refused} refused, {started} started");
}

/// The same without a mark: the snapshot knows that it was longer.
#[test]
fn a_log_that_ends_before_its_snapshot_is_refused() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let images = filled(root.path(), false);
    forget_mark(root.path());
    let (mut refused, mut started) = (0, 0);
    for path in files(root.path()).iter().filter(|path| path.extension().is_some_and(|e| e == "log")) {
        let bytes = fs::read(path).expect("reads");
        for frame in frame::scan(&bytes, None).expect("a good file").frames.iter().skip(1) {
            let mut cut = bytes.clone();
            cut[frame.position as usize..].fill(0);
            let what = format!("{} cut at {}", path.display(), frame.position);
            match tried(root.path(), path, Some(&cut), &what) {
                None => refused += 1,
                Some(image) => {
                    assert!(images[40..].contains(&image), "{what}: what the newest snapshot has is there");
                    started += 1;
                }
            }
        }
    }
    assert!(refused > 0 && started > 0, "{refused} refused, {started} started");
}

#[test]
fn damage_to_log_and_snapshots_is_named_or_harmless() {
    damage_everything(false, false);
}

#[test]
fn damage_to_a_log_and_its_mark_is_named_or_harmless() {
    damage_everything(false, true);
}

#[test]
fn damage_to_a_log_of_the_vote_alone_is_named_or_harmless() {
    damage_everything(true, false);
}
