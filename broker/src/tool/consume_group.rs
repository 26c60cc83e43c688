//! Reading as a member of a consumer group: join, read what is assigned, commit every 5 s, at a rebalance and at the end, leave.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::consume::{ConsumeArgs, Plan, Printer};
use super::consume_read::WAIT;
use super::failure::Failure;
use super::range::{Point, bounds};
use super::remote::Session;
use crate::client::fetch::{Fetcher, OutOfRange, PollError, Reading};
use crate::client::member::{Member, Membership, Standing};
use crate::client::offsets::Committed;
use crate::client::records::Want;
use crate::client::{ClientError, Partition};

/// Time between commits.
const COMMIT_INTERVAL: Duration = Duration::from_secs(5);
/// A member that is silent for so long is taken for dead.
const SESSION: Duration = Duration::from_secs(45);
/// How long others wait for this member in a rebalance.
const REBALANCE: Duration = Duration::from_secs(60);

/// What a member has read of its partitions.
struct Share {
    fetcher: Fetcher,
    /// What the group has committed, as far as this member knows.
    committed: BTreeMap<Partition, i64>,
    /// Where reading ends, if it does.
    ends: Option<BTreeMap<Partition, i64>>,
}

/// Reads and prints.
pub(crate) fn run(session: &mut Session, args: &ConsumeArgs, group: &str, plan: &Plan, printer: &mut Printer) -> Result<(), Failure> {
    session.cluster.topics(&args.topics, false)?;
    let mut member = Member::new(Membership {
        group: group.to_string(),
        topics: args.topics.clone(),
        instance: args.instance.clone(),
        session: SESSION,
        rebalance: REBALANCE,
    });
    let out_of_range = if plan.range.from == Point::Latest { OutOfRange::Latest } else { OutOfRange::Earliest };
    let fetcher = Fetcher::new(Reading { committed: plan.committed, wait: WAIT, out_of_range });
    let mut share = Share { fetcher, committed: BTreeMap::new(), ends: None };
    let read = read(session, args, group, plan, printer, &mut member, &mut share);
    // However it ended: what was printed is committed, and the others need not wait.
    let committed = if args.no_commit { Ok(Standing::Stable) } else { commit(session, &mut member, &mut share) };
    let left = member.leave(&mut session.cluster);
    match read {
        Err(Failure::Closed) | Ok(()) => {
            committed?;
            left?;
            Ok(())
        }
        failed => failed,
    }
}

fn read(
    session: &mut Session,
    args: &ConsumeArgs,
    group: &str,
    plan: &Plan,
    printer: &mut Printer,
    member: &mut Member,
    share: &mut Share,
) -> Result<(), Failure> {
    let mut joined = false;
    let mut next_commit = Instant::now() + COMMIT_INTERVAL;
    loop {
        if session.stop.is_raised() {
            return Ok(());
        }
        if !joined {
            let assigned = match member.join(&mut session.cluster) {
                Err(ClientError::Interrupted) => return Ok(()),
                assigned => assigned?,
            };
            begin(session, group, plan, share, &assigned)?;
        }
        if let Some(ends) = &share.ends
            && share.fetcher.positions().iter().all(|(p, at)| ends.get(p).is_none_or(|end| at >= end))
        {
            return Ok(());
        }
        let out = &mut session.out;
        let polled =
            share.fetcher.poll(&mut session.cluster, |record| Ok(if printer.print(out, record)? { Want::More } else { Want::Enough }));
        session.out.flush()?;
        match polled {
            Ok(true) => {}
            Ok(false) | Err(PollError::Client(ClientError::Interrupted)) => return Ok(()),
            Err(PollError::Client(error)) => return Err(error.into()),
            Err(PollError::Each(failure)) => return Err(failure),
        }
        let mut standing = match member.beat(&mut session.cluster) {
            Err(ClientError::Interrupted) => return Ok(()),
            standing => standing?,
        };
        if share.fetcher.positions().is_empty() {
            // Nothing to read: others have it all. The fetch that would have waited does not.
            idle(session);
        }
        if standing == Standing::Rebalancing || Instant::now() >= next_commit {
            next_commit = Instant::now() + COMMIT_INTERVAL;
            if !args.no_commit && standing != Standing::Lost && commit(session, member, share)? != Standing::Stable {
                standing = Standing::Lost;
            }
        }
        joined = standing == Standing::Stable;
    }
}

fn idle(session: &Session) {
    if !session.stop.is_raised() {
        #[allow(clippy::disallowed_methods)] // A program of one thread, not a shard.
        std::thread::sleep(WAIT / 5);
    }
}

/// Begins to read what was assigned, where the group left off.
fn begin(session: &mut Session, group: &str, plan: &Plan, share: &mut Share, assigned: &[Partition]) -> Result<(), Failure> {
    let committed = session.cluster.committed(group)?;
    let bounds = bounds(&mut session.cluster, assigned, plan.committed)?;
    let position = |p: &Partition| {
        let bounds = bounds.get(p).copied().unwrap_or_default();
        let never = if plan.range.from == Point::Latest { bounds.end } else { bounds.start };
        (p.clone(), committed.get(p).map_or(never, |c| c.offset))
    };
    share.fetcher.assign(assigned.iter().map(position).collect());
    share.committed = assigned.iter().filter_map(|p| Some((p.clone(), committed.get(p)?.offset))).collect();
    if plan.to_end {
        share.ends = Some(bounds.iter().map(|(p, b)| (p.clone(), b.end)).collect());
    }
    Ok(())
}

/// Commits what moved since the last time.
fn commit(session: &mut Session, member: &mut Member, share: &mut Share) -> Result<Standing, ClientError> {
    let moved: BTreeMap<Partition, Committed> = share
        .fetcher
        .positions()
        .iter()
        .filter(|(p, at)| share.committed.get(*p) != Some(at))
        .map(|(p, at)| (p.clone(), Committed { offset: *at, metadata: String::new() }))
        .collect();
    let standing = member.commit(&mut session.cluster, &moved)?;
    if standing != Standing::Lost {
        share.committed.extend(moved.into_iter().map(|(p, c)| (p, c.offset)));
    }
    Ok(standing)
}
