//! Record batches of magic 2: the unit of append, checksum and index, equal on the wire and on disk.
//!
//! | module | owns |
//! |---|---|
//! | [`batch`] | header view, checks that turn a [`RawBatch`] into a [`ValidBatch`], patching in place, several batches in a row |
//! | [`attributes`] | codec, timestamp type, transactional and control bits |
//! | [`crc32c`] | the checksum |
//! | [`iter`] | records inside an uncompressed payload |
//! | [`compression`] | the codecs, under an output limit |
//! | [`validate`] | what only decompressing and reading the records tells |
//! | [`builder`], [`control`] | making batches; transaction markers |
//! | [`retain`] | a batch with only some of its records, as compaction leaves it |

pub mod attributes;
pub mod batch;
pub mod builder;
pub mod compression;
pub mod control;
pub mod crc32c;
pub mod iter;
mod lz4_frame;
pub mod retain;
pub mod validate;

#[cfg(test)]
mod tests;

pub use attributes::{Attributes, Compression, TimestampType};
pub use batch::{BatchError, BatchHeader, Batches, Origin, RawBatch, ValidBatch};
pub use builder::BatchBuilder;
pub use iter::{Record, Records};
