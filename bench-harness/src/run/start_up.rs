//! Starts of the server: from starting the process to the first acknowledged produce, over one plain connection.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use coreline_wire::ApiKey;

use super::{Progress, conduct::Outcome};
use crate::client::admin::Admin;
use crate::client::produce;
use crate::client::topology::Topology;
use crate::clock::{now_ns, unix_ms};
use crate::error::BenchError;
use crate::interrupt::{Flag, is_raised, pause};
use crate::load::template::{Fill, Intended, Template};
use crate::scenario::{Scenario, StartUp};
use crate::target::Target;

/// Longest start.
const START_WAIT: Duration = Duration::from_secs(600);
/// Time between two attempts: what a figure is exact to.
const PAUSE: Duration = Duration::from_millis(1);

/// Measures the starts; each goes to `seconds`.
pub(super) fn measure(
    scenario: &Scenario,
    s: StartUp,
    topology: &Topology,
    address: SocketAddr,
    target: &mut dyn Target,
    flag: &Flag,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<(Vec<f64>, Outcome), BenchError> {
    let mut seconds = Vec::new();
    let mut outcome = Outcome::default();
    progress(Progress::PhaseStarted("measured"));
    for i in 0..s.repeats {
        if s.kill {
            target.kill()?
        } else {
            target.stop()?
        }
        let begun = Instant::now();
        target.start()?;
        loop {
            if is_raised(flag) {
                outcome.interrupted = true;
                break;
            }
            match first_ack(scenario, topology, address, i, flag) {
                Ok(()) => break seconds.push(begun.elapsed().as_secs_f64()),
                Err(e) if begun.elapsed() > START_WAIT && !is_raised(flag) => {
                    return Err(BenchError::target(
                        target.bootstrap(),
                        format!("does not serve {} s after its start: {e}", START_WAIT.as_secs()),
                    ));
                }
                Err(_) => {
                    if let Some(status) = target.unasked_end().filter(|_| !is_raised(flag)) {
                        let why = format!("the server ended by itself before its first answer, start {} ({status})", i + 1);
                        return Err(BenchError::target(target.name(), why));
                    }
                    // The loop looks at the flag itself.
                    let _ = pause(PAUSE, flag);
                }
            }
        }
        if outcome.interrupted {
            break;
        }
        let text = format!("start {}: {:.3} s", i + 1, seconds.last().copied().unwrap_or_default());
        progress(Progress::SettingUp(&text));
    }
    progress(Progress::PhaseEnded("measured"));
    Ok((seconds, outcome))
}

/// Connects and has one record acknowledged.
fn first_ack(scenario: &Scenario, topology: &Topology, address: SocketAddr, number: u32, flag: &Flag) -> io::Result<()> {
    let mut admin = Admin::connect(address, flag)?;
    let version = topology.versions.of(ApiKey::Produce).map_or_else(|| admin.version(ApiKey::Produce), Ok)?;
    let mut template = Template::new(&scenario.producers);
    let now = now_ns();
    template.fill(&Fill {
        records: 1,
        run: 0,
        stream: 0,
        first_sequence: u64::from(number),
        intended: &Intended { same: now, each: Vec::new() },
        sent_ns: now,
        timestamp_ms: unix_ms(),
        producer: (-1, -1, -1),
        keys: &[],
    });
    let batch = template.batch(1);
    let mut request = Vec::new();
    produce::head(&mut request, version, 1, scenario.producers.acks.code(), 10_000, 1);
    produce::topic(&mut request, version, &topology.topics[0], topology.id(0), 1);
    produce::partition(&mut request, version, 0, batch.len());
    request.extend_from_slice(batch);
    request.resize(request.len() + produce::tail_bytes(version), 0);
    produce::finish(&mut request, 0);
    let answer = admin.exchange(&request)?;
    let body = answer.get(4..).ok_or_else(|| io::Error::other("short answer"))?;
    let mut code = None;
    produce::read(body, version, |a| code = Some(a.error)).map_err(|e| io::Error::other(e.to_string()))?;
    if code == Some(0) { Ok(()) } else { Err(io::Error::other(format!("produce answered with {code:?}"))) }
}
