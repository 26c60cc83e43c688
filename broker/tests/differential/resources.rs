//! Settings of what is neither topic nor broker: groups, client metrics, loggers; ListConfigResources.

use kafka_protocol::messages::{
    AlterConfigsRequest, DescribeConfigsRequest, DescribeConfigsResponse, IncrementalAlterConfigsRequest, ListConfigResourcesRequest,
    ListConfigResourcesResponse, alter_configs_request as ac, describe_configs_request as dc, incremental_alter_configs_request as ia,
};

use super::session::{Session, all, s};

const BROKER_LOGGER: i8 = 8;
const CLIENT_METRICS: i8 = 16;
const GROUP: i8 = 32;

/// All of this file.
pub fn cases(session: &mut Session) {
    session.create("listed", 1, &[]);
    described(session, "never set");
    wrong(session);
    good(session);
    listed(session);
}

/// Settings of groups that both brokers have, at the same default: those of share and streams groups are not here, and assignments are
/// not put off while they are recorded.
fn is_ours(name: &str) -> bool {
    !name.starts_with("share.") && !name.starts_with("streams.") && name != "consumer.assignment.interval.ms"
}

/// In order of name, without the words of the documentation.
fn tell(_: &Session, response: &DescribeConfigsResponse) -> String {
    let mut response = response.clone();
    for result in &mut response.results {
        result.configs.retain(|c| is_ours(&c.name));
        result.configs.sort_by(|a, b| a.name.cmp(&b.name));
        for config in &mut result.configs {
            config.documentation = config.documentation.as_ref().map(|text| s(if text.is_empty() { "" } else { "words" }));
        }
    }
    response.results.sort_by(|a, b| a.resource_name.cmp(&b.resource_name));
    format!("{response:?}")
}

fn look(kind: i8, name: &str, keys: Option<&[&str]>) -> DescribeConfigsRequest {
    let resource = dc::DescribeConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(s(name))
        .with_configuration_keys(keys.map(|k| k.iter().map(|k| s(k)).collect()));
    DescribeConfigsRequest::default().with_resources(vec![resource])
}

fn described(session: &mut Session, when: &str) {
    let (group, metrics) = (session.name("g"), session.name("m"));
    for version in all::<DescribeConfigsRequest>() {
        for (what, kind, name) in [("group", GROUP, &group), ("client metrics", CLIENT_METRICS, &metrics)] {
            let full = look(kind, name, None).with_include_synonyms(true);
            let full = if version >= 3 { full.with_include_documentation(true) } else { full };
            session.ask_as(&format!("{what}, {when}"), version, &full, tell);
            let some = look(kind, name, Some(&["consumer.session.timeout.ms", "interval.ms", "no.such.key"]));
            session.ask_as(&format!("{what}, some keys, {when}"), version, &some, tell);
            let none = look(kind, "", None);
            session.ask_as(&format!("{what} without name, {when}"), version, &none, tell);
        }
        for (case, name) in [("other broker", "2"), ("no broker", ""), ("no number", "one")] {
            let request = look(BROKER_LOGGER, name, None);
            session.ask_as(&format!("loggers of {case}, {when}"), version, &request, |_, r| {
                r.results.iter().map(|r| format!("{} {} {}", r.error_code, r.resource_type, r.configs.len())).collect()
            });
        }
    }
}

fn change(kind: i8, name: &str, changes: &[(&str, i8, Option<&str>)]) -> IncrementalAlterConfigsRequest {
    let configs = changes
        .iter()
        .map(|(k, op, v)| ia::AlterableConfig::default().with_name(s(k)).with_config_operation(*op).with_value(v.map(s)))
        .collect();
    IncrementalAlterConfigsRequest::default().with_resources(vec![
        ia::AlterConfigsResource::default().with_resource_type(kind).with_resource_name(s(name)).with_configs(configs),
    ])
}

fn wrong(session: &mut Session) {
    let (group, metrics) = (session.name("g"), session.name("m"));
    let (group, metrics) = (group.as_str(), metrics.as_str());
    for version in all::<IncrementalAlterConfigsRequest>() {
        for (case, kind, name, key, op, value) in [
            ("group, unknown key", GROUP, group, "no.such.key", 0, Some("1")),
            ("group, no number", GROUP, group, "consumer.session.timeout.ms", 0, Some("soon")),
            ("group, session too short", GROUP, group, "consumer.session.timeout.ms", 0, Some("1000")),
            ("group, session too long", GROUP, group, "consumer.session.timeout.ms", 0, Some("100000000")),
            ("group, heartbeat too short", GROUP, group, "consumer.heartbeat.interval.ms", 0, Some("1")),
            ("group, heartbeat too long", GROUP, group, "consumer.heartbeat.interval.ms", 0, Some("50000")),
            ("group, null value", GROUP, group, "consumer.session.timeout.ms", 0, None),
            ("group, empty value", GROUP, group, "consumer.session.timeout.ms", 0, Some("")),
            ("group, empty key", GROUP, group, "", 0, Some("1")),
            ("group, appended", GROUP, group, "consumer.session.timeout.ms", 2, Some("1")),
            ("group, operation 9", GROUP, group, "consumer.session.timeout.ms", 9, Some("50000")),
            ("group, deleted but never set", GROUP, group, "consumer.session.timeout.ms", 1, None),
            ("group without name", GROUP, "", "consumer.session.timeout.ms", 0, Some("50000")),
            ("metrics, unknown key", CLIENT_METRICS, metrics, "no.such.key", 0, Some("1")),
            ("metrics, interval no number", CLIENT_METRICS, metrics, "interval.ms", 0, Some("soon")),
            ("metrics, interval too short", CLIENT_METRICS, metrics, "interval.ms", 0, Some("1")),
            ("metrics, interval too long", CLIENT_METRICS, metrics, "interval.ms", 0, Some("100000000")),
            ("metrics, match without key", CLIENT_METRICS, metrics, "match", 0, Some("nothing")),
            ("metrics, match on an unknown key", CLIENT_METRICS, metrics, "match", 0, Some("colour=red")),
            ("metrics, match with a bad expression", CLIENT_METRICS, metrics, "match", 0, Some("client_id=(")),
            ("metrics without name", CLIENT_METRICS, "", "interval.ms", 0, Some("1000")),
            ("metrics, empty list", CLIENT_METRICS, metrics, "metrics", 0, Some("")),
        ] {
            let request = change(kind, name, &[(key, op, value)]);
            session.ask(&format!("{case}, on trial"), version, &request.clone().with_validate_only(true));
            session.ask(case, version, &request);
            session.settle();
            let undo = change(kind, name, &[(key, 1, None)]);
            session.call(version, &undo);
        }
        for (case, name, logger, op, value) in [
            ("loggers of another broker", "2", "root", 0, Some("INFO")),
            ("loggers of no broker", "", "root", 0, Some("INFO")),
            ("logger that is not there", "1", "no.such.logger", 0, Some("INFO")),
            ("logger to no level", "1", "root", 0, Some("LOUD")),
            ("logger appended", "1", "root", 2, Some("INFO")),
        ] {
            let request = change(BROKER_LOGGER, name, &[(logger, op, value)]);
            session.ask(case, version, &request);
        }
        for kind in [0, 1, 3, 5, 64, -1] {
            let request = change(kind, "x", &[("k", 0, Some("1"))]);
            session.ask(&format!("resource type {kind}"), version, &request);
            session.reconnect();
        }
    }
    for version in all::<AlterConfigsRequest>() {
        for (case, kind, name, key, value) in [
            ("group", GROUP, group, "consumer.session.timeout.ms", Some("50000")),
            ("group, unknown key", GROUP, group, "no.such.key", Some("1")),
            ("group without name", GROUP, "", "consumer.session.timeout.ms", Some("50000")),
            ("metrics", CLIENT_METRICS, metrics, "interval.ms", Some("5000")),
            ("metrics, unknown key", CLIENT_METRICS, metrics, "no.such.key", Some("5000")),
            ("loggers", BROKER_LOGGER, "1", "root", Some("INFO")),
        ] {
            let config = ac::AlterableConfig::default().with_name(s(key)).with_value(value.map(s));
            let resource =
                ac::AlterConfigsResource::default().with_resource_type(kind).with_resource_name(s(name)).with_configs(vec![config]);
            let request = AlterConfigsRequest::default().with_resources(vec![resource]).with_validate_only(true);
            session.ask(&format!("{case}, on trial"), version, &request);
        }
    }
}

fn good(session: &mut Session) {
    let (group, metrics) = (session.name("g"), session.name("m"));
    let request =
        change(GROUP, &group, &[("consumer.session.timeout.ms", 0, Some("50000")), ("consumer.heartbeat.interval.ms", 0, Some("6000"))]);
    session.ask("group set", 1, &request);
    let request = change(
        CLIENT_METRICS,
        &metrics,
        &[
            ("interval.ms", 0, Some("5000")),
            ("metrics", 0, Some("org.apache.kafka.consumer.")),
            ("match", 0, Some("client_id=zq.*,client_software_name=.*")),
        ],
    );
    session.ask("metrics set", 1, &request);
    session.settle();
    described(session, "set");
    let request = change(CLIENT_METRICS, &metrics, &[("metrics", 2, Some("org.apache.kafka.producer."))]);
    session.ask("metrics appended", 1, &request);
    session.settle();
    described(session, "appended");
    let request = change(CLIENT_METRICS, &metrics, &[("metrics", 3, Some("org.apache.kafka.consumer.")), ("match", 1, None)]);
    session.ask("metrics subtracted", 1, &request);
    let request = change(GROUP, &group, &[("consumer.heartbeat.interval.ms", 1, None)]);
    session.ask("group, one deleted", 1, &request);
    session.settle();
    described(session, "some deleted");
}

fn listed(session: &mut Session) {
    let tell = |session: &Session, response: &ListConfigResourcesResponse| {
        let mut response = response.clone();
        // Other topics than the one of this file, and the internal ones, are of no interest.
        response.config_resources.retain(|r| !matches!(r.resource_type, 2 | 16 | 32) || session.is_mine(&r.resource_name));
        response.config_resources.sort_by(|a, b| (a.resource_type, &a.resource_name).cmp(&(b.resource_type, &b.resource_name)));
        format!("{response:?}")
    };
    session.ask_as("client metrics", 0, &ListConfigResourcesRequest::default(), tell);
    for types in [&[][..], &[2], &[4], &[8], &[16], &[32], &[16, 32], &[2, 4, 8, 16, 32], &[16, 16], &[0], &[1], &[99], &[-1], &[16, 99]] {
        let request = ListConfigResourcesRequest::default().with_resource_types(types.to_vec());
        session.ask_as(&format!("types {types:?}"), 1, &request, tell);
        session.reconnect();
    }
    for (kind, name, keys) in
        [(GROUP, session.name("g"), &["consumer.session.timeout.ms"][..]), (CLIENT_METRICS, session.name("m"), &["interval.ms", "metrics"])]
    {
        let changes: Vec<(&str, i8, Option<&str>)> = keys.iter().map(|k| (*k, 1, None)).collect();
        let request = change(kind, &name, &changes);
        session.ask(&format!("the last of type {kind} deleted"), 1, &request);
    }
    session.settle();
    described(session, "deleted");
    session.ask_as("nothing is set any more", 1, &ListConfigResourcesRequest::default().with_resource_types(vec![16, 32]), tell);
}
