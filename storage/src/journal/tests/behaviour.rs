//! Pushing, waiting, group commit, bounds, errors.

use super::*;

#[test]
fn what_was_pushed_and_waited_for_is_replayed_in_order() {
    for mode in MODES {
        block_on(async {
            let disk = disk(1);
            let journal = open(&disk, Path::new(DIR), config(mode)).await;
            assert_eq!((journal.sync_mode(), journal.completed()), (mode, Ticket(0)));
            beside_writer(&journal, async {
                for n in 0..50 {
                    let ticket = journal.push(header(n), &data(n, n as usize * 37)).unwrap();
                    if n % 5 == 0 {
                        journal.wait(ticket).await.unwrap();
                        assert!(journal.completed() >= ticket);
                    }
                }
                journal.wait(journal.usage().newest).await.unwrap();
            })
            .await;
            let survivor = disk.crash(1, CrashMode::LoseAll);
            let (entries, report) = read_back(&survivor, Path::new(DIR)).await;
            assert_eq!(numbers(&entries), (0..50).collect::<Vec<_>>());
            assert_eq!((report.generation, report.first, report.end), (1, Ticket(1), ReplayEnd::End));
            let stats = journal.stats();
            assert_eq!((stats.entries, stats.frames), (50, report.last.0));
            assert_eq!(stats.flushes > 0, mode == SyncMode::Flush);
        });
    }
}

#[test]
fn pushes_during_a_write_share_the_next_frame() {
    block_on(async {
        let disk = disk(2);
        let journal = open(&disk, Path::new(DIR), config(SyncMode::Dsync)).await;
        disk.set_delay(40);
        let (costs, completions) = (Rc::new(RefCell::new(Vec::new())), Rc::new(RefCell::new(Vec::new())));
        let seen = costs.clone();
        journal.set_on_frame(move |cost| seen.borrow_mut().push(cost));
        let body = async {
            let mut last = Ticket(0);
            for n in 0..300 {
                last = journal.push(header(n), &data(n, 100)).unwrap();
                yield_now().await;
            }
            journal.wait(last).await.unwrap();
            journal.close();
        };
        let (_, ended) = zip(body, journal.run(|ticket| completions.borrow_mut().push(ticket))).await;
        ended.unwrap();
        let (stats, costs) = (journal.stats(), costs.borrow());
        assert!(stats.frames < 60, "{stats:?}");
        assert_eq!(costs.len() as u64, stats.frames);
        assert_eq!(costs.iter().map(|c| u64::from(c.entries)).sum::<u64>(), 300);
        assert_eq!(costs.iter().map(|c| c.bytes).sum::<u64>(), stats.bytes);
        assert!(completions.borrow().is_sorted(), "reported in order");
        assert_eq!(completions.borrow().last(), Some(&Ticket(stats.frames)));
    });
}

#[test]
fn an_entry_longer_than_a_frame_is_split_and_joined_again() {
    for mode in MODES {
        block_on(async {
            let disk = disk(3);
            let mut config = config(mode);
            config.journal_bytes_max = 4 << 20;
            let journal = open(&disk, Path::new(DIR), config).await;
            let lens = [10, 256 * 1024 - 136, 256 * 1024 - 135, 700_000, 20, 1_500_000, 0, 30];
            beside_writer(&journal, async {
                for (n, len) in lens.iter().enumerate() {
                    journal.wait_space(*len).await.unwrap();
                    let ticket = journal.push(header(n as u64), &data(n as u64, *len)).unwrap();
                    journal.wait(ticket).await.unwrap();
                }
            })
            .await;
            let (entries, _) = read_back(&disk.crash(0, CrashMode::LoseAll), Path::new(DIR)).await;
            assert_eq!(numbers(&entries), (0..lens.len() as u64).collect::<Vec<_>>());
            assert!(entries.iter().zip(lens).all(|((_, bytes), len)| bytes.len() == len));
        });
    }
}

#[test]
fn an_entry_that_can_never_fit_is_refused_by_size() {
    block_on(async {
        let disk = disk(4);
        let journal = open(&disk, Path::new(DIR), config(SyncMode::Dsync)).await;
        let most = 2 * 4 * (256 * 1024 - 136);
        let error = journal.push(header(0), &vec![0; most + 1]).unwrap_err();
        assert!(matches!(error, StorageError::EntryTooLarge { bytes_max, .. } if bytes_max == most as u64), "{error}");
        assert!(matches!(journal.wait_space(most + 1).await, Err(StorageError::EntryTooLarge { .. })));
        journal.push(header(0), &vec![0; most]).unwrap();
    });
}

#[test]
fn the_queue_in_memory_is_bounded_and_empties_itself() {
    block_on(async {
        let disk = disk(5);
        let journal = open(&disk, Path::new(DIR), config(SyncMode::Dsync)).await;
        let mut taken = 0u64;
        while journal.try_reserve(100_000) {
            journal.push(header(taken), &data(taken, 100_000)).unwrap();
            taken += 1;
        }
        assert_eq!(taken, 10, "1 MiB of queue without a writer");
        assert!(matches!(journal.push(header(99), &[0; 100_000]), Err(StorageError::Full)));
        assert_eq!(journal.stats().pushes_refused, 1);
        beside_writer(&journal, async {
            journal.wait_space(100_000).await.unwrap();
            journal.push(header(taken), &[0; 100_000]).unwrap();
        })
        .await;
    });
}

#[test]
fn at_the_bound_pushes_wait_for_a_release_and_the_flusher_is_called_at_half() {
    for mode in MODES {
        block_on(async {
            let disk = disk(6);
            let journal = open(&disk, Path::new(DIR), config(mode)).await;
            let pushed = Cell::new(0u64);
            let pressed_at = Cell::new(0u64);
            let fill = async {
                loop {
                    match journal.push(header(pushed.get()), &data(pushed.get(), 50_000)) {
                        Ok(ticket) => {
                            pushed.set(pushed.get() + 1);
                            journal.wait(ticket).await.unwrap();
                        }
                        Err(StorageError::Full) => return,
                        Err(other) => panic!("{other}"),
                    }
                }
            };
            let watch = async {
                journal.pressure().await.unwrap();
                pressed_at.set(journal.usage().bytes_used);
            };
            beside_writer(&journal, async {
                zip(fill, watch).await;
                let usage = journal.usage();
                assert!(usage.bytes_limit == 3 << 20 && usage.bytes_used > usage.bytes_limit - 200_000, "{usage:?}");
                assert!((usage.bytes_limit / 2..usage.bytes_limit / 2 + 100_000).contains(&pressed_at.get()), "{pressed_at:?}");

                // Nothing moves until somebody releases; then one file's worth fits again.
                let waiter = async {
                    journal.wait_space(50_000).await.unwrap();
                    journal.push(header(pushed.get()), &data(pushed.get(), 50_000)).unwrap()
                };
                let releaser = async {
                    for _ in 0..100 {
                        yield_now().await;
                    }
                    assert!(!journal.try_reserve(50_000));
                    journal.release(Ticket(journal.completed().0 / 2));
                };
                let ticket = zip(waiter, releaser).await.0;
                journal.wait(ticket).await.unwrap();
            })
            .await;
            assert!(journal.stats().files_recycled >= 1);
            assert_eq!(disk.files().iter().filter(|f| f.extension().is_some_and(|e| e == "frames")).count(), 3);
            let released = journal.usage().oldest.0 - 1;
            let (entries, report) = read_back(&disk.crash(0, CrashMode::LoseAll), Path::new(DIR)).await;
            let numbers = numbers(&entries);
            assert!(numbers[0] <= released && numbers.is_sorted(), "{report:?}");
            assert_eq!(numbers.last(), Some(&pushed.get()));
        });
    }
}

#[test]
fn release_of_what_is_not_durable_is_a_bug() {
    let outcome = std::panic::catch_unwind(|| {
        block_on(async {
            let journal = open(&disk(7), Path::new(DIR), config(SyncMode::Dsync)).await;
            let ticket = journal.push(header(0), b"x").unwrap();
            journal.release(ticket);
        });
    });
    assert!(outcome.is_err());
}

#[test]
fn the_first_failed_write_or_flush_ends_everything() {
    for (mode, op) in [(SyncMode::Dsync, IoKind::Write), (SyncMode::Flush, IoKind::Write), (SyncMode::Flush, IoKind::Sync)] {
        for skip in 0..12 {
            block_on(async {
                let disk = disk(skip);
                let config = config(mode);
                let poison = config.poison.clone();
                let journal = open(&disk, Path::new(DIR), config).await;
                match op {
                    IoKind::Write => disk.fail_write(skip, libc::EIO),
                    IoKind::Sync => disk.fail_sync(skip, libc::EIO),
                }
                let failed_at = Cell::new(Ticket(0));
                let body = async {
                    for n in 0.. {
                        let Ok(ticket) = journal.push(header(n), &data(n, 1000)) else {
                            return;
                        };
                        if let Err(error) = journal.wait(ticket).await {
                            assert!(matches!(error, StorageError::Poisoned { .. }), "{error}");
                            failed_at.set(ticket);
                            return;
                        }
                    }
                };
                let reported = Cell::new(Ticket(0));
                let (ended, _) = zip(journal.run(|ticket| reported.set(ticket)), body).await;
                assert!(matches!(ended, Err(StorageError::Io(_))), "{ended:?}");
                assert!(poison.is_poisoned());
                assert!(failed_at.get() == Ticket(0) || failed_at.get() > reported.get());
                assert!(matches!(journal.push(header(0), b"x"), Err(StorageError::Poisoned { .. })));
                assert!(matches!(journal.wait_space(1).await, Err(StorageError::Poisoned { .. })));
                assert!(matches!(journal.pressure().await, Err(StorageError::Poisoned { .. })));
                // All that was reported is there.
                let (entries, _) = read_back(&disk.crash(skip, CrashMode::LoseAll), Path::new(DIR)).await;
                assert!(numbers(&entries).len() as u64 >= reported.get().0);
            });
        }
    }
}

#[derive(Clone, Copy)]
enum IoKind {
    Write,
    Sync,
}

#[test]
fn somebody_elses_device_error_ends_acknowledgements_too() {
    block_on(async {
        let disk = disk(8);
        let config = config(SyncMode::Dsync);
        let poison = config.poison.clone();
        let journal = open(&disk, Path::new(DIR), config).await;
        disk.set_delay(20);
        let body = async {
            let ticket = journal.push(header(0), b"x").unwrap();
            yield_now().await;
            poison.set("the segment's write failed");
            journal.wait(ticket).await
        };
        let (ended, waited) = zip(journal.run(|_| panic!("reported after a device error")), body).await;
        assert!(matches!(ended, Err(StorageError::Poisoned { .. })));
        assert!(matches!(waited, Err(StorageError::Poisoned { .. })));
    });
}

#[test]
fn close_writes_what_was_pushed_and_a_dropped_writer_tells_its_waiters() {
    block_on(async {
        let disk = disk(9);
        let journal = open(&disk, Path::new(DIR), config(SyncMode::Dsync)).await;
        let last = (0..15).map(|n| journal.push(header(n), &data(n, 60_000))).take_while(Result::is_ok).count() as u64;
        journal.close();
        assert!(matches!(journal.push(header(0), b"x"), Err(StorageError::Closed)));
        journal.run(|_| ()).await.unwrap();
        assert!(matches!(journal.run(|_| ()).await, Err(StorageError::Closed)), "the writer runs once");
        let (entries, _) = read_back(&disk.crash(0, CrashMode::LoseAll), Path::new(DIR)).await;
        assert_eq!(numbers(&entries), (0..last).collect::<Vec<_>>());

        let journal = open(&disk, Path::new(DIR), config(SyncMode::Dsync)).await;
        let ticket = journal.push(header(0), b"x").unwrap();
        disk.set_delay(1000);
        or(async { drop(journal.run(|_| ()).await) }, async {
            for _ in 0..10 {
                yield_now().await;
            }
        })
        .await;
        assert!(matches!(journal.wait(ticket).await, Err(StorageError::Closed)));
    });
}

#[test]
fn settings_out_of_range_are_named() {
    let good = config(SyncMode::Probe);
    assert!(good.validate().is_ok() && JournalConfig::default().validate().is_ok());
    for bad in [
        JournalConfig { file_bytes: 4096, ..good.clone() },
        JournalConfig { file_bytes: (1 << 20) + 4096, ..good.clone() },
        JournalConfig { journal_bytes_max: 1 << 20, ..good.clone() },
        JournalConfig { in_flight_max: 0, ..good.clone() },
        JournalConfig { in_flight_max: 17, ..good.clone() },
        JournalConfig { pending_bytes_max: 0, ..good.clone() },
    ] {
        assert!(matches!(bad.validate(), Err(StorageError::InvalidConfig { .. })), "{bad:?}");
    }
}
