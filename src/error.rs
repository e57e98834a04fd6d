//! What can go wrong and on whose side: which reply it is, and whether the connection lives. Pure.
//!
//! Every reply that is not a success is one [`Refusal`]; no other place decides on a status.

use crate::{
    http::{chunked::ChunkedError, head::HeadError},
    registry::Full,
    route::{Allow, RouteError},
};

/// A status code that httpipe sends, with its reason phrase (RFC 9110 §15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the registered reason phrases")]
pub enum Status {
    Ok,
    NoContent,
    BadRequest,
    NotFound,
    MethodNotAllowed,
    RequestTimeout,
    Gone,
    ContentTooLarge,
    UriTooLong,
    ExpectationFailed,
    HeaderFieldsTooLarge,
    NotImplemented,
    BadGateway,
    ServiceUnavailable,
    VersionNotSupported,
}

impl Status {
    /// Every status, in the order of their numbers; `index` is the place in it.
    pub const ALL: [Self; 15] = [
        Self::Ok,
        Self::NoContent,
        Self::BadRequest,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::Gone,
        Self::ContentTooLarge,
        Self::UriTooLong,
        Self::ExpectationFailed,
        Self::HeaderFieldsTooLarge,
        Self::NotImplemented,
        Self::BadGateway,
        Self::ServiceUnavailable,
        Self::VersionNotSupported,
    ];

    /// Code and reason phrase as they stand in a status line.
    #[must_use]
    pub const fn line(self) -> &'static str {
        match self {
            Self::Ok => "200 OK",
            Self::NoContent => "204 No Content",
            Self::BadRequest => "400 Bad Request",
            Self::NotFound => "404 Not Found",
            Self::MethodNotAllowed => "405 Method Not Allowed",
            Self::RequestTimeout => "408 Request Timeout",
            Self::Gone => "410 Gone",
            Self::ContentTooLarge => "413 Content Too Large",
            Self::UriTooLong => "414 URI Too Long",
            Self::ExpectationFailed => "417 Expectation Failed",
            Self::HeaderFieldsTooLarge => "431 Request Header Fields Too Large",
            Self::NotImplemented => "501 Not Implemented",
            Self::BadGateway => "502 Bad Gateway",
            Self::ServiceUnavailable => "503 Service Unavailable",
            Self::VersionNotSupported => "505 HTTP Version Not Supported",
        }
    }

    /// The three digits alone.
    #[must_use]
    pub fn code(self) -> &'static str {
        &self.line()[..3]
    }
}

/// A reply that says no: its status, one line that says what was wrong and what to do, and whether
/// the connection lives on after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status of the reply.
    pub status: Status,
    /// One line for the client, without a line end.
    pub text: &'static str,
    /// The methods that the path takes, with a 405.
    pub allow: Option<Allow>,
    /// The connection closes after the reply, whatever the client asked for.
    pub closes: bool,
    /// The text is left out: the reply to a `HEAD` ends with its head (RFC 9110 §9.3.2).
    pub head_only: bool,
}

impl Refusal {
    const fn keeps(status: Status, text: &'static str) -> Self {
        Self {
            status,
            text,
            allow: None,
            closes: false,
            head_only: false,
        }
    }

    const fn closes(status: Status, text: &'static str) -> Self {
        Self {
            status,
            text,
            allow: None,
            closes: true,
            head_only: false,
        }
    }

    /// Nobody came within `--request-timeout`.
    pub const WAITED_TOO_LONG: Self = Self::keeps(
        Status::RequestTimeout,
        "no counterpart came to this channel in time; try again",
    );
    /// A body that is to be dropped did not come whole in time.
    pub const BODY_TOO_SLOW: Self = Self::closes(
        Status::RequestTimeout,
        "the body of the request did not arrive in time; this method takes none",
    );
    /// The client half-closed inside a head.
    pub const HEAD_CUT: Self = Self::closes(
        Status::BadRequest,
        "the head of the request ended early; send it whole",
    );
    /// The head did not come whole within `--header-timeout`.
    pub const HEAD_TOO_SLOW: Self = Self::closes(
        Status::RequestTimeout,
        "the head of the request did not arrive in time; send it at once",
    );
    /// Nothing moved for `--idle-timeout`.
    pub const STALLED: Self = Self::closes(
        Status::RequestTimeout,
        "nothing moved in this exchange for too long; try again",
    );
    /// `DELETE` while it waited, or between the match and the first byte.
    pub const DELETED: Self = Self::keeps(Status::Gone, "the channel was deleted");
    /// `DELETE` after the first byte.
    pub const DELETED_MIDWAY: Self =
        Self::closes(Status::Gone, "the channel was deleted during the exchange");
    /// The consumer left after it had been sent a byte.
    pub const CONSUMER_LEFT: Self = Self::closes(
        Status::BadGateway,
        "the consumer left before it had the whole body; send it again if it may arrive twice",
    );
    /// The producer half-closed before its body was whole.
    pub const BODY_CUT: Self = Self::closes(
        Status::BadRequest,
        "the body ended before its declared end; send it whole",
    );
    /// A body where none belongs, too long to be read and dropped.
    pub const BODY_UNWANTED: Self = Self::closes(
        Status::ContentTooLarge,
        "this method takes no body, and at most 64 KiB of one are dropped; send none",
    );
    /// The server is about to end.
    pub const DRAINING: Self = Self::closes(
        Status::ServiceUnavailable,
        "the server is shutting down; try again in a moment",
    );
    /// Exchanges were given `--drain-timeout` to end and did not.
    pub const DRAINED: Self = Self::closes(
        Status::ServiceUnavailable,
        "the server shut down before the exchange was over; try again",
    );
    /// Many listings are being made or sent.
    pub const TOO_MANY_LISTINGS: Self = Self::keeps(
        Status::ServiceUnavailable,
        "too many listings at once; try again in a moment",
    );
    /// More connections than `--max-connections`.
    pub const TOO_MANY_CONNECTIONS: Self = Self::closes(
        Status::ServiceUnavailable,
        "too many connections; try again in a moment",
    );
    /// `DELETE` or a listing of what is not in use.
    pub const NOT_IN_USE: Self = Self::keeps(Status::NotFound, "nothing waits or moves there");
}

impl From<HeadError> for Refusal {
    /// What follows a refused head is never taken for a request, so the connection always closes.
    fn from(error: HeadError) -> Self {
        match error {
            HeadError::Bad(text) => Self::closes(Status::BadRequest, text),
            HeadError::TargetTooLong => Self::closes(
                Status::UriTooLong,
                "the request target is over 8 KiB; use shorter names",
            ),
            HeadError::TooLarge(text) => Self::closes(Status::HeaderFieldsTooLarge, text),
            HeadError::Method => Self::closes(
                Status::NotImplemented,
                "HTTP does not define this method; use GET, POST, PUT or DELETE",
            ),
            HeadError::Version => Self::closes(
                Status::VersionNotSupported,
                "only HTTP/1.1 and HTTP/1.0 are spoken here",
            ),
            HeadError::Expectation => Self::closes(
                Status::ExpectationFailed,
                "the only expectation met here is 100-continue",
            ),
        }
    }
}

impl From<RouteError> for Refusal {
    fn from(error: RouteError) -> Self {
        match error {
            RouteError::NotFound => Self::keeps(
                Status::NotFound,
                "no such path; use /channels/NAMESPACE/CHANNEL, and GET / for help",
            ),
            RouteError::Method(allow) => Self {
                allow: Some(allow),
                ..Self::keeps(
                    Status::MethodNotAllowed,
                    "this path does not take this method; see Allow",
                )
            },
            RouteError::BadName(text) => Self::keeps(Status::BadRequest, text),
        }
    }
}

impl From<ChunkedError> for Refusal {
    fn from(error: ChunkedError) -> Self {
        Self::closes(Status::BadRequest, error.as_str())
    }
}

impl From<Full> for Refusal {
    fn from(full: Full) -> Self {
        let text = match full {
            Full::Channels => "too many channels are in use; try again in a moment",
            Full::Waiting => "too many requests are waiting; try again in a moment",
            Full::WaitingOnChannel => {
                "too many requests wait on this channel; try again in a moment"
            }
        };
        Self::keeps(Status::ServiceUnavailable, text)
    }
}
