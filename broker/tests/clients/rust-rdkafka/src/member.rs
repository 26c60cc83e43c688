//! A member of a group that follows commands on its stdin, an observer of committed offsets, and a group's offsets told and set.

use crate::{Args, Failure, partitions, print};
use rdkafka::bindings;
use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::BufRead;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

type Place = (String, i32);

/// The place behind the last record read, of each partition that is owned.
#[derive(Default)]
struct Owned(Mutex<BTreeMap<Place, Option<i64>>>);

impl ClientContext for Owned {}

impl ConsumerContext for Owned {
    fn pre_rebalance(&self, _consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Revoke(list) = rebalance {
            let gone = places(list);
            print(&json!({"event": "revoked", "at": now(), "partitions": gone}));
            let mut owned = self.0.lock().expect("nobody panics with it");
            owned.retain(|place, _| !gone.contains(place));
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(list) => {
                let gained = places(list);
                let mut owned = self.0.lock().expect("nobody panics with it");
                owned.extend(gained.iter().map(|place| (place.clone(), None)));
                let all: Vec<&Place> = owned.keys().collect();
                print(&json!({"event": "assigned", "at": now(), "generation": generation(consumer), "partitions": gained, "owned": all}));
            }
            Rebalance::Revoke(_) => {}
            Rebalance::Error(error) => print(&json!({"event": "error", "reason": error.to_string()})),
        }
    }
}

/// `member TOPIC --group G [--protocol classic|consumer] [--assignor A] [--instance I] [--session MS] [--heartbeat MS]`
pub(crate) fn member(args: &Args) -> Result<(), Failure> {
    let mut config = group_config(args);
    let protocol = args.option("protocol", "classic");
    config.set("group.protocol", protocol);
    if protocol == "classic" {
        config.set("session.timeout.ms", args.option("session", "6000")).set("heartbeat.interval.ms", args.option("heartbeat", "500"));
        config.set("partition.assignment.strategy", args.option("assignor", "range"));
    } else if let Some(assignor) = args.options.get("assignor") {
        config.set("group.remote.assignor", assignor);
    }
    if let Some(instance) = args.options.get("instance") {
        config.set("group.instance.id", instance);
    }
    let consumer: BaseConsumer<Owned> = config.create_with_context(Owned::default())?;
    let topics = args.topics()?;
    consumer.subscribe(&topics.iter().map(String::as_str).collect::<Vec<_>>())?;
    let commands = commands();
    loop {
        let mut next = consumer.poll(Duration::from_millis(50));
        let mut batch: BTreeMap<Place, Vec<i64>> = BTreeMap::new();
        let mut read = 0;
        while let Some(message) = next {
            match message {
                Ok(message) => {
                    let place = (message.topic().to_owned(), message.partition());
                    consumer.context().0.lock().expect("nobody panics with it").insert(place.clone(), Some(message.offset() + 1));
                    batch.entry(place).or_default().push(message.offset());
                }
                Err(error) if error.rdkafka_error_code().is_some_and(|code| code as i32 == bindings::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__FATAL as i32) => {
                    return Err(error.into());
                }
                Err(error) => eprintln!("poll: {error}"),
            }
            read += 1;
            next = if read < 200 { consumer.poll(Duration::ZERO) } else { None };
        }
        for ((topic, partition), offsets) in batch {
            print(&json!({"event": "records", "generation": generation(&consumer), "topic": topic, "partition": partition, "offsets": offsets}));
        }
        match commands.try_recv().as_deref() {
            Ok("commit") => commit(&consumer),
            Ok("leave") | Err(TryRecvError::Disconnected) => break,
            Ok(other) => return Err(format!("unknown command {other}").into()),
            Err(TryRecvError::Empty) => {}
        }
    }
    consumer.unsubscribe();
    // A partition list that is revoked by leaving comes as an event as well.
    consumer.poll(Duration::from_millis(100));
    drop(consumer);
    print(&json!({"event": "left", "at": now()}));
    Ok(())
}

fn commit(consumer: &BaseConsumer<Owned>) {
    let asked = now();
    let owned: Vec<(Place, i64)> = {
        let owned = consumer.context().0.lock().expect("nobody panics with it");
        owned.iter().filter_map(|(place, next)| Some((place.clone(), (*next)?))).collect()
    };
    let mut list = TopicPartitionList::new();
    for ((topic, partition), offset) in &owned {
        list.add_partition_offset(topic, *partition, Offset::Offset(*offset)).expect("an offset");
    }
    let offsets: Vec<Value> = owned.iter().map(|((topic, partition), offset)| json!([topic, partition, offset])).collect();
    let done = if owned.is_empty() { Ok(()) } else { consumer.commit(&list, CommitMode::Sync) };
    match done {
        Ok(()) => print(&json!({"event": "committed", "asked": asked, "at": now(), "offsets": offsets})),
        Err(error) => print(&json!({"event": "commit-failed", "offsets": offsets, "reason": error.to_string()})),
    }
}

/// `watch TOPIC --group G [--every MS]`: the committed offsets again and again, until stdin ends.
pub(crate) fn watch(args: &Args) -> Result<(), Failure> {
    let consumer: BaseConsumer = group_config(args).create()?;
    let every = Duration::from_millis(args.option("every", "100").parse()?);
    let topic = args.word(1)?;
    let all = partitions(&consumer, topic, args.timeout())?;
    let commands = commands();
    while let Err(TryRecvError::Empty) = commands.try_recv() {
        let asked = now();
        match committed(&consumer, topic, &all, Duration::from_secs(5)) {
            Ok(found) => {
                let offsets: Vec<Value> = found.iter().map(|(partition, offset)| json!([topic, partition, offset])).collect();
                print(&json!({"event": "observed", "asked": asked, "at": now(), "offsets": offsets}));
            }
            Err(error) => print(&json!({"event": "observe-failed", "reason": error.to_string()})),
        }
        std::thread::sleep(every);
    }
    Ok(())
}

/// `group-offsets TOPIC --group G`: committed offset, end and lag of each partition.
pub(crate) fn group_offsets(args: &Args) -> Result<(), Failure> {
    let consumer: BaseConsumer = group_config(args).create()?;
    let topic = args.word(1)?;
    let all = partitions(&consumer, topic, args.timeout())?;
    for (partition, committed) in committed(&consumer, topic, &all, args.timeout())? {
        let (_, end) = consumer.fetch_watermarks(topic, partition, args.timeout())?;
        print(&json!({"topic": topic, "partition": partition, "committed": committed, "end": end, "lag": end - committed.max(0)}));
    }
    Ok(())
}

/// `group-reset TOPIC --group G --to OFFSET`: commits as nobody's member.
pub(crate) fn group_reset(args: &Args) -> Result<(), Failure> {
    let consumer: BaseConsumer = group_config(args).create()?;
    let topic = args.word(1)?;
    let to: i64 = args.option("to", "").parse()?;
    let mut list = TopicPartitionList::new();
    for partition in partitions(&consumer, topic, args.timeout())? {
        list.add_partition_offset(topic, partition, Offset::Offset(to))?;
    }
    Ok(consumer.commit(&list, CommitMode::Sync)?)
}

fn committed(consumer: &BaseConsumer, topic: &str, all: &[i32], timeout: Duration) -> Result<Vec<(i32, i64)>, Failure> {
    let mut wanted = TopicPartitionList::new();
    all.iter().for_each(|partition| drop(wanted.add_partition(topic, *partition)));
    let list = consumer.committed_offsets(wanted, timeout)?;
    let offset = |element: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| match element.offset() {
        Offset::Offset(offset) => offset,
        _ => -1,
    };
    list.elements().iter().map(|element| element.error().map(|()| (element.partition(), offset(element)))).collect::<Result<_, _>>().map_err(Into::into)
}

fn group_config(args: &Args) -> ClientConfig {
    let mut config = args.config();
    config.set("group.id", args.option("group", "")).set("enable.auto.commit", "false").set("auto.offset.reset", "earliest");
    config.set("fetch.wait.max.ms", "200");
    config
}

/// The generation or member epoch: only the serialized form of the group's metadata tells it.
fn generation(consumer: &BaseConsumer<Owned>) -> i32 {
    const MAGIC: usize = b"CGMDv2:".len();
    let (mut bytes, mut length) = (std::ptr::null_mut(), 0usize);
    // SAFETY: the handle lives as long as the consumer; what the library hands out is freed by its own functions, each once, and the
    // bytes are read before that.
    unsafe {
        let metadata = bindings::rd_kafka_consumer_group_metadata(consumer.client().native_ptr());
        if metadata.is_null() {
            return -1;
        }
        let error = bindings::rd_kafka_consumer_group_metadata_write(metadata, &mut bytes, &mut length);
        bindings::rd_kafka_consumer_group_metadata_destroy(metadata);
        if !error.is_null() || length < MAGIC + 4 {
            return -1;
        }
        let read = std::slice::from_raw_parts(bytes.cast::<u8>(), length);
        let number = i32::from_ne_bytes(read[MAGIC..MAGIC + 4].try_into().expect("four bytes"));
        bindings::rd_kafka_mem_free(consumer.client().native_ptr(), bytes);
        number
    }
}

/// The lines of stdin.
fn commands() -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

fn places(list: &TopicPartitionList) -> Vec<Place> {
    list.elements().iter().map(|element| (element.topic().to_owned(), element.partition())).collect()
}

fn now() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis())
}
