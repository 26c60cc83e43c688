//! `IdleSet`: connections that greet once and then do nothing, opened a few at a time.

use std::io;

use coreline_wire::ApiKey;
use coreline_wire::encode::Sink;
use coreline_wire::header::encode_request;

use super::link::Link;
use super::shared::Context;
use crate::client::CLIENT_ID;

/// Connections being opened at the same time.
const OPENING_MAX: usize = 64;

/// Idle connections.
#[derive(Debug, Default)]
pub struct IdleSet {
    links: Vec<(Link, Greeting)>,
    greeted: usize,
    opening: usize,
    next: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Greeting {
    Closed,
    Opening,
    Sent,
    Done,
}

impl IdleSet {
    /// Adds a connection.
    pub fn add(&mut self, token: u64) {
        self.links.push((Link::new(token), Greeting::Closed));
    }

    /// Whether all have been greeted.
    pub fn is_ready(&self) -> bool {
        self.greeted == self.links.len()
    }

    /// Opens some of those that are closed.
    pub fn pump(&mut self, c: &mut Context<'_>) {
        let count = self.links.len();
        let mut looked = 0;
        while self.opening < OPENING_MAX && self.greeted + self.opening < count && looked < count {
            let i = self.next % count;
            self.next += 1;
            looked += 1;
            let (link, greeting) = &mut self.links[i];
            if *greeting == Greeting::Closed && c.now >= link.wake_ns() {
                // Spread over the brokers.
                link.open(c.topology.nodes[i % c.topology.nodes.len()].address, c);
                if link.is_open() {
                    *greeting = Greeting::Opening;
                    self.opening += 1;
                }
            }
        }
    }

    /// A socket can be written to: greets.
    pub fn on_writable(&mut self, i: usize, c: &mut Context<'_>) {
        let (link, greeting) = &mut self.links[i];
        let mut greet = || -> io::Result<()> {
            link.on_writable()?;
            if let Some(connection) = link.ready().filter(|_| *greeting == Greeting::Opening) {
                let mut request = Vec::with_capacity(64);
                request.i32(0);
                encode_request(&mut request, ApiKey::ApiVersions, 0, connection.next_correlation(), Some(CLIENT_ID));
                crate::client::produce::finish(&mut request, 0);
                connection.send(&request)?;
                *greeting = Greeting::Sent;
            }
            Ok(())
        };
        if greet().is_err() {
            self.close(i, c);
        }
    }

    /// A socket has something to read: the answer to the greeting, or its end.
    pub fn on_readable(&mut self, i: usize, c: &mut Context<'_>) {
        let (link, greeting) = &mut self.links[i];
        let Some(connection) = link.ready() else { return };
        let read = connection.fill().and_then(|_| connection.next_frame());
        match read {
            Ok(Some(_)) if *greeting == Greeting::Sent => {
                *greeting = Greeting::Done;
                self.opening -= 1;
                self.greeted += 1;
                connection.shrink();
            }
            Ok(_) => {}
            Err(_) => self.close(i, c),
        }
        self.pump(c);
    }

    fn close(&mut self, i: usize, c: &mut Context<'_>) {
        let (link, greeting) = &mut self.links[i];
        match std::mem::replace(greeting, Greeting::Closed) {
            Greeting::Done => self.greeted -= 1,
            Greeting::Opening | Greeting::Sent => self.opening -= 1,
            Greeting::Closed => {}
        }
        link.close("disconnect", c);
    }
}
