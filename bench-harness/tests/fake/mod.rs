//! A small Kafka-protocol server in memory for the load tester's tests, one thread per connection, with faults on demand.
#![allow(dead_code)] // Each test that includes it uses a part of it.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use coreline_wire::header::{decode_request, encode_response_header};
use coreline_wire::message::fetch::{FetchPartitionResponse, FetchTopicResponse};
use coreline_wire::message::produce::{ProducePartitionResponse, ProduceTopicResponse};
use coreline_wire::message::{Chunk, FetchRequest, FetchResponse, ProduceRequest, ProduceResponse};
use coreline_wire::record::BatchHeader;
use coreline_wire::record::batch::patch_base_offset;
use coreline_wire::{ApiKey, ErrorCode, TopicId};
use kafka_protocol::messages as kp;
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};

/// What the server does wrong, counted in batches it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// Acknowledges this batch and does not keep it.
    Lose(u64),
    /// Keeps this batch twice.
    Double(u64),
    /// Keeps this batch behind the next one of its partition.
    Swap(u64),
    /// Changes a byte of this batch.
    Damage(u64),
    /// Answers every request from this batch on never again.
    Mute(u64),
    /// Keeps this batch and closes the connection instead of answering.
    Hang(u64),
    /// Answers nothing any more from this request of this API on.
    Silent(ApiKey, u64),
}

#[derive(Default)]
struct Log {
    batches: Vec<(i64, Bytes)>,
    next: i64,
    /// Last sequence number of each producer id.
    sequences: BTreeMap<i64, i32>,
    held: Option<Bytes>,
}

struct State {
    topics: BTreeMap<String, Vec<Log>>,
    seen: u64,
    next_id: i64,
    fault: Fault,
    mute: bool,
    /// Requests of the API that it falls silent at.
    asked: u64,
    open: bool,
    /// Highest version that is told of Produce, Fetch and Metadata.
    most: [i16; 3],
    connections: Vec<TcpStream>,
}

/// The server.
#[derive(Clone)]
pub(crate) struct Fake {
    state: Arc<(Mutex<State>, Condvar)>,
    port: u16,
}

impl Fake {
    /// Starts it on a free port.
    pub(crate) fn start(fault: Fault) -> Fake {
        Fake::speaking(fault, [i16::MAX; 3])
    }

    /// The same with highest versions of Produce, Fetch and Metadata.
    pub(crate) fn speaking(fault: Fault, most: [i16; 3]) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let state =
            State { topics: BTreeMap::new(), seen: 0, next_id: 1, fault, mute: false, asked: 0, open: true, most, connections: Vec::new() };
        let fake = Fake { state: Arc::new((Mutex::new(state), Condvar::new())), port };
        let server = fake.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut state = server.lock();
                if !state.open {
                    continue;
                }
                state.connections.extend(stream.try_clone());
                drop(state);
                let server = server.clone();
                std::thread::spawn(move || server.serve(stream));
            }
        });
        fake
    }

    /// `HOST:PORT`.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Closes all connections and takes no new ones, until `up`.
    pub(crate) fn down(&self) {
        let mut state = self.lock();
        state.open = false;
        for connection in state.connections.drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    /// Serves again what it kept.
    pub(crate) fn up(&self) {
        self.lock().open = true;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, mut stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        while let Ok(frame) = read_frame(&mut stream) {
            match self.answer(&frame) {
                Some(answer) => {
                    let mut out = Vec::with_capacity(answer.len() + 4);
                    out.extend_from_slice(&(answer.len() as i32).to_be_bytes());
                    out.extend_from_slice(&answer);
                    if stream.write_all(&out).is_err() {
                        return;
                    }
                }
                None => {
                    if !self.lock().mute {
                        let _ = stream.shutdown(Shutdown::Both);
                        return;
                    }
                }
            }
        }
    }

    /// Whether a request of this API is not answered, nor any other from then on.
    fn falls_silent(&self, api: ApiKey) -> bool {
        let mut state = self.lock();
        if let Fault::Silent(at, number) = state.fault
            && at == api
        {
            state.asked += 1;
            state.mute |= state.asked >= number;
            self.state.1.notify_all();
        }
        state.mute
    }

    /// Waits until it has fallen silent; panics when that does not happen.
    #[allow(dead_code)] // Not every test that includes this file asks.
    pub(crate) fn wait_until_silent(&self) {
        let patience = Duration::from_secs(60);
        let waited = self.state.1.wait_timeout_while(self.lock(), patience, |state| !state.mute).unwrap_or_else(PoisonError::into_inner);
        assert!(waited.0.mute, "it was never asked: {:?}", waited.0.fault);
    }

    /// The answer with its header; `None` when there is none.
    fn answer(&self, frame: &Bytes) -> Option<Bytes> {
        let (header, body) = decode_request(frame).expect("a sound header");
        let api = ApiKey::from_code(header.api_key).expect("a known API");
        let v = header.api_version;
        let mut out = BytesMut::new();
        encode_response_header(&mut out, api, v, header.correlation_id);
        if self.falls_silent(api) {
            return None;
        }
        match api {
            ApiKey::ApiVersions => {
                let most = self.lock().most;
                let key = |s: &coreline_wire::ApiSpec| {
                    let most = match s.key {
                        ApiKey::Produce => most[0],
                        ApiKey::Fetch => most[1],
                        ApiKey::Metadata => most[2],
                        _ => i16::MAX,
                    };
                    kp::api_versions_response::ApiVersion::default()
                        .with_api_key(s.key.code())
                        .with_min_version(s.min)
                        .with_max_version(s.max.min(most))
                };
                let keys = coreline_wire::api::ALL.iter().map(key).collect();
                put(&mut out, &kp::ApiVersionsResponse::default().with_api_keys(keys), v);
            }
            ApiKey::Metadata => put(&mut out, &self.metadata(&read(&body, v)), v),
            ApiKey::CreateTopics => put(&mut out, &self.create(&read(&body, v)), v),
            ApiKey::DeleteTopics => {
                let request: kp::DeleteTopicsRequest = read(&body, v);
                request.topic_names.iter().for_each(|t| drop(self.lock().topics.remove(t.as_str())));
                put(&mut out, &kp::DeleteTopicsResponse::default(), v);
            }
            ApiKey::ListOffsets => put(&mut out, &self.offsets(&read(&body, v)), v),
            ApiKey::InitProducerId => {
                let mut state = self.lock();
                state.next_id += 1;
                put(&mut out, &kp::InitProducerIdResponse::default().with_producer_id(state.next_id.into()), v);
            }
            ApiKey::Produce => self.produce(&ProduceRequest::decode(&body, v).expect("sound"))?.encode(v, &mut out),
            ApiKey::Fetch => {
                for chunk in self.fetch(&FetchRequest::decode(&body, v).expect("sound")).encode(v) {
                    match chunk {
                        Chunk::Bytes(b) | Chunk::Span(b) => out.extend_from_slice(&b),
                    }
                }
            }
            other => panic!("{other:?} is not served"),
        }
        Some(out.freeze())
    }

    fn metadata(&self, request: &kp::MetadataRequest) -> kp::MetadataResponse {
        use kp::metadata_response::{MetadataResponseBroker, MetadataResponsePartition};
        let broker = MetadataResponseBroker::default()
            .with_node_id(1.into())
            .with_host(StrBytes::from_static_str("127.0.0.1"))
            .with_port(i32::from(self.port));
        let state = self.lock();
        let topics = request.topics.iter().flatten().flat_map(|t| &t.name).map(|name| {
            let partitions = state.topics.get(name.as_str()).map_or(0, Vec::len) as i32;
            let partition = |i| MetadataResponsePartition::default().with_partition_index(i).with_leader_id(1.into());
            let id = id_of(name.as_str()).0.to_vec().try_into().expect("16 bytes");
            let id = kp::metadata_response::MetadataResponseTopic::default().with_topic_id(id);
            id.with_name(Some(name.clone())).with_partitions((0..partitions).map(partition).collect())
        });
        kp::MetadataResponse::default().with_brokers(vec![broker]).with_topics(topics.collect())
    }

    fn create(&self, request: &kp::CreateTopicsRequest) -> kp::CreateTopicsResponse {
        let mut state = self.lock();
        for topic in &request.topics {
            let logs = (0..topic.num_partitions).map(|_| Log::default()).collect();
            state.topics.insert(topic.name.to_string(), logs);
        }
        let made = |t: &kp::create_topics_request::CreatableTopic| {
            kp::create_topics_response::CreatableTopicResult::default().with_name(t.name.clone())
        };
        kp::CreateTopicsResponse::default().with_topics(request.topics.iter().map(made).collect())
    }

    fn offsets(&self, request: &kp::ListOffsetsRequest) -> kp::ListOffsetsResponse {
        use kp::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
        let state = self.lock();
        let topics = request.topics.iter().map(|t| {
            let partition = |p: &kp::list_offsets_request::ListOffsetsPartition| {
                let log = &state.topics[t.name.as_str()][p.partition_index as usize];
                let offset = if p.timestamp == -1 { log.next } else { 0 };
                ListOffsetsPartitionResponse::default().with_partition_index(p.partition_index).with_offset(offset)
            };
            ListOffsetsTopicResponse::default().with_name(t.name.clone()).with_partitions(t.partitions.iter().map(partition).collect())
        });
        kp::ListOffsetsResponse::default().with_topics(topics.collect())
    }

    fn produce(&self, request: &ProduceRequest) -> Option<ProduceResponse> {
        let mut state = self.lock();
        let mut answer = Some(());
        let mut topics = Vec::new();
        for topic in &request.topics {
            let name = state.name(&topic.name, topic.topic_id);
            let mut partitions = Vec::new();
            for p in &topic.partitions {
                let bytes = p.records.clone().expect("records");
                state.seen += 1;
                let (n, fault) = (state.seen, state.fault);
                match fault {
                    Fault::Mute(at) if n >= at => {
                        state.mute = true;
                        return None;
                    }
                    Fault::Hang(at) if n == at => answer = None,
                    _ => {}
                }
                let log = state.topics.get_mut(&name).and_then(|t| t.get_mut(p.index as usize));
                let error_code = log.map_or(ErrorCode::UnknownTopicOrPartition, |log| log.append(bytes, n, fault));
                partitions.push(ProducePartitionResponse { index: p.index, error_code, ..Default::default() });
            }
            topics.push(ProduceTopicResponse { name: topic.name.clone(), topic_id: topic.topic_id, partitions });
        }
        self.state.1.notify_all();
        answer.map(|()| ProduceResponse { topics, ..Default::default() })
    }

    fn fetch(&self, request: &FetchRequest) -> FetchResponse<Bytes> {
        let until = Instant::now() + Duration::from_millis(request.max_wait_ms.max(0) as u64);
        let mut state = self.lock();
        loop {
            let mut topics = Vec::new();
            let mut bytes = 0;
            for topic in &request.topics {
                let name = state.name(&topic.name, topic.topic_id);
                let mut partitions = Vec::new();
                for p in &topic.partitions {
                    let log = state.topics.get(&name).and_then(|t| t.get(p.partition as usize));
                    let from = log.map_or(0, |l| l.batches.partition_point(|(base, b)| base + records_of(b) <= p.fetch_offset));
                    let some = log.map_or(Vec::new(), |l| l.batches[from..].iter().take(50).map(|(_, b)| b.clone()).collect());
                    bytes += some.iter().map(Bytes::len).sum::<usize>();
                    partitions.push(FetchPartitionResponse { partition: p.partition, records: some, ..Default::default() });
                }
                topics.push(FetchTopicResponse { name: topic.name.clone(), topic_id: topic.topic_id, partitions });
            }
            let left = until.saturating_duration_since(Instant::now());
            if bytes > 0 || left.is_zero() || !state.open {
                return FetchResponse { topics, ..Default::default() };
            }
            state = self.state.1.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl State {
    /// The name of a topic that a request names or gives the id of.
    fn name(&self, name: &str, id: TopicId) -> String {
        let by_id = || self.topics.keys().find(|known| id_of(known) == id).cloned().unwrap_or_default();
        if id.is_zero() { name.to_string() } else { by_id() }
    }
}

/// The id of a topic: something of its name.
fn id_of(name: &str) -> TopicId {
    let mut id = [1u8; 16];
    name.bytes().enumerate().for_each(|(i, b)| id[i % 16] = id[i % 16].wrapping_mul(31).wrapping_add(b));
    TopicId(id)
}

impl Log {
    fn append(&mut self, bytes: Bytes, n: u64, fault: Fault) -> ErrorCode {
        let header = BatchHeader::parse(&bytes).expect("a batch");
        if header.producer_id >= 0 {
            match self.sequences.get(&header.producer_id) {
                Some(last) if header.base_sequence <= *last => return ErrorCode::DuplicateSequenceNumber,
                Some(last) if header.base_sequence != last + 1 => return ErrorCode::OutOfOrderSequenceNumber,
                None if header.base_sequence != 0 => return ErrorCode::OutOfOrderSequenceNumber,
                _ => drop(self.sequences.insert(header.producer_id, header.last_sequence())),
            }
        }
        match fault {
            Fault::Lose(at) if n == at => {}
            Fault::Double(at) if n == at => {
                self.keep(bytes.clone());
                self.keep(bytes);
            }
            Fault::Swap(at) if n == at => self.held = Some(bytes),
            Fault::Damage(at) if n == at => {
                let mut bad = BytesMut::from(&bytes[..]);
                let last = bad.len() - 2;
                bad[last] ^= 1;
                self.keep(bad.freeze());
            }
            _ => {
                self.keep(bytes);
                if let Some(held) = self.held.take() {
                    self.keep(held);
                }
            }
        }
        ErrorCode::None
    }

    fn keep(&mut self, bytes: Bytes) {
        let mut bytes = BytesMut::from(&bytes[..]);
        patch_base_offset(&mut bytes, self.next);
        let bytes = bytes.freeze();
        let count = records_of(&bytes);
        self.batches.push((self.next, bytes));
        self.next += count;
    }
}

fn records_of(batch: &Bytes) -> i64 {
    BatchHeader::parse(batch).map_or(1, |h| i64::from(h.record_count))
}

fn read<T: Decodable>(body: &Bytes, version: i16) -> T {
    let mut body = body.clone();
    let read = T::decode(&mut body, version).expect("a sound body");
    assert!(!body.has_remaining(), "bytes left over");
    read
}

fn put(out: &mut BytesMut, message: &impl Encodable, version: i16) {
    message.encode(out, version).expect("encodes");
}

fn read_frame(stream: &mut TcpStream) -> io::Result<Bytes> {
    let mut size = [0; 4];
    stream.read_exact(&mut size)?;
    let mut frame = vec![0; i32::from_be_bytes(size) as usize];
    stream.read_exact(&mut frame)?;
    Ok(Bytes::from(frame))
}
