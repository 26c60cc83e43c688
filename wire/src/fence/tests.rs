//! The fence against `kafka-protocol`: whatever the tables generate, that crate must decode to the last byte and encode back to the same
//! bytes; every cut and every inflated count must be refused.

use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::messages as kp;
use kafka_protocol::protocol::{Decodable, Encodable};

use super::schema::{Kind, Struct};
use super::{check_request, requests};
use crate::api::{self, ApiKey};
use crate::decode::{DecodeError, DecodeErrorKind, Decoder};
use crate::encode::Sink;
use crate::message::{OffsetCommitRequest, OffsetFetchRequest, offset_commit, offset_fetch};
use crate::primitive::{put_array, put_null_array, put_nullable_bytes, put_nullable_string};
use crate::tagged_field;
use crate::test_random::Random;

/// Writes a random request by the tables, and notes where each array count lies.
struct Generator<'r> {
    random: &'r mut Random,
    version: i16,
    flexible: bool,
    out: Vec<u8>,
    counts: Vec<usize>,
    tags: bool,
}

impl Generator<'_> {
    fn structure(&mut self, structure: &Struct) {
        let version = self.version;
        for field in structure.fields.iter().filter(|field| field.exists_in(version)) {
            let null = field.is_nullable_in(self.version) && self.random.below(3) == 0;
            self.value(field.kind, null);
        }
        if self.flexible {
            let tags = if self.tags { self.random.below(3) as u32 } else { 0 };
            self.out.unsigned_varint(tags);
            for tag in 0..tags {
                let content = self.random.bytes(5);
                tagged_field::write_field(&mut self.out, 100 + tag, |w| w.put(&content));
            }
        }
    }

    fn value(&mut self, kind: Kind, null: bool) {
        match kind {
            // Booleans must be 0 or 1 to come back unchanged.
            Kind::Fixed(1) => self.out.u8(self.random.below(2) as u8),
            Kind::Fixed(size) => {
                let bytes: Vec<u8> = (0..size).map(|_| self.random.next() as u8).collect();
                self.out.put(&bytes);
            }
            Kind::String => {
                let text = self.random.text(12);
                put_nullable_string(&mut self.out, (!null).then_some(text.as_str()), self.flexible);
            }
            Kind::Bytes => {
                let bytes = self.random.bytes(20);
                put_nullable_bytes(&mut self.out, (!null).then_some(&bytes[..]), self.flexible);
            }
            Kind::Array(_) if null => put_null_array(&mut self.out, self.flexible),
            Kind::Array(element) => {
                let count = self.random.below(4);
                self.counts.push(self.out.len());
                put_array(&mut self.out, count as usize, self.flexible);
                for _ in 0..count {
                    self.value(*element, false);
                }
            }
            Kind::Struct(structure) => self.structure(structure),
            Kind::Optional(structure) => {
                if self.random.below(2) == 0 {
                    self.out.i8(-1);
                } else {
                    self.out.i8(1);
                    self.structure(structure);
                }
            }
        }
    }
}

fn generate(random: &mut Random, api: ApiKey, version: i16, tags: bool) -> Option<(Vec<u8>, Vec<usize>)> {
    let request = requests::request(api)?;
    let flexible = api.spec().is_flexible(version);
    let mut generator = Generator { random, version, flexible, out: Vec::new(), counts: Vec::new(), tags };
    generator.structure(request);
    Some((generator.out, generator.counts))
}

/// Decodes with `kafka-protocol`, demands that nothing is left, and encodes what came out.
fn through_kafka_protocol(api: ApiKey, version: i16, body: &[u8]) -> Result<Vec<u8>, String> {
    match api {
        ApiKey::OffsetCommit if version == offset_commit::VERSION => {
            return through(body, |b| OffsetCommitRequest::decode(b, version), |r, w| r.write(w));
        }
        ApiKey::OffsetFetch if version == offset_fetch::VERSION => {
            return through(body, |b| OffsetFetchRequest::decode(b, version), |r, w| r.write(w));
        }
        _ => {}
    }
    let version = api::known_version(api.code(), version);
    fn both<T: Decodable + Encodable>(version: i16, body: &[u8]) -> Result<Vec<u8>, String> {
        let mut rest = Bytes::copy_from_slice(body);
        let decoded = T::decode(&mut rest, version).map_err(|e| format!("decode: {e}"))?;
        if !rest.is_empty() {
            return Err(format!("{} bytes left", rest.len()));
        }
        let mut out = Vec::new();
        decoded.encode(&mut out, version).map_err(|e| format!("encode: {e}"))?;
        Ok(out)
    }
    macro_rules! dispatch {
        ($($api:ident => $request:ident),* $(,)?) => {
            match api {
                $(ApiKey::$api => both::<kp::$request>(version, body),)*
                ApiKey::Produce | ApiKey::Fetch => unreachable!("not fenced"),
            }
        };
    }
    dispatch! {
        ListOffsets => ListOffsetsRequest, Metadata => MetadataRequest, OffsetCommit => OffsetCommitRequest,
        OffsetFetch => OffsetFetchRequest, FindCoordinator => FindCoordinatorRequest, JoinGroup => JoinGroupRequest,
        Heartbeat => HeartbeatRequest, LeaveGroup => LeaveGroupRequest, SyncGroup => SyncGroupRequest,
        DescribeGroups => DescribeGroupsRequest, ListGroups => ListGroupsRequest,
        ApiVersions => ApiVersionsRequest, CreateTopics => CreateTopicsRequest, DeleteTopics => DeleteTopicsRequest,
        DeleteRecords => DeleteRecordsRequest, InitProducerId => InitProducerIdRequest,
        OffsetForLeaderEpoch => OffsetForLeaderEpochRequest, DescribeConfigs => DescribeConfigsRequest,
        AlterConfigs => AlterConfigsRequest, CreatePartitions => CreatePartitionsRequest,
        DeleteGroups => DeleteGroupsRequest, IncrementalAlterConfigs => IncrementalAlterConfigsRequest,
        OffsetDelete => OffsetDeleteRequest, DescribeClientQuotas => DescribeClientQuotasRequest,
        AlterClientQuotas => AlterClientQuotasRequest, DescribeCluster => DescribeClusterRequest,
        DescribeTopicPartitions => DescribeTopicPartitionsRequest,
        AlterReplicaLogDirs => AlterReplicaLogDirsRequest, DescribeLogDirs => DescribeLogDirsRequest,
        ElectLeaders => ElectLeadersRequest, AlterPartitionReassignments => AlterPartitionReassignmentsRequest,
        ListPartitionReassignments => ListPartitionReassignmentsRequest, DescribeQuorum => DescribeQuorumRequest,
        UpdateFeatures => UpdateFeaturesRequest, DescribeProducers => DescribeProducersRequest,
        ConsumerGroupHeartbeat => ConsumerGroupHeartbeatRequest, ConsumerGroupDescribe => ConsumerGroupDescribeRequest,
        DescribeUserScramCredentials => DescribeUserScramCredentialsRequest,
        UnregisterBroker => UnregisterBrokerRequest, GetTelemetrySubscriptions => GetTelemetrySubscriptionsRequest,
            PushTelemetry => PushTelemetryRequest, ListConfigResources => ListConfigResourcesRequest,
    }
}

/// The same by our own codec.
fn through<T>(body: &[u8], decode: impl Fn(&Bytes) -> Result<T, DecodeError>, write: impl Fn(&T, &mut Vec<u8>)) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    write(&decode(&Bytes::copy_from_slice(body)).map_err(|e| format!("decode: {e}"))?, &mut out);
    Ok(out)
}

/// Runs `check` on random requests of every fenced API and version; the seed is part of every failure.
fn for_random_requests(tags: bool, rounds: u64, mut check: impl FnMut(ApiKey, i16, &[u8], &[usize], &str)) {
    for spec in api::ALL {
        for version in spec.min..=spec.max {
            for seed in 0..rounds {
                let mut random = Random::new(seed ^ ((spec.key.code() as u64) << 32) ^ ((version as u64) << 48));
                if let Some((body, counts)) = generate(&mut random, spec.key, version, tags) {
                    check(spec.key, version, &body, &counts, &format!("{} v{version} seed {seed}", spec.name));
                }
            }
        }
    }
}

#[test]
fn every_request_but_produce_and_fetch_has_a_table() {
    for spec in api::ALL {
        let own_decoder = matches!(spec.key, ApiKey::Produce | ApiKey::Fetch);
        assert_eq!(requests::request(spec.key).is_none(), own_decoder, "{}", spec.name);
        let refused = check_request(spec.key.code(), spec.max + 1, &[]).expect_err("above the maximum");
        assert!(matches!(refused.kind, DecodeErrorKind::UnsupportedVersion { .. }));
    }
    assert_eq!(check_request(4, 0, &[]).map_err(|e| e.kind), Err(DecodeErrorKind::UnknownApi(4)));
}

#[test]
fn what_the_tables_generate_comes_back_from_kafka_protocol_byte_by_byte() {
    for_random_requests(true, 60, |api, version, body, _, what| {
        check_request(api.code(), version, body).unwrap_or_else(|e| panic!("{what}: fence: {e}"));
        let back = through_kafka_protocol(api, version, body).unwrap_or_else(|e| panic!("{what}: {e}"));
        // Our own codecs skip unknown tags instead of keeping them.
        let keeps_tags = api::known_version(api.code(), version) == version || matches!(api, ApiKey::ListOffsets | ApiKey::DescribeLogDirs);
        assert!(back == body || !keeps_tags, "{what}: {back:?} instead of {body:?}");
    });
    for_random_requests(false, 20, |api, version, body, _, what| {
        let back = through_kafka_protocol(api, version, body).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(back, body, "{what}");
    });
}

#[test]
fn every_cut_and_every_extra_byte_is_refused() {
    for_random_requests(true, 12, |api, version, body, _, what| {
        for cut in 0..body.len() {
            assert!(check_request(api.code(), version, &body[..cut]).is_err(), "{what} cut at {cut}");
        }
        let longer = [body, &[0]].concat();
        let refused = check_request(api.code(), version, &longer).expect_err("one byte too many");
        assert_eq!(refused.kind, DecodeErrorKind::TrailingBytes(1), "{what}");
    });
}

#[test]
fn inflated_counts_are_refused_at_once() {
    let start = Instant::now();
    for_random_requests(false, 12, |api, version, body, counts, what| {
        let flexible = api.spec().is_flexible(version);
        for &at in counts {
            let mutations: Vec<Vec<u8>> = if flexible {
                let rest = &body[at + 1..];
                [&[0xff, 0xff, 0xff, 0xff, 0x0f][..], &[0xff, 0xff, 0xff, 0xff, 0x07], &[0xff, 0xff, 0xff, 0xff, 0xff], &[0x80, 0x80, 0x40]]
                    .map(|count| [&body[..at], count, rest].concat())
                    .into()
            } else {
                [i32::MAX, -2, i32::MIN, 1 << 24].map(|count| [&body[..at], &count.to_be_bytes(), &body[at + 4..]].concat()).into()
            };
            for mutated in mutations {
                assert!(check_request(api.code(), version, &mutated).is_err(), "{what} count at {at}");
            }
        }
    });
    assert!(start.elapsed() < Duration::from_secs(60), "counts are refused by looking, not by walking");
}

#[test]
fn what_passes_after_random_damage_is_decoded_by_kafka_protocol() {
    let mut passed = 0;
    for_random_requests(true, 30, |api, version, body, _, what| {
        let mut random = Random::new(body.len() as u64);
        for _ in 0..20 {
            let mut damaged = body.to_vec();
            if damaged.is_empty() {
                return;
            }
            let at = random.below(damaged.len() as u64) as usize;
            damaged[at] = random.next() as u8;
            if check_request(api.code(), version, &damaged).is_ok() {
                passed += 1;
                through_kafka_protocol(api, version, &damaged).unwrap_or_else(|e| panic!("{what} damaged at {at}: {e}"));
            }
        }
    });
    assert!(passed > 1000, "the test is not empty: {passed}");
}

#[test]
fn null_is_refused_where_the_schema_has_none() {
    // Metadata: all topics is an empty array in v0 and null from v1 on; a topic without a name exists from v10 on.
    assert_eq!(check_request(3, 0, &[0xff; 4]).map_err(|e| e.kind), Err(DecodeErrorKind::UnexpectedNull));
    assert_eq!(check_request(3, 1, &[0xff; 4]), Ok(()));
    assert_eq!(check_request(3, 9, &[2, 0, 0, 1, 0, 0, 0]).map_err(|e| e.kind), Err(DecodeErrorKind::UnexpectedNull));
    // ListOffsets: topics is never null.
    assert_eq!(check_request(2, 1, &[0xff; 8]).map_err(|e| e.kind), Err(DecodeErrorKind::UnexpectedNull));
    // DescribeTopicPartitions: the cursor is -1 or 1.
    let cursor = |marker: u8| [&[1, 0, 0, 0, 5, marker][..], &[0]].concat();
    assert_eq!(check_request(75, 0, &cursor(0xff)), Ok(()));
    assert_eq!(check_request(75, 0, &cursor(0)).map_err(|e| e.kind), Err(DecodeErrorKind::BadLength(0)));
}

#[test]
fn elements_are_bounded_in_all_even_when_every_byte_is_there() {
    // FindCoordinator v4: an array of strings, one byte for each empty one.
    let body = |count: usize| {
        let mut body = vec![0];
        put_array(&mut body, count, true);
        body.resize(body.len() + count, 1);
        body.push(0);
        body
    };
    assert_eq!(check_request(10, 4, &body(1000)), Ok(()));
    let refused = check_request(10, 4, &body(Decoder::MAX_ELEMENTS + 1)).map_err(|e| e.kind);
    assert_eq!(refused, Err(DecodeErrorKind::TooManyElements));
}
