//! Parses replies. Anything unexpected is an error, never tolerated.

use std::io::Read;
use std::net::TcpStream;
use std::ops::Range;

use memchr::memmem;

use crate::client::dechunker::Dechunker;
use crate::error::Result;

/// Framing of the body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Framing {
    /// Content-Length.
    Length(u64),
    Chunked,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// Length of the head, where the body begins.
    pub bytes: usize,
    pub framing: Framing,
}

/// Parses the head at the front of `received`; `None` while it is incomplete.
///
/// Any status but 200 is an error. So is `Connection: close`, because the loads measure persistent
/// connections.
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
        // Only three names matter: the first letter rules out most lines cheaply.
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

/// The range of a small reply's body in `received`; `None` while the reply is incomplete.
/// Other servers may send a chunked body; it must then be a single chunk.
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

/// Whether `received` is a complete reply, with any body. A piping server answers a producer in several
/// chunks, of which the first may come long before the last.
pub fn is_whole(received: &[u8]) -> Result<bool> {
    let Some(head) = parse_head(received)? else {
        return Ok(false);
    };
    let body = &received[head.bytes..];
    match head.framing {
        Framing::Length(length) if body.len() as u64 > length => {
            Err("a reply is longer than its Content-Length".into())
        }
        Framing::Length(length) => Ok(body.len() as u64 == length),
        Framing::Chunked => Dechunker::new().feed(body, |_| Ok(())),
    }
}

/// Reads one small reply from a blocking socket into `buffer`; returns the range of its body.
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
