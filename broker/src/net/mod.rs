//! The network side: `accept -> connection -> (dispatch) -> pipeline -> send`. Knows frames and their order, nothing of their content.

pub mod accept;
pub mod connection;
pub mod pipeline;
pub mod quota;
pub mod read_ahead;
pub mod receive_buffer;
pub mod send;
pub mod sendfile;
pub mod throttle;
