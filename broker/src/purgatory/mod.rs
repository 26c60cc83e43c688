//! Where requests wait for a condition or a deadline; each is completed exactly once.
//!
//! `watermark` holds what waits for a partition's high watermark; `first_of` is the wait for whichever of several partitions moves
//! first. Deadlines come from the caller, who races the wait against a timer.

pub mod first_of;
pub mod turnstile;
pub mod watermark;

pub use turnstile::Turnstile;
pub use watermark::{Reached, Watermark};
