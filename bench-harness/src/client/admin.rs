//! `Admin`: set-up and tear-down over one connection that is waited for and can be interrupted: versions, metadata, topics, offsets, producer ids.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use coreline_wire::{ApiKey, ErrorCode, TopicId};
use kafka_protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, CreateTopicsRequest, DeleteTopicsRequest, FindCoordinatorRequest, InitProducerIdRequest,
    ListOffsetsRequest, MetadataRequest, RequestHeader, TopicName,
    create_topics_request::{CreatableTopic, CreatableTopicConfig},
    list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic},
    metadata_request::MetadataRequestTopic,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use socket2::{Domain, Protocol, Socket, Type};

use super::CLIENT_ID;
use super::topology::{Node, TopicRef, Topology};
use super::versions::Versions;
use crate::interrupt::{self, Flag, LOOK};

/// Longest wait for an answer.
const ANSWER_WAIT: Duration = Duration::from_secs(60);
/// Longest wait for the answer to the greeting: a server says which versions it speaks, or it is no Kafka listener.
const GREETING_WAIT: Duration = Duration::from_secs(10);
/// Longest wait for a connection.
const CONNECT_WAIT: Duration = Duration::from_secs(5);
/// Largest answer believed.
const FRAME_BYTES_MAX: usize = 64 << 20;
/// First size of the buffer for an answer.
const ANSWER_BYTES_FIRST: usize = 16 << 10;
/// Partitions created by one request; a topic is never split.
const PARTITIONS_PER_REQUEST: u32 = 2_000;

/// A connection that is waited for, as long as nobody interrupts it.
#[derive(Debug)]
pub struct Admin {
    stream: TcpStream,
    versions: Versions,
    correlation: i32,
    flag: Flag,
    /// Longest wait for an answer.
    patience: Duration,
}

/// Longest waits of an [`Admin`].
#[derive(Clone, Copy, Debug)]
struct Waits {
    connect: Duration,
    greeting: Duration,
    answer: Duration,
}

/// Finds the address of `HOST:PORT`. A name is looked up on another thread: that has no end of its own.
pub fn resolve(address: &str, flag: &AtomicBool) -> io::Result<SocketAddr> {
    if let Ok(address) = address.parse() {
        return Ok(address);
    }
    let name = address.to_string();
    let found = interrupt::on_thread(flag, Duration::ZERO, move || name.to_socket_addrs().map(|mut all| all.next()));
    found.ok_or_else(interrupt::as_io)??.ok_or_else(|| io::Error::other("no address"))
}

/// Connects, looking at the flag meanwhile.
fn connect(address: SocketAddr, flag: &AtomicBool, wait: Duration) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?;
    socket.set_tcp_nodelay(true)?;
    match socket.connect(&address.into()) {
        Err(e) if e.raw_os_error() != Some(nix::errno::Errno::EINPROGRESS as i32) => return Err(e),
        _ => {}
    }
    let stream: TcpStream = socket.into();
    let until = Instant::now() + wait;
    loop {
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
        match stream.peer_addr() {
            Ok(_) => break,
            Err(e) if e.kind() != ErrorKind::NotConnected => return Err(e),
            Err(_) if Instant::now() > until => return Err(ErrorKind::TimedOut.into()),
            Err(_) => interrupt::pause(Duration::from_millis(1), flag).map_err(|_| interrupt::as_io())?,
        }
    }
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(LOOK))?;
    stream.set_write_timeout(Some(LOOK))?;
    Ok(stream)
}

fn bad(what: impl Into<String>) -> io::Error {
    io::Error::other(what.into())
}

fn check(what: &str, code: i16) -> io::Result<()> {
    if code == 0 { Ok(()) } else { Err(bad(format!("{what}: {}", ErrorCode::from_code(code).name()))) }
}

impl Admin {
    /// Connects and asks for versions. Raising the flag ends this and every later wait with an error.
    pub fn connect(address: SocketAddr, flag: &Flag) -> io::Result<Admin> {
        Admin::connect_with(address, flag, Waits { connect: CONNECT_WAIT, greeting: GREETING_WAIT, answer: ANSWER_WAIT })
    }

    /// The same with one bound on each wait, for a moment when a flag was raised already.
    pub fn connect_within(address: SocketAddr, wait: Duration) -> io::Result<Admin> {
        Admin::connect_with(address, &Arc::default(), Waits { connect: wait, greeting: wait, answer: wait })
    }

    fn connect_with(address: SocketAddr, flag: &Flag, waits: Waits) -> io::Result<Admin> {
        let stream = connect(address, flag, waits.connect)?;
        let mut admin = Admin { stream, versions: Versions::default(), correlation: 0, flag: Arc::clone(flag), patience: waits.greeting };
        let answer: ApiVersionsResponse = admin.call_at(0, &ApiVersionsRequest::default()).map_err(|error| match error.kind() {
            ErrorKind::TimedOut => {
                bad(format!("no answer to ApiVersions within {} s: is this a Kafka listener?", waits.greeting.as_secs_f64()))
            }
            ErrorKind::UnexpectedEof => bad("the connection was closed without an answer to ApiVersions: is this a Kafka listener?"),
            _ => error,
        })?;
        admin.patience = waits.answer;
        check("ApiVersions", answer.error_code)?;
        let ranges: Vec<_> = answer.api_keys.iter().map(|k| (k.api_key, k.min_version, k.max_version)).collect();
        admin.versions = Versions::choose(&ranges);
        Ok(admin)
    }

    /// The versions that are spoken.
    pub fn versions(&self) -> &Versions {
        &self.versions
    }

    /// The version of an API, or an error that names it.
    pub fn version(&self, api: ApiKey) -> io::Result<i16> {
        self.versions.of(api).ok_or_else(|| bad(format!("no common version of {}", api.name())))
    }

    fn call<R: Request>(&mut self, api: ApiKey, request: &R) -> io::Result<R::Response> {
        self.call_at(self.version(api)?, request)
    }

    fn call_at<R: Request>(&mut self, version: i16, request: &R) -> io::Result<R::Response> {
        self.correlation += 1;
        let frame = encode(R::KEY, version, self.correlation, request)?;
        self.write(&frame)?;
        let mut body = self.read_frame()?;
        let header = kafka_protocol::messages::ResponseHeader::decode(&mut body, R::Response::header_version(version))
            .map_err(|e| bad(e.to_string()))?;
        if header.correlation_id != self.correlation {
            return Err(bad("an answer to another request"));
        }
        R::Response::decode(&mut body, version).map_err(|e| bad(format!("answer to API {}: {e}", R::KEY)))
    }

    /// Sends a whole request and returns the answer with its header.
    pub fn exchange(&mut self, request: &[u8]) -> io::Result<Bytes> {
        self.write(request)?;
        self.read_frame()
    }

    /// Whether a wait may go on: a look at the flag, and at the time.
    fn go_on(&self, until: Instant) -> io::Result<()> {
        if interrupt::is_raised(&self.flag) {
            return Err(interrupt::as_io());
        }
        if Instant::now() > until { Err(ErrorKind::TimedOut.into()) } else { Ok(()) }
    }

    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let until = Instant::now() + self.patience;
        while !bytes.is_empty() {
            match self.stream.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(n) => bytes = &bytes[n..],
                Err(e) if is_pause(&e) => self.go_on(until)?,
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn fill(&mut self, mut buffer: &mut [u8], until: Instant) -> io::Result<()> {
        while !buffer.is_empty() {
            match self.stream.read(buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(n) => buffer = &mut buffer[n..],
                Err(e) if is_pause(&e) => self.go_on(until)?,
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn read_frame(&mut self) -> io::Result<Bytes> {
        let until = Instant::now() + self.patience;
        let mut prefix = [0; 4];
        self.fill(&mut prefix, until)?;
        let size = usize::try_from(i32::from_be_bytes(prefix)).ok().filter(|s| *s <= FRAME_BYTES_MAX);
        let size = size.ok_or_else(|| bad("an answer of senseless size: is this a Kafka listener?"))?;
        let mut body = Vec::new();
        // Grows with what arrives, not by what was promised.
        while body.len() < size {
            let at = body.len();
            body.resize(size.min(at + at.max(ANSWER_BYTES_FIRST)), 0);
            self.fill(&mut body[at..], until)?;
        }
        Ok(Bytes::from(body))
    }

    /// Creates topics named `names`, all alike, and waits until every partition has a leader.
    pub fn create_topics(
        &mut self,
        names: &[String],
        partitions: u32,
        replication: i16,
        config: &BTreeMap<String, String>,
    ) -> io::Result<()> {
        let text = |s: &str| StrBytes::from_string(s.to_string());
        let per_request = (PARTITIONS_PER_REQUEST / partitions.max(1)).max(1) as usize;
        for some in names.chunks(per_request) {
            let configs: Vec<_> =
                config.iter().map(|(k, v)| CreatableTopicConfig::default().with_name(text(k)).with_value(Some(text(v)))).collect();
            let topics = some.iter().map(|name| {
                CreatableTopic::default()
                    .with_name(TopicName(text(name)))
                    .with_num_partitions(partitions as i32)
                    // Below v4 there is no default to ask for.
                    .with_replication_factor(if replication < 0 && self.versions.of(ApiKey::CreateTopics) < Some(4) {
                        1
                    } else {
                        replication
                    })
                    .with_configs(configs.clone())
            });
            let request = CreateTopicsRequest::default().with_timeout_ms(60_000).with_topics(topics.collect());
            for topic in self.call(ApiKey::CreateTopics, &request)?.topics {
                let why = topic.error_message.as_ref().map_or(String::new(), |m| format!(" ({m})"));
                check(&format!("creating topic {}{why}", topic.name.as_str()), topic.error_code)?;
            }
        }
        Ok(())
    }

    /// Deletes topics; one that is not there is no error.
    pub fn delete_topics(&mut self, names: &[String]) -> io::Result<()> {
        for some in names.chunks(500) {
            let names = some.iter().map(|n| TopicName(StrBytes::from_string(n.clone()))).collect();
            let request = DeleteTopicsRequest::default().with_timeout_ms(60_000).with_topic_names(names);
            for topic in self.call(ApiKey::DeleteTopics, &request)?.responses {
                if topic.error_code != ErrorCode::UnknownTopicOrPartition.code() {
                    check("deleting a topic", topic.error_code)?;
                }
            }
        }
        Ok(())
    }

    /// Reads who leads what; `before` keeps the indices of nodes. `None` while a partition has no leader yet.
    pub fn topology(&mut self, topics: &[String], partitions: u32, before: &Topology) -> io::Result<Option<Topology>> {
        let mut next = Topology {
            nodes: before.nodes.clone(),
            topics: topics.to_vec(),
            ids: vec![TopicId::ZERO; topics.len()],
            partitions,
            leaders: vec![None; topics.len() * partitions as usize],
            versions: self.versions.clone(),
        };
        let ask = |n: &String| MetadataRequestTopic::default().with_name(Some(TopicName(StrBytes::from_string(n.clone()))));
        let request = MetadataRequest::default().with_topics(Some(topics.iter().map(ask).collect())).with_allow_auto_topic_creation(false);
        let answer = self.call(ApiKey::Metadata, &request)?;
        for broker in &answer.brokers {
            let address = resolve(&format!("{}:{}", broker.host.as_str(), broker.port), &self.flag)
                .map_err(|e| bad(format!("broker {} advertises {}:{}: {e}", *broker.node_id, broker.host.as_str(), broker.port)))?;
            match next.nodes.iter_mut().find(|n| n.id == *broker.node_id) {
                Some(node) => node.address = address,
                None => next.nodes.push(Node { id: *broker.node_id, address }),
            }
        }
        for topic in &answer.topics {
            let Some(at) = topic.name.as_ref().and_then(|n| topics.iter().position(|t| t == n.as_str())) else { continue };
            next.ids[at] = TopicId(*topic.topic_id.as_bytes());
            for p in topic.partitions.iter().filter(|p| (0..partitions as i32).contains(&p.partition_index)) {
                next.leaders[at * partitions as usize + p.partition_index as usize] =
                    next.nodes.iter().position(|n| n.id == *p.leader_id).map(|i| i as u16);
            }
        }
        if next.ids.iter().any(TopicId::is_zero) {
            next.versions = next.versions.by_name();
        }
        Ok(next.leaders.iter().all(Option::is_some).then_some(next))
    }

    /// The address of a group's coordinator.
    pub fn coordinator(&mut self, group: &str) -> io::Result<SocketAddr> {
        let request = FindCoordinatorRequest::default().with_key(StrBytes::from_string(group.to_string()));
        let answer = self.call(ApiKey::FindCoordinator, &request)?;
        check("finding the coordinator", answer.error_code)?;
        resolve(&format!("{}:{}", answer.host.as_str(), answer.port), &self.flag)
    }

    /// Offsets of all partitions led by `node`: -2 the first, -1 the end. Others stay as they are.
    pub fn offsets(&mut self, topology: &Topology, node: u16, which: i64, out: &mut [i64]) -> io::Result<()> {
        let mut topics = Vec::new();
        for (i, name) in topology.topics.iter().enumerate() {
            let first = i as u32 * topology.partitions;
            let partitions: Vec<_> = (0..topology.partitions)
                .filter(|p| topology.leader(first + p) == Some(node))
                .map(|p| ListOffsetsPartition::default().with_partition_index(p as i32).with_current_leader_epoch(-1).with_timestamp(which))
                .collect();
            if !partitions.is_empty() {
                topics.push(
                    ListOffsetsTopic::default().with_name(TopicName(StrBytes::from_string(name.clone()))).with_partitions(partitions),
                );
            }
        }
        let request = ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(topics);
        for topic in self.call(ApiKey::ListOffsets, &request)?.topics {
            for p in topic.partitions {
                check("reading offsets", p.error_code)?;
                if let Some(number) = topology.number(TopicRef::Name(topic.name.as_bytes()), p.partition_index, 0) {
                    out[number as usize] = p.offset;
                }
            }
        }
        Ok(())
    }

    /// A new producer id with its epoch. A server that was started just now may ask to be asked again.
    pub fn producer_id(&mut self) -> io::Result<(i64, i16)> {
        let request = InitProducerIdRequest::default().with_transactional_id(None).with_transaction_timeout_ms(60_000);
        let deadline = Instant::now() + ANSWER_WAIT;
        loop {
            let answer = self.call(ApiKey::InitProducerId, &request)?;
            if Instant::now() > deadline || !ErrorCode::from_code(answer.error_code).is_retriable() {
                check("getting a producer id", answer.error_code)?;
                return Ok((*answer.producer_id, answer.producer_epoch));
            }
            interrupt::pause(Duration::from_millis(20), &self.flag).map_err(|_| interrupt::as_io())?;
        }
    }
}

/// Whether an error only says that nothing happened for a moment.
fn is_pause(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

/// A whole request: size, header, body.
pub fn encode<R: Encodable + HeaderVersion>(key: i16, version: i16, correlation: i32, request: &R) -> io::Result<BytesMut> {
    let mut frame = BytesMut::from(&[0; 4][..]);
    let header = RequestHeader::default()
        .with_request_api_key(key)
        .with_request_api_version(version)
        .with_correlation_id(correlation)
        .with_client_id(Some(StrBytes::from_static_str(CLIENT_ID)));
    header.encode(&mut frame, R::header_version(version)).map_err(|e| bad(e.to_string()))?;
    request.encode(&mut frame, version).map_err(|e| bad(format!("request of API {key} v{version}: {e}")))?;
    let size = (frame.len() - 4) as i32;
    frame[..4].copy_from_slice(&size.to_be_bytes());
    Ok(frame)
}
