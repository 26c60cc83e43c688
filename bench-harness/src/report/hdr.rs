//! A run's histograms as an HdrHistogram log (format 1.3, V2 compressed): one line per metric and window, for the tools that read those.
//!
//! Our buckets are HdrHistogram's of three digits: the same index for the same value, so nothing is lost on the way.

use std::io::{self, Write};

use crate::latency::{Latency, MAX_VALUE_POWER};
use crate::result::{Metric, RunResult};

const COOKIE: u32 = 0x1c84_9313;
const COMPRESSED_COOKIE: u32 = 0x1c84_9314;
/// What stands in the header: digits of precision, lowest and highest value in nanoseconds.
const DIGITS: u32 = 3;
const LOWEST: u64 = 1;
const HIGHEST: u64 = (1 << MAX_VALUE_POWER) - 1;

/// The log of a run; tags are the metrics' names, `measured:` before them for the whole measured phase. Times are seconds from its start.
pub fn log(result: &RunResult) -> io::Result<String> {
    let base = result.started_unix_ms as f64 / 1e3;
    let mut out = format!(
        "#[Histogram log format version 1.3]\n#[{}: {}]\n#[BaseTime: {base:.3} (seconds since epoch)]\n\
         \"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n",
        result.scenario, result.target.name
    );
    let mut line = |tag: &str, from: f64, seconds: f64, latency: &Latency| {
        let max_ms = latency.max().unwrap_or(0) as f64 / 1e6;
        let text = base64(&compressed(latency)?);
        out.push_str(&format!("Tag={tag},{from:.3},{seconds:.3},{max_ms:.3},{text}\n"));
        Ok::<(), io::Error>(())
    };
    for window in &result.timeline {
        for metric in Metric::ALL {
            if let Some(latency) = window.latency.get(&metric).filter(|latency| latency.count() > 0) {
                line(metric.name(), f64::from(window.from_s), f64::from(window.seconds), latency)?;
            }
        }
    }
    let from = result.phases.iter().find(|phase| phase.name == "measured").map_or(0.0, |phase| f64::from(phase.from_s));
    for metric in Metric::ALL {
        if let Some(latency) = result.latency(metric).filter(|latency| latency.count() > 0) {
            line(&format!("measured:{}", metric.name()), from, result.measured.seconds, latency)?;
        }
    }
    Ok(out)
}

/// The V2 encoding: counts by index as zigzag LEB128, a run of empty buckets as its negative length.
fn encoded(latency: &Latency) -> Vec<u8> {
    let mut counts = Vec::new();
    let mut next = 0u64;
    for (index, count) in latency.indices() {
        match u64::from(index) - next {
            0 => {}
            1 => put(&mut counts, 0),
            empty => put(&mut counts, -(empty as i64)),
        }
        put(&mut counts, i64::try_from(count).unwrap_or(i64::MAX));
        next = u64::from(index) + 1;
    }
    let mut out = Vec::with_capacity(40 + counts.len());
    for word in [COOKIE, counts.len() as u32, 0, DIGITS] {
        out.extend(word.to_be_bytes());
    }
    out.extend(LOWEST.to_be_bytes());
    out.extend(HIGHEST.to_be_bytes());
    out.extend(1f64.to_be_bytes());
    out.extend(counts);
    out
}

/// Zigzag, then seven bits per byte; the ninth byte holds eight.
fn put(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    for _ in 0..8 {
        if rest < 0x80 {
            break;
        }
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn compressed(latency: &Latency) -> io::Result<Vec<u8>> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(&encoded(latency))?;
    let packed = encoder.finish()?;
    Ok([&COMPRESSED_COOKIE.to_be_bytes()[..], &(packed.len() as u32).to_be_bytes(), &packed].concat())
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().chain(&[0, 0]).take(3).fold(0u32, |word, byte| word << 8 | u32::from(*byte));
        for i in 0..4 {
            let letter = char::from(LETTERS[(word >> (18 - 6 * i)) as usize & 63]);
            out.push(if i <= chunk.len() { letter } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latency::Recorder;

    /// Reads counts by HdrHistogram's index back, as its readers do.
    fn decoded(bytes: &[u8]) -> Vec<(u64, u64)> {
        let (mut counts, mut at, mut index) = (Vec::new(), 40, 0);
        while at < bytes.len() {
            let (mut word, mut shift) = (0u64, 0);
            loop {
                let byte = bytes[at];
                at += 1;
                word |= if shift == 56 { u64::from(byte) << shift } else { u64::from(byte & 0x7f) << shift };
                if byte & 0x80 == 0 || shift == 56 {
                    break;
                }
                shift += 7;
            }
            match (word >> 1) as i64 ^ -((word & 1) as i64) {
                0 => index += 1,
                empty if empty < 0 => index += empty.unsigned_abs(),
                count => {
                    counts.push((index, count as u64));
                    index += 1;
                }
            }
        }
        counts
    }

    /// The lowest value of a bucket, by HdrHistogram's rule for three digits: 2048 buckets of one, then 1024 per power of two.
    fn value_of(index: u64) -> u64 {
        match (index >> 10, index & 1023) {
            (0 | 1, _) => index,
            (bucket, sub) => (sub + 1024) << (bucket - 1),
        }
    }

    #[test]
    fn an_encoded_histogram_has_every_count_where_hdrhistogram_looks_for_it() {
        let mut recorder = Recorder::default();
        let samples = [(0, 1), (1, 2), (3, 1), (2047, 9), (2048, 5), (2050, 1), (1_000_000, 300), (123_456_789, 70_000), (HIGHEST, 1)];
        samples.iter().for_each(|(value, count)| recorder.record(*value, *count));
        let latency = recorder.take().expect("samples");
        let bytes = encoded(&latency);
        assert_eq!(&bytes[..4], &[0x1c, 0x84, 0x93, 0x13]);
        assert_eq!(u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]) as usize, bytes.len() - 40);
        let counts = decoded(&bytes);
        let buckets: Vec<(u64, u64)> = latency.buckets().map(|(low, _, count)| (low, count)).collect();
        assert_eq!(counts.iter().map(|(index, count)| (value_of(*index), *count)).collect::<Vec<_>>(), buckets);
        let packed = compressed(&latency).expect("packs");
        let mut plain = Vec::new();
        io::Read::read_to_end(&mut flate2::read::ZlibDecoder::new(&packed[8..]), &mut plain).expect("unpacks");
        assert_eq!(plain, bytes);
        assert!(base64(&packed).starts_with("HISTFAAA"), "as every such log does");
    }

    #[test]
    fn base64_is_the_usual_one() {
        for (plain, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(plain.as_bytes()), text);
        }
    }
}
