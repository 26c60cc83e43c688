//! Settings: DescribeConfigs, AlterConfigs, IncrementalAlterConfigs.

use kafka_protocol::messages::{
    AlterConfigsRequest, DescribeConfigsRequest, DescribeConfigsResponse, IncrementalAlterConfigsRequest, alter_configs_request as ac,
    describe_configs_request as dc, incremental_alter_configs_request as ia,
};

use super::session::{Session, s, versions};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

/// Settings of brokers that are compared. Listeners, directories and thread counts are each broker's own.
const BROKER_KEYS: &[&str] = &[
    "auto.create.topics.enable",
    "compression.type",
    "default.replication.factor",
    "delete.topic.enable",
    "group.initial.rebalance.delay.ms",
    "group.max.session.timeout.ms",
    "group.min.session.timeout.ms",
    "log.cleanup.policy",
    "log.message.timestamp.after.max.ms",
    "log.message.timestamp.type",
    "log.retention.bytes",
    "log.retention.hours",
    "log.retention.ms",
    "log.segment.bytes",
    "message.max.bytes",
    "num.partitions",
    "offset.metadata.max.bytes",
    "offsets.retention.minutes",
    "offsets.topic.num.partitions",
    "socket.request.max.bytes",
];

/// All of this file.
pub fn cases(session: &mut Session) {
    session.create("settings", 1, &[("retention.ms", "1000"), ("cleanup.policy", "compact")]);
    describe(session);
    alter(session);
    alter_incrementally(session);
}

fn resource(kind: i8, name: &str, keys: Option<&[&str]>) -> dc::DescribeConfigsResource {
    dc::DescribeConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(s(name))
        .with_configuration_keys(keys.map(|k| k.iter().map(|k| s(k)).collect()))
}

fn request(resources: Vec<dc::DescribeConfigsResource>) -> DescribeConfigsRequest {
    DescribeConfigsRequest::default().with_resources(resources)
}

/// The answer with its settings in order of name and without the words of the documentation.
fn tell(_: &Session, response: &DescribeConfigsResponse) -> String {
    let mut response = response.clone();
    for result in &mut response.results {
        // Words on resources of no known kind are not worth comparing.
        result.error_message = result.error_message.take().filter(|_| [TOPIC, BROKER].contains(&result.resource_type));
        result.configs.sort_by(|a, b| a.name.cmp(&b.name));
        for config in &mut result.configs {
            config.documentation = config.documentation.as_ref().map(|text| s(if text.is_empty() { "" } else { "words" }));
        }
    }
    format!("{response:?}")
}

fn describe(session: &mut Session) {
    let name = session.name("settings");
    for version in versions(32) {
        let all = request(vec![resource(TOPIC, &name, None)]).with_include_synonyms(true);
        let all = if version >= 3 { all.with_include_documentation(true) } else { all };
        let answer = session.call(version, &all).unwrap();
        let mut configs = answer.results[0].configs.clone();
        configs.sort_by(|a, b| a.name.cmp(&b.name));
        for mut config in configs {
            // Kafka sets it for all brokers when it tracks eligible leader replicas.
            if config.name.as_str() == "min.insync.replicas" {
                continue;
            }
            config.documentation = config.documentation.as_ref().map(|text| s(if text.is_empty() { "" } else { "words" }));
            session.record(&format!("DescribeConfigs v{version} topic {}", config.name), &format!("{config:?}"));
        }
    }
    let keys = Some(BROKER_KEYS);
    for key in BROKER_KEYS {
        let one = request(vec![resource(BROKER, "1", Some(&[key]))]).with_include_synonyms(true).with_include_documentation(true);
        session.ask_as(&format!("broker {key}"), 4, &one, tell);
    }
    session.ask_as("all brokers", 4, &request(vec![resource(BROKER, "", keys)]).with_include_synonyms(true), tell);
    for (case, resources) in [
        ("filter", vec![resource(TOPIC, &name, Some(&["retention.ms", "cleanup.policy"]))]),
        ("unknown key", vec![resource(TOPIC, &name, Some(&["no.such.key", "retention.ms"]))]),
        ("empty filter", vec![resource(TOPIC, &name, Some(&[]))]),
        ("unknown topic", vec![resource(TOPIC, &session.name("nowhere"), None)]),
        ("invalid topic", vec![resource(TOPIC, "no where", None)]),
        ("empty topic", vec![resource(TOPIC, "", None)]),
        ("other broker", vec![resource(BROKER, "2", keys)]),
        ("broker that is no number", vec![resource(BROKER, "one", keys)]),
        ("resource type 0", vec![resource(0, "x", None)]),
        ("resource type 3", vec![resource(3, "x", None)]),
        ("resource type 99", vec![resource(99, "x", None)]),
        ("no resources", vec![]),
        ("resource twice", vec![resource(TOPIC, &name, Some(&["retention.ms"])), resource(TOPIC, &name, Some(&["segment.ms"]))]),
        ("two resources", vec![resource(TOPIC, &name, Some(&["retention.ms"])), resource(BROKER, "1", Some(&["num.partitions"]))]),
    ] {
        for version in versions(32) {
            if case == "empty filter" {
                session.ask_as(case, version, &request(resources.clone()), |_, r| {
                    format!("{} {}", r.results[0].error_code, r.results[0].configs.is_empty())
                });
                continue;
            }
            session.ask_as(case, version, &request(resources.clone()), tell);
        }
    }
}

fn shown(session: &mut Session, case: &str) {
    session.settle();
    let name = session.name("settings");
    let answer = session.call(4, &request(vec![resource(TOPIC, &name, None)])).unwrap();
    let mut set: Vec<String> = answer.results[0]
        .configs
        .iter()
        .filter(|c| c.config_source == 1)
        .map(|c| format!("{}={}", c.name, c.value.as_ref().map_or("null", |v| v.as_str())))
        .collect();
    set.sort();
    session.record(&format!("settings after {case}"), &format!("{set:?}"));
}

fn alter(session: &mut Session) {
    let name = session.name("settings");
    let change = |kind: i8, name: &str, configs: &[(&str, Option<&str>)]| {
        let configs = configs.iter().map(|(k, v)| ac::AlterableConfig::default().with_name(s(k)).with_value(v.map(s))).collect();
        AlterConfigsRequest::default().with_resources(vec![
            ac::AlterConfigsResource::default().with_resource_type(kind).with_resource_name(s(name)).with_configs(configs),
        ])
    };
    for version in versions(33) {
        let ms = format!("{version}000");
        session.ask("set", version, &change(TOPIC, &name, &[("retention.ms", Some(&ms)), ("segment.ms", Some("5000"))]));
        shown(session, &format!("alter v{version}"));
    }
    session.ask("set one only", 2, &change(TOPIC, &name, &[("retention.ms", Some("7000"))]));
    shown(session, "alter one only");
    let dry = change(TOPIC, &name, &[("retention.ms", Some("8000"))]).with_validate_only(true);
    session.ask("validate only", 2, &dry);
    shown(session, "alter validate only");
    let unknown = session.name("nowhere");
    for (case, kind, name, configs) in [
        ("unknown topic", TOPIC, unknown.as_str(), vec![("retention.ms", Some("1"))]),
        ("invalid topic", TOPIC, "no where", vec![("retention.ms", Some("1"))]),
        ("empty topic", TOPIC, "", vec![("retention.ms", Some("1"))]),
        ("unknown key", TOPIC, name.as_str(), vec![("no.such.key", Some("1"))]),
        ("bad value", TOPIC, name.as_str(), vec![("retention.ms", Some("soon"))]),
        ("null value", TOPIC, name.as_str(), vec![("retention.ms", None)]),
        ("key twice", TOPIC, name.as_str(), vec![("retention.ms", Some("1")), ("retention.ms", Some("2"))]),
        ("good and bad", TOPIC, name.as_str(), vec![("retention.ms", Some("9")), ("segment.bytes", Some("x"))]),
        ("resource type 99", 99, "x", vec![("a", Some("1"))]),
        ("other broker", BROKER, "2", vec![("num.partitions", Some("1"))]),
        ("read-only on broker", BROKER, "1", vec![("socket.request.max.bytes", Some("1"))]),
    ] {
        session.ask(case, 2, &change(kind, name, &configs));
    }
    shown(session, "bad alters");
    session.ask("no resources", 2, &AlterConfigsRequest::default());
    session.ask("nothing", 2, &change(TOPIC, &name, &[]));
    shown(session, "alter nothing");
}

fn alter_incrementally(session: &mut Session) {
    const SET: i8 = 0;
    const DELETE: i8 = 1;
    const APPEND: i8 = 2;
    const SUBTRACT: i8 = 3;
    type Change<'a> = (&'a str, i8, Option<&'a str>);
    let name = session.name("settings");
    let change = |kind: i8, name: &str, configs: &[Change<'_>]| {
        let configs = configs
            .iter()
            .map(|(k, op, v)| ia::AlterableConfig::default().with_name(s(k)).with_config_operation(*op).with_value(v.map(s)))
            .collect();
        IncrementalAlterConfigsRequest::default().with_resources(vec![
            ia::AlterConfigsResource::default().with_resource_type(kind).with_resource_name(s(name)).with_configs(configs),
        ])
    };
    let good: Vec<(&str, Vec<Change<'_>>)> = vec![
        ("set", vec![("retention.ms", SET, Some("2000")), ("segment.ms", SET, Some("6000"))]),
        ("delete", vec![("segment.ms", DELETE, None)]),
        ("delete what is not set", vec![("segment.ms", DELETE, None)]),
        ("append to the default", vec![("cleanup.policy", APPEND, Some("compact"))]),
        ("append again", vec![("cleanup.policy", APPEND, Some("compact"))]),
        ("subtract", vec![("cleanup.policy", SUBTRACT, Some("delete"))]),
        ("subtract what is not there", vec![("cleanup.policy", SUBTRACT, Some("delete"))]),
        ("subtract the last", vec![("cleanup.policy", SUBTRACT, Some("compact"))]),
        ("set two policies", vec![("cleanup.policy", SET, Some("compact,delete"))]),
        ("delete with a value", vec![("cleanup.policy", DELETE, Some("compact"))]),
        ("append a bad element", vec![("cleanup.policy", APPEND, Some("shred"))]),
        ("append to a number", vec![("retention.ms", APPEND, Some("5"))]),
        ("subtract from a number", vec![("retention.ms", SUBTRACT, Some("5"))]),
        ("set null", vec![("retention.ms", SET, None)]),
        ("append null", vec![("cleanup.policy", APPEND, None)]),
        ("unknown key", vec![("no.such.key", SET, Some("5"))]),
        ("delete an unknown key", vec![("no.such.key", DELETE, None)]),
        ("append to an unknown key", vec![("no.such.key", APPEND, Some("1"))]),
        ("bad value", vec![("retention.ms", SET, Some("soon"))]),
        ("out of bounds", vec![("segment.bytes", SET, Some("1"))]),
        ("empty value", vec![("retention.ms", SET, Some(""))]),
        ("key twice", vec![("retention.ms", SET, Some("1")), ("retention.ms", DELETE, None)]),
        ("empty key", vec![("", SET, Some("1"))]),
        ("good and bad", vec![("retention.ms", SET, Some("99")), ("segment.bytes", SET, Some("x"))]),
        ("value with spaces", vec![("retention.ms", SET, Some(" 3000 "))]),
        ("min over max compaction lag", vec![("min.compaction.lag.ms", SET, Some("500")), ("max.compaction.lag.ms", SET, Some("100"))]),
        ("append two replicas", vec![("leader.replication.throttled.replicas", APPEND, Some("0:1,1:1"))]),
        ("subtract one replica", vec![("leader.replication.throttled.replicas", SUBTRACT, Some("0:1"))]),
        ("all replicas", vec![("leader.replication.throttled.replicas", SET, Some("*"))]),
        ("delete replicas", vec![("leader.replication.throttled.replicas", DELETE, None)]),
        ("gzip level 0", vec![("compression.gzip.level", SET, Some("0"))]),
        ("gzip level 10", vec![("compression.gzip.level", SET, Some("10"))]),
        ("lz4 level 18", vec![("compression.lz4.level", SET, Some("18"))]),
        ("zstd level 23", vec![("compression.zstd.level", SET, Some("23"))]),
        (
            "levels",
            vec![
                ("compression.gzip.level", SET, Some("1")),
                ("compression.lz4.level", SET, Some("1")),
                ("compression.zstd.level", SET, Some("-5")),
            ],
        ),
        ("preallocate", vec![("preallocate", SET, Some("true"))]),
        ("no tiered storage", vec![("remote.storage.enable", SET, Some("false"))]),
        ("nothing", vec![]),
    ];
    for (case, changes) in good {
        session.ask(case, 1, &change(TOPIC, &name, &changes));
        shown(session, &format!("incremental {case}"));
    }
    session.ask("set", 0, &change(TOPIC, &name, &[("retention.ms", SET, Some("4000"))]));
    for (case, key, value) in [
        ("bad replica", "leader.replication.throttled.replicas", "0-1"),
        ("tiered storage", "remote.storage.enable", "true"),
        ("local below total retention", "local.retention.ms", "500"),
        ("bad local retention", "local.retention.ms", "-3"),
    ] {
        // The words on these are each broker's own.
        session.ask_as(case, 1, &change(TOPIC, &name, &[(key, SET, Some(value))]), |_, r| format!("{}", r.responses[0].error_code));
    }
    let dry = change(TOPIC, &name, &[("retention.ms", SET, Some("8000"))]).with_validate_only(true);
    session.ask("validate only", 1, &dry);
    let dry = change(TOPIC, &name, &[("retention.ms", SET, Some("x"))]).with_validate_only(true);
    session.ask("validate only bad", 1, &dry);
    shown(session, "incremental validate only");
    let unknown = session.name("nowhere");
    for (case, kind, name) in [
        ("unknown topic", TOPIC, unknown.as_str()),
        ("invalid topic", TOPIC, "no where"),
        ("empty topic", TOPIC, ""),
        ("resource type 99", 99, "x"),
        ("resource type 3", 3, "x"),
        ("other broker", BROKER, "2"),
        ("broker that is no number", BROKER, "one"),
    ] {
        session.ask(case, 1, &change(kind, name, &[("retention.ms", SET, Some("1"))]));
    }
    for (case, broker, key, value) in [
        ("read-only on broker", "1", "socket.request.max.bytes", "1"),
        ("dynamic on broker", "1", "log.retention.ms", "100000000"),
        ("bad value on broker", "1", "log.retention.ms", "x"),
        ("unknown on broker", "1", "no.such.key", "x"),
        ("dynamic on all brokers", "", "log.retention.ms", "200000000"),
        ("per-broker key on all brokers", "", "listeners", "PLAINTEXT://:1"),
    ] {
        session.ask(case, 1, &change(BROKER, broker, &[(key, SET, Some(value))]));
    }
    session.settle();
    let asked = request(vec![resource(BROKER, "1", Some(&["log.retention.ms"])), resource(BROKER, "", Some(&["log.retention.ms"]))]);
    session.ask_as("after dynamic changes", 4, &asked.with_include_synonyms(true), tell);
    for broker in ["1", ""] {
        session.ask(&format!("dynamic deleted on '{broker}'"), 1, &change(BROKER, broker, &[("log.retention.ms", DELETE, None)]));
    }
    session.ask("no resources", 1, &IncrementalAlterConfigsRequest::default());
    let mut twice = change(TOPIC, &name, &[("retention.ms", SET, Some("1"))]);
    twice.resources.push(twice.resources[0].clone());
    session.ask("resource twice", 1, &twice);
}
