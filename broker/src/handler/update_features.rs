//! UpdateFeatures (key 57, v0-2): asks the controller to change finalized levels of features (KIP-584).
//!
//! - v1: the direction by a number, and trying without changing (KIP-778)
//! - v2: no result per feature: all of them or none (KIP-1022)

use std::rc::Rc;

use bytes::Bytes;
use coreline_wire::error_code::ErrorCode;
use kafka_protocol::messages::update_features_response::UpdatableFeatureResult;
use kafka_protocol::messages::{UpdateFeaturesRequest, UpdateFeaturesResponse};

use super::admin::{ask_controller, text, wrong_answer};
use super::{HandlerResult, RequestContext, codec};
use crate::controller::features::{FeatureUpdate, UpgradeType};
use crate::controller::{ApiError, ControllerRequest, ControllerResponse};
use crate::shard::Shard;

/// Asks the controller and answers when every shard knows the levels.
pub async fn handle(shard: &Rc<Shard>, ctx: &RequestContext, body: Bytes) -> HandlerResult {
    let request: UpdateFeaturesRequest = codec::decode(ctx, body)?;
    let asked = ask(&request, ctx.api_version, shard.node_id());
    let outcome = match ask_controller(shard, asked, request.timeout_ms).await {
        Ok(ControllerResponse::UpdateFeatures(result)) => result,
        Ok(_) => Err(wrong_answer()),
        Err(error) => Err(error),
    };
    codec::encode(ctx, &answer(&request, outcome, ctx.api_version))
}

fn ask(request: &UpdateFeaturesRequest, version: i16, node: i32) -> ControllerRequest {
    let updates = request.feature_updates.iter().map(|update| FeatureUpdate {
        name: update.feature.to_string(),
        level: update.max_version_level,
        direction: match (version, update.allow_downgrade) {
            (0, true) => UpgradeType::SafeDowngrade,
            (0, false) => UpgradeType::Upgrade,
            _ => UpgradeType::from_code(update.upgrade_type),
        },
    });
    ControllerRequest::UpdateFeatures { updates: updates.collect(), validate_only: request.validate_only, node }
}

fn answer(request: &UpdateFeaturesRequest, outcome: Result<(), ApiError>, version: i16) -> UpdateFeaturesResponse {
    let response = UpdateFeaturesResponse::default().with_error_message(None);
    if let Err(error) = outcome {
        // As Kafka puts it: which of the features was the bad one, the message says.
        let reason = error.message.unwrap_or_default();
        let message = match error.code {
            ErrorCode::InvalidUpdateVersion => {
                format!("The update failed for all features since the following feature had an error: {reason}")
            }
            _ => reason,
        };
        return response.with_error_code(error.code.code()).with_error_message(text(Some(message)));
    }
    if version >= 2 {
        return response;
    }
    let result = |name: &kafka_protocol::protocol::StrBytes| {
        // Kafka's sentence for no error.
        UpdatableFeatureResult::default().with_feature(name.clone()).with_error_code(0).with_error_message(Some("NONE".into()))
    };
    response.with_results(request.feature_updates.iter().map(|update| result(&update.feature)).collect())
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::update_features_request::FeatureUpdateKey;

    use super::*;

    #[test]
    fn the_direction_is_a_switch_first_and_a_number_later() {
        let direction = |version, allow_downgrade, upgrade_type| {
            let update = FeatureUpdateKey::default().with_allow_downgrade(allow_downgrade).with_upgrade_type(upgrade_type);
            match ask(&UpdateFeaturesRequest::default().with_feature_updates(vec![update]), version, 1) {
                ControllerRequest::UpdateFeatures { updates, .. } => updates[0].direction,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(direction(0, false, 1), UpgradeType::Upgrade);
        assert_eq!(direction(0, true, 1), UpgradeType::SafeDowngrade);
        for (code, meant) in [(1, UpgradeType::Upgrade), (2, UpgradeType::SafeDowngrade), (3, UpgradeType::UnsafeDowngrade)] {
            assert_eq!(direction(1, false, code), meant);
        }
        assert_eq!(direction(2, false, 0), UpgradeType::Unknown);
    }

    #[test]
    fn results_per_feature_go_with_version_2() {
        let updates = vec![FeatureUpdateKey::default().with_feature("group.version".into()).with_max_version_level(1)];
        let request = UpdateFeaturesRequest::default().with_feature_updates(updates);
        for version in 0..=2 {
            let done = answer(&request, Ok(()), version);
            assert_eq!((done.error_code, done.results.len()), (0, usize::from(version < 2)));
            let refused = answer(&request, Err(ApiError::new(ErrorCode::InvalidUpdateVersion, "why")), version);
            assert_eq!((refused.error_code, refused.results.len()), (95, 0));
            for response in [done, refused] {
                assert!(codec::encode(&RequestContext::for_test(57, version), &response).is_ok(), "v{version}");
            }
        }
    }
}
