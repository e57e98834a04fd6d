//! The HTTP of the clients: connect, find the end of a reply, ask for the metrics. As little as
//! the server needs of a client, and as cheap; anything unexpected is an error, never tolerated.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::time::{Duration, Instant};

use memchr::memmem;

use crate::error::Result;
use crate::poller::SILENCE_MAX;
use crate::target::Target;

/// A connection without Nagle's delay that gives up after [`SILENCE_MAX`].
pub fn connect(address: SocketAddr) -> Result<TcpStream> {
    let socket = TcpStream::connect_timeout(&address, SILENCE_MAX)
        .map_err(|error| format!("no connection to {address}: {error}"))?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(SILENCE_MAX))?;
    socket.set_write_timeout(Some(SILENCE_MAX))?;
    Ok(socket)
}

/// The same, for use with a poller.
pub fn connect_nonblocking(address: SocketAddr) -> Result<TcpStream> {
    let socket = connect(address)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// How a reply's body ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Framing {
    /// After this many bytes.
    Length(u64),
    /// With the last chunk.
    Chunked,
}

/// The head of a reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// Where the body begins.
    pub bytes: usize,
    /// How it ends.
    pub framing: Framing,
}

/// The head at the front of `received`, `None` while it is not all there.
///
/// Refuses every status but 200, and a reply after which the connection ends: the load is meant
/// for connections that live.
pub fn parse_head(received: &[u8]) -> Result<Option<Head>> {
    let Some(end) = memmem::find(received, b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = &received[..end];
    if !head.starts_with(b"HTTP/1.1 200") {
        return Err(format!("unexpected reply: {}", first_lines(received)).into());
    }
    let mut framing = None;
    for line in head.split(|&byte| byte == b'\n').skip(1) {
        // Only two names are of interest: tell by length and first letter before comparing.
        match line.first().map(u8::to_ascii_lowercase) {
            Some(b'c') => {
                if let Some(value) = value_of(line, b"content-length:") {
                    framing = Some(Framing::Length(value.parse()?));
                } else if value_of(line, b"connection:").is_some_and(|value| value == "close") {
                    return Err("the server closes the connection after its reply".into());
                }
            }
            Some(b't') if value_of(line, b"transfer-encoding:").is_some() => {
                framing = Some(Framing::Chunked);
            }
            _ => {}
        }
    }
    let framing = framing.ok_or("a reply with neither Content-Length nor chunks")?;
    Ok(Some(Head {
        bytes: end + 4,
        framing,
    }))
}

fn value_of<'line>(line: &'line [u8], name: &[u8]) -> Option<&'line str> {
    let (found, value) = line.split_at_checked(name.len())?;
    found
        .eq_ignore_ascii_case(name)
        .then(|| std::str::from_utf8(value).ok().map(str::trim))?
}

fn first_lines(received: &[u8]) -> String {
    let text = String::from_utf8_lossy(&received[..received.len().min(300)]);
    text.replace("\r\n", " | ")
}

/// Where the body of a small reply lies in `received`; `None` while it is not all there.
/// A chunked body (other servers may choose that) counts when it is a single chunk.
pub fn small_body(received: &[u8]) -> Result<Option<Range<usize>>> {
    let Some(head) = parse_head(received)? else {
        return Ok(None);
    };
    let (begin, length, tail) = match head.framing {
        Framing::Length(length) => (head.bytes, length as usize, &b""[..]),
        Framing::Chunked => {
            let Some(line) = memmem::find(&received[head.bytes..], b"\r\n") else {
                return Ok(None);
            };
            let size = std::str::from_utf8(&received[head.bytes..head.bytes + line])?;
            (
                head.bytes + line + 2,
                usize::from_str_radix(size, 16)?,
                &b"\r\n0\r\n\r\n"[..],
            )
        }
    };
    let end = begin + length;
    match received.len().cmp(&(end + tail.len())) {
        std::cmp::Ordering::Less => Ok(None),
        std::cmp::Ordering::Equal if received.ends_with(tail) => Ok(Some(begin..end)),
        _ => Err("a reply does not end where it says".into()),
    }
}

/// Reads one small reply from a blocking socket into `buffer` and says where its body lies.
pub fn read_small(mut socket: &TcpStream, buffer: &mut [u8]) -> Result<Range<usize>> {
    let mut filled = 0;
    loop {
        match socket.read(&mut buffer[filled..])? {
            0 => return Err("the connection ended, or a reply is larger than expected".into()),
            count => filled += count,
        }
        if let Some(body) = small_body(&buffer[..filled])? {
            return Ok(body);
        }
    }
}

/// Follows a chunked body without keeping it.
#[derive(Clone, Copy, Debug)]
pub struct Dechunker {
    state: Chunk,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chunk {
    Size(u64),
    Payload(u64),
    PayloadEnd,
    /// Bytes still to come of the empty line after the last chunk.
    Last(u8),
}

impl Dechunker {
    /// At the beginning of a body.
    pub fn new() -> Self {
        Self {
            state: Chunk::Size(0),
        }
    }

    /// Takes the next bytes of the connection, hands each run of payload to `payload`, and says
    /// whether the body is over. Nothing may follow it.
    pub fn feed(
        &mut self,
        mut bytes: &[u8],
        mut payload: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<bool> {
        while let Some((&first, rest)) = bytes.split_first() {
            (self.state, bytes) = match self.state {
                Chunk::Payload(left) => {
                    let count = bytes.len().min(usize::try_from(left)?);
                    payload(&bytes[..count])?;
                    let left = left - count as u64;
                    let next = if left == 0 {
                        Chunk::PayloadEnd
                    } else {
                        Chunk::Payload(left)
                    };
                    (next, &bytes[count..])
                }
                Chunk::Size(size) => (size_byte(size, first)?, rest),
                Chunk::PayloadEnd if first == b'\n' => (Chunk::Size(0), rest),
                Chunk::PayloadEnd if first == b'\r' => (Chunk::PayloadEnd, rest),
                Chunk::Last(left) if left > 0 && matches!(first, b'\r' | b'\n') => {
                    (Chunk::Last(left - 1), rest)
                }
                state => return Err(format!("broken chunks: byte {first} in {state:?}").into()),
            };
        }
        Ok(self.state == Chunk::Last(0))
    }
}

fn size_byte(size: u64, byte: u8) -> Result<Chunk> {
    match byte {
        b'\r' => Ok(Chunk::Size(size)),
        b'\n' if size == 0 => Ok(Chunk::Last(2)),
        b'\n' => Ok(Chunk::Payload(size)),
        digit => {
            let value = char::from(digit)
                .to_digit(16)
                .ok_or("a chunk size that is not hex")?;
            Ok(Chunk::Size(size * 16 + u64::from(value)))
        }
    }
}

/// The value of one line of `/metrics`, 0 if it is not there. `name` includes the labels.
pub fn metric(target: &Target, name: &str) -> Result<f64> {
    let mut socket = connect(target.address)?;
    let host = target.address;
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes())?;
    let mut text = String::new();
    socket.read_to_string(&mut text)?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(line.map_or(Ok(0.0), str::parse)?)
}

/// Asks for a metric until it is at least `wanted`; fails with what it was after [`SILENCE_MAX`].
pub fn await_metric(target: &Target, name: &str, wanted: f64) -> Result<()> {
    let deadline = Instant::now() + SILENCE_MAX;
    loop {
        let value = metric(target, name)?;
        if value >= wanted {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("{name} is {value}, not {wanted}, after {SILENCE_MAX:?}").into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// True if a socket operation has to wait for readiness.
pub fn would_block(error: &std::io::Error) -> bool {
    error.kind() == ErrorKind::WouldBlock
}
