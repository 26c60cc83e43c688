//! Record batches of magic 2: the unit of append, checksum and index, equal on the wire and on disk.
//!
//! | module | owns |
//! |---|---|
//! | [`batch`] | header view, checks that turn a [`RawBatch`] into a [`ValidBatch`], patching in place, several batches in a row |
//! | [`attributes`] | codec, timestamp type, transactional and control bits |

pub mod attributes;
pub mod batch;
pub mod crc32c;

pub use attributes::{Attributes, Compression, TimestampType};
pub use batch::{BatchError, BatchHeader, Origin, RawBatch, ValidBatch};
