//! Transcripts: what happens to a group, line by line, and what the machine does about it, indented below.
//!
//! Each file of `testdata/group` is named as the sentence that it shows. `UPDATE_TRANSCRIPTS=1` writes what the machine does now;
//! the difference is then reviewed. Commands: see [`Runner::command`]. Generated member ids are shown as m1, m2, ... in their order.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use bytes::Bytes;
use coreline_wire::TopicId;
use coreline_wire::error_code::ErrorCode;

use crate::coordinator::group::{Action, DeletedTopic, Event, GroupCoordinator, Timer, Token, WriteId};
use crate::coordinator::record::Record;
use crate::coordinator::request::{
    DescribedMember, GroupRequest, GroupResponse, Heartbeat, JoinGroup, LeaveGroup, LeavingMember, ListGroups, OffsetCommit, OffsetDelete,
    OffsetFetch, PartitionCommit, SyncGroup, TopicCommit,
};
use crate::coordinator::timer::TimerSet;
use crate::coordinator::{GroupConfig, Now};

#[test]
fn every_transcript_is_what_the_machine_does() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/group");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(&folder).expect("the folder of transcripts").map(|e| e.expect("an entry").path()).collect();
    files.retain(|path| path.file_name().is_some_and(|name| name != super::table::FILE));
    files.sort();
    assert!(files.len() >= 20, "transcripts are missing: {} in {}", files.len(), folder.display());
    let mut wrong = Vec::new();
    for path in files {
        let expected = std::fs::read_to_string(&path).expect("a transcript");
        let actual = run(&expected);
        if actual == expected {
            continue;
        }
        if std::env::var_os("UPDATE_TRANSCRIPTS").is_some() {
            std::fs::write(&path, actual).expect("writes the transcript");
            continue;
        }
        let at =
            expected.lines().zip(actual.lines()).position(|(a, b)| a != b).unwrap_or(expected.lines().count().min(actual.lines().count()));
        let line = |text: &str| text.lines().nth(at).unwrap_or("(end)").to_owned();
        wrong.push(format!("{}:{}\n  expected {}\n  actual   {}", path.display(), at + 1, line(&expected), line(&actual)));
    }
    assert!(wrong.is_empty(), "repeat with: cargo test -p coreline-broker every_transcript\n{}", wrong.join("\n"));
}

fn run(transcript: &str) -> String {
    let mut runner = Runner::new();
    let mut out = String::new();
    for line in transcript.lines().filter(|line| !line.starts_with("    ")) {
        out.push_str(line);
        out.push('\n');
        if !line.is_empty() && !line.starts_with('#') {
            runner.out.clear();
            runner.command(line);
            runner.out.iter().for_each(|line| writeln!(out, "    {line}").expect("writes to memory"));
        }
    }
    out
}

/// The words of a command: `name=value`, and those without a name.
struct Words<'a> {
    plain: Vec<&'a str>,
    named: BTreeMap<&'a str, &'a str>,
}

impl<'a> Words<'a> {
    fn of(line: &'a str) -> Self {
        let (named, plain): (Vec<&str>, Vec<&str>) = line.split_whitespace().partition(|word| word.contains('='));
        Words { plain, named: named.into_iter().filter_map(|word| word.split_once('=')).collect() }
    }

    fn text(&self, name: &str, default: &'a str) -> &'a str {
        self.named.get(name).copied().unwrap_or(default)
    }

    fn number(&self, name: &str, default: i64) -> i64 {
        self.named.get(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
    }
}

/// A machine, its timers and its log, driven by commands.
pub(super) struct Runner {
    config: GroupConfig,
    pub(super) machine: GroupCoordinator,
    timers: TimerSet,
    now: Now,
    /// What is durable, in order.
    log: Vec<Record>,
    in_flight: Vec<(WriteId, Rc<Vec<Record>>)>,
    tokens: BTreeMap<Token, String>,
    next_token: u64,
    /// Generated member ids and their short names.
    aliases: Vec<(String, String)>,
    pub(super) out: Vec<String>,
}

impl Runner {
    pub(super) fn new() -> Self {
        let config = GroupConfig::default();
        let mut runner = Runner {
            machine: GroupCoordinator::new(config.clone()),
            config,
            timers: TimerSet::default(),
            now: Now { ticks_ms: 0, wall_ms: 1_000_000 },
            log: Vec::new(),
            in_flight: Vec::new(),
            tokens: BTreeMap::new(),
            next_token: 0,
            aliases: Vec::new(),
            out: Vec::new(),
        };
        runner.start(true);
        runner
    }

    /// Loads what is durable into a new machine.
    fn start(&mut self, load: bool) {
        self.machine = GroupCoordinator::new(self.config.clone());
        self.timers = TimerSet::default();
        self.in_flight.clear();
        self.tokens.clear();
        self.apply(Event::TopicFound { partitions: 1 });
        if load {
            self.load();
        }
    }

    fn load(&mut self) {
        let records = self.log.clone();
        self.apply(Event::Load { partition: 0, records });
        self.apply(Event::Loaded { partition: 0 });
    }

    /// One line.
    pub(super) fn command(&mut self, line: &str) {
        let words = Words::of(line);
        let label = words.plain.get(1).copied().unwrap_or("?").to_owned();
        match words.plain[0] {
            // config name=value ...: a new machine with these settings.
            "config" => self.configure(&words),
            // join LABEL [member=] [instance=] [v=] [protocols=name:blob,...] [session=] [rebalance=] [type=] [group=]
            "join" => self.join(label, &words),
            // sync LABEL member= gen= [assign=member:blob,...] [instance=] [protocol=]
            "sync" => self.sync(label, &words),
            // beat LABEL member= gen= [instance=]
            "beat" => self.beat(label, &words),
            // leave LABEL member ... (an instance id is written @name)
            "leave" => self.leave(label, &words),
            // commit LABEL [member=] [gen=] [instance=] [v=] topic/partition:offset[:metadata] ...
            "commit" => self.commit(label, &words),
            // fetch LABEL [topic/partition ...]
            "fetch" => self.fetch(label, &words),
            // list LABEL [states=,] [types=,]; describe LABEL; delete LABEL; forget LABEL topic/partition ...
            "list" => self.list(label, &words),
            "describe" => self.request(label, GroupRequest::Describe(words.text("group", "g").to_owned())),
            "delete" => self.request(label, GroupRequest::Delete(words.text("group", "g").to_owned())),
            "forget" => self.forget(label, &words),
            // drop TOPIC ...: topics are deleted (all have the same id here).
            "drop" => self.drop_topics(&words),
            // cancel LABEL: its client is gone.
            "cancel" => self.cancel(&label),
            // keep MEMBER gen= for=: heartbeats for so long; what they are answered is not shown.
            "keep" => self.keep(&words),
            // wait MILLISECONDS: timers fire on the way.
            "wait" => self.wait(words.plain[1].parse().expect("milliseconds")),
            // written: the oldest write is durable.
            "written" => self.conclude(None),
            // failed ERROR: the oldest write failed.
            "failed" => self.conclude(Some(error_named(words.plain[1]))),
            // restart [unloaded]: a new machine with what is durable.
            "restart" => self.start(words.plain.get(1) != Some(&"unloaded")),
            // load: what was left out by restart unloaded.
            "load" => self.load(),
            // show: the groups.
            "show" => self.show(),
            other => panic!("no such command: {other}"),
        }
        self.machine.check_against_images();
    }

    fn configure(&mut self, words: &Words<'_>) {
        for (name, value) in &words.named {
            let number: i64 = value.parse().expect("a number");
            match *name {
                "initial_delay" => self.config.initial_rebalance_delay_ms = number as i32,
                "max_size" => self.config.max_size = number as usize,
                "max_groups" => self.config.max_groups = number as usize,
                "max_pending_writes" => self.config.max_pending_writes = number as usize,
                "retention" => self.config.offsets_retention_ms = number,
                "check" => self.config.retention_check_interval_ms = number,
                "metadata_max" => self.config.member_metadata_max_bytes = number as usize,
                other => panic!("no such setting: {other}"),
            }
        }
        self.start(true);
        self.out.clear();
    }

    fn join(&mut self, label: String, words: &Words<'_>) {
        let version = words.number("v", 5);
        // `+a+b` is the blob of a consumer that reads a and b.
        let blob = |text: &str| text.strip_prefix('+').map_or(Bytes::copy_from_slice(text.as_bytes()), subscription);
        let protocol = |word: &str| word.split_once(':').map_or((word.to_owned(), Bytes::new()), |(name, b)| (name.to_owned(), blob(b)));
        let protocols = words.text("protocols", "range:x");
        let request = JoinGroup {
            group_id: words.text("group", "g").to_owned(),
            member_id: self.member(words),
            instance_id: words.named.get("instance").map(|text| (*text).to_owned()),
            client_id: "client".into(),
            client_host: "/127.0.0.1".into(),
            session_timeout_ms: words.number("session", 10_000) as i32,
            rebalance_timeout_ms: words.number("rebalance", 60_000) as i32,
            protocol_type: words.text("type", "consumer").to_owned(),
            protocols: protocols.split(',').filter(|word| !word.is_empty()).map(protocol).collect(),
            requires_known_member_id: version >= 4,
            supports_skip_assignment: version >= 9,
        };
        self.request(label, GroupRequest::Join(request));
    }

    fn sync(&mut self, label: String, words: &Words<'_>) {
        let pair = |word: &str| {
            let (member, blob) = word.split_once(':').expect("member:blob");
            (self.full(member), Bytes::copy_from_slice(blob.as_bytes()))
        };
        let request = SyncGroup {
            group_id: words.text("group", "g").to_owned(),
            generation_id: words.number("gen", -1) as i32,
            member_id: self.member(words),
            instance_id: words.named.get("instance").map(|text| (*text).to_owned()),
            protocol_type: None,
            protocol_name: words.named.get("protocol").map(|text| (*text).to_owned()),
            assignments: words.text("assign", "").split(',').filter(|word| !word.is_empty()).map(pair).collect(),
        };
        self.request(label, GroupRequest::Sync(request));
    }

    fn beat(&mut self, label: String, words: &Words<'_>) {
        let request = Heartbeat {
            group_id: words.text("group", "g").to_owned(),
            generation_id: words.number("gen", -1) as i32,
            member_id: self.member(words),
            instance_id: words.named.get("instance").map(|text| (*text).to_owned()),
        };
        self.request(label, GroupRequest::Heartbeat(request));
    }

    fn keep(&mut self, words: &Words<'_>) {
        let until = self.now.ticks_ms + words.number("for", 0);
        let mut shown = Vec::new();
        while self.now.ticks_ms < until {
            self.out.clear();
            let request = Heartbeat {
                group_id: words.text("group", "g").to_owned(),
                generation_id: words.number("gen", -1) as i32,
                member_id: self.full(words.plain[1]),
                instance_id: None,
            };
            self.request("keep".into(), GroupRequest::Heartbeat(request));
            self.out.clear();
            self.wait(5_000.min(until - self.now.ticks_ms));
            shown.append(&mut self.out);
        }
        self.out = shown;
    }

    fn leave(&mut self, label: String, words: &Words<'_>) {
        let member = |word: &&str| match word.strip_prefix('@') {
            Some(name) => LeavingMember { member_id: String::new(), instance_id: Some(name.to_owned()) },
            None => LeavingMember { member_id: self.full(word), instance_id: None },
        };
        let members = words.plain[2..].iter().map(member).collect();
        self.request(label, GroupRequest::Leave(LeaveGroup { group_id: words.text("group", "g").to_owned(), members }));
    }

    fn commit(&mut self, label: String, words: &Words<'_>) {
        let mut topics: Vec<TopicCommit> = Vec::new();
        for word in &words.plain[2..] {
            let mut parts = word.split(':');
            let (topic, partition) = parts.next().and_then(|place| place.split_once('/')).expect("topic/partition");
            let commit = PartitionCommit {
                partition: partition.parse().expect("a partition"),
                offset: parts.next().and_then(|offset| offset.parse().ok()).expect("an offset"),
                leader_epoch: words.number("epoch", -1) as i32,
                metadata: parts.next().map(|text| if text == "LONG" { "x".repeat(4_097) } else { text.to_owned() }),
                refused: ErrorCode::None,
            };
            match topics.last_mut() {
                Some(last) if last.name == topic => last.partitions.push(commit),
                _ => topics.push(TopicCommit { name: topic.to_owned(), id: TopicId([7; 16]), partitions: vec![commit] }),
            }
        }
        let request = OffsetCommit {
            group_id: words.text("group", "g").to_owned(),
            generation_id: words.number("gen", -1) as i32,
            member_id: self.member(words),
            instance_id: words.named.get("instance").map(|text| (*text).to_owned()),
            retention_ms: words.number("retention", -1),
            tells_missing_group: words.number("v", 8) >= 9,
            topics,
        };
        self.request(label, GroupRequest::Commit(request));
    }

    fn fetch(&mut self, label: String, words: &Words<'_>) {
        let place = |word: &&str| {
            let (topic, partition) = word.split_once('/').expect("topic/partition");
            (topic.to_owned(), vec![partition.parse().expect("a partition")])
        };
        let topics: Vec<(String, Vec<i32>)> = words.plain[2..].iter().map(place).collect();
        let topics = Some(topics).filter(|topics| !topics.is_empty());
        self.request(
            label,
            GroupRequest::Fetch(OffsetFetch {
                group_id: words.text("group", "g").to_owned(),
                topics,
                require_stable: true,
                member_epoch: -1,
                ..OffsetFetch::default()
            }),
        );
    }

    fn list(&mut self, label: String, words: &Words<'_>) {
        let filter = |name| words.text(name, "").split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect();
        self.request(label, GroupRequest::List(ListGroups { states: filter("states"), types: filter("types") }));
    }

    fn forget(&mut self, label: String, words: &Words<'_>) {
        let place = |word: &&str| {
            let (topic, partition) = word.split_once('/').expect("topic/partition");
            (topic.to_owned(), vec![partition.parse().expect("a partition")])
        };
        let topics = words.plain[2..].iter().map(place).collect();
        self.request(label, GroupRequest::DeleteOffsets(OffsetDelete { group_id: words.text("group", "g").to_owned(), topics }));
    }

    fn drop_topics(&mut self, words: &Words<'_>) {
        let deleted = |name: &&str| DeletedTopic { name: (*name).to_owned(), id: TopicId([words.number("id", 7) as u8; 16]) };
        let topics = words.plain[1..].iter().map(deleted).collect();
        self.apply(Event::TopicsDeleted { partition: 0, topics });
    }

    fn cancel(&mut self, label: &str) {
        let token = self.tokens.iter().find(|(_, name)| *name == label).map(|(token, _)| *token).expect("a parked request");
        self.tokens.remove(&token);
        self.apply(Event::Cancelled { token, group_id: "g".into() });
    }

    fn request(&mut self, label: String, request: GroupRequest) {
        let token = Token(self.next_token);
        self.next_token += 1;
        self.tokens.insert(token, label);
        let mut nonce = [0; 16];
        nonce[15] = self.next_token as u8;
        self.apply(Event::Request { token, request, nonce });
    }

    fn wait(&mut self, ms: i64) {
        let until = self.now.ticks_ms + ms;
        while let Some(at_ms) = self.timers.next().filter(|at_ms| *at_ms <= until) {
            self.advance(at_ms.max(self.now.ticks_ms) - self.now.ticks_ms);
            let timer = self.timers.pop_due(self.now.ticks_ms).expect("a timer is due");
            let text = self.short(&timer.to_string());
            self.out.push(format!("{} ms: {text} is over", self.now.ticks_ms));
            self.apply(Event::Expired(timer));
        }
        self.advance(until - self.now.ticks_ms);
    }

    fn advance(&mut self, ms: i64) {
        self.now.ticks_ms += ms;
        self.now.wall_ms += ms;
    }

    fn conclude(&mut self, error: Option<ErrorCode>) {
        let (write, records) = self.in_flight.remove(0);
        match error {
            None => {
                self.log.extend(records.iter().cloned());
                self.apply(Event::Appended(write));
            }
            Some(error) => self.apply(Event::AppendFailed(write, error)),
        }
    }

    fn apply(&mut self, event: Event) {
        let actions = self.machine.apply(event, self.now);
        actions.into_iter().for_each(|action| self.act(action));
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Answer(token, response) => {
                if let GroupResponse::Join(answer) = &response {
                    self.name_member(&answer.member_id);
                }
                let label =
                    self.tokens.remove(&token).unwrap_or_else(|| panic!("{token:?} is answered twice or was cancelled: {response:?}"));
                let text = self.short(&describe_response(&response));
                self.out.push(format!("{label}: {text}"));
            }
            Action::Append { write, records, .. } => {
                for record in records.iter() {
                    let text = self.short(&describe_record(record));
                    self.out.push(format!("write {text}"));
                }
                self.in_flight.push((write, records));
            }
            Action::SetTimer(timer @ Timer::Retention(_), at_ms) => self.timers.set(timer, at_ms),
            Action::SetTimer(timer, at_ms) => {
                if let Timer::Session { member, .. } = &timer {
                    self.name_member(member);
                }
                let text = self.short(&timer.to_string());
                self.out.push(format!("timer: {text} in {} ms", at_ms - self.now.ticks_ms));
                self.timers.set(timer, at_ms);
            }
            Action::ClearTimer(timer) => self.timers.clear(&timer),
            Action::Search(search) => self.out.push(format!("search: {}", search.pattern)),
        }
    }

    fn show(&mut self) {
        let ids: Vec<String> = self.machine.slots[0].groups.keys().map(|id| id.to_string()).collect();
        if ids.is_empty() {
            self.out.push("no groups".into());
        }
        for id in ids {
            let group = self.machine.group(&id).expect("listed");
            let member = |member: &super::super::Member| {
                let waits = if member.awaiting_join.is_some() {
                    " joined"
                } else if member.awaiting_sync.is_some() {
                    " synced"
                } else {
                    ""
                };
                let name = member.instance_id.as_ref().map_or(String::new(), |name| format!("@{name}"));
                format!("{}{name}={}{waits}", member.id, String::from_utf8_lossy(&member.assignment))
            };
            let members: Vec<String> = group.members().values().map(member).collect();
            let leader = group.leader.as_deref().unwrap_or("-");
            let text =
                format!("{id}: {} generation {} leader {leader} members [{}]", group.state(), group.generation_id(), members.join(", "));
            let text = self.short(&text);
            self.out.push(text);
        }
    }

    fn member(&self, words: &Words<'_>) -> String {
        self.full(words.text("member", ""))
    }

    fn name_member(&mut self, id: &str) {
        if id.len() > 36 && !self.aliases.iter().any(|(full, _)| full == id) {
            let alias = format!("m{}", self.aliases.len() + 1);
            self.aliases.push((id.to_owned(), alias));
        }
    }

    fn full(&self, alias: &str) -> String {
        self.aliases.iter().find(|(_, short)| short == alias).map_or(alias.to_owned(), |(full, _)| full.clone())
    }

    fn short(&self, text: &str) -> String {
        self.aliases.iter().fold(text.to_owned(), |text, (full, short)| text.replace(full.as_str(), short))
    }
}

fn error_named(name: &str) -> ErrorCode {
    *ErrorCode::ALL.iter().find(|error| error.name() == name).unwrap_or_else(|| panic!("no such error: {name}"))
}

/// What a consumer that reads these topics gives with its protocol.
pub(super) fn subscription(topics: &str) -> Bytes {
    let topics: Vec<&str> = topics.split('+').collect();
    let mut blob = 0i16.to_be_bytes().to_vec();
    blob.extend((topics.len() as i32).to_be_bytes());
    for topic in topics {
        blob.extend((topic.len() as i16).to_be_bytes());
        blob.extend(topic.as_bytes());
    }
    Bytes::from(blob)
}

fn blob(bytes: &[u8]) -> String {
    if bytes.first() == Some(&0) {
        return "(topics)".to_owned();
    }

    String::from_utf8_lossy(bytes).into_owned()
}

/// What a client is told, in one line.
pub(super) fn describe_response(response: &GroupResponse) -> String {
    match response {
        GroupResponse::Located(error) => format!("located {}", error.name()),
        GroupResponse::Join(answer) if !answer.error.is_ok() => {
            format!("join {} {:?}", answer.error.name(), answer.member_id).replace(" \"\"", "").replace('"', "")
        }
        GroupResponse::Join(answer) => {
            let members: Vec<String> =
                answer.members.iter().map(|member| format!("{}={}", member.member_id, blob(&member.metadata))).collect();
            let skip = if answer.skip_assignment { " skip the assignment" } else { "" };
            let protocol = answer.protocol_name.as_deref().unwrap_or("-");
            format!(
                "joined as {} generation {} protocol {protocol} leader {} members [{}]{skip}",
                answer.member_id,
                answer.generation_id,
                answer.leader,
                members.join(", ")
            )
        }
        GroupResponse::Sync(answer) if !answer.error.is_ok() => format!("sync {}", answer.error.name()),
        GroupResponse::Sync(answer) => format!("assigned [{}]", blob(&answer.assignment)),
        GroupResponse::Heartbeat(error) => format!("heartbeat {}", error.name()),
        GroupResponse::Leave(answer) => {
            let name = |member: &LeavingMember| member.instance_id.as_ref().map_or(member.member_id.clone(), |name| format!("@{name}"));
            let members: Vec<String> = answer.members.iter().map(|(member, error)| format!("{} {}", name(member), error.name())).collect();
            format!("leave {} [{}]", answer.error.name(), members.join(", "))
        }
        GroupResponse::Commit(answer) => {
            let topics = answer.topics.iter().flat_map(|(topic, partitions)| partitions.iter().map(move |p| (topic, p)));
            let outcomes: Vec<String> = topics.map(|(topic, (partition, error))| format!("{topic}/{partition} {}", error.name())).collect();
            format!("committed [{}]", outcomes.join(", "))
        }
        GroupResponse::ConsumerHeartbeat(_) | GroupResponse::ConsumerDescribe(_) => format!("{response:?}"),
        GroupResponse::Fetch(answer) => {
            let topics = answer.topics.iter().flat_map(|(topic, partitions)| partitions.iter().map(move |p| (topic, p)));
            let offsets =
                topics.map(|(topic, p)| format!("{topic}/{} offset {} epoch {} {:?}", p.partition, p.offset, p.leader_epoch, p.metadata));
            format!("fetched {} [{}]", answer.error.name(), offsets.collect::<Vec<String>>().join(", "))
        }
        GroupResponse::Listed(answer) => {
            let groups = answer.groups.iter().map(|g| format!("{} {:?} {} {}", g.group_id, g.protocol_type, g.state, g.kind));
            format!("listed {} [{}]", answer.error.name(), groups.collect::<Vec<String>>().join(", "))
        }
        GroupResponse::Described(answer) => {
            let member = |m: &DescribedMember| {
                let name = m.instance_id.as_ref().map_or(String::new(), |name| format!("@{name}"));
                format!("{}{name} of {} {} {}={}", m.member_id, m.client_id, m.client_host, blob(&m.metadata), blob(&m.assignment))
            };
            let members: Vec<String> = answer.members.iter().map(member).collect();
            let error = if answer.error.is_ok() { "" } else { answer.error.name() };
            let text = format!("{error} {} {:?} {:?} [{}]", answer.state, answer.protocol_type, answer.protocol, members.join(", "));
            format!("described {}", text.trim_start())
        }
        GroupResponse::Deleted(error) => format!("deleted {}", error.name()),
        GroupResponse::DeletedOffsets(answer) => {
            let topics = answer.topics.iter().flat_map(|(topic, partitions)| partitions.iter().map(move |p| (topic, p)));
            let outcomes: Vec<String> = topics.map(|(topic, (partition, error))| format!("{topic}/{partition} {}", error.name())).collect();
            format!("forgotten {} [{}]", answer.error.name(), outcomes.join(", "))
        }
    }
}

fn describe_record(record: &Record) -> String {
    match record {
        Record::Offset { group, topic, partition, value: Some(value) } => {
            format!(
                "offset of {group} {topic}/{partition} = {} epoch {} at {} {:?}",
                value.offset, value.leader_epoch, value.commit_timestamp_ms, value.metadata
            )
        }
        Record::Offset { group, topic, partition, value: None } => format!("no offset of {group} {topic}/{partition}"),
        Record::Group { group, value: Some(value) } => {
            let members: Vec<String> =
                value.members.iter().map(|member| format!("{}={}", member.member_id, blob(&member.assignment))).collect();
            let leader = value.leader.as_deref().unwrap_or("-");
            format!(
                "group {group} generation {} leader {leader} at {} members [{}]",
                value.generation,
                value.state_timestamp_ms,
                members.join(", ")
            )
        }
        Record::Group { group, value: None } => format!("no group {group}"),
        Record::Consumer(record) => format!("{record:?}"),
    }
}
