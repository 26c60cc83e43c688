//! ApiVersions (key 18, v0-4): which APIs and versions are served, and the cluster's finalized features.
//!
//! - v3: flexible; the client names its software (KIP-511), which is checked and kept per connection; features (KIP-584)
//! - v4: as v3, with the supported features whose lowest level is 0
//!
//! Everything comes from `coreline_wire::api::ALL`. A version that is not served is answered by `dispatch` in v0 (KIP-511). Which
//! features there are says `controller/features.rs`.

use std::rc::Rc;

use bytes::Bytes;
use coreline_wire::api::{self, ApiKey};
use coreline_wire::error_code::ErrorCode;
use kafka_protocol::messages::api_versions_response::{ApiVersion, FinalizedFeatureKey, SupportedFeatureKey};
use kafka_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};

use super::{HandlerResult, RequestContext, codec};
use crate::controller::features;
use crate::metadata::MetadataImage;
use crate::shard::Shard;
use crate::telemetry::subscription;

/// Longest client name or version that is kept, in bytes; longer ones are cut.
const SOFTWARE_BYTES_MAX: usize = 128;

/// Answers at once.
pub async fn handle(shard: &Rc<Shard>, ctx: &RequestContext, body: Bytes) -> HandlerResult {
    let request: ApiVersionsRequest = codec::decode(ctx, body)?;
    let response = answer(&shard.image(), &request, ctx.api_version);
    if ctx.api_version >= 3 && response.error_code == ErrorCode::None.code() {
        let kept = |text: &str| text.chars().take(SOFTWARE_BYTES_MAX).collect::<String>();
        let software = (kept(&request.client_software_name), kept(&request.client_software_version));
        *ctx.connection.client_software.borrow_mut() = Some(software);
    }
    codec::encode(ctx, &response)
}

/// The answer, as a function of the image.
pub fn answer(image: &MetadataImage, request: &ApiVersionsRequest, version: i16) -> ApiVersionsResponse {
    if version >= 3 && !(is_software_name(&request.client_software_name) && is_software_name(&request.client_software_version)) {
        return ApiVersionsResponse::default().with_error_code(ErrorCode::InvalidRequest.code());
    }
    let entry = |spec: &api::ApiSpec| {
        ApiVersion::default().with_api_key(spec.key.code()).with_min_version(spec.advertised_min).with_max_version(spec.max)
    };
    // Who is told of the APIs of client metrics asks for its subscriptions every few minutes, whether or not there are any.
    let wanted = subscription::any(image);
    let served = api::ALL.iter().filter(|spec| wanted || !matches!(spec.key, ApiKey::GetTelemetrySubscriptions | ApiKey::PushTelemetry));
    let mut response = ApiVersionsResponse::default().with_api_keys(served.map(entry).collect());
    if version >= 3 {
        // Older Java clients throw at a minimum of 0 (KAFKA-17011).
        let told = features::supported().filter(|feature| version >= 4 || feature.min > 0);
        let supported = |feature: features::Feature| {
            SupportedFeatureKey::default().with_name(feature.name.into()).with_min_version(feature.min).with_max_version(feature.max)
        };
        response.supported_features = told.map(supported).collect();
        let finalized = |(name, level): (&std::sync::Arc<str>, i16)| {
            FinalizedFeatureKey::default().with_name(name.to_string().into()).with_min_version_level(level).with_max_version_level(level)
        };
        response.finalized_features = image.features().map(finalized).collect();
        // Clients ignore finalized features unless the epoch is 0 or more; Kafka's is an offset of its metadata log, ours an index.
        response.finalized_features_epoch = if response.finalized_features.is_empty() { -1 } else { image.position.index as i64 };
    }
    response
}

/// KIP-511: `[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?`.
fn is_software_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    let alphanumeric = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    alphanumeric(bytes.first())
        && alphanumeric(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::testing::World;
    use kafka_protocol::protocol::Encodable;

    fn request(name: &str, version: &str) -> ApiVersionsRequest {
        ApiVersionsRequest::default()
            .with_client_software_name(name.to_owned().into())
            .with_client_software_version(version.to_owned().into())
    }

    #[test]
    fn the_client_s_name_is_checked_from_version_3_on() {
        let image = World::new().image;
        let cases = [
            ("librdkafka", "2.15.0", 0),
            ("a", "1", 0),
            ("apache-kafka-java", "4.1.0-SNAPSHOT", 0),
            ("", "1", 42),
            ("a b", "1", 42),
            ("-x", "1", 42),
            ("x", "1.0-", 42),
            ("x", "", 42),
            ("ü", "1", 42),
        ];
        for (name, version, code) in cases {
            let response = answer(&image, &request(name, version), 3);
            assert_eq!(response.error_code, code, "{name:?} {version:?}");
            assert_eq!(response.api_keys.is_empty(), code != 0);
            assert_eq!(answer(&image, &request(name, version), 2).error_code, 0, "older versions have no name");
        }
    }

    #[test]
    fn what_is_told_is_what_the_table_says() {
        let response = answer(&World::new().image, &request("x", "1"), 4);
        let told: Vec<_> = response.api_keys.iter().map(|api| (api.api_key, api.min_version, api.max_version)).collect();
        let always = api::ALL.iter().filter(|spec| !matches!(spec.key.code(), 71 | 72));
        let table: Vec<_> = always.map(|spec| (spec.key.code(), spec.advertised_min, spec.max)).collect();
        assert_eq!(told, table);
        assert!(told.contains(&(0, 0, 13)), "Produce is told from 0 (KAFKA-18659)");
        assert!(told.contains(&(11, 0, 9)), "JoinGroup is told from 0");
    }

    #[test]
    fn features_come_with_version_3_and_an_epoch_that_clients_believe() {
        let image = World::new().image;
        for version in 0..=4 {
            let response = answer(&image, &request("x", "1"), version);
            let names: Vec<_> = response.finalized_features.iter().map(|feature| feature.name.to_string()).collect();
            if version < 3 {
                assert!(names.is_empty());
            } else {
                let known: Vec<_> = features::supported().map(|feature| feature.name).collect();
                assert_eq!(names, known, "a new cluster starts with all of them");
                assert!(response.finalized_features_epoch >= 0);
                assert!(
                    response.supported_features.iter().all(|feature| version >= 4 || feature.min_version > 0),
                    "older Java clients throw at 0"
                );
            }
            assert!(response.compute_size(version).is_ok());
        }
        let nothing = answer(&MetadataImage::empty(), &request("x", "1"), 4);
        assert_eq!(nothing.finalized_features_epoch, -1);
    }
}
