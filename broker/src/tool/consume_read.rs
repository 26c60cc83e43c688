//! Reading partitions without a group: from an offset to an end, or on and on.

use std::collections::BTreeMap;
use std::time::Duration;

use super::consume::{ConsumeArgs, Plan, Printer};
use super::failure::Failure;
use super::out::Progress;
use super::range::{Point, bounds, resolve};
use super::remote::Session;
use crate::client::fetch::{Fetcher, OutOfRange, PollError, Reading};
use crate::client::records::Want;
use crate::client::{ClientError, Partition};

/// Longest wait of a fetch for new records.
pub(crate) const WAIT: Duration = Duration::from_millis(500);

/// Reads and prints.
pub(crate) fn run(session: &mut Session, args: &ConsumeArgs, plan: &Plan, printer: &mut Printer) -> Result<(), Failure> {
    let topics = session.cluster.topics(&args.topics, false)?;
    let partitions = super::choose_partitions(&topics, plan.only.as_deref())?;
    let bounds = bounds(&mut session.cluster, &partitions, plan.committed)?;
    let from = resolve(&mut session.cluster, plan.range.from, &bounds, plan.committed)?;
    let to = match plan.range.to.or(plan.to_end.then_some(Point::Latest)) {
        Some(point) => Some(resolve(&mut session.cluster, point, &bounds, plan.committed)?),
        None => None,
    };
    if let (Point::Offset(offset), Some(range)) = (plan.range.from, bounds.values().next()) {
        // With one partition it is clear what was meant, and a mistake is said before anything is waited for.
        if bounds.len() == 1 && (offset < range.start || offset > range.end) {
            return Err(Failure::Failed(format!("offset {offset} is not there; the partition has {} to {}", range.start, range.end)));
        }
    }
    // A partition without that offset is read from where it begins; the others are as asked.
    let out_of_range = if bounds.len() == 1 { OutOfRange::Fail } else { OutOfRange::Earliest };
    let mut fetcher = Fetcher::new(Reading { committed: plan.committed, wait: WAIT, out_of_range });
    let ends = |p: &Partition| to.as_ref().and_then(|to| to.get(p)).copied().unwrap_or(i64::MAX);
    let positions: BTreeMap<Partition, i64> = from.into_iter().filter(|(p, offset)| *offset < ends(p)).collect();
    fetcher.assign(positions);
    let mut progress = Progress::new(session.out.terminal);
    loop {
        let done: Vec<Partition> = fetcher.positions().iter().filter(|(p, at)| **at >= ends(p)).map(|(p, _)| p.clone()).collect();
        done.iter().for_each(|p| fetcher.drop_partition(p));
        if fetcher.positions().is_empty() || session.stop.is_raised() {
            return Ok(());
        }
        let out = &mut session.out;
        let mut last_partition: Option<(Partition, i64)> = None;
        let polled = fetcher.poll(&mut session.cluster, |record| {
            let end = match &last_partition {
                Some((p, end)) if p.1 == record.partition && p.0 == record.topic => *end,
                _ => {
                    let partition = (record.topic.to_string(), record.partition);
                    let end = ends(&partition);
                    last_partition = Some((partition, end));
                    end
                }
            };
            if record.offset >= end {
                return Ok(Want::NotThis);
            }
            Ok(if printer.print(out, record)? { Want::More } else { Want::Enough })
        });
        session.out.flush()?;
        match polled {
            Ok(true) => {}
            Ok(false) | Err(PollError::Client(ClientError::Interrupted)) => return Ok(()),
            Err(PollError::Client(error)) => return Err(error.into()),
            Err(PollError::Each(failure)) => return Err(failure),
        }
        progress.show(|| format!("{} records", printer.count));
    }
}
