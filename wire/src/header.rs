//! Request headers v1 and v2, response headers v0 and v1, and which of them goes with which API and version.
//!
//! - request v1: key, version, correlation id, client id (classic nullable string). v2 (flexible APIs): the same plus tagged fields; the
//!   client id stays classic. v0 died with ControlledShutdown v0.
//! - response v0: correlation id. v1 (flexible APIs): plus tagged fields. ApiVersions always answers with v0.
//!
//! Callers: the broker's connection and dispatch, the bench client.

use bytes::Bytes;

use crate::api::{self, ApiKey};
use crate::decode::{DecodeError, Decoder};
use crate::encode::Sink;
use crate::primitive::{WireString, put_nullable_string};
use crate::tagged_field;

/// The header of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RequestHeader {
    /// API key as sent; may be one that is not served.
    pub api_key: i16,
    /// Version as sent; may be one that is not served.
    pub api_version: i16,
    /// Chosen by the client; the answer carries it back.
    pub correlation_id: i32,
    /// Name the client gives itself.
    pub client_id: Option<WireString>,
}

/// Reads the header of a request frame (without its size prefix) and returns it with the body, which shares the frame's bytes.
///
/// An API or a version that we do not know yet is read up to its client id, since the rest may have changed (KIP-511 answers it all the same); whether API and version are served is for the
/// caller to check before it reads the body.
pub fn decode_request(frame: &Bytes) -> Result<(RequestHeader, Bytes), DecodeError> {
    let mut d = Decoder::new(frame);
    let api_key = d.i16()?;
    let api_version = d.i16()?;
    let correlation_id = d.i32()?;
    let client_id = d.nullable_string(false)?.map(|s| WireString::share(frame, s));
    if api::find(api_key).is_some_and(|spec| spec.is_flexible(api_version) && api_version <= spec.max) {
        tagged_field::skip(&mut d)?;
    }
    let body = frame.slice(d.position()..);
    Ok((RequestHeader { api_key, api_version, correlation_id, client_id }, body))
}

/// Writes a request header in the version that goes with the API and version.
pub fn encode_request<W: Sink>(w: &mut W, api: ApiKey, version: i16, correlation_id: i32, client_id: Option<&str>) {
    w.i16(api.code());
    w.i16(version);
    w.i32(correlation_id);
    put_nullable_string(w, client_id, false);
    if api.spec().is_flexible(version) {
        tagged_field::write_none(w);
    }
}

/// Bytes of the response header that goes with the API and version: 4 or 5.
pub fn response_header_len(api: ApiKey, version: i16) -> usize {
    4 + api.spec().response_header_version(version) as usize
}

/// Writes a response header in the version that goes with the API and version.
pub fn encode_response_header<W: Sink>(w: &mut W, api: ApiKey, version: i16, correlation_id: i32) {
    w.i32(correlation_id);
    if api.spec().response_header_version(version) >= 1 {
        tagged_field::write_none(w);
    }
}

/// Reads the header of a response frame (without its size prefix): the correlation id and the body.
pub fn decode_response(frame: &Bytes, api: ApiKey, version: i16) -> Result<(i32, Bytes), DecodeError> {
    let mut d = Decoder::new(frame);
    let correlation_id = d.i32()?;
    if api.spec().response_header_version(version) >= 1 {
        tagged_field::skip(&mut d)?;
    }
    Ok((correlation_id, frame.slice(d.position()..)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::messages as kp;
    use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};

    #[test]
    fn every_api_and_version_agrees_with_kafka_protocol() {
        for spec in api::ALL {
            for version in spec.min..=spec.max {
                for client in [None, Some("client-1")] {
                    let mut ours = Vec::new();
                    encode_request(&mut ours, spec.key, version, 77, client);
                    let theirs_header = kp::RequestHeader::default()
                        .with_request_api_key(spec.key.code())
                        .with_request_api_version(version)
                        .with_correlation_id(77)
                        .with_client_id(client.map(StrBytes::from_static_str));
                    let mut theirs = Vec::new();
                    theirs_header.encode(&mut theirs, spec.request_header_version(version)).expect("encodes");
                    assert_eq!(ours, theirs, "{} v{version}", spec.name);

                    for cut in 0..ours.len() {
                        assert!(decode_request(&Bytes::copy_from_slice(&ours[..cut])).is_err(), "{} v{version} cut at {cut}", spec.name);
                    }
                    ours.extend_from_slice(b"body");
                    let (header, body) = decode_request(&Bytes::from(ours)).expect("decodes");
                    assert_eq!((header.api_key, header.api_version, header.correlation_id), (spec.key.code(), version, 77));
                    assert_eq!(header.client_id.as_deref(), client);
                    assert_eq!(&body[..], b"body");
                }
                let mut out = Vec::new();
                encode_response_header(&mut out, spec.key, version, -5);
                assert_eq!(out.len(), response_header_len(spec.key, version));
                let read = kp::ResponseHeader::decode(&mut &out[..], spec.response_header_version(version)).expect("decodes");
                assert_eq!(read.correlation_id, -5);
                out.push(9);
                assert_eq!(decode_response(&Bytes::from(out), spec.key, version), Ok((-5, Bytes::from_static(&[9]))));
            }
        }
    }

    #[test]
    fn an_unknown_api_still_tells_who_asked() {
        let mut frame = Vec::new();
        frame.i16(999);
        frame.i16(3);
        frame.i32(1);
        put_nullable_string(&mut frame, Some("who"), false);
        frame.put(&[1, 2, 3]);
        let (header, body) = decode_request(&Bytes::from(frame)).expect("header is readable");
        assert_eq!(header.api_key, 999);
        assert_eq!(header.client_id.as_deref(), Some("who"));
        assert_eq!(body.len(), 3);
    }

    #[test]
    fn a_version_from_the_future_still_tells_who_asked() {
        let mut frame = Vec::new();
        encode_request(&mut frame, ApiKey::ApiVersions, 99, 7, Some("new"));
        frame.truncate(frame.len() - 1);
        let (header, body) = decode_request(&Bytes::from(frame)).expect("whatever follows the client id");
        assert_eq!((header.api_version, header.correlation_id, body.len()), (99, 7, 0));
    }

    #[test]
    fn header_tags_are_skipped_and_bounded() {
        let mut frame = Vec::new();
        frame.i16(ApiKey::Metadata.code());
        frame.i16(12);
        frame.i32(1);
        frame.i16(-1);
        let base = frame.clone();
        frame.put(&[1, 7, 2, 0xaa, 0xbb, b'B']);
        assert_eq!(&decode_request(&Bytes::from(frame)).expect("one tag").1[..], b"B");
        let mut many = base;
        many.u8(65);
        for tag in 0..65 {
            many.put(&[tag, 0]);
        }
        assert!(decode_request(&Bytes::from(many)).is_err());
    }
}
