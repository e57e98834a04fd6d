//! Large bodies: producers and consumers on any number of channels, driven by two threads, one
//! for each side (or by one).
//!
//! Zero-copy clients send with `sendfile` out of the page cache and receive with `MSG_TRUNC`,
//! which throws the bytes away in the kernel: they cost next to nothing, so the server decides the
//! figure. Ordinary clients write and read 256 KiB at a time. Neither looks at a body while it is
//! timed; [`verify`] runs the same clients once with a consumer that compares every byte.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::net::{RecvFlags, SendFlags, recv, send};

use crate::body;
use crate::client::{self, Dechunker, Framing};
use crate::error::Result;
use crate::poller::{Interest, Poller};
use crate::process::CpuMeter;
use crate::row::{Measure, Run, Sample};
use crate::scale::Scale;
use crate::target::Target;

/// An ordinary client's buffer, and four chunks of a chunked body.
const BLOCK_BYTES: usize = 256 << 10;
/// The payload of a chunk.
const CHUNK_BYTES: usize = 64 << 10;
/// What a chunk's head and end add to it.
const CHUNK_HEAD: &[u8] = b"10000\r\n";
const CHUNK_END: &[u8] = b"\r\n";
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
/// The longest head of a reply to expect.
const HEAD_BYTES_MAX: usize = 1024;
/// How much a zero-copy consumer discards in one call.
const DISCARD_BYTES: usize = 1 << 20;
/// A socket that always has more to do gives way to the others after this many calls.
const CALLS_MAX: usize = 8;
/// No transfer takes longer.
const SECONDS_MAX: Duration = Duration::from_secs(120);

/// How far a producer goes while the gate is closed.
const GATE_BYTES: u64 = 64 << 10;

/// How producers send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sending {
    /// `sendfile`, with Content-Length.
    File,
    /// Writes of 256 KiB, with Content-Length.
    Writes,
    /// Writes of four chunks of 64 KiB.
    Chunks,
}

/// What consumers do with what they receive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Taking {
    /// Discarded in the kernel.
    Discard,
    /// Read and forgotten.
    Read,
    /// Read and compared.
    Verify,
}

/// What is to be moved: `bodies` bodies of `bytes` bytes on each of `exchanges` channels.
#[derive(Clone, Copy)]
pub struct Job<'job> {
    /// How many channels, with one keep-alive connection for each side.
    pub exchanges: usize,
    /// How many bodies on each, one after the other.
    pub bodies: u64,
    /// A body.
    pub bytes: u64,
    /// The producers.
    pub sending: Sending,
    /// The consumers.
    pub taking: Taking,
    /// Sockets' buffers, both ways; `None` leaves them to the kernel.
    pub socket_buffer_bytes: Option<usize>,
    /// Once set, all clients hang up, wherever they are.
    pub stop: Option<&'job AtomicBool>,
    /// Called with the server and the number of exchanges when every producer has sent the first
    /// 64 KiB of its first body; none goes on before it returns. Only for [`two_threads`].
    pub gate: Option<Gate>,
}

/// See [`Job::gate`].
pub type Gate = fn(&Target, usize) -> Result<()>;

/// What a transfer came to.
#[derive(Clone, Copy, Debug)]
pub struct Moved {
    /// From the first request to the last reply.
    pub seconds: f64,
    /// Bytes of bodies received.
    pub bytes: u64,
    /// The longest that any consumer was without a new byte of its body, once the gate was open.
    pub longest_pause: Duration,
}

/// Bodies of 1 GiB, zero-copy clients.
pub fn zero_copy(run: &Run) -> Result<Sample> {
    timed(
        run,
        Job::one_channel(run.scale, Sending::File, Taking::Discard),
    )
}

/// Bodies of 1 GiB, ordinary clients.
pub fn ordinary(run: &Run) -> Result<Sample> {
    timed(
        run,
        Job::one_channel(run.scale, Sending::Writes, Taking::Read),
    )
}

/// Bodies of 1 GiB in chunks of 64 KiB, ordinary clients.
pub fn chunked(run: &Run) -> Result<Sample> {
    timed(
        run,
        Job::one_channel(run.scale, Sending::Chunks, Taking::Read),
    )
}

/// Bodies of 64 KiB on four channels, zero-copy clients.
pub fn bodies_64k(run: &Run) -> Result<Sample> {
    timed(run, Job::four_channels(run.scale, Scale::SMALL_BODY_BYTES))
}

/// Bodies of 1 MiB on four channels, zero-copy clients.
pub fn bodies_1m(run: &Run) -> Result<Sample> {
    timed(run, Job::four_channels(run.scale, Scale::MIDDLE_BODY_BYTES))
}

impl Moved {
    /// Bytes received, in GiB.
    pub fn gib(&self) -> f64 {
        self.bytes as f64 / f64::from(1 << 30)
    }
}

impl Job<'_> {
    fn one_channel(scale: &Scale, sending: Sending, taking: Taking) -> Self {
        Self {
            exchanges: 1,
            bodies: scale.bulk_bodies,
            bytes: scale.bulk_bytes,
            sending,
            taking,
            socket_buffer_bytes: None,
            stop: None,
            gate: None,
        }
    }

    fn four_channels(scale: &Scale, bytes: u64) -> Self {
        let bodies = scale.middle_bytes / bytes / 4;
        let job = Self::one_channel(scale, Sending::File, Taking::Discard);
        Self {
            exchanges: 4,
            bodies,
            bytes,
            ..job
        }
    }

    /// The same job at the size of a verified pass, with consumers that compare.
    fn verified(self, scale: &Scale) -> Self {
        let bytes = self.bytes.min(scale.verified_bytes);
        let bodies = (scale.verified_bytes / self.exchanges as u64 / bytes).max(1);
        Self {
            bodies,
            bytes,
            taking: Taking::Verify,
            ..self
        }
    }
}

/// Measures `job`; in the first round every byte of a smaller one is compared before.
fn timed(run: &Run, job: Job) -> Result<Sample> {
    if run.round == 0 {
        two_threads(run, job.verified(run.scale))?;
    }
    let cpu = CpuMeter::start(run.target.pid)?;
    let moved = two_threads(run, job)?;
    Ok(vec![
        (Measure::CpuSecondsPerGib, cpu.seconds()? / moved.gib()),
        (Measure::GibPerSecond, moved.gib() / moved.seconds),
    ])
}

/// Drives the producers from one thread and the consumers from another.
pub fn two_threads(run: &Run, job: Job) -> Result<Moved> {
    let opened = OnceLock::new();
    let (mut producers, mut consumers) = clients(run, job, &opened)?;
    let begin = Instant::now();
    std::thread::scope(|scope| {
        let producing = scope.spawn(|| {
            if let Some(gate) = job.gate {
                drive(&mut producers, job.stop)?;
                gate(run.target, job.exchanges)?;
            }
            opened.get_or_init(Instant::now);
            drive(&mut producers, job.stop)
        });
        let consuming = drive(&mut consumers, job.stop);
        producing
            .join()
            .map_err(|_| "the producers' thread panicked")??;
        consuming
    })?;
    Ok(summary(&consumers, begin))
}

/// Drives both sides from the calling thread.
pub fn one_thread(run: &Run, job: Job) -> Result<Moved> {
    let opened = OnceLock::from(Instant::now());
    let (producers, consumers) = clients(run, job, &opened)?;
    let mut all: Vec<_> = producers.into_iter().chain(consumers).collect();
    let begin = Instant::now();
    drive(&mut all, job.stop)?;
    Ok(summary(&all, begin))
}

fn summary(clients: &[Client], begin: Instant) -> Moved {
    let consumers = || {
        clients.iter().filter_map(|client| match client {
            Client::Consumer(consumer) => Some(consumer),
            Client::Producer(_) => None,
        })
    };
    Moved {
        seconds: begin.elapsed().as_secs_f64(),
        bytes: consumers().map(|consumer| consumer.bytes).sum(),
        longest_pause: consumers()
            .map(|consumer| consumer.longest_pause)
            .max()
            .unwrap_or_default(),
    }
}

/// One producer and one consumer for each exchange.
fn clients<'job>(
    run: &'job Run,
    job: Job<'job>,
    opened: &'job OnceLock<Instant>,
) -> Result<Sides<'job>> {
    let mut producers = Vec::with_capacity(job.exchanges);
    let mut consumers = Vec::with_capacity(job.exchanges);
    for index in 0..job.exchanges {
        let channel = run.channel(index);
        // Any multiple of 8 that keeps bodies apart; sendfile likes whole pages.
        let start = (index as u64 * (body::PERIOD_BYTES / job.exchanges as u64)) & !4095;
        producers.push(Client::Producer(Producer::new(
            run, job, &channel, start, opened,
        )?));
        consumers.push(Client::Consumer(Consumer::new(
            run, job, &channel, start, opened,
        )?));
    }
    Ok((producers, consumers))
}

fn connect(target: &Target, job: &Job) -> Result<TcpStream> {
    let socket = client::connect_nonblocking(target.address)?;
    if let Some(bytes) = job.socket_buffer_bytes {
        rustix::net::sockopt::set_socket_recv_buffer_size(&socket, bytes)?;
        rustix::net::sockopt::set_socket_send_buffer_size(&socket, bytes)?;
    }
    Ok(socket)
}

type Sides<'job> = (Vec<Client<'job>>, Vec<Client<'job>>);

enum Client<'job> {
    Producer(Producer<'job>),
    Consumer(Consumer<'job>),
}

/// What a client waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Next {
    Room,
    Data,
    Nothing,
}

impl Client<'_> {
    fn socket(&self) -> &TcpStream {
        match self {
            Self::Producer(producer) => &producer.socket,
            Self::Consumer(consumer) => &consumer.socket,
        }
    }

    fn go_on(&mut self, scratch: &mut Scratch) -> Result<Next> {
        match self {
            Self::Producer(producer) => producer.go_on(),
            Self::Consumer(consumer) => consumer.go_on(scratch),
        }
    }
}

/// Room to receive and to compare, shared by all clients of a thread.
struct Scratch {
    received: Vec<u8>,
    expected: Vec<u8>,
}

/// Drives `clients` until all of them are through with their bodies, or `stop` is set.
fn drive(clients: &mut [Client], stop: Option<&AtomicBool>) -> Result<()> {
    let deadline = Instant::now() + SECONDS_MAX;
    let mut poller = Poller::new()?;
    let mut scratch = Scratch {
        received: vec![0; DISCARD_BYTES],
        expected: Vec::new(),
    };
    for (token, client) in clients.iter().enumerate() {
        poller.add(client.socket(), token, Interest::Write)?;
    }
    let mut waits_for = vec![Next::Room; clients.len()];
    let mut at_work = clients.len();
    let mut ready = Vec::new();
    while at_work > 0 {
        poller.wait(Duration::from_millis(100), &mut ready)?;
        for &token in &ready {
            let next = clients[token].go_on(&mut scratch)?;
            if next == waits_for[token] {
                continue;
            }
            waits_for[token] = next;
            let socket = clients[token].socket();
            match next {
                Next::Room => poller.change(socket, token, Interest::Write)?,
                Next::Data => poller.change(socket, token, Interest::Read)?,
                Next::Nothing => {
                    poller.remove(socket)?;
                    at_work -= 1;
                }
            }
        }
        if stop.is_some_and(|stop| stop.load(Ordering::Relaxed)) {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("large bodies were not through after {SECONDS_MAX:?}").into());
        }
    }
    Ok(())
}

/// Where a producer is in its request.
#[derive(Clone, Copy, Debug)]
enum Producing {
    Head { sent: usize },
    Body { sent: u64 },
    LastChunk { sent: usize },
    Reply { filled: usize },
    Done,
}

struct Producer<'job> {
    socket: TcpStream,
    job: Job<'job>,
    head: Vec<u8>,
    file: &'job File,
    start: u64,
    opened: &'job OnceLock<Instant>,
    /// What is being written, as it goes onto the wire, and how far it has gone.
    block: Vec<u8>,
    block_sent: usize,
    reply: [u8; HEAD_BYTES_MAX],
    bodies: u64,
    state: Producing,
}

impl<'job> Producer<'job> {
    fn new(
        run: &'job Run,
        job: Job<'job>,
        channel: &str,
        start: u64,
        opened: &'job OnceLock<Instant>,
    ) -> Result<Self> {
        let framing = match job.sending {
            Sending::File | Sending::Writes => format!("Content-Length: {}", job.bytes),
            Sending::Chunks => "Transfer-Encoding: chunked".to_owned(),
        };
        let block = match job.sending {
            Sending::File => Vec::new(),
            Sending::Writes | Sending::Chunks => block(job.sending),
        };
        Ok(Self {
            socket: connect(run.target, &job)?,
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

    fn go_on(&mut self) -> Result<Next> {
        for _ in 0..CALLS_MAX {
            match self.step() {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) if error.downcast_ref().is_some_and(client::would_block) => break,
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

    /// True if it has gone as far as it may while the gate is closed.
    fn is_held(&self) -> bool {
        let far_enough = matches!(self.state, Producing::Body { sent } if sent >= GATE_BYTES);
        far_enough && self.opened.get().is_none()
    }

    /// One system call. True if another one may follow at once.
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
        self.count_block(0);
        Producing::Body { sent: 0 }
    }

    fn after_body(&self) -> Producing {
        match self.job.sending {
            Sending::Chunks => Producing::LastChunk { sent: 0 },
            Sending::File | Sending::Writes => Producing::Reply { filled: 0 },
        }
    }

    /// Sends some of the body, of which `sent` bytes are gone; says how many more are gone now.
    fn send_body(&mut self, sent: u64) -> Result<u64> {
        match self.job.sending {
            Sending::File => self.send_file(sent),
            Sending::Writes | Sending::Chunks => self.write_block(sent),
        }
    }

    fn send_file(&self, sent: u64) -> Result<u64> {
        let mut position = (self.start + sent) % body::PERIOD_BYTES;
        let held = self.opened.get().is_none();
        let end = if held {
            GATE_BYTES.min(self.job.bytes)
        } else {
            self.job.bytes
        };
        let count = u64::min(end - sent, body::PERIOD_BYTES - position);
        let count = rustix::fs::sendfile(
            &self.socket,
            self.file,
            Some(&mut position),
            usize::try_from(count)?,
        )
        .map_err(std::io::Error::from)?;
        Ok(count as u64)
    }

    /// Writes on at the current block; its payload counts as sent when all of it is gone.
    fn write_block(&mut self, sent: u64) -> Result<u64> {
        let payload = u64::min(self.job.bytes - sent, BLOCK_BYTES as u64);
        let end = wire_bytes(self.job.sending, usize::try_from(payload)?);
        self.block_sent += (&self.socket).write(&self.block[self.block_sent..end])?;
        if self.block_sent < end {
            return Ok(0);
        }
        self.block_sent = 0;
        self.count_block(sent + payload);
        Ok(payload)
    }

    /// Writes the counters from `position` of the body on into the block, if anybody will look.
    fn count_block(&mut self, position: u64) {
        if self.job.taking != Taking::Verify || self.block.is_empty() {
            return;
        }
        let first = self.start + position;
        match self.job.sending {
            Sending::Chunks => {
                let frame = wire_bytes(Sending::Chunks, CHUNK_BYTES);
                for (index, chunk) in self.block.chunks_exact_mut(frame).enumerate() {
                    let payload = &mut chunk[CHUNK_HEAD.len()..][..CHUNK_BYTES];
                    body::fill(payload, first + (index * CHUNK_BYTES) as u64);
                }
            }
            Sending::File | Sending::Writes => body::fill(&mut self.block, first),
        }
    }

    fn receive_reply(&mut self, filled: usize) -> Result<()> {
        let count = (&self.socket).read(&mut self.reply[filled..])?;
        if count == 0 {
            return Err("the server closed a producer's connection".into());
        }
        let filled = filled + count;
        self.state = Producing::Reply { filled };
        if client::small_body(&self.reply[..filled])?.is_some() {
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

/// 256 KiB of payload as they are written to the wire.
fn block(sending: Sending) -> Vec<u8> {
    let payload = vec![b'.'; CHUNK_BYTES];
    let chunk = match sending {
        Sending::Chunks => [CHUNK_HEAD, &payload, CHUNK_END].concat(),
        Sending::File | Sending::Writes => payload,
    };
    chunk.repeat(BLOCK_BYTES / CHUNK_BYTES)
}

/// What `payload` bytes, a multiple of a chunk, come to on the wire.
fn wire_bytes(sending: Sending, payload: usize) -> usize {
    match sending {
        Sending::Chunks => {
            payload / CHUNK_BYTES * (CHUNK_HEAD.len() + CHUNK_BYTES + CHUNK_END.len())
        }
        Sending::File | Sending::Writes => payload,
    }
}

/// Where a consumer is in its request.
#[derive(Clone, Copy, Debug)]
enum Consuming {
    Request,
    Head { filled: usize },
    Length { left: u64 },
    Chunks(Dechunker),
    Done,
}

struct Consumer<'job> {
    socket: TcpStream,
    job: Job<'job>,
    request: Vec<u8>,
    start: u64,
    opened: &'job OnceLock<Instant>,
    head: [u8; HEAD_BYTES_MAX],
    /// Bytes of this body so far.
    position: u64,
    /// Bytes of all bodies so far.
    bytes: u64,
    bodies: u64,
    last_byte: Option<Instant>,
    longest_pause: Duration,
    state: Consuming,
}

impl<'job> Consumer<'job> {
    fn new(
        run: &'job Run,
        job: Job<'job>,
        channel: &str,
        start: u64,
        opened: &'job OnceLock<Instant>,
    ) -> Result<Self> {
        Ok(Self {
            socket: connect(run.target, &job)?,
            job,
            request: run.target.get(channel),
            start,
            opened,
            head: [0; HEAD_BYTES_MAX],
            position: 0,
            bytes: 0,
            bodies: 0,
            last_byte: None,
            longest_pause: Duration::ZERO,
            state: Consuming::Request,
        })
    }

    /// Sends the request; afterwards the consumer waits for its reply.
    fn begin(&mut self) -> Result<()> {
        (&self.socket).write_all(&self.request)?;
        self.state = Consuming::Head { filled: 0 };
        Ok(())
    }

    fn go_on(&mut self, scratch: &mut Scratch) -> Result<Next> {
        for _ in 0..CALLS_MAX {
            match self.step(scratch) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) if error.downcast_ref().is_some_and(client::would_block) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(match self.state {
            Consuming::Done => Next::Nothing,
            Consuming::Request => Next::Room,
            _ => Next::Data,
        })
    }

    /// One system call. True if another one may follow at once.
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
        let Some(head) = client::parse_head(&self.head[..filled])? else {
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

    /// Receives up to `max` bytes of the body in one call and says how many they were. With known
    /// length they are accounted for; of chunks they lie in `scratch.received`, not yet decoded.
    fn receive(&mut self, max: u64, scratch: &mut Scratch) -> Result<u64> {
        let discard = self.job.taking == Taking::Discard && max < u64::MAX;
        let room = if discard { DISCARD_BYTES } else { BLOCK_BYTES };
        let room = room.min(usize::try_from(max)?);
        let flags = if discard {
            RecvFlags::TRUNC
        } else {
            RecvFlags::empty()
        };
        // tcp(7): with MSG_TRUNC the bytes are discarded and the buffer stays as it is.
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

    /// Accounts for `payload`, the next bytes of the body.
    fn take(&mut self, payload: &[u8], expected: &mut Vec<u8>) -> Result<()> {
        if self.job.taking == Taking::Verify {
            body::verify(payload, self.start + self.position, expected)?;
        }
        self.skip(payload.len() as u64);
        Ok(())
    }

    fn skip(&mut self, count: u64) {
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
