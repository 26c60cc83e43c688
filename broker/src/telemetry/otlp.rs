//! Reads the metrics of a client: an OTLP `MetricsData` message (protobuf), as KIP-714 has it, bounded on untrusted input.
//!
//! Only what clients send is read: gauges and sums of numbers with their attributes; histograms and summaries are skipped. Unknown fields are
//! skipped. Nothing is allocated by a length: a length is believed only within the bytes that are there.

/// One number of a metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// The metric's name.
    pub name: String,
    /// Its attributes, sorted by key.
    pub attributes: Vec<(String, String)>,
    /// The number.
    pub value: f64,
    /// How it adds up.
    pub kind: PointKind,
}

/// How the numbers of a metric add up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PointKind {
    /// The newest one counts.
    Gauge,
    /// The newest one counts and only grows.
    Cumulative,
    /// What was added since the last one.
    Delta,
}

/// Why bytes are no metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the metrics cannot be read at byte {0} of a part")]
pub struct Malformed(usize);

/// Points of one push; more are left out.
pub const POINTS_MAX: usize = 5_000;
/// Attributes of a point; more are left out.
const ATTRIBUTES_MAX: usize = 8;
/// Bytes of a name, key or value; the rest is cut off.
const TEXT_BYTES_MAX: usize = 128;

/// The points of a message, and how many were left out.
pub fn read(bytes: &[u8]) -> Result<(Vec<Point>, usize), Malformed> {
    let mut out = Points::default();
    // MetricsData: 1 = ResourceMetrics; in it 2 = ScopeMetrics; in it 2 = Metric.
    for field in Fields::of(bytes) {
        let Field::Bytes(1, resource) = field? else { continue };
        for field in Fields::of(resource) {
            let Field::Bytes(2, scope) = field? else { continue };
            for field in Fields::of(scope) {
                let Field::Bytes(2, metric) = field? else { continue };
                out.metric(metric)?;
            }
        }
    }
    Ok((out.points, out.left_out))
}

#[derive(Default)]
struct Points {
    points: Vec<Point>,
    left_out: usize,
}

impl Points {
    /// Metric: 1 = name, 5 = Gauge, 7 = Sum.
    fn metric(&mut self, metric: &[u8]) -> Result<(), Malformed> {
        let mut name = String::new();
        for field in Fields::of(metric) {
            if let Field::Bytes(1, text) = field? {
                name = cut(text);
            }
        }
        for field in Fields::of(metric) {
            match field? {
                Field::Bytes(5, gauge) => self.data(&name, PointKind::Gauge, gauge)?,
                Field::Bytes(7, sum) => {
                    // Sum: 2 = temporality, of which 1 is delta.
                    let mut kind = PointKind::Cumulative;
                    for field in Fields::of(sum) {
                        if let Field::Varint(2, 1) = field? {
                            kind = PointKind::Delta;
                        }
                    }
                    self.data(&name, kind, sum)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Gauge and Sum: 1 = NumberDataPoint; in it 4 = double, 6 = integer, 7 = attribute.
    fn data(&mut self, name: &str, kind: PointKind, data: &[u8]) -> Result<(), Malformed> {
        for field in Fields::of(data) {
            let Field::Bytes(1, point) = field? else { continue };
            let (mut value, mut attributes) = (None, Vec::new());
            for field in Fields::of(point) {
                match field? {
                    Field::Fixed64(4, bits) => value = Some(f64::from_bits(bits)),
                    Field::Fixed64(6, bits) => value = Some(bits as i64 as f64),
                    Field::Bytes(7, attribute) if attributes.len() < ATTRIBUTES_MAX => attributes.push(key_value(attribute)?),
                    _ => {}
                }
            }
            let Some(value) = value.filter(|value| value.is_finite()) else { continue };
            if self.points.len() == POINTS_MAX {
                self.left_out += 1;
                continue;
            }
            attributes.sort_unstable();
            attributes.dedup_by(|a, b| a.0 == b.0);
            self.points.push(Point { name: name.to_owned(), attributes, value, kind });
        }
        Ok(())
    }
}

/// KeyValue: 1 = key, 2 = AnyValue, of which 1 is a string, 2 a boolean, 3 an integer, 4 a double.
fn key_value(bytes: &[u8]) -> Result<(String, String), Malformed> {
    let (mut key, mut value) = (String::new(), String::new());
    for field in Fields::of(bytes) {
        match field? {
            Field::Bytes(1, text) => key = cut(text),
            Field::Bytes(2, any) => {
                for field in Fields::of(any) {
                    value = match field? {
                        Field::Bytes(1, text) => cut(text),
                        Field::Varint(2, flag) => (flag != 0).to_string(),
                        Field::Varint(3, number) => (number as i64).to_string(),
                        Field::Fixed64(4, bits) => f64::from_bits(bits).to_string(),
                        _ => continue,
                    };
                }
            }
            _ => {}
        }
    }
    Ok((key, value))
}

fn cut(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(&text[..text.len().min(TEXT_BYTES_MAX)]);
    text.into_owned()
}

/// A field of a protobuf message, with its number.
enum Field<'a> {
    Varint(u64, u64),
    Fixed64(u64, u64),
    Bytes(u64, &'a [u8]),
    Other,
}

/// The fields of a message; ends behind the first error.
struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    fn of(bytes: &'a [u8]) -> Fields<'a> {
        Fields { bytes, at: 0 }
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.bytes.get(self.at)?;
            self.at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(len)?)?;
        self.at += len;
        Some(taken)
    }

    fn field(&mut self) -> Option<Field<'a>> {
        let tag = self.varint()?;
        let number = tag >> 3;
        Some(match tag & 7 {
            0 => Field::Varint(number, self.varint()?),
            1 => Field::Fixed64(number, u64::from_le_bytes(self.take(8)?.try_into().ok()?)),
            2 => {
                let len = usize::try_from(self.varint()?).ok()?;
                Field::Bytes(number, self.take(len)?)
            }
            5 => {
                self.take(4)?;
                Field::Other
            }
            _ => return None,
        })
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.bytes.len() {
            return None;
        }
        let at = self.at;
        match self.field() {
            Some(field) => Some(Ok(field)),
            None => {
                self.at = self.bytes.len();
                Some(Err(Malformed(at)))
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    fn varint(mut n: u64, out: &mut Vec<u8>) {
        while n > 0x7f {
            out.push(n as u8 | 0x80);
            n >>= 7;
        }
        out.push(n as u8);
    }

    fn bytes(number: u64, content: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        varint(number << 3 | 2, &mut out);
        varint(content.len() as u64, &mut out);
        out.extend_from_slice(content);
        out
    }

    fn fixed(number: u64, bits: u64) -> Vec<u8> {
        [&[(number << 3 | 1) as u8][..], &bits.to_le_bytes()].concat()
    }

    fn attribute(key: &str, any: &[u8]) -> Vec<u8> {
        bytes(7, &[bytes(1, key.as_bytes()), bytes(2, any)].concat())
    }

    /// A message of one metric with one point.
    pub(in super::super) fn message(name: &str, kind: PointKind, value: f64) -> Vec<u8> {
        let point = bytes(1, &[fixed(4, value.to_bits()), attribute("node", &bytes(1, b"1"))].concat());
        let data = match kind {
            PointKind::Gauge => bytes(5, &point),
            PointKind::Cumulative => bytes(7, &[point, vec![2 << 3, 2]].concat()),
            PointKind::Delta => bytes(7, &[point, vec![2 << 3, 1]].concat()),
        };
        let metric = bytes(2, &[bytes(1, name.as_bytes()), data].concat());
        bytes(1, &[bytes(1, b"\x0a\x00"), bytes(2, &[bytes(1, b""), metric].concat())].concat())
    }

    #[test]
    fn gauges_and_sums_are_read_with_their_attributes() {
        let all =
            [message("a", PointKind::Gauge, 1.5), message("b", PointKind::Cumulative, 7.0), message("c", PointKind::Delta, -2.0)].concat();
        let (points, left_out) = read(&all).expect("valid");
        let node = vec![("node".to_owned(), "1".to_owned())];
        let point = |name: &str, value, kind| Point { name: name.to_owned(), attributes: node.clone(), value, kind };
        let expected = [point("a", 1.5, PointKind::Gauge), point("b", 7.0, PointKind::Cumulative), point("c", -2.0, PointKind::Delta)];
        assert_eq!((&points[..], left_out), (&expected[..], 0));
        assert_eq!(read(&[]), Ok((vec![], 0)));
    }

    #[test]
    fn integers_and_attributes_of_any_type_are_read_and_much_of_anything_is_cut() {
        let mut attributes = vec![attribute("b", &[2 << 3, 1]), attribute("i", &[3 << 3, 5]), attribute("d", &fixed(4, 0.5f64.to_bits()))];
        attributes.extend((0..20).map(|i| attribute(&format!("x{i}"), &bytes(1, &[b'y'; 500]))));
        let point = bytes(1, &[fixed(6, -3i64 as u64), attributes.concat()].concat());
        let metric = bytes(2, &[bytes(5, &point.repeat(POINTS_MAX + 3)), bytes(1, b"late")].concat());
        let (points, left_out) = read(&bytes(1, &bytes(2, &metric))).expect("valid");
        assert_eq!((points.len(), left_out), (POINTS_MAX, 3));
        assert_eq!((points[0].value, points[0].name.as_str(), points[0].attributes.len()), (-3.0, "late", ATTRIBUTES_MAX));
        let of = |key: &str| points[0].attributes.iter().find(|(k, _)| k == key).map(|(_, v)| v.clone()).expect("kept");
        assert_eq!((of("b").as_str(), of("i").as_str(), of("d").as_str(), of("x0").len()), ("true", "5", "0.5", TEXT_BYTES_MAX));
    }

    #[test]
    fn a_cut_message_is_an_error() {
        let whole = message("a", PointKind::Delta, 1.0);
        for cut in 1..whole.len() {
            assert!(read(&whole[..cut]).is_err(), "cut at {cut}");
        }
        assert!(read(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&bytes);
        }

        #[test]
        fn any_damage_is_read_or_refused(at in 0usize..70, byte in any::<u8>()) {
            let mut message = message("metric", PointKind::Delta, 1.0);
            let at = at % message.len();
            message[at] = byte;
            let _ = read(&message);
        }
    }
}
