//! Messages with our own codecs, both directions, requests and responses: the two hot APIs without copies, and the versions of others that
//! `kafka-protocol` does not know yet. All other messages come from that crate.

pub mod chunk;
pub mod current_leader;
pub mod fetch;
pub mod offset_commit;
pub mod offset_fetch;
pub mod produce;
mod topic;

pub use chunk::{Chunk, SpanLen};
pub use current_leader::{LeaderIdAndEpoch, NodeEndpoint};
pub use fetch::{FetchRequest, FetchResponse};
pub use offset_commit::{OffsetCommitRequest, OffsetCommitResponse};
pub use offset_fetch::{OffsetFetchRequest, OffsetFetchResponse};
pub use produce::{ProduceRequest, ProduceResponse};

use crate::api::{ApiKey, ApiSpec};
use crate::decode::{DecodeError, DecodeErrorKind, Decoder};

/// The table row of an API, if it serves the version.
fn served(api: ApiKey, version: i16) -> Result<&'static ApiSpec, DecodeError> {
    let spec = api.spec();
    if spec.serves(version) {
        Ok(spec)
    } else {
        Err(DecodeError { at: 0, kind: DecodeErrorKind::UnsupportedVersion { api_key: api.code(), version } })
    }
}

/// Refuses every version but one.
fn only(api: ApiKey, version: i16, own: i16) -> Result<(), DecodeError> {
    let refused = DecodeError { at: 0, kind: DecodeErrorKind::UnsupportedVersion { api_key: api.code(), version } };
    if version == own { Ok(()) } else { Err(refused) }
}

/// Reads an array of elements of at least `min_size` bytes each; null reads as empty where `nullable`.
fn read_array<'a, T>(
    d: &mut Decoder<'a>,
    flexible: bool,
    nullable: bool,
    min_size: usize,
    mut element: impl FnMut(&mut Decoder<'a>) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    let count = match d.nullable_array(flexible, min_size)? {
        Some(count) => count,
        None if nullable => 0,
        None => return Err(d.error(DecodeErrorKind::UnexpectedNull)),
    };
    // The count was checked against the bytes that are left and against the element budget.
    let mut out = Vec::with_capacity(count);
    for _ in 0..count {
        out.push(element(d)?);
    }
    Ok(out)
}
