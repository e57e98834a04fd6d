//! Writing replies. Pure: bytes into a buffer, the date is an argument.

use bytes::Bytes;

use super::{encode::Encoder, forwarded::FieldName, head::RequestHead, status::Status};

/// The interim response to `Expect: 100-continue` (RFC 9110 §15.2.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// What a client asks for its connection (RFC 9112 §9.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// It persists, which is the default of HTTP/1.1.
    Implied,
    /// It persists, and the client wants to know so, and how long.
    KeepAlive,
    Close,
}

impl Persistence {
    /// The persistence that `head` asks for.
    #[must_use]
    pub const fn of(head: &RequestHead) -> Self {
        match (head.keep_alive, head.asks_timeout) {
            (false, _) => Self::Close,
            (true, true) => Self::KeepAlive,
            (true, false) => Self::Implied,
        }
    }
}

/// What a reply says about its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announced {
    /// Nothing: it persists.
    Implied,
    /// It persists, and closes after so many seconds without a request.
    KeepAlive {
        seconds: u64,
    },
    Close,
}

/// The media types of the server's own replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaType {
    Text,
    Json,
    OpenMetrics,
}

impl MediaType {
    /// The value of `Content-Type`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text/plain; charset=utf-8",
            Self::Json => "application/json",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Optional fields of the server's own replies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    /// `Content-Type`, with `Cache-Control: no-store` and `X-Content-Type-Options: nosniff`.
    pub content_type: Option<MediaType>,
    /// `Allow` (RFC 9110 §10.2.1).
    pub allow: Option<&'static str>,
    /// `Retry-After: 1` (RFC 9110 §10.2.3).
    pub retry_after: bool,
}

/// The body of one of the server's own replies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplyBody {
    /// A 204 has neither body nor length (RFC 9110 §8.6).
    None,
    /// A body of no bytes.
    Empty,
    /// One line of text, without its line end.
    Line(&'static str),
    Bytes(Bytes),
}

impl ReplyBody {
    /// The value of `Content-Length`; `None`: the reply has no such field.
    #[must_use]
    pub fn len(&self) -> Option<usize> {
        match self {
            Self::None => None,
            Self::Empty => Some(0),
            Self::Line(text) => Some(text.len() + 1),
            Self::Bytes(bytes) => Some(bytes.len()),
        }
    }
}

/// Appends the head of one of the server's own replies. `body_bytes` is the value of `Content-Length`.
pub fn own_head(
    out: &mut Vec<u8>,
    date: &str,
    status: Status,
    fields: &Fields,
    body_bytes: Option<usize>,
    announced: Announced,
) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.line().as_bytes());
    out.extend_from_slice(b"\r\nDate: ");
    out.extend_from_slice(date.as_bytes());
    out.extend_from_slice(b"\r\n");
    if let Some(allow) = fields.allow {
        field(out, b"Allow: ", allow);
    }
    if fields.retry_after {
        out.extend_from_slice(b"Retry-After: 1\r\n");
    }
    if let Some(content_type) = fields.content_type {
        out.extend_from_slice(b"Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n");
        field(out, b"Content-Type: ", content_type.as_str());
    }
    if let Some(bytes) = body_bytes {
        content_length(out, bytes as u64);
    }
    end_head(out, announced);
}

/// Appends a body to its head.
pub fn own_body(out: &mut Vec<u8>, body: &ReplyBody) {
    match body {
        ReplyBody::None | ReplyBody::Empty => {}
        ReplyBody::Line(text) => {
            out.extend_from_slice(text.as_bytes());
            out.push(b'\n');
        }
        ReplyBody::Bytes(bytes) => out.extend_from_slice(bytes),
    }
}

/// Appends the head that a consumer receives. The fields that describe the body are those of `producer`,
/// a head that was parsed from `producer_bytes`. `encoder` is new: it has framed nothing yet.
pub fn consumer_head(
    out: &mut Vec<u8>,
    date: &str,
    encoder: &Encoder,
    announced: Announced,
    producer: &RequestHead,
    producer_bytes: &[u8],
) {
    out.extend_from_slice(b"HTTP/1.1 200 OK\r\nDate: ");
    out.extend_from_slice(date.as_bytes());
    out.extend_from_slice(BEHIND_DATE);
    content_fields(out, producer, producer_bytes);
    match encoder {
        Encoder::Length(bytes) => content_length(out, *bytes),
        Encoder::Chunked(_) => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        Encoder::Close => {}
    }
    end_head(out, announced);
}

/// What follows the date in a consumer's head. The body is a stranger's, in the origin of this server:
/// a browser must neither guess its type (Fetch, "`X-Content-Type-Options` header") nor, by
/// [`SANDBOX`], run its scripts.
const BEHIND_DATE: &[u8] = b"\r\nCache-Control: no-store\r\nX-Accel-Buffering: no\r\n\
    X-Content-Type-Options: nosniff\r\n";

/// Takes the origin from the page that a browser makes of the body (Content Security Policy,
/// "sandbox").
const SANDBOX: &[u8] = b"Content-Security-Policy: sandbox\r\n";

/// One constant, because most producers send no type.
const DEFAULT_TYPE_AND_SANDBOX: &[u8] =
    b"Content-Type: application/octet-stream\r\nContent-Security-Policy: sandbox\r\n";

/// Copies the producer's content fields, with the sandbox that the type takes. `Content-Type` defaults to
/// `application/octet-stream`, which also replaces `application/x-www-form-urlencoded`: `curl -d` sends
/// that whatever the data is.
fn content_fields(out: &mut Vec<u8>, producer: &RequestHead, bytes: &[u8]) {
    const SAYS_NOTHING: &[u8] = b"application/x-www-form-urlencoded";
    let mut typed = None;
    for field in producer.forwarded.iter() {
        if field.name == FieldName::ContentType {
            // Only the first, so that the type is unambiguous.
            if typed.is_some() {
                continue;
            }
            let value = field.value.of(bytes);
            typed = Some(!value.is_empty() && !value.eq_ignore_ascii_case(SAYS_NOTHING));
            if typed == Some(false) {
                continue;
            }
            // Browsers show no PDF in a sandbox.
            if !is_pdf(value) {
                out.extend_from_slice(SANDBOX);
            }
        }
        out.extend_from_slice(field.line.of(bytes));
        out.extend_from_slice(b"\r\n");
    }
    if typed != Some(true) {
        out.extend_from_slice(DEFAULT_TYPE_AND_SANDBOX);
    }
}

/// Whether a `Content-Type` is `application/pdf`, whatever its parameters. A value with a comma is not:
/// a browser takes the last type of a list (Fetch, "extract a MIME type").
fn is_pdf(value: &[u8]) -> bool {
    const PDF: &[u8] = b"application/pdf";
    let Some((front, parameters)) = value.split_at_checked(PDF.len()) else {
        return false;
    };
    front.eq_ignore_ascii_case(PDF)
        && matches!(parameters.trim_ascii_start(), [] | [b';', ..])
        && !value.contains(&b',')
}

/// `name` includes the colon and the space.
#[inline]
fn field(out: &mut Vec<u8>, name: &[u8], value: &str) {
    out.extend_from_slice(name);
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn content_length(out: &mut Vec<u8>, bytes: u64) {
    // The length in every 200 to a producer.
    if bytes == 0 {
        return out.extend_from_slice(b"Content-Length: 0\r\n");
    }
    field(out, b"Content-Length: ", itoa::Buffer::new().format(bytes));
}

fn end_head(out: &mut Vec<u8>, announced: Announced) {
    match announced {
        Announced::Implied => {}
        Announced::KeepAlive { seconds } => keep_alive(out, seconds),
        Announced::Close => out.extend_from_slice(b"Connection: close\r\n"),
    }
    out.extend_from_slice(b"\r\n");
}

/// `Keep-Alive` (RFC 2068 §19.7.1.1), and the option of the same name that its presence requires (RFC
/// 9110 §7.6.1). It is the one that keeps an HTTP/1.0 connection, too.
#[cold]
fn keep_alive(out: &mut Vec<u8>, seconds: u64) {
    out.extend_from_slice(b"Connection: keep-alive\r\n");
    let mut digits = itoa::Buffer::new();
    field(out, b"Keep-Alive: timeout=", digits.format(seconds));
}
