//! Replies: where the head of one ends, how its body is framed, where a small body lies. Anything
//! unexpected is an error, never tolerated.

use std::io::Read;
use std::net::TcpStream;
use std::ops::Range;

use memchr::memmem;

use crate::error::Result;

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
