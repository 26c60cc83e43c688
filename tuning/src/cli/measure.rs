//! `prove` and `hold`: what runs for a while.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use clap::Args;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use serde_json::json;

use super::{Answer, Common, Failure};
use crate::facts::Facts;
use crate::hold::DmaLatency;
use crate::journal::Locked;
use crate::knob::ProbeKind;
use crate::plan::{self, Plan};
use crate::profile::{Profile, known};
use crate::prove::bench::{Bench, Figure};
use crate::prove::disk::{DiskFile, DiskProbe};
use crate::prove::probe::{Distribution, LatencyProbe};
use crate::prove::{self, Measure, Proof, ProveError, Subject, Verdict};
use crate::transaction::{self, Outcome};
use crate::tree::HostTree;

#[derive(Args)]
pub(super) struct Arguments {
    /// The knob to prove, with its default or a value; may be repeated.
    #[arg(long = "knob", value_name = "KNOB[=VALUE]")]
    knobs: Vec<String>,
    /// All knobs of this profile instead.
    #[arg(long, value_name = "NAME", conflicts_with = "knobs")]
    profile: Option<String>,
    /// Turn no knob: print what each probe measures now.
    #[arg(long, conflicts_with_all = ["knobs", "profile", "keep"])]
    baseline: bool,
    /// Rounds of A/B/A.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(3..=1000))]
    rounds: u16,
    /// How long each probe runs each time, milliseconds.
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u64).range(10..=60_000))]
    probe_ms: u64,
    /// Where the disk probes make their file [default: the data directory, or /tmp].
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// A command to measure besides the probes, run by `sh -c`; exit code 0 means measured. Its last line is a number, lower is better, or
    /// see --figure.
    #[arg(long, value_name = "COMMAND")]
    bench: Option<String>,
    /// A number of the JSON document that the command writes to the file named by $CORELINE_PROVE_JSON, such as `latency.p99`; lower is
    /// better, or higher with `:higher` behind it; may be repeated.
    #[arg(long = "figure", value_name = "PATH[:higher]", requires = "bench", value_parser = Figure::parse)]
    figures: Vec<Figure>,
    /// A scenario of the load tester to measure besides the probes: `coreline-bench run ARGUMENTS`, such as 'latency --target
    /// 127.0.0.1:9092 --duration 10'.
    #[arg(long, value_name = "ARGUMENTS", conflicts_with = "bench")]
    scenario: Option<String>,
    /// Apply what helped when all are proved.
    #[arg(long)]
    keep: bool,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
}

const ALL_PROBES: [ProbeKind; 6] = [
    ProbeKind::TimerJitter,
    ProbeKind::WakeUp,
    ProbeKind::Loopback,
    ProbeKind::WriteFlush,
    ProbeKind::SequentialDisk,
    ProbeKind::RandomDisk,
];

impl Arguments {
    fn time(&self) -> Duration {
        Duration::from_millis(self.probe_ms)
    }

    fn disk(&self, common: &Common) -> Result<DiskFile, Failure> {
        let default = if std::path::Path::new(&common.data_dir).is_dir() { PathBuf::from(&common.data_dir) } else { std::env::temp_dir() };
        let dir = self.dir.clone().unwrap_or(default);
        DiskFile::create(&dir).map_err(|e| Failure::Other(format!("a file for the disk probes in {}: {e}", dir.display())))
    }

    fn measures(&self, kinds: &[ProbeKind], disk: &Rc<RefCell<DiskFile>>) -> Vec<Box<dyn Measure>> {
        let time = self.time();
        let mut measures: Vec<Box<dyn Measure>> = Vec::new();
        for &kind in kinds {
            measures.push(match kind {
                ProbeKind::TimerJitter | ProbeKind::WakeUp | ProbeKind::Loopback => Box::new(LatencyProbe { kind, time }),
                _ => Box::new(DiskProbe { kind, time, file: disk.clone() }),
            });
        }
        measures.extend(self.bench().map(|bench| Box::new(bench) as Box<dyn Measure>));
        measures
    }

    /// What is measured from outside.
    fn bench(&self) -> Option<Bench> {
        let command = self.bench.as_ref().map(|command| Bench::command(command, self.figures.clone()));
        command.or_else(|| Some(Bench::scenario(self.scenario.as_ref()?)))
    }
}

/// A knob turned by a batch of its own, journalled like any other.
struct Settings<'a> {
    common: &'a Common,
    facts: &'a Facts,
    plan: Plan,
    locked: &'a Locked<'a>,
    tree: HostTree,
    in_force: Option<(u64, crate::journal::FileLog)>,
}

impl Subject for Settings<'_> {
    fn on(&mut self) -> Result<(), String> {
        self.locked.tidy().map_err(|e| e.to_string())?;
        let (number, mut log) = self.locked.create().map_err(|e| e.to_string())?;
        let stamp = self.common.stamp(self.facts, &self.plan.profile);
        transaction::apply(&self.plan, stamp, &mut self.tree, &mut log).map_err(|e| e.to_string())?;
        self.in_force = Some((number, log));
        Ok(())
    }

    fn off(&mut self) -> Result<(), String> {
        let Some((number, mut log)) = self.in_force.take() else { return Ok(()) };
        let journals = self.common.store().load().map_err(|e| e.to_string())?;
        let Some((_, journal)) = journals.into_iter().find(|(n, _)| *n == number) else { return Err(format!("journal {number} is gone")) };
        let undone = transaction::rollback(&journal, &mut self.tree, &mut log);
        match undone.iter().find(|u| !matches!(u.outcome, Outcome::Restored | Outcome::Unchanged)) {
            Some(u) => Err(format!("{}: {}", u.path, u.outcome.describe())),
            None => Ok(()),
        }
    }
}

/// The idle bound, held by this process.
struct Hold<'a> {
    common: &'a Common,
    latency_us: u16,
    held: Option<DmaLatency>,
}

impl Subject for Hold<'_> {
    fn on(&mut self) -> Result<(), String> {
        let held = DmaLatency::hold(&self.common.root(), self.latency_us).map_err(|e| format!("/dev/cpu_dma_latency: {e}"))?;
        self.held = Some(held);
        Ok(())
    }

    fn off(&mut self) -> Result<(), String> {
        self.held = None;
        Ok(())
    }
}

pub(super) fn prove(common: &Common, arguments: &Arguments) -> Result<Answer, Failure> {
    let disk = Rc::new(RefCell::new(arguments.disk(common)?));
    if arguments.baseline {
        return baseline(arguments, &disk);
    }
    let facts = common.facts();
    let mut chosen = match &arguments.profile {
        Some(name) => Profile::load(name)?,
        None => Profile { wishes: Default::default(), ..Profile::automatic() },
    };
    for knob in &arguments.knobs {
        add(&mut chosen, knob)?;
    }
    if chosen.wishes.is_empty() {
        return Err(Failure::Other("say what to prove: --knob KNOB, --profile NAME, or --baseline".to_owned()));
    }
    common.require_root(&facts, "prove")?;
    let names: Vec<&str> = chosen.wishes.keys().copied().collect();
    if !common.confirm(arguments.yes, &format!("{}\n", names.join(" ")), "turn these on and off while measuring?")? {
        return Ok(Answer { code: 1, text: "nothing was written\n".to_owned(), json: json!({ "proofs": [] }) });
    }
    let mut stopped = Stopped::watch()?;
    let store = common.store();
    let locked = store.lock()?;
    super::change::refuse_unfinished(common)?;
    let (mut proofs, mut text) = (Vec::new(), String::new());
    for (id, wish) in &chosen.wishes {
        let knob = known("", id)?;
        // Whoever finds such a batch in force knows that a proof was killed.
        let name = format!("{}{id}", super::status::PROOF);
        let plan = plan::plan(&facts, &Profile { name, wishes: [(*id, wish.clone())].into(), ..chosen.clone() });
        let holdable = *id == "cpu_dma_latency";
        if knob.probes.is_empty() && arguments.bench().is_none() || plan.steps.is_empty() && !holdable {
            let why = plan.skipped.first().map_or("no probe shows it", |s| s.why.as_str());
            text += &format!("{id}: nothing to prove ({why})\n");
            continue;
        }
        let mut measures = arguments.measures(knob.probes, &disk);
        let mut subject: Box<dyn Subject> = if holdable {
            let latency_us = u16::try_from(wish.number()).unwrap_or(u16::MAX);
            Box::new(Hold { common, latency_us, held: None })
        } else {
            Box::new(Settings { common, facts: &facts, plan, locked: &locked, tree: common.tree(), in_force: None })
        };
        match prove::prove(id, subject.as_mut(), &mut measures, usize::from(arguments.rounds), &mut || stopped.now()) {
            Ok(proof) => {
                text += &table(&proof);
                proofs.push(proof);
            }
            // One knob that this host refuses is no reason to leave the others out.
            Err(ProveError::Subject { knob, why }) => text += &format!("{knob}: cannot be turned here: {why}\n"),
            Err(error) => return Err(Failure::Other(error.to_string())),
        }
    }
    drop(locked);
    let helped: Vec<&str> = proofs.iter().filter(|p| p.verdict == Verdict::Helps).map(|p| p.knob.as_str()).collect();
    text += &if helped.is_empty() { "nothing helps outside the noise\n".to_owned() } else { format!("helps: {}\n", helped.join(" ")) };
    if !disk.borrow().is_direct {
        text += "the file system of the probes goes through the page cache: disk figures are those of memory (--dir)\n";
    }
    let code = u8::from(helped.is_empty());
    let mut json = json!({ "proofs": proofs, "helps": helped });
    if arguments.keep {
        let keep: Vec<String> = helped.iter().filter_map(|id| Some(format!("{id}={}", chosen.wishes.get(id)?))).collect();
        let held = helped.contains(&"cpu_dma_latency");
        let keep: Vec<String> = keep.into_iter().filter(|k| !k.starts_with("cpu_dma_latency=")).collect();
        if held {
            text += "cpu_dma_latency lasts as long as somebody holds it: let the broker, or `coreline-tune hold`\n";
        }
        if !keep.is_empty() {
            let choice = super::Choice { only: true, with: keep, ..Default::default() };
            let applied = super::change::apply(common, &choice, true, None)?;
            text += &applied.text;
            json["kept"] = applied.json;
        }
    }
    Ok(Answer { code, text, json })
}

/// As for `apply`, and the one knob that is held instead of written.
fn add(profile: &mut Profile, argument: &str) -> Result<(), Failure> {
    let (id, value) = argument.split_once('=').unwrap_or((argument, "true"));
    let knob = known("", id)?;
    if id != "cpu_dma_latency" {
        return Ok(profile.add(argument)?);
    }
    let wish = knob.param.accept(value).map_err(|why| Failure::Other(format!("knob {id} {why}")))?;
    profile.wishes.insert(knob.id, wish);
    Ok(())
}

fn baseline(arguments: &Arguments, disk: &Rc<RefCell<DiskFile>>) -> Result<Answer, Failure> {
    let mut text =
        format!("{:<18} {:>8} {:>10} {:>10} {:>10} {:>10} {:>10}\n", "probe (us)", "samples", "p50", "p90", "p99", "p99.9", "max");
    let mut all = serde_json::Map::new();
    for kind in ALL_PROBES {
        let measured = match kind {
            ProbeKind::TimerJitter | ProbeKind::WakeUp | ProbeKind::Loopback => {
                LatencyProbe { kind, time: arguments.time() }.distribution()
            }
            _ => disk.borrow_mut().distribution(kind, arguments.time()),
        };
        let d: Distribution = measured.map_err(|e| Failure::Other(format!("probe {}: {e}", prove::name(kind))))?;
        let high = if d.samples < 1000 { "-".to_owned() } else { format!("{:.1}", d.p999) };
        let name = prove::name(kind);
        text += &format!("{name:<18} {:>8} {:>10.1} {:>10.1} {:>10.1} {high:>10} {:>10.1}\n", d.samples, d.p50, d.p90, d.p99, d.max);
        all.insert(name.to_owned(), json!(d));
    }
    if !disk.borrow().is_direct {
        text += "the file system of the probes goes through the page cache: disk figures are those of memory (--dir)\n";
    }
    Ok(Answer { code: 0, text, json: json!({ "baseline": all, "direct": disk.borrow().is_direct }) })
}

/// Too few rounds on a noisy host give intervals without end.
fn ratio(value: f64) -> String {
    if value < 1000.0 { format!("{value:.3}") } else { "over 1000".to_owned() }
}

fn table(proof: &Proof) -> String {
    let word = |v: Verdict| match v {
        Verdict::Helps => "helps",
        Verdict::Unclear => "unclear",
        Verdict::Harms => "HARMS",
    };
    let mut text = format!("{}: {} ({} rounds)\n", proof.knob, word(proof.verdict), proof.rounds);
    for c in &proof.comparisons {
        text += &format!(
            "  {:<26} {:>10.1} -> {:>10.1}   ratio {} [{}, {}]   noise {}   {}\n",
            c.metric,
            c.before,
            c.after,
            ratio(c.ratio),
            ratio(c.low),
            ratio(c.high),
            ratio(c.noise),
            word(c.verdict)
        );
    }
    text
}

/// Signals that ask to stop, taken at moments when everything is put back.
struct Stopped(SignalFd);

impl Stopped {
    fn watch() -> Result<Stopped, Failure> {
        let failed = |e: nix::errno::Errno| Failure::Other(format!("signals: {e}"));
        let signals = stop_signals();
        // Threads of the probes are started later and so do not get them either.
        signals.thread_block().map_err(failed)?;
        Ok(Stopped(SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC).map_err(failed)?))
    }

    fn now(&mut self) -> bool {
        matches!(self.0.read_signal(), Ok(Some(_)))
    }
}

fn stop_signals() -> SigSet {
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect()
}

pub(super) fn hold(common: &Common, latency_us: u16) -> Result<Answer, Failure> {
    let signals = stop_signals();
    signals.thread_block().map_err(|e| Failure::Other(format!("signals: {e}")))?;
    let held = DmaLatency::hold(&common.root(), latency_us);
    let held = held.map_err(|e| Failure::Other(format!("/dev/cpu_dma_latency: {e}; it needs root")))?;
    let signal = signals.wait().map_err(|e| Failure::Other(format!("signals: {e}")))?;
    let text = format!("held {} us until {signal}\n", held.latency_us());
    Ok(Answer { code: 0, text, json: json!({ "latency_us": held.latency_us(), "ended_by": signal.as_str() }) })
}
