//! The fence: a walk over a request body that checks every count, length and tag before a decoder that trusts them may see it.
//!
//! `kafka-protocol`'s decoders reserve memory by the counts they read. A body that passed the fence is exactly one request of its API and
//! version: no count above what can follow, no null where the schema has none, strings in UTF-8 and at most 32,767 bytes, at most 64
//! unknown tagged fields per structure, at most [`Decoder::MAX_ELEMENTS`] array elements in all, nothing left over. Decoding it then
//! takes memory in proportion to those elements. The walk allocates nothing.
//!
//! Produce and Fetch have decoders of their own and are not in the tables. Callers: the broker's `handler/codec`.

mod admin_requests;
mod requests;
mod schema;

#[cfg(test)]
mod tests;

use crate::api;
use crate::decode::{DecodeError, DecodeErrorKind, Decoder};
use crate::tagged_field;
use schema::{Field, Kind, Struct};

/// Checks a request body of a served API and version, other than Produce and Fetch.
pub fn check_request(api_key: i16, version: i16, body: &[u8]) -> Result<(), DecodeError> {
    let mut d = Decoder::new(body);
    let Some(spec) = api::find(api_key) else {
        return Err(d.error(DecodeErrorKind::UnknownApi(api_key)));
    };
    let Some(request) = requests::request(spec.key).filter(|_| spec.serves(version)) else {
        return Err(d.error(DecodeErrorKind::UnsupportedVersion { api_key, version }));
    };
    Walk { version, flexible: spec.is_flexible(version) }.structure(&mut d, request)?;
    d.finish()
}

/// One walk: the version decides which fields there are and how they are dressed.
#[derive(Clone, Copy)]
struct Walk {
    version: i16,
    flexible: bool,
}

impl Walk {
    fn structure(self, d: &mut Decoder<'_>, structure: &Struct) -> Result<(), DecodeError> {
        for field in structure.fields {
            if field.exists_in(self.version) {
                self.field(d, field)?;
            }
        }
        if self.flexible {
            tagged_field::skip(d)?;
        }
        Ok(())
    }

    fn field(self, d: &mut Decoder<'_>, field: &Field) -> Result<(), DecodeError> {
        self.value(d, field.kind, field.is_nullable_in(self.version))
    }

    fn value(self, d: &mut Decoder<'_>, kind: Kind, nullable: bool) -> Result<(), DecodeError> {
        match kind {
            Kind::Fixed(size) => d.bytes(size).map(drop),
            Kind::String => {
                let value = d.nullable_string(self.flexible)?;
                self.require(d, value.is_some() || nullable)
            }
            Kind::Bytes => {
                let value = d.nullable_bytes(self.flexible)?;
                self.require(d, value.is_some() || nullable)
            }
            Kind::Array(element) => {
                let Some(count) = d.nullable_array(self.flexible, self.min_size(*element))? else {
                    return self.require(d, nullable);
                };
                for _ in 0..count {
                    self.value(d, *element, false)?;
                }
                Ok(())
            }
            Kind::Struct(structure) => self.structure(d, structure),
            // A nullable structure: 1 and the structure, or -1.
            Kind::Optional(structure) => match d.i8()? {
                1 => self.structure(d, structure),
                -1 => Ok(()),
                other => Err(d.error(DecodeErrorKind::BadLength(other as i64))),
            },
        }
    }

    fn require(self, d: &Decoder<'_>, present: bool) -> Result<(), DecodeError> {
        if present { Ok(()) } else { Err(d.error(DecodeErrorKind::UnexpectedNull)) }
    }

    /// The smallest encoding of a value in bytes, null included.
    fn min_size(self, kind: Kind) -> usize {
        let length = |classic| if self.flexible { 1 } else { classic };
        match kind {
            Kind::Fixed(size) => size,
            Kind::String => length(2),
            Kind::Bytes | Kind::Array(_) => length(4),
            Kind::Optional(_) => 1,
            Kind::Struct(structure) => {
                let fields = structure.fields.iter().filter(|field| field.exists_in(self.version));
                fields.map(|field| self.min_size(field.kind)).sum::<usize>() + self.flexible as usize
            }
        }
    }
}
