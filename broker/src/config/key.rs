//! One configuration key as a value: its name, type, default, bounds, unit, scope and documentation, and the check of a text against them.
//!
//! The tables `broker_keys.rs` and `topic_keys.rs` declare every key exactly once with the [`settings!`] macro, which also makes the typed
//! struct that the rest of the broker reads. Messages of refused values follow Kafka's wording where clients show them.

use std::fmt;

use super::value::{Value, parse_list};

/// Type of a key's value, with the code DescribeConfigs sends (v3+).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum Kind {
    /// `true` or `false`.
    Boolean = 1,
    /// Any text.
    String = 2,
    /// 32-bit integer.
    Int = 3,
    /// 16-bit integer.
    Short = 4,
    /// 64-bit integer.
    Long = 5,
    /// Floating point.
    Double = 6,
    /// Comma-separated names.
    List = 7,
}

impl Kind {
    /// Code of the type in DescribeConfigs (KIP-569).
    pub fn code(self) -> i8 {
        self as i8
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Boolean => "boolean",
            Kind::String => "string",
            Kind::Int => "int",
            Kind::Short => "short",
            Kind::Long => "long",
            Kind::Double => "double",
            Kind::List => "list",
        })
    }
}

/// What a key's value counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A plain number, a name or a switch.
    None,
    /// Bytes.
    Bytes,
    /// Milliseconds.
    Ms,
    /// Seconds.
    Seconds,
    /// Minutes.
    Minutes,
    /// Hours.
    Hours,
    /// A share of the whole, 0 to 1.
    Ratio,
}

impl Unit {
    /// Name for documentation; empty for [`Unit::None`].
    pub fn name(self) -> &'static str {
        match self {
            Unit::None => "",
            Unit::Bytes => "bytes",
            Unit::Ms => "milliseconds",
            Unit::Seconds => "seconds",
            Unit::Minutes => "minutes",
            Unit::Hours => "hours",
            Unit::Ratio => "ratio",
        }
    }
}

/// When a changed value takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applies {
    /// At the next start; AlterConfigs refuses it.
    Restart,
    /// At once, by IncrementalAlterConfigs on the topic, the broker or all brokers.
    Dynamic,
}

/// Which values are accepted beyond the type.
#[derive(Clone, Copy, Debug)]
pub enum Valid {
    /// Any value of the type.
    Any,
    /// An integer in `min..=max`.
    Range(i64, i64),
    /// A floating point number in `min..=max`.
    Ratio(f64, f64),
    /// One of these names.
    OneOf(&'static [&'static str]),
    /// A list of these names; empty only if the flag says so.
    ListOf(&'static [&'static str], bool),
    /// A text (of a list: each item) that a function accepts; its error is the reason.
    Check(fn(&str) -> Result<(), String>),
}

/// The declaration of a key but for its name, type and documentation; built by `const` calls in the tables.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    pub(super) default: Option<&'static str>,
    pub(super) valid: Valid,
    pub(super) unit: Unit,
    pub(super) applies: Applies,
    pub(super) sensitive: bool,
    pub(super) only_when_set: bool,
    pub(super) synonym: Option<&'static str>,
}

impl Spec {
    /// A key with a default in text form.
    pub const fn new(default: &'static str) -> Spec {
        Spec { default: Some(default), ..Spec::unset() }
    }

    /// A key without a value by default.
    pub const fn unset() -> Spec {
        Spec {
            default: None,
            valid: Valid::Any,
            unit: Unit::None,
            applies: Applies::Restart,
            sensitive: false,
            only_when_set: false,
            synonym: None,
        }
    }

    /// Lower bound, inclusive.
    pub const fn at_least(self, min: i64) -> Spec {
        Spec { valid: Valid::Range(min, i64::MAX), ..self }
    }

    /// Both bounds, inclusive.
    pub const fn range(self, min: i64, max: i64) -> Spec {
        Spec { valid: Valid::Range(min, max), ..self }
    }

    /// Both bounds of a floating point number, inclusive.
    pub const fn ratio(self, min: f64, max: f64) -> Spec {
        Spec { valid: Valid::Ratio(min, max), unit: Unit::Ratio, ..self }
    }

    /// The accepted names.
    pub const fn one_of(self, names: &'static [&'static str]) -> Spec {
        Spec { valid: Valid::OneOf(names), ..self }
    }

    /// The names accepted in a list.
    pub const fn list_of(self, names: &'static [&'static str], may_be_empty: bool) -> Spec {
        Spec { valid: Valid::ListOf(names, may_be_empty), ..self }
    }

    /// A check of the text beyond its type.
    pub const fn check(self, check: fn(&str) -> Result<(), String>) -> Spec {
        Spec { valid: Valid::Check(check), ..self }
    }

    /// What the number counts.
    pub const fn unit(self, unit: Unit) -> Spec {
        Spec { unit, ..self }
    }

    /// May change while the broker runs.
    pub const fn dynamic(self) -> Spec {
        Spec { applies: Applies::Dynamic, ..self }
    }

    /// The value is never shown (passwords).
    pub const fn sensitive(self) -> Spec {
        Spec { sensitive: true, ..self }
    }

    /// DescribeConfigs lists it only where somebody has set it.
    pub const fn only_when_set(self) -> Spec {
        Spec { only_when_set: true, ..self }
    }

    /// For a topic key: the broker key that gives its default.
    pub const fn synonym(self, broker_key: &'static str) -> Spec {
        Spec { synonym: Some(broker_key), ..self }
    }
}

/// One declared key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Kafka's name where Kafka has the key.
    pub name: &'static str,
    /// Type of the value.
    pub kind: Kind,
    /// True if the key may have no value at all.
    pub optional: bool,
    /// Documentation, one paragraph.
    pub doc: &'static str,
    /// The rest of the declaration.
    pub spec: Spec,
}

/// Keys are compared by name: a name is declared once per table.
impl PartialEq for Key {
    fn eq(&self, other: &Key) -> bool {
        self.name == other.name
    }
}

impl Key {
    /// The default in text form; `None` when the key is unset by default.
    pub fn default_text(&self) -> Option<&'static str> {
        self.spec.default
    }

    /// What the value counts.
    pub fn unit(&self) -> Unit {
        self.spec.unit
    }

    /// When a changed value takes effect.
    pub fn applies(&self) -> Applies {
        self.spec.applies
    }

    /// True if the value must never be shown.
    pub fn is_sensitive(&self) -> bool {
        self.spec.sensitive
    }

    /// True if DescribeConfigs lists it only where somebody has set it.
    pub fn is_listed_only_when_set(&self) -> bool {
        self.spec.only_when_set
    }

    /// For a topic key: the broker key that gives its default, of the same unit.
    pub fn synonym(&self) -> Option<&'static str> {
        self.spec.synonym
    }

    /// The documentation as one paragraph without the line breaks of the source.
    pub fn doc_text(&self) -> String {
        self.doc.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// The accepted values in words, for documentation; empty when any value of the type will do.
    pub fn valid_text(&self) -> String {
        match self.spec.valid {
            Valid::Any | Valid::Check(_) => String::new(),
            Valid::Range(min, i64::MAX) => format!("at least {min}"),
            Valid::Range(min, max) => format!("{min} to {max}"),
            Valid::Ratio(min, max) => format!("{min} to {max}"),
            Valid::OneOf(names) => format!("one of {}", names.join(", ")),
            Valid::ListOf(names, _) => format!("any of {}", names.join(", ")),
        }
    }

    /// The default as a value. Tests hold that every default passes its own check.
    pub fn default_value(&self) -> Value {
        match self.spec.default {
            None => Value::Unset,
            Some(text) => self.parse(text).unwrap_or(Value::Unset),
        }
    }

    /// Reads and checks a text as this key's value; the error is the reason without the key's name or the value.
    pub fn parse(&self, text: &str) -> Result<Value, String> {
        let trimmed = text.trim();
        let number = |label: &str| format!("Not a number of type {label}");
        let value = match self.kind {
            Kind::Boolean => match trimmed {
                t if t.eq_ignore_ascii_case("true") => Value::Bool(true),
                t if t.eq_ignore_ascii_case("false") => Value::Bool(false),
                _ => return Err("Expected value to be either true or false".into()),
            },
            Kind::String => Value::Text(trimmed.to_string()),
            Kind::Short => Value::Int(trimmed.parse::<i16>().map_err(|_| number("SHORT"))?.into()),
            Kind::Int => Value::Int(trimmed.parse::<i32>().map_err(|_| number("INT"))?.into()),
            Kind::Long => Value::Int(trimmed.parse::<i64>().map_err(|_| number("LONG"))?),
            Kind::Double => match trimmed.parse::<f64>() {
                Ok(x) if x.is_finite() => Value::Double(x),
                _ => return Err(number("DOUBLE")),
            },
            Kind::List => Value::List(parse_list(trimmed)),
        };
        self.check(&value)?;
        Ok(value)
    }

    /// The part of a refused text that a message names: the first item that a list does not take, otherwise all of it.
    pub fn refused_part(&self, text: &str) -> String {
        match self.spec.valid {
            Valid::ListOf(names, _) => {
                parse_list(text).into_iter().find(|i| !names.contains(&i.as_str())).unwrap_or_else(|| text.to_string())
            }
            _ => text.to_string(),
        }
    }

    /// Checks a value of the right type against the key's bounds.
    pub fn check(&self, value: &Value) -> Result<(), String> {
        match (self.spec.valid, value) {
            (Valid::Range(min, _), Value::Int(n)) if *n < min => Err(format!("Value must be at least {min}")),
            (Valid::Range(_, max), Value::Int(n)) if *n > max => Err(format!("Value must be no more than {max}")),
            (Valid::Ratio(min, _), Value::Double(x)) if *x < min => Err(format!("Value must be at least {min}")),
            (Valid::Ratio(_, max), Value::Double(x)) if *x > max => Err(format!("Value must be no more than {max}")),
            (Valid::OneOf(names), Value::Text(t)) if !names.contains(&t.as_str()) => {
                Err(format!("String must be one of: {}", names.join(", ")))
            }
            (Valid::ListOf(_, false), Value::List(items)) if items.is_empty() => Err("The list must not be empty".into()),
            (Valid::ListOf(names, _), Value::List(items)) => match items.iter().find(|i| !names.contains(&i.as_str())) {
                Some(_) => Err(format!("String must be one of: {}", names.join(", "))),
                None => Ok(()),
            },
            (Valid::Check(check), Value::List(items)) => items.iter().try_for_each(|item| check(item)),
            (Valid::Check(check), value) if *value != Value::Unset => check(&value.to_string()),
            _ => Ok(()),
        }
    }
}

/// A Rust type that a key's value may have.
pub trait Setting: Sized {
    /// The key's type on the wire and in files.
    const KIND: Kind;
    /// True for `Option`.
    const OPTIONAL: bool = false;
    /// Takes the value; the caller has checked it against the key, so a value of another type is a programming error.
    fn from_value(key: &Key, value: &Value) -> Self;
}

macro_rules! integer_setting {
    ($($ty:ty => $kind:ident),*) => {$(
        impl Setting for $ty {
            const KIND: Kind = Kind::$kind;
            fn from_value(key: &Key, value: &Value) -> Self {
                match value {
                    Value::Int(n) => <$ty>::try_from(*n).expect("the value was parsed with the range of this type"),
                    other => panic!("{} must be an integer, found {other:?}", key.name),
                }
            }
        }
    )*};
}
integer_setting!(i16 => Short, i32 => Int, i64 => Long);

impl Setting for bool {
    const KIND: Kind = Kind::Boolean;
    fn from_value(key: &Key, value: &Value) -> Self {
        match value {
            Value::Bool(b) => *b,
            other => panic!("{} must be a boolean, found {other:?}", key.name),
        }
    }
}

impl Setting for f64 {
    const KIND: Kind = Kind::Double;
    fn from_value(key: &Key, value: &Value) -> Self {
        match value {
            Value::Double(x) => *x,
            other => panic!("{} must be a number, found {other:?}", key.name),
        }
    }
}

impl Setting for String {
    const KIND: Kind = Kind::String;
    fn from_value(key: &Key, value: &Value) -> Self {
        match value {
            Value::Text(t) => t.clone(),
            other => panic!("{} must be a string, found {other:?}", key.name),
        }
    }
}

impl Setting for Vec<String> {
    const KIND: Kind = Kind::List;
    fn from_value(key: &Key, value: &Value) -> Self {
        match value {
            Value::List(items) => items.clone(),
            other => panic!("{} must be a list, found {other:?}", key.name),
        }
    }
}

impl<T: Setting> Setting for Option<T> {
    const KIND: Kind = T::KIND;
    const OPTIONAL: bool = true;
    fn from_value(key: &Key, value: &Value) -> Self {
        match value {
            Value::Unset => None,
            value => Some(T::from_value(key, value)),
        }
    }
}

/// Declares keys once: makes the table of [`Key`]s and a struct with one typed field per key, filled in table order.
macro_rules! settings {
    (
        $(#[$meta:meta])*
        pub struct $name:ident from $table:ident {
            $( $(#[doc = $doc:literal])+ $field:ident : $ty:ty = $key:literal => $spec:expr; )+
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $( $(#[doc = $doc])+ pub $field: $ty, )+
        }

        /// The declarations, in the order of the documentation.
        pub static $table: &[$crate::config::key::Key] = &[
            $( $crate::config::key::Key {
                name: $key,
                kind: <$ty as $crate::config::key::Setting>::KIND,
                optional: <$ty as $crate::config::key::Setting>::OPTIONAL,
                doc: concat!($($doc, "\n"),+),
                spec: $spec,
            }, )+
        ];

        impl $name {
            /// Takes checked values, one per key in the order of the table.
            pub fn from_values(values: &[$crate::config::value::Value]) -> $name {
                assert_eq!(values.len(), $table.len(), "one value per key");
                let mut pairs = $table.iter().zip(values);
                $name {
                    $( $field: {
                        let (key, value) = pairs.next().expect("the table has one row per field");
                        $crate::config::key::Setting::from_value(key, value)
                    }, )+
                }
            }
        }
    };
}
pub(crate) use settings;

#[cfg(test)]
mod tests {
    use super::*;

    fn key(kind: Kind, spec: Spec) -> Key {
        Key { name: "k", kind, optional: false, doc: " A key.\n", spec }
    }

    #[test]
    fn integers_are_checked_against_type_and_bounds() {
        let k = key(Kind::Int, Spec::new("1").range(1, 10));
        assert_eq!(k.parse(" 7 "), Ok(Value::Int(7)));
        assert_eq!(k.parse("0"), Err("Value must be at least 1".into()));
        assert_eq!(k.parse("11"), Err("Value must be no more than 10".into()));
        assert_eq!(k.parse("3000000000"), Err("Not a number of type INT".into()));
        assert_eq!(k.parse("x"), Err("Not a number of type INT".into()));
        assert_eq!(key(Kind::Short, Spec::new("1")).parse("40000"), Err("Not a number of type SHORT".into()));
    }

    #[test]
    fn names_and_lists_are_checked() {
        let one = key(Kind::String, Spec::new("a").one_of(&["a", "b"]));
        assert!(one.parse("b").is_ok());
        assert_eq!(one.parse("c"), Err("String must be one of: a, b".into()));
        let list = key(Kind::List, Spec::new("a").list_of(&["a", "b"], false));
        assert_eq!(list.parse("a, b"), Ok(Value::List(vec!["a".into(), "b".into()])));
        assert!(list.parse("").is_err());
        assert!(list.parse("a,z").is_err());
    }

    #[test]
    fn floats_must_be_finite_and_in_range() {
        let k = key(Kind::Double, Spec::new("0.5").ratio(0.0, 1.0));
        assert_eq!(k.parse("0.25"), Ok(Value::Double(0.25)));
        assert!(k.parse("NaN").is_err());
        assert!(k.parse("1.5").is_err());
    }

    #[test]
    fn booleans_accept_any_case_and_nothing_else() {
        let k = key(Kind::Boolean, Spec::new("true"));
        assert_eq!(k.parse("TRUE"), Ok(Value::Bool(true)));
        assert!(k.parse("yes").is_err());
    }
}
