//! Where requests wait for a condition or a deadline; each is completed exactly once.
//!
//! `watermark` holds what waits for a partition's high watermark; `first_of` is the wait for whichever of several moves
//! first, `news` the same for very many, without looking at all of them again. Deadlines come from the caller, who races the wait against a timer.

pub mod first_of;
pub mod news;
pub mod turnstile;
pub mod watermark;

pub use news::News;
pub use turnstile::Turnstile;
pub use watermark::{Reached, Watermark};
