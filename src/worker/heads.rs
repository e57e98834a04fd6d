//! The reading of heads: from a socket, or from bytes that came with an earlier request.
//!
//! A head that is not whole yet is kept with its connection until more of it comes.

use bytes::Bytes;

use crate::{
    conn::{deadline::Due, step::Step},
    handle::{self, target::Target},
    http::{
        head::{self, Parsed},
        head_error::HeadError,
        reply::Persistence,
    },
    io::socket::Received,
    model::{refusal::Refusal, reply::Reply, verdict::Close},
    shard::session::Session,
};

/// Receives more of a head, and parses what there is.
pub fn receive(session: &Session) -> Step {
    let Session { shard, conn } = session;
    let mut scratch = shard.scratch.borrow_mut();
    let begun = conn.inbound.take_unread();
    scratch[..begun.len()].copy_from_slice(&begun);
    let room = begun.len()..begun.len() + conn.inbound.head_read_bytes();
    match conn.transport.receive(&mut scratch[room]) {
        Received::Bytes(bytes) => {
            let resumed = !begun.is_empty();
            parse(session, &scratch[..begun.len() + bytes], None, resumed)
        }
        Received::Nothing => {
            conn.inbound.keep_unread(begun);
            Step::WAIT
        }
        Received::End if !begun.is_empty() => refuse_head(&Refusal::HEAD_CUT),
        Received::End | Received::PeerGone => Step::close(Close::Now),
    }
}

/// Parses bytes that were read earlier.
pub fn parse_unread(session: &Session) -> Step {
    let unread = session.conn.inbound.take_unread();
    if unread.is_empty() {
        return Step::WAIT;
    }
    parse(session, &unread, Some(&unread), false)
}

/// `held`: the same bytes, if they are reference-counted. `resumed`: a part of the head came earlier.
fn parse(session: &Session, bytes: &[u8], held: Option<&Bytes>, resumed: bool) -> Step {
    match head::parse(bytes) {
        Ok(Parsed::Complete(head)) => handle::request(&Target {
            session,
            head: &head,
            bytes,
            held,
        }),
        Ok(Parsed::Partial) => {
            keep_partial(session, bytes, held, resumed);
            Step::WAIT
        }
        Err(error) => refuse_bad_head(bytes, error),
    }
}

/// Keeps the beginning of a head until more of it comes.
fn keep_partial(session: &Session, bytes: &[u8], held: Option<&Bytes>, resumed: bool) {
    // Empty lines between two requests begin no head (RFC 9112 §2.2).
    if bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n')) && bytes.ends_with(b"\n") {
        return;
    }
    let Session { shard, conn } = session;
    // The time of a connection's first head has run since the connection's start.
    if !resumed && !conn.inbound.served_none() {
        session.limit(Due::Head, shard.config().timeouts.header);
    }
    let bytes = held
        .cloned()
        .unwrap_or_else(|| Bytes::copy_from_slice(bytes));
    conn.inbound.keep_unread(bytes);
}

fn refuse_bad_head(bytes: &[u8], error: HeadError) -> Step {
    let refusal = Refusal::from(error);
    Step::Reply(Reply {
        head_only: bytes.trim_ascii_start().starts_with(b"HEAD "),
        ..Reply::refuse(Persistence::Close, &refusal)
    })
}

fn refuse_head(refusal: &Refusal) -> Step {
    Step::Reply(Reply::refuse(Persistence::Close, refusal))
}
