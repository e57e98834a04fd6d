//! A request's head: from bytes to [`RequestHead`], or to the reason why it is refused.
//!
//! Owns the syntax of request line and fields, and the rules by which a head frames its body
//! (RFC 9112 §2 to §6). httparse finds the lines; everything that it lets through and RFC 9112 does
//! not is refused here: bare LF, bytes of a target outside ASCII, and all that fields say about
//! framing. Must never allocate, never accept a head that another reader could frame differently, and
//! never look at what a target means (that is the router's).

use std::mem::MaybeUninit;

use httparse::{Error as SyntaxError, Header, Request, Status};

use crate::limits::{FORWARDED_FIELDS_MAX, HEAD_BYTES_MAX, HEAD_FIELDS_MAX, TARGET_BYTES_MAX};

const _: () = assert!(
    HEAD_BYTES_MAX <= u16::MAX as usize,
    "spans and head_bytes are u16"
);

/// A range of the bytes that a head was parsed from.
///
/// 16 bits are enough: no head is longer than [`HEAD_BYTES_MAX`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Offset of the first byte.
    pub start: u16,
    /// Offset behind the last byte.
    pub end: u16,
}

impl Span {
    /// The bytes of this range in `bytes`, the same that [`parse`] was given.
    #[must_use]
    pub fn of(self, bytes: &[u8]) -> &[u8] {
        &bytes[usize::from(self.start)..usize::from(self.end)]
    }
}

/// The methods that HTTP defines (RFC 9110 §9.3, RFC 5789). Case-sensitive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the method of that name")]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Connect,
    Options,
    Trace,
    Patch,
}

/// The versions that are served; any other is [`HeadError::Version`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
}

/// How long the request's body is, as its head declares (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// So many bytes, below 2^63; 0 when the head has neither Content-Length nor Transfer-Encoding.
    Exact(u64),
    /// The chunked coding tells where the body ends.
    Chunked,
}

/// The names of the fields that are passed on from a producer to its consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the field of that name")]
pub enum FieldName {
    ContentType,
    ContentEncoding,
    ContentLanguage,
    ContentDisposition,
}

/// One field line that is passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForwardedField {
    /// Which field it is.
    pub name: FieldName,
    /// The line as sent: name, colon and value, without white space behind the value, without CRLF.
    /// Fit to be written into another head as it is.
    pub line: Span,
    /// The value, without white space around it.
    pub value: Span,
}

/// The field lines that are passed on, in the order they came.
///
/// Content-Type may come once only (RFC 9110 §8.3). Lines that repeat it are kept here; who passes
/// them on takes the first alone, so that what a consumer receives is never ambiguous.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forwarded {
    count: u8,
    fields: [ForwardedField; FORWARDED_FIELDS_MAX],
}

/// What a request's head says.
///
/// Plain data without a borrow: spans point into the bytes that the head was parsed from, so it can
/// move with them to another shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// The version of the message, and with it what its sender understands.
    pub version: Version,
    /// Whether the connection may live on after this request (RFC 9112 §9.3): HTTP/1.1 without
    /// `close`, HTTP/1.0 with `keep-alive` and without `close`.
    pub keep_alive: bool,
    /// Whether the client may be waiting for a 100 before it sends its body. Never on HTTP/1.0, whose
    /// expectations are ignored (RFC 9110 §10.1.1).
    pub expect_continue: bool,
    /// How the body is framed.
    pub body: BodyLength,
    /// The request target as sent: visible ASCII, not empty, not looked at any further.
    pub target: Span,
    /// Length of the head in bytes: leading empty lines, request line, fields and the empty line that
    /// ends it. The body, or the next request, starts here.
    pub head_bytes: u16,
    /// The field lines that go to the consumer.
    pub forwarded: Forwarded,
    /// The value of the `Host` field, checked; empty if there is none.
    pub host: Span,
}

/// What the bytes read so far amount to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// No end of the head yet and nothing wrong so far: read more and parse again from the front.
    Partial,
    /// The whole head is there.
    Complete(RequestHead),
}

/// Why a head is refused.
///
/// The connection closes after the reply, whatever the reason: where a refused head ends, or how long
/// its body is, is not known for sure, so nothing behind it may be taken for a request. When several
/// things are wrong, syntax is reported first (400, 414, 431, 505), then the method (501), then
/// framing and Host (400), then the expectation (417).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadError {
    /// 400, with what was wrong and what to do.
    Bad(&'static str),
    /// 414: the target is over [`TARGET_BYTES_MAX`] (RFC 9110 §15.5.15).
    TargetTooLong,
    /// 431, with which bound was passed (RFC 6585 §5).
    TooLarge(&'static str),
    /// 501: a token, but not a method that HTTP defines (RFC 9110 §9.1).
    Method,
    /// 505: well-formed, but neither HTTP/1.0 nor HTTP/1.1 (RFC 9110 §15.6.6).
    Version,
    /// 417: an expectation other than `100-continue` (RFC 9110 §10.1.1).
    Expectation,
}

/// Reads a request's head from the front of `bytes`.
///
/// Takes all that was read of the connection since the end of the previous request; it may go on
/// behind the head. At most [`HEAD_BYTES_MAX`] bytes are looked at. Returns [`Parsed::Partial`] until
/// the empty line that ends the head is there. What is returned once, other than `Partial`, stays the
/// same however many bytes follow.
///
/// Empty lines (CRLF) in front of the request line are skipped (RFC 9112 §2.2).
///
/// # Errors
/// What is wrong with the head, as soon as httparse or a bound shows it, at its last byte otherwise.
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

/// The offset of the first byte that is not part of an empty line.
fn skip_empty_lines(bytes: &[u8]) -> Result<usize, HeadError> {
    let mut start = 0;
    while bytes[start..].starts_with(b"\r\n") {
        start += 2;
    }
    // httparse would skip it: RFC 9112 §2.2 lets a recipient take a lone LF for a line end.
    if bytes.get(start) == Some(&b'\n') {
        return Err(HeadError::Bad(BARE_LF));
    }
    Ok(start)
}

/// What a whole head says; `head` is exactly its bytes.
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
    fields.check_host(version)?;
    let body = fields.body(version)?;
    if method == Method::Put && fields.content_range {
        return Err(HeadError::Bad(PARTIAL_PUT));
    }
    let host = fields
        .host
        .map_or_else(Span::default, |host| span(head, host));
    Ok(RequestHead {
        method,
        version,
        keep_alive: fields.keep_alive(version),
        expect_continue: fields.expect_continue(version)?,
        body,
        target: span(head, target),
        head_bytes: head.len() as u16,
        forwarded: fields.forwarded,
        host,
    })
}

/// Refuses a target, or as much as is there of it, that is too long or outside of visible ASCII.
///
/// httparse has already seen that there are no control characters and no spaces in it.
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

/// The bytes of the target that an incomplete or refused head has; empty if it has none.
fn target_so_far<'a>(bytes: &'a [u8], request: &Request<'_, 'a>) -> &'a [u8] {
    match (request.path, request.method) {
        (Some(target), _) => target.as_bytes(),
        (None, Some(method)) => {
            // One space ends the method, or httparse would not have set it.
            let rest = &bytes[usize::from(span(bytes, method.as_bytes()).end) + 1..];
            let end = rest.iter().position(|&byte| byte <= b' ' || byte == 0x7f);
            &rest[..end.unwrap_or(rest.len())]
        }
        (None, None) => &[],
    }
}

/// What to say to a head that has no end yet.
fn partial(bytes: &[u8]) -> Result<Parsed, HeadError> {
    if bytes.len() == HEAD_BYTES_MAX {
        return Err(HeadError::TooLarge(
            "the request head is over 16 KiB: send fewer or shorter header fields",
        ));
    }
    Ok(Parsed::Partial)
}

/// Why httparse did not like the head.
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

/// Tells a version that is not served from what is no version at all (RFC 9112 §2.3).
///
/// httparse refuses both at the first byte that differs from `HTTP/1.0` or `HTTP/1.1`, so more bytes
/// may be needed to tell.
fn refuse_version(bytes: &[u8], request: &Request<'_, '_>) -> Result<Parsed, HeadError> {
    const SHAPE: &[u8; 10] = b"HTTP/0.0\r\n";
    let target = request.path.unwrap_or_default().as_bytes();
    let version = &bytes[usize::from(span(bytes, target).end) + 1..];
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

/// The range that `part`, a slice of `bytes`, has in it.
fn span(bytes: &[u8], part: &[u8]) -> Span {
    let start = part.as_ptr() as usize - bytes.as_ptr() as usize;
    Span {
        start: start as u16,
        end: (start + part.len()) as u16,
    }
}

/// The fields that matter, as found; not judged yet, because a wrong method comes before a wrong
/// framing but behind wrong syntax.
#[derive(Default)]
struct Fields<'a> {
    host: Option<&'a [u8]>,
    content_length: Option<&'a [u8]>,
    transfer_encoding: Option<&'a [u8]>,
    /// What to say about the first field that came twice and must not.
    repeated: Option<&'static str>,
    close: bool,
    persist: bool,
    expects_continue: bool,
    expects_other: bool,
    content_range: bool,
    forwarded: Forwarded,
}

impl<'a> Fields<'a> {
    /// Walks over all field lines once, and sees to it that every line of `head` ends with CRLF.
    fn read(head: &'a [u8], headers: &[Header<'a>]) -> Result<Self, HeadError> {
        let mut fields = Self::default();
        for header in headers {
            check_line_before(head, usize::from(span(head, header.name.as_bytes()).start))?;
            fields.take(head, header)?;
        }
        let last_line = head.len() - 2;
        check_line_before(head, last_line)?;
        check_line_before(head, head.len())?;
        Ok(fields)
    }

    /// Notes what one field line says. The names are told apart by their length first: most fields
    /// cost one comparison of two numbers.
    fn take(&mut self, head: &'a [u8], header: &Header<'a>) -> Result<(), HeadError> {
        let value = header.value;
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        match header.name.len() {
            4 if is("host") => self.once(|fields| &mut fields.host, value, HOST_TWICE),
            6 if is("expect") => self.take_expectation(value),
            10 if is("connection") => self.take_connection(value),
            12 if is("content-type") => self.forward(head, header, FieldName::ContentType)?,
            13 if is("content-range") => self.content_range = true,
            14 if is("content-length") => {
                self.once(|fields| &mut fields.content_length, value, LENGTH_TWICE)
            }
            16 if is("content-encoding") => {
                self.forward(head, header, FieldName::ContentEncoding)?
            }
            16 if is("content-language") => {
                self.forward(head, header, FieldName::ContentLanguage)?
            }
            17 if is("transfer-encoding") => {
                self.once(|fields| &mut fields.transfer_encoding, value, CODING_TWICE)
            }
            19 if is("content-disposition") => {
                self.forward(head, header, FieldName::ContentDisposition)?
            }
            _ => {}
        }
        Ok(())
    }

    /// Sets a field that may come once only; `twice` is what to say if it comes again.
    fn once(
        &mut self,
        slot: impl FnOnce(&mut Self) -> &mut Option<&'a [u8]>,
        value: &'a [u8],
        twice: &'static str,
    ) {
        if slot(self).replace(value).is_some() {
            self.repeated.get_or_insert(twice);
        }
    }

    fn take_expectation(&mut self, value: &[u8]) {
        if value.eq_ignore_ascii_case(b"100-continue") {
            self.expects_continue = true;
        } else {
            self.expects_other = true;
        }
    }

    /// A list of options, case-insensitive, in one line or several (RFC 9110 §7.6.1).
    fn take_connection(&mut self, value: &[u8]) {
        for option in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.persist |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    fn forward(
        &mut self,
        head: &[u8],
        header: &Header<'_>,
        name: FieldName,
    ) -> Result<(), HeadError> {
        let count = usize::from(self.forwarded.count);
        let slot = self.forwarded.fields.get_mut(count).ok_or({
            HeadError::TooLarge(
                "the request has over 8 Content-Type, Content-Encoding, Content-Language and \
                 Content-Disposition lines in all: send fewer",
            )
        })?;
        let name_span = span(head, header.name.as_bytes());
        let value = span(head, header.value);
        // The value of an empty field may stand behind white space that does not belong to it.
        let end = if header.value.is_empty() {
            name_span.end + 1
        } else {
            value.end
        };
        let start = name_span.start;
        *slot = ForwardedField {
            name,
            line: Span { start, end },
            value,
        };
        self.forwarded.count += 1;
        Ok(())
    }

    /// RFC 9112 §3.2: 400 for HTTP/1.1 without Host, and for any request with two or with a bad one.
    fn check_host(&self, version: Version) -> Result<(), HeadError> {
        if let Some(twice) = self.repeated {
            return Err(HeadError::Bad(twice));
        }
        match self.host {
            Some(host) if !is_host(host) => Err(HeadError::Bad(
                "the Host field is not a host name with an optional port: send `Host: name:port`",
            )),
            None if version == Version::Http11 => Err(HeadError::Bad(
                "an HTTP/1.1 request needs a Host field: send `Host: name:port`",
            )),
            _ => Ok(()),
        }
    }

    /// RFC 9112 §6.1 and §6.3, with everything refused that they allow to be repaired.
    fn body(&self, version: Version) -> Result<BodyLength, HeadError> {
        match (self.transfer_encoding, self.content_length) {
            (None, None) => Ok(BodyLength::Exact(0)),
            (None, Some(digits)) => parse_length(digits).map(BodyLength::Exact),
            // "A server MAY reject a request that contains both": the classic way to smuggle.
            (Some(_), Some(_)) => Err(HeadError::Bad(
                "the request has both Transfer-Encoding and Content-Length: send one of them",
            )),
            // "[A server that receives it] MUST treat the message as if the framing is faulty [...] and
            // close the connection after processing the message."
            (Some(_), None) if version == Version::Http10 => Err(HeadError::Bad(
                "Transfer-Encoding is not part of HTTP/1.0: send a Content-Length, or HTTP/1.1",
            )),
            (Some(coding), None) if coding.eq_ignore_ascii_case(b"chunked") => {
                Ok(BodyLength::Chunked)
            }
            (Some(_), None) => Err(HeadError::Bad(
                "the transfer coding is not supported: \
                 send `Transfer-Encoding: chunked` and nothing else in it",
            )),
        }
    }

    fn keep_alive(&self, version: Version) -> bool {
        !self.close && (version == Version::Http11 || self.persist)
    }

    fn expect_continue(&self, version: Version) -> Result<bool, HeadError> {
        match version {
            Version::Http10 => Ok(false),
            Version::Http11 if self.expects_other => Err(HeadError::Expectation),
            Version::Http11 => Ok(self.expects_continue),
        }
    }
}

/// Refuses a head in which the line before offset `next` ends with a bare LF.
///
/// httparse lets no CR stand without an LF behind it, so a CR two bytes back is that of a CRLF.
fn check_line_before(head: &[u8], next: usize) -> Result<(), HeadError> {
    if head[next - 2] != b'\r' {
        return Err(HeadError::Bad(BARE_LF));
    }
    Ok(())
}

/// `uri-host [ ":" port ]` (RFC 9112 §3.2, RFC 3986 §3.2.2), or empty.
///
/// A comma is allowed in a host name by RFC 3986, but here it is what a merge of two fields leaves.
fn is_host(value: &[u8]) -> bool {
    let port = match value.strip_prefix(b"[") {
        Some(literal) => {
            let end = literal.iter().position(|&byte| !is_in_ip_literal(byte));
            match end.map(|end| literal.split_at(end)) {
                Some((address, [b']', port @ ..])) if !address.is_empty() => port,
                _ => return false,
            }
        }
        None => {
            let end = value.iter().position(|&byte| !is_in_host_name(byte));
            &value[end.unwrap_or(value.len())..]
        }
    };
    match port {
        [] => true,
        [b':', digits @ ..] => digits.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

const fn is_in_ip_literal(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'.' | b'-' | b'_' | b'~' | b'%')
}

const fn is_in_host_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'-' | b'.' | b'_' | b'~' | b'!' | b'$'..=b'+' | b';' | b'='
        )
}

/// `1*DIGIT` below 2^63 (RFC 9110 §8.6). A list of equal lengths is refused too.
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

/// RFC 9110 §14.5: to take a part for the whole would be worse than to refuse it.
const PARTIAL_PUT: &str =
    "a PUT with Content-Range brings a part, and only whole bodies pass here: send it without";
const BARE_LF: &str = "a line of the request head ends with a bare LF: end it with CRLF";
const HOST_TWICE: &str = "the request has more than one Host field: send one";
const LENGTH_TWICE: &str = "the request has more than one Content-Length field: send one";
const CODING_TWICE: &str =
    "the request has more than one Transfer-Encoding field: send `Transfer-Encoding: chunked` once";

impl Method {
    /// The method as it stands in a request (RFC 9110 §9.1).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
            Self::Options => "OPTIONS",
            Self::Trace => "TRACE",
            Self::Patch => "PATCH",
        }
    }

    /// The method that `token` names; `None` if HTTP defines none of that name.
    fn from_token(token: &[u8]) -> Option<Self> {
        Some(match token {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"DELETE" => Self::Delete,
            b"CONNECT" => Self::Connect,
            b"OPTIONS" => Self::Options,
            b"TRACE" => Self::Trace,
            b"PATCH" => Self::Patch,
            _ => return None,
        })
    }
}

impl Forwarded {
    /// The field lines, in the order they came; fields of the same name may come more than once.
    pub fn iter(&self) -> impl Iterator<Item = ForwardedField> + '_ {
        self.fields[..usize::from(self.count)].iter().copied()
    }
}

impl Default for Forwarded {
    fn default() -> Self {
        const UNUSED: ForwardedField = ForwardedField {
            name: FieldName::ContentType,
            line: Span { start: 0, end: 0 },
            value: Span { start: 0, end: 0 },
        };
        Self {
            count: 0,
            fields: [UNUSED; FORWARDED_FIELDS_MAX],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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

    /// Heads that are taken, each with what must come out of it.
    fn good() -> Vec<(String, Method, bool, bool, BodyLength)> {
        use BodyLength::{Chunked, Exact};
        use Method::*;
        let get = |line: &str| (with_line(line), Get, true, false, Exact(0));
        let post = |fields: &str, body| (with_fields(fields), Post, true, false, body);
        let host = |host: &str| (with_host(host), Get, true, false, Exact(0));
        let lives = |fields: &str, lives| (with_fields(fields), Post, lives, false, Exact(0));
        let lives_10 = |fields: &str, lives| (with_fields_10(fields), Post, lives, false, Exact(0));
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
            host("localhost:"),
            host("a_b.example"),
            host("127.0.0.1:80"),
            host("[::1]:80"),
            host("[fe80::1%25eth0]"),
            host("[v1.a]"),
            host("%C3%BC.example"),
            post("X:y\r\nX: \t y \t \r\nX:\r\nX: \t\r\n", Exact(0)),
            post("X: \u{fc}\ty!\r\n", Exact(0)),
            post("!#$%&'*+-.^_`|~09azAZ: y\r\n", Exact(0)),
            post("Content_Length: 5\r\nContent-Length-: 6\r\n", Exact(0)),
            post("Content-Length: 0\r\n", Exact(0)),
            post("content-LENGTH:\t5 \r\n", Exact(5)),
            post("Content-Length: 005\r\n", Exact(5)),
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

    /// Heads that are refused, each with the status.
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
            // More than one length.
            fields("Content-Length: 5\r\nContent-Length: 6\r\n"),
            fields("Content-Length: 5\r\nContent-Length: 5\r\n"),
            fields("Content-Length: 5\r\ncontent-length:\r\n"),
            fields("Content-Length: 5, 5\r\n"),
            fields("Content-Length: 5, 6\r\n"),
            fields("Content-Length: ,5\r\n"),
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
            host("a/b"),
            host("a@b"),
            host("a\tb"),
            host("a?b"),
            host("a#b"),
            host("a\\b"),
            host("a\"b"),
            host("a:b"),
            host("a:1:2"),
            host("a:+1"),
            host("::1"),
            host("[::1"),
            host("[]"),
            host("[::1]1"),
            host("[::1]:x"),
            host("[a/b]"),
            host("http://a"),
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
            (with_fields("Expect:\r\n").into_bytes(), 417),
            (
                with_fields("Expect: 100-continue, 100-continue\r\n").into_bytes(),
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

    /// Whatever the cut: `Partial`, or already what the whole is.
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
            // A step that does not divide a power of two, for the heads of 16 KiB.
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
        let text = with_fields_10("");
        assert_eq!(complete(text.as_bytes()).host.of(text.as_bytes()), b"");
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
                // A colon ends the name, but not in front of it.
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

    /// A slow and simple reader of the rules that must hold for whatever was accepted.
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
            ([], [], BodyLength::Exact(0)) => {}
            ([length], [], BodyLength::Exact(n)) => {
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

    /// Pieces that stand close to the rules, so that random rows of them often obey or just break them.
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
