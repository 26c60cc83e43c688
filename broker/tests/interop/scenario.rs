//! What one client does against one broker: every operation it has, with restarts and kills between, contents compared byte by byte.

use crate::client::{Ack, Client};
use crate::harness::{Broker, PARTITIONS, Target};
use crate::records::{self, Contents, Expected, Got, Record, Seed};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::time::Instant;

/// Shards of the first start and of the four starts that follow: after a SIGTERM, after a kill -9 in the middle of a produce, after
/// a kill -9 right behind an acknowledged produce, after a SIGTERM.
pub(crate) type Plan = [u16; 5];

pub(crate) const ONE_SHARD: Plan = [1, 1, 1, 1, 1];
/// Two shards first, then other numbers: all data stays.
pub(crate) const TWO_SHARDS: Plan = [2, 2, 1, 3, 2];

const PACED_RECORDS: usize = 500;
const PACED_PER_SECOND: u32 = 300;
const KILL_AFTER: usize = 150;
/// Of the rounds of kills: under each producer, and records for each.
const KILLS_A_PRODUCER: usize = 5;
const RECORDS_A_KILL: usize = 120;

/// One client against one broker.
pub(crate) struct Scenario<'a> {
    client: &'a Client,
    broker: Broker,
    seed: Seed,
    /// What must be there, by topic and partition.
    contents: Contents,
    log: Vec<String>,
    start: Instant,
}

impl<'a> Scenario<'a> {
    pub(crate) fn start(client: &'a Client, shards: u16, seed: Seed) -> Result<Scenario<'a>, String> {
        let broker = Broker::start_with(Target::from_env(), shards, &[])?;
        Ok(Scenario { client, broker, seed, contents: Contents::new(), log: Vec::new(), start: Instant::now() })
    }

    /// The whole scenario. On failure: what was done so far, what went wrong, and what the broker said.
    pub(crate) fn run(mut self, plan: Plan) -> Result<Vec<String>, String> {
        let done = self.steps(plan);
        self.ended(done)
    }

    fn ended(self, done: Result<(), String>) -> Result<Vec<String>, String> {
        match done {
            Ok(()) => Ok(self.log),
            Err(reason) => {
                Err(format!("{reason}\n\ndone before: {}\n\nthe broker's last lines:\n{}", self.log.join(", "), self.broker.log_tail()))
            }
        }
    }

    fn steps(&mut self, plan: Plan) -> Result<(), String> {
        let client = self.client;
        let codecs = client.family.able.codecs;
        let topics: Vec<String> = codecs.iter().map(|codec| format!("{}-{codec}", client.family.name)).collect();
        let bulk = vec![format!("{}-bulk", client.family.name)];

        self.step("create", |scenario| {
            client.create(&scenario.broker.bootstrap(), &[topics.clone(), bulk.clone()].concat())?;
            expect_partitions(client.describe(&scenario.broker.bootstrap(), &topics[0])?)
        })?;
        for (codec, topic) in codecs.iter().zip(&topics) {
            self.step(&format!("produce {codec}"), |scenario| {
                let records = records::shapes(scenario.seed, codec, &client.family.able, 40);
                scenario.produce(topic, codec, &records)
            })?;
        }
        if client.family.able.other_acks {
            self.step("produce acks=1 and acks=0", |scenario| scenario.produce_other_acks(&bulk[0]))?;
        }
        self.step("list offsets", |scenario| scenario.list_offsets(&topics[0]))?;
        self.step("consume", |scenario| scenario.consume_all(&topics))?;
        let half = records::count(&self.contents) / 2;
        let mut committed = Vec::new();
        self.step("group consume", |scenario| {
            committed = client.group_consume(&scenario.broker.bootstrap(), &topics, "group", half)?;
            scenario.compare_committed(&committed, half)
        })?;

        self.step("SIGTERM and start", |scenario| {
            scenario.broker.stop()?;
            scenario.broker.start_again(plan[1])
        })?;
        self.step("consume after SIGTERM", |scenario| scenario.consume_all(&topics))?;
        self.step("group resumes", |scenario| {
            let rest = records::count(&scenario.contents) - half;
            committed.extend(client.group_consume(&scenario.broker.bootstrap(), &topics, "group", rest)?);
            records::compare_all(&scenario.contents, &in_offset_order(&committed))
                .map_err(|reason| format!("both sittings of the group together: {reason}"))
        })?;

        self.step("kill -9 under a produce", |scenario| scenario.kill_under_produce(&bulk[0], plan[2]))?;
        self.step("consume after kill -9", |scenario| {
            let topics = [topics.clone(), bulk.clone()].concat();
            scenario.consume_all(&topics)
        })?;

        let late = records::bulk(self.seed, "late", 30, PARTITIONS);
        self.step("produce, kill -9 and start", |scenario| {
            scenario.produce(&topics[0], codecs[0], &late)?;
            scenario.broker.kill()?;
            scenario.broker.start_again(plan[3])
        })?;
        self.step("consume after the second kill -9", |scenario| scenario.consume_all(&topics))?;
        self.step("group resumes after kill -9", |scenario| {
            let got = client.group_consume(&scenario.broker.bootstrap(), &topics, "group", late.len())?;
            let late: Contents = scenario
                .contents
                .iter()
                .filter(|(place, _)| place.0 == topics[0])
                .map(|(place, all)| (place.clone(), last(all, &late)))
                .collect();
            records::compare_all(&late, &got)
        })?;

        self.step("SIGTERM and last start", |scenario| {
            scenario.broker.stop()?;
            scenario.broker.start_again(plan[4])
        })?;
        self.step("last consume", |scenario| scenario.consume_all(&topics))?;
        if client.family.able.deletes {
            self.step("delete", |scenario| {
                client.delete(&scenario.broker.bootstrap(), &topics[..1])?;
                match client.describe(&scenario.broker.bootstrap(), &topics[0]) {
                    Ok(partitions) if !partitions.is_empty() => Err(format!("{} still has partitions {partitions:?}", topics[0])),
                    _ => expect_partitions(client.describe(&scenario.broker.bootstrap(), &topics[1])?),
                }
            })?;
        }
        self.step("SIGTERM", |scenario| scenario.broker.stop())
    }

    /// Produces, checks the acknowledgements, and expects the records from now on.
    pub(crate) fn produce(&mut self, topic: &str, codec: &str, records: &[Record]) -> Result<(), String> {
        let before = records::now_ms();
        let acks = self.client.produce(&self.broker.bootstrap(), topic, codec, records)?;
        let clock = (before - 1, records::now_ms() + 1);
        place(&mut self.contents, topic, records, &acks, clock)
    }

    /// acks=1, then acks=0: the broker sends no answer, and a client that got one would take it for the answer to its next request.
    fn produce_other_acks(&mut self, topic: &str) -> Result<(), String> {
        let topic = format!("{topic}-acks");
        let bootstrap = self.broker.bootstrap();
        self.client.create(&bootstrap, std::slice::from_ref(&topic))?;
        for acks in ["1", "0"] {
            let records = records::bulk(self.seed, acks, 60, PARTITIONS);
            let before = records::now_ms();
            let mut known =
                self.client.produce_with_acks(&bootstrap, &topic, acks, &records).map_err(|reason| format!("acks={acks}: {reason}"))?;
            let clock = (before - 1, records::now_ms() + 1);
            if acks == "0" {
                let mut next = BTreeMap::new();
                for record in &records {
                    let partition = record.partition.expect("bulk records name their partition");
                    let end = self.contents.get(&(topic.clone(), partition)).map_or(0, Vec::len) as i64;
                    let next = next.entry(partition).or_insert(end);
                    known.push(Ack { i: record.i, partition, offset: *next });
                    *next += 1;
                }
            }
            place(&mut self.contents, &topic, &records, &known, clock)?;
        }
        self.consume_all(std::slice::from_ref(&topic))?;
        self.client.delete(&bootstrap, std::slice::from_ref(&topic))?;
        self.contents.retain(|place, _| place.0 != topic);
        Ok(())
    }

    fn consume_all(&mut self, topics: &[String]) -> Result<(), String> {
        let contents: Contents =
            self.contents.iter().filter(|(place, _)| topics.contains(&place.0)).map(|(place, all)| (place.clone(), all.clone())).collect();
        let got = self.client.consume(&self.broker.bootstrap(), topics, records::count(&contents))?;
        records::compare_all(&contents, &got)
    }

    /// Earliest, latest, and by a timestamp in the middle of the records' times.
    fn list_offsets(&mut self, topic: &str) -> Result<(), String> {
        let mut got = Vec::new();
        if self.client.family.able.timestamps {
            got = self.client.consume(
                &self.broker.bootstrap(),
                &[topic.to_owned()],
                self.contents.iter().filter(|(place, _)| place.0 == topic).map(|(_, all)| all.len()).sum(),
            )?;
        }
        let timestamp = self.seed.base_ms - 24 * 3600 * 1000 - 500;
        let bounds = self.client.list_offsets(&self.broker.bootstrap(), topic, timestamp)?;
        expect_partitions(bounds.iter().map(|bounds| bounds.partition).collect())?;
        for bounds in bounds {
            let latest = self.contents.get(&(topic.to_owned(), bounds.partition)).map_or(0, Vec::len) as i64;
            let younger =
                got.iter().filter(|one| one.partition == bounds.partition && one.timestamp >= timestamp).map(|one| one.offset).min();
            // Without timestamps of their own, all records are younger than yesterday.
            let at = if self.client.family.able.timestamps { younger } else { (latest > 0).then_some(0) };
            let at = at.unwrap_or(-1);
            if (bounds.earliest, bounds.latest, bounds.at) != (0, latest, Some(at)) {
                return Err(format!("{topic}: expected earliest 0, latest {latest}, {at} at {timestamp}; got {bounds:?}"));
            }
        }
        Ok(())
    }

    /// The first sitting of the group: a part of every partition from its start, nothing twice.
    fn compare_committed(&self, got: &[Got], count: usize) -> Result<(), String> {
        if got.len() != count {
            return Err(format!("the group printed {} of {count} records", got.len()));
        }
        let mut seen: BTreeMap<(String, i32), usize> = BTreeMap::new();
        for one in got {
            let place = (one.topic.clone(), one.partition);
            let at = seen.entry(place.clone()).or_default();
            let wanted = self
                .contents
                .get(&place)
                .and_then(|all| all.get(*at))
                .ok_or_else(|| format!("{place:?} offset {} came, which nobody produced", one.offset))?;
            records::compare(wanted, one)?;
            *at += 1;
        }
        Ok(())
    }

    /// kill -9 while the producer sends; it goes on against the restarted broker. Everything acknowledged must be there where the
    /// acknowledgement says, and with an idempotent producer everything exactly once and in order.
    fn kill_under_produce(&mut self, topic: &str, shards: u16) -> Result<(), String> {
        let partitions = if self.client.family.name == "kcat" { 1 } else { PARTITIONS };
        let records = records::bulk(self.seed, "bulk", PACED_RECORDS, partitions);
        let before = records::now_ms();
        let mut producer = self.client.produce_paced(&self.broker.bootstrap(), topic, "none", &records, PACED_PER_SECOND)?;
        let mut acks = producer.take(KILL_AFTER)?;
        self.broker.kill()?;
        self.broker.start_again(shards)?;
        acks.extend(producer.finish()?);
        let clock = (before - 1, records::now_ms() + 1);
        if acks.len() != records.len() {
            return Err(format!("{} acknowledgements for {} records", acks.len(), records.len()));
        }
        if self.client.family.able.idempotent {
            return self.place_idempotent(topic, &records, &acks, clock);
        }
        self.adopt(topic, &records, &acks, clock)
    }

    /// kill -9 again and again under one idempotent producer after the other, at random moments; whatever was acknowledged is there, everything
    /// is there once, in order, and stays.
    pub(crate) fn kill_again_and_again(mut self, rounds: usize) -> Result<Vec<String>, String> {
        let done = self.kill_rounds(rounds);
        self.ended(done)
    }

    fn kill_rounds(&mut self, rounds: usize) -> Result<(), String> {
        let mut random = records::Random::new(self.seed.seed, "kills");
        let mut topics = Vec::new();
        for first in (0..rounds).step_by(KILLS_A_PRODUCER) {
            let kills = KILLS_A_PRODUCER.min(rounds - first);
            let topic = format!("kills-{first}");
            topics.push(topic.clone());
            let began = Instant::now();
            self.client.create(&self.broker.bootstrap(), std::slice::from_ref(&topic))?;
            let records = records::bulk(self.seed, &topic, (kills + 1) * RECORDS_A_KILL, PARTITIONS);
            let before = records::now_ms();
            let mut producer = self.client.produce_paced(&self.broker.bootstrap(), &topic, "none", &records, PACED_PER_SECOND)?;
            let mut acks = Vec::new();
            for _ in 0..kills {
                acks.extend(producer.take(1 + random.below(RECORDS_A_KILL as u64) as usize)?);
                self.broker.kill()?;
                self.broker.start_again(1 + random.below(2) as u16)?;
            }
            acks.extend(producer.finish()?);
            self.place_idempotent(&topic, &records, &acks, (before - 1, records::now_ms() + 1))?;
            let bounds = self.client.list_offsets(&self.broker.bootstrap(), &topic, 0)?;
            let there = bounds.iter().map(|bounds| bounds.latest).sum::<i64>();
            if there != records.len() as i64 {
                return Err(format!("{topic}: {there} records for {} that were produced", records.len()));
            }
            self.consume_all(std::slice::from_ref(&topic))?;
            self.log.push(format!("{kills} kills, {} records in {:.1} s", records.len(), began.elapsed().as_secs_f32()));
        }
        // What was complete then survived the kills under others' producers.
        topics.iter().try_for_each(|topic| self.consume_all(std::slice::from_ref(topic)))
    }

    /// Dense offsets in the order of the records: an acknowledgement may lack its offset, but may not contradict.
    fn place_idempotent(&mut self, topic: &str, records: &[Record], acks: &[Ack], clock: (i64, i64)) -> Result<(), String> {
        let mut places: BTreeMap<i32, i64> = BTreeMap::new();
        let mut full = Vec::with_capacity(acks.len());
        for record in records {
            let partition = record.partition.expect("bulk records name their partition");
            let next = places.entry(partition).or_default();
            let ack = acks.iter().find(|ack| ack.i == record.i).ok_or_else(|| format!("record i={} was not acknowledged", record.i))?;
            if ack.offset != -1 && (ack.partition, ack.offset) != (partition, *next) {
                return Err(format!(
                    "record i={} was acknowledged at {ack:?}; sent once and in order it is offset {next} of partition {partition}",
                    record.i
                ));
            }
            full.push(Ack { i: record.i, partition, offset: *next });
            *next += 1;
        }
        place(&mut self.contents, topic, records, &full, clock)
    }

    /// Without idempotence a retry may have come twice: reads what is there, checks it against the acknowledgements, keeps it.
    fn adopt(&mut self, topic: &str, records: &[Record], acks: &[Ack], clock: (i64, i64)) -> Result<(), String> {
        let bounds = self.client.list_offsets(&self.broker.bootstrap(), topic, 0)?;
        let count = bounds.iter().map(|bounds| bounds.latest).sum::<i64>() as usize;
        let got = self.client.consume(&self.broker.bootstrap(), &[topic.to_owned()], count)?;
        let by_key: BTreeMap<_, &Record> = records.iter().map(|record| (record.key.clone(), record)).collect();
        for one in &got {
            let record = by_key.get(&one.key).ok_or_else(|| format!("{topic} offset {}: nobody produced it", one.offset))?;
            let expected = Expected { offset: one.offset, record: (*record).clone(), clock };
            records::compare(&expected, one)?;
            self.contents.entry((topic.to_owned(), one.partition)).or_default().push(expected);
        }
        for ack in acks {
            let all = self.contents.get(&(topic.to_owned(), ack.partition));
            if !all.is_some_and(|all| all.iter().any(|one| one.offset == ack.offset && one.record.i == ack.i)) {
                return Err(format!("{topic}: acknowledged and not there: {ack:?}"));
            }
        }
        Ok(())
    }

    fn step(&mut self, name: &str, work: impl FnOnce(&mut Self) -> Result<(), String>) -> Result<(), String> {
        let start = Instant::now();
        work(self).map_err(|reason| format!("{name}: {reason}"))?;
        let line = format!("{name} {:.1} s", start.elapsed().as_secs_f32());
        if std::env::var_os("CORELINE_INTEROP_VERBOSE").is_some() {
            let _ =
                writeln!(std::io::stderr(), "interop: {:6.1} s {}: {line}", self.start.elapsed().as_secs_f32(), self.client.family.name);
        }
        self.log.push(line);
        Ok(())
    }
}

/// Turns acknowledgements into expectations: every record once, the asked partition, dense offsets from the partition's end, and
/// the order in which the records were handed to the client.
pub(crate) fn place(contents: &mut Contents, topic: &str, records: &[Record], acks: &[Ack], clock: (i64, i64)) -> Result<(), String> {
    let by_i: BTreeMap<i64, &Ack> = acks.iter().map(|ack| (ack.i, ack)).collect();
    if by_i.len() != records.len() || acks.len() != records.len() {
        return Err(format!("{} acknowledgements of {} different records for {} records", acks.len(), by_i.len(), records.len()));
    }
    let mut places = BTreeSet::new();
    for record in records {
        let ack = by_i.get(&record.i).ok_or_else(|| format!("record i={} was not acknowledged", record.i))?;
        if record.partition.is_some_and(|asked| asked != ack.partition) || !(0..PARTITIONS).contains(&ack.partition) {
            return Err(format!("record i={} went to partition {}, asked for was {:?}", record.i, ack.partition, record.partition));
        }
        if !places.insert((ack.partition, ack.offset)) {
            return Err(format!("partition {} offset {} was acknowledged twice", ack.partition, ack.offset));
        }
        let all = contents.entry((topic.to_owned(), ack.partition)).or_default();
        if ack.offset != all.len() as i64 {
            return Err(format!(
                "record i={} was acknowledged at offset {} of partition {}; in order it is offset {}",
                record.i,
                ack.offset,
                ack.partition,
                all.len()
            ));
        }
        all.push(Expected { offset: ack.offset, record: record.clone(), clock });
    }
    Ok(())
}

fn expect_partitions(mut partitions: Vec<i32>) -> Result<(), String> {
    partitions.sort_unstable();
    if partitions == (0..PARTITIONS).collect::<Vec<_>>() {
        Ok(())
    } else {
        Err(format!("expected {PARTITIONS} partitions with a leader, got {partitions:?}"))
    }
}

/// Two sittings of a group meet in any order of partitions, but each partition keeps its own order.
fn in_offset_order(got: &[Got]) -> Vec<Got> {
    let mut all = got.to_vec();
    all.sort_by_key(|one| one.offset);
    all
}

/// Those of a partition's expectations that belong to the last records produced.
fn last(all: &[Expected], records: &[Record]) -> Vec<Expected> {
    all.iter().filter(|one| records.contains(&one.record)).cloned().collect()
}

/// Every client produces with every codec it has; every client reads all of it.
pub(crate) fn cross(clients: &[Client], seed: Seed) -> Result<Vec<String>, String> {
    let mut broker = Broker::start_with(Target::from_env(), 2, &[])?;
    let done = cross_steps(clients, seed, &mut broker);
    done.map_err(|reason| format!("{reason}\n\nthe broker's last lines:\n{}", broker.log_tail()))
}

fn cross_steps(clients: &[Client], seed: Seed, broker: &mut Broker) -> Result<Vec<String>, String> {
    let mut contents = Contents::new();
    let topics: Vec<String> = clients.iter().map(|client| format!("from-{}", client.family.name)).collect();
    for (client, topic) in clients.iter().zip(&topics) {
        let name = client.family.name;
        let bootstrap = broker.bootstrap();
        client.create(&bootstrap, std::slice::from_ref(topic)).map_err(|reason| format!("{name} creates: {reason}"))?;
        for codec in client.family.able.codecs {
            let records = records::shapes(seed, &format!("{name} {codec}"), &client.family.able, 5);
            let before = records::now_ms();
            let acks =
                client.produce(&bootstrap, topic, codec, &records).map_err(|reason| format!("{name} produces with {codec}: {reason}"))?;
            place(&mut contents, topic, &records, &acks, (before - 1, records::now_ms() + 1))
                .map_err(|reason| format!("{name} produces with {codec}: {reason}"))?;
        }
    }
    let mut log = Vec::new();
    let readers: Vec<&Client> = clients.iter().filter(|client| client.family.able.reads_all).collect();
    for (at, client) in readers.iter().enumerate() {
        if at == readers.len() / 2 {
            // The second half of the readers reads from a restarted broker with another number of shards.
            broker.stop()?;
            broker.start_again(1)?;
        }
        let name = client.family.name;
        let got = client
            .consume(&broker.bootstrap(), &topics, records::count(&contents))
            .map_err(|reason| format!("{name} reads what all wrote: {reason}"))?;
        records::compare_all(&contents, &got).map_err(|reason| format!("{name} reads what all wrote: {reason}"))?;
        log.push(format!("{name} reads {} records of {} clients", got.len(), clients.len()));
    }
    broker.stop()?;
    Ok(log)
}
