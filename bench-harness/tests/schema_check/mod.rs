//! Checks JSON against `schema/result-v1.json`: the part of JSON Schema that it uses, and nothing that it does not know.

use serde_json::Value;

/// The committed schema.
pub(crate) const TEXT: &str = include_str!("../../schema/result-v1.json");

/// What is wrong with a document of a kind (`run`, `slo`, `compare`, `host`, `pacing`), each with where; empty when nothing is.
pub(crate) fn faults(kind: &str, document: &Value) -> Vec<String> {
    let root: Value = serde_json::from_str(TEXT).expect("the schema is JSON");
    let mut faults = Vec::new();
    check(&root, &root["$defs"][kind], document, kind, &mut faults);
    faults
}

/// Panics unless the document is of the kind.
#[allow(dead_code)] // Not every test that includes this file has documents to hold.
pub(crate) fn hold(kind: &str, document: &Value) {
    let faults = faults(kind, document);
    assert!(faults.is_empty(), "not as the schema has it: {faults:#?}");
}

fn is_a(kind: &str, value: &Value) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("the schema has a type {other:?}"),
    }
}

fn check(root: &Value, schema: &Value, value: &Value, at: &str, faults: &mut Vec<String>) {
    let shown = || value.to_string().chars().take(60).collect::<String>();
    if let Some(allowed) = schema.as_bool() {
        if !allowed {
            faults.push(format!("{at}: nothing may stand here, {} does", shown()));
        }
        return;
    }
    let keywords = schema.as_object().unwrap_or_else(|| panic!("{at}: the schema has no such part"));
    for (keyword, rule) in keywords {
        let mut fault = |what: String| faults.push(format!("{at}: {what}, got {}", shown()));
        match keyword.as_str() {
            "description" => {}
            "$ref" => {
                let name = rule.as_str().and_then(|text| text.strip_prefix("#/$defs/")).expect("a reference into $defs");
                check(root, &root["$defs"][name], value, at, faults);
            }
            "type" => {
                let kinds = rule.as_array().cloned().unwrap_or_else(|| vec![rule.clone()]);
                if !kinds.iter().any(|kind| is_a(kind.as_str().expect("the name of a type"), value)) {
                    fault(format!("expected {rule}"));
                }
            }
            "const" if rule != value => fault(format!("expected {rule}")),
            "enum" if !rule.as_array().expect("a list").contains(value) => fault(format!("expected one of {rule}")),
            "const" | "enum" => {}
            "anyOf" => {
                let fits = |one: &Value| {
                    let mut faults = Vec::new();
                    check(root, one, value, at, &mut faults);
                    faults.is_empty()
                };
                if !rule.as_array().expect("a list").iter().any(fits) {
                    fault("fits none of the alternatives".to_string());
                }
            }
            "minimum" if value.as_f64().is_some_and(|n| n < rule.as_f64().expect("a number")) => fault(format!("below {rule}")),
            "maximum" if value.as_f64().is_some_and(|n| n > rule.as_f64().expect("a number")) => fault(format!("above {rule}")),
            "minItems" if value.as_array().is_some_and(|all| (all.len() as u64) < rule.as_u64().expect("a count")) => {
                fault(format!("fewer than {rule} items"))
            }
            "minimum" | "maximum" | "minItems" => {}
            "required" => {
                for name in rule.as_array().expect("a list").iter().map(|name| name.as_str().expect("a name")) {
                    if value.as_object().is_some_and(|fields| !fields.contains_key(name)) {
                        faults.push(format!("{at}.{name}: is missing"));
                    }
                }
            }
            "properties" => {
                for (name, field) in value.as_object().into_iter().flatten() {
                    if let Some(schema) = rule.get(name) {
                        check(root, schema, field, &format!("{at}.{name}"), faults);
                    }
                }
            }
            "additionalProperties" => {
                let known = |name: &str| schema.get("properties").is_some_and(|all| all.get(name).is_some());
                for (name, field) in value.as_object().into_iter().flatten().filter(|(name, _)| !known(name)) {
                    check(root, rule, field, &format!("{at}.{name}"), faults);
                }
            }
            "prefixItems" => {
                let schemas = rule.as_array().expect("a list");
                for (i, (item, schema)) in value.as_array().into_iter().flatten().zip(schemas).enumerate() {
                    check(root, schema, item, &format!("{at}[{i}]"), faults);
                }
            }
            "items" => {
                let from = schema.get("prefixItems").and_then(Value::as_array).map_or(0, Vec::len);
                for (i, item) in value.as_array().into_iter().flatten().enumerate().skip(from) {
                    check(root, rule, item, &format!("{at}[{i}]"), faults);
                }
            }
            other => panic!("the schema has a keyword {other:?} that nobody checks"),
        }
    }
}
