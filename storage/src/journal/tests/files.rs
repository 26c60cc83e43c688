//! Files: written in advance, recycled, generations, a full device, damage.

use super::*;

fn frames_files(disk: &SimDisk) -> Vec<PathBuf> {
    disk.files().into_iter().filter(|f| f.extension().is_some_and(|e| e == "frames")).collect()
}

/// Opens, writes `count` entries of `len` bytes one by one, closes.
async fn fill(disk: &SimDisk, config: JournalConfig, count: u64, len: usize) -> Journal<SimDisk> {
    let journal = open(disk, Path::new(DIR), config).await;
    beside_writer(&journal, async {
        for n in 0..count {
            journal.wait_space(len).await.unwrap();
            let ticket = journal.push(header(n), &data(n, len)).unwrap();
            journal.wait(ticket).await.unwrap();
        }
    })
    .await;
    journal
}

#[test]
fn the_first_append_does_not_wait_for_the_whole_file() {
    block_on(async {
        let disk = disk(1);
        let mut config = config(SyncMode::Dsync);
        (config.file_bytes, config.journal_bytes_max) = (64 << 20, 256 << 20);
        fill(&disk, config, 1, 100).await;
        let size = disk.peek(&frames_files(&disk)[0]).unwrap().len();
        assert!(size < 8 << 20, "{size} bytes were written before the first append was durable");
    });
}

#[test]
fn frames_overwrite_written_bytes_only() {
    for mode in MODES {
        block_on(async {
            let disk = disk(2);
            let journal = open(&disk, Path::new(DIR), config(mode)).await;
            beside_writer(&journal, async {
                for n in 0..200 {
                    journal.wait_space(40_000).await.unwrap();
                    let ticket = journal.push(header(n), &data(n, 40_000)).unwrap();
                    journal.wait(ticket).await.unwrap();
                    journal.release(ticket);
                }
            })
            .await;
            assert!(journal.stats().files_recycled > 3, "{:?}", journal.stats());
            for path in frames_files(&disk) {
                assert_eq!(disk.peek(&path).unwrap().len(), 1 << 20, "sizes never change");
            }
            let (entries, report) = read_back(&disk.crash(0, CrashMode::LoseAll), Path::new(DIR)).await;
            assert!(matches!(report.end, ReplayEnd::End | ReplayEnd::Empty), "{report:?}");
            assert!(numbers(&entries).len() < 30, "released frames are left out as far as known");
        });
    }
}

#[test]
fn a_new_generation_hides_all_old_frames() {
    block_on(async {
        let disk = disk(3);
        fill(&disk, config(SyncMode::Dsync), 60, 20_000).await;
        let journal = open(&disk, Path::new(DIR), config(SyncMode::Dsync)).await;
        assert_eq!(journal.generation(), 2);
        let (entries, report) = read_back(&disk.crash(0, CrashMode::LoseAll), Path::new(DIR)).await;
        assert_eq!((entries.len(), report.generation, report.end), (0, 2, ReplayEnd::Empty));
        beside_writer(&journal, async {
            let ticket = journal.push(header(7), &data(7, 100)).unwrap();
            journal.wait(ticket).await.unwrap();
        })
        .await;
        let (entries, report) = read_back(&disk.crash(0, CrashMode::LoseAll), Path::new(DIR)).await;
        assert_eq!((numbers(&entries), report.end), (vec![7], ReplayEnd::End));
    });
}

#[test]
fn a_changed_file_size_or_bound_takes_effect_at_the_next_open() {
    block_on(async {
        let disk = disk(4);
        fill(&disk, config(SyncMode::Dsync), 60, 40_000).await;
        let count = frames_files(&disk).len();
        assert!(count >= 3);
        let smaller_bound = JournalConfig { journal_bytes_max: 2 << 20, ..config(SyncMode::Dsync) };
        fill(&disk, smaller_bound, 3, 100).await;
        assert_eq!(frames_files(&disk).len(), 2);
        let larger_files = JournalConfig { file_bytes: 2 << 20, journal_bytes_max: 4 << 20, ..config(SyncMode::Dsync) };
        fill(&disk, larger_files, 30, 40_000).await;
        let smaller_files = config(SyncMode::Dsync);
        fill(&disk, smaller_files, 3, 100).await;
        assert!(frames_files(&disk).iter().all(|f| disk.peek(f).unwrap().len() <= 1 << 20));
        let (entries, _) = read_back(&disk.crash(0, CrashMode::LoseAll), Path::new(DIR)).await;
        assert_eq!(numbers(&entries), [0, 1, 2]);
    });
}

#[test]
fn a_damaged_frame_in_the_middle_is_corruption_and_at_the_end_it_is_torn() {
    block_on(async {
        for (damaged_frame, len) in [(3u64, 100), (3, 9000), (0, 100)] {
            let disk = disk(5);
            fill(&disk, config(SyncMode::Dsync), 20, len).await;
            let path = frames_files(&disk)[0].clone();
            let frame_bytes = (64 + 72 + len as u64).next_multiple_of(4096);
            let position = damaged_frame * frame_bytes;
            disk.damage(&path, position + 100, 1);
            let (entries, report) = read_back(&disk, Path::new(DIR)).await;
            assert_eq!(entries.len() as u64, damaged_frame);
            let ReplayEnd::Corrupt { file, position: at, expected, proof } = report.end.clone() else { panic!("{report:?}") };
            assert_eq!((at, expected, proof), (position, Ticket(damaged_frame + 1), Proof::Frame(Ticket(20))));
            assert!(file == path || damaged_frame == 0);
            assert_eq!(report.last, Ticket(damaged_frame));
        }
        let disk = disk(6);
        fill(&disk, config(SyncMode::Dsync), 20, 100).await;
        disk.damage(&frames_files(&disk)[0], 19 * 4096 + 200, 1);
        let (entries, report) = read_back(&disk, Path::new(DIR)).await;
        assert_eq!(entries.len(), 19);
        assert!(matches!(report.end, ReplayEnd::Torn { position, .. } if position == 19 * 4096), "{report:?}");
    });
}

#[test]
fn a_missing_file_is_corruption() {
    block_on(async {
        // The newest one too, though no later frame speaks of it.
        for missing in 0..3 {
            let disk = disk(7);
            fill(&disk, config(SyncMode::Dsync), 60, 40_000).await;
            let files = frames_files(&disk);
            assert_eq!(files.len(), 3);
            disk.remove_file(&files[missing]).await.unwrap();
            let (entries, report) = read_back(&disk, Path::new(DIR)).await;
            assert!(matches!(report.end, ReplayEnd::Corrupt { .. }), "{report:?}");
            assert_eq!(entries.is_empty(), missing == 0);
        }
    });
}

#[test]
fn the_newest_file_is_missed_when_another_ones_bytes_stand_in_its_place() {
    block_on(async {
        let mut number = 0;
        let mut tried = async |config: JournalConfig, count: u64, replace: &dyn Fn(&SimDisk, &Path)| {
            number += 1;
            let disk = disk(14 + number);
            fill(&disk, config.clone(), 5, 40_000).await;
            let disk = disk.crash(0, CrashMode::KeepAll);
            fill(&disk, JournalConfig { poison: Poison::new(), ..config }, count, 40_000).await;
            let first_frame = |path: &PathBuf| {
                let bytes = disk.peek(path).unwrap();
                u64::from_le_bytes(bytes[32..40].try_into().unwrap()) + (u64::from(bytes[24]) << 32)
            };
            let newest = frames_files(&disk).into_iter().max_by_key(first_frame).unwrap();
            replace(&disk, &newest);
            let (entries, report) = read_back(&disk, Path::new(DIR)).await;
            (numbers(&entries).len() as u64, report.end)
        };
        let put = |disk: &SimDisk, path: &Path, bytes: Vec<u8>| block_on(disk.write_file(path, &bytes)).unwrap();
        for mode in MODES {
            for count in [5, 40, 60] {
                let control = tried(config(mode), count, &|_, _| {}).await;
                assert_eq!(control, (count, ReplayEnd::End));
                let zeros = |disk: &SimDisk, newest: &Path| put(disk, newest, vec![0; 1 << 20]);
                let other = |disk: &SimDisk, newest: &Path| {
                    let other = frames_files(disk).into_iter().find(|file| file != newest);
                    put(disk, newest, other.map_or(Vec::new(), |other| disk.peek(&other).unwrap()));
                };
                for replace in [&zeros as &dyn Fn(&SimDisk, &Path), &other] {
                    let (found, end) = tried(config(mode), count, replace).await;
                    assert!(found < count, "{found} of {count}");
                    assert!(matches!(end, ReplayEnd::Corrupt { proof: Proof::State(_), .. }), "{mode:?}, {count}: {end:?}");
                }
            }
        }
    });
}

#[test]
fn the_state_of_an_earlier_version_is_read() {
    // Journal, generation, released; with version 2 also reached and base.
    for (version, numbers_of, base) in [(1, &[0xab_u64, 1, 2][..], 0), (2, &[0xab, 1, 2, 3, 9], 9)] {
        block_on(async {
            let disk = disk(15);
            fill(&disk, config(SyncMode::Dsync), 5, 100).await;
            let state: Vec<u8> = numbers_of.iter().flat_map(|number| number.to_le_bytes()).collect();
            for (name, sequence) in [("journal.a", 4), ("journal.b", 3)] {
                let sealed = crate::snapshot_file::seal_envelope(*b"JRNL", version, sequence, &state);
                disk.write_file(&Path::new(DIR).join(name), &sealed).await.unwrap();
            }
            let (entries, report) = read_back(&disk, Path::new(DIR)).await;
            assert_eq!((numbers(&entries), report.released, report.base_table, report.newest_table), (vec![2, 3, 4], Ticket(2), base, 0));
            assert_eq!(open(&disk, Path::new(DIR), config(SyncMode::Dsync)).await.generation(), 2);
        });
    }
}

/// Each frame in turn, the first ones of the files too, while the released mark lies in the middle of a file.
#[test]
fn a_damaged_frame_costs_nothing_below_the_released_mark_and_is_named_above_it() {
    const RELEASED: u64 = 30;
    const FRAMES: u64 = 60;
    block_on(async {
        let whole = disk(9);
        let journal = open(&whole, Path::new(DIR), config(SyncMode::Dsync)).await;
        beside_writer(&journal, async {
            for n in 0..FRAMES {
                journal.wait_space(40_000).await.unwrap();
                let ticket = journal.push(header(n), &data(n, 40_000)).unwrap();
                journal.wait(ticket).await.unwrap();
                if ticket == Ticket(RELEASED) {
                    journal.release(ticket);
                }
            }
        })
        .await;
        let mut frames = BTreeMap::new();
        for path in frames_files(&whole) {
            let bytes = whole.peek(&path).unwrap();
            for position in (0..bytes.len()).step_by(4096).filter(|at| bytes[*at..].starts_with(b"CLJF")) {
                let sequence = u64::from_le_bytes(bytes[position + 32..position + 40].try_into().unwrap());
                frames.insert(sequence, (path.clone(), position as u64));
            }
        }
        // Some of the released ones were overwritten; the first frame of a file is among those that were not.
        assert!(frames.len() >= 40 && frames.range(..=RELEASED).any(|(_, (_, position))| *position == 0), "{frames:?}");
        for (number, (path, position)) in &frames {
            let (disk, number) = (whole.crash(0, CrashMode::KeepAll), *number);
            disk.damage(path, position + 100, 1);
            let (entries, report) = read_back(&disk, Path::new(DIR)).await;
            let behind: Vec<u64> = numbers(&entries).into_iter().filter(|n| *n >= RELEASED).collect();
            let end = if number > RELEASED { number - 1 } else { FRAMES };
            assert_eq!(behind, (RELEASED..end).collect::<Vec<_>>(), "frame {number}: {report:?}");
            match &report.end {
                ReplayEnd::Corrupt { expected, .. } => {
                    assert!(*expected == Ticket(number) && number > RELEASED && number < FRAMES, "{report:?}")
                }
                ReplayEnd::Torn { position: at, .. } => assert!(number == FRAMES && at == position, "{report:?}"),
                ReplayEnd::End => assert!(number <= RELEASED, "frame {number}: {report:?}"),
                ReplayEnd::Empty => panic!("frame {number}: {report:?}"),
            }
        }
    });
}

#[test]
fn the_journal_state_has_two_copies_and_frames_without_any_are_an_error() {
    block_on(async {
        for (damaged, expected) in [("a", 5), ("b", 5)] {
            let disk = disk(8);
            fill(&disk, config(SyncMode::Dsync), 3, 100).await;
            let disk = disk.crash(0, CrashMode::KeepAll);
            fill(&disk, config(SyncMode::Dsync), 5, 100).await;
            let disk = disk.crash(0, CrashMode::KeepAll);
            disk.damage(Path::new(DIR).join(format!("journal.{damaged}")), 20, 1);
            let (entries, report) = read_back(&disk, Path::new(DIR)).await;
            assert_eq!((entries.len(), report.generation), (expected, 2));
            let journal = open(&disk, Path::new(DIR), config(SyncMode::Dsync)).await;
            assert!(journal.generation() > 2);
        }
        let disk = disk(8);
        fill(&disk, config(SyncMode::Dsync), 3, 100).await;
        for name in ["journal.a", "journal.b"] {
            disk.remove_file(&Path::new(DIR).join(name)).await.unwrap();
        }
        let error = replay(&disk, Path::new(DIR), &mut |_, _| Ok(())).await.unwrap_err();
        assert!(matches!(error, StorageError::Corrupt { .. }), "{error}");
        assert!(matches!(Journal::open(disk, DIR.into(), config(SyncMode::Dsync)).await, Err(StorageError::Corrupt { .. })));
    });
}

#[test]
fn nothing_to_replay_is_no_error_and_an_error_of_the_visitor_is_passed_on() {
    block_on(async {
        let disk = disk(9);
        let (_, report) = read_back(&disk, Path::new("/d/none")).await;
        assert_eq!((report.generation, report.end), (0, ReplayEnd::Empty));
        fill(&disk, config(SyncMode::Dsync), 3, 100).await;
        let mut seen = 0;
        let mut visit = |header: EntryHeader, _: &[u8]| {
            seen += 1;
            if header.position == 1 { Err(StorageError::Closed) } else { Ok(()) }
        };
        assert!(matches!(replay(&disk, Path::new(DIR), &mut visit).await, Err(StorageError::Closed)));
        assert_eq!(seen, 2);
    });
}

#[test]
fn a_full_device_delays_appends_and_poisons_nothing() {
    block_on(async {
        let disk = disk(10);
        let config = config(SyncMode::Dsync);
        let poison = config.poison.clone();
        let journal = open(&disk, Path::new(DIR), config).await;
        disk.set_capacity(Some((1 << 20) + 50_000));
        let pushed = Cell::new(0);
        beside_writer(&journal, async {
            // One file fits: its frames become durable, then pushes only queue up.
            while journal.try_reserve(40_000) {
                journal.push(header(pushed.get()), &data(pushed.get(), 40_000)).unwrap();
                pushed.set(pushed.get() + 1);
                for _ in 0..200 {
                    yield_now().await;
                }
            }
            assert!(journal.completed() < journal.usage().newest && !poison.is_poisoned());
            for _ in 0..10_000 {
                yield_now().await;
                if frames_files(&disk).len() == 1 {
                    break;
                }
            }
            assert_eq!(frames_files(&disk).len(), 1, "the refused file was rolled back");
            disk.set_capacity(None);
            journal.wait(journal.usage().newest).await.unwrap();
        })
        .await;
        let (entries, _) = read_back(&disk.crash(0, CrashMode::LoseAll), Path::new(DIR)).await;
        assert_eq!(numbers(&entries), (0..pushed.get()).collect::<Vec<_>>());
        let full = disk_with_no_space();
        assert!(Journal::open(full, DIR.into(), self::config(SyncMode::Dsync)).await.err().unwrap().is_disk_full());
    });
}

fn disk_with_no_space() -> SimDisk {
    let disk = disk(11);
    disk.set_capacity(Some(1000));
    disk
}

#[test]
fn the_probe_chooses_a_mode() {
    block_on(async {
        let disk = disk(12);
        let journal = open(&disk, Path::new(DIR), config(SyncMode::Probe)).await;
        assert_eq!(journal.sync_mode(), SyncMode::Dsync, "on a tie, one request instead of two");
    });
}

#[test]
fn an_unwritable_directory_is_an_error_with_its_path() {
    block_on(async {
        let disk = disk(13);
        disk.inject(Fault { op: crate::io::IoOp::CreateDir, path_part: String::new(), skip: 0, times: 1, errno: libc::EACCES });
        let error = Journal::open(disk, DIR.into(), config(SyncMode::Dsync)).await.err().unwrap();
        assert!(error.to_string().contains(DIR), "{error}");
    });
}
