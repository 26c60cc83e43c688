//! Telemetry of clients (KIP-714): GetTelemetrySubscriptions and PushTelemetry. Kafka serves them once it has a receiver of metrics, which
//! `differential/Receiver.java` is: recorded with it on the class path and `metric.reporters=Receiver`.

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::{
    GetTelemetrySubscriptionsRequest, GetTelemetrySubscriptionsResponse, IncrementalAlterConfigsRequest, PushTelemetryRequest,
    incremental_alter_configs_request as ia,
};
use uuid::Uuid;

use super::session::{Session, s};

/// All of this file.
pub fn cases(session: &mut Session) {
    // Ours tells clients of these APIs while somebody's metrics are asked for.
    let set = |key: &str, value: &str| ia::AlterableConfig::default().with_name(s(key)).with_value(Some(s(value))).with_config_operation(0);
    let resource = ia::AlterConfigsResource::default()
        .with_resource_type(16)
        .with_resource_name(s("elsewhere"))
        .with_configs(vec![set("metrics", "org.apache.kafka.consumer."), set("match", "client_id=somebody-else")]);
    session.call(1, &IncrementalAlterConfigsRequest::default().with_resources(vec![resource]));
    session.settle();
    session.ask_what_is_served_again();
    if !session.serves(71, 0) || !session.serves(72, 0) {
        session.skip_the_rest();
        return;
    }
    unsubscribed(session);
    subscribed(session);
}

fn get(session: &mut Session, case: &str, id: Uuid) -> GetTelemetrySubscriptionsResponse {
    let request = GetTelemetrySubscriptionsRequest::default().with_client_instance_id(id);
    session.ask_as(case, 0, &request, tell).unwrap()
}

/// The number of a subscription is a checksum of what it asks for: only whether there is one.
fn tell(_: &Session, response: &GetTelemetrySubscriptionsResponse) -> String {
    let mut response = response.clone();
    response.subscription_id = i32::from(response.subscription_id != 0);
    response.requested_metrics.sort();
    format!("{response:?}")
}

fn push(id: Uuid, subscription: i32, metrics: &'static [u8]) -> PushTelemetryRequest {
    PushTelemetryRequest::default()
        .with_client_instance_id(id)
        .with_subscription_id(subscription)
        .with_compression_type(0)
        .with_metrics(Bytes::from_static(metrics))
}

fn unsubscribed(session: &mut Session) {
    // Where nothing is asked for.
    let told = get(session, "nothing asked for", Uuid::nil());
    let id = told.client_instance_id;
    get(session, "again, at once", id);
    session.ask("nothing asked for", 0, &push(id, told.subscription_id, b""));
    session.ask("of a nil id", 0, &push(Uuid::nil(), 1, b""));
    let own = Uuid::from_u128(0x1234_5678_1234_5678_1234_5678_1234_5678);
    get(session, "an id of the client's own", own);
    session.ask("unknown id", 0, &push(Uuid::from_u128(77), 1, b""));
}

fn subscribed(session: &mut Session) {
    let name = session.name("telemetry");
    let set = |key: &str, value: &str| ia::AlterableConfig::default().with_name(s(key)).with_value(Some(s(value))).with_config_operation(0);
    let resource = |configs| ia::AlterConfigsResource::default().with_resource_type(16).with_resource_name(s(&name)).with_configs(configs);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource(vec![
        set("interval.ms", "100"),
        set("metrics", "org.apache.kafka.consumer.,org.apache.kafka.producer."),
        set("match", "client_id=test"),
    ])]);
    session.ask("telemetry", 1, &request);
    session.settle();
    let told = get(session, "asked for", Uuid::nil());
    let (id, subscription) = (told.client_instance_id, told.subscription_id);
    let wait = || std::thread::sleep(Duration::from_millis(150));
    for (case, request) in [
        ("wrong subscription", push(id, subscription.wrapping_add(1), b"")),
        ("unknown compression", push(id, subscription, b"x").with_compression_type(99)),
        ("negative compression", push(id, subscription, b"x").with_compression_type(-1)),
        ("bad compressed bytes", push(id, subscription, b"no gzip at all").with_compression_type(1)),
        ("nothing", push(id, subscription, b"")),
        ("no metrics but bytes", push(id, subscription, b"\xff\xff\xff\xff\xff")),
        ("terminating", push(id, subscription, b"").with_terminating(true)),
        ("after terminating", push(id, subscription, b"")),
        ("terminating again", push(id, subscription, b"").with_terminating(true)),
    ] {
        wait();
        session.ask(case, 0, &request);
    }
    wait();
    get(session, "after terminating", id);
    let told = get(session, "a second client", Uuid::nil());
    let request = push(told.client_instance_id, told.subscription_id, b"");
    // Which came first, the question or the push, is told apart by the millisecond.
    std::thread::sleep(Duration::from_millis(5));
    session.ask("second client", 0, &request);
    session.ask("second client, at once again", 0, &request);
    let big = push(told.client_instance_id, told.subscription_id, &[0; 2 << 20]);
    wait();
    session.ask("second client, too much", 0, &big);
    let delete = |key: &str| ia::AlterableConfig::default().with_name(s(key)).with_config_operation(1);
    let resource = |configs| ia::AlterConfigsResource::default().with_resource_type(16).with_resource_name(s(&name)).with_configs(configs);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource(vec![
        delete("interval.ms"),
        delete("metrics"),
        delete("match"),
    ])]);
    session.ask("telemetry deleted", 1, &request);
}
