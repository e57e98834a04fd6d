//! A consumer's side of an exchange: where the body goes.

use std::cell::OnceCell;

use bytes::Bytes;

use crate::{
    conn::{
        outbox::{Outbox, PeerGone},
        step::Next,
    },
    http::{
        encode::{Encoder, Framing},
        head::RequestHead,
        reply::{self, Announced},
        status::Status,
    },
    io::socket::Sent,
    limits,
    model::{
        reply::Meaning,
        request::ConsumerRequest,
        verdict::{Cause, Fate, Stage, rule},
    },
    shard::session::Session,
};

/// Where the body goes.
pub struct Sink {
    /// The consumer.
    pub session: Session,
    /// What it asked for.
    pub want: ConsumerRequest,
    pub out: Outbox,
    /// What its reply says about its connection; decided when the reply starts.
    announced: Announced,
    /// How far it has come: [`Stage::Matched`] or [`Stage::Moving`].
    stage: Stage,
    /// How many unsent bytes the kernel queues for it.
    unsent_max: usize,
    /// Whether its TCP paces, once that was asked for.
    paced: OnceCell<bool>,
}

/// How far the start of a reply got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Started {
    /// All of it was sent.
    All,
    /// A part was sent; the rest is in the outbox.
    Part,
    /// Nothing could be sent yet.
    Nothing,
}

/// The start of a consumer's reply: the producer's head, and the payload in hand.
pub struct Start<'a> {
    /// The producer's head.
    pub head: &'a RequestHead,
    /// The bytes that its spans point into.
    pub head_bytes: &'a [u8],
    /// The payload in hand.
    pub payload: &'a [u8],
    /// The body ends with it.
    pub last: bool,
    /// Payload to splice follows at once. The kernel may hold the start back for it, so that one
    /// segment and one wakeup are enough.
    pub more: bool,
}

impl Sink {
    /// The consumer of a body whose producer sent `head`.
    #[must_use]
    pub fn new(session: &Session, want: ConsumerRequest, head: &RequestHead) -> Self {
        Self {
            session: session.clone(),
            want,
            out: Outbox::new(Encoder::new(head.body, want.version)),
            announced: Announced::Close,
            stage: Stage::Matched,
            unsent_max: limits::UNSENT_BYTES_MAX,
            paced: OnceCell::new(),
        }
    }

    /// Whether its TCP sends at a pace of its own.
    #[must_use]
    pub fn is_paced(&self) -> bool {
        *self
            .paced
            .get_or_init(|| self.session.conn.transport.is_paced())
    }

    /// How many bytes the kernel takes at once, or a few more.
    #[must_use]
    pub fn room(&self) -> usize {
        self.session.conn.transport.room(self.unsent_max)
    }

    /// It has taken much: from now on the kernel queues more for it, which takes fewer wakeups.
    pub fn deepen(&mut self) {
        self.limit_unsent(limits::UNSENT_BYTES_MAX_BULK);
    }

    fn limit_unsent(&mut self, bytes_max: usize) {
        if self.unsent_max != bytes_max {
            self.unsent_max = bytes_max;
            self.session.conn.transport.limit_unsent(bytes_max);
        }
    }

    /// How the body is framed.
    #[must_use]
    pub const fn framing(&self) -> Framing {
        self.out.encoder.framing()
    }

    /// Whether the consumer could tell a cut body from a whole one. A cut body must never look whole, so
    /// a body whose cut would not show is not sent.
    #[must_use]
    pub fn shows_cut(&self) -> bool {
        self.framing() != Framing::Close || self.session.conn.transport.can_reset()
    }

    /// Sends the head of the consumer's reply with the payload in hand.
    ///
    /// # Errors
    /// The consumer's connection is broken.
    pub fn send_start(&mut self, start: &Start<'_>) -> Result<Started, PeerGone> {
        let ends_connection = self.framing() == Framing::Close;
        let Session { shard, conn } = &self.session;
        self.announced = self
            .session
            .announce(self.want.persistence, ends_connection);
        let untouched = self.out.encoder;
        let mut out = shard.out.borrow_mut();
        out.clear();
        shard.clock.with_date(|date| {
            let (encoder, announced) = (&self.out.encoder, self.announced);
            reply::consumer_head(
                &mut out,
                date,
                encoder,
                announced,
                start.head,
                start.head_bytes,
            );
        });
        self.out.encoder.write(&mut out, start.payload, start.last);
        self.guard()?;
        match conn.transport.send(&out, start.more) {
            Sent::PeerGone => Err(PeerGone),
            Sent::Bytes(0) => {
                self.out.encoder = untouched;
                self.unguard();
                Ok(Started::Nothing)
            }
            Sent::Bytes(sent) => {
                self.stage = Stage::Moving;
                self.out.set_corked(start.more);
                conn.outbound.note_sent();
                shard.counters.replied(Status::Ok);
                self.session
                    .note_answer(Status::Ok, Meaning::Delivered.label());
                if sent == out.len() {
                    return Ok(Started::All);
                }
                self.out.keep_unsent(Bytes::copy_from_slice(&out[sent..]));
                Ok(Started::Part)
            }
        }
    }

    /// For a body that ends with the connection: until it is whole, closing the connection resets it, so
    /// that the cut shows, even if this process dies. Call it before the first byte.
    fn guard(&self) -> Result<(), PeerGone> {
        if self.framing() == Framing::Close {
            let guarded = self.session.conn.transport.reset_on_close(true);
            return guarded.map_err(|_| PeerGone);
        }
        Ok(())
    }

    /// Undoes [`Self::guard`]: the body is whole, or was not begun.
    fn unguard(&self) {
        if self.framing() == Framing::Close {
            // If the kernel refuses, the connection is broken anyway.
            let _ = self.session.conn.transport.reset_on_close(false);
        }
    }

    /// The kernel took the whole body. Returns what the connection does next.
    ///
    /// # Panics
    /// The body is not whole: a fault of the caller.
    #[must_use]
    pub fn finish(&mut self) -> Next {
        self.out.encoder.end().expect("the decoder came to its end");
        self.unguard();
        self.limit_unsent(limits::UNSENT_BYTES_MAX);
        self.session.finish(self.announced)
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let conn = &self.session.conn;
        // Still driven: the task that drives the exchange panicked before it decided on the consumer.
        if conn.outbound.is_driven() {
            conn.outbound.end_driven();
            conn.line.panicked();
            if let Fate::Cut(close) = rule(Cause::Panicked, self.stage, self.framing()).consumer {
                conn.hand(Next::Close(close));
            }
        }
    }
}
