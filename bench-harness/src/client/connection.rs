//! `Connection`: a non-blocking socket with what could not be written yet and what was read but not yet used.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;

use coreline_wire::frame::SIZE_PREFIX_BYTES;
use socket2::{Domain, Protocol, Socket, Type};

/// First size of the read buffer.
const READ_BYTES_FIRST: usize = 16 << 10;
/// Largest answer believed.
const FRAME_BYTES_MAX: usize = 300 << 20;

/// A connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    connected: bool,
    out: Vec<u8>,
    out_at: usize,
    read: Vec<u8>,
    head: usize,
    tail: usize,
    next_correlation: i32,
}

impl Connection {
    /// Begins to connect; a write event tells when it is done.
    pub fn open(address: SocketAddr) -> io::Result<Connection> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?;
        socket.set_tcp_nodelay(true)?;
        match socket.connect(&address.into()) {
            Ok(()) => {}
            Err(e) if e.raw_os_error() == Some(nix::errno::Errno::EINPROGRESS as i32) => {}
            Err(e) => return Err(e),
        }
        Ok(Connection {
            stream: socket.into(),
            connected: false,
            out: Vec::new(),
            out_at: 0,
            read: Vec::new(),
            head: 0,
            tail: 0,
            next_correlation: 0,
        })
    }

    /// The socket, to be watched.
    pub fn socket(&self) -> &TcpStream {
        &self.stream
    }

    /// Whether it is connected; finds out when a write event came.
    pub fn check_connected(&mut self) -> io::Result<bool> {
        if !self.connected {
            if let Some(error) = self.stream.take_error()? {
                return Err(error);
            }
            match self.stream.peer_addr() {
                Ok(_) => self.connected = true,
                Err(e) if e.kind() == ErrorKind::NotConnected => {}
                Err(e) => return Err(e),
            }
        }
        Ok(self.connected)
    }

    /// True once connected.
    pub fn is_connected(&self) -> bool {
        self.connected
    }

    /// True when everything handed over was taken by the kernel.
    pub fn is_flushed(&self) -> bool {
        self.out_at == self.out.len()
    }

    /// The correlation id of the next request.
    pub fn next_correlation(&mut self) -> i32 {
        self.next_correlation = self.next_correlation.wrapping_add(1) & i32::MAX;
        self.next_correlation
    }

    /// Sends whole requests. What the kernel does not take now is kept and goes out with [`Connection::flush`].
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut at = 0;
        while self.is_flushed() && at < bytes.len() {
            match (&self.stream).write(&bytes[at..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(n) => at += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        if at < bytes.len() {
            self.out.extend_from_slice(&bytes[at..]);
        }
        Ok(())
    }

    /// Writes what was kept; true when nothing is left.
    pub fn flush(&mut self) -> io::Result<bool> {
        while !self.is_flushed() {
            match (&self.stream).write(&self.out[self.out_at..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(n) => self.out_at += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        self.out.clear();
        self.out_at = 0;
        Ok(true)
    }

    /// Reads what is there, up to the room in the buffer; true when there may be more. The end of the stream is an error.
    pub fn fill(&mut self) -> io::Result<bool> {
        self.make_room();
        loop {
            match (&self.stream).read(&mut self.read[self.tail..]) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(n) => {
                    self.tail += n;
                    return Ok(self.tail == self.read.len());
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Makes room behind `tail`: by moving what is unread to the front, by growing to twice the size as bytes arrive.
    fn make_room(&mut self) {
        if self.head == self.tail {
            self.head = 0;
            self.tail = 0;
        }
        if self.tail < self.read.len() {
            return;
        }
        if self.head > 0 {
            self.read.copy_within(self.head..self.tail, 0);
            self.tail -= self.head;
            self.head = 0;
            // Half full of one unfinished answer: the next one is likely as large.
            if self.tail < self.read.len() / 2 {
                return;
            }
        }
        let size = (self.read.len() * 2).clamp(READ_BYTES_FIRST, FRAME_BYTES_MAX + SIZE_PREFIX_BYTES);
        self.read.resize(size, 0);
    }

    /// The next whole answer without its size, if it has arrived; read it with [`Connection::frame`] before the next `fill`.
    pub fn next_frame(&mut self) -> io::Result<Option<Range<usize>>> {
        let Some(prefix) = self.read[self.head..self.tail].first_chunk::<SIZE_PREFIX_BYTES>() else { return Ok(None) };
        let size = i32::from_be_bytes(*prefix);
        let Some(size) = usize::try_from(size).ok().filter(|s| *s <= FRAME_BYTES_MAX) else {
            return Err(io::Error::new(ErrorKind::InvalidData, format!("answer of {size} bytes")));
        };
        let from = self.head + SIZE_PREFIX_BYTES;
        if self.tail < from + size {
            return Ok(None);
        }
        self.head = from + size;
        Ok(Some(from..from + size))
    }

    /// Gives the read buffer back while nothing is expected.
    pub fn shrink(&mut self) {
        if self.head == self.tail {
            self.read = Vec::new();
            (self.head, self.tail) = (0, 0);
        }
    }

    /// Bytes of an answer.
    pub fn frame(&self, range: Range<usize>) -> &[u8] {
        &self.read[range]
    }
}
