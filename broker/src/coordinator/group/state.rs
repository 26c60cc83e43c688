//! The states of a classic group and the moves between them, listed once.
//!
//! ```text
//!  Empty -> PreparingRebalance -> CompletingRebalance -> Stable
//!    ^             |  ^----------------'                  |
//!    '-------------'  '-----------------------------------'      Empty -> Dead
//! ```

use std::fmt;

/// Where a classic group is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ClassicState {
    /// No members; offsets may remain.
    Empty,
    /// Members are asked to rejoin; the join phase.
    PreparingRebalance,
    /// All have joined; the leader's assignment is awaited, then made durable.
    CompletingRebalance,
    /// Everybody has an assignment.
    Stable,
    /// Dropped; nothing leads out of it.
    Dead,
}

impl ClassicState {
    /// All of them.
    pub const ALL: [ClassicState; 5] = [
        ClassicState::Empty,
        ClassicState::PreparingRebalance,
        ClassicState::CompletingRebalance,
        ClassicState::Stable,
        ClassicState::Dead,
    ];

    /// The name that DescribeGroups gives it.
    pub const fn name(self) -> &'static str {
        match self {
            ClassicState::Empty => "Empty",
            ClassicState::PreparingRebalance => "PreparingRebalance",
            ClassicState::CompletingRebalance => "CompletingRebalance",
            ClassicState::Stable => "Stable",
            ClassicState::Dead => "Dead",
        }
    }

    /// Whether a group may go from here to `next`.
    pub const fn may_become(self, next: ClassicState) -> bool {
        use ClassicState::{CompletingRebalance, Dead, Empty, PreparingRebalance, Stable};
        matches!(
            (self, next),
            (Empty | CompletingRebalance | Stable, PreparingRebalance)
                | (PreparingRebalance, CompletingRebalance | Empty)
                | (CompletingRebalance, Stable)
                | (Empty, Dead)
        )
    }

    /// A rebalance can start from here.
    pub const fn can_rebalance(self) -> bool {
        self.may_become(ClassicState::PreparingRebalance)
    }

    /// The moves as Graphviz text.
    pub fn graphviz() -> String {
        let mut out = String::from("digraph classic_group {\n");
        for from in Self::ALL {
            for to in Self::ALL.into_iter().filter(|to| from.may_become(*to)) {
                out.push_str(&format!("  {from} -> {to};\n"));
            }
        }
        out.push_str("}\n");
        out
    }
}

impl fmt::Display for ClassicState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
