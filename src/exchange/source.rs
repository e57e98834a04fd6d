//! The producer's side of an exchange: where the body comes from.

use std::rc::Rc;

use crate::{
    conn::Conn,
    http::{decode::BodyDecoder, reply::CONTINUE},
    io::{
        low_water::LowWater,
        pipe::{Pipe, Pipes},
        socket::{Received, Sent},
    },
    limits,
    model::{request::ProducerRequest, verdict::Cause},
    shard::{Shard, session::Session},
};

/// Where the body comes from.
pub struct Source {
    /// The producer. The exchange runs in this connection's task.
    pub conn: Rc<Conn>,
    /// Its request: what is in hand of the body, and what is still to come.
    pub request: Box<ProducerRequest>,
    /// How much is read before the task yields.
    pub budget: Budget,
    /// The pipe, while the body flows: one that stands still gives it back.
    pub pipe: Option<Pipe>,
    /// Set while the body flows fast.
    pub low_water: LowWater<Rc<Conn>>,
    chunk_head: ChunkHeadLength,
}

/// Read budget. After a full read we read again without polling, until `bytes` are used up; then the
/// task yields.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// The last read gave all that was asked of it, or there was none yet.
    full: bool,
    bytes: usize,
    /// Received since the last wait.
    received: usize,
}

/// The estimated length of the next chunk head, with the end of the chunk before it: that of the last
/// one.
#[derive(Clone, Copy, Debug)]
struct ChunkHeadLength {
    expected: usize,
    /// How much of the head was received.
    seen: usize,
}

impl Budget {
    const fn new(bytes: usize) -> Self {
        Self {
            full: true,
            bytes,
            received: 0,
        }
    }

    /// Whether the socket is read without waiting for it.
    #[must_use]
    pub const fn reads_on(self) -> bool {
        self.full && self.bytes > 0
    }

    /// Most bytes of the next read.
    #[must_use]
    pub const fn bytes(self) -> usize {
        self.bytes
    }

    /// A read that asked for `asked` bytes gave `bytes`.
    pub const fn spend(&mut self, bytes: usize, asked: usize) {
        self.full = bytes == asked;
        self.bytes = self.bytes.saturating_sub(bytes);
        self.received += bytes;
    }
}

impl Source {
    /// A source that has given nothing yet.
    #[must_use]
    pub fn new(shard: &Shard, conn: &Rc<Conn>, request: Box<ProducerRequest>) -> Self {
        Self {
            conn: Rc::clone(conn),
            request,
            budget: Budget::new(shard.pipes.budget_bytes()),
            pipe: None,
            low_water: LowWater::new(&shard.low_waters),
            chunk_head: ChunkHeadLength {
                expected: limits::CHUNK_HEAD_READ_BYTES,
                seen: 0,
            },
        }
    }

    /// Reads until payload is in hand or the body is known to be empty, after asking for it.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn first_payload(&mut self, session: &Session) -> Result<(), Cause> {
        ask_for_body(session, &mut self.request).await?;
        while self.request.payload().is_empty() && !self.request.is_whole() {
            read_more(session, &mut self.request).await?;
        }
        Ok(())
    }

    /// Whether the payload that is known to follow is spliced: it is long enough, and there is a pipe for
    /// it, as far as is known. `paced`: whether the consumer's TCP paces, asked for if that matters.
    #[must_use]
    pub fn splices(&self, pipes: &Pipes, paced: impl FnOnce() -> bool) -> bool {
        self.pays_to_splice(paced)
            && self.conn.transport.can_splice()
            && (self.pipe.is_some() || pipes.may_give())
    }

    fn pays_to_splice(&self, paced: impl FnOnce() -> bool) -> bool {
        let decoder = &self.request.decoder;
        if decoder.payload_left() < limits::SPLICE_BYTES_MIN {
            return false;
        }
        match decoder {
            BodyDecoder::Length(_) => true,
            BodyDecoder::Chunked(decoder) => match decoder.chunk_kib() {
                limits::SPLICE_PACED_CHUNK_KIB_MIN.. => true,
                limits::SPLICE_CHUNK_KIB_MIN.. => !paced(),
                _ => false,
            },
        }
    }

    /// Most bytes to receive at once into the shard's buffer; `room`: how many the consumer's socket
    /// takes at once, asked for if the flow is fast.
    #[must_use]
    pub fn copy_bytes(&self, room: impl FnOnce() -> usize) -> usize {
        let wanted = match self.request.decoder {
            // With a declared length, never read into the next request.
            BodyDecoder::Length(left) => usize::try_from(left).unwrap_or(usize::MAX),
            // After a spliced chunk, only the head of the next one is wanted.
            BodyDecoder::Chunked(_) if self.pipe.is_some() => self.chunk_head.expected,
            BodyDecoder::Chunked(_) => usize::MAX,
        };
        if wanted <= limits::COPY_BYTES || self.budget.received < limits::COPY_BYTES {
            return wanted.min(limits::COPY_BYTES);
        }
        let most = self
            .budget
            .bytes
            .clamp(limits::COPY_BYTES, limits::COPY_BYTES_MAX);
        wanted.min(room().clamp(limits::COPY_BYTES, most))
    }

    /// Sets or lifts the low-water mark by how fast the flow is.
    pub fn adjust_low_water(&mut self) {
        if !self.conn.transport.has_low_water() {
            return;
        }
        let left = match self.request.decoder {
            BodyDecoder::Length(left) => left,
            // Unknown; the mark may delay the end by `limits::LOW_WATER_TIME`.
            BodyDecoder::Chunked(decoder) if !decoder.is_end() => u64::MAX,
            BodyDecoder::Chunked(_) => 0,
        };
        let conn = &self.conn;
        self.low_water
            .adjust(|| Rc::clone(conn), self.budget.received, left);
    }

    /// Learns from a read of `framing` and `payload` bytes how long chunk heads are; `splices`: the rest
    /// of the chunk is spliced.
    pub fn learn_chunk_head(&mut self, framing: usize, payload: usize, splices: bool) {
        self.chunk_head.seen += framing;
        if splices {
            let seen = self.chunk_head.seen;
            self.chunk_head.expected = seen.clamp(1, limits::CHUNK_HEAD_READ_BYTES);
            self.chunk_head.seen = 0;
        } else if payload > 0 {
            // The chunks have become small: from now on, many are received at a time.
            self.pipe = None;
            self.chunk_head.seen = 0;
        }
    }

    /// Waits until the producer's socket gives something.
    ///
    /// # Errors
    /// Why the task was stopped.
    pub async fn readable(&mut self, shard: &Shard) -> Result<(), Cause> {
        self.budget = Budget {
            full: false,
            bytes: shard.pipes.budget_bytes(),
            received: 0,
        };
        let transport = &self.conn.transport;
        self.conn.ready_or_stopped(|| transport.readable()).await
    }
}

/// Asks a client that expects it to send its body (RFC 9110 §10.1.1): once, and only if it did not
/// begin to.
///
/// # Errors
/// The client left, or its task was stopped.
pub async fn ask_for_body(session: &Session, request: &mut ProducerRequest) -> Result<(), Cause> {
    let Session { shard, conn } = session;
    if !request.head.expect_continue || request.continued || request.is_begun() {
        return Ok(());
    }
    request.continued = true;
    conn.outbound.note_sent();
    let mut ask = CONTINUE;
    loop {
        match conn.transport.send(ask, false) {
            Sent::Bytes(sent) => ask = &ask[sent..],
            Sent::PeerGone => return Err(Cause::ProducerLeft),
        }
        if ask.is_empty() {
            return Ok(());
        }
        let writable = || shard.write_watch.writable(&conn.transport);
        conn.ready_or_stopped(writable).await?;
    }
}

/// Reads one bounded piece of a body as soon as there is one.
///
/// # Errors
/// The client left, its framing is invalid, or its task was stopped.
pub async fn read_more(session: &Session, request: &mut ProducerRequest) -> Result<(), Cause> {
    let Session { shard, conn } = session;
    conn.ready_or_stopped(|| conn.transport.readable()).await?;
    let mut scratch = shard.scratch.borrow_mut();
    let buffer = &mut scratch[..limits::HEAD_READ_BYTES];
    match conn.transport.receive(buffer) {
        Received::Bytes(bytes) => request.push(&buffer[..bytes]).map_err(Cause::BadBody),
        Received::Nothing => Ok(()),
        Received::End | Received::PeerGone => Err(Cause::ProducerLeft),
    }
}
