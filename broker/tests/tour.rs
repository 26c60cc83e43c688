//! Runs the README's five-minute tour exactly as it is written.
//!
//! The convention, by the info string of a fenced block in `README.md`:
//!
//! - ```` ```sh tour-broker ````: the first terminal. One command that starts the broker, `cargo run --release -- serve ...`; the test puts
//!   the binary of this build in the place of `cargo run --release --`, runs it in an empty folder, and goes on when the broker serves.
//!   A further such block means Ctrl-C and the command again, in the same folder: the test sends SIGINT and expects status 0.
//! - ```` ```sh tour ````: the second terminal. Run by `bash -euo pipefail` in an empty folder of its own, which all these blocks
//!   share, within a minute each; the block has to end with status 0.
//! - ```` ```text tour ````: directly behind a `sh tour` block, what that block prints on stdout, exactly; `...` stands for anything within
//!   its line, and a line that is only `...` for any number of lines.
//!
//! `coreline` is found on the path, as the README asks for. Ports are replaced only where the README's own (9092 and 9644) are taken on this machine.
//! One test: `cargo test -p coreline-broker --test tour`. Without kcat it is a printed skip, with `CI=true` a failure.

#![allow(clippy::disallowed_methods, reason = "a test process has no shards: it polls child processes and sleeps between")]

#[path = "interop/probe.rs"]
#[allow(dead_code, reason = "shared with interop.rs")]
mod probe;
#[path = "interop/process.rs"]
#[allow(dead_code, reason = "shared with interop.rs")]
mod process;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use process::Ended;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const KAFKA_PORT: u16 = 9092;
const ADMIN_PORT: u16 = 9644;
const BLOCK_WITHIN: Duration = Duration::from_secs(60);
const SERVES_WITHIN: Duration = Duration::from_secs(30);

#[test]
fn the_tour_of_the_readme_works_as_written() {
    if let Err(reason) = probe::available(&["kcat", "-V"]) {
        return probe::missing("the tour", &reason);
    }
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = fs::read_to_string(&readme).expect("the repository has a README.md");
    let blocks = blocks(&readme);
    let shells = blocks.iter().filter(|block| block.kind == Kind::Shell).count();
    assert!(
        blocks.iter().any(|block| block.kind == Kind::Broker) && shells > 0,
        "README.md has no blocks marked `sh tour-broker` and `sh tour`"
    );
    let mut tour = Tour::new();
    for block in &blocks {
        if let Err(reason) = tour.run(block) {
            panic!("README.md line {}: {reason}\n\n{}\n\nthe broker's log:\n{}", block.line, block.text, tour.broker_log());
        }
    }
    if let Err(reason) = tour.stop_broker() {
        panic!("at the end of the tour: {reason}");
    }
}

struct Tour {
    folder: tempfile::TempDir,
    broker: Option<Ended>,
    ports: [u16; 2],
    printed: Option<String>,
}

impl Tour {
    fn new() -> Tour {
        let folder = tempfile::Builder::new().prefix("tour-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary folder");
        for name in ["broker", "shell"] {
            fs::create_dir(folder.path().join(name)).expect("an empty temporary folder");
        }
        let ports =
            [KAFKA_PORT, ADMIN_PORT].map(|port| if TcpListener::bind(("127.0.0.1", port)).is_ok() { port } else { probe::free_port() });
        Tour { folder, broker: None, ports, printed: None }
    }

    fn run(&mut self, block: &Block) -> Result<(), String> {
        match block.kind {
            Kind::Broker => self.start_broker(&block.text),
            Kind::Shell => self.run_shell(&block.text),
            Kind::Output => {
                let printed = self.printed.take().ok_or("an output block without a `sh tour` block before it")?;
                let wanted = self.with_ports(&block.text);
                if matches(&wanted, &printed) { Ok(()) } else { Err(format!("the block before it printed otherwise:\n{printed}")) }
            }
        }
    }

    fn start_broker(&mut self, text: &str) -> Result<(), String> {
        self.stop_broker()?;
        let rest =
            text.trim().strip_prefix("cargo run --release -- ").ok_or("a broker block is one command, `cargo run --release -- ...`")?;
        let mut words = rest.split_whitespace().map(|word| self.with_ports(word)).collect::<Vec<_>>();
        for (option, default, port) in [("--listen", KAFKA_PORT, self.ports[0]), ("--admin-listen", ADMIN_PORT, self.ports[1])] {
            if port != default && !words.iter().any(|word| word == option) {
                words.extend([option.to_owned(), format!("127.0.0.1:{port}")]);
            }
        }
        let log =
            File::options().create(true).append(true).open(self.folder.path().join("broker.log")).map_err(|error| error.to_string())?;
        let also = log.try_clone().map_err(|error| error.to_string())?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_coreline"));
        command.args(words).current_dir(self.folder.path().join("broker")).stdin(Stdio::null()).stdout(log).stderr(also);
        let broker = self.broker.insert(Ended(command.spawn().map_err(|error| error.to_string())?));
        let deadline = Instant::now() + SERVES_WITHIN;
        while !(probe::admin_ready(self.ports[1]) && probe::answers_api_versions(self.ports[0])) {
            if let Ok(Some(status)) = broker.0.try_wait() {
                return Err(format!("the broker ended at its start with {status}"));
            }
            if Instant::now() > deadline {
                return Err(format!("the broker did not serve within {SERVES_WITHIN:?}"));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    fn stop_broker(&mut self) -> Result<(), String> {
        let Some(mut broker) = self.broker.take() else { return Ok(()) };
        let _ = kill(Pid::from_raw(broker.0.id() as i32), Signal::SIGINT);
        match broker.wait(Duration::from_secs(30))? {
            Some(status) if status.code() == Some(0) => Ok(()),
            Some(status) => Err(format!("after Ctrl-C the broker ended with {status}")),
            None => Err("the broker still ran 30 s after Ctrl-C".to_owned()),
        }
    }

    fn run_shell(&mut self, text: &str) -> Result<(), String> {
        let mut command = Command::new("bash");
        command.args(["-euo", "pipefail", "-c", &self.with_ports(text)]).current_dir(self.folder.path().join("shell"));
        let binaries = Path::new(env!("CARGO_BIN_EXE_coreline")).parent().unwrap_or(Path::new("."));
        command.env("PATH", format!("{}:{}", binaries.display(), std::env::var("PATH").unwrap_or_default()));
        // Nobody's profile or address but the README's own.
        command.env("XDG_CONFIG_HOME", self.folder.path()).env_remove("CORELINE_BROKERS").env_remove("CORELINE_PROFILE");
        if self.ports[0] != KAFKA_PORT {
            command.env("CORELINE_BROKERS", format!("127.0.0.1:{}", self.ports[0]));
        }
        let output = process::run(&mut command, BLOCK_WITHIN)?;
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            return Err(format!("ended with {}\n{printed}\n{}", output.status, process::tail(&output.stderr)));
        }
        self.printed = Some(printed);
        Ok(())
    }

    fn with_ports(&self, text: &str) -> String {
        let text = text.replace(&format!(":{KAFKA_PORT}"), &format!(":{}", self.ports[0]));
        text.replace(&format!(":{ADMIN_PORT}"), &format!(":{}", self.ports[1]))
    }

    fn broker_log(&self) -> String {
        process::tail(&fs::read(self.folder.path().join("broker.log")).unwrap_or_default())
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Broker,
    Shell,
    Output,
}

#[derive(Debug, PartialEq, Eq)]
struct Block {
    kind: Kind,
    line: usize,
    text: String,
}

/// The marked blocks in their order.
fn blocks(readme: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = readme.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        let Some(info) = line.strip_prefix("```").map(str::trim) else { continue };
        let text: Vec<&str> = lines.by_ref().map(|(_, line)| line).take_while(|line| !line.starts_with("```")).collect();
        let kind = match info {
            "sh tour-broker" => Kind::Broker,
            "sh tour" => Kind::Shell,
            "text tour" => Kind::Output,
            _ => continue,
        };
        blocks.push(Block { kind, line: at + 1, text: text.join("\n") });
    }
    blocks
}

/// Line by line, trailing blanks aside; `...` as the header says.
fn matches(wanted: &str, printed: &str) -> bool {
    fn lines(wanted: &[&str], printed: &[&str]) -> bool {
        match (wanted.split_first(), printed.split_first()) {
            (None, None) => true,
            (Some((&"...", wanted)), _) => (0..=printed.len()).any(|skip| lines(wanted, &printed[skip..])),
            (Some((first, wanted)), Some((one, printed))) => line(first, one) && lines(wanted, printed),
            _ => false,
        }
    }
    fn line(wanted: &str, printed: &str) -> bool {
        match wanted.split_once("...") {
            None => wanted == printed,
            Some((start, rest)) => {
                let Some(printed) = printed.strip_prefix(start) else { return false };
                printed.char_indices().map(|(at, _)| at).chain([printed.len()]).any(|at| line(rest, &printed[at..]))
            }
        }
    }
    fn split(text: &str) -> Vec<&str> {
        text.trim_end().lines().map(str::trim_end).collect()
    }
    lines(&split(wanted), &split(printed))
}

#[test]
fn only_marked_blocks_are_the_tour() {
    let readme = "# x\n```sh\nno\n```\n```sh tour-broker\ncargo run --release -- serve\n```\ntext\n```sh tour\nkcat -L\nkcat -P\n```\n```text tour\nout\n```\n";
    let kinds: Vec<_> = blocks(readme).into_iter().map(|block| (block.kind, block.line, block.text)).collect();
    let shell = (Kind::Shell, 9, "kcat -L\nkcat -P".to_owned());
    assert_eq!(kinds, [(Kind::Broker, 5, "cargo run --release -- serve".to_owned()), shell, (Kind::Output, 13, "out".to_owned())]);
}

#[test]
fn dots_stand_for_anything_and_nothing_else_does() {
    assert!(matches("a\nb ... d\n", "a  \nb c d\n\n"));
    assert!(matches("a\n...\nz", "a\nb\nc\nz"));
    assert!(matches("a\n...\nz", "a\nz"));
    assert!(!matches("a\n...\nz", "a\nb"));
    assert!(!matches("a", "a\nb"));
    assert!(!matches("a b", "a  b"));
    assert!(!matches("a ... c", "a b d"));
}
