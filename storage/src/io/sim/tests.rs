//! The simulated disk keeps what was flushed, loses what was not, and fails when told to.

use futures_lite::future::{block_on, or, zip};

use super::*;
use crate::io::{Disk, DiskFile, OpenMode};

const FILE: &str = "/d/file";

async fn write(file: &SimFile, disk: &SimDisk, position: u64, fill: u8, len: usize) -> IoResult<()> {
    let mut buffer = disk.buffer(len);
    buffer.bytes_mut().fill(fill);
    file.write_at(Rc::new(buffer), position).await
}

fn disk(seed: u64) -> SimDisk {
    let disk = SimDisk::new(seed);
    disk.mkdir("/d");
    disk
}

#[test]
fn what_was_flushed_survives_and_the_rest_does_not() {
    block_on(async {
        let disk = disk(1);
        let file = disk.open(Path::new(FILE), OpenMode::CreateNew).await.unwrap();
        write(&file, &disk, 0, 1, 4096).await.unwrap();
        file.sync().await.unwrap();
        assert!(disk.crash(1, CrashMode::LoseAll).files().is_empty(), "the entry was not flushed");
        disk.sync_dir(Path::new("/d")).await.unwrap();
        write(&file, &disk, 4096, 2, 4096).await.unwrap();
        write(&file, &disk, 0, 3, 4096).await.unwrap();
        assert_eq!(disk.crash(1, CrashMode::LoseAll).peek(FILE).unwrap(), vec![1; 4096]);
        let kept = disk.crash(1, CrashMode::KeepAll).peek(FILE).unwrap();
        assert_eq!((kept.len(), kept[0], kept[4096]), (8192, 3, 2));
        disk.sync_all().await.unwrap();
        assert_eq!(disk.crash(1, CrashMode::LoseAll).peek(FILE).unwrap(), kept);
    });
}

#[test]
fn a_dsync_write_is_durable_alone_and_older_writes_cannot_come_back_over_it() {
    block_on(async {
        let disk = disk(2);
        disk.write_file(Path::new(FILE), &[0; 8192]).await.unwrap();
        disk.sync_dir(Path::new("/d")).await.unwrap();
        let plain = disk.open(Path::new(FILE), OpenMode::ReadWrite).await.unwrap();
        let durable = disk.open(Path::new(FILE), OpenMode::ReadWriteDsync).await.unwrap();
        write(&plain, &disk, 0, 1, 8192).await.unwrap();
        write(&durable, &disk, 0, 2, 4096).await.unwrap();
        for seed in 0..200 {
            let bytes = disk.crash(seed, CrashMode::Mixed).peek(FILE).unwrap();
            assert_eq!(bytes[..4096], vec![2; 4096], "seed {seed}");
        }
        let lost = disk.crash(0, CrashMode::LoseAll).peek(FILE).unwrap();
        assert_eq!(lost[4096..], vec![0; 4096]);
    });
}

#[test]
fn unflushed_writes_are_torn_at_sectors_and_sizes_are_independent_of_data() {
    block_on(async {
        let disk = disk(3);
        let file = disk.open(Path::new(FILE), OpenMode::CreateNew).await.unwrap();
        disk.sync_dir(Path::new("/d")).await.unwrap();
        write(&file, &disk, 0, 7, 8192).await.unwrap();
        let (mut torn, mut empty, mut zeros) = (0, 0, 0);
        for seed in 0..500 {
            let bytes = disk.crash(seed, CrashMode::Mixed).peek(FILE).unwrap();
            let filled = bytes.chunks(512).filter(|sector| sector.iter().all(|&b| b == 7)).count();
            torn += usize::from(filled > 0 && filled < 16);
            empty += usize::from(bytes.is_empty());
            zeros += usize::from(bytes.len() == 8192 && bytes.iter().all(|&b| b == 0));
        }
        assert!(torn > 20 && empty > 20 && zeros > 20, "torn {torn} empty {empty} zeros {zeros}");
    });
}

#[test]
fn a_flush_covers_only_what_was_complete_when_it_began() {
    block_on(async {
        for seed in 0..50 {
            let disk = disk(seed);
            disk.write_file(Path::new(FILE), &[0; 8192]).await.unwrap();
            disk.sync_dir(Path::new("/d")).await.unwrap();
            let file = disk.open(Path::new(FILE), OpenMode::ReadWrite).await.unwrap();
            // The flush is submitted first, then the write; both are in flight together.
            let (synced, written) = zip(file.sync(), write(&file, &disk, 0, 9, 4096)).await;
            synced.and(written).unwrap();
            assert_eq!(disk.crash(0, CrashMode::LoseAll).peek(FILE).unwrap()[0], 0);
        }
    });
}

#[test]
fn a_failed_flush_is_not_made_good_by_the_next() {
    block_on(async {
        let disk = disk(4);
        disk.write_file(Path::new(FILE), &[0; 4096]).await.unwrap();
        disk.sync_dir(Path::new("/d")).await.unwrap();
        let file = disk.open(Path::new(FILE), OpenMode::ReadWrite).await.unwrap();
        write(&file, &disk, 0, 1, 4096).await.unwrap();
        disk.fail_sync(0, libc::EIO);
        let error = file.sync().await.unwrap_err();
        assert_eq!((error.op, error.source.raw_os_error()), (IoOp::Sync, Some(libc::EIO)));
        file.sync().await.unwrap();
        disk.sync_all().await.unwrap();
        assert_eq!(disk.crash(0, CrashMode::LoseAll).peek(FILE).unwrap()[0], 0);
    });
}

#[test]
fn renames_replace_atomically_and_count_after_the_directory_flush() {
    block_on(async {
        let disk = disk(5);
        let (new, name) = (Path::new("/d/new"), Path::new("/d/name"));
        disk.write_file(name, b"old").await.unwrap();
        disk.sync_dir(Path::new("/d")).await.unwrap();
        disk.write_file(new, b"fresh").await.unwrap();
        disk.rename(new, name).await.unwrap();
        assert_eq!(disk.read_file(name, 100).await.unwrap().unwrap(), b"fresh");
        for seed in 0..100 {
            let bytes = disk.crash(seed, CrashMode::Mixed).peek(name).unwrap();
            assert!(bytes == b"old" || bytes == b"fresh", "seed {seed}: {bytes:?}");
        }
        assert_eq!(disk.crash(0, CrashMode::LoseAll).peek(name).unwrap(), b"old");
        disk.sync_dir(Path::new("/d")).await.unwrap();
        let after = disk.crash(0, CrashMode::LoseAll);
        assert_eq!(after.peek(name).unwrap(), b"fresh");
        assert!(after.peek(new).is_none());
    });
}

#[test]
fn injected_errors_and_a_full_device() {
    block_on(async {
        let disk = disk(6);
        let file = disk.open(Path::new(FILE), OpenMode::CreateNew).await.unwrap();
        disk.fail_write(1, libc::EIO);
        write(&file, &disk, 0, 1, 4096).await.unwrap();
        let error = write(&file, &disk, 4096, 1, 4096).await.unwrap_err();
        assert_eq!((error.op, error.position), (IoOp::Write, Some(4096)));
        write(&file, &disk, 4096, 1, 4096).await.unwrap();
        disk.set_capacity(Some(8192));
        write(&file, &disk, 0, 2, 8192).await.unwrap();
        assert!(write(&file, &disk, 8192, 2, 4096).await.unwrap_err().is_disk_full());
        assert!(file.allocate(0, 1 << 20).await.unwrap_err().is_disk_full());
        assert!(file.write_at(Rc::new(disk.buffer(4096)), 100).await.is_err(), "unaligned");
        let read_only = disk.open(Path::new(FILE), OpenMode::Read).await.unwrap();
        assert!(write(&read_only, &disk, 0, 1, 4096).await.is_err());
        assert!(disk.open(Path::new(FILE), OpenMode::CreateNew).await.is_err());
        assert!(disk.open(Path::new("/d/none"), OpenMode::Read).await.err().unwrap().is_not_found());
        assert_eq!(disk.list_dir(Path::new("/d")).await.unwrap()[0].size_bytes, 8192);
    });
}

#[test]
fn the_seed_decides_the_order_of_completions() {
    let order = |seed: u64| {
        block_on(async {
            let disk = disk(seed);
            let file = disk.open(Path::new(FILE), OpenMode::CreateNew).await.unwrap();
            let done = RefCell::new(Vec::new());
            let one = |n: u64| {
                let (file, disk, done) = (&file, &disk, &done);
                async move {
                    write(file, disk, n * 4096, 1, 4096).await.unwrap();
                    done.borrow_mut().push(n);
                }
            };
            zip(zip(one(0), one(1)), one(2)).await;
            done.into_inner()
        })
    };
    let orders: BTreeSet<Vec<u64>> = (0..50).map(order).collect();
    assert!(orders.len() > 3, "{orders:?}");
    assert_eq!(order(7), order(7));
}

#[test]
fn a_recording_gives_the_crash_at_each_event() {
    block_on(async {
        let disk = disk(8);
        disk.record();
        let file = disk.open(Path::new(FILE), OpenMode::CreateNew).await.unwrap();
        disk.sync_dir(Path::new("/d")).await.unwrap();
        let mut acknowledged = Vec::new();
        for n in 0..5u8 {
            write(&file, &disk, u64::from(n) * 4096, n + 1, 4096).await.unwrap();
            file.sync().await.unwrap();
            acknowledged.push(disk.recorded_events());
        }
        let recording = disk.take_recording().unwrap();
        let mut sweep = recording.sweep();
        let mut crashes = 0;
        while sweep.step() {
            let durable = acknowledged.iter().filter(|at| **at <= sweep.events()).count();
            let random = (0..20).map(|seed| sweep.crash(seed, CrashMode::Mixed));
            for survivor in random.chain(sweep.crash_every_way(8).unwrap()) {
                let bytes = survivor.peek(FILE).unwrap_or_default();
                for n in 0..durable {
                    assert_eq!(bytes[n * 4096..(n + 1) * 4096], vec![n as u8 + 1; 4096]);
                }
                crashes += 1;
            }
        }
        assert!(crashes > 400, "{crashes}");
    });
}

#[test]
fn a_halted_disk_completes_nothing_and_sleep_is_virtual() {
    block_on(async {
        let disk = disk(9);
        disk.sleep(Duration::from_secs(3600)).await;
        assert_eq!(disk.now(), Duration::from_secs(3600));
        disk.halt_after(disk.stats().events + 1);
        let outcome = or(async { Some(disk.write_file(Path::new(FILE), b"x").await) }, async {
            disk.halted().await;
            None
        });
        assert!(outcome.await.is_none());
    });
}

#[test]
#[should_panic(expected = "two writes in flight")]
fn overlapping_writes_in_flight_are_found() {
    block_on(async {
        let disk = disk(10);
        disk.set_delay(0);
        let file = disk.open(Path::new(FILE), OpenMode::CreateNew).await.unwrap();
        let model_now =
            |id: u64| Event::Submitted(id, Op::Write { inode: file.inode, position: 0, data: Rc::from(vec![1u8; 4096]), dsync: false });
        let mut model = disk.model();
        model.apply(&model_now(100));
        model.apply(&model_now(101));
    });
}

#[test]
fn the_death_of_the_process_loses_nothing_that_completed_and_flushes_nothing() {
    block_on(async {
        let disk = disk(11);
        disk.record();
        let file = disk.open(Path::new(FILE), OpenMode::CreateNew).await.unwrap();
        disk.sync_dir(Path::new("/d")).await.unwrap();
        write(&file, &disk, 0, 1, 4096).await.unwrap();
        file.sync().await.unwrap();
        write(&file, &disk, 0, 2, 4096).await.unwrap();
        let recording = disk.take_recording().unwrap();
        let mut sweep = recording.sweep();
        while sweep.step() {}
        let next = sweep.kill_with(1, &mut |_| panic!("nothing is in flight"));
        assert_eq!(next.peek(FILE).unwrap()[0], 2);
        assert_eq!(next.crash(0, CrashMode::LoseAll).peek(FILE).unwrap()[0], 1);
        next.sync_all().await.unwrap();
        assert_eq!(next.crash(0, CrashMode::LoseAll).peek(FILE).unwrap()[0], 2);
    });
}
