//! The order of the blocks of a comparison. Pure.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Side {
    /// The first target.
    A = 0,
    /// The second.
    B = 1,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Side::A { "A" } else { "B" })
    }
}

/// One run of one target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// Whose.
    pub side: Side,
    /// Which pair it belongs to, from 0; pairs of noise are counted by themselves.
    pub pair: usize,
    /// True for a pair of A and A.
    pub noise: bool,
    /// Percent of the slower target's capacity that the load is, in a comparison with levels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<u32>,
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(percent) = self.level {
            write!(f, "at {percent} %, ")?;
        }
        write!(f, "{}pair {} {}", if self.noise { "noise " } else { "" }, self.pair + 1, self.side)
    }
}

/// First the pairs A A, then A B, B A, A B, ... so that of four blocks in a row the inner ones are the same side.
pub fn blocks(pairs: usize, noise_pairs: usize) -> impl Iterator<Item = Block> {
    let noise = (0..noise_pairs).flat_map(|pair| [Block { side: Side::A, pair, noise: true, level: None }; 2]);
    let real = (0..pairs).flat_map(|pair| {
        let order = if pair % 2 == 0 { [Side::A, Side::B] } else { [Side::B, Side::A] };
        order.map(|side| Block { side, pair, noise: false, level: None })
    });
    noise.chain(real)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_noise_then_abba() {
        let order: String =
            blocks(4, 1).map(|block| if block.noise { 'n' } else { block.side.to_string().chars().next().unwrap_or(' ') }).collect();
        assert_eq!(order, "nnABBAABBA");
        assert!(blocks(0, 0).next().is_none());
    }
}
