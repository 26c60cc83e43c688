//! A connection to the broker under comparison: sends requests, records the masked answers.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use coreline_wire::api;
use kafka_protocol::messages::{
    CreateTopicsRequest, MetadataRequest, RequestHeader, ResponseHeader, TopicName, create_topics_request as ct, metadata_request as md,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
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
    /// Masked, one line.
    pub text: String,
}

/// Sends the cases and keeps the answers.
pub struct Session {
    addr: SocketAddr,
    stream: Option<TcpStream>,
    other: Option<TcpStream>,
    run: String,
    masks: Vec<(String, String)>,
    recording: bool,
    correlation_id: i32,
    /// How long the last answer took.
    pub took: Duration,
    /// In the order of the cases.
    pub answers: Vec<Answer>,
}

/// Text as the protocol crate wants it.
pub fn s(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_string())
}

/// The versions worth asking: lowest, first flexible, highest.
pub fn versions(key: i16) -> Vec<i16> {
    let spec = api::find(key).unwrap();
    let mut versions = vec![spec.min, spec.first_flexible.clamp(spec.min, spec.max), spec.max];
    versions.dedup();
    versions
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
        }
    }

    /// A name of this run.
    pub fn name(&self, name: &str) -> String {
        format!("{}{name}", self.run)
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
        self.masks.push((text.to_string(), with.to_string()));
    }

    /// Gives the other broker time to apply what it confirmed; ours has applied it when it answers.
    pub fn settle(&self) {
        if self.recording {
            std::thread::sleep(Duration::from_millis(400));
        }
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
        request.encode(&mut inner, version).unwrap_or_else(|e| panic!("request {} v{version}: {e}", R::KEY));
        let mut frame = (inner.len() as i32).to_be_bytes().to_vec();
        frame.extend(inner);
        frame
    }

    /// Sends bytes; the answer's frame, `None` when the connection was closed instead.
    pub fn exchange(&mut self, frame: &[u8]) -> Option<Bytes> {
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

    /// Sends a request; its answer is not recorded.
    pub fn call<R: Request>(&mut self, version: i16, request: &R) -> Option<R::Response> {
        let frame = self.encode(version, request);
        let mut answer = self.exchange(&frame)?;
        let header = ResponseHeader::decode(&mut answer, R::Response::header_version(version)).unwrap();
        assert_eq!(header.correlation_id, self.correlation_id);
        let response = R::Response::decode(&mut answer, version).unwrap();
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
        let response = self.call(version, request);
        let silent = if self.took >= SILENCE { "silent" } else { "closed" };
        let text = response.as_ref().map_or(silent.to_string(), |r| tell(self, r));
        let name = api::find(R::KEY).map_or("API", |spec| spec.name);
        self.record(&format!("{name} v{version} {case}"), &text);
        response
    }

    /// Records an observation.
    pub fn record(&mut self, case: &str, text: &str) {
        assert!(!self.answers.iter().any(|a| a.case == case), "two cases named {case}");
        let text = self.masked(text);
        self.answers.push(Answer { case: case.to_string(), text });
    }

    fn masked(&self, text: &str) -> String {
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
