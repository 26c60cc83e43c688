//! Random pushes, a crash anywhere, and: everything reported is replayed, in order, nothing is invented.
//!
//! Repeat one seed: `JOURNAL_SEED=n cargo test -p coreline-storage journal::tests::crash`.

use super::*;

/// What the test knows about one run.
#[derive(Default)]
struct Ledger {
    /// (number, length, ticket) of each push, in order.
    pushed: Vec<(u64, usize, Ticket)>,
    completed: Ticket,
    released: Ticket,
}

fn random_config(rng: &mut Rng) -> JournalConfig {
    JournalConfig {
        in_flight_max: 1 + rng.below(4) as usize,
        journal_bytes_max: (2 + rng.below(3)) << 20,
        ..config(MODES[rng.below(2) as usize])
    }
}

fn random_len(rng: &mut Rng) -> usize {
    match rng.below(20) {
        0 => rng.below(700_000) as usize,
        1..=4 => rng.below(60_000) as usize,
        _ => rng.below(3000) as usize,
    }
}

/// Pushes, waits, yields and releases at random until the disk halts or `steps` are done.
async fn workload(journal: &Journal<SimDisk>, rng: &mut Rng, steps: u64, ledger: &RefCell<Ledger>, next: &Cell<u64>) {
    for _ in 0..steps {
        match rng.below(10) {
            0..=5 => {
                let (n, len) = (next.get(), random_len(rng));
                match journal.push_as(header(n), &data(n, len), rng.below(3) != 0) {
                    Ok(ticket) => {
                        ledger.borrow_mut().pushed.push((n, len, ticket));
                        next.set(n + 1);
                    }
                    Err(StorageError::Full) => {
                        release(journal, ledger, journal.completed());
                        or(async { journal.wait_space(len).await.unwrap() }, async {
                            for _ in 0..50 {
                                yield_now().await;
                            }
                        })
                        .await;
                    }
                    Err(other) => panic!("{other}"),
                }
            }
            6 => {
                let newest = journal.usage().newest;
                journal.wait(newest).await.unwrap();
            }
            7 => release(journal, ledger, Ticket(rng.below(journal.completed().0 + 1))),
            _ => {
                for _ in 0..rng.below(10) {
                    yield_now().await;
                }
            }
        }
    }
    journal.wait(journal.usage().newest).await.unwrap();
}

fn release(journal: &Journal<SimDisk>, ledger: &RefCell<Ledger>, up_to: Ticket) {
    journal.release(up_to);
    let mut ledger = ledger.borrow_mut();
    ledger.released = ledger.released.max(up_to);
}

fn check(seed: u64, entries: &Replayed, report: &ReplayReport, ledger: &Ledger) -> Result<(), String> {
    let context = || format!("seed {seed}: {report:?}, completed {:?}, released {:?}", ledger.completed, ledger.released);
    if matches!(report.end, ReplayEnd::Corrupt { .. }) {
        return Err(format!("a crash looks like corruption, {}", context()));
    }
    let needed: Vec<_> = ledger.pushed.iter().filter(|p| p.2 > ledger.released && p.2 <= ledger.completed).collect();
    let Some(first) = entries.first().map(|e| e.0.position) else {
        return if needed.is_empty() { Ok(()) } else { Err(format!("nothing replayed, {}", context())) };
    };
    let start = ledger.pushed.iter().position(|p| p.0 == first).ok_or_else(|| format!("invented entry {first}, {}", context()))?;
    for (i, (found, bytes)) in entries.iter().enumerate() {
        let (n, len, _) = ledger.pushed.get(start + i).ok_or_else(|| format!("more than was pushed, {}", context()))?;
        if *found != header(*n) || *bytes != data(*n, *len) {
            return Err(format!("entry {i} is not push {n}, {}", context()));
        }
    }
    let last = entries.last().map_or(0, |e| e.0.position);
    match (needed.first(), needed.last()) {
        (Some(from), Some(to)) if first > from.0 || last < to.0 => {
            Err(format!("{first}..={last} replayed of {}..={}, {}", from.0, to.0, context()))
        }
        _ => Ok(()),
    }
}

/// Several lives: run, crash at a random event, check, recover (replay again, new generation), run on.
fn lives(seed: u64, lies: bool) -> Result<(), String> {
    let mut rng = Rng::new(seed);
    let mut current = disk(seed);
    let next = Cell::new(1);
    let config = random_config(&mut rng);
    for life in 0..3 {
        current.set_delay(1 + rng.below(8));
        let ledger = RefCell::new(Ledger::default());
        if lies && life == 0 {
            current.lie_about_flushes();
        }
        let halted = block_on(async {
            let config = JournalConfig { poison: Poison::new(), ..config.clone() };
            if life == 0 {
                current.sync_all().await.unwrap();
            }
            let journal = open(&current, Path::new(DIR), config).await;
            current.halt_after(current.stats().events + 1 + rng.below(300));
            let run = async {
                let ended = journal.run(|ticket| ledger.borrow_mut().completed = ticket).await;
                panic!("the writer ended: {ended:?}");
            };
            let steps = rng.below(120);
            let work = workload(&journal, &mut rng, steps, &ledger, &next);
            or(
                async {
                    work.await;
                    false
                },
                or(run, async {
                    current.halted().await;
                    true
                }),
            )
            .await
        });
        let mode = [CrashMode::Mixed, CrashMode::Mixed, CrashMode::LoseAll, CrashMode::KeepAll][rng.below(4) as usize];
        let survivor = current.crash(rng.next_u64(), mode);
        block_on(async {
            let (entries, report) = read_back(&survivor, Path::new(DIR)).await;
            check(seed, &entries, &report, &ledger.borrow()).map_err(|e| format!("life {life}, halted {halted}, {mode:?}: {e}"))?;
            let again = read_back(&survivor, Path::new(DIR)).await;
            assert_eq!(again, (entries, report), "seed {seed}: a second replay sees the same");
            Ok::<_, String>(())
        })?;
        current = survivor;
    }
    Ok(())
}

#[test]
fn everything_reported_survives_any_crash() {
    let seeds = match std::env::var("JOURNAL_SEED").ok().and_then(|s| s.parse().ok()) {
        Some(seed) => seed..seed + 1,
        None => 0..600u64,
    };
    for seed in seeds {
        if let Err(why) = lives(seed, false) {
            panic!("{why}\nrepeat: JOURNAL_SEED={seed} cargo test -p coreline-storage journal::tests::crash");
        }
    }
}

#[test]
fn a_disk_that_lies_about_flushes_is_found_out() {
    let found = (0..60).filter(|seed| std::panic::catch_unwind(|| lives(*seed, true)).map_or(true, |r| r.is_err())).count();
    assert!(found > 20, "the check above would not notice lost frames: {found} of 60");
}

#[test]
fn every_crash_point_of_a_short_run_in_every_way() {
    for mode in MODES {
        block_on(async {
            let disk = disk(77);
            let journal = open(&disk, Path::new(DIR), config(mode)).await;
            disk.record();
            let acknowledged = RefCell::new(vec![(0, Ticket(0))]);
            let tickets = RefCell::new(Vec::new());
            let run = async {
                let noted = |ticket| acknowledged.borrow_mut().push((disk.recorded_events(), ticket));
                journal.run(noted).await.unwrap();
            };
            let work = async {
                for n in 0..12u64 {
                    tickets.borrow_mut().push(journal.push(header(n), &data(n, 700 * n as usize)).unwrap());
                    yield_now().await;
                }
                journal.close();
            };
            zip(run, work).await;
            let recording = disk.take_recording().unwrap();
            let mut sweep = recording.sweep();
            let mut crashes = 0;
            loop {
                let completed = acknowledged.borrow().iter().rfind(|(events, _)| *events <= sweep.events()).unwrap().1;
                let ledger = Ledger {
                    pushed: tickets.borrow().iter().enumerate().map(|(n, t)| (n as u64, 700 * n, *t)).collect(),
                    completed,
                    released: Ticket(0),
                };
                let random = (0..4).map(|seed| sweep.crash(seed, CrashMode::Mixed)).collect();
                for survivor in sweep.crash_every_way(5).unwrap_or(random) {
                    let (entries, report) = read_back(&survivor, Path::new(DIR)).await;
                    check(sweep.events() as u64, &entries, &report, &ledger).unwrap();
                    crashes += 1;
                }
                if !sweep.step() {
                    break;
                }
            }
            assert!(crashes > 100, "{crashes}");
        });
    }
}

#[test]
fn damage_anywhere_is_never_a_panic_and_never_invents_an_entry() {
    block_on(async {
        let disk = disk(78);
        let journal = open(&disk, Path::new(DIR), config(SyncMode::Dsync)).await;
        let lens = [10usize, 3000, 300_000, 20, 700_000, 5000, 1, 60_000];
        beside_writer(&journal, async {
            for (n, len) in lens.iter().enumerate() {
                let ticket = journal.push(header(n as u64), &data(n as u64, *len)).unwrap();
                journal.wait(ticket).await.unwrap();
            }
        })
        .await;
        let whole = disk.model();
        for seed in 0..150u64 {
            let mut rng = Rng::new(seed);
            let damaged = SimDisk::from_model(whole.clone(), seed);
            for _ in 0..1 + rng.below(3) {
                let files = damaged.files();
                let path = &files[rng.below(files.len() as u64) as usize];
                let size = damaged.peek(path).unwrap().len() as u64;
                // Headers are hit more often than their part of the bytes.
                let at = if rng.percent(50) { rng.below(size / 4096 + 1) * 4096 + rng.below(140) } else { rng.below(size) };
                damaged.damage(path, at.min(size - 1), 1 + rng.below(200) as usize);
            }
            let mut seen = 0;
            let outcome = replay(&damaged, Path::new(DIR), &mut |found, bytes| {
                assert_eq!((found, bytes), (header(seen), &data(seen, lens[seen as usize])[..]), "seed {seed}");
                seen += 1;
                Ok(())
            })
            .await;
            match outcome {
                Ok(report) => assert!(
                    seen == 8 || matches!(report.end, ReplayEnd::Corrupt { .. } | ReplayEnd::Torn { .. } | ReplayEnd::End),
                    "{report:?}"
                ),
                Err(error) => assert!(matches!(error, StorageError::Corrupt { .. } | StorageError::NewerFormat { .. }), "{error}"),
            }
        }
    });
}

#[test]
fn a_crash_while_a_released_file_is_used_again_is_no_corruption() {
    for mode in MODES {
        block_on(async {
            let disk = disk(79);
            let journal = open(&disk, Path::new(DIR), config(mode)).await;
            let ledger = RefCell::new(Ledger::default());
            let history = RefCell::new(Vec::new());
            let next = Cell::new(0u64);
            let push = |len: usize| {
                let n = next.get();
                next.set(n + 1);
                let ticket = journal.push(header(n), &data(n, len)).unwrap();
                ledger.borrow_mut().pushed.push((n, len, ticket));
                ticket
            };
            let note = |ticket: Ticket, released: Ticket| history.borrow_mut().push((disk.recorded_events(), ticket, released));
            let work = async {
                while journal.try_reserve(50_000) {
                    let ticket = push(50_000);
                    journal.wait(ticket).await.unwrap();
                }
                // All files are full. From here on released ones are overwritten.
                disk.record();
                for _ in 0..8 {
                    let released = Ticket(journal.completed().0 - 20);
                    note(journal.completed(), released);
                    journal.release(released);
                    journal.wait_space(30_000).await.unwrap();
                    let ticket = push(30_000);
                    journal.wait(ticket).await.unwrap();
                    note(ticket, released);
                }
                journal.close();
            };
            zip(work, async { journal.run(|_| ()).await.unwrap() }).await;
            assert!(journal.stats().files_recycled >= 1, "{:?}", journal.stats());
            let recording = disk.take_recording().unwrap();
            let mut sweep = recording.sweep();
            while sweep.step() {
                let (_, completed, released) = *history.borrow().iter().rfind(|h| h.0 <= sweep.events()).unwrap();
                let ledger = Ledger { pushed: ledger.borrow().pushed.clone(), completed, released };
                for seed in 0..25 {
                    let survivor = sweep.crash(seed, CrashMode::Mixed);
                    let (entries, report) = read_back(&survivor, Path::new(DIR)).await;
                    check(sweep.events() as u64, &entries, &report, &ledger).unwrap();
                }
            }
        });
    }
}

/// The random images of the crash explorer seldom meet this one; the sweep above does.
#[cfg(feature = "planted-bugs")]
#[test]
fn a_released_file_that_is_used_again_before_the_mark_is_found() {
    crate::planted::plant(Some(crate::planted::Bug::RecycledBeforeMark));
    let found = std::panic::catch_unwind(a_crash_while_a_released_file_is_used_again_is_no_corruption);
    crate::planted::plant(None);
    assert!(found.is_err());
}
