//! The client side of the protocol: one blocking connection for set-up, many non-blocking ones for load.
//!
//! | file | owns |
//! |---|---|
//! | `admin` | set-up and tear-down over one blocking connection |
//! | `versions`, `topology` | which versions both sides speak; who leads which partition |
//! | `connection` | a non-blocking connection: bytes out, frames in |
//! | `poll` | epoll and the clock: when a thread sleeps, spins and wakes |
//! | `produce`, `fetch` | the two hot APIs in place, in their last versions before the flexible ones |

pub mod admin;
pub mod connection;
pub mod fetch;
pub mod poll;
pub mod produce;
pub mod topology;
pub mod versions;

/// What clients call themselves.
pub const CLIENT_ID: &str = "coreline-bench";
