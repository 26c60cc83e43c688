//! The fence: a walk over a request body that checks every count, length and tag before a decoder that trusts them may see it.

use crate::decode::{DecodeError, DecodeErrorKind};

/// Checks a request body of a served API and version.
pub fn check_request(api_key: i16, version: i16, _body: &[u8]) -> Result<(), DecodeError> {
    Err(DecodeError { at: 0, kind: DecodeErrorKind::UnsupportedVersion { api_key, version } })
}
