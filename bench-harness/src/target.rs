//! `Target`: what the engine needs of the server under test. Adapters that start processes implement it elsewhere.

use crate::error::BenchError;

/// A server under test. The engine calls `start`, `stop` and `kill` only for scenarios that need them (`restart`, `start_up`, `drop_caches`).
pub trait Target {
    /// Name for reports, such as `coreline` or `127.0.0.1:9092`.
    fn name(&self) -> String;

    /// `HOST:PORT` of the Kafka listener. Stays the same across restarts.
    fn bootstrap(&self) -> String;

    /// Process id, when the server runs on this host and is known.
    fn pid(&self) -> Option<u32>;

    /// How it ended, if it has since the last look without being asked to; `None` while it runs and for a server that is only an address.
    fn unasked_end(&mut self) -> Option<String> {
        None
    }

    /// Starts the server on the data it has, and returns once the process exists; it need not serve yet.
    fn start(&mut self) -> Result<(), BenchError>;

    /// Stops it cleanly (SIGTERM) and returns once it is gone.
    fn stop(&mut self) -> Result<(), BenchError>;

    /// Ends it with SIGKILL and returns once it is gone.
    fn kill(&mut self) -> Result<(), BenchError>;

    /// Stops it and deletes its data, so that the next `start` begins from nothing. Only called by callers that own the target.
    fn wipe(&mut self) -> Result<(), BenchError>;
}

/// Any server at an address: it is there already, and stays.
#[derive(Clone, Debug)]
pub struct Address(pub String);

impl Address {
    fn refuse(&self, what: &str) -> BenchError {
        BenchError::target(&self.0, format!("cannot {what} a server that is only an address; give a target that the harness starts"))
    }
}

impl Target for Address {
    fn name(&self) -> String {
        self.0.clone()
    }

    fn bootstrap(&self) -> String {
        self.0.clone()
    }

    fn pid(&self) -> Option<u32> {
        None
    }

    fn start(&mut self) -> Result<(), BenchError> {
        Err(self.refuse("start"))
    }

    fn stop(&mut self) -> Result<(), BenchError> {
        Err(self.refuse("stop"))
    }

    fn kill(&mut self) -> Result<(), BenchError> {
        Err(self.refuse("kill"))
    }

    fn wipe(&mut self) -> Result<(), BenchError> {
        Err(self.refuse("wipe"))
    }
}
