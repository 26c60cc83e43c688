//! The load: producers and readers on load threads.
//!
//! | file | owns |
//! |---|---|
//! | `worker` | a load thread: its poll, timers and actors |
//! | `producer`, `producer_request`, `producer_answer`, `template` | producers: schedule to batch; requests; answers; the batch that is patched |
//! | `reader`, `records`, `group` | readers: fetch loop; checking what came; membership |
//! | `link`, `idle` | connections that come back; connections that do nothing |
//! | `cells`, `shared` | what a thread records; what threads tell each other |

pub mod cells;
pub mod group;
pub mod idle;
pub mod link;
pub mod producer;
mod producer_answer;
mod producer_request;
pub mod reader;
mod records;
pub mod shared;
pub mod template;
pub mod worker;
