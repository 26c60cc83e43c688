//! `coreline group reset`: where a group's committed offsets would go, shown first, and then committed with `--execute`.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::failure::Failure;
use super::group::ResetArgs;
use super::out::{Row, or_dash};
use super::partition_list;
use super::range::{Bounds, Point, bounds, resolve};
use super::remote::Session;
use crate::client::metadata::Topics;
use crate::client::offsets::{Committed, OUTSIDE};
use crate::client::{ClientError, Partition};

/// Where to move a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// To this place in every partition.
    Point(Point),
    /// By so many records.
    Shift(i64),
    /// To these offsets.
    Offsets(BTreeMap<Partition, i64>),
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct ResetRow {
    topic: String,
    partition: i32,
    /// Null when the group never committed.
    before: Option<i64>,
    after: i64,
    /// Records from there to the end.
    lag: i64,
}

impl Row for ResetRow {
    const HEAD: &'static [&'static str] = &["TOPIC", "PARTITION", "BEFORE", "AFTER", "LAG"];
    fn cells(&self) -> Vec<String> {
        vec![self.topic.clone(), self.partition.to_string(), or_dash(self.before), self.after.to_string(), self.lag.to_string()]
    }
}

/// Reads lines of TOPIC PARTITION OFFSET with blanks or commas between; a title line, empty lines and lines that begin with # are left out.
pub(crate) fn parse_file(text: &str) -> Result<BTreeMap<Partition, i64>, String> {
    let mut offsets = BTreeMap::new();
    for (i, line) in text.lines().enumerate() {
        let fields: Vec<&str> = line.split([' ', '\t', ',']).filter(|f| !f.is_empty()).collect();
        if fields.is_empty() || fields[0].starts_with('#') || fields[0] == "TOPIC" {
            continue;
        }
        let wrong = || format!("line {}: '{line}' is not TOPIC PARTITION OFFSET", i + 1);
        let [topic, partition, offset, ..] = fields[..] else { return Err(wrong()) };
        let partition: i32 = partition.parse().ok().filter(|p| *p >= 0).ok_or_else(wrong)?;
        let offset: i64 = offset.parse().ok().filter(|o| *o >= 0).ok_or_else(wrong)?;
        offsets.insert((topic.to_string(), partition), offset);
    }
    if offsets.is_empty() { Err("has no line of TOPIC PARTITION OFFSET".into()) } else { Ok(offsets) }
}

/// Those of the partitions that exist.
pub(crate) fn present(session: &mut Session, partitions: &[Partition]) -> Result<Vec<Partition>, ClientError> {
    let names: BTreeSet<String> = partitions.iter().map(|p| p.0.clone()).collect();
    let names: Vec<String> = names.into_iter().collect();
    let metadata = session.cluster.metadata(Topics::Named(&names))?;
    let is_there = |p: &&Partition| metadata.topic(&p.0).is_some_and(|t| t.partitions.iter().any(|q| q.index == p.1 && q.leader >= 0));
    Ok(partitions.iter().filter(is_there).cloned().collect())
}

/// Plans and, if told to, commits.
pub(crate) fn run(session: &mut Session, args: &ResetArgs, target: &Target) -> Result<(), Failure> {
    if args.execute && session.cluster.describe_group(&args.group)?.is_some_and(|d| !d.is_empty()) {
        return Err(Failure::Failed(format!(
            "group '{0}' has members; stop them first (`coreline group members {0}` lists them)",
            args.group
        )));
    }
    let committed: BTreeMap<Partition, i64> = session.cluster.committed(&args.group)?.into_iter().map(|(p, c)| (p, c.offset)).collect();
    let partitions = chosen(session, args, target, &committed)?;
    if partitions.is_empty() {
        return Err(Failure::Failed(format!("group '{}' has committed nothing yet; say which topics with --topic", args.group)));
    }
    let bounds = bounds(&mut session.cluster, &partitions, false)?;
    let resolved = match target {
        Target::Point(point) => resolve(&mut session.cluster, *point, &bounds, false)?,
        _ => BTreeMap::new(),
    };
    let rows = plan(target, &committed, &bounds, &resolved);
    if args.execute {
        let offsets =
            rows.iter().map(|r| ((r.topic.clone(), r.partition), Committed { offset: r.after, metadata: String::new() })).collect();
        session.cluster.commit(&args.group, &OUTSIDE, &offsets)?;
    }
    session.out.rows(&rows)?;
    session.out.flush()?;
    if !args.execute {
        eprintln!("coreline: nothing was changed; add --execute to do it");
    }
    Ok(())
}

/// The partitions that were asked for, all of which exist.
fn chosen(
    session: &mut Session,
    args: &ResetArgs,
    target: &Target,
    committed: &BTreeMap<Partition, i64>,
) -> Result<Vec<Partition>, Failure> {
    if let Target::Offsets(offsets) = target {
        let wanted: Vec<Partition> = offsets.keys().cloned().collect();
        let there = present(session, &wanted)?;
        return match wanted.iter().find(|p| !there.contains(p)) {
            None => Ok(wanted),
            Some((topic, partition)) => Err(Failure::Failed(format!("there is no topic '{topic}' with a partition {partition}"))),
        };
    }
    if args.topics.is_empty() {
        let wanted: Vec<Partition> = committed.keys().cloned().collect();
        return Ok(present(session, &wanted)?);
    }
    let mut all = Vec::new();
    for spec in &args.topics {
        let (topic, only) = match spec.split_once(':') {
            Some((topic, list)) => (topic, Some(partition_list(list).map_err(Failure::Usage)?)),
            None => (spec.as_str(), None),
        };
        let topics = session.cluster.topics(&[topic.to_string()], false)?;
        all.extend(super::choose_partitions(&topics, only.as_deref())?);
    }
    all.sort();
    all.dedup();
    Ok(all)
}

/// Where every partition goes. A place outside the log becomes its nearest end.
fn plan(
    target: &Target,
    committed: &BTreeMap<Partition, i64>,
    bounds: &BTreeMap<Partition, Bounds>,
    resolved: &BTreeMap<Partition, i64>,
) -> Vec<ResetRow> {
    let row = |(p, b): (&Partition, &Bounds)| {
        let before = committed.get(p).copied();
        let wanted = match target {
            Target::Point(_) => resolved.get(p).copied().unwrap_or(b.start),
            Target::Shift(by) => before.unwrap_or(b.start).saturating_add(*by),
            Target::Offsets(offsets) => offsets.get(p).copied().unwrap_or(b.start),
        };
        let after = wanted.clamp(b.start.min(b.end), b.end);
        ResetRow { topic: p.0.clone(), partition: p.1, before, after, lag: b.end - after }
    };
    bounds.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_as_they_are_printed() {
        let wanted = BTreeMap::from([(("t".to_string(), 0), 5), (("t".to_string(), 1), 6)]);
        assert_eq!(parse_file("TOPIC  PARTITION  OFFSET  METADATA\nt  0  5\n\n# a note\nt,1,6\n"), Ok(wanted));
        for bad in ["", "t 0\n", "t x 1\n", "t 0 -1\n", "t -1 1\n"] {
            assert!(parse_file(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn every_target_stays_inside_the_log() {
        let p = ("t".to_string(), 0);
        let bounds = BTreeMap::from([(p.clone(), Bounds { start: 10, end: 20 })]);
        let after = |target: &Target, before: Option<i64>, resolved: i64| {
            let committed = before.map(|b| (p.clone(), b)).into_iter().collect();
            plan(target, &committed, &bounds, &BTreeMap::from([(p.clone(), resolved)]))[0].after
        };
        assert_eq!(after(&Target::Point(Point::Earliest), Some(15), 10), 10);
        assert_eq!(after(&Target::Point(Point::Offset(99)), Some(15), 99), 20);
        assert_eq!(after(&Target::Shift(-3), Some(15), 0), 12);
        assert_eq!(after(&Target::Shift(-30), Some(15), 0), 10);
        assert_eq!(after(&Target::Shift(2), None, 0), 12);
        assert_eq!(after(&Target::Offsets(BTreeMap::from([(p.clone(), 3)])), None, 0), 10);
    }
}
