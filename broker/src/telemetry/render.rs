//! The pushed metrics as Prometheus text: one family of gauges and one of counters, with the metric's own name as a label.
//!
//! Names and values come from clients: they are escaped, and cut where they were read.

use std::fmt::Write;

use super::store::TelemetryStore;
use super::subscription::ClientFacts;
use crate::metrics::MetricSpec;
use crate::metrics::registry::{CLIENT_METRIC, CLIENT_METRIC_CLIENTS, CLIENT_METRIC_LEFT_OUT, CLIENT_METRIC_PUSHES, CLIENT_METRIC_TOTAL};

/// Appends the families to a text.
pub fn append(text: &mut String, store: &TelemetryStore, now_ms: u64) {
    let (mut gauges, mut totals) = (String::new(), String::new());
    let (clients, pushes, left_out) = store.visit(now_ms, |facts, name, attributes, value, counted| {
        if counted {
            sample(&mut totals, CLIENT_METRIC_TOTAL.name, facts, name, attributes, value);
        } else {
            sample(&mut gauges, CLIENT_METRIC.name, facts, name, attributes, value);
        }
    });
    for (spec, samples) in [(&CLIENT_METRIC, gauges), (&CLIENT_METRIC_TOTAL, totals)] {
        head(text, spec);
        text.push_str(&samples);
    }
    for (spec, value) in [(&CLIENT_METRIC_CLIENTS, clients as u64), (&CLIENT_METRIC_PUSHES, pushes), (&CLIENT_METRIC_LEFT_OUT, left_out)] {
        head(text, spec);
        let _ = writeln!(text, "{} {value}", spec.name);
    }
}

fn head(text: &mut String, spec: &MetricSpec) {
    let _ = writeln!(text, "# HELP {} {}\n# TYPE {} {}", spec.name, spec.help, spec.name, spec.kind.name());
}

fn sample(text: &mut String, family: &str, facts: &ClientFacts, name: &str, attributes: &[(String, String)], value: f64) {
    let software = format!("{} {}", facts.software_name, facts.software_version);
    let own =
        [("metric", name), ("client_id", &facts.client_id), ("client_instance_id", &facts.instance_id), ("software", software.trim())];
    let _ = write!(text, "{family}{{");
    for (i, (key, value)) in own.into_iter().enumerate() {
        let _ = write!(text, "{}{key}=\"{}\"", if i == 0 { "" } else { "," }, escaped(value));
    }
    for (key, value) in attributes {
        let _ = write!(text, ",attribute_{}=\"{}\"", label(key), escaped(value));
    }
    let _ = writeln!(text, "}} {value}");
}

/// As a label's name: what may not be in one becomes an underscore.
fn label(key: &str) -> String {
    key.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::super::otlp::tests::message;
    use super::super::otlp::{PointKind, read};
    use super::super::store::Known;
    use super::super::subscription::Asked;
    use super::*;

    #[test]
    fn pushed_metrics_are_shown_with_their_client() {
        let store = TelemetryStore::default();
        let facts = ClientFacts {
            client_id: "a\"b\\\n".to_owned(),
            instance_id: "i".to_owned(),
            software_name: "java".to_owned(),
            software_version: "4".to_owned(),
            ..ClientFacts::default()
        };
        let ask = |_: &ClientFacts| Asked { metrics: vec![], interval_ms: 1000 };
        let id = Uuid::from_u128(1);
        store.get(id, 0, 1, Known { facts, ask: &ask }).expect("the first time");
        let pushed = [message("org.x", PointKind::Gauge, 0.5), message("org.y", PointKind::Delta, 3.0)].concat();
        let (points, left_out) = read(&pushed).expect("valid");
        store.record(id, points, left_out);
        let mut text = String::new();
        append(&mut text, &store, 1);
        let labels = r#"client_id="a\"b\\\n",client_instance_id="i",software="java 4",attribute_node="1""#;
        assert!(text.contains(&format!("coreline_client_metric{{metric=\"org.x\",{labels}}} 0.5\n")), "{text}");
        assert!(text.contains(&format!("coreline_client_metric_total{{metric=\"org.y\",{labels}}} 3\n")), "{text}");
        assert!(text.contains("coreline_client_metric_clients 1\n") && text.contains("coreline_client_metric_pushes_total 1\n"), "{text}");
    }
}
