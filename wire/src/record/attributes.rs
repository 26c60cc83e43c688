//! The attributes of a record batch: codec (bits 0 to 2), timestamp type (3), transactional (4), control (5), delete horizon (6).

use std::fmt;

/// Attributes as they stand in the batch header.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Attributes(pub i16);

const CODEC_MASK: i16 = 0x07;
const LOG_APPEND_TIME: i16 = 0x08;
const TRANSACTIONAL: i16 = 0x10;
const CONTROL: i16 = 0x20;
const DELETE_HORIZON: i16 = 0x40;

impl Attributes {
    /// The codec, or `None` for a number that stands for none.
    pub const fn compression(self) -> Option<Compression> {
        Compression::from_code((self.0 & CODEC_MASK) as u8)
    }

    /// Who set the timestamps.
    pub const fn timestamp_type(self) -> TimestampType {
        if self.0 & LOG_APPEND_TIME != 0 { TimestampType::LogAppendTime } else { TimestampType::CreateTime }
    }

    /// True when the batch is part of a transaction.
    pub const fn is_transactional(self) -> bool {
        self.0 & TRANSACTIONAL != 0
    }

    /// True when the batch holds a control record: a transaction marker or a record of the quorum.
    pub const fn is_control(self) -> bool {
        self.0 & CONTROL != 0
    }

    /// True when the base timestamp is the time after which tombstones may go (set by compaction).
    pub const fn has_delete_horizon(self) -> bool {
        self.0 & DELETE_HORIZON != 0
    }

    /// The same with this codec.
    pub const fn with_compression(self, codec: Compression) -> Attributes {
        Attributes((self.0 & !CODEC_MASK) | codec.code() as i16)
    }

    /// The same with this timestamp type.
    pub const fn with_timestamp_type(self, timestamp_type: TimestampType) -> Attributes {
        self.with(LOG_APPEND_TIME, matches!(timestamp_type, TimestampType::LogAppendTime))
    }

    /// The same with the transactional bit.
    pub const fn with_transactional(self, on: bool) -> Attributes {
        self.with(TRANSACTIONAL, on)
    }

    /// The same with the control bit.
    pub const fn with_control(self, on: bool) -> Attributes {
        self.with(CONTROL, on)
    }

    /// The same with the delete horizon's bit.
    pub const fn with_delete_horizon(self, on: bool) -> Attributes {
        self.with(DELETE_HORIZON, on)
    }

    const fn with(self, bit: i16, on: bool) -> Attributes {
        Attributes(if on { self.0 | bit } else { self.0 & !bit })
    }
}

/// The codec of a batch's records.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Compression {
    /// Not compressed.
    #[default]
    None,
    /// gzip.
    Gzip,
    /// snappy, in xerial framing.
    Snappy,
    /// LZ4 frame.
    Lz4,
    /// zstd (from Produce v7 and Fetch v10, KIP-110).
    Zstd,
}

impl Compression {
    /// Every codec.
    pub const ALL: [Compression; 5] = [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

    /// Its number in the attributes.
    pub const fn code(self) -> u8 {
        match self {
            Compression::None => 0,
            Compression::Gzip => 1,
            Compression::Snappy => 2,
            Compression::Lz4 => 3,
            Compression::Zstd => 4,
        }
    }

    /// The codec with this number.
    pub const fn from_code(code: u8) -> Option<Compression> {
        match code {
            0 => Some(Compression::None),
            1 => Some(Compression::Gzip),
            2 => Some(Compression::Snappy),
            3 => Some(Compression::Lz4),
            4 => Some(Compression::Zstd),
            _ => None,
        }
    }

    /// Its name in `compression.type`.
    pub const fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }

    /// The codec of this name in `compression.type`; both `none` and `uncompressed` are understood.
    pub fn from_name(name: &str) -> Option<Compression> {
        match name {
            "uncompressed" => Some(Compression::None),
            _ => Compression::ALL.into_iter().find(|codec| codec.name() == name),
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Who set the timestamps of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum TimestampType {
    /// The producer, per record.
    #[default]
    CreateTime,
    /// The broker, one for the batch.
    LogAppendTime,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_where_the_format_says() {
        for codec in Compression::ALL {
            let attributes = Attributes(!CODEC_MASK).with_compression(codec);
            assert_eq!(attributes.compression(), Some(codec));
            assert_eq!(attributes.0 & !CODEC_MASK, !CODEC_MASK);
            assert_eq!(Compression::from_name(codec.name()), Some(codec));
        }
        assert_eq!(Attributes(5).compression(), None);
        assert_eq!(Attributes(7).compression(), None);
        let all = Attributes::default().with_timestamp_type(TimestampType::LogAppendTime).with_transactional(true).with_control(true);
        assert_eq!(all.0, 0x38);
        assert!(all.is_control() && all.is_transactional() && !all.has_delete_horizon());
        assert_eq!(all.timestamp_type(), TimestampType::LogAppendTime);
        assert_eq!(all.with_control(false).with_transactional(false).with_timestamp_type(TimestampType::CreateTime).0, 0);
        assert!(Attributes(0x40).has_delete_horizon());
    }
}
