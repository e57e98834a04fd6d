//! What a handler works on: a request and its connection.

use bytes::Bytes;

use crate::{
    conn::step::Step,
    http::{
        head::{BodyLength, RequestHead},
        method::Method,
        reply::{MediaType, Persistence},
    },
    model::{
        refusal::Refusal, registry::ChannelId, reply::Reply, request::Request, route::ChannelName,
    },
    shard::session::Session,
};

/// The connection that a request came on, its head, and all bytes that were read with it.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    /// The connection.
    pub session: &'a Session,
    /// The head; its spans point into `bytes`.
    pub head: &'a RequestHead,
    /// The head's bytes and what was read along with them.
    pub bytes: &'a [u8],
    /// The same bytes, if they are reference-counted: keeping a part then costs no copy.
    pub held: Option<&'a Bytes>,
}

impl<'a> Target<'a> {
    /// A request that was kept.
    #[must_use]
    pub fn of_request(session: &'a Session, request: &'a Request) -> Self {
        Self {
            session,
            head: &request.head,
            bytes: &request.bytes,
            held: Some(&request.bytes),
        }
    }

    /// What the client asked for its connection.
    #[must_use]
    pub fn persistence(&self) -> Persistence {
        Persistence::of(self.head)
    }

    /// The bytes behind the head.
    fn behind_head(&self) -> &[u8] {
        &self.bytes[usize::from(self.head.head_bytes)..]
    }

    /// Finds or makes the channel, which this shard owns.
    ///
    /// # Errors
    /// The limit of channels is reached: the error response.
    pub fn open_channel(&self, hash: u64, name: &ChannelName<'_>) -> Result<ChannelId, Step> {
        let mut registry = self.session.shard.registry.borrow_mut();
        let opened = registry.open(hash, &name.namespace, &name.channel);
        opened.map_err(|full| self.refuse(&Refusal::from(full)))
    }

    /// The request as one that can outlive this turn.
    #[must_use]
    pub fn to_request(self) -> Request {
        Request {
            head: *self.head,
            bytes: self
                .held
                .map_or_else(|| Bytes::copy_from_slice(self.bytes), Bytes::clone),
        }
    }

    /// How many bytes head and body have together, if all of them are in hand.
    #[must_use]
    pub fn whole_bytes(&self) -> Option<usize> {
        let BodyLength::Exact(body) = self.head.body else {
            return None;
        };
        let body = usize::try_from(body)
            .ok()
            .filter(|&body| body <= self.behind_head().len())?;
        Some(usize::from(self.head.head_bytes) + body)
    }

    /// Keeps what was read behind a request whose body, if it had one, is in hand.
    pub fn keep_rest(&self) {
        if let Some(used) = self.whole_bytes()
            && used < self.bytes.len()
        {
            self.session.conn.inbound.keep_unread(match self.held {
                Some(held) => held.slice(used..),
                None => Bytes::copy_from_slice(&self.bytes[used..]),
            });
        }
    }

    /// An error response.
    #[must_use]
    pub fn refuse(&self, refusal: &Refusal) -> Step {
        self.keep_rest();
        // After a CONNECT comes what the client wants to send through the tunnel.
        let unread = self.whole_bytes().is_none() || self.head.method == Method::Connect;
        Step::Reply(
            Reply::refuse(self.persistence(), refusal)
                .closing_if(unread)
                .to(self.head.method),
        )
    }

    /// A 200 with a short body of text.
    #[must_use]
    pub fn text(&self, text: impl Into<Bytes>) -> Step {
        let document = Reply::document(self.persistence(), MediaType::Text, text.into());
        Step::Reply(document.to(self.head.method))
    }
}
