//! Client quotas: DescribeClientQuotas and AlterClientQuotas.

use kafka_protocol::messages::{
    AlterClientQuotasRequest, AlterClientQuotasResponse, DescribeClientQuotasRequest, DescribeClientQuotasResponse,
    alter_client_quotas_request as aq, describe_client_quotas_request as dq,
};

use super::session::{Session, all, s};

/// Name of an entity: as it is, of this run with `*` before, or the default.
type Entity = (&'static str, Option<&'static str>);

fn name(session: &Session, name: &str) -> String {
    name.strip_prefix('*').map_or_else(|| name.to_string(), |name| session.name(name))
}

fn entry(session: &Session, entity: &[Entity], ops: &[(&str, f64, bool)]) -> aq::EntryData {
    let part =
        |(kind, who): &Entity| aq::EntityData::default().with_entity_type(s(kind)).with_entity_name(who.map(|who| s(&name(session, who))));
    let op = |(key, value, remove): &(&str, f64, bool)| aq::OpData::default().with_key(s(key)).with_value(*value).with_remove(*remove);
    aq::EntryData::default().with_entity(entity.iter().map(part).collect()).with_ops(ops.iter().map(op).collect())
}

fn alter(entries: Vec<aq::EntryData>) -> AlterClientQuotasRequest {
    AlterClientQuotasRequest::default().with_entries(entries)
}

/// What is set for this run's names and for defaults, in order.
fn tell(session: &Session, response: &DescribeClientQuotasResponse) -> String {
    let mut response = response.clone();
    for entry in response.entries.iter_mut().flatten() {
        entry.entity.sort_by(|a, b| a.entity_type.cmp(&b.entity_type));
        entry.values.sort_by(|a, b| a.key.cmp(&b.key));
    }
    if let Some(entries) = &mut response.entries {
        entries.retain(|e| e.entity.iter().all(|e| e.entity_name.as_ref().is_none_or(|n| session.is_mine(n) || n.contains('.'))));
        entries.sort_by_key(|e| format!("{e:?}"));
    }
    format!("{response:?}")
}

/// In order: Kafka's is that of a hash map.
fn tell_altered(_: &Session, response: &AlterClientQuotasResponse) -> String {
    let mut response = response.clone();
    response.entries.iter_mut().for_each(|e| e.entity.sort_by(|a, b| a.entity_type.cmp(&b.entity_type)));
    response.entries.sort_by_key(|e| format!("{:?}", e.entity));
    format!("{response:?}")
}

fn describe(session: &Session, components: &[(&str, i8, Option<&str>)], strict: bool) -> DescribeClientQuotasRequest {
    let component = |(kind, how, who): &(&str, i8, Option<&str>)| {
        dq::ComponentData::default().with_entity_type(s(kind)).with_match_type(*how).with_match(who.map(|w| s(&name(session, w))))
    };
    DescribeClientQuotasRequest::default().with_components(components.iter().map(component).collect()).with_strict(strict)
}

/// All of this file.
pub fn cases(session: &mut Session) {
    if !session.serves(48, 0) || !session.serves(49, 0) {
        session.skip_the_rest();
        return;
    }
    nothing(session);
    refused(session);
    kept(session);
    removed(session);
}

fn nothing(session: &mut Session) {
    for version in all::<DescribeClientQuotasRequest>() {
        for (case, components) in [
            ("unknown user", &[("user", 0, Some("*nobody"))][..]),
            ("unknown type", &[("robot", 0, Some("x"))]),
            ("empty type", &[("", 0, Some("x"))]),
            ("type in capitals", &[("User", 0, Some("x"))]),
            ("match type 3", &[("user", 3, None)]),
            ("match type -1", &[("user", -1, None)]),
            ("exact without name", &[("user", 0, None)]),
            ("default with name", &[("user", 1, Some("*x"))]),
            ("any with name", &[("user", 2, Some("*x"))]),
            ("empty name", &[("user", 0, Some(""))]),
            ("type twice", &[("user", 0, Some("*x")), ("user", 0, Some("*y"))]),
            ("ip and user", &[("ip", 0, Some("10.1.2.3")), ("user", 0, Some("*x"))]),
            ("ip that is none", &[("ip", 0, Some("not an address"))]),
        ] {
            for strict in [false, true] {
                let request = describe(session, components, strict);
                session.ask_as(&format!("{case}{}", if strict { ", strict" } else { "" }), version, &request, tell);
                session.reconnect();
            }
        }
    }
}

fn refused(session: &mut Session) {
    const USER: Entity = ("user", Some("*u"));
    let bad: Vec<(&str, Vec<Entity>, Vec<(&str, f64, bool)>)> = vec![
        ("unknown key", vec![USER], vec![("no_such_rate", 1.0, false)]),
        ("unknown key removed", vec![USER], vec![("no_such_rate", 0.0, true)]),
        ("empty key", vec![USER], vec![("", 1.0, false)]),
        ("negative", vec![USER], vec![("producer_byte_rate", -1.0, false)]),
        ("zero", vec![USER], vec![("producer_byte_rate", 0.0, false)]),
        ("fraction of a byte", vec![USER], vec![("producer_byte_rate", 0.5, false)]),
        ("bytes and a half", vec![USER], vec![("producer_byte_rate", 1000.5, false)]),
        ("not a number", vec![USER], vec![("producer_byte_rate", f64::NAN, false)]),
        ("infinite", vec![USER], vec![("producer_byte_rate", f64::INFINITY, false)]),
        ("huge", vec![USER], vec![("producer_byte_rate", 1e19, false)]),
        ("negative percentage", vec![USER], vec![("request_percentage", -0.5, false)]),
        ("zero percentage", vec![USER], vec![("request_percentage", 0.0, false)]),
        ("connection rate of a user", vec![USER], vec![("connection_creation_rate", 10.0, false)]),
        ("byte rate of an ip", vec![("ip", Some("10.1.2.3"))], vec![("producer_byte_rate", 1e9, false)]),
        ("half a connection", vec![("ip", Some("10.1.2.3"))], vec![("connection_creation_rate", 0.5, false)]),
        ("ip that is none", vec![("ip", Some("not an address"))], vec![("connection_creation_rate", 10.0, false)]),
        ("ip that is a name", vec![("ip", Some("no-such-host.invalid"))], vec![("connection_creation_rate", 10.0, false)]),
        ("ip and user", vec![("ip", Some("10.1.2.3")), USER], vec![("connection_creation_rate", 10.0, false)]),
        ("unknown type", vec![("robot", Some("*r"))], vec![("producer_byte_rate", 1e9, false)]),
        ("empty type", vec![("", Some("*r"))], vec![("producer_byte_rate", 1e9, false)]),
        ("no entity", vec![], vec![("producer_byte_rate", 1e9, false)]),
        ("empty name", vec![("user", Some(""))], vec![("producer_byte_rate", 1e9, false)]),
        ("type twice", vec![USER, ("user", Some("*v"))], vec![("producer_byte_rate", 1e9, false)]),
        ("no changes", vec![USER], vec![]),
        ("key twice", vec![USER], vec![("producer_byte_rate", 1e9, false), ("producer_byte_rate", 2e9, false)]),
        ("removed that is not there", vec![USER], vec![("consumer_byte_rate", 0.0, true)]),
    ];
    for version in all::<AlterClientQuotasRequest>() {
        for (case, entity, ops) in &bad {
            for trial in [true, false] {
                let request = alter(vec![entry(session, entity, ops)]).with_validate_only(trial);
                session.ask_as(&format!("{case}{}", if trial { ", on trial" } else { "" }), version, &request, tell_altered);
            }
            session.settle();
            // What was not refused is taken back.
            let undo: Vec<(&str, f64, bool)> = ops.iter().map(|(key, ..)| (*key, 0.0, true)).take(1).collect();
            let request = alter(vec![entry(session, entity, &undo)]);
            session.call(version, &request);
        }
        session.ask("no entries", version, &alter(vec![]));
    }
}

fn kept(session: &mut Session) {
    let sets: Vec<(&str, Vec<Entity>, Vec<(&str, f64, bool)>)> = vec![
        ("user", vec![("user", Some("*u"))], vec![("producer_byte_rate", 1e9, false), ("consumer_byte_rate", 2e9, false)]),
        ("client", vec![("client-id", Some("*c"))], vec![("request_percentage", 200.5, false)]),
        ("user and client", vec![("user", Some("*u")), ("client-id", Some("*c"))], vec![("controller_mutation_rate", 1000.5, false)]),
        (
            "client and user, the other way round",
            vec![("client-id", Some("*d")), ("user", Some("*u"))],
            vec![("producer_byte_rate", 3e9, false)],
        ),
        ("user and default client", vec![("user", Some("*u")), ("client-id", None)], vec![("producer_byte_rate", 4e9, false)]),
        ("default user", vec![("user", None)], vec![("producer_byte_rate", 5e9, false)]),
        ("ip", vec![("ip", Some("10.1.2.3"))], vec![("connection_creation_rate", 1e6, false)]),
        ("default ip", vec![("ip", None)], vec![("connection_creation_rate", 2e6, false)]),
    ];
    for version in all::<AlterClientQuotasRequest>() {
        for (case, entity, ops) in &sets {
            let request = alter(vec![entry(session, entity, ops)]);
            session.ask_as(&format!("set: {case}"), version, &request, tell_altered);
        }
    }
    session.settle();
    for version in all::<DescribeClientQuotasRequest>() {
        for (case, components) in [
            ("everything", &[][..]),
            ("the user", &[("user", 0, Some("*u"))]),
            ("default user", &[("user", 1, None)]),
            ("any user", &[("user", 2, None)]),
            ("the client", &[("client-id", 0, Some("*c"))]),
            ("any client", &[("client-id", 2, None)]),
            ("user and client", &[("user", 0, Some("*u")), ("client-id", 0, Some("*c"))]),
            ("user and default client", &[("user", 0, Some("*u")), ("client-id", 1, None)]),
            ("user and any client", &[("user", 0, Some("*u")), ("client-id", 2, None)]),
            ("the ip", &[("ip", 0, Some("10.1.2.3"))]),
            ("default ip", &[("ip", 1, None)]),
            ("any ip", &[("ip", 2, None)]),
        ] {
            for strict in [false, true] {
                let request = describe(session, components, strict);
                session.ask_as(&format!("kept: {case}{}", if strict { ", strict" } else { "" }), version, &request, tell);
            }
        }
    }
    let request = alter(vec![
        entry(session, &[("user", Some("*many"))], &[("producer_byte_rate", 1e9, false)]),
        entry(session, &[("robot", Some("*many"))], &[("producer_byte_rate", 1e9, false)]),
        entry(session, &[("user", Some("*many"))], &[("consumer_byte_rate", 1e9, false)]),
    ]);
    session.ask_as("good, bad and the first again", 1, &request, tell_altered);
    session.settle();
    let request = describe(session, &[("user", 0, Some("*many"))], false);
    session.ask_as("after good and bad", 1, &request, tell);
}

fn removed(session: &mut Session) {
    let all: Vec<(Vec<Entity>, Vec<&str>)> = vec![
        (vec![("user", Some("*u"))], vec!["producer_byte_rate", "consumer_byte_rate"]),
        (vec![("client-id", Some("*c"))], vec!["request_percentage"]),
        (vec![("user", Some("*u")), ("client-id", Some("*c"))], vec!["controller_mutation_rate"]),
        (vec![("user", Some("*u")), ("client-id", Some("*d"))], vec!["producer_byte_rate"]),
        (vec![("user", Some("*u")), ("client-id", None)], vec!["producer_byte_rate"]),
        (vec![("user", None)], vec!["producer_byte_rate"]),
        (vec![("ip", Some("10.1.2.3"))], vec!["connection_creation_rate"]),
        (vec![("ip", None)], vec!["connection_creation_rate"]),
        (vec![("user", Some("*many"))], vec!["producer_byte_rate", "consumer_byte_rate"]),
    ];
    let entries = |session: &Session| {
        let entry = |(entity, keys): &(Vec<Entity>, Vec<&'static str>)| {
            let ops: Vec<(&str, f64, bool)> = keys.iter().map(|k| (*k, 0.0, true)).collect();
            entry(session, entity, &ops)
        };
        all.iter().map(entry).collect()
    };
    let request = alter(entries(session));
    session.ask_as("removed", 1, &request, tell_altered);
    session.settle();
    let request = describe(session, &[], false);
    session.ask_as("nothing is left", 1, &request, tell);
}
