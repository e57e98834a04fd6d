//! What a request is answered with: decided here and there, said in one place
//! ([`crate::shard::session`]). Pure.

use bytes::Bytes;

use crate::{
    http::{
        reply::{Fields, Persistence, ReplyBody},
        status::Status,
    },
    model::{
        refusal::{Kind, Refusal},
        route::Allow,
    },
};

/// A reply of the server's own: everything but what a consumer receives from its producer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Its status.
    pub status: Status,
    /// Its fields.
    pub fields: Fields,
    /// Its body.
    pub body: ReplyBody,
    /// The body is left out: the reply to a `HEAD` ends with its head (RFC 9110 §9.3.2).
    pub head_only: bool,
    /// What the client asked for its connection.
    pub asked: Persistence,
    /// The connection closes, whatever the client asked for.
    pub closes: bool,
    /// What it means, for whoever counts replies or reads about them.
    pub meaning: Meaning,
}

/// What a reply means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// The request was answered without an exchange.
    Done,
    /// The request's body was delivered whole.
    Delivered,
    /// The request was refused.
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
    /// Tells a producer that its body was handed to the consumer's connection whole.
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

    /// A 200 with a body of `content_type`.
    #[must_use]
    pub fn document(asked: Persistence, content_type: &'static str, body: Bytes) -> Self {
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

    /// A 204; `allow` where the methods were asked for.
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

    /// An error response. A 503 says when to come back.
    #[must_use]
    pub fn refuse(asked: Persistence, refusal: &Refusal) -> Self {
        Self {
            status: refusal.status,
            fields: Fields {
                content_type: Some("text/plain; charset=utf-8"),
                allow: refusal.allow.map(Allow::as_str),
                retry_after: refusal.status == Status::ServiceUnavailable,
            },
            body: ReplyBody::Line(refusal.text),
            closes: refusal.closes,
            meaning: Meaning::Refused(refusal.kind),
            ..Self::delivered(asked)
        }
    }

    /// The same, and if `unread` the connection closes: a part of the request's body was not read, so
    /// no further request can be found behind it.
    #[must_use]
    pub const fn closing_if(mut self, unread: bool) -> Self {
        self.closes |= unread;
        self
    }
}
