//! A group of the consumer protocol (KIP-848): members, epochs, target assignment.

use std::rc::Rc;

/// A consumer group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConsumerGroup {
    /// Its name.
    pub id: Rc<str>,
}
