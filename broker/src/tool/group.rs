//! `coreline group`: list, describe with lag, members, delete, reset.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use coreline_wire::ErrorCode;
use serde::Serialize;

use super::failure::Failure;
use super::group_reset::{self, Target};
use super::now_ms;
use super::out::{Row, or_dash};
use super::range::{bounds, parse_point};
use super::remote::{Remote, Session};
use super::topic_change::{Outcome, report};
use super::topic_show::count;
use crate::client::Partition;
use crate::client::groups::{Described, DescribedMember};

/// Consumer groups.
#[derive(Args, Debug)]
pub struct GroupArgs {
    #[command(flatten)]
    remote: Remote,
    #[command(subcommand)]
    command: GroupCommand,
}

#[derive(Subcommand, Debug)]
enum GroupCommand {
    /// List groups.
    List {
        /// Only groups in this state, such as stable or empty.
        #[arg(long, value_name = "STATE")]
        state: Option<String>,
    },
    /// Show a group's partitions with committed offset and lag.
    Describe {
        /// Their names.
        #[arg(required = true, value_name = "GROUP")]
        groups: Vec<String>,
    },
    /// Show a group's members with their partitions.
    Members {
        /// Its name.
        group: String,
    },
    /// Delete groups with their committed offsets. They must have no members.
    Delete {
        /// Their names.
        #[arg(required = true, value_name = "GROUP")]
        groups: Vec<String>,
        /// A group that does not exist is no failure.
        #[arg(long)]
        if_exists: bool,
    },
    /// Move a group's committed offsets. Shows what would change; --execute does it. The group must have no members.
    #[command(visible_alias = "seek")]
    Reset(ResetArgs),
}

#[derive(Args, Debug)]
pub(crate) struct ResetArgs {
    /// Its name.
    pub(crate) group: String,
    /// To where: earliest, end, 42, -10 (before the end), +10, or @TIME.
    #[arg(short = 'o', long, value_name = "OFFSET", allow_hyphen_values = true, required_unless_present_any = ["shift", "from_file"])]
    to: Option<String>,
    /// By so many records from where it is, back or forth.
    #[arg(long, value_name = "N", allow_hyphen_values = true, conflicts_with = "to")]
    shift: Option<i64>,
    /// To the offsets in this file: lines of TOPIC PARTITION OFFSET, as `coreline offsets get -g GROUP` prints them.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["to", "shift", "topics"])]
    from_file: Option<PathBuf>,
    /// Only this topic, or some of its partitions: TOPIC or TOPIC:0,2; may be given many times [default: what the group has committed].
    #[arg(short = 't', long = "topic", value_name = "TOPIC[:LIST]")]
    pub(crate) topics: Vec<String>,
    /// Do it.
    #[arg(long)]
    pub(crate) execute: bool,
}

/// Runs a command.
pub(crate) fn run(args: &GroupArgs) -> Result<(), Failure> {
    match &args.command {
        GroupCommand::List { state } => list(&mut args.remote.open()?, state.as_deref()),
        GroupCommand::Describe { groups } => describe(&mut args.remote.open()?, groups),
        GroupCommand::Members { group } => members(&mut args.remote.open()?, group),
        GroupCommand::Delete { groups, if_exists } => delete(&mut args.remote.open()?, groups, *if_exists),
        GroupCommand::Reset(reset) => {
            let target = match (&reset.to, reset.shift, &reset.from_file) {
                (Some(to), _, _) => Target::Point(parse_point(to, now_ms()).map_err(Failure::Usage)?),
                (None, Some(by), _) => Target::Shift(by),
                (None, None, Some(path)) => {
                    let failed = |why: &dyn std::fmt::Display| Failure::Usage(format!("{}: {why}", path.display()));
                    let text = std::fs::read_to_string(path).map_err(|e| failed(&e))?;
                    Target::Offsets(group_reset::parse_file(&text).map_err(|e| failed(&e))?)
                }
                (None, None, None) => return Err(Failure::Usage("to where? Give --to, --shift or --from-file".into())),
            };
            group_reset::run(&mut args.remote.open()?, reset, &target)
        }
    }
}

/// A group that is not there.
pub(crate) fn no_group(group: &str) -> Failure {
    Failure::Failed(format!("group '{group}' does not exist; see which groups there are with `coreline group list`"))
}

#[derive(Serialize)]
struct GroupRow {
    group: String,
    state: String,
    /// `classic` or `consumer`.
    #[serde(rename = "type")]
    kind: String,
    protocol: String,
    coordinator: i32,
}

impl Row for GroupRow {
    const HEAD: &'static [&'static str] = &["GROUP", "STATE", "TYPE", "PROTOCOL", "COORDINATOR"];
    fn cells(&self) -> Vec<String> {
        let dash = |text: &String| or_dash(Some(text).filter(|t| !t.is_empty()));
        vec![self.group.clone(), dash(&self.state), dash(&self.kind), dash(&self.protocol), self.coordinator.to_string()]
    }
}

fn list(session: &mut Session, state: Option<&str>) -> Result<(), Failure> {
    let rows: Vec<GroupRow> = session
        .cluster
        .list_groups()?
        .into_iter()
        .filter(|g| state.is_none_or(|state| g.state.eq_ignore_ascii_case(state)))
        .map(|g| GroupRow { group: g.group, state: g.state, kind: g.kind, protocol: g.protocol, coordinator: g.coordinator })
        .collect();
    session.out.rows(&rows)?;
    session.out.flush()
}

#[derive(Clone, Serialize)]
struct LagRow {
    topic: String,
    partition: i32,
    /// Null when the group never committed.
    committed: Option<i64>,
    start: Option<i64>,
    end: Option<i64>,
    /// Records from the committed offset (else the first) to the end.
    lag: Option<i64>,
    member: Option<String>,
    client_id: Option<String>,
    host: Option<String>,
}

impl Row for LagRow {
    const HEAD: &'static [&'static str] = &["TOPIC", "PARTITION", "COMMITTED", "START", "END", "LAG", "CLIENT-ID", "HOST"];
    fn cells(&self) -> Vec<String> {
        vec![
            self.topic.clone(),
            self.partition.to_string(),
            or_dash(self.committed),
            or_dash(self.start),
            or_dash(self.end),
            or_dash(self.lag),
            or_dash(self.client_id.as_ref()),
            or_dash(self.host.as_ref()),
        ]
    }
}

#[derive(Serialize)]
struct GroupDetail {
    group: String,
    state: String,
    #[serde(rename = "type")]
    kind: &'static str,
    assignor: String,
    coordinator: i32,
    members: usize,
    total_lag: i64,
    partitions: Vec<LagRow>,
}

fn describe(session: &mut Session, groups: &[String]) -> Result<(), Failure> {
    let mut details = Vec::new();
    for group in groups {
        let described = session.cluster.describe_group(group)?.ok_or_else(|| no_group(group))?;
        let committed: BTreeMap<Partition, i64> = session.cluster.committed(group)?.into_iter().map(|(p, c)| (p, c.offset)).collect();
        let mut partitions: Vec<Partition> = committed.keys().cloned().collect();
        partitions.extend(described.members.iter().flat_map(|m| m.partitions.clone()));
        partitions.sort();
        partitions.dedup();
        let present = group_reset::present(session, &partitions)?;
        let bounds = bounds(&mut session.cluster, &present, false)?;
        let rows = lag(&described, &committed, &partitions, |p| bounds.get(p).map(|b| (b.start, b.end)));
        details.push(GroupDetail {
            group: group.clone(),
            state: described.state.clone(),
            kind: described.kind,
            assignor: described.assignor.clone(),
            coordinator: described.coordinator,
            members: described.members.len(),
            total_lag: rows.iter().filter_map(|r| r.lag).sum(),
            partitions: rows,
        });
    }
    if session.out.json {
        session.out.value(&details)?;
    } else {
        for (i, detail) in details.iter().enumerate() {
            if i > 0 {
                session.out.line("")?;
            }
            let assignor = if detail.assignor.is_empty() { String::new() } else { format!(", assignor {}", detail.assignor) };
            session.out.line(&format!(
                "group {}: {}, {}, {}{assignor}, coordinator {}, total lag {}",
                detail.group,
                detail.state,
                detail.kind,
                count(detail.members, "member"),
                detail.coordinator,
                detail.total_lag
            ))?;
            session.out.table(&detail.partitions)?;
        }
    }
    session.out.flush()
}

fn lag(
    described: &Described,
    committed: &BTreeMap<Partition, i64>,
    partitions: &[Partition],
    bounds: impl Fn(&Partition) -> Option<(i64, i64)>,
) -> Vec<LagRow> {
    let owner = |p: &Partition| described.members.iter().find(|m| m.partitions.contains(p));
    let row = |p: &Partition| {
        let (committed, bounds, owner) = (committed.get(p).copied(), bounds(p), owner(p));
        LagRow {
            topic: p.0.clone(),
            partition: p.1,
            committed,
            start: bounds.map(|b| b.0),
            end: bounds.map(|b| b.1),
            lag: bounds.map(|(start, end)| (end - committed.unwrap_or(start).max(start)).max(0)),
            member: owner.map(|m| m.id.clone()),
            client_id: owner.map(|m| m.client_id.clone()),
            host: owner.map(|m| m.host.clone()),
        }
    };
    partitions.iter().map(row).collect()
}

#[derive(Serialize)]
struct MemberRow {
    member: String,
    instance: Option<String>,
    client_id: String,
    host: String,
    partitions: Vec<OwnedRow>,
}

#[derive(Serialize)]
struct OwnedRow {
    topic: String,
    partition: i32,
}

impl Row for MemberRow {
    const HEAD: &'static [&'static str] = &["MEMBER", "INSTANCE", "CLIENT-ID", "HOST", "PARTITIONS"];
    fn cells(&self) -> Vec<String> {
        let owned: Vec<Partition> = self.partitions.iter().map(|o| (o.topic.clone(), o.partition)).collect();
        vec![self.member.clone(), or_dash(self.instance.as_ref()), self.client_id.clone(), self.host.clone(), short(&owned)]
    }
}

/// `a:0,1 b:2`.
fn short(partitions: &[Partition]) -> String {
    let topics = partitions.chunk_by(|a, b| a.0 == b.0).map(|run| {
        let numbers: Vec<i32> = run.iter().map(|p| p.1).collect();
        format!("{}:{}", run[0].0, super::out::list(&numbers))
    });
    let all: Vec<String> = topics.collect();
    if all.is_empty() { "-".into() } else { all.join(" ") }
}

fn members(session: &mut Session, group: &str) -> Result<(), Failure> {
    let described = session.cluster.describe_group(group)?.ok_or_else(|| no_group(group))?;
    let row = |m: DescribedMember| MemberRow {
        member: m.id,
        instance: m.instance,
        client_id: m.client_id,
        host: m.host,
        partitions: m.partitions.into_iter().map(|(topic, partition)| OwnedRow { topic, partition }).collect(),
    };
    let rows: Vec<MemberRow> = described.members.into_iter().map(row).collect();
    session.out.rows(&rows)?;
    session.out.flush()
}

fn delete(session: &mut Session, groups: &[String], if_exists: bool) -> Result<(), Failure> {
    let mut outcomes = Vec::new();
    for group in groups {
        outcomes.push(match session.cluster.delete_group(group)? {
            ErrorCode::None => Outcome::done(group, "deleted"),
            ErrorCode::GroupIdNotFound if if_exists => Outcome::done(group, "does not exist"),
            code => Outcome::failed(group, code.code(), None),
        });
    }
    report(&mut session.out, "group", &outcomes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_counts_from_where_the_group_would_go_on() {
        let p = |index| ("t".to_string(), index);
        let member = DescribedMember { id: "m".into(), instance: None, client_id: "c".into(), host: "/h".into(), partitions: vec![p(1)] };
        let described = Described {
            group: "g".into(),
            state: "Stable".into(),
            kind: "classic",
            assignor: "range".into(),
            coordinator: 1,
            members: vec![member],
        };
        let committed = BTreeMap::from([(p(0), 7), (p(2), 3), (p(3), 5)]);
        let rows = lag(&described, &committed, &[p(0), p(1), p(2), p(3)], |p| (p.1 < 3).then_some((5, 10)));
        let shown: Vec<_> = rows.iter().map(|r| (r.committed, r.lag, r.client_id.as_deref())).collect();
        assert_eq!(shown, [(Some(7), Some(3), None), (None, Some(5), Some("c")), (Some(3), Some(5), None), (Some(5), None, None)]);
        assert_eq!((short(&[p(0), p(2), ("u".into(), 1)]), short(&[])), ("t:0,2 u:1".into(), "-".into()));
    }
}
