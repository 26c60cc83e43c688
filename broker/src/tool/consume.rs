//! `coreline consume`: the arguments; reads by partitions (`consume_read`) or as a member of a group (`consume_group`).

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::coding;
use super::failure::Failure;
use super::moment::show_time;
use super::out::Out;
use super::range::{Point, Range, parse_range};
use super::remote::Remote;
use super::template;
use super::template_write::Writer;
use super::{consume_group, consume_read, now_ms, partition_list};
use crate::client::records::Fetched;

/// Read records of topics.
///
/// Goes on with new records until Ctrl-C, or ends at the end with -e, after -n records, or at the end of the range. In a group (-g) it begins where
/// the group left off and commits every 5 s and at its end.
#[derive(Args, Debug)]
#[command(after_long_help = template::HELP)]
pub struct ConsumeArgs {
    #[command(flatten)]
    remote: Remote,
    /// The topics.
    #[arg(required = true, value_name = "TOPIC")]
    pub(crate) topics: Vec<String>,
    /// Where to begin, or START:END: earliest, end, 42, -10 (before the end), +10, @TIME. In a group: where it never was [default: earliest].
    #[arg(short = 'o', long, value_name = "OFFSET", allow_hyphen_values = true)]
    offset: Option<String>,
    /// End after this many records.
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    num: Option<u64>,
    /// Only these partitions, such as 0,2 or 0-3.
    #[arg(short = 'p', long, value_name = "LIST", conflicts_with = "group")]
    partitions: Option<String>,
    /// End when every partition has been read to where its end was at the start.
    #[arg(short = 'e', long)]
    exit_at_end: bool,
    /// Read as a member of this consumer group.
    #[arg(short = 'g', long, value_name = "GROUP")]
    pub(crate) group: Option<String>,
    /// Name of a static member: it may go and come back without a rebalance.
    #[arg(long, value_name = "NAME", requires = "group")]
    pub(crate) instance: Option<String>,
    /// Do not commit.
    #[arg(long, requires = "group")]
    pub(crate) no_commit: bool,
    /// How records are printed: %t topic, %p partition, %o offset, %k key, %v value, %h headers, %T or %d timestamp, ... [default: '%v\n'].
    #[arg(short = 'f', long, value_name = "FORMAT", conflicts_with = "json")]
    format: Option<String>,
    /// Text that stands for a null key, value or header value.
    #[arg(long, value_name = "TEXT", default_value = "")]
    null: String,
    /// What of transactions is read.
    #[arg(long, value_name = "LEVEL", value_enum, default_value = "committed")]
    isolation: Isolation,
    /// Send keys and values to a terminal as they are, control characters too.
    #[arg(long)]
    raw: bool,
}

/// Isolation levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Isolation {
    /// Only committed transactions.
    Committed,
    /// Everything.
    Uncommitted,
}

/// What is to be read.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) range: Range,
    pub(crate) limit: Option<u64>,
    pub(crate) only: Option<Vec<i32>>,
    pub(crate) committed: bool,
    /// End where the ends were.
    pub(crate) to_end: bool,
}

/// Runs the command.
pub(crate) fn run(args: &ConsumeArgs) -> Result<(), Failure> {
    let range = parse_range(args.offset.as_deref().unwrap_or("earliest"), now_ms()).map_err(Failure::Usage)?;
    let plan = Plan {
        range,
        limit: args.num,
        only: args.partitions.as_deref().map(partition_list).transpose().map_err(Failure::Usage)?,
        committed: args.isolation == Isolation::Committed,
        to_end: args.exit_at_end,
    };
    if args.group.is_some() && (range.to.is_some() || !matches!(range.from, Point::Earliest | Point::Latest)) {
        return Err(Failure::Usage("in a group --offset is `earliest` or `end`; move the group itself with `coreline group reset`".into()));
    }
    let pieces = template::parse(args.format.as_deref().unwrap_or("%v\\n")).map_err(Failure::Usage)?;
    let mut session = args.remote.open()?;
    session.catch_interrupts()?;
    let writer = Writer { pieces, null: args.null.clone().into_bytes(), harmless: session.out.terminal && !args.raw };
    let mut printer = Printer { writer, count: 0, limit: plan.limit, line: Vec::new() };
    let result = match &args.group {
        Some(group) => consume_group::run(&mut session, args, group, &plan, &mut printer),
        None => consume_read::run(&mut session, args, &plan, &mut printer),
    };
    let flushed = session.out.flush();
    result.and(flushed)
}

/// Prints records and counts them.
pub(crate) struct Printer {
    writer: Writer,
    pub(crate) count: u64,
    limit: Option<u64>,
    line: Vec<u8>,
}

impl Printer {
    /// Prints one; false when it was the last one.
    pub(crate) fn print(&mut self, out: &mut Out, record: &Fetched<'_>) -> Result<bool, Failure> {
        self.count += 1;
        self.line.clear();
        if out.json {
            let text = serde_json::to_string(&json(record)).map_err(|e| Failure::Failed(format!("writing JSON: {e}")))?;
            self.line.extend_from_slice(text.as_bytes());
            self.line.push(b'\n');
        } else {
            self.writer.write(record, self.count, &mut self.line);
        }
        out.bytes(&self.line)?;
        Ok(self.limit.is_none_or(|limit| self.count < limit))
    }
}

#[derive(Serialize)]
struct RecordRow<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
    timestamp: i64,
    /// The same as date and time.
    time: String,
    /// `create` or `append`.
    timestamp_type: &'static str,
    leader_epoch: i32,
    /// Null when it is null or not UTF-8.
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
    headers: Vec<HeaderRow<'a>>,
}

#[derive(Serialize)]
struct HeaderRow<'a> {
    name: &'a str,
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
}

/// Bytes as text, or as base64 when they are not UTF-8.
fn text(bytes: Option<&[u8]>) -> (Option<&str>, Option<String>) {
    match bytes.map(|b| (b, std::str::from_utf8(b))) {
        None => (None, None),
        Some((_, Ok(text))) => (Some(text), None),
        Some((bytes, Err(_))) => (None, Some(coding::base64(bytes))),
    }
}

fn json<'a>(record: &Fetched<'a>) -> RecordRow<'a> {
    let (key, key_base64) = text(record.key);
    let (value, value_base64) = text(record.value);
    let header = |(name, value): &(&'a str, Option<&'a [u8]>)| {
        let (value, value_base64) = text(*value);
        HeaderRow { name, value, value_base64 }
    };
    RecordRow {
        topic: record.topic,
        partition: record.partition,
        offset: record.offset,
        timestamp: record.timestamp,
        time: show_time(record.timestamp),
        timestamp_type: if record.append_time { "append" } else { "create" },
        leader_epoch: record.leader_epoch,
        key,
        key_base64,
        value,
        value_base64,
        headers: record.headers.iter().map(header).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_keeps_bytes_that_are_no_text() {
        let record = Fetched {
            topic: "t",
            partition: 1,
            offset: 2,
            timestamp: 0,
            append_time: true,
            leader_epoch: 3,
            producer_id: -1,
            producer_epoch: -1,
            key: None,
            value: Some(b"\xff"),
            headers: vec![("h", Some(b"x"))],
        };
        assert_eq!(
            serde_json::to_string(&json(&record)).expect("JSON"),
            r#"{"topic":"t","partition":1,"offset":2,"timestamp":0,"time":"1970-01-01T00:00:00.000Z","timestamp_type":"append","leader_epoch":3,"key":null,"value":null,"value_base64":"/w==","headers":[{"name":"h","value":"x"}]}"#
        );
    }
}
