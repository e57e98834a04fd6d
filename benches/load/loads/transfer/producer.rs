//! A producer of large bodies.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::OnceLock;
use std::time::Instant;

use rustix::net::{SendFlags, send};

use crate::client::large_body;
use crate::client::{connection, reply};
use crate::error::Result;
use crate::loads::transfer::job::{
    BLOCK_BYTES, CALLS_MAX, Chunking, HEAD_BYTES_MAX, Job, Next, Sending, Taking,
};
use crate::row::run::Run;

const CHUNK_END: &[u8] = b"\r\n";
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
/// Bytes that a producer sends while the gate is closed.
const GATE_BYTES: u64 = 64 << 10;

#[derive(Clone, Copy, Debug)]
enum Producing {
    Head { sent: usize },
    Body { sent: u64 },
    LastChunk { sent: usize },
    Reply { filled: usize },
    Done,
}

pub struct Producer<'job> {
    pub socket: TcpStream,
    job: Job<'job>,
    head: Vec<u8>,
    file: &'job File,
    start: u64,
    opened: &'job OnceLock<Instant>,
    /// The bytes being written, with framing; `block_sent` of them are gone.
    block: Vec<u8>,
    block_sent: usize,
    reply: [u8; HEAD_BYTES_MAX],
    bodies: u64,
    state: Producing,
}

impl<'job> Producer<'job> {
    pub fn new(
        run: &'job Run,
        job: Job<'job>,
        channel: &str,
        start: u64,
        opened: &'job OnceLock<Instant>,
    ) -> Result<Self> {
        let framing = match job.sending {
            Sending::File | Sending::Writes => format!("Content-Length: {}", job.bytes),
            Sending::Chunks(_) => "Transfer-Encoding: chunked".to_owned(),
        };
        let block = match job.sending {
            Sending::File => Vec::new(),
            Sending::Writes => vec![b'.'; BLOCK_BYTES],
            Sending::Chunks(chunking) => chunking.block(),
        };
        Ok(Self {
            socket: job.connect(run.target)?,
            job,
            head: run.target.post(channel, &framing),
            file: run.file,
            start,
            opened,
            block,
            block_sent: 0,
            reply: [0; HEAD_BYTES_MAX],
            bodies: 0,
            state: Producing::Head { sent: 0 },
        })
    }

    pub fn advance(&mut self) -> Result<Next> {
        for _ in 0..CALLS_MAX {
            match self.step() {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) if error.downcast_ref().is_some_and(connection::would_block) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(match self.state {
            Producing::Reply { .. } => Next::Data,
            Producing::Done => Next::Nothing,
            Producing::Body { .. } if self.is_held() => Next::Nothing,
            _ => Next::Room,
        })
    }

    /// True if the closed gate stops it.
    fn is_held(&self) -> bool {
        let far_enough = matches!(self.state, Producing::Body { sent } if sent >= GATE_BYTES);
        far_enough && self.opened.get().is_none()
    }

    /// One system call. True if another may follow immediately.
    fn step(&mut self) -> Result<bool> {
        match self.state {
            Producing::Head { sent } => {
                // MSG_MORE: the body's first bytes share a segment with the head.
                let count = send(&self.socket, &self.head[sent..], SendFlags::MORE)
                    .map_err(std::io::Error::from)?;
                let whole = sent + count == self.head.len();
                self.state = if whole {
                    self.first_of_body()
                } else {
                    Producing::Head { sent: sent + count }
                };
            }
            Producing::Body { .. } if self.is_held() => return Ok(false),
            Producing::Body { sent } => {
                let sent = sent + self.send_body(sent)?;
                self.state = if sent < self.job.bytes {
                    Producing::Body { sent }
                } else {
                    self.after_body()
                };
            }
            Producing::LastChunk { sent } => {
                let sent = sent + (&self.socket).write(&LAST_CHUNK[sent..])?;
                let whole = sent == LAST_CHUNK.len();
                self.state = if whole {
                    Producing::Reply { filled: 0 }
                } else {
                    Producing::LastChunk { sent }
                };
            }
            Producing::Reply { filled } => {
                self.receive_reply(filled)?;
                return Ok(false);
            }
            Producing::Done => return Ok(false),
        }
        Ok(true)
    }

    fn first_of_body(&mut self) -> Producing {
        self.block_sent = 0;
        self.fill_block(0);
        Producing::Body { sent: 0 }
    }

    fn after_body(&self) -> Producing {
        match self.job.sending {
            Sending::Chunks(_) => Producing::LastChunk { sent: 0 },
            Sending::File | Sending::Writes => Producing::Reply { filled: 0 },
        }
    }

    /// Sends more of the body after the first `sent` bytes; returns how many.
    fn send_body(&mut self, sent: u64) -> Result<u64> {
        match self.job.sending {
            Sending::File => self.send_file(sent),
            Sending::Writes | Sending::Chunks(_) => self.write_block(sent),
        }
    }

    fn send_file(&self, sent: u64) -> Result<u64> {
        let mut position = (self.start + sent) % large_body::PERIOD_BYTES;
        let held = self.opened.get().is_none();
        let end = if held {
            GATE_BYTES.min(self.job.bytes)
        } else {
            self.job.bytes
        };
        let count = u64::min(end - sent, large_body::PERIOD_BYTES - position);
        let count = rustix::fs::sendfile(
            &self.socket,
            self.file,
            Some(&mut position),
            usize::try_from(count)?,
        )
        .map_err(std::io::Error::from)?;
        Ok(count as u64)
    }

    /// Writes more of the current block. Returns its payload when all of it is written, 0 before.
    fn write_block(&mut self, sent: u64) -> Result<u64> {
        let left = usize::try_from(self.job.bytes - sent)?;
        let (payload, end) = match self.job.sending {
            Sending::Chunks(chunking) => {
                let chunks = chunking.per_write.min(left / chunking.bytes);
                (
                    chunks * chunking.bytes,
                    chunks * self.chunk_wire_bytes(chunking),
                )
            }
            Sending::File | Sending::Writes => (BLOCK_BYTES.min(left), BLOCK_BYTES.min(left)),
        };
        self.block_sent += (&self.socket).write(&self.block[self.block_sent..end])?;
        if self.block_sent < end {
            return Ok(0);
        }
        self.block_sent = 0;
        let payload = payload as u64;
        self.fill_block(sent + payload);
        Ok(payload)
    }

    /// Fills the block with the body's content from `position` on, if the consumer verifies it.
    fn fill_block(&mut self, position: u64) {
        if self.job.taking != Taking::Verify || self.block.is_empty() {
            return;
        }
        let first = self.start + position;
        match self.job.sending {
            Sending::Chunks(chunking) => {
                let (whole, bytes) = (self.chunk_wire_bytes(chunking), chunking.bytes);
                let begin = whole - CHUNK_END.len() - bytes;
                for (index, chunk) in self.block.chunks_exact_mut(whole).enumerate() {
                    let payload = &mut chunk[begin..][..bytes];
                    large_body::fill(payload, first + (index * bytes) as u64);
                }
            }
            Sending::File | Sending::Writes => large_body::fill(&mut self.block, first),
        }
    }

    /// Bytes of one chunk of the block, with its size line and its end.
    fn chunk_wire_bytes(&self, chunking: Chunking) -> usize {
        self.block.len() / chunking.per_write
    }

    fn receive_reply(&mut self, filled: usize) -> Result<()> {
        let count = (&self.socket).read(&mut self.reply[filled..])?;
        if count == 0 {
            return Err("the server closed a producer's connection".into());
        }
        let filled = filled + count;
        self.state = Producing::Reply { filled };
        if reply::is_whole(&self.reply[..filled])? {
            self.bodies += 1;
            self.state = if self.bodies == self.job.bodies {
                Producing::Done
            } else {
                Producing::Head { sent: 0 }
            };
        }
        Ok(())
    }
}

impl Chunking {
    /// What one write sends.
    fn block(self) -> Vec<u8> {
        let size_line = format!("{:x}\r\n", self.bytes);
        let payload = vec![b'.'; self.bytes];
        [size_line.as_bytes(), &payload, CHUNK_END]
            .concat()
            .repeat(self.per_write)
    }
}
