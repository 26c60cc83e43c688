//! The journal through `GlommioDisk` on the file system of the temporary directory.

use super::*;
use crate::io::GlommioDisk;

fn on_glommio<T: Send + 'static, F: Future<Output = T> + 'static>(body: impl FnOnce() -> F + Send + 'static) -> T {
    glommio::LocalExecutorBuilder::default().spawn(move || async move { body().await }).unwrap().join().unwrap()
}

#[test]
fn frames_written_through_the_ring_come_back() {
    for mode in [SyncMode::Dsync, SyncMode::Flush, SyncMode::Probe] {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().to_path_buf();
        on_glommio(move || async move {
            let disk = GlommioDisk::open(&root).await.unwrap();
            let dir = root.join("00000000000000cd");
            let journal = open(&disk, &dir, config(mode)).await;
            assert_ne!(journal.sync_mode(), SyncMode::Probe);
            beside_writer(&journal, async {
                for n in 0..600u64 {
                    let len = if n % 40 == 0 { 300_000 } else { n as usize * 20 };
                    while let Err(full) = journal.push(header(n), &data(n, len)) {
                        assert!(matches!(full, StorageError::Full), "{full}");
                        journal.wait(journal.usage().newest).await.unwrap();
                        journal.release(journal.completed());
                        journal.wait_space(len).await.unwrap();
                    }
                    if n % 7 == 0 {
                        journal.wait(journal.usage().newest).await.unwrap();
                    }
                }
                journal.wait(journal.usage().newest).await.unwrap();
            })
            .await;
            let (entries, report) = read_back(&disk, &dir).await;
            let numbers = numbers(&entries);
            assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{report:?}");
            assert_eq!((numbers.last(), report.end), (Some(&599), ReplayEnd::End));
            assert!(journal.stats().files_recycled > 0, "{:?}", journal.stats());
            let again = open(&disk, &dir, config(mode)).await;
            assert_eq!(again.generation(), 2);
            assert!(read_back(&disk, &dir).await.0.is_empty());
        });
    }
}
