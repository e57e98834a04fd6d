//! The server's own replies. Handlers return them; one file sends them ([`crate::shard::session`]).
//! Pure.

use bytes::Bytes;

use crate::{
    http::{
        method::Method,
        reply::{Fields, MediaType, Persistence, ReplyBody},
        status::Status,
    },
    limits,
    model::{
        refusal::{Kind, Refusal},
        route::Allow,
    },
};

/// A reply of the server itself: any but the one that carries a producer's body to its consumer.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: Status,
    pub fields: Fields,
    pub body: ReplyBody,
    /// The body is not sent, but its length is declared ([`Reply::to`]).
    pub head_only: bool,
    /// Whether the client asked to keep the connection.
    pub asked: Persistence,
    /// The connection closes, whatever `asked` says.
    pub closes: bool,
    /// For metrics and the access log.
    pub meaning: Meaning,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// Answered without an exchange.
    Done,
    /// The producer's whole body was delivered.
    Delivered,
    Refused(Kind),
}

impl Meaning {
    /// Its label in the access log.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Delivered => "delivered",
            Self::Refused(kind) => kind.label(),
        }
    }
}

impl Reply {
    /// The 200 to a producer whose whole body was handed to the consumer's connection.
    #[must_use]
    pub const fn delivered(asked: Persistence) -> Self {
        Self {
            status: Status::Ok,
            fields: Fields {
                content_type: None,
                allow: None,
                retry_after: false,
            },
            body: ReplyBody::Empty,
            head_only: false,
            asked,
            closes: false,
            meaning: Meaning::Delivered,
        }
    }

    #[must_use]
    pub fn document(asked: Persistence, content_type: MediaType, body: Bytes) -> Self {
        Self {
            fields: Fields {
                content_type: Some(content_type),
                ..Fields::default()
            },
            body: ReplyBody::Bytes(body),
            meaning: Meaning::Done,
            ..Self::delivered(asked)
        }
    }

    /// A 204; with `allow` in reply to `OPTIONS`.
    #[must_use]
    pub fn no_content(asked: Persistence, allow: Option<Allow>) -> Self {
        Self {
            status: Status::NoContent,
            fields: Fields {
                allow: allow.map(Allow::as_str),
                ..Fields::default()
            },
            body: ReplyBody::None,
            meaning: Meaning::Done,
            ..Self::delivered(asked)
        }
    }

    /// An error response. A 503 has `Retry-After`.
    #[must_use]
    pub fn refuse(asked: Persistence, refusal: &Refusal) -> Self {
        Self {
            status: refusal.status,
            fields: Fields {
                content_type: Some(MediaType::Text),
                allow: refusal.allow.map(Allow::as_str),
                retry_after: refusal.status == Status::ServiceUnavailable,
            },
            body: ReplyBody::Line(refusal.text),
            closes: refusal.closes,
            meaning: Meaning::Refused(refusal.kind),
            ..Self::delivered(asked)
        }
    }

    /// The reply to a request with this method: to a `HEAD`, without its body (RFC 9110 §9.3.2).
    #[must_use]
    pub fn to(mut self, method: Method) -> Self {
        self.head_only = method == Method::Head;
        self
    }

    /// Whether its body is too long to be written behind its head, and is sent from where it lies.
    #[must_use]
    pub fn has_long_body(&self) -> bool {
        matches!(&self.body, ReplyBody::Bytes(body)
            if !self.head_only && body.len() > limits::COPY_BYTES)
    }

    /// Closes the connection if `unread`: the rest of the request's body is unread, so the next head
    /// cannot be found.
    #[must_use]
    pub const fn closing_if(mut self, unread: bool) -> Self {
        self.closes |= unread;
        self
    }
}
