//! Hostile input at a running broker: every request of the table again, damaged. Each is answered or its connection closed; none panics,
//! and the broker serves and stops as before.

use std::io::Write;
use std::time::Duration;

use kafka_protocol::messages::ApiKey;

use super::session::Session;
use crate::common::{Broker, connect};

/// Connections that are held open, with requests that may be waiting on them.
const OPEN: usize = 48;

/// Damaged requests per part of the table.
const ROUNDS: usize = 2000;

/// A small generator, so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound.max(1)
    }
}

/// Whether a frame may be damaged: a number of partitions that grew by damage would make topics of thousands of partitions, and a setting
/// of the broker may make it close connections, rightly.
fn is_safe(frame: &[u8]) -> bool {
    let key = i16::from_be_bytes([frame[4], frame[5]]);
    ![ApiKey::CreateTopics, ApiKey::CreatePartitions, ApiKey::AlterConfigs, ApiKey::IncrementalAlterConfigs, ApiKey::AlterClientQuotas]
        .iter()
        .any(|unsafe_key| *unsafe_key as i16 == key)
}

/// Changes up to three bytes behind the header, or cuts or repeats some; the size prefix stays true.
fn damaged(frame: &[u8], random: &mut Random) -> Vec<u8> {
    const HEADER: usize = 18;
    let mut frame = frame.to_vec();
    if frame.len() > HEADER {
        for _ in 0..=random.below(3) {
            let at = HEADER + random.below(frame.len() - HEADER);
            frame[at] = match random.below(4) {
                0 => 0xff,
                1 => 0,
                2 => 0x7f,
                _ => random.below(256) as u8,
            };
        }
        match random.below(8) {
            0 => frame.truncate(HEADER + random.below(frame.len() - HEADER)),
            1 => {
                let from = HEADER + random.below(frame.len() - HEADER);
                frame.extend_from_within(from..);
            }
            _ => {}
        }
    }
    let size = (frame.len() - 4) as i32;
    frame[..4].copy_from_slice(&size.to_be_bytes());
    frame
}

/// Sends damaged copies of what the session sent.
pub fn replay(broker: &Broker, session: &Session) {
    let seed = std::env::var("CORELINE_DIFFERENTIAL_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(7);
    println!("damaged requests: CORELINE_DIFFERENTIAL_SEED={seed}");
    let mut random = Random(seed);
    let frames: Vec<&Vec<u8>> = session.frames.iter().filter(|frame| frame.len() > 8 && is_safe(frame)).collect();
    let mut open = Vec::new();
    for round in 0..ROUNDS {
        let frame = damaged(frames[random.below(frames.len())], &mut random);
        let mut stream = connect(broker.addr);
        // Whether it is taken at all is the broker's choice.
        let _ = stream.write_all(&frame);
        open.push(stream);
        if open.len() == OPEN {
            open.remove(random.below(OPEN));
        }
        if round % 200 == 0 || round + 1 == ROUNDS {
            assert!(!broker.log.text().contains("panic"), "seed {seed}, round {round}:\n{}", broker.log.text());
            let mut probe = Session::new(broker.addr, false);
            assert!(probe.serves(18, 0), "seed {seed}, round {round}: no answer to ApiVersions");
        }
    }
    drop(open);
    // The log is written behind the answers.
    std::thread::sleep(Duration::from_millis(50));
    let mut probe = Session::new(broker.addr, false);
    probe.create("after", 1, &[]);
    super::groups::ready(&mut probe);
    assert!(!broker.log.text().contains("panic"), "seed {seed}:\n{}", broker.log.text());
}
