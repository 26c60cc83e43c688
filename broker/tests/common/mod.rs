//! A broker process under test: started on free ports with a directory of its own, its log collected, stopped by signal.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)] // Each test file uses its part.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Longest wait for anything that must happen.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Lines of the process's standard error so far.
#[derive(Default)]
pub struct Log {
    lines: Mutex<(Vec<String>, bool)>,
    changed: Condvar,
}

impl Log {
    /// The text after `marker` in the first line that has it, waiting for it. `None` when the log ends without.
    pub fn wait_for(&self, marker: &str) -> Option<String> {
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.lines.lock().unwrap();
        loop {
            let found = state.0.iter().find_map(|line| line.split_once(marker).map(|(_, rest)| rest.to_string()));
            if found.is_some() || state.1 {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no {marker:?} in the log:\n{}", state.0.join("\n"));
            state = self.changed.wait_timeout(state, left).unwrap().0;
        }
    }

    /// Everything so far.
    pub fn text(&self) -> String {
        self.lines.lock().unwrap().0.join("\n")
    }
}

/// A command for the broker with its log collected; no arguments yet.
pub fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coreline"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).env("NO_COLOR", "1");
    command
}

/// Starts a process made by [`command`] and collects its log.
pub fn spawn(command: &mut Command) -> (Child, Arc<Log>) {
    let mut child = command.spawn().expect("the broker's binary starts");
    let log = Arc::new(Log::default());
    let (stderr, writer) = (child.stderr.take().unwrap(), Arc::clone(&log));
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            writer.lines.lock().unwrap().0.push(line);
            writer.changed.notify_all();
        }
        writer.lines.lock().unwrap().1 = true;
        writer.changed.notify_all();
    });
    (child, log)
}

/// A running broker. Killed when dropped.
pub struct Broker {
    /// Its Kafka listener.
    pub addr: SocketAddr,
    /// Its admin listener.
    pub admin: SocketAddr,
    /// Its log.
    pub log: Arc<Log>,
    child: Child,
}

impl Broker {
    /// Starts a broker on free ports and waits until it is ready.
    pub fn start(data_dir: &Path, args: &[&str]) -> Broker {
        Broker::start_with(data_dir, args, |_| {})
    }

    /// The same, with a change to the command.
    pub fn start_with(data_dir: &Path, args: &[&str], change: impl FnOnce(&mut Command)) -> Broker {
        let mut command = command();
        command.args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--data-dir"]).arg(data_dir).args(args);
        change(&mut command);
        let (mut child, log) = spawn(&mut command);
        let ready = log.wait_for(" ready");
        if ready.is_none() {
            let status = child.wait().unwrap();
            panic!("the broker ended instead of starting ({status}):\n{}", log.text());
        }
        let address = |marker| log.wait_for(marker).unwrap().trim().parse().unwrap();
        Broker { addr: address("listening on "), admin: address("admin on http://"), child, log }
    }

    /// Process id.
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Sends a signal.
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.pid()), signal).unwrap();
    }

    /// Waits for the end of the process.
    pub fn wait(&mut self) -> ExitStatus {
        wait(&mut self.child, &self.log)
    }

    /// SIGTERM; must end well.
    pub fn stop(mut self) {
        self.signal(nix::sys::signal::Signal::SIGTERM);
        let status = self.wait();
        assert!(status.success(), "{status}:\n{}", self.log.text());
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// A connection that gives up after [`PATIENCE`].
    pub fn connect(&self) -> TcpStream {
        connect(self.addr)
    }

    /// Status and body of an admin request.
    pub fn http(&self, request_line: &str) -> (u16, String) {
        http(self.admin, request_line)
    }

    /// The sum of a metric over all shards and labels.
    pub fn metric(&self, name: &str) -> f64 {
        let (status, text) = self.http("GET /metrics HTTP/1.1");
        assert_eq!(status, 200);
        text.lines()
            .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])))
            .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
            .sum()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for the end of a process that must end.
pub fn wait(child: &mut Child, log: &Log) -> ExitStatus {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            // The collector may be a moment behind.
            log.wait_for("\u{0}never");
            return status;
        }
        assert!(Instant::now() < deadline, "the process does not end:\n{}", log.text());
        #[allow(clippy::disallowed_methods)] // A process's end has no event to wait for with a deadline.
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Runs a broker that must refuse to start; its exit code and what it says, without log lines.
pub fn refused(args: &[&str], change: impl FnOnce(&mut Command)) -> (Option<i32>, Vec<String>) {
    let mut command = command();
    command.arg("serve").args(args);
    change(&mut command);
    let (mut child, log) = spawn(&mut command);
    let status = wait(&mut child, &log);
    let said = log.text().lines().filter_map(|line| line.strip_prefix("coreline: ").map(str::to_string)).collect();
    (status.code(), said)
}

/// A temporary directory.
pub fn dir() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// A connection that gives up after [`PATIENCE`].
pub fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Status and body of an admin request.
pub fn http(admin: SocketAddr, request_line: &str) -> (u16, String) {
    let mut stream = connect(admin);
    stream.write_all(format!("{request_line}\r\nHost: test\r\n\r\n").as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let status = text.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or_else(|| panic!("no status in {text:?}"));
    (status, text.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_string()))
}

/// A request frame with size prefix and header: client id "test", no tagged fields.
pub fn frame(api_key: i16, version: i16, correlation_id: i32, body: &[u8]) -> Vec<u8> {
    let mut inner = Vec::new();
    inner.extend(api_key.to_be_bytes());
    inner.extend(version.to_be_bytes());
    inner.extend(correlation_id.to_be_bytes());
    inner.extend(4i16.to_be_bytes());
    inner.extend(b"test");
    inner.extend(body);
    let mut frame = (inner.len() as i32).to_be_bytes().to_vec();
    frame.extend(inner);
    frame
}

/// The next response frame, without its size prefix; `None` at the end of the stream.
pub fn read_frame(stream: &mut impl Read) -> Option<Vec<u8>> {
    let mut size = [0; 4];
    let mut have = 0;
    while have < 4 {
        match stream.read(&mut size[have..]) {
            Ok(0) => {
                assert_eq!(have, 0, "the stream ends inside a size");
                return None;
            }
            Ok(n) => have += n,
            Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset && have == 0 => return None,
            Err(e) => panic!("reading a response: {e}"),
        }
    }
    let mut frame = vec![0; i32::from_be_bytes(size) as usize];
    stream.read_exact(&mut frame).unwrap();
    Some(frame)
}

/// Correlation id of a response frame.
pub fn correlation_id(frame: &[u8]) -> i32 {
    i32::from_be_bytes(frame[..4].try_into().unwrap())
}
