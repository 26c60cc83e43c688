//! DescribeCluster (key 60, v0-2): the cluster's id, controller and brokers.
//!
//! - v1: the type of endpoints asked for (KIP-919); controllers have none of their own here
//! - v2: fenced brokers on request (KIP-1073)

use std::rc::Rc;

use bytes::Bytes;
use coreline_wire::error_code::ErrorCode;
use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::{BrokerId, DescribeClusterRequest, DescribeClusterResponse};

use super::admin::{CLUSTER_OPERATIONS, OPERATIONS_NOT_ASKED};
use super::{HandlerResult, RequestContext, codec};
use crate::metadata::MetadataImage;
use crate::shard::Shard;

const ENDPOINT_BROKER: i8 = 1;
const ENDPOINT_CONTROLLER: i8 = 2;

/// Answers at once from this shard's image.
pub async fn handle(shard: &Rc<Shard>, ctx: &RequestContext, body: Bytes) -> HandlerResult {
    let request: DescribeClusterRequest = codec::decode(ctx, body)?;
    codec::encode(ctx, &answer(&shard.image(), &request))
}

/// The answer, as a function of the image.
pub fn answer(image: &MetadataImage, request: &DescribeClusterRequest) -> DescribeClusterResponse {
    let refuse = |code: ErrorCode, message: String| {
        DescribeClusterResponse::default()
            .with_error_code(code.code())
            .with_error_message(Some(message.into()))
            .with_controller_id(BrokerId(-1))
            .with_cluster_authorized_operations(OPERATIONS_NOT_ASKED)
    };
    match request.endpoint_type {
        ENDPOINT_BROKER => {}
        ENDPOINT_CONTROLLER => {
            let message = "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER";
            return refuse(ErrorCode::MismatchedEndpointType, message.to_owned());
        }
        other => return refuse(ErrorCode::UnsupportedEndpointType, format!("Unsupported endpoint type {other}")),
    }
    let brokers = image.brokers().filter(|broker| request.include_fenced_brokers || !broker.fenced).filter_map(|broker| {
        let endpoint = broker.endpoints.first()?;
        Some(
            DescribeClusterBroker::default()
                .with_broker_id(BrokerId(broker.id))
                .with_host(endpoint.host.clone().into())
                .with_port(endpoint.port.into())
                .with_rack(broker.rack.as_ref().map(|rack| rack.to_string().into()))
                .with_is_fenced(broker.fenced),
        )
    });
    let asked = request.include_cluster_authorized_operations;
    DescribeClusterResponse::default()
        .with_endpoint_type(ENDPOINT_BROKER)
        .with_cluster_id(image.cluster_id.to_string().into())
        .with_controller_id(BrokerId(image.controller_id))
        .with_brokers(brokers.collect())
        .with_cluster_authorized_operations(if asked { CLUSTER_OPERATIONS } else { OPERATIONS_NOT_ASKED })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::ControllerRequest;
    use crate::controller::testing::World;
    use kafka_protocol::protocol::Encodable;

    #[test]
    fn brokers_are_told_with_the_fenced_ones_on_request() {
        let mut world = World::new();
        world.register(2);
        world.image.controller_id = 1;
        let epoch = world.image.broker(2).expect("registered").epoch;
        let _ = world.submit(&ControllerRequest::FenceBroker { id: 2, epoch });
        let request = DescribeClusterRequest::default().with_endpoint_type(1);
        let response = answer(&world.image, &request);
        let told = |response: &DescribeClusterResponse| -> Vec<_> {
            response.brokers.iter().map(|b| (b.broker_id.0, b.host.to_string(), b.port, b.is_fenced)).collect()
        };
        assert_eq!(told(&response), [(1, "127.0.0.1".to_owned(), 9092, false)]);
        assert_eq!((response.controller_id.0, response.cluster_id.len()), (1, 22));
        assert_eq!(response.cluster_authorized_operations, i32::MIN);
        let all = request.clone().with_include_fenced_brokers(true).with_include_cluster_authorized_operations(true);
        let response = answer(&world.image, &all);
        assert_eq!(told(&response)[1], (2, "127.0.0.1".to_owned(), 9093, true));
        assert_eq!(response.cluster_authorized_operations, 8096);
        assert!(response.compute_size(2).is_ok());
    }

    #[test]
    fn other_endpoint_types_are_refused() {
        let image = World::new().image;
        let code = |endpoint_type| answer(&image, &DescribeClusterRequest::default().with_endpoint_type(endpoint_type)).error_code;
        assert_eq!((code(1), code(2), code(0), code(7)), (0, 114, 115, 115));
    }
}
