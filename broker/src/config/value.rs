//! A configuration value and its text forms: the one Kafka shows and the one TOML reads.

use std::fmt;

/// A value of any key, checked against the key's type.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// No value.
    Unset,
    /// `true` or `false`.
    Bool(bool),
    /// An integer of any width.
    Int(i64),
    /// A finite floating point number.
    Double(f64),
    /// A text.
    Text(String),
    /// A list of names.
    List(Vec<String>),
}

impl Value {
    /// The text that Kafka shows for the value; `None` when there is none.
    pub fn text(&self) -> Option<String> {
        match self {
            Value::Unset => None,
            value => Some(value.to_string()),
        }
    }

    /// The value as the right-hand side of a TOML line; `None` when there is none.
    pub fn toml(&self) -> Option<String> {
        match self {
            Value::Unset => None,
            Value::Text(text) => Some(toml_string(text)),
            Value::List(items) => Some(format!("[{}]", items.iter().map(|i| toml_string(i)).collect::<Vec<_>>().join(", "))),
            value => Some(value.to_string()),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Unset => Ok(()),
            Value::Bool(b) => write!(f, "{b}"),
            Value::Int(n) => write!(f, "{n}"),
            Value::Double(x) => f.write_str(&java_double(*x)),
            Value::Text(t) => f.write_str(t),
            Value::List(items) => f.write_str(&items.join(",")),
        }
    }
}

/// A double as Java prints it: always with a point, with an exponent from ten million on and below a thousandth.
fn java_double(x: f64) -> String {
    if x == 0.0 || (1e-3..1e7).contains(&x.abs()) {
        return format!("{x:?}");
    }
    let text = format!("{x:E}");
    match text.split_once('E') {
        Some((digits, exponent)) if !digits.contains('.') => format!("{digits}.0E{exponent}"),
        _ => text,
    }
}

/// Splits a comma-separated list; blanks around the items and empty items are dropped.
pub fn parse_list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_string).collect()
}

fn toml_string(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_what_kafka_shows() {
        for (x, text) in [(0.5, "0.5"), (1.0, "1.0"), (0.0, "0.0"), (9_999_999.5, "9999999.5"), (1e7, "1.0E7"), (1.5e-4, "1.5E-4")] {
            assert_eq!(Value::Double(x).text().as_deref(), Some(text));
        }
        assert_eq!(Value::Double(f64::MAX).text().as_deref(), Some("1.7976931348623157E308"));
        assert_eq!(Value::List(vec!["compact".into(), "delete".into()]).text().as_deref(), Some("compact,delete"));
        assert_eq!(Value::Unset.text(), None);
    }

    #[test]
    fn toml_form_quotes_text() {
        assert_eq!(Value::Text("a\"b\\".into()).toml().as_deref(), Some(r#""a\"b\\""#));
        assert_eq!(Value::List(vec!["a".into()]).toml().as_deref(), Some(r#"["a"]"#));
        assert_eq!(Value::Int(-1).toml().as_deref(), Some("-1"));
    }

    #[test]
    fn lists_drop_blanks() {
        assert_eq!(parse_list(" a ,, b"), vec!["a", "b"]);
        assert!(parse_list("  ").is_empty());
    }
}
