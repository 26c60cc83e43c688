//! Long loops give way: a request over very many partitions holds its shard for the time of a few hundred of them, not of all.
//!
//! A handler's loop tells [`Pace`] of its steps; every [`STEPS_PER_TURN`] of them it goes through the reactor. Counted, so that tests can tell a
//! loop that gives way from one that does not. What is borrowed from a shard's cells must not be held across a step.

use super::task_queue;
use crate::metrics::Counter;

/// Steps in one turn of the shard: of some 100 ns to 2 us each, half a millisecond at the most.
pub const STEPS_PER_TURN: usize = 256;

/// How far a task is in its turn.
#[derive(Debug, Default)]
pub struct Pace {
    steps: usize,
}

impl Pace {
    /// At the beginning of a turn.
    pub fn new() -> Pace {
        Pace::default()
    }

    /// One step is done.
    pub async fn step(&mut self) {
        self.steps(1).await;
    }

    /// So many are done, or something that took as long; afterwards the shard has turned if they were enough for a turn.
    pub async fn steps(&mut self, steps: usize) {
        self.steps = self.steps.saturating_add(steps);
        if self.steps >= STEPS_PER_TURN {
            self.steps = 0;
            task_queue::count(Counter::GaveWay, 1);
            task_queue::reactor_turn().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_lite::future::{block_on, poll_once};

    use super::*;

    #[test]
    fn it_gives_way_when_the_steps_of_a_turn_are_done() {
        block_on(async {
            let mut pace = Pace::new();
            for _ in 1..STEPS_PER_TURN {
                assert!(poll_once(pace.step()).await.is_some());
            }
            assert_eq!(pace.steps, STEPS_PER_TURN - 1);
        });
        let turns = glommio::LocalExecutorBuilder::default().make().unwrap().run(async {
            let (mut pace, mut turns) = (Pace::new(), 0);
            for _ in 0..4 * STEPS_PER_TURN {
                let mut step = std::pin::pin!(pace.step());
                if poll_once(step.as_mut()).await.is_none() {
                    turns += 1;
                    step.await;
                }
            }
            let mut at_once = std::pin::pin!(pace.steps(10 * STEPS_PER_TURN));
            assert!(poll_once(at_once.as_mut()).await.is_none(), "once, however much it was");
            at_once.await;
            turns
        });
        assert_eq!(turns, 4);
    }
}
