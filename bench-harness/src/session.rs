//! One run with everything around it: the host, the disk before and after, what it cost the server, where the tail went.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::adapter::{Server, Watch};
use crate::cost::{Moment, ServerCost, SyscallCounter};
use crate::error::BenchError;
use crate::interrupt::{self, Flag};
use crate::probe::{self, DiskProbes};
use crate::result::RunResult;
use crate::run::{self, Progress};
use crate::scenario::Scenario;
use crate::stages::{Scrape, StageReport};
use crate::target::Target;

/// How much longer an interrupted run waits for the server's metrics.
const SCRAPE_GRACE: Duration = Duration::from_millis(200);

/// What is done around a run.
#[derive(Clone, Debug)]
pub struct Around {
    /// Time of each disk probe before and after; `None` leaves them out.
    pub probe: Option<Duration>,
    /// Directory whose disk is probed when the server is not started here.
    pub probe_dir: PathBuf,
    /// Count system calls with perf; each call costs the server a little then.
    pub count_calls: bool,
    /// `HOST:PORT` of the metrics of a Coreline that is not started here.
    pub admin: Option<String>,
}

impl Default for Around {
    fn default() -> Around {
        Around { probe: Some(Duration::from_secs(1)), probe_dir: std::env::temp_dir(), count_calls: false, admin: None }
    }
}

/// Starts the server afresh (unless the scenario does that itself), runs the scenario, stops the server, and fills in what surrounds the run.
pub fn run_fresh(
    scenario: &Scenario,
    server: &mut Server,
    around: &Around,
    flag: &Flag,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<RunResult, BenchError> {
    let probe_dir = server.local().map_or_else(|| around.probe_dir.clone(), |local| local.place().dir.clone());
    let probe = |progress: &mut dyn FnMut(Progress<'_>)| {
        around.probe.and_then(|time| {
            progress(Progress::SettingUp("probing the disk"));
            probe::disk_unless(flag, &probe_dir, time)
        })
    };
    let before = probe(progress);
    interrupt::check(flag)?;
    if scenario.start_up.is_none() {
        progress(Progress::SettingUp("starting the server"));
        server.start_fresh()?;
    }
    let mut result = measure(scenario, server, around, flag, progress)?;
    let stopped = server.stop();
    if let Err(error) = stopped {
        result.verdict.notes.push(format!("stopping the server: {error}"));
    }
    let after = if interrupt::is_raised(flag) { None } else { probe(progress) };
    result.disk = before.and_then(|before| json(&DiskProbes { before, after }));
    result.host = Some(probe::host());
    result.tool_sha256 = probe::own_sha256();
    Ok(result)
}

/// Runs the scenario against a server that serves, and adds what it cost and where the tail went.
pub fn measure(
    scenario: &Scenario,
    server: &mut Server,
    around: &Around,
    flag: &Flag,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<RunResult, BenchError> {
    let watch = server.local().map(|local| local.watch()).unwrap_or_default();
    let mut observer = Observer {
        // What is told of a server elsewhere is none of one that was started here.
        admin: if server.local().is_some() { watch.admin().map(str::to_string) } else { around.admin.clone() },
        watch,
        flag: Arc::clone(flag),
        ..Observer::default()
    };
    let count_calls = around.count_calls;
    let outcome = run::run(scenario, server.target(), flag, &mut |event| {
        match event {
            Progress::PhaseStarted("measured") => observer.begin(count_calls),
            Progress::PhaseEnded("measured") => observer.end(),
            _ => {}
        }
        progress(event);
    });
    let mut result = match (outcome, &mut *server) {
        (Ok(result), _) => result,
        (Err(error), Server::Remote(_)) => return Err(error),
        (Err(error), Server::Local(local)) => return Err(with_its_end(error, local.unasked_end(), &local.log_end())),
    };
    observer.fill(&mut result);
    if let Server::Local(local) = server {
        result.target.version = local.version().map(str::to_string);
        result.target.sha256 = local.sha256().map(str::to_string);
        result.target.settings = local.settings().iter().cloned().collect();
        // In a terminal Ctrl-C reaches neither it nor its supervisor: what ends while a run is interrupted was ended here.
        if let Some(status) = local.unasked_end().filter(|_| !result.interrupted) {
            let why = format!("the server ended by itself ({status})");
            result.verdict.valid = false;
            result.verdict.reasons.push(format!("the target died: {why}"));
            result.target.died.get_or_insert(why);
        }
    }
    Ok(result)
}

/// An error of a run against a server that died meanwhile says that, and how.
fn with_its_end(error: BenchError, ended: Option<String>, log: &str) -> BenchError {
    match (error, ended) {
        (BenchError::Target { target, reason }, Some(status)) => {
            BenchError::Target { target, reason: format!("{reason}; the server has ended ({status}), the end of its log:\n{log}") }
        }
        (error, _) => error,
    }
}

/// Looks at the server when the measured phase begins and when it ends.
#[derive(Default)]
struct Observer {
    watch: Watch,
    flag: Flag,
    admin: Option<String>,
    begin: Option<Moment>,
    end: Option<Moment>,
    calls: Option<Result<SyscallCounter, String>>,
    counted: Option<Result<u64, String>>,
    scrapes: [Option<Result<Scrape, String>>; 2],
}

impl Observer {
    fn begin(&mut self, count_calls: bool) {
        self.scrapes[0] = self.scrape();
        if count_calls {
            self.calls = Some(
                self.watch.pid().ok_or_else(|| "the server is not a process started here".to_string()).and_then(SyscallCounter::start),
            );
        }
        self.begin = Some(self.moment());
    }

    fn end(&mut self) {
        if self.begin.is_some() && self.end.is_none() {
            self.end = Some(self.moment());
            self.counted = self.calls.take().map(|calls| calls.and_then(SyscallCounter::stop));
            self.scrapes[1] = self.scrape();
        }
    }

    fn moment(&self) -> Moment {
        Moment::now(self.watch.pid(), self.watch.cgroup())
    }

    fn scrape(&self) -> Option<Result<Scrape, String>> {
        let admin = self.admin.clone()?;
        let fetched = interrupt::on_thread(&self.flag, SCRAPE_GRACE, {
            let admin = admin.clone();
            move || Scrape::fetch(&admin)
        });
        let fetched = fetched.unwrap_or_else(|| Err(interrupt::as_io()));
        Some(fetched.map_err(|error| format!("the metrics at {admin}: {error}")))
    }

    fn fill(mut self, result: &mut RunResult) {
        self.end();
        let counts = result.measured.counts;
        if let (Some(begin), Some(end)) = (&self.begin, &self.end) {
            let calls = self.counted.unwrap_or_else(|| Err("not asked for (--syscalls)".into()));
            let (records, bytes) = (counts.acked + counts.received, counts.acked_bytes + counts.received_bytes);
            let cost = ServerCost::between(begin, end, records, bytes, calls);
            match sampled_elsewhere(cost.seconds, result.measured.seconds) {
                Some(why) => result.verdict.notes.push(why),
                None => result.server_cost = json(&cost),
            }
        }
        match self.scrapes {
            [Some(Ok(before)), Some(Ok(after))] => result.stages = json(&StageReport::between(&before, &after)),
            [Some(Err(why)), _] | [_, Some(Err(why))] => result.verdict.notes.push(format!("no stages: {why}")),
            _ => {}
        }
    }
}

/// Why the cost of so many seconds is not that of the measured phase: on a host that hardly lets this program run it is sampled late, and would
/// be divided by records that it did not pay for. Phases without a length (starts) have no such question.
fn sampled_elsewhere(sampled_s: f64, measured_s: f64) -> Option<String> {
    let off = (sampled_s - measured_s).abs() / measured_s;
    (measured_s > 0.0 && off > 0.1)
        .then(|| format!("the server's cost is left out: it was sampled over {sampled_s:.1} s where {measured_s:.1} s were measured"))
}

fn json(value: &impl Serialize) -> Option<serde_json::Value> {
    serde_json::to_value(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cost_that_was_sampled_over_another_time_is_left_out() {
        assert_eq!(sampled_elsewhere(3.9, 4.0), None);
        assert_eq!(sampled_elsewhere(5.0, 0.0), None, "starts have no measured seconds");
        assert!(sampled_elsewhere(0.3, 1.0).is_some_and(|why| why.contains("over 0.3 s where 1.0 s")));
        assert!(sampled_elsewhere(1.3, 1.0).is_some());
    }
}
