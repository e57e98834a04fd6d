//! The task of a connection: head after head, until it ends or goes to another shard.
//!
//! There is one place where it waits ([`Conn::event`]); what takes longer than a turn is a boxed
//! [`Step::Work`], so that a connection that only waits is small.

use std::{
    any::Any,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    rc::Rc,
    task::Poll,
};

use bytes::Bytes;

use crate::{
    access, answer,
    conn::{Close, Conn, Doing, Event, Step, Stop},
    error::Refusal,
    handle::{self, Target},
    http::{
        head::{self, Parsed},
        reply::Persistence,
    },
    limits, log,
    mesh::Message,
    request::Request,
    shard::Shard,
    socket::{Peer, Received},
    wait,
};

/// Where a connection went when its task ended.
enum Gone {
    Closed,
    HandedOver(usize, Box<Request>),
}

/// Serves `conn` in a task of its own, beginning with `first` if it came with a request.
///
/// A panic in it ends this connection and no other: it is logged and counted, the queue that the
/// connection stood in forgets it, and the exchange that it drove is cut.
pub fn spawn(shard: Rc<Shard>, conn: Rc<Conn>, first: Option<Box<Request>>) {
    monoio::spawn(async move {
        let gone = {
            let task = pin!(serve(&shard, &conn, first));
            catch_panic(task).await
        };
        shard.dismiss(&conn);
        match gone {
            Ok(Gone::Closed) => {
                access::finish(&shard, &conn);
                shard.count_closed();
            }
            Ok(Gone::HandedOver(owner, request)) => hand_over(&shard, conn, owner, request),
            Err(panic) => {
                shard.count_closed();
                bury(&shard, &conn, &*panic);
            }
        }
    });
}

async fn serve(shard: &Rc<Shard>, conn: &Rc<Conn>, first: Option<Box<Request>>) -> Gone {
    let mut step = match first {
        Some(request) => begin(shard, conn, &request),
        None => Step::Wait,
    };
    loop {
        step = match step {
            Step::Wait => react(shard, conn, conn.event().await),
            Step::Parse => parse(shard, conn, &conn.take_unread()),
            Step::Work(work) => {
                conn.begin_work();
                work.await
            }
            Step::HandOver(owner, request) => return Gone::HandedOver(owner, request),
            Step::Close(how) => {
                close(shard, conn, how).await;
                return Gone::Closed;
            }
        }
    }
}

/// Serves the request that a connection brought from another shard.
fn begin(shard: &Rc<Shard>, conn: &Rc<Conn>, request: &Request) -> Step {
    handle::take_up(&Target {
        shard,
        conn,
        head: &request.head,
        bytes: &request.bytes,
        held: Some(&request.bytes),
    })
}

/// What to do about `event`.
fn react(shard: &Rc<Shard>, conn: &Rc<Conn>, event: Event) -> Step {
    if let Some(step) = conn.take_handed() {
        return step;
    }
    match (event, conn.doing()) {
        (Event::Readable, Doing::Reading) => receive(shard, conn),
        (Event::Readable, Doing::Waiting | Doing::Consuming) => {
            look_at_peer(shard, conn, conn.socket.peer())
        }
        _ => Step::Wait,
    }
}

/// Receives more of a head, and parses what there is.
fn receive(shard: &Rc<Shard>, conn: &Rc<Conn>) -> Step {
    let mut scratch = shard.scratch.borrow_mut();
    let begun = conn.take_unread();
    scratch[..begun.len()].copy_from_slice(&begun);
    let bytes_max = if conn.bulky.get() {
        limits::HEAD_READ_BYTES_BEFORE_BULK
    } else {
        limits::HEAD_READ_BYTES
    };
    let room = begun.len()..begun.len() + bytes_max;
    match conn.socket.receive(&mut scratch[room]) {
        Received::Bytes(bytes) => {
            let resumed = !begun.is_empty();
            parse_bytes(shard, conn, &scratch[..begun.len() + bytes], None, resumed)
        }
        Received::Nothing => {
            conn.keep_unread(begun);
            Step::Wait
        }
        Received::End if !begun.is_empty() => {
            answer::refuse(shard, conn, Persistence::Close, true, &Refusal::HEAD_CUT)
        }
        Received::End | Received::PeerGone => Step::Close(Close::Now),
    }
}

/// Parses bytes that were read earlier.
fn parse(shard: &Rc<Shard>, conn: &Rc<Conn>, unread: &Bytes) -> Step {
    if unread.is_empty() {
        return Step::Wait;
    }
    parse_bytes(shard, conn, unread, Some(unread), false)
}

/// `held`: the same bytes, if they are shared ones. `resumed`: a part of the head came earlier.
fn parse_bytes(
    shard: &Rc<Shard>,
    conn: &Rc<Conn>,
    bytes: &[u8],
    held: Option<&Bytes>,
    resumed: bool,
) -> Step {
    match head::parse(bytes) {
        Ok(Parsed::Complete(head)) => handle::request(&Target {
            shard,
            conn,
            head: &head,
            bytes,
            held,
        }),
        Ok(Parsed::Partial) => {
            // Empty lines between two requests begin no head (RFC 9112 §2.2).
            if bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n')) && bytes.ends_with(b"\n") {
                return Step::Wait;
            }
            if !resumed {
                conn.begin_head(shard.clock.deadline(shard.config().timeouts.header));
            }
            conn.keep_unread(
                held.cloned()
                    .unwrap_or_else(|| Bytes::copy_from_slice(bytes)),
            );
            Step::Wait
        }
        Err(error) => answer::refuse(shard, conn, Persistence::Close, true, &Refusal::from(error)),
    }
}

/// What to do about `peer`, which waits for a counterpart or is being sent a body. Bytes that it
/// sent stay where they are until its request is answered.
fn look_at_peer(shard: &Rc<Shard>, conn: &Rc<Conn>, peer: Peer) -> Step {
    conn.watch(false);
    match (conn.doing(), peer) {
        (_, Peer::There) => {}
        (Doing::Waiting, _) => {
            wait::leave(shard, conn);
            return Step::Close(Close::Now);
        }
        (_, Peer::HalfClosed) => conn.half_closed_while_consuming(),
        (_, Peer::Gone) => conn.stop_driver(Stop::ConsumerLeft),
    }
    Step::Wait
}

/// The sweep's look at a peer whose unread bytes keep readability from telling that it left.
pub fn peer_seen(shard: &Rc<Shard>, conn: &Rc<Conn>, peer: Peer) {
    if let Step::Close(close) = look_at_peer(shard, conn, peer) {
        conn.hand(Step::Close(close));
    }
}

/// The connection's deadline has passed.
pub fn expire(shard: &Rc<Shard>, conn: &Rc<Conn>) {
    match conn.doing() {
        Doing::Reading if conn.has_unread() => {
            conn.begin_work();
            conn.hand(answer::refuse(
                shard,
                conn,
                Persistence::Close,
                true,
                &Refusal::HEAD_TOO_SLOW,
            ));
        }
        Doing::Reading => conn.hand(Step::Close(Close::Now)),
        Doing::Waiting => wait::turn_away(shard, conn, &Refusal::WAITED_TOO_LONG),
        Doing::Working => conn.stop(Stop::Expired),
        Doing::Consuming | Doing::Handed => {}
    }
}

/// The server ends: who is idle goes, who waits is turned away, who moves a body goes on. Called
/// again and again, because who moves a body now may be idle or wait later.
pub fn drain(shard: &Rc<Shard>, conn: &Rc<Conn>) {
    match conn.doing() {
        Doing::Reading if !conn.has_unread() => conn.hand(Step::Close(Close::Now)),
        Doing::Waiting => wait::turn_away(shard, conn, &Refusal::DRAINING),
        _ => {}
    }
}

async fn close(shard: &Rc<Shard>, conn: &Rc<Conn>, how: Close) {
    match how {
        Close::Now => {}
        Close::Reset => conn.socket.reset_on_close(),
        Close::Linger => linger(shard, conn).await,
    }
}

/// Ends the sending direction and drops what the client still sends, for a bounded time and amount.
async fn linger(shard: &Rc<Shard>, conn: &Rc<Conn>) {
    conn.begin_work();
    conn.socket.end_sending();
    conn.deadline.set(shard.clock.deadline(limits::LINGER_TIME));
    let mut dropped = 0;
    while conn.take_stop() != Some(Stop::Expired) {
        if dropped >= limits::LINGER_BYTES_MAX {
            conn.poked().await;
            continue;
        }
        let readable = pin!(conn.socket.readable());
        if conn.poked_or(readable).await.is_none() {
            continue;
        }
        match conn.socket.receive(&mut shard.scratch.borrow_mut()) {
            Received::Bytes(bytes) => dropped += bytes,
            Received::Nothing => {}
            Received::End | Received::PeerGone => return,
        }
    }
}

/// Gives the connection to the shard that owns the channel of its request.
fn hand_over(shard: &Shard, conn: Rc<Conn>, owner: usize, request: Box<Request>) {
    let Some(conn) = Rc::into_inner(conn) else {
        // Nobody but its own task holds a connection between two requests.
        tracing::error!("a connection to be handed over is still in use; it is closed");
        return shard.count_closed();
    };
    match conn.socket.into_fd() {
        Ok(socket) => {
            shard.counters.handovers.add(1);
            shard
                .shared
                .mesh
                .send(owner, Message::HandOver { socket, request });
        }
        Err(error) => {
            tracing::error!("a connection was lost on its way to another shard: {error}");
            shard.count_closed();
        }
    }
}

/// Cleans up behind a task that panicked.
fn bury(shard: &Rc<Shard>, conn: &Rc<Conn>, panic: &(dyn Any + Send)) {
    shard.counters.panics.add(1);
    access::panicked(conn);
    access::finish(shard, conn);
    let reason = log::reason(panic);
    tracing::error!(connection = conn.id, doing = ?conn.doing(), "a connection's task panicked: {reason}");
    wait::leave(shard, conn);
    conn.stop_driver(Stop::ConsumerLeft);
    // An exchange that it was to drive ends with the step.
    drop(conn.take_handed());
}

/// Runs `future` to its end or to its panic.
fn catch_panic<F: Future>(
    mut future: Pin<&mut F>,
) -> impl Future<Output = Result<F::Output, Box<dyn Any + Send>>> {
    poll_fn(
        move |context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Ok(Poll::Pending) => Poll::Pending,
            Err(panic) => Poll::Ready(Err(panic)),
        },
    )
}
