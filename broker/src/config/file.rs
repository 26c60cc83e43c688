//! Reading the TOML file into flat `dotted.key = value` lines with their line numbers.
//!
//! Tables and dotted keys mean the same: `[log] retention.ms = 1`, `log.retention.ms = 1` and `"log.retention.ms" = 1` all set `log.retention.ms`.

use toml::de::{DeTable, DeValue};

use super::key::{Key, Kind};
use super::value::Value;

/// A scalar or list as TOML has it, before its key is known.
#[derive(Clone, Debug, PartialEq)]
pub enum FileValue {
    /// `true` or `false`.
    Bool(bool),
    /// A 64-bit integer.
    Int(i64),
    /// A floating point number.
    Float(f64),
    /// A quoted text.
    Text(String),
    /// A list of texts.
    List(Vec<String>),
    /// Something that no key takes, in words.
    Other(&'static str),
}

/// One setting of the file.
#[derive(Clone, Debug, PartialEq)]
pub struct FileLine {
    /// The full dotted key.
    pub key: String,
    /// Its value.
    pub value: FileValue,
    /// Line of the key, from 1.
    pub line: usize,
    /// Line of an earlier setting of the same key in another spelling.
    pub duplicate_of: Option<usize>,
}

impl FileValue {
    /// Reads the value as the key's type; types must match, only integers also serve as floating point numbers and a text as a list.
    pub fn to_value(&self, key: &Key) -> Result<Value, String> {
        let text = match (self, key.kind) {
            (FileValue::Bool(b), Kind::Boolean) => b.to_string(),
            (FileValue::Int(n), Kind::Int | Kind::Short | Kind::Long | Kind::Double) => n.to_string(),
            (FileValue::Float(x), Kind::Double) => x.to_string(),
            (FileValue::Text(t), Kind::String | Kind::List) => t.clone(),
            (FileValue::List(items), Kind::List) => items.join(","),
            _ => return Err(format!("expected {}, found {}", wanted(key.kind), self.name())),
        };
        key.parse(&text).map_err(|reason| format!("{reason}, found {text}"))
    }

    fn name(&self) -> &'static str {
        match self {
            FileValue::Bool(_) => "a boolean",
            FileValue::Int(_) => "an integer",
            FileValue::Float(_) => "a floating point number",
            FileValue::Text(_) => "a string",
            FileValue::List(_) => "an array",
            FileValue::Other(name) => name,
        }
    }
}

fn wanted(kind: Kind) -> &'static str {
    match kind {
        Kind::Boolean => "true or false",
        Kind::String => "a string",
        Kind::Int | Kind::Short | Kind::Long => "an integer",
        Kind::Double => "a number",
        Kind::List => "an array of strings",
    }
}

/// Reads a TOML text; the error is a line (from 1) and the reason.
pub fn parse(text: &str) -> Result<Vec<FileLine>, (usize, String)> {
    let line_of = |position: usize| 1 + text.as_bytes()[..position.min(text.len())].iter().filter(|b| **b == b'\n').count();
    let table = DeTable::parse(text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_of(span.start));
        let hint = if error.message().contains("extend value") { "; write the longer key in quotes" } else { "" };
        (line, format!("{}{hint}", error.message()))
    })?;
    let mut lines = Vec::new();
    flatten("", table.get_ref(), &line_of, &mut lines);
    lines.sort_by_key(|line| line.line);
    for i in 1..lines.len() {
        let (before, rest) = lines.split_at_mut(i);
        rest[0].duplicate_of = before.iter().find(|l| l.key == rest[0].key).map(|l| l.line);
    }
    Ok(lines)
}

fn flatten(prefix: &str, table: &DeTable<'_>, line_of: &dyn Fn(usize) -> usize, lines: &mut Vec<FileLine>) {
    for (name, value) in table {
        let key = if prefix.is_empty() { name.get_ref().to_string() } else { format!("{prefix}.{}", name.get_ref()) };
        match value.get_ref() {
            DeValue::Table(inner) => flatten(&key, inner, line_of, lines),
            value => {
                let line = line_of(name.span().start);
                lines.push(FileLine { key, value: scalar(value), line, duplicate_of: None });
            }
        }
    }
}

fn scalar(value: &DeValue<'_>) -> FileValue {
    match value {
        DeValue::Boolean(b) => FileValue::Bool(*b),
        // TOML allows `1_000` and hexadecimal; the parser hands over digits without underscores and the radix.
        DeValue::Integer(n) => match i64::from_str_radix(n.as_str(), n.radix()) {
            Ok(n) => FileValue::Int(n),
            Err(_) => FileValue::Other("an integer beyond 64 bits"),
        },
        DeValue::Float(x) => match x.as_str().parse::<f64>() {
            Ok(x) => FileValue::Float(x),
            Err(_) => FileValue::Other("a floating point number that cannot be read"),
        },
        DeValue::String(text) => FileValue::Text(text.to_string()),
        DeValue::Datetime(_) => FileValue::Other("a date"),
        DeValue::Array(items) => {
            let texts: Option<Vec<String>> = items.iter().map(|item| item.get_ref().as_str().map(str::to_string)).collect();
            texts.map_or(FileValue::Other("an array of other things than strings"), FileValue::List)
        }
        DeValue::Table(_) => FileValue::Other("a table"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> Vec<(String, usize)> {
        parse(text).expect("valid TOML").into_iter().map(|l| (l.key, l.line)).collect()
    }

    #[test]
    fn dotted_keys_tables_and_quoted_keys_mean_the_same() {
        let text = "num.partitions = 4\n\n[log]\nretention.ms = 1\nroll.hours = 2\n[\"group\".max]\n\"session.timeout.ms\" = 3\n";
        assert_eq!(
            keys(text),
            vec![
                ("num.partitions".into(), 1),
                ("log.retention.ms".into(), 4),
                ("log.roll.hours".into(), 5),
                ("group.max.session.timeout.ms".into(), 7)
            ]
        );
    }

    #[test]
    fn syntax_errors_and_doubled_keys_name_their_line() {
        assert_eq!(parse("a = 1\nb = = 2\n").map_err(|e| e.0), Err(2));
        assert_eq!(parse("num.partitions = 1\nnum.partitions = 2\n").map_err(|e| e.0), Err(2));
        let extended = parse("max.connections = 1\nmax.connections.per.ip = 2\n");
        assert!(extended.is_err_and(|(line, reason)| line == 2 && reason.contains("in quotes")));
        let lines = parse("num.partitions = 1\n\"num.partitions\" = 2\n").expect("two spellings are two TOML keys");
        assert_eq!(lines[1].duplicate_of, Some(1));
    }

    #[test]
    fn integers_in_every_notation_are_read() {
        for (text, n) in [("a = 1_000", 1000), ("a = 0x10", 16), ("a = -5", -5), ("a = 9223372036854775807", i64::MAX)] {
            assert_eq!(parse(text).expect("valid")[0].value, FileValue::Int(n), "{text}");
        }
        assert_eq!(parse("a = 9223372036854775808").expect("valid")[0].value, FileValue::Other("an integer beyond 64 bits"));
    }
}
