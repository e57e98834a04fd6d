//! Replies on their way out: written into the shard's buffer, sent, and what becomes of the
//! connection afterwards.
//!
//! Every function here answers the request that a connection has in hand and returns the step that
//! its task takes next. It may be called by another task of the shard, which then hands the step
//! over ([`Conn::hand`]).

use std::{pin::pin, rc::Rc};

use crate::{
    conn::{Close, Conn, Step},
    http::reply::{self, Persistence},
    io::socket::Sent,
    limits,
    model::refusal::{Refusal, Status},
    observe::access,
    shard::Shard,
};

/// What becomes of a connection once its reply is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// It may send its next request.
    Keep,
    /// It ends so.
    Close(Close),
}

impl After {
    /// What `persistence` has told the client. A close lingers: the client may be sending already.
    #[must_use]
    pub const fn of(persistence: Persistence) -> Self {
        match persistence {
            Persistence::Implied | Persistence::KeepAlive => Self::Keep,
            Persistence::Close => Self::Close(Close::Linger),
        }
    }
}

/// `asked`, unless the server is about to end: then the connection closes.
#[must_use]
pub fn persistence(shard: &Shard, asked: Persistence) -> Persistence {
    if shard.draining.get() {
        Persistence::Close
    } else {
        asked
    }
}

/// Tells a producer that its body was handed over whole.
pub fn delivered(shard: &Rc<Shard>, conn: &Rc<Conn>, asked: Persistence) -> Step {
    let persistence = persistence(shard, asked);
    let write = |out: &mut Vec<u8>, date: &str| reply::delivered(out, date, persistence);
    let after = After::of(persistence);
    send(shard, conn, Status::Ok, access::DELIVERED, after, write)
}

/// Sends a whole reply with a body.
pub fn document(
    shard: &Rc<Shard>,
    conn: &Rc<Conn>,
    asked: Persistence,
    status: Status,
    content_type: &str,
    body: &[u8],
) -> Step {
    let persistence = persistence(shard, asked);
    let write = |out: &mut Vec<u8>, date: &str| {
        reply::document(out, date, persistence, status, content_type, body);
    };
    conn.line.moved(body.len() as u64);
    let after = After::of(persistence);
    send(shard, conn, status, access::DONE, after, write)
}

/// As [`document`], for a body of any length: it is not copied, and other work has its turn while it
/// is sent.
pub fn long_document(
    shard: &Rc<Shard>,
    conn: &Rc<Conn>,
    asked: Persistence,
    status: Status,
    content_type: &str,
    body: Vec<u8>,
) -> Step {
    let persistence = persistence(shard, asked);
    let mut head = Vec::new();
    shard.clock.with_date(|date| {
        let bytes = body.len();
        reply::document_head(&mut head, date, persistence, status, content_type, bytes);
    });
    shard.counters.replied(status);
    conn.line.moved(body.len() as u64);
    note(shard, conn, status, access::DONE);
    let (shard, conn) = (Rc::clone(shard), Rc::clone(conn));
    Step::Work(Box::pin(async move {
        for part in [head, body] {
            if let Err(close) = send_all(&shard, &conn, &part).await {
                return Step::Close(close);
            }
        }
        finish(&shard, &conn, After::of(persistence))
    }))
}

/// Says that there is nothing to say (204); `allow` where the methods were asked for.
pub fn no_content(
    shard: &Rc<Shard>,
    conn: &Rc<Conn>,
    asked: Persistence,
    allow: Option<&str>,
) -> Step {
    let persistence = persistence(shard, asked);
    let write = |out: &mut Vec<u8>, date: &str| reply::no_content(out, date, persistence, allow);
    let after = After::of(persistence);
    send(shard, conn, Status::NoContent, access::DONE, after, write)
}

/// Says no. `body_unread`: the request's body, or a part of it, was not read, so the connection
/// cannot go on to another request.
pub fn refuse(
    shard: &Rc<Shard>,
    conn: &Rc<Conn>,
    asked: Persistence,
    body_unread: bool,
    refusal: &Refusal,
) -> Step {
    let persistence = if body_unread || refusal.closes {
        Persistence::Close
    } else {
        persistence(shard, asked)
    };
    let write = |out: &mut Vec<u8>, date: &str| reply::refusal(out, date, persistence, refusal);
    shard.counters.refused(refusal.kind);
    let (after, outcome) = (After::of(persistence), refusal.kind.label());
    send(shard, conn, refusal.status, outcome, after, write)
}

/// Writes a reply and sends it, with `outcome` for the access log; what the kernel does not take at
/// once is sent by the connection's own task.
fn send(
    shard: &Rc<Shard>,
    conn: &Rc<Conn>,
    status: Status,
    outcome: &'static str,
    after: After,
    write: impl FnOnce(&mut Vec<u8>, &str),
) -> Step {
    let mut out = shard.out.borrow_mut();
    out.clear();
    out.shrink_to(limits::COPY_BYTES);
    shard.clock.with_date(|date| write(&mut out, date));
    shard.counters.replied(status);
    note(shard, conn, status, outcome);
    match conn.socket.send(&out, false) {
        Sent::Bytes(sent) if sent == out.len() => finish(shard, conn, after),
        Sent::Bytes(sent) => Step::Work(Box::pin(send_rest(
            Rc::clone(shard),
            Rc::clone(conn),
            out[sent..].to_vec(),
            after,
        ))),
        Sent::PeerGone => unheard(conn),
    }
}

/// Notes for the access log that the request in hand was answered.
pub fn note(shard: &Shard, conn: &Conn, status: Status, outcome: &'static str) {
    if shard.shared.access.is_none() || conn.line.answered(status, outcome) {
        return;
    }
    // A head that could not be parsed is answered too.
    conn.arrived.set(shard.clock.read());
    conn.line.begin(None, || conn.socket.peer_name());
    conn.line.answered(status, outcome);
}

/// The client has gone and does not hear its reply.
fn unheard(conn: &Conn) -> Step {
    conn.line.left();
    Step::Close(Close::Now)
}

/// The request in hand is answered: the connection goes on to its next one, or ends.
pub fn finish(shard: &Shard, conn: &Conn, after: After) -> Step {
    conn.line.finish(conn.arrived.get(), || shard.clock.read());
    match after {
        After::Keep => next_request(shard, conn),
        After::Close(close) => Step::Close(close),
    }
}

fn next_request(shard: &Shard, conn: &Conn) -> Step {
    if conn.half_closed.get() {
        return Step::Close(Close::Linger);
    }
    conn.begin_reading(shard.clock.deadline(shard.config().timeouts.keep_alive));
    if conn.has_unread() {
        Step::Parse
    } else {
        Step::Wait
    }
}

async fn send_rest(shard: Rc<Shard>, conn: Rc<Conn>, rest: Vec<u8>, after: After) -> Step {
    match send_all(&shard, &conn, &rest).await {
        Ok(()) => finish(&shard, &conn, after),
        Err(close) => Step::Close(close),
    }
}

/// Sends all of `bytes`, a part a turn, to a client that takes some of them within each
/// `--keep-alive-timeout`. An error is how the connection ends instead.
async fn send_all(shard: &Shard, conn: &Conn, bytes: &[u8]) -> Result<(), Close> {
    let mut sent = 0;
    let patience = || shard.clock.deadline(shard.config().timeouts.keep_alive);
    conn.deadline.set(patience());
    while sent < bytes.len() {
        let writable = pin!(conn.socket.writable());
        if conn.poked_or(writable).await.is_none() && conn.take_stop().is_some() {
            conn.line.left();
            return Err(Close::Now);
        }
        let part = &bytes[sent..bytes.len().min(sent + limits::COPY_BYTES)];
        match conn.socket.send(part, false) {
            Sent::Bytes(0) => {}
            Sent::Bytes(more) => {
                sent += more;
                conn.deadline.set(patience());
            }
            Sent::PeerGone => {
                conn.line.left();
                return Err(Close::Now);
            }
        }
    }
    Ok(())
}
