//! `Link`: a connection to one broker that is opened again when it breaks, at a steady pace.

use std::io;
use std::net::SocketAddr;

use super::shared::Context;
use crate::client::connection::Connection;

/// Nanoseconds between two attempts to connect.
const RETRY_NS: u64 = 20_000_000;
/// Nanoseconds until an attempt is given up.
const CONNECT_NS: u64 = 5_000_000_000;

/// A connection that comes back.
#[derive(Debug)]
pub struct Link {
    /// What it is watched under.
    pub token: u64,
    connection: Option<Connection>,
    /// When the current attempt began, or when the next may.
    at_ns: u64,
}

impl Link {
    /// Not connected yet.
    pub fn new(token: u64) -> Link {
        Link { token, connection: None, at_ns: 0 }
    }

    /// Opens the connection if there is none and its time has come. Errors are counted.
    pub fn open(&mut self, address: SocketAddr, c: &mut Context<'_>) {
        if let Some(connection) = &self.connection {
            if !connection.is_connected() && c.now >= self.at_ns + CONNECT_NS {
                self.close("connect", c);
            }
            return;
        }
        if c.now < self.at_ns {
            return;
        }
        self.at_ns = c.now;
        match Connection::open(address).and_then(|connection| c.poll.watch(connection.socket(), self.token).map(|()| connection)) {
            Ok(connection) => self.connection = Some(connection),
            Err(_) => self.close("connect", c),
        }
    }

    /// The connection, once it is connected.
    pub fn ready(&mut self) -> Option<&mut Connection> {
        self.connection.as_mut().filter(|c| c.is_connected())
    }

    /// Whether it is connected and has nothing left to write.
    pub fn can_write(&self) -> bool {
        self.connection.as_ref().is_some_and(|c| c.is_connected() && c.is_flushed())
    }

    /// Takes note that it can be written to: finishes connecting, writes what was kept. An error has not closed it yet.
    pub fn on_writable(&mut self) -> io::Result<()> {
        if let Some(connection) = &mut self.connection
            && connection.check_connected()?
        {
            connection.flush()?;
        }
        Ok(())
    }

    /// True when there is a connection, connected or not.
    pub fn is_open(&self) -> bool {
        self.connection.is_some()
    }

    /// Closes it, counts an error of this kind (unless empty), and allows the next attempt a little later.
    pub fn close(&mut self, kind: &'static str, c: &mut Context<'_>) {
        // An attempt that never connected says so, whatever the symptom.
        let connected = self.connection.take().is_some_and(|c| c.is_connected());
        if !kind.is_empty() {
            c.cells.error(if connected || kind == "timeout" { kind } else { "connect" });
        }
        self.at_ns = c.now + RETRY_NS;
    }

    /// When it wants to be opened again; never while it is open.
    pub fn wake_ns(&self) -> u64 {
        match &self.connection {
            None => self.at_ns,
            Some(c) if !c.is_connected() => self.at_ns + CONNECT_NS,
            Some(_) => u64::MAX,
        }
    }
}
