//! How replies are written. Pure: bytes into a buffer, the date is an argument.

use super::{
    chunked::{CHUNK_END, ChunkHead, LAST_CHUNK},
    head::{BodyLength, FieldName, RequestHead, Version},
};
use crate::model::refusal::{Refusal, Status};

/// The answer to `Expect: 100-continue` (RFC 9110 §15.2.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// What a reply says about the connection (RFC 9112 §9.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// It lives on, as HTTP/1.1 implies: nothing is said.
    Implied,
    /// It lives on, as an HTTP/1.0 client asked: said.
    KeepAlive,
    /// It closes after this reply: said.
    Close,
}

impl Persistence {
    /// What `head` asks for.
    #[must_use]
    pub const fn of(head: &RequestHead) -> Self {
        match (head.keep_alive, head.version) {
            (false, _) => Self::Close,
            (true, Version::Http10) => Self::KeepAlive,
            (true, Version::Http11) => Self::Implied,
        }
    }

    const fn field(self) -> &'static str {
        match self {
            Self::Implied => "",
            Self::KeepAlive => "Connection: keep-alive\r\n",
            Self::Close => "Connection: close\r\n",
        }
    }
}

/// How the body that a consumer receives is framed (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// By the length that the producer declared.
    Length(u64),
    /// By the chunked coding: an HTTP/1.1 consumer, a producer that declared no length.
    Chunked,
    /// By the end of the connection: an HTTP/1.0 consumer, a producer that declared no length.
    Close,
}

impl Framing {
    /// The framing for a body of `length` on its way to a consumer of `version`.
    #[must_use]
    pub const fn choose(length: BodyLength, version: Version) -> Self {
        match (length, version) {
            (BodyLength::Exact(bytes), _) => Self::Length(bytes),
            (BodyLength::Chunked, Version::Http11) => Self::Chunked,
            (BodyLength::Chunked, Version::Http10) => Self::Close,
        }
    }
}

/// Writes the head that a consumer receives. `producer` and `producer_bytes` are the producer's
/// head and the bytes it was parsed from; the fields that describe the body are taken from there.
pub fn consumer_head(
    out: &mut Vec<u8>,
    date: &str,
    framing: Framing,
    persistence: Persistence,
    producer: &RequestHead,
    producer_bytes: &[u8],
) {
    out.extend_from_slice(b"HTTP/1.1 200 OK\r\nDate: ");
    out.extend_from_slice(date.as_bytes());
    out.extend_from_slice(b"\r\nCache-Control: no-store\r\nX-Accel-Buffering: no\r\n");
    content_fields(out, producer, producer_bytes);
    match framing {
        Framing::Length(bytes) => content_length(out, bytes),
        Framing::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        Framing::Close => {}
    }
    let persistence = if framing == Framing::Close {
        Persistence::Close
    } else {
        persistence
    };
    out.extend_from_slice(persistence.field().as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Writes `payload` in `framing`; `last`: the body ends with it.
pub fn payload(out: &mut Vec<u8>, framing: Framing, payload: &[u8], last: bool) {
    let chunked = framing == Framing::Chunked;
    if chunked && !payload.is_empty() {
        out.extend_from_slice(ChunkHead::new(payload.len() as u64).as_bytes());
    }
    out.extend_from_slice(payload);
    if chunked && !payload.is_empty() {
        out.extend_from_slice(CHUNK_END);
    }
    if chunked && last {
        out.extend_from_slice(LAST_CHUNK);
    }
}

/// Copies the producer's content fields; `Content-Type` falls back to `application/octet-stream`,
/// also where curl's default says `application/x-www-form-urlencoded`, which says nothing about
/// the data.
fn content_fields(out: &mut Vec<u8>, producer: &RequestHead, bytes: &[u8]) {
    const SAYS_NOTHING: &[u8] = b"application/x-www-form-urlencoded";
    let mut typed = None;
    for field in producer.forwarded.iter() {
        if field.name == FieldName::ContentType {
            // The first line counts; another would make the consumer choose.
            if typed.is_some() {
                continue;
            }
            let value = field.value.of(bytes);
            typed = Some(!value.is_empty() && !value.eq_ignore_ascii_case(SAYS_NOTHING));
            if typed == Some(false) {
                continue;
            }
        }
        out.extend_from_slice(field.line.of(bytes));
        out.extend_from_slice(b"\r\n");
    }
    if typed != Some(true) {
        out.extend_from_slice(b"Content-Type: application/octet-stream\r\n");
    }
}

/// Writes the reply that tells a producer that its body was handed over whole.
pub fn delivered(out: &mut Vec<u8>, date: &str, persistence: Persistence) {
    start(out, Status::Ok, date);
    out.extend_from_slice(b"Content-Length: 0\r\n");
    out.extend_from_slice(persistence.field().as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Writes a whole reply with a body of `content_type`.
pub fn document(
    out: &mut Vec<u8>,
    date: &str,
    persistence: Persistence,
    status: Status,
    content_type: &str,
    body: &[u8],
) {
    document_head(out, date, persistence, status, content_type, body.len());
    out.extend_from_slice(body);
}

/// Writes the head of a reply whose body of `content_type` has `body_bytes` bytes and follows.
pub fn document_head(
    out: &mut Vec<u8>,
    date: &str,
    persistence: Persistence,
    status: Status,
    content_type: &str,
    body_bytes: usize,
) {
    start(out, status, date);
    out.extend_from_slice(b"Cache-Control: no-store\r\nContent-Type: ");
    out.extend_from_slice(content_type.as_bytes());
    out.extend_from_slice(b"\r\n");
    content_length(out, body_bytes as u64);
    out.extend_from_slice(persistence.field().as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Writes a 204, with `Allow` where it answers `OPTIONS`. No length: RFC 9110 §8.6 forbids one.
pub fn no_content(out: &mut Vec<u8>, date: &str, persistence: Persistence, allow: Option<&str>) {
    start(out, Status::NoContent, date);
    allow_field(out, allow);
    out.extend_from_slice(persistence.field().as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Writes the reply for `refusal`: one line of text. A 503 says when to come back.
pub fn refusal(out: &mut Vec<u8>, date: &str, persistence: Persistence, refusal: &Refusal) {
    start(out, refusal.status, date);
    allow_field(out, refusal.allow.map(|allow| allow.as_str()));
    if refusal.status == Status::ServiceUnavailable {
        out.extend_from_slice(b"Retry-After: 1\r\n");
    }
    out.extend_from_slice(
        b"Cache-Control: no-store\r\nContent-Type: text/plain; charset=utf-8\r\n",
    );
    content_length(out, refusal.text.len() as u64 + 1);
    out.extend_from_slice(persistence.field().as_bytes());
    out.extend_from_slice(b"\r\n");
    if !refusal.head_only {
        out.extend_from_slice(refusal.text.as_bytes());
        out.push(b'\n');
    }
}

fn start(out: &mut Vec<u8>, status: Status, date: &str) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.line().as_bytes());
    out.extend_from_slice(b"\r\nDate: ");
    out.extend_from_slice(date.as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn allow_field(out: &mut Vec<u8>, allow: Option<&str>) {
    if let Some(allow) = allow {
        out.extend_from_slice(b"Allow: ");
        out.extend_from_slice(allow.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

fn content_length(out: &mut Vec<u8>, bytes: u64) {
    out.extend_from_slice(b"Content-Length: ");
    out.extend_from_slice(itoa::Buffer::new().format(bytes).as_bytes());
    out.extend_from_slice(b"\r\n");
}
