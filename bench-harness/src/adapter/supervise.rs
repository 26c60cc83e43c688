//! The supervisor of one server: a process of this program's own that starts the server, reports its end, and ends it when this program is gone.
//!
//! It is this executable run as `coreline-bench supervise`, reads one command per line from its standard input, and answers on its standard
//! output. The server gets a process group of its own, so that Ctrl-C in a terminal does not reach it. When the input ends, because the harness
//! finished, crashed or was killed, the server's group (and its control group, if it has one) gets SIGKILL. One process more, but no `unsafe`
//! between fork and exec, and a restart costs one round trip over a pipe.
//!
//! | command | answer |
//! |---|---|
//! | `start` | `pid N` or `error WHY`; later `exit STATUS` when the server ends, whatever ended it |

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::cpus;

/// Longest wait for the supervisor itself to answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);

/// What is started.
#[derive(Clone, Debug)]
pub struct Launch {
    /// Executable and arguments.
    pub argv: Vec<String>,
    /// Additional environment.
    pub environment: Vec<(String, String)>,
    /// Where its output goes; appended.
    pub log: PathBuf,
    /// Directories of control groups that it is put into.
    pub cgroups: Vec<PathBuf>,
    /// Directory that is deleted when this program is gone without having done so.
    pub dir: PathBuf,
    /// CPUs that it is kept on; none are any.
    pub cpus: Vec<usize>,
}

/// The harness's end of a supervisor.
pub struct Supervisor {
    process: Child,
    commands: Option<ChildStdin>,
    answers: Receiver<String>,
    running: Option<u32>,
    /// The last server, of which the supervisor has not said that it ended.
    unaccounted: Option<u32>,
    cgroups: Vec<PathBuf>,
    /// Nobody waits for its end.
    is_left: bool,
}

impl Supervisor {
    /// Starts the supervisor process; nothing is launched yet.
    pub fn spawn(program: &Path, launch: &Launch) -> io::Result<Supervisor> {
        let mut command = Command::new(program);
        command.arg("supervise").arg("--log").arg(&launch.log).arg("--dir").arg(&launch.dir);
        for cgroup in &launch.cgroups {
            command.arg("--cgroup").arg(cgroup);
        }
        if !launch.cpus.is_empty() {
            let cpus: Vec<String> = launch.cpus.iter().map(usize::to_string).collect();
            command.arg("--cpus").arg(cpus.join(","));
        }
        command.arg("--").args(&launch.argv).envs(launch.environment.iter().map(|(k, v)| (k, v)));
        let mut process = command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (sender, answers) = channel();
        let commands = process.stdin.take();
        let output = process.stdout.take();
        thread::spawn(move || {
            let lines = output.map(|output| BufReader::new(output).lines().map_while(Result::ok)).into_iter().flatten();
            for line in lines {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Supervisor { process, commands, answers, running: None, unaccounted: None, cgroups: launch.cgroups.clone(), is_left: false })
    }

    /// Starts the server; its process id.
    pub fn start(&mut self) -> Result<u32, String> {
        let sent = match &mut self.commands {
            Some(pipe) => pipe.write_all(b"start\n").and_then(|()| pipe.flush()),
            None => Err(io::Error::from(io::ErrorKind::BrokenPipe)),
        };
        sent.map_err(|error| format!("its supervisor is gone: {error}"))?;
        loop {
            let answer = self.answers.recv_timeout(ANSWER_TIME_MAX).map_err(|_| "its supervisor does not answer".to_string())?;
            if let Some(pid) = answer.strip_prefix("pid ").and_then(|pid| pid.parse().ok()) {
                (self.running, self.unaccounted) = (Some(pid), Some(pid));
                return Ok(pid);
            }
            if let Some(why) = answer.strip_prefix("error ") {
                return Err(why.to_string());
            }
        }
    }

    /// The server's process id while it runs, as far as has been noticed.
    pub fn running(&self) -> Option<u32> {
        self.running
    }

    /// Waits for the server's end; `None` when the time is over. Zero only looks.
    pub fn wait_exit(&mut self, limit: Duration) -> Option<String> {
        self.running?;
        match self.answers.recv_timeout(limit) {
            Ok(answer) => {
                (self.running, self.unaccounted) = (None, None);
                Some(answer.strip_prefix("exit ").unwrap_or(&answer).to_string())
            }
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => {
                self.running = None;
                self.end_orphan();
                Some("its supervisor is gone".into())
            }
        }
    }

    /// Sends a signal to the server and everything in its process group.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = self.running {
            let group = Pid::from_raw(pid as i32);
            if killpg(group, signal).is_err() {
                let _ = kill(group, signal);
            }
        }
    }
}

impl Supervisor {
    /// Does not wait for it when it is dropped: it ends the server and deletes the directory as soon as its input ends, as ever.
    pub fn leave_to_itself(&mut self) {
        self.is_left = true;
    }

    /// Ends a server whose supervisor was ended by somebody else.
    fn end_orphan(&mut self) {
        if let Some(pid) = self.unaccounted.take() {
            let _ = killpg(Pid::from_raw(pid as i32), Signal::SIGKILL);
        }
        for cgroup in self.cgroups.iter().filter(|cgroup| cgroup.join("cgroup.kill").exists()) {
            let _ = std::fs::write(cgroup.join("cgroup.kill"), "1");
        }
    }
}

impl Drop for Supervisor {
    /// Ends the supervisor, and with it the server.
    fn drop(&mut self) {
        drop(self.commands.take());
        if self.is_left && matches!(self.process.try_wait(), Ok(None)) {
            return;
        }
        let _ = self.process.wait();
        // The supervisor says that the server ended, or has ended it; if it was killed before it could, this does.
        while let Ok(answer) = self.answers.try_recv() {
            if answer.starts_with("exit ") {
                self.unaccounted = None;
            }
        }
        self.end_orphan();
    }
}

/// The supervisor process: its arguments after `supervise`.
pub struct Orders {
    /// Where the server's output goes.
    pub log: PathBuf,
    /// Control groups to join.
    pub cgroups: Vec<PathBuf>,
    /// Deleted at the end.
    pub dir: Option<PathBuf>,
    /// CPUs to keep it on; none are any.
    pub cpus: Vec<usize>,
    /// Executable and arguments.
    pub argv: Vec<String>,
}

/// Runs as the supervisor until the input ends. Never returns before the server is gone.
pub fn serve(orders: &Orders) -> io::Result<()> {
    // Orphans of the server come to this process instead of escaping to init.
    let _ = nix::sys::prctl::set_child_subreaper(true);
    // The server is started by this thread and inherits them.
    cpus::keep_on(&orders.cpus)?;
    for cgroup in &orders.cgroups {
        std::fs::write(cgroup.join("cgroup.procs"), "0\n")?;
    }
    let group: Arc<Mutex<Option<Pid>>> = Arc::default();
    for line in io::stdin().lines() {
        if line?.trim() != "start" {
            continue;
        }
        match launch(orders) {
            Err(error) => answer(&format!("error {error}")),
            Ok(child) => {
                let pid = Pid::from_raw(child.id() as i32);
                *group.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(pid);
                answer(&format!("pid {pid}"));
                let group = Arc::clone(&group);
                thread::spawn(move || report_end(child, pid, &group));
            }
        }
    }
    if let Some(pid) = *group.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) {
        let _ = killpg(pid, Signal::SIGKILL);
    }
    if let Some(dir) = &orders.dir {
        let _ = std::fs::remove_dir_all(dir);
    }
    for cgroup in &orders.cgroups {
        // Everything in it (what left the process group is still in here), and this process with it if it may not leave before.
        let parent = cgroup.parent().map(|parent| parent.join("cgroup.procs"));
        let left = parent.is_some_and(|parent| std::fs::write(parent, "0\n").is_ok());
        if cgroup.join("cgroup.kill").exists() {
            let _ = std::fs::write(cgroup.join("cgroup.kill"), "1");
        }
        if left {
            crate::cost::remove_group(cgroup);
        }
    }
    Ok(())
}

fn launch(orders: &Orders) -> io::Result<Child> {
    let (program, arguments) = orders.argv.split_first().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let log = OpenOptions::new().create(true).append(true).open(&orders.log)?;
    let mut command = Command::new(program);
    command.args(arguments).process_group(0).stdin(Stdio::null()).stdout(log.try_clone()?).stderr::<File>(log);
    command.spawn().map_err(|error| io::Error::new(error.kind(), format!("{program}: {error}")))
}

/// Waits for the server, ends what it left behind in its group, and says so.
fn report_end(mut child: Child, pid: Pid, group: &Mutex<Option<Pid>>) {
    let status = child.wait();
    let _ = killpg(pid, Signal::SIGKILL);
    let mut group = group.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if *group == Some(pid) {
        *group = None;
    }
    answer(&format!("exit {}", status.map_or_else(|error| error.to_string(), describe)));
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("code {code}"),
        (None, Some(signal)) => Signal::try_from(signal).map_or_else(|_| format!("signal {signal}"), |signal| signal.to_string()),
        (None, None) => status.to_string(),
    }
}

/// One line to the harness; when it is gone the input ends too.
fn answer(line: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{}", line.replace('\n', " ")).and_then(|()| out.flush());
}
