//! A consumer of large bodies.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::net::{RecvFlags, recv};

use crate::client::dechunker::Dechunker;
use crate::client::reply::Framing;
use crate::client::{connection, large_body, reply};
use crate::error::Result;
use crate::loads::transfer::job::{BLOCK_BYTES, CALLS_MAX, HEAD_BYTES_MAX, Job, Next, Taking};
use crate::row::run::Run;

/// Bytes that a zero-copy consumer discards in one call.
const DISCARD_BYTES: usize = 1 << 20;

/// Buffers shared by all clients of a thread.
pub struct Scratch {
    received: Vec<u8>,
    expected: Vec<u8>,
}

impl Scratch {
    /// Sized for zero-copy consumers, whose calls are the largest.
    pub fn new() -> Self {
        Self {
            received: vec![0; DISCARD_BYTES],
            expected: Vec::new(),
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Consuming {
    Request,
    Head { filled: usize },
    Length { left: u64 },
    Chunks(Dechunker),
    Done,
}

pub struct Consumer<'job> {
    pub socket: TcpStream,
    job: Job<'job>,
    request: Vec<u8>,
    start: u64,
    opened: &'job OnceLock<Instant>,
    head: [u8; HEAD_BYTES_MAX],
    /// Bytes received of this body.
    position: u64,
    /// Bytes received of all bodies.
    pub bytes: u64,
    bodies: u64,
    /// When the first byte of the first body arrived.
    pub first_byte: Option<Instant>,
    last_byte: Option<Instant>,
    pub longest_pause: Duration,
    state: Consuming,
}

impl<'job> Consumer<'job> {
    pub fn new(
        run: &'job Run,
        job: Job<'job>,
        channel: &str,
        start: u64,
        opened: &'job OnceLock<Instant>,
    ) -> Result<Self> {
        Ok(Self {
            socket: job.connect(run.target)?,
            job,
            request: run.target.get(channel),
            start,
            opened,
            head: [0; HEAD_BYTES_MAX],
            position: 0,
            bytes: 0,
            bodies: 0,
            first_byte: None,
            last_byte: None,
            longest_pause: Duration::ZERO,
            state: Consuming::Request,
        })
    }

    fn begin(&mut self) -> Result<()> {
        (&self.socket).write_all(&self.request)?;
        self.state = Consuming::Head { filled: 0 };
        Ok(())
    }

    pub fn advance(&mut self, scratch: &mut Scratch) -> Result<Next> {
        for _ in 0..CALLS_MAX {
            match self.step(scratch) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) if error.downcast_ref().is_some_and(connection::would_block) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(match self.state {
            Consuming::Done => Next::Nothing,
            Consuming::Request => Next::Room,
            _ => Next::Data,
        })
    }

    /// One system call. True if another may follow immediately.
    fn step(&mut self, scratch: &mut Scratch) -> Result<bool> {
        match self.state {
            Consuming::Request => {
                self.begin()?;
                return Ok(false);
            }
            Consuming::Head { filled } => self.receive_head(filled, scratch)?,
            Consuming::Length { left } => {
                let count = self.receive(left, scratch)?;
                self.state = Consuming::Length { left: left - count };
            }
            Consuming::Chunks(dechunker) => {
                let count = self.receive(u64::MAX, scratch)?;
                let received = std::mem::take(&mut scratch.received);
                self.dechunk(dechunker, &received[..usize::try_from(count)?], scratch)?;
                scratch.received = received;
            }
            Consuming::Done => return Ok(false),
        }
        if let Consuming::Length { left: 0 } = self.state {
            self.end_body()?;
        }
        Ok(true)
    }

    fn receive_head(&mut self, filled: usize, scratch: &mut Scratch) -> Result<()> {
        let count = (&self.socket).read(&mut self.head[filled..])?;
        if count == 0 {
            return Err("the server closed a consumer's connection".into());
        }
        let filled = filled + count;
        self.state = Consuming::Head { filled };
        let Some(head) = reply::parse_head(&self.head[..filled])? else {
            return Ok(());
        };
        self.last_byte = Some(Instant::now());
        let rest = self.head;
        let rest = &rest[head.bytes..filled];
        match head.framing {
            Framing::Length(length) => {
                self.take(rest, &mut scratch.expected)?;
                let left = length
                    .checked_sub(rest.len() as u64)
                    .ok_or("more than Content-Length says")?;
                self.state = Consuming::Length { left };
            }
            Framing::Chunked => self.dechunk(Dechunker::new(), rest, scratch)?,
        }
        Ok(())
    }

    /// Receives up to `max` bytes of the body in one call and returns how many. Bytes of a body with
    /// Content-Length are verified and counted here; those of chunks are in `scratch.received`, undecoded.
    fn receive(&mut self, max: u64, scratch: &mut Scratch) -> Result<u64> {
        let discard = self.job.taking == Taking::Discard && max < u64::MAX;
        let room = if discard { DISCARD_BYTES } else { BLOCK_BYTES };
        let room = room.min(usize::try_from(max)?);
        let flags = if discard {
            RecvFlags::TRUNC
        } else {
            RecvFlags::empty()
        };
        // tcp(7): MSG_TRUNC discards the bytes and leaves the buffer unchanged.
        let (_, count) = recv(&self.socket, &mut scratch.received[..room], flags)
            .map_err(std::io::Error::from)?;
        if count == 0 {
            return Err("a body was cut short".into());
        }
        self.note_progress();
        match self.state {
            Consuming::Chunks(_) => {}
            _ if discard => self.skip(count as u64),
            _ => self.take(&scratch.received[..count], &mut scratch.expected)?,
        }
        Ok(count as u64)
    }

    fn dechunk(
        &mut self,
        mut dechunker: Dechunker,
        bytes: &[u8],
        scratch: &mut Scratch,
    ) -> Result<()> {
        let over = dechunker.feed(bytes, |payload| self.take(payload, &mut scratch.expected))?;
        self.state = Consuming::Chunks(dechunker);
        if over { self.end_body() } else { Ok(()) }
    }

    fn note_progress(&mut self) {
        let now = Instant::now();
        if let (Some(before), Some(&opened)) = (self.last_byte.replace(now), self.opened.get()) {
            let pause = now.saturating_duration_since(before.max(opened));
            self.longest_pause = self.longest_pause.max(pause);
        }
    }

    /// Verifies (if asked to) and counts the next bytes of the body.
    fn take(&mut self, payload: &[u8], expected: &mut Vec<u8>) -> Result<()> {
        if self.job.taking == Taking::Verify {
            large_body::verify(payload, self.start + self.position, expected)?;
        }
        self.skip(payload.len() as u64);
        Ok(())
    }

    fn skip(&mut self, count: u64) {
        if count > 0 {
            self.first_byte.get_or_insert_with(Instant::now);
        }
        self.position += count;
        self.bytes += count;
    }

    fn end_body(&mut self) -> Result<()> {
        if self.position != self.job.bytes {
            return Err(format!(
                "a body of {} bytes arrived with {}",
                self.job.bytes, self.position
            )
            .into());
        }
        self.position = 0;
        self.last_byte = None;
        self.bodies += 1;
        self.state = if self.bodies == self.job.bodies {
            Consuming::Done
        } else {
            Consuming::Request
        };
        Ok(())
    }
}
