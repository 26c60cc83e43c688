//! `Connection`: one blocking socket to a broker; requests out, answers in the same order; versions agreed at its start.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request};

use super::versions::{Versions, api_name};
use super::{CONNECT_WAIT, ClientError, FRAME_BYTES_MAX, Settings, Stop, text};

/// The first version of ApiVersions in which a feature's versions may begin at 0 (KIP-1022).
const API_VERSIONS_VERSION: i16 = 4;
const UNSUPPORTED_VERSION: i16 = 35;

/// A connection with agreed versions.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    at: String,
    client_id: String,
    stop: Stop,
    versions: Versions,
    /// What the broker said about itself.
    answer: ApiVersionsResponse,
    next_correlation: i32,
    /// Requests that wait for their answers, oldest first.
    waiting: VecDeque<i32>,
    /// Bytes that arrived and were not used yet.
    read: Vec<u8>,
}

/// A request on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    correlation: i32,
    version: i16,
}

impl Connection {
    /// Connects to `HOST:PORT` and agrees on versions.
    pub(super) fn open(at: &str, settings: &Settings) -> Result<Connection, ClientError> {
        let failed = |error| ClientError::Io { at: at.to_string(), error };
        let wait = settings.timeout.min(CONNECT_WAIT);
        let addresses = at.to_socket_addrs().map_err(failed)?;
        let mut last = io::Error::other("the name has no address");
        let mut stream = None;
        for address in addresses {
            match TcpStream::connect_timeout(&address, wait) {
                Ok(connected) => {
                    stream = Some(connected);
                    break;
                }
                Err(error) => last = error,
            }
        }
        let Some(stream) = stream else { return Err(failed(last)) };
        stream.set_nodelay(true).map_err(failed)?;
        stream.set_write_timeout(Some(settings.timeout)).map_err(failed)?;
        let mut connection = Connection {
            stream,
            at: at.to_string(),
            client_id: settings.client_id.clone(),
            stop: settings.stop.clone(),
            versions: Versions::default(),
            answer: ApiVersionsResponse::default(),
            next_correlation: 0,
            waiting: VecDeque::new(),
            read: Vec::new(),
        };
        connection.agree(wait)?;
        Ok(connection)
    }

    /// Asks for the broker's versions. One that does not know the version of the question answers in version 0 which ones it knows (KIP-511), or
    /// none at all.
    fn agree(&mut self, wait: Duration) -> Result<(), ClientError> {
        let mut version = API_VERSIONS_VERSION;
        let answer = loop {
            let mut request = ApiVersionsRequest::default();
            if version >= 3 {
                request =
                    request.with_client_software_name(text("coreline-cli")).with_client_software_version(text(env!("CARGO_PKG_VERSION")));
            }
            let sent = self.send_at(version, &request)?;
            let body = self.answer_body(sent, "ApiVersions", wait)?;
            let code = body.get(4..6).map_or(-1, |b| i16::from_be_bytes([b[0], b[1]]));
            if version == 0 || code != UNSUPPORTED_VERSION {
                break self.decode::<ApiVersionsRequest>(body, version)?;
            }
            let known = self.decode::<ApiVersionsRequest>(body, 0)?;
            let range = known.api_keys.iter().find(|k| k.api_key == ApiVersionsRequest::KEY);
            // Lower than the last one, so that this ends.
            version = range.map_or(0, |k| k.max_version).clamp(0, version - 1);
        };
        ClientError::check(answer.error_code, None, || format!("{}: ApiVersions", self.at))?;
        self.versions = Versions(answer.api_keys.iter().map(|k| (k.api_key, (k.min_version, k.max_version))).collect());
        self.answer = answer;
        Ok(())
    }

    /// What the broker said about its versions and features.
    pub(super) fn about(&self) -> &ApiVersionsResponse {
        &self.answer
    }

    /// The version to speak for a request.
    pub(super) fn version<R: Request>(&self) -> Result<i16, ClientError> {
        self.versions.choose::<R>().map_err(|(theirs, ours)| ClientError::Unsupported {
            at: self.at.clone(),
            api: api_name(R::KEY),
            theirs,
            ours,
        })
    }

    /// Sends a request in the agreed version.
    pub(super) fn send<R: Request>(&mut self, make: impl FnOnce(i16) -> R) -> Result<Sent, ClientError> {
        let version = self.version::<R>()?;
        self.send_at(version, &make(version))
    }

    /// Sends a request that gets no answer: Produce with acks=0.
    pub(super) fn send_unanswered<R: Request>(&mut self, make: impl FnOnce(i16) -> R) -> Result<(), ClientError> {
        self.send(make)?;
        self.waiting.pop_back();
        Ok(())
    }

    fn send_at<R: Request>(&mut self, version: i16, request: &R) -> Result<Sent, ClientError> {
        self.next_correlation = self.next_correlation.wrapping_add(1);
        let correlation = self.next_correlation;
        let frame = encode(&self.client_id, version, correlation, request)
            .map_err(|why| ClientError::Protocol { at: self.at.clone(), why: format!("{} v{version}: {why}", api_name(R::KEY)) })?;
        self.stream.write_all(&frame).map_err(|error| self.broken(error))?;
        self.waiting.push_back(correlation);
        Ok(Sent { correlation, version })
    }

    /// Waits for the answer to a request. Answers to older ones that nobody waited for are dropped.
    pub(super) fn receive<R: Request>(&mut self, sent: Sent, wait: Duration) -> Result<R::Response, ClientError> {
        let body = self.answer_body(sent, &api_name(R::KEY), wait)?;
        self.decode::<R>(body, sent.version)
    }

    fn answer_body(&mut self, sent: Sent, api: &str, wait: Duration) -> Result<Bytes, ClientError> {
        let deadline = Instant::now() + wait;
        loop {
            let frame = self.read_frame(deadline).map_err(|error| match error.kind() {
                ErrorKind::TimedOut => ClientError::Timeout { at: self.at.clone(), api: api.to_string(), after: wait },
                ErrorKind::Interrupted => ClientError::Interrupted,
                ErrorKind::InvalidData => ClientError::Protocol { at: self.at.clone(), why: error.to_string() },
                _ => self.broken(error),
            })?;
            let got = frame.get(..4).map(|b| i32::from_be_bytes([b[0], b[1], b[2], b[3]]));
            match self.waiting.pop_front() {
                Some(expected) if got == Some(expected) && expected == sent.correlation => return Ok(frame),
                Some(expected) if got == Some(expected) => {}
                _ => return Err(ClientError::Protocol { at: self.at.clone(), why: "an answer to a request that was not made".into() }),
            }
        }
    }

    fn decode<R: Request>(&self, mut body: Bytes, version: i16) -> Result<R::Response, ClientError> {
        let wrong =
            |e: String| ClientError::Protocol { at: self.at.clone(), why: format!("answer to {} v{version}: {e}", api_name(R::KEY)) };
        ResponseHeader::decode(&mut body, R::Response::header_version(version)).map_err(|e| wrong(e.to_string()))?;
        R::Response::decode(&mut body, version).map_err(|e| wrong(e.to_string()))
    }

    /// Reads one frame without its size.
    fn read_frame(&mut self, deadline: Instant) -> io::Result<Bytes> {
        self.read_until(4, deadline)?;
        let size = i32::from_be_bytes([self.read[0], self.read[1], self.read[2], self.read[3]]);
        let size = usize::try_from(size).ok().filter(|size| *size <= FRAME_BYTES_MAX).ok_or_else(|| {
            io::Error::new(ErrorKind::InvalidData, "this is not an answer of a Kafka listener without TLS (TLS is not supported yet)")
        })?;
        self.read_until(4 + size, deadline)?;
        let rest = self.read.split_off(4 + size);
        let frame = std::mem::replace(&mut self.read, rest);
        Ok(Bytes::from(frame).slice(4..))
    }

    /// Reads until `len` bytes are there. Memory grows with what arrives, not by what was promised.
    fn read_until(&mut self, len: usize, deadline: Instant) -> io::Result<()> {
        let mut chunk = [0; 64 << 10];
        while self.read.len() < len {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ErrorKind::TimedOut.into());
            }
            self.stream.set_read_timeout(Some(left))?;
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(n) => self.read.extend_from_slice(&chunk[..n]),
                Err(e) if e.kind() == ErrorKind::Interrupted && !self.stop.is_raised() => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Err(ErrorKind::TimedOut.into()),
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn broken(&self, error: io::Error) -> ClientError {
        let error = match error.kind() {
            ErrorKind::UnexpectedEof => io::Error::new(ErrorKind::UnexpectedEof, "the broker closed the connection"),
            _ => error,
        };
        ClientError::Io { at: self.at.clone(), error }
    }
}

/// A whole request: size, header, body.
fn encode<R: Request>(client_id: &str, version: i16, correlation: i32, request: &R) -> Result<BytesMut, String> {
    let mut frame = BytesMut::from(&[0; 4][..]);
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(correlation)
        .with_client_id(Some(text(client_id)));
    header.encode(&mut frame, R::header_version(version)).map_err(|e| e.to_string())?;
    request.encode(&mut frame, version).map_err(|e| e.to_string())?;
    let size = i32::try_from(frame.len() - 4).map_err(|_| "the request is above 2 GiB".to_string())?;
    frame[..4].copy_from_slice(&size.to_be_bytes());
    Ok(frame)
}
