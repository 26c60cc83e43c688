//! The disk of production on the file system of the temporary directory.

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use coreline_wire::ids::TopicPartition;
use futures_lite::future::zip;

use crate::io::closer::tests::{closed, inode};
use crate::io::{Disk, DiskBuffer, DiskFile, GlommioDisk, IoOp, OpenMode};
use crate::log::SendFile;
use crate::segment::files::FileCache;

fn on_glommio(body: impl AsyncFnOnce(GlommioDisk, std::path::PathBuf) + Send + 'static) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().to_path_buf();
    let shard = glommio::LocalExecutorBuilder::default().spawn(move || async move {
        let disk = GlommioDisk::open(&root).await.unwrap();
        body(disk, root).await;
    });
    shard.unwrap().join().unwrap();
}

fn filled(disk: &GlommioDisk, len: usize, fill: u8) -> Rc<<GlommioDisk as Disk>::Buffer> {
    let mut buffer = disk.buffer_for_overwrite(len);
    buffer.bytes_mut().fill(fill);
    Rc::new(buffer)
}

#[test]
fn files_are_written_read_and_flushed() {
    on_glommio(async |disk, root| {
        let (path, a) = (root.join("file"), disk.alignment());
        let file = disk.open(&path, OpenMode::CreateNew).await.unwrap();
        assert!(disk.buffer(2 * a).bytes().iter().all(|b| *b == 0));
        file.allocate(0, 1 << 20).await.unwrap();
        assert_eq!(file.size().await.unwrap(), 0, "reserving does not change the size");
        let writes = zip(file.write_at(filled(&disk, 2 * a, 1), 0), file.write_at(filled(&disk, a, 2), 2 * a as u64)).await;
        writes.0.and(writes.1).unwrap();
        file.sync().await.unwrap();
        assert_eq!(file.size().await.unwrap(), 3 * a as u64);
        let bytes = file.read_at(a as u64 - 3, a + 10).await.unwrap();
        assert_eq!((bytes.len(), bytes[0], bytes[a + 2], bytes[a + 3]), (a + 10, 1, 1, 2));
        assert_eq!(file.read_at(3 * a as u64 - 5, 100).await.unwrap(), [2; 5], "shorter at the end");
        assert!(file.read_at(1 << 30, 100).await.unwrap().is_empty());
        let dsync = disk.open(&path, OpenMode::ReadWriteDsync).await.unwrap();
        let mut short = disk.buffer(4 * a);
        short.bytes_mut().fill(3);
        short.shorten(a);
        dsync.write_at(Rc::new(short), 0).await.unwrap();
        assert_eq!(file.read_at(0, 2 * a).await.unwrap(), [vec![3; a], vec![1; a]].concat());
        let large: Vec<u8> = file.clone().read_at(0, 100 << 20).await.unwrap();
        assert_eq!(large.len(), 3 * a);
        file.truncate(a as u64).await.unwrap();
        assert_eq!(dsync.size().await.unwrap(), a as u64);
        let stats = disk.stats();
        assert_eq!((stats.writes, stats.bytes_written, stats.syncs, stats.errors), (3, 4 * a as u64, 1, 0));
    });
}

#[test]
fn errors_name_operation_path_and_position() {
    on_glommio(async |disk, root| {
        let path = root.join("file");
        let missing = disk.open(&path, OpenMode::Read).await.err().unwrap();
        assert!(missing.is_not_found() && missing.op == IoOp::Open && missing.path == path, "{missing}");
        let file = disk.open(&path, OpenMode::CreateNew).await.unwrap();
        let exists = disk.open(&path, OpenMode::CreateNew).await.err().unwrap();
        assert_eq!(exists.source.kind(), std::io::ErrorKind::AlreadyExists);
        let unaligned = file.write_at(filled(&disk, 4096, 1), 100).await.unwrap_err();
        assert_eq!((unaligned.op, unaligned.position), (IoOp::Write, Some(100)));
        let reader = disk.open(&path, OpenMode::Read).await.unwrap();
        let refused = reader.write_at(filled(&disk, 4096, 1), 8192).await.unwrap_err();
        assert_eq!((refused.op, refused.position, refused.source.raw_os_error()), (IoOp::Write, Some(8192), Some(libc::EBADF)));
        assert!(disk.list_dir(&root.join("none")).await.unwrap_err().is_not_found());
        assert!(disk.stats().errors >= 4);
        let gone = GlommioDisk::open(Path::new("/nonexistent/data")).await.err().unwrap();
        assert!(gone.is_not_found(), "{gone}");
    });
}

#[test]
fn small_files_and_directories() {
    on_glommio(async |disk, root| {
        let (dir, name, other) = (root.join("dir"), root.join("dir/name"), root.join("dir/other"));
        disk.create_dir(&dir).await.unwrap();
        disk.create_dir(&dir).await.unwrap();
        assert_eq!(disk.read_file(&name, 10).await.unwrap(), None);
        disk.write_file(&name, b"first content").await.unwrap();
        disk.write_file_unsynced(&other, b"second").await.unwrap();
        assert_eq!(disk.read_file(&name, 13).await.unwrap().unwrap(), b"first content");
        assert!(disk.read_file(&name, 12).await.is_err(), "longer than allowed");
        disk.rename(&other, &name).await.unwrap();
        disk.sync_dir(&dir).await.unwrap();
        disk.sync_all().await.unwrap();
        assert_eq!(disk.read_file(&name, 10).await.unwrap().unwrap(), b"second");
        disk.create_dir(&root.join("dir/a")).await.unwrap();
        let names: Vec<_> = disk.list_dir(&dir).await.unwrap().into_iter().map(|e| (e.name, e.is_dir, e.size_bytes)).collect();
        assert_eq!(names, [("a".to_string(), true, 0), ("name".to_string(), false, 6)]);
        let fd = disk.open_for_send(&name).await.unwrap();
        let mut text = String::new();
        std::io::Read::read_to_string(&mut std::fs::File::from(fd.try_clone().unwrap()), &mut text).unwrap();
        assert_eq!(text, "second");
        disk.remove_file(&name).await.unwrap();
        disk.remove_file(&name).await.unwrap();
        disk.remove_dir_all(&dir).await.unwrap();
        disk.remove_dir_all(&dir).await.unwrap();
        assert!(disk.list_dir(&dir).await.unwrap_err().is_not_found());
        let before = disk.now();
        disk.sleep(Duration::from_millis(2)).await;
        assert!(disk.now() >= before + Duration::from_millis(2));
    });
}

/// Loops of the background (retention, compaction, checkpoints) give way by a wait for no time: what others asked of the disk must come
/// back meanwhile, also for tasks of another queue. The executor is made as those of shards are: its preempt timer never fires in the test.
#[test]
fn a_loop_that_gives_way_lets_reads_of_other_queues_complete() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().to_path_buf();
    let shard = glommio::LocalExecutorBuilder::default().preempt_timer(Duration::from_secs(3_600)).spawn(move || async move {
        let disk = GlommioDisk::open(&root).await.unwrap();
        let file = disk.open(&root.join("file"), OpenMode::CreateNew).await.unwrap();
        file.write_at(filled(&disk, 4096, 1), 0).await.unwrap();
        let queue = || glommio::executor().create_task_queue(glommio::Shares::Static(100), glommio::Latency::NotImportant, "queue");
        let (ours, other) = (queue(), queue());
        let read = Rc::new(std::cell::Cell::new(0));
        let seen = Rc::clone(&read);
        let looping = async move {
            let began = std::time::Instant::now();
            while seen.get() < 10 && began.elapsed() < Duration::from_secs(20) {
                disk.sleep(Duration::ZERO).await;
            }
            seen.get()
        };
        let reading = async move {
            while read.get() < 10 {
                assert_eq!(file.read_at(0, 10).await.unwrap(), [1; 10]);
                read.set(read.get() + 1);
            }
        };
        let looping = glommio::spawn_local_into(looping, ours).unwrap();
        let reading = glommio::spawn_local_into(reading, other).unwrap();
        assert_eq!(looping.await, 10, "reads completed while the loop gave way");
        reading.await;
    });
    shard.unwrap().join().unwrap();
}

/// The last descriptor of a removed file frees its space when it closes, which takes long for a large one: it closes on a thread of its own, whether the
/// cache of files held it last or a reader.
#[test]
fn removed_files_are_closed_elsewhere() {
    on_glommio(async |disk, root| {
        let name = |n: usize| root.join(format!("file-{n}"));
        let mut files = FileCache::<GlommioDisk>::new(8);
        for (n, read) in [false, true, false, true].into_iter().enumerate() {
            let path = name(n);
            let key = (TopicPartition::default(), n as i64);
            let file = disk.open(&path, OpenMode::CreateNew).await.unwrap();
            file.write_at(filled(&disk, 4096, 1), 0).await.unwrap();
            let sent = disk.open_for_send(&path).await.unwrap();
            // A number that a removed file of another test may have had.
            let (inode, before) = (inode(&sent), closed(inode(&sent)));
            let reader = read.then(|| file.clone());
            files.put_direct(key, file);
            files.put_send(key, Arc::new(SendFile::new(sent)));
            let expected = if n < 2 {
                // Not removed: only the one for `sendfile` goes that way, which does not know.
                files.clear();
                drop(reader);
                1
            } else {
                files.remove(key);
                disk.remove_file(&path).await.unwrap();
                assert_eq!(closed(inode) - before, if read { 1 } else { 2 }, "a reader holds its own: {read}");
                drop(reader);
                2
            };
            assert_eq!(closed(inode) - before, expected, "file {n}");
        }
    });
}
