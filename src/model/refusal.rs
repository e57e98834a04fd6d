//! Error responses: the status, the text, and whether the connection closes. Pure.
//!
//! Every error response is one [`Refusal`]; no other file chooses an error status.

use strum::{EnumCount, EnumIter, IntoStaticStr};

use crate::{
    http::{browser::Unasked, chunked::ChunkedError, head_error::HeadError, status::Status},
    model::{
        admission::Full,
        route::{Allow, RouteError},
    },
};

/// The kind of a [`Refusal`]. Its labels are part of the metrics and of the access log, so a released
/// label never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumCount, EnumIter, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Kind {
    BadHead,
    HeadCut,
    HeaderTimeout,
    TargetTooLong,
    HeadTooLarge,
    UnknownMethod,
    Version,
    LengthRequired,
    Expectation,
    Range,
    NoSuchPath,
    MethodNotAllowed,
    BadName,
    WebPage,
    OtherHost,
    BadBody,
    BodyCut,
    BodyUnwanted,
    BodyTimeout,
    RequestTimeout,
    IdleTimeout,
    Deleted,
    DeletedMidway,
    ConsumerLeft,
    CutUnseen,
    NotInUse,
    Draining,
    Drained,
    TooManyConnections,
    TooManyListings,
    TooManyChannels,
    TooManyWaiting,
    TooManyWaitingOnChannel,
    NoDescriptor,
}

impl Kind {
    #[must_use]
    pub fn label(self) -> &'static str {
        self.into()
    }
}

/// An error response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub status: Status,
    pub kind: Kind,
    /// One line that tells the client what is wrong and what to do, without a line end.
    pub text: &'static str,
    /// `Some` in a 405: the methods that the path takes.
    pub allow: Option<Allow>,
    /// The connection closes after the response, even if the client asked to keep it open.
    pub closes: bool,
}

impl Refusal {
    const fn keeps(status: Status, kind: Kind, text: &'static str) -> Self {
        Self {
            status,
            kind,
            text,
            allow: None,
            closes: false,
        }
    }

    const fn closes(status: Status, kind: Kind, text: &'static str) -> Self {
        Self {
            status,
            kind,
            text,
            allow: None,
            closes: true,
        }
    }

    /// No counterpart arrived within `--request-timeout`.
    pub const WAITED_TOO_LONG: Self = Self::keeps(
        Status::RequestTimeout,
        Kind::RequestTimeout,
        "no counterpart came to this channel in time; try again",
    );
    /// The same, and an exchange holds the channel: counterparts may be waiting behind it too.
    pub const CHANNEL_STAYED_BUSY: Self = Self::keeps(
        Status::RequestTimeout,
        Kind::RequestTimeout,
        "another exchange kept this channel busy; try again, or use another channel",
    );
    /// A body that will be dropped did not arrive within `--header-timeout`.
    pub const BODY_TOO_SLOW: Self = Self::closes(
        Status::RequestTimeout,
        Kind::BodyTimeout,
        "the body of the request did not arrive in time; this method takes none",
    );
    /// `GET` with a `Range` that does not begin at 0: what a channel has is never the rest of an earlier
    /// body. Not 416, which wget takes for "the file is complete".
    pub const RANGE: Self = Self::keeps(
        Status::PreconditionFailed,
        Kind::Range,
        "a channel has no rest of an earlier body; send the request without Range, and write to a new file",
    );
    /// The client half-closed inside a head.
    pub const HEAD_CUT: Self = Self::closes(
        Status::BadRequest,
        Kind::HeadCut,
        "the head of the request ended early; send it whole",
    );
    /// The head was not complete within `--header-timeout`.
    pub const HEAD_TOO_SLOW: Self = Self::closes(
        Status::RequestTimeout,
        Kind::HeaderTimeout,
        "the head of the request did not arrive in time; send it at once",
    );
    /// Nothing moved for `--idle-timeout`. Not 408, after which browsers send a request again by
    /// themselves (RFC 9110 §15.5.9).
    pub const STALLED: Self = Self::closes(
        Status::GatewayTimeout,
        Kind::IdleTimeout,
        "nothing moved in this exchange for too long; try again",
    );
    /// `DELETE` while the request waited, or between the match and the first byte.
    pub const DELETED: Self = Self::keeps(Status::Gone, Kind::Deleted, "the channel was deleted");
    /// `DELETE` after the first byte.
    pub const DELETED_MIDWAY: Self = Self::closes(
        Status::Gone,
        Kind::DeletedMidway,
        "the channel was deleted during the exchange",
    );
    /// The consumer left after the first byte.
    pub const CONSUMER_LEFT: Self = Self::closes(
        Status::BadGateway,
        Kind::ConsumerLeft,
        "the consumer left before it had the whole body; send it again if it may arrive twice",
    );
    /// The producer half-closed before the end of its body.
    pub const BODY_CUT: Self = Self::closes(
        Status::BadRequest,
        Kind::BodyCut,
        "the body ended before its declared end; send it whole",
    );
    /// The method takes no body, and this body is too long to read and drop.
    pub const BODY_UNWANTED: Self = Self::closes(
        Status::ContentTooLarge,
        Kind::BodyUnwanted,
        "this method takes no body, and at most 64 KiB of one are dropped; send none",
    );
    /// The server drains.
    pub const DRAINING: Self = Self::closes(
        Status::ServiceUnavailable,
        Kind::Draining,
        "the server is shutting down; try again in a moment",
    );
    /// The exchange did not end within `--drain-timeout`.
    pub const DRAINED: Self = Self::closes(
        Status::ServiceUnavailable,
        Kind::Drained,
        "the server shut down before the exchange was over; try again",
    );
    /// An HTTP/1.0 consumer on a Unix socket, and a body of unknown length. The body would end with the
    /// connection, and a Unix socket cannot be reset to show the cut.
    pub const CUT_UNSEEN: Self = Self::keeps(
        Status::VersionNotSupported,
        Kind::CutUnseen,
        "a body without a declared length cannot be sent safely over HTTP/1.0 on a Unix socket; use HTTP/1.1",
    );
    /// The Host is none of `--allow-host`.
    pub const OTHER_HOST: Self = Self::keeps(
        Status::MisdirectedRequest,
        Kind::OtherHost,
        "this server is not known by the name in Host; use one that --allow-host names",
    );
    pub const NOT_FOR_OPERATORS: Self = Self::keeps(
        Status::NotFound,
        Kind::NoSuchPath,
        "no such path on the admin listener; it has /metrics, /healthz, /readyz, /state, /channels/namespaces and /channels/NAMESPACE",
    );
    pub const TOO_MANY_LISTINGS: Self = Self::keeps(
        Status::ServiceUnavailable,
        Kind::TooManyListings,
        "too many listings at once; try again in a moment",
    );
    /// `--max-connections` connections are open.
    pub const TOO_MANY_CONNECTIONS: Self = Self::closes(
        Status::ServiceUnavailable,
        Kind::TooManyConnections,
        "too many connections; try again in a moment",
    );
    /// The connection cannot be handed over to the shard that owns the channel.
    pub const NO_DESCRIPTOR: Self = Self::keeps(
        Status::ServiceUnavailable,
        Kind::NoDescriptor,
        "the server has no descriptor free to get to this channel; try again in a moment",
    );
    /// `DELETE` or a listing of a channel or namespace that is not in use.
    pub const NOT_IN_USE: Self = Self::keeps(
        Status::NotFound,
        Kind::NotInUse,
        "nothing waits or moves there",
    );
}

impl Refusal {
    /// The producer's chunked coding is invalid.
    #[must_use]
    pub const fn bad_body(error: ChunkedError) -> Self {
        Self::closes(Status::BadRequest, Kind::BadBody, error.as_str())
    }
}

impl From<HeadError> for Refusal {
    /// The connection always closes: it is unknown where the next request begins.
    fn from(error: HeadError) -> Self {
        match error {
            HeadError::Bad(text) => Self::closes(Status::BadRequest, Kind::BadHead, text),
            HeadError::TargetTooLong => Self::closes(
                Status::UriTooLong,
                Kind::TargetTooLong,
                "the request target is over 8 KiB; use shorter names",
            ),
            HeadError::TooLarge(text) => {
                Self::closes(Status::HeaderFieldsTooLarge, Kind::HeadTooLarge, text)
            }
            HeadError::Method => Self::closes(
                Status::NotImplemented,
                Kind::UnknownMethod,
                "HTTP does not define this method; use GET, POST, PUT or DELETE",
            ),
            HeadError::Version => Self::closes(
                Status::VersionNotSupported,
                Kind::Version,
                "only HTTP/1.1 and HTTP/1.0 are spoken here",
            ),
            HeadError::LengthRequired => Self::closes(
                Status::LengthRequired,
                Kind::LengthRequired,
                "an HTTP/1.0 request with a body needs a Content-Length; send one, or use HTTP/1.1",
            ),
            HeadError::Expectation => Self::closes(
                Status::ExpectationFailed,
                Kind::Expectation,
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
                Kind::NoSuchPath,
                "no such path; use /channels/NAMESPACE/CHANNEL, and GET / for help",
            ),
            RouteError::Method(allow) => Self {
                allow: Some(allow),
                ..Self::keeps(
                    Status::MethodNotAllowed,
                    Kind::MethodNotAllowed,
                    "this path does not take this method; see Allow",
                )
            },
            RouteError::BadName(text) => Self::keeps(Status::BadRequest, Kind::BadName, text),
        }
    }
}

impl From<Unasked> for Refusal {
    fn from(unasked: Unasked) -> Self {
        let text = match unasked {
            Unasked::ForeignPage => {
                "a page of another origin may not use this server; open the address yourself"
            }
            Unasked::ServiceWorker => {
                "a script from here cannot be a service worker; put it on a server of your own"
            }
            Unasked::Prefetch => {
                "a prefetch would use up what nobody has asked for; open the address itself"
            }
        };
        Self::keeps(Status::Forbidden, Kind::WebPage, text)
    }
}

impl From<ChunkedError> for Refusal {
    fn from(error: ChunkedError) -> Self {
        Self::bad_body(error)
    }
}

impl From<Full> for Refusal {
    fn from(full: Full) -> Self {
        let (kind, text) = match full {
            Full::Channels => (
                Kind::TooManyChannels,
                "too many channels are in use; try again in a moment",
            ),
            Full::Waiting => (
                Kind::TooManyWaiting,
                "too many requests are waiting; try again in a moment",
            ),
            Full::WaitingOnChannel => (
                Kind::TooManyWaitingOnChannel,
                "too many requests wait on this channel; try again in a moment",
            ),
        };
        Self::keeps(Status::ServiceUnavailable, kind, text)
    }
}

#[cfg(test)]
mod tests {
    use strum::IntoEnumIterator;

    use super::*;

    #[test]
    fn every_kind_has_a_label_of_its_own_in_lower_case() {
        let labels = Vec::from_iter(Kind::iter().map(Kind::label));
        for label in &labels {
            assert_eq!(labels.iter().filter(|other| *other == label).count(), 1);
            assert!(
                label
                    .bytes()
                    .all(|byte| byte == b'_' || byte.is_ascii_lowercase())
            );
        }
    }
}
