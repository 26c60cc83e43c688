//! How a request's structure is described: fields with the versions they exist in and the versions that allow null.
//!
//! None of the described requests has tagged fields of its own; any tag is an unknown one. Callers: `fence`, its tables and its tests.

/// A structure: its fields in wire order. In flexible versions a tagged-field section follows.
pub(super) struct Struct {
    pub(super) fields: &'static [Field],
}

/// What a field holds.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// That many bytes: integers, booleans, uuids.
    Fixed(usize),
    /// A string.
    String,
    /// A byte string.
    Bytes,
    /// An array.
    Array(&'static Kind),
    /// A structure.
    Struct(&'static Struct),
    /// A structure that may be null.
    Optional(&'static Struct),
}

/// One field.
pub(super) struct Field {
    /// Its name in Kafka's schema.
    #[expect(dead_code, reason = "for whoever compares the tables with the schemas")]
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    first: i16,
    last: i16,
    nullable_from: i16,
}

pub(super) const BOOL: Kind = Kind::Fixed(1);
pub(super) const I8: Kind = Kind::Fixed(1);
pub(super) const I16: Kind = Kind::Fixed(2);
pub(super) const I32: Kind = Kind::Fixed(4);
pub(super) const I64: Kind = Kind::Fixed(8);
pub(super) const F64: Kind = Kind::Fixed(8);
pub(super) const UUID: Kind = Kind::Fixed(16);
pub(super) const STRING: Kind = Kind::String;
pub(super) const BYTES: Kind = Kind::Bytes;

/// A field of all versions, never null.
pub(super) const fn field(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, first: 0, last: i16::MAX, nullable_from: i16::MAX }
}

impl Field {
    /// From this version on.
    pub(super) const fn since(mut self, version: i16) -> Field {
        self.first = version;
        self
    }

    /// Up to this version.
    pub(super) const fn until(mut self, version: i16) -> Field {
        self.last = version;
        self
    }

    /// Null is allowed from this version on.
    pub(super) const fn nullable(mut self, version: i16) -> Field {
        self.nullable_from = version;
        self
    }

    pub(super) const fn exists_in(&self, version: i16) -> bool {
        self.first <= version && version <= self.last
    }

    pub(super) const fn is_nullable_in(&self, version: i16) -> bool {
        version >= self.nullable_from
    }
}

/// An array of structures with these fields.
macro_rules! structs {
    ($($field:expr),* $(,)?) => {
        $crate::fence::schema::Kind::Array(&$crate::fence::schema::Kind::Struct(&$crate::fence::schema::Struct { fields: &[$($field),*] }))
    };
}
pub(super) use structs;
