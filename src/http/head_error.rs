//! [`HeadError`]: why a head is refused.

/// Why a head is refused.
///
/// The connection closes after the response, whatever the error: where a refused head ends, or how long
/// its body is, is uncertain, and bytes after it must not be parsed as a request. If several things are
/// wrong, errors are reported in this order: syntax (400, 414, 431, 505), method (501), framing and Host
/// (400), no length (411), Content-Range (400), expectation (417).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadError {
    /// 400: what is wrong and what to send instead.
    Bad(&'static str),
    /// 414: the target is over [`crate::limits::TARGET_BYTES_MAX`] (RFC 9110 §15.5.15).
    TargetTooLong,
    /// 431: which limit is exceeded (RFC 6585 §5).
    TooLarge(&'static str),
    /// 501: a token, but not a method that HTTP defines (RFC 9110 §9.1).
    Method,
    /// 505: well-formed, but neither HTTP/1.0 nor HTTP/1.1 (RFC 9110 §15.6.6).
    Version,
    /// 411: an HTTP/1.0 request that brings a body without a Content-Length (RFC 1945 §7.2.2). Whatever
    /// follows would be lost: only the end of the connection could end it, and that ends a request.
    LengthRequired,
    /// 417: an expectation other than `100-continue` (RFC 9110 §10.1.1).
    Expectation,
}

impl HeadError {
    /// RFC 9112 §2.2 allows a recipient to accept a bare LF, but a recipient that accepts it and one that
    /// does not see different heads.
    pub const BARE_LF: Self =
        Self::Bad("a line of the request head ends with a bare LF: end it with CRLF");
}
