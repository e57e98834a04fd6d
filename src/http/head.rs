//! [`parse`] and [`RequestHead`]: the head of a request, parsed and validated.
//!
//! Owns the syntax of the request line, and the rules by which a head frames its body (RFC 9112 §2 to
//! §6). httparse splits the lines; some of what it accepts is refused here and in `fields`:
//! bare LF, a target with bytes outside ASCII, ambiguous framing. Must never allocate, never accept a
//! head that another parser could frame differently, and never interpret the target (the router does).

use std::mem::MaybeUninit;

use httparse::{Error as SyntaxError, Request, Status};

use super::{
    browser::Initiator,
    fields::{Fields, LENGTHS_DIFFER, same_lengths},
    forwarded::Forwarded,
    head_error::HeadError,
    host::is_host,
    method::Method,
    span::Span,
};
use crate::limits::{HEAD_BYTES_MAX, HEAD_FIELDS_MAX, TARGET_BYTES_MAX};

/// The supported versions; any other is [`HeadError::Version`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    Http10,
    Http11,
}

/// The length of the body, as the head declares it (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// In bytes, below 2^63; 0 without Content-Length and Transfer-Encoding.
    Exact(u64),
    /// Unknown until the last chunk.
    Chunked,
}

/// A request's head.
///
/// Borrows nothing: spans are offsets into the parsed bytes, so a head can move to another shard
/// together with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestHead {
    pub method: Method,
    pub version: Version,
    /// The connection may persist after this request (RFC 9112 §9.3): HTTP/1.1 without `close`, or
    /// HTTP/1.0 with `keep-alive` and without `close`.
    pub keep_alive: bool,
    /// A reply after which the connection persists says so, and how long: the client spoke HTTP/1.0, or
    /// sent a `Keep-Alive` field.
    pub asks_timeout: bool,
    /// The client may wait for a 100 before it sends the body. Always false for HTTP/1.0, whose
    /// expectations are ignored (RFC 9110 §10.1.1).
    pub expect_continue: bool,
    /// `Range` asks for a body from a later byte on. Only of meaning for a `GET` (RFC 9110 §14.2).
    pub begins_later: bool,
    pub body: BodyLength,
    /// The request target as received: visible ASCII, not empty.
    pub target: Span,
    /// Length of the head in bytes, leading empty lines and the final empty line included: the offset
    /// of the body, or of the next request.
    pub head_bytes: u16,
    pub forwarded: Forwarded,
    /// The validated value of the `Host` field; empty if there is none.
    pub host: Span,
    pub initiator: Initiator,
}

/// The result of parsing what has arrived so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// The head is incomplete, and valid so far: read more and parse again from the front.
    Partial,
    Complete(RequestHead),
}

/// Parses a request's head at the front of `bytes`: everything received after the previous request,
/// possibly beyond this head. Looks at [`HEAD_BYTES_MAX`] bytes at most, and skips empty lines (CRLF)
/// before the request line (RFC 9112 §2.2).
///
/// Returns [`Parsed::Partial`] until the final empty line is there. Any other result is final: further
/// bytes do not change it.
///
/// # Errors
/// The head is malformed or over a limit. Syntax errors are returned as soon as httparse sees them,
/// errors in fields when the head is complete.
pub fn parse(bytes: &[u8]) -> Result<Parsed, HeadError> {
    let bytes = &bytes[..bytes.len().min(HEAD_BYTES_MAX)];
    let start = skip_empty_lines(bytes)?;
    let mut slots = [const { MaybeUninit::uninit() }; HEAD_FIELDS_MAX];
    let mut request = Request::new(&mut []);
    match request.parse_with_uninit_headers(&bytes[start..], &mut slots) {
        Ok(Status::Complete(length)) => {
            judge(&bytes[..start + length], &request).map(Parsed::Complete)
        }
        Ok(Status::Partial) => {
            check_target(target_so_far(bytes, &request))?;
            partial(bytes)
        }
        Err(error) => {
            check_target(target_so_far(bytes, &request))?;
            refuse(bytes, &request, error)
        }
    }
}

/// The offset of the request line.
fn skip_empty_lines(bytes: &[u8]) -> Result<usize, HeadError> {
    let mut start = 0;
    while bytes[start..].starts_with(b"\r\n") {
        start += 2;
    }
    // httparse would skip a bare LF, as RFC 9112 §2.2 allows.
    if bytes.get(start) == Some(&b'\n') {
        return Err(HeadError::BARE_LF);
    }
    Ok(start)
}

/// Validates a complete head. `head` is its bytes and no more.
fn judge(head: &[u8], request: &Request<'_, '_>) -> Result<RequestHead, HeadError> {
    let target = request.path.unwrap_or_default().as_bytes();
    check_target(target)?;
    let version = match request.version {
        Some(0) => Version::Http10,
        _ => Version::Http11,
    };
    let fields = Fields::read(head, request.headers)?;
    let method = Method::from_token(request.method.unwrap_or_default().as_bytes())
        .ok_or(HeadError::Method)?;
    check_host(&fields, version)?;
    let body = body_length(&fields, version)?;
    if version == Version::Http10 && fields.content_length.is_none() && produces(method) {
        return Err(HeadError::LengthRequired);
    }
    if fields.content_range && produces(method) {
        return Err(HeadError::Bad(PART_OF_A_BODY));
    }
    let host = fields
        .host
        .map_or_else(Span::default, |host| Span::locate(host, head));
    Ok(RequestHead {
        method,
        version,
        keep_alive: keep_alive(&fields, version),
        asks_timeout: version == Version::Http10 || fields.asks_timeout,
        expect_continue: expect_continue(&fields, version)?,
        begins_later: fields.begins_later,
        body,
        target: Span::locate(target, head),
        head_bytes: head.len() as u16,
        forwarded: fields.forwarded,
        host,
        initiator: fields.browser.initiator(fields.host, head),
    })
}

/// Refuses a target, complete or not, that is too long or not visible ASCII. httparse has refused
/// control characters and spaces already.
fn check_target(target: &[u8]) -> Result<(), HeadError> {
    let within = &target[..target.len().min(TARGET_BYTES_MAX + 1)];
    if !within.is_ascii() {
        return Err(HeadError::Bad(
            "the request target has a byte outside of ASCII: percent-encode it",
        ));
    }
    if target.len() > TARGET_BYTES_MAX {
        return Err(HeadError::TargetTooLong);
    }
    Ok(())
}

/// The target of an incomplete or malformed head, as far as it has arrived.
fn target_so_far<'a>(bytes: &'a [u8], request: &Request<'_, 'a>) -> &'a [u8] {
    match (request.path, request.method) {
        (Some(target), _) => target.as_bytes(),
        (None, Some(method)) => {
            // httparse sets the method only if one space follows it.
            let rest = &bytes[usize::from(Span::locate(method.as_bytes(), bytes).end) + 1..];
            let end = rest.iter().position(|&byte| byte <= b' ' || byte == 0x7f);
            &rest[..end.unwrap_or(rest.len())]
        }
        (None, None) => &[],
    }
}

/// The result for a head without an end.
fn partial(bytes: &[u8]) -> Result<Parsed, HeadError> {
    if bytes.len() == HEAD_BYTES_MAX {
        return Err(HeadError::TooLarge(
            "the request head is over 16 KiB: send fewer or shorter header fields",
        ));
    }
    Ok(Parsed::Partial)
}

/// Maps httparse's error.
fn refuse(
    bytes: &[u8],
    request: &Request<'_, '_>,
    error: SyntaxError,
) -> Result<Parsed, HeadError> {
    let text = match error {
        SyntaxError::Version => return refuse_version(bytes, request),
        SyntaxError::TooManyHeaders => {
            return Err(HeadError::TooLarge(
                "the request has over 64 header fields: send fewer",
            ));
        }
        SyntaxError::HeaderName => {
            "a header line does not start with a field name and a colon: \
             send `Name: value`, with no space before the colon and no folded lines"
        }
        SyntaxError::HeaderValue => {
            "a header value has a control character: send visible characters, spaces and tabs only"
        }
        SyntaxError::NewLine => {
            "a line of the request head does not end with CRLF: end it with CRLF"
        }
        SyntaxError::Token | SyntaxError::Status => {
            "the request line is malformed: send `METHOD /path HTTP/1.1`, with one space in between"
        }
    };
    Err(HeadError::Bad(text))
}

/// Distinguishes an unsupported version (505) from a malformed one (400), RFC 9112 §2.3.
///
/// httparse refuses both at the first byte that differs from `HTTP/1.0` and `HTTP/1.1`, so it may take
/// more bytes to distinguish them.
fn refuse_version(bytes: &[u8], request: &Request<'_, '_>) -> Result<Parsed, HeadError> {
    const SHAPE: &[u8; 10] = b"HTTP/0.0\r\n";
    let target = request.path.unwrap_or_default().as_bytes();
    let version = &bytes[usize::from(Span::locate(target, bytes).end) + 1..];
    let fits = version.iter().zip(SHAPE).all(|(byte, shape)| match shape {
        b'0' => byte.is_ascii_digit(),
        _ => byte == shape,
    });
    if !fits {
        return Err(HeadError::Bad(
            "the request line does not end with a version: send `METHOD /path HTTP/1.1`",
        ));
    }
    if version.len() < SHAPE.len() {
        return partial(bytes);
    }
    Err(HeadError::Version)
}

/// RFC 9112 §3.2: 400 for HTTP/1.1 without Host, and for any request with two or an invalid one.
fn check_host(fields: &Fields<'_>, version: Version) -> Result<(), HeadError> {
    if let Some(twice) = fields.repeated {
        return Err(HeadError::Bad(twice));
    }
    match fields.host {
        Some(host) if !is_host(host) => Err(HeadError::Bad(
            "the Host field is not a host name with an optional port: send `Host: name:port`",
        )),
        None if version == Version::Http11 => Err(HeadError::Bad(
            "an HTTP/1.1 request needs a Host field: send `Host: name:port`",
        )),
        _ => Ok(()),
    }
}

/// RFC 9112 §6.1 and §6.3. Refuses what they allow a server to repair.
fn body_length(fields: &Fields<'_>, version: Version) -> Result<BodyLength, HeadError> {
    match (fields.transfer_encoding, fields.content_length) {
        (None, None) => Ok(BodyLength::Exact(0)),
        (None, Some(lengths)) => parse_lengths(lengths).map(BodyLength::Exact),
        // "A server MAY reject a request that contains both": the classic request smuggling.
        (Some(_), Some(_)) => Err(HeadError::Bad(
            "the request has both Transfer-Encoding and Content-Length: send one of them",
        )),
        // "[A server that receives it] MUST treat the message as if the framing is faulty [...] and
        // close the connection after processing the message."
        (Some(_), None) if version == Version::Http10 => Err(HeadError::Bad(
            "Transfer-Encoding is not part of HTTP/1.0: send a Content-Length, or HTTP/1.1",
        )),
        (Some(coding), None) if coding.eq_ignore_ascii_case(b"chunked") => Ok(BodyLength::Chunked),
        (Some(_), None) => Err(HeadError::Bad(
            "the transfer coding is not supported: \
             send `Transfer-Encoding: chunked` and nothing else in it",
        )),
    }
}

/// One length, or a list of equal ones: RFC 9110 §8.6 lets a recipient take them for one.
fn parse_lengths(lengths: &[u8]) -> Result<u64, HeadError> {
    let one = parse_length(lengths);
    if one.is_err() && lengths.contains(&b',') {
        let same = same_lengths(lengths).ok_or(HeadError::Bad(LENGTHS_DIFFER))?;
        return parse_length(same);
    }
    one
}

/// `1*DIGIT` below 2^63 (RFC 9110 §8.6).
fn parse_length(digits: &[u8]) -> Result<u64, HeadError> {
    const NOT_A_LENGTH: HeadError =
        HeadError::Bad("the Content-Length is not a decimal number below 2^63: send digits only");
    if digits.is_empty() {
        return Err(NOT_A_LENGTH);
    }
    let mut length: u64 = 0;
    for &byte in digits {
        if !byte.is_ascii_digit() {
            return Err(NOT_A_LENGTH);
        }
        length = length
            .checked_mul(10)
            .and_then(|tens| tens.checked_add(u64::from(byte - b'0')))
            .filter(|&length| length <= i64::MAX as u64)
            .ok_or(NOT_A_LENGTH)?;
    }
    Ok(length)
}

fn keep_alive(fields: &Fields<'_>, version: Version) -> bool {
    !fields.close && (version == Version::Http11 || fields.persist)
}

fn expect_continue(fields: &Fields<'_>, version: Version) -> Result<bool, HeadError> {
    match version {
        Version::Http10 => Ok(false),
        Version::Http11 if fields.expects_other => Err(HeadError::Expectation),
        Version::Http11 => Ok(fields.expects_continue),
    }
}

/// A request with one of these methods brings a body; no other does.
const fn produces(method: Method) -> bool {
    matches!(method, Method::Post | Method::Put)
}

/// RFC 9110 §14.5: a server that ignored Content-Range would take the part for the whole. Here a POST
/// does what a PUT does.
const PART_OF_A_BODY: &str = "a request with Content-Range sends a part of a body: send the whole body without Content-Range";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{http::forwarded::FieldName, limits::FORWARDED_FIELDS_MAX};
    use proptest::prelude::*;

    const HOST: &str = "Host: x\r\n";

    fn complete(bytes: &[u8]) -> RequestHead {
        match parse(bytes) {
            Ok(Parsed::Complete(head)) => head,
            other => panic!("{}: {other:?}", bytes.escape_ascii()),
        }
    }

    fn with_fields(fields: &str) -> String {
        format!("POST /a HTTP/1.1\r\n{HOST}{fields}\r\n")
    }

    fn with_fields_10(fields: &str) -> String {
        format!("POST /a HTTP/1.0\r\n{fields}\r\n")
    }

    fn with_host(host: &str) -> String {
        format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")
    }

    fn with_line(line: &str) -> String {
        format!("{line}\r\n{HOST}\r\n")
    }

    fn with_target_of(bytes: usize) -> String {
        with_line(&format!("GET /{} HTTP/1.1", "a".repeat(bytes - 1)))
    }

    fn of_head_bytes(bytes: usize) -> String {
        let bare = with_fields("X: \r\n").len();
        with_fields(&format!("X: {}\r\n", "a".repeat(bytes - bare)))
    }

    /// Valid heads: method, keep_alive, expect_continue, body.
    fn good() -> Vec<(String, Method, bool, bool, BodyLength)> {
        use BodyLength::{Chunked, Exact};
        use Method::*;
        let get = |line: &str| (with_line(line), Get, true, false, Exact(0));
        let post = |fields: &str, body| (with_fields(fields), Post, true, false, body);
        let host = |host: &str| (with_host(host), Get, true, false, Exact(0));
        let lives = |fields: &str, lives| (with_fields(fields), Post, lives, false, Exact(0));
        let lives_10 = |fields: &str, lives| {
            let fields = format!("{fields}Content-Length: 0\r\n");
            (with_fields_10(&fields), Post, lives, false, Exact(0))
        };
        let mut good = vec![
            get("GET / HTTP/1.1"),
            get("GET * HTTP/1.1"),
            get("GET http://x/channels/a/b HTTP/1.1"),
            get("GET /channels/v1/a%62?q={}|^ HTTP/1.1"),
            (
                format!("\r\n\r\n{}", with_line("GET / HTTP/1.1")),
                Get,
                true,
                false,
                Exact(0),
            ),
            (with_target_of(TARGET_BYTES_MAX), Get, true, false, Exact(0)),
            (of_head_bytes(HEAD_BYTES_MAX), Post, true, false, Exact(0)),
            (
                with_fields(&"X: y\r\n".repeat(HEAD_FIELDS_MAX - 1)),
                Post,
                true,
                false,
                Exact(0),
            ),
            host(""),
            host("localhost:3000"),
            host("[::1]:80"),
            post("X:y\r\nX: \t y \t \r\nX:\r\nX: \t\r\n", Exact(0)),
            post("X: \u{fc}\ty!\r\n", Exact(0)),
            post("!#$%&'*+-.^_`|~09azAZ: y\r\n", Exact(0)),
            post("Content_Length: 5\r\nContent-Length-: 6\r\n", Exact(0)),
            post("Content-Length: 0\r\n", Exact(0)),
            post("content-LENGTH:\t5 \r\n", Exact(5)),
            post("Content-Length: 005\r\n", Exact(5)),
            post("Content-Length: 5, 5\r\n", Exact(5)),
            post("Content-Length: 5,5 \t,\t 5\r\n", Exact(5)),
            post("Content-Length: 05, 05\r\n", Exact(5)),
            post("Content-Length: 5\r\ncontent-length: 5\r\n", Exact(5)),
            post("Content-Length: 5, 5\r\nContent-Length: 5\r\n", Exact(5)),
            post(
                "Content-Length: 5\r\nX: y\r\nContent-Length: 5, 5\r\n",
                Exact(5),
            ),
            post(
                "Content-Length: 9223372036854775807\r\n",
                Exact(i64::MAX as u64),
            ),
            post("Transfer-Encoding: chunked\r\n", Chunked),
            post("transfer-encoding:\t CHUNKED \t\r\n", Chunked),
            post("TE: trailers\r\nTrailer: x\r\n", Exact(0)),
            lives("Connection: close\r\n", false),
            lives("Connection: CLOSE\r\n", false),
            lives("connection: a,\t cloSe ,b\r\n", false),
            lives("Connection: a\r\nConnection: close\r\n", false),
            lives("Connection: keep-alive, close\r\n", false),
            lives("Connection: keep-alive\r\n", true),
            lives("Connection:\r\n", true),
            lives("Connection: ,,\r\n", true),
            lives("Connection: closed, unclose, upgrade\r\n", true),
            lives("Proxy-Connection: close\r\n", true),
            lives_10("", false),
            lives_10("Connection: keep-alive\r\n", true),
            lives_10("Connection: x\r\nConnection: Keep-Alive\r\n", true),
            lives_10("Connection: keep-alive, close\r\n", false),
            lives_10("Connection: keep-alive\r\nConnection: close\r\n", false),
            lives_10("Expect: 100-continue\r\n", false),
            lives_10("Expect: the-spanish-inquisition\r\n", false),
            (
                with_fields_10("Host: x\r\nContent-Length: 7\r\n"),
                Post,
                false,
                false,
                Exact(7),
            ),
            (
                with_fields("Expect: 100-continue\r\n"),
                Post,
                true,
                true,
                Exact(0),
            ),
            (
                with_fields("expect: 100-CONTINUE\r\nExpect: 100-continue\r\n"),
                Post,
                true,
                true,
                Exact(0),
            ),
            (
                with_fields("Expect: ,100-continue\t, 100-continue,\r\nExpect:\r\n"),
                Post,
                true,
                true,
                Exact(0),
            ),
            (
                with_fields("Expect: ,\r\nExpect:\r\n"),
                Post,
                true,
                false,
                Exact(0),
            ),
        ];
        for (name, method) in [
            ("GET", Get),
            ("HEAD", Head),
            ("POST", Post),
            ("PUT", Put),
            ("DELETE", Delete),
            ("CONNECT", Connect),
            ("OPTIONS", Options),
            ("TRACE", Trace),
            ("PATCH", Patch),
        ] {
            let line = format!("{name} / HTTP/1.1");
            good.push((with_line(&line), method, true, false, Exact(0)));
        }
        good
    }

    /// Invalid heads, each with its status.
    fn bad() -> Vec<(Vec<u8>, u16)> {
        let fields = |fields: &str| (with_fields(fields).into_bytes(), 400);
        let fields_10 = |fields: &str| (with_fields_10(fields).into_bytes(), 400);
        let host = |host: &str| (with_host(host).into_bytes(), 400);
        let line = |line: &str, status| (with_line(line).into_bytes(), status);
        let raw = |raw: &[u8]| (raw.to_vec(), 400);
        vec![
            // Both lengths, whatever their order and version.
            fields("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"),
            fields("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n"),
            fields("Content-Length: x\r\nTransfer-Encoding: identity\r\n"),
            fields_10("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"),
            // Lengths that differ, if only in how they are written.
            fields("Content-Length: 5\r\nContent-Length: 6\r\n"),
            fields("Content-Length: 5\r\nContent-Length: 05\r\n"),
            fields("Content-Length: 5\r\ncontent-length:\r\n"),
            fields("Content-Length: 5, 5\r\nContent-Length: 6\r\n"),
            fields("Content-Length: 5, 6\r\nContent-Length: 5\r\n"),
            fields("Content-Length: 5, 6\r\n"),
            fields("Content-Length: 5, 05\r\n"),
            fields("Content-Length: 5, 5, 6\r\n"),
            fields("Content-Length: 5,\r\n"),
            fields("Content-Length: ,5\r\n"),
            // Equal, but no lengths.
            fields("Content-Length: ,\r\n"),
            fields("Content-Length: +5, +5\r\n"),
            fields("Content-Length: +5\r\nContent-Length: +5\r\n"),
            fields("Content-Length:\r\nContent-Length:\r\n"),
            fields("Content-Length: 5 5, 5 5\r\n"),
            fields("Content-Length: 9223372036854775808, 9223372036854775808\r\n"),
            // Not only digits, or too many of them.
            fields("Content-Length:\r\n"),
            fields("Content-Length: +5\r\n"),
            fields("Content-Length: -1\r\n"),
            fields("Content-Length: 0x5\r\n"),
            fields("Content-Length: 5 5\r\n"),
            fields("Content-Length: 5\t5\r\n"),
            fields("Content-Length: 5.0\r\n"),
            fields("Content-Length: 5e1\r\n"),
            fields("Content-Length: 1_000\r\n"),
            fields("Content-Length: \"5\"\r\n"),
            fields("Content-Length: 5;\r\n"),
            fields("Content-Length: \u{665}\r\n"),
            fields("Content-Length: 9223372036854775808\r\n"),
            fields("Content-Length: 18446744073709551616\r\n"),
            fields("Content-Length: 18446744073709551621\r\n"),
            fields("Content-Length: 99999999999999999999999999999999\r\n"),
            // No length in HTTP/1.0, whatever else is in the head.
            (with_fields_10("").into_bytes(), 411),
            (
                with_fields_10("Connection: keep-alive\r\n").into_bytes(),
                411,
            ),
            (
                with_fields_10("Content-Range: bytes 0-1/2\r\n").into_bytes(),
                411,
            ),
            (
                b"PUT /a HTTP/1.0\r\nExpect: 100-continue\r\n\r\n".to_vec(),
                411,
            ),
            // Other transfer codings than one chunked.
            fields("Transfer-Encoding:\r\n"),
            fields("Transfer-Encoding: chunked, chunked\r\n"),
            fields("Transfer-Encoding: gzip, chunked\r\n"),
            fields("Transfer-Encoding: chunked, gzip\r\n"),
            fields("Transfer-Encoding: identity\r\n"),
            fields("Transfer-Encoding: chunked, identity\r\n"),
            fields("Transfer-Encoding: xchunked\r\n"),
            fields("Transfer-Encoding: chunkedx\r\n"),
            fields("Transfer-Encoding: chunked;q=1\r\n"),
            fields("Transfer-Encoding: \"chunked\"\r\n"),
            fields("Transfer-Encoding: chunked,\r\n"),
            fields("Transfer-Encoding: ,chunked\r\n"),
            fields("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
            fields("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n"),
            fields("Transfer-Encoding: chunked\r\nTransfer-Encoding:\r\n"),
            fields("Transfer-Encoding: \u{b}chunked\r\n"),
            fields_10("Transfer-Encoding: chunked\r\n"),
            fields_10("Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n"),
            // Host.
            raw(b"GET / HTTP/1.1\r\n\r\n"),
            raw(b"GET http://x/ HTTP/1.1\r\nX: y\r\n\r\n"),
            fields("Host: x\r\n"),
            fields("hOST:\r\n"),
            fields_10("Host: x\r\nHost: x\r\n"),
            fields_10("Host: x/y\r\n"),
            host("a b"),
            host("a,b"),
            host("a\tb"),
            host("[::1"),
            host("\u{fc}"),
            host("a\u{7f}"),
            // Line ends.
            raw(b"GET / HTTP/1.1\nHost: x\r\n\r\n"),
            raw(b"GET / HTTP/1.1\r\nHost: x\n\r\n"),
            raw(b"GET / HTTP/1.1\r\nHost:\n\r\n"),
            raw(b"GET / HTTP/1.1\r\nHost: x \n\r\n"),
            raw(b"GET / HTTP/1.1\r\nHost: x\r\n\n"),
            raw(b"GET / HTTP/1.1\r\nHost: x\n\n"),
            raw(b"GET / HTTP/1.1\r\nHost: x\nX: y\r\n\r\n"),
            raw(b"GET / HTTP/1.1\n\n"),
            raw(b"GET / HTTP/1.1\r\n\n"),
            raw(b"GET / HTTP/1.0\n\r\n"),
            raw(b"\nGET / HTTP/1.1\r\nHost: x\r\n\r\n"),
            raw(b"\r\n\nGET / HTTP/1.1\r\nHost: x\r\n\r\n"),
            raw(b"\rGET / HTTP/1.1\r\nHost: x\r\n\r\n"),
            raw(b"\r\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n"),
            raw(b"GET / HTTP/1.1\rHost: x\r\n\r\n"),
            raw(b"GET / HTTP/1.1\r\r\nHost: x\r\n\r\n"),
            raw(b"GET / HTTP/1.1\r\nHost: x\r\r\n\r\n"),
            raw(b"GET / HTTP/1.1\r\nHost: x\ry\r\n\r\n"),
            raw(b"GET / HTTP/1.1\r\nHost:\rx\r\n\r\n"),
            raw(b"GET / HTTP/1.1\r\nHost: x\r\n\r\r\n"),
            raw(b"GET / HTTP/1.1\r\nHost: x\r\n\rX"),
            // Field lines.
            fields("X : y\r\n"),
            fields("X\t: y\r\n"),
            fields("X\r\n"),
            fields("X y\r\n"),
            fields(": y\r\n"),
            fields("X: y\r\n z\r\n"),
            fields("X: y\r\n\tz\r\n"),
            fields("X: y\r\n \r\n"),
            fields("X:\r\n y\r\n"),
            fields(" X: y\r\n"),
            fields("\tX: y\r\n"),
            raw(b"GET / HTTP/1.1\r\n Host: x\r\n\r\n"),
            raw(b"GET / HTTP/1.1\r\n\tHost: x\r\nHost: x\r\n\r\n"),
            fields("X\0: y\r\n"),
            fields("X(: y\r\n"),
            fields("X\u{fc}: y\r\n"),
            fields("Transfer-Encoding : chunked\r\n"),
            fields("X: y\0z\r\n"),
            fields("X: \0\r\n"),
            fields("X: \u{1}\r\n"),
            fields("X: y\u{b}z\r\n"),
            fields("X: y\u{c}\r\n"),
            fields("X: y\u{1b}z\r\n"),
            fields("X: y\u{7f}\r\n"),
            // Request lines.
            line("GET", 400),
            line("GET /", 400),
            line("GET  / HTTP/1.1", 400),
            line("GET /  HTTP/1.1", 400),
            line("GET / HTTP/1.1 ", 400),
            line(" GET / HTTP/1.1", 400),
            line("GET\t/\tHTTP/1.1", 400),
            line("GET / a HTTP/1.1", 400),
            line("GET /a\tb HTTP/1.1", 400),
            line("GET /a\0 HTTP/1.1", 400),
            line("GET /a\u{7f} HTTP/1.1", 400),
            line("GET /\u{fc} HTTP/1.1", 400),
            (b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), 400),
            line("GET\0 / HTTP/1.1", 400),
            line("G(T / HTTP/1.1", 400),
            line(" / HTTP/1.1", 400),
            line("\u{16}\u{3}\u{1}\u{2}", 400),
            // Versions.
            line("GET / HTTP/2.0", 505),
            line("GET / HTTP/1.2", 505),
            line("GET / HTTP/0.9", 505),
            line("GET / HTTP/3.0", 505),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), 505),
            line("get / HTTP/1.9", 505),
            line("GET / HTTP/2", 400),
            line("GET / HTTP/2.", 400),
            line("GET / HTTP/2.0.0", 400),
            line("GET / HTTP/2.0 ", 400),
            line("GET / HTTP/11.1", 400),
            line("GET / HTTP/1.11", 400),
            line("GET / HTTP/1.", 400),
            line("GET / HTTP/1", 400),
            line("GET / HTTP/a.b", 400),
            line("GET / HTTP 1.1", 400),
            line("GET / http/1.1", 400),
            line("GET / HTTPS/1.1", 400),
            line("GET / ICY/1.1", 400),
            (b"GET / HTTP/2.0\nHost: x\n\n".to_vec(), 400),
            // Methods.
            line("get / HTTP/1.1", 501),
            line("Get / HTTP/1.1", 501),
            line("FETCH / HTTP/1.1", 501),
            line("GETT / HTTP/1.1", 501),
            line("PROPFIND / HTTP/1.1", 501),
            (
                b"BREW / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: x\r\n\r\n".to_vec(),
                501,
            ),
            (b"BREW / HTTP/1.1\r\nX: y\n\r\n".to_vec(), 400),
            // Sizes.
            (with_target_of(TARGET_BYTES_MAX + 1).into_bytes(), 414),
            (with_target_of(HEAD_BYTES_MAX + 1).into_bytes(), 414),
            (of_head_bytes(HEAD_BYTES_MAX + 1).into_bytes(), 431),
            ("\r\n".repeat(HEAD_BYTES_MAX).into_bytes(), 431),
            ("A".repeat(HEAD_BYTES_MAX).into_bytes(), 431),
            (
                with_fields(&"X: y\r\n".repeat(HEAD_FIELDS_MAX)).into_bytes(),
                431,
            ),
            (
                with_fields(&"content-type: y\r\n".repeat(FORWARDED_FIELDS_MAX + 1)).into_bytes(),
                431,
            ),
            // Expectations.
            (with_fields("Expect: 200-ok\r\n").into_bytes(), 417),
            (with_fields("Expect: 100-continue, x\r\n").into_bytes(), 417),
            (
                with_fields("Expect: x=\"a, 100-continue\"\r\n").into_bytes(),
                417,
            ),
            (
                with_fields("Expect: 100-continue\r\nExpect: x\r\n").into_bytes(),
                417,
            ),
            fields("Expect: x\r\nContent-Length: x\r\n"),
        ]
    }

    #[test]
    fn good_heads_are_taken_for_what_they_say() {
        for (text, method, keep_alive, expect_continue, body) in good() {
            let head = complete(text.as_bytes());
            let said = (
                head.method,
                head.keep_alive,
                head.expect_continue,
                head.body,
            );
            assert_eq!(
                said,
                (method, keep_alive, expect_continue, body),
                "{text:?}"
            );
            assert_eq!(usize::from(head.head_bytes), text.len(), "{text:?}");
            let target = text.trim_start().split(' ').nth(1).unwrap();
            assert_eq!(head.target.of(text.as_bytes()), target.as_bytes());
        }
    }

    fn status_of(error: HeadError) -> u16 {
        match error {
            HeadError::Bad(_) => 400,
            HeadError::TargetTooLong => 414,
            HeadError::TooLarge(_) => 431,
            HeadError::Method => 501,
            HeadError::Version => 505,
            HeadError::Expectation => 417,
            HeadError::LengthRequired => 411,
        }
    }

    #[test]
    fn bad_heads_are_refused_with_the_status_of_what_is_wrong() {
        for (bytes, status) in bad() {
            match parse(&bytes) {
                Err(error) => {
                    assert_eq!(
                        status_of(error),
                        status,
                        "{}: {error:?}",
                        bytes.escape_ascii()
                    );
                    if let HeadError::Bad(text) | HeadError::TooLarge(text) = error {
                        assert!(text.is_ascii() && !text.contains(['\r', '\n']), "{text:?}");
                    }
                }
                other => panic!("{}: {other:?}", bytes.escape_ascii()),
            }
        }
    }

    /// Every prefix is `Partial`, or parses like the whole.
    fn check_every_cut(bytes: &[u8], step: usize) {
        let whole = parse(bytes);
        for cut in (0..bytes.len()).step_by(step) {
            let part = parse(&bytes[..cut]);
            assert!(
                part == Ok(Parsed::Partial) || part == whole,
                "{} cut at {cut}: {part:?}, whole: {whole:?}",
                bytes.escape_ascii()
            );
            if let (Ok(Parsed::Complete(head)), true) = (part, cut > 0) {
                assert!(usize::from(head.head_bytes) <= cut);
            }
        }
    }

    #[test]
    fn every_head_split_at_every_byte_is_partial_or_what_the_whole_is() {
        let good = good().into_iter().map(|row| row.0.into_bytes());
        for bytes in good.chain(bad().into_iter().map(|row| row.0)) {
            // Heads of 16 KiB are cut at fewer places, by a step that divides no power of two.
            check_every_cut(&bytes, if bytes.len() > 2048 { 61 } else { 1 });
        }
    }

    #[test]
    fn the_host_comes_out_and_is_empty_if_there_is_none() {
        for host in ["", "localhost:3000", "[::1]:80"] {
            let text = with_host(host);
            assert_eq!(
                complete(text.as_bytes()).host.of(text.as_bytes()),
                host.as_bytes()
            );
        }
        let text = "GET / HTTP/1.0\r\n\r\n";
        assert_eq!(complete(text.as_bytes()).host.of(text.as_bytes()), b"");
    }

    #[test]
    fn a_client_asks_for_the_timeout_by_its_version_or_by_a_field() {
        let asks = |text: String| complete(text.as_bytes()).asks_timeout;
        assert!(asks(with_fields_10("Content-Length: 0\r\n")));
        assert!(asks(with_fields("kEEP-aLIVE:\r\n")));
        assert!(!asks(with_fields("Connection: keep-alive\r\n")));
    }

    #[test]
    fn no_good_head_is_complete_before_its_last_byte() {
        for (text, ..) in good() {
            assert_eq!(
                parse(&text.as_bytes()[..text.len() - 1]),
                Ok(Parsed::Partial),
                "{text:?}"
            );
        }
    }

    #[test]
    fn what_follows_a_head_does_not_change_it() {
        let tails: [&[u8]; 5] = [
            b"\0\r\n\n\xff",
            b"GET / HTTP/1.1\r\n",
            b" folded\r\n",
            b"\n",
            b"5",
        ];
        let good = good().into_iter().map(|row| row.0.into_bytes());
        for mut bytes in good.chain(bad().into_iter().map(|row| row.0)) {
            let (whole, length) = (parse(&bytes), bytes.len());
            for tail in tails {
                bytes.truncate(length);
                bytes.extend_from_slice(tail);
                assert_eq!(parse(&bytes), whole, "{}", bytes.escape_ascii());
            }
        }
    }

    #[test]
    fn a_target_that_is_too_long_is_refused_before_its_end() {
        let text = with_target_of(2 * TARGET_BYTES_MAX);
        let enough = "GET ".len() + TARGET_BYTES_MAX;
        assert_eq!(parse(&text.as_bytes()[..enough]), Ok(Parsed::Partial));
        assert_eq!(
            parse(&text.as_bytes()[..enough + 1]),
            Err(HeadError::TargetTooLong)
        );
    }

    #[test]
    fn every_byte_in_a_value_a_name_and_a_target_is_judged_alike_at_every_place() {
        for byte in 0..=u8::MAX {
            for place in 0..40 {
                let put = |before: &str, after: &str| {
                    let mut middle = [b'a'; 40];
                    middle[place] = byte;
                    let parts = [before.as_bytes(), &middle[..], after.as_bytes()];
                    matches!(parse(&parts.concat()), Ok(Parsed::Complete(_)))
                };
                let in_value = byte == b'\t' || (byte >= b' ' && byte != 0x7f);
                let value = put("GET / HTTP/1.1\r\nHost: x\r\nX:", "\r\n\r\n");
                assert_eq!(value, in_value, "value {byte:#x} at {place}");
                let is_token = byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
                // A colon ends the name, which must not be empty.
                let in_name = is_token || (byte == b':' && place > 0);
                let name = put("GET / HTTP/1.1\r\nHost: x\r\n", ":\r\n\r\n");
                assert_eq!(name, in_name, "name {byte:#x} at {place}");
                let target = put("GET /", " HTTP/1.1\r\nHost: x\r\n\r\n");
                assert_eq!(
                    target,
                    byte.is_ascii_graphic(),
                    "target {byte:#x} at {place}"
                );
            }
        }
    }

    #[test]
    fn field_lines_that_go_to_the_consumer_come_out_whole_and_in_order() {
        let text = with_fields(
            "content-type: \ta/b; c=d \t\r\nX: y\r\nContent-Encoding:gzip\r\nCONTENT-LANGUAGE: \t \r\n\
             Content-Disposition: attachment; filename=\"a b\"\r\nContent-Type: c/d\r\n",
        );
        let bytes = text.as_bytes();
        let forwarded = complete(bytes).forwarded;
        let all: Vec<_> = forwarded
            .iter()
            .map(|field| (field.name, field.line.of(bytes), field.value.of(bytes)))
            .collect();
        let expected: [(FieldName, &[u8], &[u8]); 5] = [
            (
                FieldName::ContentType,
                b"content-type: \ta/b; c=d",
                b"a/b; c=d",
            ),
            (
                FieldName::ContentEncoding,
                b"Content-Encoding:gzip",
                b"gzip",
            ),
            (FieldName::ContentLanguage, b"CONTENT-LANGUAGE:", b""),
            (
                FieldName::ContentDisposition,
                b"Content-Disposition: attachment; filename=\"a b\"",
                b"attachment; filename=\"a b\"",
            ),
            (FieldName::ContentType, b"Content-Type: c/d", b"c/d"),
        ];
        assert_eq!(all, expected);
    }

    /// A slow and simple second implementation of the rules for accepted heads.
    fn assert_obeys_the_grammar(bytes: &[u8], head: &RequestHead) {
        let text = &bytes[..usize::from(head.head_bytes)];
        let text: String = text.iter().map(|&byte| char::from(byte)).collect();
        let lines: Vec<&str> = text.trim_start_matches("\r\n").split("\r\n").collect();
        let (request_line, fields) = lines.split_first().unwrap();
        let [fields @ .., "", ""] = fields else {
            panic!("no empty line at the end: {text:?}");
        };
        assert!(
            !text.replace("\r\n", "").contains(['\r', '\n', '\0']),
            "{text:?}"
        );
        assert_eq!(request_line.split(' ').count(), 3, "{text:?}");
        assert!(request_line.ends_with(" HTTP/1.1") || request_line.ends_with(" HTTP/1.0"));
        let values = |name: &str| -> Vec<&str> {
            let split = fields.iter().map(|line| line.split_once(':').unwrap());
            let same = split.filter(|(n, _)| n.eq_ignore_ascii_case(name));
            same.map(|(_, value)| value.trim_matches([' ', '\t']))
                .collect()
        };
        let framing = (values("content-length"), values("transfer-encoding"));
        match (framing.0.as_slice(), framing.1.as_slice(), head.body) {
            ([], [], BodyLength::Exact(0)) => {
                let may_have_none = head.version == Version::Http11 || !produces(head.method);
                assert!(may_have_none, "no length: {text:?}");
            }
            ([_, ..], [], BodyLength::Exact(n)) => {
                let all = framing.0.join(",");
                let mut all = all
                    .split(',')
                    .map(|length| length.trim_matches([' ', '\t']));
                let length = all.next().unwrap();
                assert!(all.all(|other| other == length), "{text:?}");
                assert!(length.bytes().all(|byte| byte.is_ascii_digit()), "{text:?}");
                assert_eq!(length.parse::<i64>().unwrap() as u64, n, "{text:?}");
            }
            ([], [coding], BodyLength::Chunked) if head.version == Version::Http11 => {
                assert_eq!(coding.to_ascii_lowercase(), "chunked");
            }
            _ => panic!("framing of {text:?}"),
        }
        let hosts = values("host").len();
        assert!(
            hosts == 1 || (hosts == 0 && head.version == Version::Http10),
            "{text:?}"
        );
    }

    /// Pieces of heads: random rows of them are often valid, or almost.
    fn piece() -> impl Strategy<Value = Vec<u8>> {
        let known: Vec<Vec<u8>> = [
            "GET / HTTP/1.1\r\n",
            "POST /a HTTP/1.0\r\n",
            "Host: x\r\n",
            "Host",
            ":",
            " ",
            "\t",
            "\r\n",
            "\r",
            "\n",
            "Content-Length: 5\r\n",
            "Content-Length: 5, 5\r\n",
            "Content-Length",
            "5",
            "5\r\n",
            "\r\n\r\n",
            "chunked",
            "Transfer-Encoding: chunked\r\n",
            "Transfer-Encoding",
            ",",
            "Expect: 100-continue\r\n",
            "Connection: close\r\n",
            "HTTP/2.0",
            "Content-Type: a/b\r\n",
            "X: y\r\n",
            "X:\r\n",
        ]
        .map(|known| known.as_bytes().to_vec())
        .to_vec();
        prop_oneof![
            12 => proptest::sample::select(known),
            1 => proptest::collection::vec(any::<u8>(), 1..4),
        ]
    }

    fn check_anything(bytes: &[u8]) {
        check_every_cut(bytes, 1);
        if let Ok(Parsed::Complete(head)) = parse(bytes) {
            assert_obeys_the_grammar(bytes, &head);
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            check_anything(&bytes);
        }

        #[test]
        fn rows_of_pieces_are_accepted_only_if_they_obey_the_grammar(
            first in any::<bool>(),
            pieces in proptest::collection::vec(piece(), 0..10),
        ) {
            let line: &[u8] = if first { b"GET / HTTP/1.1\r\nHost: x\r\n" } else { b"" };
            check_anything(&[line, &pieces.concat(), b"\r\n\r\n"].concat());
        }

        #[test]
        fn a_mutated_good_head_is_accepted_only_if_it_obeys_the_grammar(
            row in 0..good().len(),
            edits in proptest::collection::vec((any::<prop::sample::Index>(), 0..3u8, piece()), 1..4),
        ) {
            let mut bytes = good().swap_remove(row).0.into_bytes();
            bytes.truncate(1024);
            for (place, edit, piece) in edits {
                let at = place.index(bytes.len());
                match edit {
                    0 => { bytes.splice(at..at, piece); }
                    1 => { bytes.remove(at); }
                    _ => bytes[at] = piece[0],
                }
            }
            check_anything(&bytes);
        }
    }
}
