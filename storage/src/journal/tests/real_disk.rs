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

/// Size, blocks on the device, and the extents as `filefrag -v` shows them (where it is installed and the file system can say) of each file of frames.
fn layout(dir: &Path) -> Vec<(PathBuf, u64, u64, String)> {
    use std::os::unix::fs::MetadataExt;
    let entries = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    let mut files: Vec<PathBuf> = entries.filter(|p| p.extension().is_some_and(|e| e == "frames")).collect();
    files.sort();
    let extents = |path: &Path| {
        let output = std::process::Command::new("filefrag").arg("-v").arg(path).output();
        output.ok().filter(|o| o.status.success()).map_or(String::new(), |o| String::from_utf8_lossy(&o.stdout).into_owned())
    };
    let of = |path: PathBuf| {
        let metadata = std::fs::metadata(&path).unwrap();
        (path.clone(), metadata.len(), metadata.blocks(), extents(&path))
    };
    files.into_iter().map(of).collect()
}

#[test]
fn recycled_files_keep_their_size_and_their_extents() {
    for mode in MODES {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().to_path_buf();
        on_glommio(move || async move {
            let disk = GlommioDisk::open(&root).await.unwrap();
            let dir = root.join("00000000000000ce");
            let journal = open(&disk, &dir, config(mode)).await;
            beside_writer(&journal, async {
                let mut first = None;
                for n in 0..700u64 {
                    let ticket = loop {
                        match journal.push(header(n), &data(n, 30_000)) {
                            Ok(ticket) => break ticket,
                            Err(full) => assert!(matches!(full, StorageError::Full), "{full}"),
                        }
                        journal.wait(journal.usage().newest).await.unwrap();
                        journal.release(journal.completed());
                        journal.wait_space(30_000).await.unwrap();
                    };
                    if n % 4 == 0 {
                        journal.wait(ticket).await.unwrap();
                    }
                    // All three files have been written full, and each was used again at least once.
                    if journal.stats().files_recycled >= 4 && first.is_none() {
                        first = Some(layout(&dir));
                    }
                }
                let first = first.expect("files were used again");
                assert!(journal.stats().files_recycled >= 10, "{:?}", journal.stats());
                assert_eq!(journal.stats().files_created, 3, "no file is made once the bound is reached");
                assert!(first.iter().all(|file| file.1 == 1 << 20 && !file.3.contains("unwritten")), "{first:?}");
                assert_eq!(layout(&dir), first, "{mode:?}: sizes, blocks and extents stay as they are");
            })
            .await;
        });
    }
}

const CHILD_DIR: &str = "CORELINE_JOURNAL_CHILD_DIR";

/// Not a test: what the killed process of the test below does. Prints each number once it was reported durable.
#[test]
#[ignore = "runs as the child of killed_processes_lose_nothing_reported"]
fn killed_child() {
    let Some(root) = std::env::var_os(CHILD_DIR).map(PathBuf::from) else {
        return;
    };
    on_glommio(move || async move {
        let disk = GlommioDisk::open(&root).await.unwrap();
        let journal = open(&disk, &root.join("00000000000000ef"), config(SyncMode::Probe)).await;
        beside_writer(&journal, async {
            println!("generation {}", journal.generation());
            for n in 0u64.. {
                let ticket = loop {
                    match journal.push(header(n), &data(n, (n % 50 * 97) as usize)) {
                        Ok(ticket) => break ticket,
                        Err(_) => {
                            journal.release(Ticket(journal.completed().0 / 2));
                            journal.wait_space(5000).await.unwrap();
                        }
                    }
                };
                if n % 3 == 0 {
                    journal.wait(ticket).await.unwrap();
                    println!("durable {n}");
                }
            }
        })
        .await;
    });
}

#[test]
fn killed_processes_lose_nothing_reported() {
    use std::io::{BufRead, BufReader};
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().to_path_buf();
    for round in 1..=6u64 {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "journal::tests::real_disk::killed_child", "--ignored", "--nocapture"])
            .env(CHILD_DIR, &root)
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut reported = None;
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        // Kill it in the middle of things, after some reports; then read what it still had to say.
        for line in lines.by_ref() {
            reported = line.strip_prefix("durable ").and_then(|n| n.parse::<u64>().ok()).or(reported);
            if reported.is_some_and(|n| n > round * 70) {
                break;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        reported = lines.filter_map(|line| line.strip_prefix("durable ").and_then(|n| n.parse().ok())).max().or(reported);
        let reported = reported.expect("the child reported something");
        let root = root.clone();
        let (entries, report) = on_glommio(move || async move {
            let disk = GlommioDisk::open(&root).await.unwrap();
            read_back(&disk, &root.join("00000000000000ef")).await
        });
        let numbers = numbers(&entries);
        assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "round {round}: {report:?}");
        assert!(*numbers.last().unwrap() >= reported, "round {round}: {reported} was reported, {report:?}");
        assert_eq!((report.generation, matches!(report.end, ReplayEnd::Corrupt { .. })), (round, false), "{report:?}");
    }
}
