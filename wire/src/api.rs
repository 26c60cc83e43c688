//! The one table of served APIs: key, name, versions advertised and served, first flexible version. ApiVersions is derived from it.
//!
//! Minimums are those of Kafka 4.0.1 and later (KIP-896), maximums those of 4.3. A test holds the table against `kafka-protocol`, which is
//! generated from Kafka 4.1's schemas; [`LATER`] has what came since. Callers: `header`, `fence`, the broker's dispatch.

use std::fmt;

macro_rules! api_keys {
    ($(($variant:ident, $key:literal),)*) => {
        /// Key of a served API.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(i16)]
        pub enum ApiKey {
            $(
                #[doc = concat!("API key ", stringify!($key), ".")]
                $variant = $key,
            )*
        }

        impl ApiKey {
            /// The served API with this key.
            pub const fn from_code(key: i16) -> Option<ApiKey> {
                match key {
                    $($key => Some(ApiKey::$variant),)*
                    _ => None,
                }
            }

            /// Its name in the protocol guide, such as `Produce`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(ApiKey::$variant => stringify!($variant),)*
                }
            }
        }
    };
}

api_keys! {
    (Produce, 0),
    (Fetch, 1),
    (ListOffsets, 2),
    (Metadata, 3),
    (OffsetCommit, 8),
    (OffsetFetch, 9),
    (FindCoordinator, 10),
    (JoinGroup, 11),
    (Heartbeat, 12),
    (LeaveGroup, 13),
    (SyncGroup, 14),
    (DescribeGroups, 15),
    (ListGroups, 16),
    (ApiVersions, 18),
    (CreateTopics, 19),
    (DeleteTopics, 20),
    (DeleteRecords, 21),
    (InitProducerId, 22),
    (OffsetForLeaderEpoch, 23),
    (DescribeConfigs, 32),
    (AlterConfigs, 33),
    (AlterReplicaLogDirs, 34),
    (DescribeLogDirs, 35),
    (CreatePartitions, 37),
    (DeleteGroups, 42),
    (ElectLeaders, 43),
    (IncrementalAlterConfigs, 44),
    (AlterPartitionReassignments, 45),
    (ListPartitionReassignments, 46),
    (OffsetDelete, 47),
    (DescribeClientQuotas, 48),
    (AlterClientQuotas, 49),
    (DescribeUserScramCredentials, 50),
    (DescribeQuorum, 55),
    (UpdateFeatures, 57),
    (DescribeCluster, 60),
    (DescribeProducers, 61),
    (UnregisterBroker, 64),
    (ConsumerGroupHeartbeat, 68),
    (ConsumerGroupDescribe, 69),
    (GetTelemetrySubscriptions, 71),
    (PushTelemetry, 72),
    (ListConfigResources, 74),
    (DescribeTopicPartitions, 75),
}

impl ApiKey {
    /// The number on the wire.
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// Its row of the table.
    pub fn spec(self) -> &'static ApiSpec {
        find(self.code()).expect("every variant has a row, as a test checks")
    }
}

impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One row of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ApiSpec {
    /// The API.
    pub key: ApiKey,
    /// Its name in the protocol guide.
    pub name: &'static str,
    /// Lowest version told to clients. Differs from `min` for Produce only: librdkafka drops gzip, snappy and lz4 when it cannot see
    /// Produce v0 (KAFKA-18659), so Kafka advertises 0 and refuses 0 to 2 when used.
    pub advertised_min: i16,
    /// Lowest version served.
    pub min: i16,
    /// Highest version served and advertised.
    pub max: i16,
    /// First version with compact encodings and tagged fields (KIP-482).
    pub first_flexible: i16,
}

impl ApiSpec {
    /// True when requests of this version are served.
    pub const fn serves(&self, version: i16) -> bool {
        self.min <= version && version <= self.max
    }

    /// True when this version uses compact encodings and tagged fields.
    pub const fn is_flexible(&self, version: i16) -> bool {
        version >= self.first_flexible
    }

    /// Version of the request header that goes with this version: 2 when flexible, else 1.
    pub const fn request_header_version(&self, version: i16) -> i16 {
        if self.is_flexible(version) { 2 } else { 1 }
    }

    /// Version of the response header that goes with this version: 1 when flexible, else 0. ApiVersions always answers with 0 (KIP-511), since
    /// the client does not know yet what the broker understands.
    pub const fn response_header_version(&self, version: i16) -> i16 {
        if self.is_flexible(version) && !matches!(self.key, ApiKey::ApiVersions) { 1 } else { 0 }
    }
}

const fn row(key: ApiKey, min: i16, max: i16, first_flexible: i16) -> ApiSpec {
    let advertised_min = if matches!(key, ApiKey::Produce) { 0 } else { min };
    ApiSpec { key, name: key.name(), advertised_min, min, max, first_flexible }
}

/// The first flexible version of an API that has none.
const NEVER_FLEXIBLE: i16 = i16::MAX;

/// Every served API, by ascending key.
pub const ALL: &[ApiSpec] = &[
    row(ApiKey::Produce, 3, 13, 9),
    row(ApiKey::Fetch, 4, 18, 12),
    row(ApiKey::ListOffsets, 1, 11, 6),
    row(ApiKey::Metadata, 0, 13, 9),
    row(ApiKey::OffsetCommit, 2, 10, 8),
    row(ApiKey::OffsetFetch, 1, 10, 6),
    row(ApiKey::FindCoordinator, 0, 6, 3),
    row(ApiKey::JoinGroup, 0, 9, 6),
    row(ApiKey::Heartbeat, 0, 4, 4),
    row(ApiKey::LeaveGroup, 0, 5, 4),
    row(ApiKey::SyncGroup, 0, 5, 4),
    row(ApiKey::DescribeGroups, 0, 6, 5),
    row(ApiKey::ListGroups, 0, 5, 3),
    row(ApiKey::ApiVersions, 0, 4, 3),
    row(ApiKey::CreateTopics, 2, 7, 5),
    row(ApiKey::DeleteTopics, 1, 6, 4),
    row(ApiKey::DeleteRecords, 0, 2, 2),
    row(ApiKey::InitProducerId, 0, 5, 2),
    row(ApiKey::OffsetForLeaderEpoch, 2, 4, 4),
    row(ApiKey::DescribeConfigs, 1, 4, 4),
    row(ApiKey::AlterConfigs, 0, 2, 2),
    row(ApiKey::AlterReplicaLogDirs, 1, 2, 2),
    row(ApiKey::DescribeLogDirs, 1, 5, 2),
    row(ApiKey::CreatePartitions, 0, 3, 2),
    row(ApiKey::DeleteGroups, 0, 2, 2),
    row(ApiKey::ElectLeaders, 0, 2, 2),
    row(ApiKey::IncrementalAlterConfigs, 0, 1, 1),
    row(ApiKey::AlterPartitionReassignments, 0, 1, 0),
    row(ApiKey::ListPartitionReassignments, 0, 0, 0),
    row(ApiKey::OffsetDelete, 0, 0, NEVER_FLEXIBLE),
    row(ApiKey::DescribeClientQuotas, 0, 1, 1),
    row(ApiKey::AlterClientQuotas, 0, 1, 1),
    row(ApiKey::DescribeUserScramCredentials, 0, 0, 0),
    row(ApiKey::DescribeQuorum, 0, 2, 0),
    row(ApiKey::UpdateFeatures, 0, 2, 0),
    row(ApiKey::DescribeCluster, 0, 2, 0),
    row(ApiKey::DescribeProducers, 0, 0, 0),
    row(ApiKey::UnregisterBroker, 0, 0, 0),
    row(ApiKey::ConsumerGroupHeartbeat, 0, 1, 0),
    row(ApiKey::ConsumerGroupDescribe, 0, 1, 0),
    row(ApiKey::GetTelemetrySubscriptions, 0, 0, 0),
    row(ApiKey::PushTelemetry, 0, 0, 0),
    row(ApiKey::ListConfigResources, 0, 1, 0),
    row(ApiKey::DescribeTopicPartitions, 0, 0, 0),
];

/// Versions that are served and newer than `kafka-protocol`: for each API the highest version which that crate reads and writes. Whose next
/// version has the same bytes is read and written as that one; the others have codecs of their own.
pub const LATER: &[(ApiKey, i16)] =
    &[(ApiKey::ListOffsets, 10), (ApiKey::OffsetCommit, 9), (ApiKey::OffsetFetch, 9), (ApiKey::DescribeLogDirs, 4)];

/// The highest version that `kafka-protocol` reads and writes, at most this one. Versions that it does not know are none here.
pub fn known_version(api_key: i16, version: i16) -> i16 {
    LATER.iter().find(|(key, _)| key.code() == api_key).map_or(version, |(_, last)| version.min(*last))
}

/// The row of the API with this key, if it is served.
pub fn find(key: i16) -> Option<&'static ApiSpec> {
    ALL.iter().find(|spec| spec.key.code() == key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::messages::{self as kp};
    use kafka_protocol::protocol::{Message, VersionRange};

    fn ranges_of_requests() -> Vec<(i16, VersionRange)> {
        macro_rules! requests {
            ($($api:ident => $request:ident),* $(,)?) => { vec![$((ApiKey::$api.code(), kp::$request::VERSIONS)),*] };
        }
        requests! {
            Produce => ProduceRequest, Fetch => FetchRequest, ListOffsets => ListOffsetsRequest, Metadata => MetadataRequest,
            OffsetCommit => OffsetCommitRequest, OffsetFetch => OffsetFetchRequest, FindCoordinator => FindCoordinatorRequest,
            JoinGroup => JoinGroupRequest, Heartbeat => HeartbeatRequest, LeaveGroup => LeaveGroupRequest, SyncGroup => SyncGroupRequest,
            DescribeGroups => DescribeGroupsRequest, ListGroups => ListGroupsRequest,
            ApiVersions => ApiVersionsRequest, CreateTopics => CreateTopicsRequest, DeleteTopics => DeleteTopicsRequest,
            DeleteRecords => DeleteRecordsRequest, InitProducerId => InitProducerIdRequest,
            OffsetForLeaderEpoch => OffsetForLeaderEpochRequest, DescribeConfigs => DescribeConfigsRequest,
            AlterConfigs => AlterConfigsRequest, AlterReplicaLogDirs => AlterReplicaLogDirsRequest,
            DescribeLogDirs => DescribeLogDirsRequest, CreatePartitions => CreatePartitionsRequest,
            DeleteGroups => DeleteGroupsRequest, ElectLeaders => ElectLeadersRequest, IncrementalAlterConfigs => IncrementalAlterConfigsRequest,
            AlterPartitionReassignments => AlterPartitionReassignmentsRequest,
            ListPartitionReassignments => ListPartitionReassignmentsRequest, OffsetDelete => OffsetDeleteRequest,
            DescribeClientQuotas => DescribeClientQuotasRequest, AlterClientQuotas => AlterClientQuotasRequest,
            DescribeUserScramCredentials => DescribeUserScramCredentialsRequest, DescribeQuorum => DescribeQuorumRequest,
            UpdateFeatures => UpdateFeaturesRequest, DescribeCluster => DescribeClusterRequest,
            DescribeProducers => DescribeProducersRequest, UnregisterBroker => UnregisterBrokerRequest,
            ConsumerGroupHeartbeat => ConsumerGroupHeartbeatRequest, ConsumerGroupDescribe => ConsumerGroupDescribeRequest,
            GetTelemetrySubscriptions => GetTelemetrySubscriptionsRequest,
            PushTelemetry => PushTelemetryRequest, ListConfigResources => ListConfigResourcesRequest, DescribeTopicPartitions => DescribeTopicPartitionsRequest,
        }
    }

    #[test]
    fn agrees_with_kafka_protocol_on_versions_and_headers() {
        let theirs = ranges_of_requests();
        assert_eq!(theirs.len(), ALL.len(), "every row is compared");
        for (spec, (key, range)) in ALL.iter().zip(theirs) {
            assert_eq!(spec.key.code(), key);
            assert_eq!((spec.min, known_version(key, spec.max)), (range.min, range.max), "{}", spec.name);
            let api = kp::ApiKey::try_from(key).expect("known to kafka-protocol");
            assert_eq!(format!("{api:?}"), spec.name);
            for version in spec.min..=spec.max {
                assert_eq!(spec.request_header_version(version), api.request_header_version(version), "{} v{version}", spec.name);
                assert_eq!(spec.response_header_version(version), api.response_header_version(version), "{} v{version}", spec.name);
            }
        }
    }

    #[test]
    fn rows_ascend_and_are_found_by_key() {
        assert!(ALL.windows(2).all(|w| w[0].key < w[1].key));
        for spec in ALL {
            assert_eq!(find(spec.key.code()), Some(spec));
            assert_eq!(spec.key.spec(), spec);
            assert_eq!(ApiKey::from_code(spec.key.code()), Some(spec.key));
            assert!(spec.advertised_min <= spec.min && spec.min <= spec.max);
        }
        for key in -1..=200 {
            assert_eq!(ApiKey::from_code(key).is_some(), find(key).is_some(), "key {key}: enum and table agree");
        }
        assert_eq!(ApiKey::Produce.spec().advertised_min, 0);
        assert!(!ApiKey::Produce.spec().serves(2));
    }
}
