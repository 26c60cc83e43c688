//! Small questions to the machine and to a broker: is a tool here, is a port free, does the broker serve.

use crate::process;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Whether the command runs at all.
pub(crate) fn available(command: &[&str]) -> Result<(), String> {
    match process::run(Command::new(command[0]).args(&command[1..]), Duration::from_secs(60)) {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("`{}` ended with {}", command.join(" "), output.status)),
        Err(reason) => Err(format!("`{}`: {reason}", command.join(" "))),
    }
}

/// Says that a client is left out; with `CI=true` that is a failure.
pub(crate) fn missing(client: &str, reason: &str) {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "CI=true and the client {client} cannot run: {reason}");
    // Past the test harness's capture: a skip is to be seen.
    let _ = writeln!(std::io::stderr(), "interop: SKIPPED {client}: {reason}");
}

/// Whether the admin listener says that the broker serves.
pub(crate) fn admin_ready(port: u16) -> bool {
    let mut answer = String::new();
    connect(port)
        .and_then(|mut stream| {
            stream.write_all(b"GET /ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").ok()?;
            stream.take(4096).read_to_string(&mut answer).ok()
        })
        .is_some_and(|_| answer.starts_with("HTTP/1.1 200"))
}

/// ApiVersions version 0, the one request that every broker understands before anything else.
pub(crate) fn answers_api_versions(port: u16) -> bool {
    const REQUEST: [u8; 14] = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff];
    let mut answer = [0; 10];
    connect(port)
        .and_then(|mut stream| {
            stream.write_all(&REQUEST).ok()?;
            stream.read_exact(&mut answer).ok()
        })
        .is_some_and(|()| answer[4..10] == [0, 0, 0, 1, 0, 0])
}

fn connect(port: u16) -> Option<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    stream.set_write_timeout(Some(Duration::from_secs(2))).ok()?;
    Some(stream)
}

/// A port below the ephemeral range, so that no outgoing connection takes it while the broker is down between two starts.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let start = std::process::id().wrapping_mul(7919);
    loop {
        let port = 10_000 + (start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
