//! A connection to the broker under comparison: sends requests, records the masked answers.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use coreline_wire::{api, header};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, CreateTopicsRequest, MetadataRequest, RequestHeader, ResponseHeader, TopicName,
    create_topics_request as ct, metadata_request as md,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Message, Request, StrBytes};
use uuid::Uuid;

use crate::common;

/// Every name that a run makes starts with this and the run's own letters, which are masked.
const PREFIX: &str = "zq";

/// No answer for so long is no answer.
const SILENCE: Duration = Duration::from_secs(10);

/// One case and what was answered.
pub struct Answer {
    /// Unique, starts with the API's name.
    pub case: String,
    /// Masked, one line. `None` when it could not be asked since the broker does not advertise the API.
    pub text: Option<String>,
}

/// Sends the cases and keeps the answers.
pub struct Session {
    addr: SocketAddr,
    stream: Option<TcpStream>,
    other: Option<TcpStream>,
    run: String,
    masks: Vec<(String, String)>,
    /// The other broker is being recorded.
    pub recording: bool,
    correlation_id: i32,
    /// How long the last answer took.
    pub took: Duration,
    /// In the order of the cases.
    pub answers: Vec<Answer>,
    /// The APIs and versions that the broker advertises, asked for with the first request.
    served: BTreeMap<i16, (i16, i16)>,
    /// Names of APIs, with versions, that were wanted but are not advertised.
    pub skipped: BTreeSet<String>,
    /// What was sent to our broker.
    pub frames: Vec<Vec<u8>>,
    /// The cases that are left could not be asked, since the API that they are about is not advertised.
    pub rest_skipped: bool,
}

/// The API's name in the protocol guide.
pub fn api_name(key: i16) -> String {
    ApiKey::try_from(key).map_or("API".to_string(), |key| format!("{key:?}"))
}

/// Every version of this request that the protocol crate writes.
pub fn all<R: Message>() -> std::ops::RangeInclusive<i16> {
    R::VERSIONS.min..=R::VERSIONS.max
}

/// Text as the protocol crate wants it.
pub fn s(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_string())
}

/// Every version that we serve and the protocol crate writes.
pub fn versions(key: i16) -> std::ops::RangeInclusive<i16> {
    let spec = api::find(key).unwrap();
    spec.min..=api::known_version(key, spec.max)
}

impl Session {
    /// Connects later. `recording`: the other side may need a moment until what it confirmed is seen.
    pub fn new(addr: SocketAddr, recording: bool) -> Session {
        let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().subsec_nanos();
        let run = format!("{PREFIX}{nanos:09}-");
        Session {
            addr,
            stream: None,
            other: None,
            run,
            masks: Vec::new(),
            recording,
            correlation_id: 0,
            took: Duration::ZERO,
            answers: Vec::new(),
            served: BTreeMap::new(),
            skipped: BTreeSet::new(),
            frames: Vec::new(),
            rest_skipped: false,
        }
    }

    /// Whether the broker advertises this API in this version. What is asked and not served is noted in [`Session::skipped`].
    pub fn serves(&mut self, key: i16, version: i16) -> bool {
        // Asked for before the key is known, so that the question does not ask itself.
        if self.served.is_empty() {
            self.served.insert(18, (0, 0));
            let told = self.call(0, &ApiVersionsRequest::default()).expect("ApiVersions v0 is answered");
            self.served.extend(told.api_keys.iter().map(|k| (k.api_key, (k.min_version, k.max_version))));
        }
        let served = self.served.get(&key).is_some_and(|(min, max)| (*min..=*max).contains(&version));
        if !served {
            let whole = !self.served.contains_key(&key);
            self.skipped.insert(if whole { api_name(key) } else { format!("{} v{version}", api_name(key)) });
        }
        served
    }

    /// A name of this run.
    pub fn name(&self, name: &str) -> String {
        format!("{}{name}", self.run)
    }

    /// The whole name of a group of this run.
    pub fn group_name(&self, name: &str) -> String {
        if name.is_empty() { String::new() } else { self.name(name) }
    }

    /// A topic of this run.
    pub fn topic(&self, name: &str) -> TopicName {
        TopicName(s(&self.name(name)))
    }

    /// Whether this name is of this run.
    pub fn is_mine(&self, name: &str) -> bool {
        name.starts_with(&self.run)
    }

    /// Masks a text that differs from run to run.
    pub fn mask(&mut self, text: &str, with: &str) {
        if !text.is_empty() {
            self.masks.push((text.to_string(), with.to_string()));
        }
    }

    /// Gives the other broker time to apply what it confirmed; ours has applied it when it answers.
    pub fn settle(&self) {
        if self.recording {
            std::thread::sleep(Duration::from_millis(400));
        }
    }

    /// Sends these frames and no more on a connection of its own; how many were answered before it was closed.
    pub fn answered_before_the_end(&self, frames: &[u8], half_close: bool) -> usize {
        let mut stream = common::connect(self.addr);
        stream.write_all(frames).unwrap();
        if half_close {
            stream.shutdown(std::net::Shutdown::Write).unwrap();
        }
        std::iter::from_fn(|| read_frame(&mut stream)).count()
    }

    /// A new connection for the next request.
    pub fn reconnect(&mut self) {
        self.stream = None;
    }

    fn stream(&mut self) -> &mut TcpStream {
        let addr = self.addr;
        self.stream.get_or_insert_with(|| {
            let stream = common::connect(addr);
            stream.set_read_timeout(Some(SILENCE)).unwrap();
            stream
        })
    }

    fn encode<R: Request>(&mut self, version: i16, request: &R) -> Vec<u8> {
        self.correlation_id += 1;
        let mut inner = BytesMut::new();
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation_id)
            .with_client_id(Some(s("test")));
        header.encode(&mut inner, R::header_version(version)).unwrap();
        request.encode(&mut inner, api::known_version(R::KEY, version)).unwrap_or_else(|e| panic!("request {} v{version}: {e}", R::KEY));
        let mut frame = (inner.len() as i32).to_be_bytes().to_vec();
        frame.extend(inner);
        frame
    }

    /// Sends bytes; the answer's frame, `None` when the connection was closed instead.
    pub fn exchange(&mut self, frame: &[u8]) -> Option<Bytes> {
        if !self.recording {
            self.frames.push(frame.to_vec());
        }
        let started = Instant::now();
        let stream = self.stream();
        let sent = stream.write_all(frame).is_ok();
        // A broker that neither answers nor closes is told apart by the time that passes.
        let answer = if sent { read_frame(stream) } else { None };
        self.took = started.elapsed();
        if answer.is_none() {
            self.stream = None;
        }
        answer.map(Bytes::from)
    }

    /// Sends without waiting for an answer.
    pub fn send<R: Request>(&mut self, version: i16, request: &R) {
        assert!(self.serves(R::KEY, version), "{} v{version} is not served", api_name(R::KEY));
        let frame = self.encode(version, request);
        self.stream().write_all(&frame).unwrap();
    }

    /// Goes on with the other of two connections.
    pub fn switch(&mut self) {
        std::mem::swap(&mut self.stream, &mut self.other);
    }

    /// The answer to what [`Session::send`] sent on this connection.
    pub fn receive<R: Request>(&mut self, version: i16) -> Option<R::Response> {
        let mut answer = Bytes::from(read_frame(self.stream())?);
        ResponseHeader::decode(&mut answer, R::Response::header_version(version)).unwrap();
        Some(R::Response::decode(&mut answer, version).unwrap())
    }

    /// What the broker advertises may have changed.
    pub fn ask_what_is_served_again(&mut self) {
        self.served.clear();
    }

    /// Sends a request; its answer is not recorded. `None`: closed, silent or not served.
    pub fn call<R: Request>(&mut self, version: i16, request: &R) -> Option<R::Response> {
        if !self.serves(R::KEY, version) {
            return None;
        }
        let frame = self.encode(version, request);
        let mut answer = self.exchange(&frame)?;
        let header = ResponseHeader::decode(&mut answer, R::Response::header_version(version)).unwrap();
        assert_eq!(header.correlation_id, self.correlation_id);
        let response = R::Response::decode(&mut answer, api::known_version(R::KEY, version)).unwrap();
        assert!(answer.is_empty(), "{} bytes after the answer to {} v{version}", answer.len(), R::KEY);
        Some(response)
    }

    /// Sends a request and records the whole answer.
    pub fn ask<R: Request>(&mut self, case: &str, version: i16, request: &R) -> Option<R::Response>
    where
        R::Response: std::fmt::Debug,
    {
        self.ask_as(case, version, request, |_, response| format!("{response:?}"))
    }

    /// Sends a request and records what `tell` makes of the answer.
    pub fn ask_as<R: Request>(
        &mut self,
        case: &str,
        version: i16,
        request: &R,
        tell: impl FnOnce(&Session, &R::Response) -> String,
    ) -> Option<R::Response> {
        let case = format!("{} v{version} {case}", api_name(R::KEY));
        if !self.serves(R::KEY, version) {
            self.skip(&case);
            return None;
        }
        let response = self.call(version, request);
        let silent = if self.took >= SILENCE { "silent" } else { "closed" };
        let text = response.as_ref().map_or(silent.to_string(), |r| tell(self, r));
        self.record(&case, &text);
        response
    }

    /// Sends a request of a version that the protocol crate does not know and records what `tell` makes of the answer's body.
    pub fn ask_own(
        &mut self,
        case: &str,
        key: api::ApiKey,
        version: i16,
        write: impl FnOnce(&mut Vec<u8>),
        tell: impl FnOnce(&Session, Bytes) -> String,
    ) {
        let case = format!("{} v{version} {case}", key.name());
        if !self.serves(key.code(), version) {
            return self.skip(&case);
        }
        self.correlation_id += 1;
        let mut frame = vec![0; 4];
        header::encode_request(&mut frame, key, version, self.correlation_id, Some("test"));
        write(&mut frame);
        let size = (frame.len() - 4) as i32;
        frame[..4].copy_from_slice(&size.to_be_bytes());
        let text = self.exchange(&frame).map(|answer| {
            let (correlation_id, body) = header::decode_response(&answer, key, version).unwrap();
            assert_eq!(correlation_id, self.correlation_id);
            tell(self, body)
        });
        let silent = if self.took >= SILENCE { "silent" } else { "closed" };
        self.record(&case, text.as_deref().unwrap_or(silent));
    }

    /// Records an observation.
    pub fn record(&mut self, case: &str, text: &str) {
        let text = self.masked(text);
        self.push(case, Some(text));
    }

    /// Notes that a case could not be asked, since the broker does not advertise what it takes.
    pub fn skip(&mut self, case: &str) {
        self.push(case, None);
    }

    /// Asks nothing further of this part, since the API that it is about is not advertised.
    pub fn skip_the_rest(&mut self) {
        assert!(!self.skipped.is_empty(), "nothing is missing");
        self.rest_skipped = true;
    }

    /// Records an observation, or a case skipped when what it takes was not served.
    pub fn note(&mut self, case: &str, text: Option<String>) {
        match text {
            Some(text) => self.record(case, &text),
            None => self.skip(case),
        }
    }

    fn push(&mut self, case: &str, text: Option<String>) {
        assert!(!self.answers.iter().any(|a| a.case == case), "two cases named {case}");
        self.answers.push(Answer { case: case.to_string(), text });
    }

    /// Text without what differs from run to run.
    pub fn masked(&self, text: &str) -> String {
        let mut text = text.replace(", unknown_tagged_fields: {}", "").replace("unknown_tagged_fields: {}", "").replace(&self.run, "");
        for (from, to) in &self.masks {
            text = text.replace(from, to);
        }
        let text = text.replace(&format!("port: {}", self.addr.port()), "port: <port>").replace('\n', "\\n");
        let text = number_after(text, "ProducerId(", "<id>");
        let text = number_after(text, "session_id: ", "<id>");
        mask_times(&mask_uuids(&text))
    }

    /// Creates a topic and waits until it has leaders.
    pub fn create(&mut self, name: &str, partitions: i32, configs: &[(&str, &str)]) -> Uuid {
        let configs = configs.iter().map(|(k, v)| ct::CreatableTopicConfig::default().with_name(s(k)).with_value(Some(s(v)))).collect();
        let topic = ct::CreatableTopic::default()
            .with_name(self.topic(name))
            .with_num_partitions(partitions)
            .with_replication_factor(1)
            .with_configs(configs);
        let created = self.call(7, &CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000)).unwrap();
        assert_eq!(created.topics[0].error_code, 0, "{created:?}");
        self.wait_for_leader(name);
        created.topics[0].topic_id
    }

    /// Waits until every partition of a topic has a leader.
    pub fn wait_for_leader(&mut self, name: &str) {
        let topic = md::MetadataRequestTopic::default().with_name(Some(self.topic(name)));
        let request = MetadataRequest::default().with_topics(Some(vec![topic])).with_allow_auto_topic_creation(false);
        let deadline = Instant::now() + common::PATIENCE;
        loop {
            let found = self.call(12, &request).unwrap();
            if found.topics[0].error_code == 0 && found.topics[0].partitions.iter().all(|p| p.error_code == 0) {
                return self.settle();
            }
            assert!(Instant::now() < deadline, "{found:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The next frame; `None` when the connection was closed or stays silent.
fn read_frame(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut size = [0; 4];
    stream.read_exact(&mut size).ok()?;
    let mut frame = vec![0; i32::from_be_bytes(size) as usize];
    stream.read_exact(&mut frame).ok()?;
    Some(frame)
}

/// Replaces a positive number behind `marker`.
fn number_after(text: String, marker: &str, with: &str) -> String {
    let mut parts = text.split(marker);
    let mut out = parts.next().unwrap_or("").to_string();
    for part in parts {
        out.push_str(marker);
        let rest = part.trim_start_matches(|c: char| c.is_ascii_digit());
        let number = &part[..part.len() - rest.len()];
        out.push_str(if number.is_empty() || number == "0" { number } else { with });
        out.push_str(rest);
    }
    out
}

fn mask_uuids(text: &str) -> String {
    let shaped =
        |bytes: &[u8]| bytes.iter().enumerate().all(|(i, b)| if [8, 13, 18, 23].contains(&i) { *b == b'-' } else { b.is_ascii_hexdigit() });
    let bytes = text.as_bytes();
    let (mut out, mut at) = (String::new(), 0);
    while at < text.len() {
        match bytes.get(at..at + 36) {
            Some(id) if shaped(id) => {
                out.push_str(if id.iter().all(|b| *b == b'0' || *b == b'-') { "<nil>" } else { "<uuid>" });
                at += 36;
            }
            _ => {
                let next = text[at..].chars().next().unwrap();
                out.push(next);
                at += next.len_utf8();
            }
        }
    }
    out
}

/// Masks numbers that look like milliseconds of this decade.
fn mask_times(text: &str) -> String {
    let mut out = String::new();
    let mut digits = String::new();
    for c in text.chars().chain([' ']) {
        if c.is_ascii_digit() {
            digits.push(c);
            continue;
        }
        out.push_str(if digits.len() == 13 && ("15".."20").contains(&&digits[..2]) { "<ms>" } else { &digits });
        digits.clear();
        out.push(c);
    }
    out.trim_end().to_string()
}
