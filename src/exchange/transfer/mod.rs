//! Moving a body from the producer's socket to the consumer's: what both ways of moving share.
//!
//! Owns: both sockets while an exchange is under way, and the bytes that are between them.
//! Must never: decide what a client hears; [`Broken`] says what happened and whose doing it was.

mod copy;
mod splice;

use std::{cell::Cell, io::IoSlice, pin::pin, rc::Rc};

use bytes::{Buf, Bytes};

use crate::{
    conn::{Conn, Stop},
    http::{
        chunked::{CHUNK_END, ChunkHead, ChunkedError, LAST_CHUNK},
        reply::{CONTINUE, Framing},
    },
    io::{
        pipe::Pipe,
        socket::{Received, Sent},
    },
    limits,
    model::{refusal::Refusal, request::ProducerRequest},
    observe::counters::{Outcome, Path},
    shard::Shard,
};

/// Why a body did not get through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The producer closed, half-closed or reset before its body was whole.
    ProducerLeft,
    /// The producer's framing is broken.
    BadBody(ChunkedError),
    /// The consumer's connection is broken, or it left before its first byte.
    ConsumerLeft,
    /// The consumer has taken nothing for too long.
    ConsumerStalled,
    /// The consumer could not tell a cut body from a whole one, so it is sent none.
    CutUnseen,
    /// Somebody else ended the exchange.
    Stopped(Stop),
}

impl Broken {
    /// How the exchange counts, and what the producer hears; `midway`: a byte was sent on already.
    #[must_use]
    pub fn meaning(self, midway: bool) -> (Outcome, Refusal) {
        match self {
            Self::ProducerLeft | Self::Stopped(Stop::ProducerLeft) => {
                (Outcome::ProducerLeft, Refusal::BODY_CUT)
            }
            Self::BadBody(error) => (Outcome::ProducerLeft, Refusal::from(error)),
            Self::ConsumerLeft | Self::CutUnseen | Self::Stopped(Stop::ConsumerLeft) => {
                (Outcome::ConsumerLeft, Refusal::CONSUMER_LEFT)
            }
            Self::Stopped(Stop::Deleted) if midway => (Outcome::Deleted, Refusal::DELETED_MIDWAY),
            Self::Stopped(Stop::Deleted) => (Outcome::Deleted, Refusal::DELETED),
            Self::ConsumerStalled | Self::Stopped(Stop::Expired) => {
                (Outcome::Idle, Refusal::STALLED)
            }
            Self::Stopped(Stop::Drained) => (Outcome::Drained, Refusal::DRAINED),
        }
    }
}

impl From<ChunkedError> for Broken {
    fn from(error: ChunkedError) -> Self {
        Self::BadBody(error)
    }
}

impl From<Broken> for Refusal {
    fn from(broken: Broken) -> Self {
        broken.meaning(false).1
    }
}

impl From<Stop> for Broken {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::ProducerLeft => Self::ProducerLeft,
            Stop::ConsumerLeft => Self::ConsumerLeft,
            other => Self::Stopped(other),
        }
    }
}

/// A body on its way.
pub struct Transfer {
    shard: Rc<Shard>,
    /// Who brings the body. The transfer runs in this connection's task.
    pub producer: Rc<Conn>,
    /// Who takes it.
    pub consumer: Rc<Conn>,
    /// The producer's request: what is in hand of the body, and what is still to come.
    pub request: Box<ProducerRequest>,
    /// Bytes that the consumer's socket did not take yet, framing included. Nothing is received
    /// while there are any, so they are never more than one piece.
    pub unsent: Bytes,
    /// Bytes of payload that were sent on, or are on their way.
    pub moved: u64,
    /// Between two payloads that are spliced.
    pipe: Option<Pipe>,
    out_chunk: OutChunk,
    /// How many bytes the head of the next chunk is taken to have, the end of the chunk before it
    /// included: as many as the last one.
    chunk_head_bytes: usize,
    /// How much of that head was received.
    chunk_head_seen: usize,
    pace: Pace,
    /// The kernel may hold back a short segment for bytes that are to follow at once. Whoever waits
    /// makes it let go first.
    corked: Cell<bool>,
}

/// When the producer's socket is waited for: always, unless it just gave all that was asked of it, or
/// was not tried yet. Then it is tried at once, until the turn's share is used up and others get
/// theirs.
#[derive(Clone, Copy, Debug)]
struct Pace {
    promising: bool,
    turn_left: usize,
}

impl Pace {
    /// Whether the producer's socket is tried without waiting for it.
    fn goes_on(self) -> bool {
        self.promising && self.turn_left > 0
    }

    fn moved(&mut self, bytes: usize, asked: usize) {
        self.promising = bytes == asked;
        self.turn_left = self.turn_left.saturating_sub(bytes);
    }
}

/// Where the consumer's chunked coding stands between two sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OutChunk {
    /// Between two chunks.
    Closed,
    /// Behind the head of a chunk whose payload is to be spliced.
    Promised,
    /// Behind the payload of a chunk, whose CRLF goes out with whatever follows.
    Owed,
}

impl Transfer {
    /// A transfer that has not begun.
    #[must_use]
    pub fn new(
        shard: &Rc<Shard>,
        producer: &Rc<Conn>,
        request: Box<ProducerRequest>,
        consumer: &Rc<Conn>,
    ) -> Self {
        let transfer = Self {
            shard: Rc::clone(shard),
            producer: Rc::clone(producer),
            consumer: Rc::clone(consumer),
            request,
            unsent: Bytes::new(),
            moved: 0,
            pipe: None,
            out_chunk: OutChunk::Closed,
            chunk_head_bytes: limits::CHUNK_HEAD_READ_BYTES,
            chunk_head_seen: 0,
            pace: Pace {
                promising: true,
                turn_left: shard.pipes.turn_bytes(),
            },
            corked: Cell::new(false),
        };
        transfer.progressed();
        transfer
    }

    /// Reads until payload is in hand or the body is known to be empty, after asking for it.
    pub async fn first_payload(&mut self) -> Result<(), Broken> {
        ask_for_body(&self.producer, &mut self.request).await?;
        while self.request.payload().is_empty() && !self.request.is_whole() {
            read_more(&self.shard, &self.producer, &mut self.request).await?;
        }
        self.progressed();
        Ok(())
    }

    /// Moves the rest of the body, and what ends it, to the consumer; returns when the kernel has
    /// taken the last byte.
    pub async fn run(&mut self, framing: Framing) -> Result<(), Broken> {
        loop {
            self.send_unsent().await?;
            if self.will_splice() {
                self.promise_payload(framing).await?;
                self.splice_payload().await?;
            } else if self.request.is_whole() {
                return Ok(());
            } else {
                self.copy_piece(framing).await?;
            }
        }
    }

    /// Sends the start of the consumer's reply, the payload in hand included. With payload to splice
    /// behind it, that is tried before the start leaves: one segment and one wake instead of two.
    pub fn send_start(&mut self, start: &[u8]) -> Sent {
        let more = self.will_splice();
        let sent = self.consumer.socket.send(start, more);
        self.corked.set(more);
        sent
    }

    /// Nothing is held back any longer. Before the exchange ends, however it does: a reset would
    /// destroy it.
    pub fn uncork(&self) {
        if self.corked.take() {
            self.consumer.socket.flush();
        }
    }

    /// So many bytes of payload move on by `path`.
    pub fn count(&mut self, path: Path, bytes: u64) {
        self.moved += bytes;
        self.shard.counters.moved(path, bytes);
    }

    async fn send_unsent(&mut self) -> Result<(), Broken> {
        while !self.unsent.is_empty() {
            match self.consumer.socket.send(&self.unsent, false) {
                Sent::Bytes(0) => self.consumer_writable().await?,
                Sent::Bytes(sent) => {
                    self.unsent.advance(sent);
                    self.progressed();
                }
                Sent::PeerGone => return Err(Broken::ConsumerLeft),
            }
        }
        Ok(())
    }

    /// Sends payload in the consumer's framing, with what ends the body if that is the last of it,
    /// or with the promise of the payload that is to be spliced behind it. What the kernel does not
    /// take is kept in `unsent`, which must be empty.
    fn send_payload(&mut self, payload: &[u8], framing: Framing) -> Result<(), Broken> {
        debug_assert!(self.unsent.is_empty(), "earlier bytes go first");
        if framing != Framing::Chunked {
            return self.send_parts(&[payload], false);
        }
        let owed: &[u8] = if self.out_chunk == OutChunk::Owed {
            CHUNK_END
        } else {
            b""
        };
        if self.will_splice() {
            self.out_chunk = OutChunk::Promised;
            let head = ChunkHead::new(payload.len() as u64 + self.request.decoder.payload_left());
            return self.send_parts(&[owed, head.as_bytes(), payload], true);
        }
        if payload.is_empty() && !self.request.is_whole() {
            return Ok(());
        }
        self.out_chunk = OutChunk::Closed;
        let last: &[u8] = if self.request.is_whole() {
            LAST_CHUNK
        } else {
            b""
        };
        if payload.is_empty() {
            return self.send_parts(&[owed, last], false);
        }
        let head = ChunkHead::new(payload.len() as u64);
        self.send_parts(&[owed, head.as_bytes(), payload, CHUNK_END, last], false)
    }

    /// `more`: further bytes follow at once.
    fn send_parts(&mut self, parts: &[&[u8]], more: bool) -> Result<(), Broken> {
        if parts.iter().all(|part| part.is_empty()) {
            return Ok(());
        }
        let mut slices = [IoSlice::new(b""); 5];
        for (slice, part) in slices.iter_mut().zip(parts) {
            *slice = IoSlice::new(part);
        }
        let sent = self
            .consumer
            .socket
            .send_parts(&slices[..parts.len()], more);
        self.corked.set(more);
        match sent {
            Sent::Bytes(sent) => {
                self.unsent = behind(parts, sent);
                self.progressed();
                Ok(())
            }
            Sent::PeerGone => Err(Broken::ConsumerLeft),
        }
    }

    /// Something moved: the time that nothing may move begins anew.
    pub fn progressed(&self) {
        let idle = self.shard.config().timeouts.idle;
        self.producer
            .deadline
            .set(self.shard.clock.deadline_if(idle));
    }

    /// Waits until the producer's socket is worth trying.
    async fn producer_readable(&mut self) -> Result<(), Broken> {
        if self.pace.goes_on() {
            return check_stop(&self.producer);
        }
        self.uncork();
        self.pace.promising = false;
        self.pace.turn_left = self.shard.pipes.turn_bytes();
        wait_for(&self.producer, || self.producer.socket.readable()).await
    }

    /// Waits until the consumer takes more.
    pub async fn consumer_writable(&self) -> Result<(), Broken> {
        self.uncork();
        let writable = wait_for(&self.producer, || self.consumer.socket.writable()).await;
        writable.map_err(|broken| match broken {
            Broken::Stopped(Stop::Expired) => Broken::ConsumerStalled,
            other => other,
        })
    }
}

/// Asks a client that expects it to send its body (RFC 9110 §10.1.1): once, and only if it did not
/// begin to.
///
/// # Errors
/// The client left, or somebody stopped its task.
pub async fn ask_for_body(conn: &Conn, request: &mut ProducerRequest) -> Result<(), Broken> {
    if !request.head.expect_continue || request.continued || request.is_begun() {
        return Ok(());
    }
    request.continued = true;
    let mut ask = CONTINUE;
    loop {
        match conn.socket.send(ask, false) {
            Sent::Bytes(sent) => ask = &ask[sent..],
            Sent::PeerGone => return Err(Broken::ProducerLeft),
        }
        if ask.is_empty() {
            return Ok(());
        }
        wait_for(conn, || conn.socket.writable()).await?;
    }
}

/// Reads one bounded piece of a body as soon as there is one.
///
/// # Errors
/// The client left, broke its framing, or somebody stopped its task.
pub async fn read_more(
    shard: &Shard,
    conn: &Conn,
    request: &mut ProducerRequest,
) -> Result<(), Broken> {
    wait_for(conn, || conn.socket.readable()).await?;
    let mut scratch = shard.scratch.borrow_mut();
    match conn.socket.receive(&mut scratch[..limits::HEAD_READ_BYTES]) {
        Received::Bytes(bytes) => Ok(request.push(&scratch[..bytes])?),
        Received::Nothing => Ok(()),
        Received::End | Received::PeerGone => Err(Broken::ProducerLeft),
    }
}

/// Whether somebody stopped the task of `conn`.
///
/// # Errors
/// Somebody did.
pub fn check_stop(conn: &Conn) -> Result<(), Broken> {
    conn.take_stop()
        .map_or(Ok(()), |stop| Err(Broken::from(stop)))
}

/// Waits for readiness in the task of `conn`, unless somebody stops that.
async fn wait_for<F: Future<Output = ()>>(
    conn: &Conn,
    ready: impl Fn() -> F,
) -> Result<(), Broken> {
    loop {
        check_stop(conn)?;
        let ready = pin!(ready());
        if conn.poked_or(ready).await.is_some() {
            return check_stop(conn);
        }
    }
}

/// What is left of `parts` behind their first `sent` bytes.
fn behind(parts: &[&[u8]], mut sent: usize) -> Bytes {
    let mut left = Vec::new();
    for part in parts {
        let skipped = sent.min(part.len());
        left.extend_from_slice(&part[skipped..]);
        sent -= skipped;
    }
    Bytes::from(left)
}
