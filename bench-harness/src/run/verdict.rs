//! From what happened to what may be said: delivery, the generator's check of itself, validity with reasons.

use std::collections::BTreeMap;

use super::conduct::Outcome;
use crate::clock::own_cpu_seconds;
use crate::delivery::Sent;
use crate::load::reader::ReaderSet;
use crate::load::shared::Plan;
use crate::objective::{percent, share_percent};
use crate::quiet::Quiet;
use crate::result::{Counts, Delivery, GeneratorCheck, Measured, Metric, Verdict};
use crate::scenario::{Acks, Scenario};

/// Share of the time that a load thread ran beyond which it counts as the bound.
const BUSY_SHARE: f64 = 0.95;

/// What every stream sent, by number: those of the run, then those of the preload.
pub(super) fn streams(plan: &Plan, outcome: &Outcome, preload: Vec<Sent>) -> (Vec<Sent>, Delivery) {
    let all = plan.scenario.topic.all_partitions() as usize;
    let mut sent = vec![Sent::default(); plan.streams()];
    let mut delivery = Delivery::default();
    for (index, streams, unanswered) in outcome.reports.iter().flat_map(|r| &r.producers) {
        delivery.unanswered += unanswered;
        for (i, s) in streams.iter().enumerate() {
            sent[*index as usize * all + i] = s.clone();
        }
    }
    delivery.produced = sent.iter().map(|s| s.assigned).sum();
    let not_acked: u64 = sent.iter().flat_map(|s| &s.not_acked).map(|r| r.1 - r.0).sum();
    delivery.acked = delivery.produced.saturating_sub(not_acked);
    delivery.failed = not_acked.saturating_sub(delivery.unanswered);
    sent.extend(preload);
    (sent, delivery)
}

/// The sets of readers by name, each with its parts.
pub(super) fn sets(outcome: &Outcome) -> BTreeMap<&str, Vec<&ReaderSet>> {
    let mut sets: BTreeMap<&str, Vec<&ReaderSet>> = BTreeMap::new();
    for part in outcome.reports.iter().flat_map(|report| &report.readers) {
        sets.entry(&part.name).or_default().push(part);
    }
    sets
}

/// Asks every set of readers for its verdict.
pub(super) fn delivery(plan: &Plan, outcome: &Outcome, sent: &[Sent], delivery: &mut Delivery) {
    let p = &plan.scenario.producers;
    let verdict = |parts: Vec<&_>| ReaderSet::finish(&parts, sent, plan.streams(), outcome.ends.as_deref(), p.idempotent || !p.retries);
    delivery.consumers = sets(outcome).into_values().map(verdict).collect();
    delivery.verified = p.count > 0 && delivery.consumers.iter().any(|c| c.caught_up);
}

/// The generator's check of itself.
pub(super) fn generator(scenario: &Scenario, measured: &Measured, outcome: &Outcome, quiet: Option<Quiet>) -> GeneratorCheck {
    let (threads, steal_s) = (&outcome.threads, outcome.steal_s);
    let g = &scenario.generator;
    let late = measured.latency.get(&Metric::Lateness);
    let us = |ns: u64| ns as f64 / 1e3;
    let (cpu_user_s, cpu_system_s) = own_cpu_seconds();
    let c = &measured.counts;
    let (bytes, records) = (c.acked_bytes + c.received_bytes, c.acked + c.received);
    GeneratorCheck {
        late_limit_us: g.late_limit_us,
        late_p99_us: late.and_then(|l| l.quantile(0.99)).map(us),
        late_carried: late.and_then(|l| [0.99, 0.9, 0.5].iter().find_map(|q| Some((*q, us(l.quantile(*q)?))))),
        late_own_p99_us: measured.latency.get(&Metric::LatenessOwn).and_then(|l| l.quantile(0.99)).map(us),
        late_max_us: late.and_then(crate::latency::Latency::max).map(us),
        sent_share: sent_share(scenario, c),
        cpu_user_s,
        cpu_system_s,
        cpu_s_per_gb: (bytes > 0).then(|| measured.generator_cpu_s / bytes as f64 * 1e9),
        cpu_s_per_million: (records > 0).then(|| measured.generator_cpu_s / records as f64 * 1e6),
        threads: g.threads,
        spin_us: g.spin_us,
        busiest_thread: threads.iter().map(|(ran, _)| ran / measured.seconds).filter(|share| share.is_finite()).reduce(f64::max),
        steal_s,
        waited_for_cpu_s: (!threads.is_empty()).then(|| threads.iter().map(|(_, waited)| waited).sum()),
        quiet,
    }
}

/// The intended-time error of the measured seconds in which the hypervisor took nothing; `None` where nothing was timed.
pub(super) fn quiet(outcome: &mut Outcome) -> Option<Quiet> {
    let (from, to) = outcome.measured;
    let mut sieve = std::mem::take(&mut outcome.sieve);
    let mut timed = false;
    for (second, errors) in outcome.timeline.each(Metric::Lateness, from, to) {
        // Before the first second there was the lead.
        sieve.window(second as usize + 1, errors.clone());
        timed = true;
    }
    sieve.finish(1_000).filter(|_| timed)
}

fn sent_share(scenario: &Scenario, c: &Counts) -> f64 {
    if scenario.load.rate.is_none() || c.scheduled == 0 { 1.0 } else { c.sent as f64 / c.scheduled as f64 }
}

/// Errors of all threads by kind.
pub(super) fn errors(outcome: &Outcome) -> BTreeMap<String, u64> {
    let mut all = outcome.preload_errors.clone();
    for (kind, count) in outcome.reports.iter().flat_map(|r| &r.errors) {
        *all.entry((*kind).to_string()).or_insert(0) += count;
    }
    all
}

/// Whether a load thread had hardly a moment to spare; one that spins before deadlines always looks so and does not tell.
fn is_bound(generator: &GeneratorCheck) -> bool {
    generator.spin_us == 0 && generator.busiest_thread.is_some_and(|share| share > BUSY_SHARE)
}

/// How the reason begins that speaks of the generator and of nothing else.
const LATE: &str = "the generator was late";

/// Whether nothing speaks against a run but that the generator was late.
pub fn is_only_late(verdict: &Verdict) -> bool {
    !verdict.reasons.is_empty() && verdict.reasons.iter().all(|reason| reason.starts_with(LATE))
}

/// Who had the CPU meanwhile, in words: other threads of this host, or others on the same machine.
fn waited(generator: &GeneratorCheck) -> String {
    let waited = generator.waited_for_cpu_s.filter(|s| *s >= 0.001);
    let waited = waited.map_or(String::new(), |s| format!("; its threads waited {s:.3} s for CPUs that others had"));
    // Ten milliseconds are the least that the kernel counts.
    let stolen = generator.steal_s.filter(|s| *s >= 0.005);
    waited + &stolen.map_or(String::new(), |s| format!("; the hypervisor took {s:.2} CPU-s from this host"))
}

/// How much of the generator's lateness was its own work.
fn own_part(generator: &GeneratorCheck) -> String {
    generator
        .late_own_p99_us
        .map_or(String::new(), |us| format!("; at most {us:.0} us of it at p99 are its own work, for the rest its threads were held up"))
}

/// Whether the result may be quoted.
pub(super) fn judge(
    scenario: &Scenario,
    outcome: &Outcome,
    measured: &Measured,
    delivery: &Delivery,
    generator: &GeneratorCheck,
    errors: &BTreeMap<String, u64>,
) -> Verdict {
    let mut v = Verdict { valid: true, reasons: Vec::new(), notes: outcome.notes.clone() };
    let p = &scenario.producers;
    if outcome.interrupted {
        v.reasons.push("interrupted: the phases are incomplete".to_string());
    }
    if let Some(why) = &outcome.died {
        v.reasons.push(format!("the target died: {why}"));
    }
    if let Some((q, late)) = generator.late_carried.filter(|(_, late)| *late > generator.late_limit_us) {
        v.reasons.push(format!(
            "{LATE}: p{} of the intended-time error {late:.0} us, at most {:.0} us allowed{}",
            percent(q),
            generator.late_limit_us,
            own_part(generator) + &waited(generator)
        ));
    }
    if generator.sent_share < scenario.generator.sent_share_min {
        v.reasons.push(format!(
            "the schedule was not kept: {} % of it was sent, at least {} % are asked for; {}",
            share_percent(generator.sent_share),
            share_percent(scenario.generator.sent_share_min),
            if is_bound(generator) { "the server or the generator did not keep up" } else { "the server did not keep up" }
        ));
    }
    if (scenario.load.rate.is_none() || generator.sent_share < scenario.generator.sent_share_min) && is_bound(generator) {
        v.notes.push(format!(
            "the busiest load thread ran {:.0} % of the measured phase: the generator may be what limits (generator.threads){}",
            generator.busiest_thread.unwrap_or(0.0) * 100.0,
            waited(generator)
        ));
    }
    if p.count > 0 && measured.counts.acked == 0 {
        v.reasons.push("no record was acknowledged in the measured phase".to_string());
    }
    if delivery.failed > 0 && scenario.restart.is_none() {
        v.reasons.push(format!("{} records were given up", delivery.failed));
    }
    if delivery.unanswered > 0 && p.acks != Acks::None {
        v.reasons.push(format!("{} records had no answer when the run ended", delivery.unanswered));
    }
    for c in &delivery.consumers {
        let n = &c.name;
        for (count, what) in [(c.lost, "acknowledged records are lost"), (c.corrupt, "records or batches are damaged")] {
            if count > 0 {
                v.reasons.push(format!("{n}: {count} {what}"));
            }
        }
        // Several requests in flight without idempotence may be written in another order when one is repeated.
        let order_expected =
            !p.idempotent && p.in_flight > 1 && errors.values().sum::<u64>() > 0 || c.duplicates_expected && c.duplicates > 0;
        for (count, what, expected) in [
            (c.duplicates, "records came more than once", c.duplicates_expected),
            (c.reordered, "records came out of order", order_expected),
        ] {
            let list = if expected { &mut v.notes } else { &mut v.reasons };
            if count > 0 {
                list.push(format!("{n}: {count} {what}"));
            }
        }
        if c.overflowed {
            v.reasons.push(format!("{n}: more gaps than are remembered; its counts are bounds"));
        }
        if !c.caught_up && p.count > 0 && !outcome.interrupted {
            let late = scenario.consumers.iter().any(|s| s.start_at_s > 0 && n.starts_with(&s.name));
            let list = if late { &mut v.notes } else { &mut v.reasons };
            list.push(format!("{n}: had not read everything when the drain ended; its delivery is not verified"));
        }
    }
    if p.count > 0 && delivery.consumers.is_empty() {
        v.notes.push("delivery is not verified: nothing was read back".to_string());
    }
    if !errors.is_empty() {
        let list: Vec<String> = errors.iter().map(|(kind, n)| format!("{kind} {n}")).collect();
        v.notes.push(format!("errors over the whole run: {}", list.join(", ")));
    }
    if outcome.phases.first().is_some_and(|phase| phase.steady == Some(false)) {
        v.notes.push("the warm-up ended at its limit: throughput or p99 still drifted".to_string());
    }
    v.valid = v.reasons.is_empty();
    v
}

/// What an acknowledgement promises, in words.
pub(super) fn durability(scenario: &Scenario) -> String {
    let p = &scenario.producers;
    let acks = match p.acks {
        Acks::None => "acks=0: no acknowledgement",
        Acks::Leader => "acks=1: the leader has it, by the server's own flush policy",
        Acks::All => "acks=all: all in-sync replicas have it, by the server's own flush policy",
    };
    let repeat = match (p.retries, p.idempotent) {
        (true, true) => "repeated until acknowledged, idempotent (once)",
        (true, false) => "repeated until acknowledged, plain (at least once)",
        (false, _) => "never repeated (at most once)",
    };
    let settings: Vec<String> = scenario.topic.config.iter().map(|(k, v)| format!("{k}={v}")).collect();
    let settings = if settings.is_empty() { "the server's defaults".to_string() } else { settings.join(", ") };
    format!("{acks}; {repeat}; topic settings: {settings}")
}
