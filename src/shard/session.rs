//! A connection of a shard, and the replies to it.
//!
//! [`Session::send`] is the one place that sends a reply of the server's own, counts it, writes it to
//! the access log, and decides how the connection goes on. Handlers return a [`Reply`] and send
//! nothing themselves. A reply for another connection is sent at once by the task that decided it
//! ([`Session::answer`]); that connection's task is woken only if there is something left for it to do.

use std::{pin::pin, rc::Rc, time::Duration};

use bytes::Bytes;

use crate::{
    conn::{
        Conn, Waiting,
        deadline::Due,
        step::{Next, Step},
    },
    http::{
        reply::{self, Announced, Persistence, ReplyBody},
        status::Status,
    },
    io::{clock::Moment, socket::Sent},
    limits,
    model::{
        reply::{Meaning, Reply},
        verdict::Close,
    },
    shard::Shard,
};

/// The pair that nearly everything works on.
#[derive(Clone)]
pub struct Session {
    /// The shard.
    pub shard: Rc<Shard>,
    /// One of its connections.
    pub conn: Rc<Conn>,
}

impl Session {
    /// `conn`, a connection of `shard`.
    #[must_use]
    pub fn new(shard: &Rc<Shard>, conn: Rc<Conn>) -> Self {
        let shard = Rc::clone(shard);
        Self { shard, conn }
    }

    /// Carries out a handler's decision: sends its reply, and returns what the connection's task does next.
    #[inline]
    pub fn settle(&self, step: Step) -> Next {
        match step {
            Step::Reply(reply) => self.send(reply),
            Step::Next(next) => next,
        }
    }

    /// Answers the connection's request from another task than its own.
    pub fn answer(&self, reply: Reply) {
        self.conn.hand(self.send(reply));
    }

    /// Sends `reply`, counts and logs it, and returns what the connection does next. What the kernel
    /// does not take at once, and a long body, is sent by the connection's own task.
    #[must_use]
    pub fn send(&self, reply: Reply) -> Next {
        let announced = self.announce(reply.asked, reply.closes);
        self.note(&reply);
        self.conn.outbound.note_sent();
        let mut out = self.shard.out.borrow_mut();
        self.write(&mut out, &reply, announced);
        let sent = match self.conn.transport.send(&out, false) {
            Sent::Bytes(sent) => sent,
            Sent::PeerGone => return self.client_left(),
        };
        if sent == out.len() && !reply.has_long_body() {
            return self.finish(announced);
        }
        let parts = unsent(&out, sent, reply);
        Next::Work(Box::pin(send_rest(self.clone(), parts, announced)))
    }

    /// What a reply says about the connection, given what the client asked for.
    #[must_use]
    pub fn announce(&self, asked: Persistence, closes: bool) -> Announced {
        match asked {
            _ if closes || self.shard.draining.get() => Announced::Close,
            Persistence::Implied => Announced::Implied,
            Persistence::Close => Announced::Close,
            Persistence::KeepAlive => Announced::KeepAlive {
                seconds: self.shard.config().timeouts.keep_alive_seconds(),
            },
        }
    }

    /// Writes `reply` into the shard's buffer, without its body if that is too long for the buffer.
    fn write(&self, out: &mut Vec<u8>, reply: &Reply, announced: Announced) {
        out.clear();
        out.shrink_to(limits::COPY_BYTES);
        self.shard.clock.with_date(|date| {
            let (status, fields) = (reply.status, &reply.fields);
            reply::own_head(out, date, status, fields, reply.body.len(), announced);
        });
        if !reply.head_only && !reply.has_long_body() {
            reply::own_body(out, &reply.body);
        }
    }

    /// Counts `reply` and notes it for the access log.
    fn note(&self, reply: &Reply) {
        self.shard.counters.replied(reply.status);
        match reply.meaning {
            Meaning::Refused(kind) => self.shard.counters.refused(kind),
            Meaning::Done if reply.head_only => {}
            Meaning::Done => self.conn.line.moved(reply.body.len().unwrap_or(0) as u64),
            Meaning::Delivered => {}
        }
        self.note_answer(reply.status, reply.meaning.label());
    }

    /// Notes for the access log that the request in hand is answered.
    #[inline]
    pub fn note_answer(&self, status: Status, outcome: &'static str) {
        if self.shard.shared.access.is_some() {
            self.note_answer_in_line(status, outcome);
        }
    }

    #[cold]
    fn note_answer_in_line(&self, status: Status, outcome: &'static str) {
        let Self { shard, conn } = self;
        if conn.line.answered(status, outcome) {
            return;
        }
        // A head that could not be parsed is answered too.
        conn.arrived.set(shard.clock.read());
        conn.line.begin(None, || conn.transport.peer_name());
        conn.line.answered(status, outcome);
    }

    /// The request in hand is not answered: its time is over, or the server's is.
    #[must_use]
    pub fn cut(&self) -> Step {
        Step::Next(self.client_left())
    }

    /// The client left before the reply was sent, or was sent it for too long.
    fn client_left(&self) -> Next {
        self.conn.line.left();
        Next::Close(Close::Now)
    }

    /// The request in hand is answered, and the client was told `announced`: the connection goes on
    /// to its next request, or closes. A close lingers: the client may be sending already.
    #[must_use]
    pub fn finish(&self, announced: Announced) -> Next {
        self.finish_line();
        match announced {
            Announced::Implied | Announced::KeepAlive { .. } => self.next_request(),
            Announced::Close => Next::Close(Close::Linger),
        }
    }

    /// Writes the access log's line of the request in hand, if there is one.
    #[inline]
    pub fn finish_line(&self) {
        let Self { shard, conn } = self;
        if shard.shared.access.is_some() {
            conn.line.finish(conn.arrived.get(), || shard.clock.read());
        }
    }

    fn next_request(&self) -> Next {
        let Self { shard, conn } = self;
        if conn.outbound.is_half_closed() {
            return Next::Close(Close::Linger);
        }
        conn.begin_reading();
        self.limit(Due::KeepAlive, shard.config().timeouts.keep_alive);
        if conn.inbound.has_unread() {
            Next::Parse
        } else {
            Next::Wait
        }
    }

    /// Puts the connection under a time limit that begins now.
    pub fn limit(&self, due: Due, limit: Duration) {
        self.limit_until(due, self.shard.clock.deadline(limit));
    }

    /// Puts the connection under a time limit that ends at `until`.
    pub fn limit_until(&self, due: Due, until: Moment) {
        let Self { shard, conn } = self;
        shard.deadlines.set(conn.id, &conn.deadline, due, until);
    }

    /// The request in hand waits in a queue from now on.
    pub fn begin_waiting(&self, waiting: Waiting) {
        let conn = &self.conn;
        self.limit_until(Due::Wait, conn.wait_until.get());
        conn.begin_waiting(waiting);
    }

    /// The connection's readability shows nothing any more. If its task does nothing but watch its peer,
    /// the shard's peer watch takes over.
    pub fn watch_peer(&self) {
        let Self { shard, conn } = self;
        conn.ignore_readability();
        if conn.needs_peer_watch() {
            let half_close = !conn.outbound.is_half_closed();
            shard.peer_watch.watch(&conn.transport, conn.id, half_close);
        }
    }

    /// Puts the connection under the time limit of a reply that takes more than a turn: one limit in
    /// all, so that a client that reads a little now and then holds no listing for ever.
    pub fn limit_reply(&self) {
        self.limit(Due::Reply, self.shard.config().timeouts.keep_alive);
    }

    /// Sends all of `bytes`, a part a turn, until the connection's time limit.
    ///
    /// # Errors
    /// The client left, or the time is over: how the connection ends.
    async fn send_all(&self, bytes: &[u8]) -> Result<(), Next> {
        let Self { shard, conn } = self;
        let mut sent = 0;
        while sent < bytes.len() {
            let writable = pin!(shard.write_watch.writable(&conn.transport));
            let poked = conn.signal.poked_or(writable).await.is_none();
            if poked && conn.signal.take_stop().is_some() {
                return Err(self.client_left());
            }
            let part = &bytes[sent..bytes.len().min(sent + limits::COPY_BYTES)];
            match conn.transport.send(part, false) {
                Sent::Bytes(more) => sent += more,
                Sent::PeerGone => return Err(self.client_left()),
            }
        }
        Ok(())
    }
}

/// What is left of `reply` behind the first `sent` bytes of `out`, where its head was written and its
/// body if that is not long. A document is shared and not copied: many clients may leave it unread.
#[cold]
fn unsent(out: &[u8], sent: usize, reply: Reply) -> [Bytes; 2] {
    let long = reply.has_long_body();
    match reply.body {
        ReplyBody::Bytes(body) if !reply.head_only => {
            let head_bytes = out.len() - if long { 0 } else { body.len() };
            let head = &out[sent.min(head_bytes)..head_bytes];
            let body = body.slice(sent.saturating_sub(head_bytes)..);
            [Bytes::copy_from_slice(head), body]
        }
        _ => [Bytes::copy_from_slice(&out[sent..]), Bytes::new()],
    }
}

async fn send_rest(session: Session, parts: [Bytes; 2], announced: Announced) -> Step {
    // A listing's limit has begun already.
    if session.conn.deadline.due() != Due::Reply {
        session.limit_reply();
    }
    for part in parts {
        if let Err(next) = session.send_all(&part).await {
            return Step::Next(next);
        }
    }
    Step::Next(session.finish(announced))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{http::reply::MediaType, model::refusal::Refusal};

    fn document(bytes: usize) -> (Reply, Bytes) {
        let body = Bytes::from(vec![b'.'; bytes]);
        let reply = Reply::document(Persistence::Implied, MediaType::Json, body.clone());
        (reply, body)
    }

    #[test]
    fn what_is_unsent_of_a_document_is_shared_wherever_the_send_stopped() {
        for (bytes, written) in [(100, 100), (limits::COPY_BYTES + 1, 0)] {
            let (reply, body) = document(bytes);
            let out = [&b"head"[..], &body[..written]].concat();
            for sent in [0, 1, 4, out.len()] {
                let [head, rest] = unsent(&out, sent, reply.clone());
                assert_eq!(head, out[sent.min(4)..4]);
                assert_eq!(rest, body[sent.saturating_sub(4)..]);
                assert!(rest.is_empty() || body.as_ptr_range().contains(&rest.as_ptr()));
            }
        }
    }

    #[test]
    fn what_is_unsent_of_any_other_reply_is_what_was_written() {
        let refused = Reply::refuse(Persistence::Implied, &Refusal::NOT_IN_USE);
        let (document, _) = document(100);
        let head_only = Reply {
            head_only: true,
            ..document
        };
        for reply in [refused, head_only] {
            assert_eq!(unsent(b"written", 2, reply), [&b"itten"[..], b""]);
        }
    }
}
