//! A broker over a damaged data directory: what it refuses it names, what it can repair it repairs, and the other partitions go on. And `coreline log`, which
//! tells the same of a stopped one. Needs kcat; without it one printed line says that nothing was tried.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use common::{Broker, command, dir, refused, spawn};

const SETTINGS: [&str; 8] =
    ["--shards", "1", "--set", "journal.file.bytes=1048576", "--set", "journal.max.bytes=4194304", "--set", "log.segment.bytes=1048576"];

fn has_kcat() -> bool {
    let found = Command::new("kcat").arg("-V").output().is_ok();
    if !found {
        assert!(std::env::var_os("CI").is_none(), "kcat is missing");
        eprintln!("skipped: kcat is missing");
    }
    found
}

fn kcat(broker: &Broker, args: &[&str], input: &str) -> Output {
    let mut child = Command::new("kcat")
        .args(["-b", &broker.addr.to_string()])
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn consume(broker: &Broker, topic: &str) -> Output {
    kcat(broker, &["-C", "-t", topic, "-e", "-q", "-X", "check.crcs=true"], "")
}

fn lines(topic: &str) -> String {
    (0..300).map(|n| format!("{topic} record {n} {}\n", "x".repeat(500))).collect()
}

/// A directory that a broker has left cleanly, with two topics of one partition.
fn filled(path: &Path) {
    let broker = Broker::start(path, &SETTINGS);
    for topic in ["one", "two"] {
        let output = kcat(&broker, &["-P", "-t", topic, "-X", "acks=all", "-X", "batch.size=8000"], &lines(topic));
        assert!(output.status.success(), "{output:?}");
    }
    broker.stop();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn files(path: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(path).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() { all.extend(files(&entry.path())) } else { all.push(entry.path()) }
    }
    all.sort();
    all
}

fn flip(path: &Path, position: usize) {
    let mut bytes = fs::read(path).unwrap();
    let last = bytes.len() - 1;
    bytes[position.min(last)] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

fn log_tool(args: &[&str], path: &Path) -> (Option<i32>, String) {
    let mut command = command();
    let output = command.arg("log").args(args).arg(path).stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
}

/// The partition directory that holds this topic's records.
fn log_of(path: &Path, topic: &str) -> PathBuf {
    let text = format!("{topic} record 0");
    let logs = files(&path.join("topics")).into_iter().filter(|p| p.extension().is_some_and(|e| e == "log"));
    logs.into_iter().find(|p| fs::read(p).unwrap().windows(text.len()).any(|w| w == text.as_bytes())).unwrap()
}

#[test]
fn what_is_damaged_is_named_and_refused_and_the_rest_goes_on() {
    if !has_kcat() {
        return;
    }
    let (good, work) = (dir(), dir());
    filled(good.path());
    assert_eq!(log_tool(&["verify"], good.path()).0, Some(0), "{}", log_tool(&["verify"], good.path()).1);
    let mut number = 0;
    let mut again = || {
        number += 1;
        let path = work.path().join(number.to_string());
        copy(good.path(), &path);
        path
    };
    let of_kind = |path: &Path, part: &str| {
        files(path).into_iter().find(|p| p.to_str().unwrap().contains(part)).unwrap_or_else(|| panic!("no {part}"))
    };

    // The start is refused by a sentence that names the file; the tool names it too.
    for (part, position) in [("meta.b", 40), ("checkpoint/base.", 60), ("quorum/0000000000000000.log", 10)] {
        let path = again();
        let file = of_kind(&path, part);
        flip(&file, position);
        let (code, said) = refused(
            &[&["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--data-dir", path.to_str().unwrap()], &SETTINGS[..]].concat(),
            |_| {},
        );
        assert!(code == Some(1) && said.len() == 1 && said[0].contains(file.to_str().unwrap()), "{part}: {code:?} {said:?}");
        let (code, text) = log_tool(&["verify"], &path);
        assert!(code == Some(1) && text.contains("DAMAGE") && text.contains(file.to_str().unwrap()), "{part}: {code:?} {text}");
    }

    // Repaired or harmless.
    for part in [".timeindex", ".index", "clean-shutdown", "frames", "/lock"] {
        let path = again();
        let Some(file) = files(&path).into_iter().find(|p| p.to_str().unwrap().contains(part)) else {
            assert!(part.contains("index"), "no {part}");
            continue;
        };
        flip(&file, 1);
        let broker = Broker::start(&path, &SETTINGS);
        for topic in ["one", "two"] {
            assert_eq!(String::from_utf8_lossy(&consume(&broker, topic).stdout), lines(topic), "{part}");
        }
        broker.stop();
    }

    // One partition suffers, and only what is damaged of it: a byte that the batch's own checksum does not cover, of the first 64 KiB.
    let path = again();
    let file = log_of(&path, "one");
    flip(&file, 12);
    let broker = Broker::start(&path, &SETTINGS);
    let output = consume(&broker, "one");
    assert!(output.stdout.is_empty(), "nothing of a damaged block is served");
    assert_eq!(String::from_utf8_lossy(&consume(&broker, "two").stdout), lines("two"));
    assert!(broker.metric("coreline_damaged_blocks_total") >= 1.0);
    assert!(broker.log.text().contains(file.to_str().unwrap()), "{}", broker.log.text());
    broker.stop();
    let (code, text) = log_tool(&["verify", "--topic", "one"], &path);
    assert!(code == Some(1) && text.contains(file.to_str().unwrap()), "{text}");
    assert_eq!(log_tool(&["verify", "--topic", "two"], &path).0, Some(0));

    // A file that is gone fences its partition; deleting the topic ends it.
    let path = again();
    fs::remove_file(log_of(&path, "one")).unwrap();
    let broker = Broker::start(&path, &SETTINGS);
    assert_eq!(broker.metric("coreline_fenced_partitions"), 1.0);
    assert_eq!(String::from_utf8_lossy(&consume(&broker, "two").stdout), lines("two"));
    let output = kcat(&broker, &["-P", "-t", "one", "-X", "message.timeout.ms=1500"], "more\n");
    assert!(!output.status.success(), "a fenced partition takes nothing");
    broker.stop();
}

/// The partition directories, the one with most records first.
fn partitions(path: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = fs::read_dir(path.join("topics")).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.sort_by_key(|dir| std::cmp::Reverse(fs::metadata(newest_log(dir)).map_or(0, |m| m.len()) + files(dir).len() as u64 * (1 << 20)));
    all
}

fn newest_log(dir: &Path) -> PathBuf {
    files(dir).into_iter().rfind(|file| file.extension().is_some_and(|e| e == "log")).unwrap()
}

/// What can be read of a topic; nothing of a fenced partition, which clients ask for ever.
fn compacted(broker: &Broker, topic: &str, fenced: bool) -> String {
    if fenced {
        return String::new();
    }
    let at = broker.addr.to_string();
    let args = ["60", "kcat", "-b", &at, "-C", "-t", topic, "-e", "-q", "-X", "check.crcs=true", "-f", "%o %k %s\\n"];
    let output = Command::new("timeout").args(args).output().unwrap();
    assert_ne!(output.status.code(), Some(124), "{topic} is not read to its end:\n{}", broker.log.text());
    String::from_utf8(output.stdout).unwrap()
}

/// A directory left by a clean stop after two compactions of `table`, so that both copies of its exchange are there; `other` is small.
fn filled_compacted(path: &Path) {
    let settings = ["log.cleanup.policy=compact", "log.cleaner.min.cleanable.ratio=0.01", "log.cleaner.backoff.ms=50"];
    let settings: Vec<&str> = SETTINGS.into_iter().chain(settings.into_iter().flat_map(|set| ["--set", set])).collect();
    let broker = Broker::start(path, &settings);
    let produce = |topic: &str, count: usize| {
        let keyed: String = (0..count).map(|n| format!("k{}:{topic} {n} {}\n", n * 7 % 90, "x".repeat(3000))).collect();
        let output = kcat(&broker, &["-P", "-t", topic, "-K", ":", "-X", "acks=all", "-X", "batch.size=12000"], &keyed);
        assert!(output.status.success(), "{output:?}");
    };
    produce("other", 30);
    for copy in ["compaction.b", "compaction.a"] {
        let deadline = Instant::now() + common::PATIENCE;
        produce("table", 800);
        while !files(&path.join("topics")).iter().any(|file| file.ends_with(copy)) {
            assert!(Instant::now() < deadline, "nothing is compacted:\n{}", broker.log.text());
            #[allow(clippy::disallowed_methods)] // The test's own thread: between two looks at the directory.
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    broker.stop();
}

/// Compacted segments, their sidecars, and the files that say which segments count.
#[test]
fn damage_to_a_compacted_partition_is_repaired_or_named_and_the_rest_goes_on() {
    if !has_kcat() {
        return;
    }
    let (good, work) = (dir(), dir());
    filled_compacted(good.path());
    let quiet = [&SETTINGS[..], &["--set", "log.cleaner.enable=false"]].concat();
    let mut number = 0;
    let mut tried = |damage: &dyn Fn(&Path)| {
        number += 1;
        let path = work.path().join(number.to_string());
        copy(good.path(), &path);
        damage(&partitions(&path)[0]);
        let verified = log_tool(&["verify"], &path);
        let broker = Broker::start(&path, &quiet);
        let fenced = broker.metric("coreline_fenced_partitions") > 0.0;
        let read = (compacted(&broker, "table", fenced), compacted(&broker, "other", false));
        let log = broker.log.text();
        broker.stop();
        fs::remove_dir_all(&path).unwrap();
        (read, verified, log)
    };
    let ((table, other), (code, text), _) = tried(&|_| {});
    assert!(code == Some(0) && table.lines().count() >= 90 && other.lines().count() == 30, "{code:?} {text}");

    let names: Vec<String> =
        files(&partitions(good.path())[0]).iter().map(|f| f.file_name().unwrap().to_str().unwrap().to_string()).collect();
    let logs: Vec<&String> = names.iter().filter(|name| name.ends_with(".log")).collect();
    assert!(logs.len() >= 2 && names.iter().any(|name| name == "compaction.a"), "{names:?}");
    let sums = logs[0].replace(".log", ".sums");
    // What there is twice, or what is made again from the records.
    for name in ["compaction.a", "compaction.b", &sums, &logs[0].replace(".log", ".index")] {
        for cut in [false, true] {
            let ((found, beside), _, log) = tried(&|dir| match cut {
                true => fs::File::options().write(true).open(dir.join(name)).unwrap().set_len(21).unwrap(),
                false => flip(&dir.join(name), 40),
            });
            assert!(found == table && beside == other, "{name}, cut: {cut}: {log}");
        }
    }
    // The only copy of the records: nothing wrong is read, and the file is named.
    for (name, damage) in [(logs[0], "flip"), (logs[0], "cut"), (logs[0], "gone"), (logs[1], "flip"), (logs[1], "gone")] {
        let ((found, beside), (code, text), log) = tried(&|dir| {
            let file = dir.join(name);
            match damage {
                "flip" => flip(&file, fs::metadata(&file).unwrap().len() as usize / 2),
                "cut" => fs::File::options().write(true).open(&file).unwrap().set_len(fs::metadata(&file).unwrap().len() / 2).unwrap(),
                _ => fs::remove_file(&file).unwrap(),
            }
        });
        let what = format!("{name}, {damage}");
        assert!(found.len() < table.len() && found.lines().all(|line| table.contains(line)), "{what}: something else is read");
        assert_eq!(beside, other, "{what}");
        let folder = partitions(good.path())[0].file_name().unwrap().to_str().unwrap().to_string();
        assert!(code == Some(1) && text.contains("DAMAGE") && text.contains(&folder), "{what}: {code:?} {text}");
        assert!(log.contains(&folder), "{what}: the log does not name it: {log}");
    }
    // An exchange that was decided and not carried out is carried out; what waits of one that was not decided goes.
    let newest = |dir: &Path| {
        let sequence = |name: &str| u64::from_le_bytes(fs::read(dir.join(name)).unwrap()[16..24].try_into().unwrap());
        sequence("compaction.a").max(sequence("compaction.b"))
    };
    for flipped in [false, true] {
        let ((found, beside), (code, _), log) = tried(&|dir| {
            let newest = newest(dir);
            for name in [logs[0], &sums] {
                fs::rename(dir.join(name), dir.join(format!("{name}.compacted.{newest}"))).unwrap();
            }
            if flipped {
                let waits = dir.join(format!("{}.compacted.{newest}", logs[0]));
                flip(&waits, fs::metadata(&waits).unwrap().len() as usize / 2);
            }
        });
        assert!(
            beside == other && (found == table) != flipped && found.lines().all(|line| table.contains(line)),
            "flipped: {flipped}: {log}"
        );
        assert_eq!(code, Some(i32::from(flipped)));
    }
    let ((found, beside), (code, text), log) = tried(&|dir| {
        let waits = dir.join(format!("{}.compacted.{}", logs[0], newest(dir) + 1));
        fs::write(waits, b"half of a segment").unwrap();
    });
    assert!(found == table && beside == other && code == Some(0) && text.contains("never decided"), "{code:?} {text} {log}");
}

/// The metadata log, or its end, is lost: the topics are not forgotten, the start is refused and nothing is changed that a copy of the log could not go on with.
#[test]
fn a_start_without_the_metadata_log_is_refused() {
    if !has_kcat() {
        return;
    }
    let (good, work) = (dir(), dir());
    filled(good.path());
    let name = "quorum/0000000000000000.log";
    let whole = fs::read(good.path().join(name)).unwrap();
    let cases: [(&str, Option<Vec<u8>>); 4] = [
        ("gone", None),
        ("empty", Some(Vec::new())),
        ("zeros", Some(vec![0; whole.len()])),
        // As if the last frames had never been written.
        ("ends early", Some([&whole[..3 * 4096], &vec![0; whole.len() - 3 * 4096][..]].concat())),
    ];
    for (what, bytes) in cases {
        let path = work.path().join(what);
        copy(good.path(), &path);
        match &bytes {
            Some(bytes) => fs::write(path.join(name), bytes).unwrap(),
            None => fs::remove_file(path.join(name)).unwrap(),
        }
        let (code, text) = log_tool(&["verify"], &path);
        assert!(code == Some(1) && text.contains("DAMAGE") && text.contains("quorum"), "{what}: {code:?} {text}");
        let start = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--data-dir", path.to_str().unwrap()];
        for _ in 0..2 {
            let (code, said) = refused(&[&start, &SETTINGS[..]].concat(), |_| {});
            assert!(code == Some(1) && said.len() == 1 && said[0].contains("quorum"), "{what}: {code:?} {said:?}");
        }
        // With the log from a copy everything is there again.
        fs::write(path.join(name), &whole).unwrap();
        let broker = Broker::start(&path, &SETTINGS);
        for topic in ["one", "two"] {
            assert_eq!(String::from_utf8_lossy(&consume(&broker, topic).stdout), lines(topic), "{what}");
        }
        broker.stop();
    }
}

/// Also the newest file of the journal is missed, of which no later frame speaks: after a kill, what was acknowledged is there or the start is refused.
#[test]
fn a_start_without_a_journal_file_is_refused_after_a_kill() {
    if !has_kcat() {
        return;
    }
    let (good, work) = (dir(), dir());
    let broker = Broker::start(good.path(), &SETTINGS);
    for topic in ["one", "two"] {
        let output = kcat(&broker, &["-P", "-t", topic, "-X", "acks=all", "-X", "batch.size=8000"], &lines(topic));
        assert!(output.status.success(), "{output:?}");
    }
    // The mark follows the first frame of a file by the time of a small write.
    let marked =
        |file: &PathBuf| file.to_str().unwrap().contains("/journal.") && fs::read(file).is_ok_and(|b| b.len() == 80 && b[56..64] != [0; 8]);
    let deadline = Instant::now() + common::PATIENCE;
    while !files(&good.path().join("journal")).iter().any(marked) {
        assert!(Instant::now() < deadline, "no mark in the journal's state:\n{}", broker.log.text());
        #[allow(clippy::disallowed_methods)] // The test's own thread: between two looks at the directory.
        std::thread::sleep(Duration::from_millis(5));
    }
    broker.kill();
    let frames: Vec<PathBuf> = files(good.path()).into_iter().filter(|f| f.extension().is_some_and(|e| e == "frames")).collect();
    let mut missed = 0;
    for (number, file) in frames.iter().enumerate() {
        let path = work.path().join(number.to_string());
        copy(good.path(), &path);
        fs::remove_file(path.join(file.strip_prefix(good.path()).unwrap())).unwrap();
        let (code, text) = log_tool(&["verify"], &path);
        if code == Some(0) {
            let broker = Broker::start(&path, &SETTINGS);
            for topic in ["one", "two"] {
                assert_eq!(String::from_utf8_lossy(&consume(&broker, topic).stdout), lines(topic), "without {}", file.display());
            }
            broker.stop();
            continue;
        }
        missed += 1;
        let start = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--data-dir", path.to_str().unwrap()];
        let (code, said) = refused(&[&start, &SETTINGS[..]].concat(), |_| {});
        let names = |text: &str| text.contains(path.join("journal").to_str().unwrap());
        assert!(code == Some(1) && said.len() == 1 && names(&said[0]) && names(&text), "{code:?} {said:?} {text}");
    }
    assert!(missed > 0, "none of {frames:?} was missed");
}

/// What is no file is refused at once, by a sentence that says what it is.
#[test]
fn a_pipe_or_a_folder_in_the_place_of_a_file_is_named() {
    if !has_kcat() {
        return;
    }
    let (good, work) = (dir(), dir());
    filled(good.path());
    let mut number = 0;
    for part in ["meta.b", "/lock", "clean-shutdown.b", "checkpoint/base.", "/journal.", ".frames", ".log", "quorum/0", ".flush"] {
        for (what, make) in [
            ("pipe", (|file| nix::unistd::mkfifo(file, nix::sys::stat::Mode::S_IRWXU).unwrap()) as fn(&Path)),
            ("directory", |file| fs::create_dir(file).unwrap()),
        ] {
            number += 1;
            let path = work.path().join(number.to_string());
            copy(good.path(), &path);
            let file = files(&path).into_iter().rfind(|file| file.to_str().unwrap().contains(part)).unwrap();
            fs::remove_file(&file).unwrap();
            make(&file);
            // It ends its partition.
            if what == "directory" && part == ".log" {
                let broker = Broker::start(&path, &SETTINGS);
                assert_eq!(broker.metric("coreline_fenced_partitions"), 1.0, "{part}");
                broker.stop();
                continue;
            }
            let start = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--data-dir", path.to_str().unwrap()];
            let (code, said) = refused(&[&start, &SETTINGS[..]].concat(), |_| {});
            // A folder in the place of the metadata log is passed over, and the log missed.
            let (name, what) = if part == "quorum/0" && what == "directory" {
                ("quorum", "was lost")
            } else {
                (file.file_name().unwrap().to_str().unwrap(), what)
            };
            assert!(
                code == Some(1) && said.len() == 1 && said[0].contains(name) && said[0].contains(what),
                "{part}, {what}: {code:?} {said:?}"
            );
            let (code, text) = log_tool(&["verify"], &path);
            assert!(code != Some(0) || part == ".flush" || part.contains("clean"), "{part}, {what}: {code:?} {text}");
        }
    }
}

#[test]
fn the_tool_reads_what_a_broker_has_left_and_refuses_a_running_one() {
    if !has_kcat() {
        return;
    }
    let data = dir();
    filled(data.path());
    let (code, text) = log_tool(&["dump", "--json", "--records", "--topic", "one"], data.path());
    assert_eq!(code, Some(0), "{text}");
    let items: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |kind: &str| items.iter().filter(|item| item["type"] == kind).collect::<Vec<_>>();
    let records: Vec<_> = of("batch").iter().flat_map(|b| b["payload"].as_array().unwrap().clone()).collect();
    assert_eq!(records.len(), 300);
    assert!(records[17]["offset"] == 17 && records[17]["value"].as_str().unwrap().starts_with("one record 17 "), "{}", records[17]);
    assert_eq!((&of("segment")[0]["nextOffset"], &of("totals")[0]["records"]), (&300.into(), &300.into()));
    let (code, text) = log_tool(&["dump"], data.path());
    assert!(code == Some(0) && text.contains("metadata record") && text.contains("\ncheckpoint "), "{text}");
    assert_eq!(log_tool(&["verify", "--topic", "absent"], data.path()).0, Some(2));
    assert_eq!(log_tool(&["verify"], &data.path().join("absent")).0, Some(2));
    let mut serve = command();
    serve.args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--data-dir"]).arg(data.path()).args(SETTINGS);
    let (mut child, log) = spawn(&mut serve);
    assert!(log.wait_for(" ready").is_some());
    let (code, text) = log_tool(&["verify"], data.path());
    assert!(code == Some(2) && text.contains("in use") && text.contains("stop it first"), "{code:?} {text}");
    child.kill().unwrap();
    child.wait().unwrap();
    // After a kill the journal has what the segments lack.
    assert_eq!(log_tool(&["verify"], data.path()).0, Some(0));
}
