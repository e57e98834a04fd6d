//! CPU per pair of a backlog: producers and consumers that queue on one channel behind an exchange.
//!
//! The exchange holds the channel with a body of which only half was sent. When all others wait, the other
//! half follows, and the server matches the backlog by itself: each match follows the end of the exchange
//! before it, not the arrival of a request.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::client::poller::{Interest, Poller};
use crate::client::small_body::{BODY_BYTES, post, stamp, verify};
use crate::client::{connection, metrics, reply};
use crate::error::Result;
use crate::row::measure::{Measure, Sample};
use crate::row::run::Run;
use crate::system::machine;
use crate::system::process::CpuMeter;

/// Backlogs per turn, after an uncounted one for warm-up.
const BACKLOGS: u64 = 5;
const REPLY_BYTES_MAX: usize = 512;

/// From the release of the channel until every body is delivered and every producer has its reply.
pub fn released(run: &Run) -> Result<Sample> {
    let channel = run.channel(0);
    let mut holder = Holder::connect(run, &channel)?;
    let mut backlog = Backlog::connect(run, &channel)?;
    let (mut cpu_seconds, mut seconds) = (0.0, 0.0);
    for turn in 0..=BACKLOGS {
        holder.hold()?;
        backlog.queue(run, turn)?;
        let (begin, cpu) = (Instant::now(), CpuMeter::start(run.target.pid)?);
        holder.release()?;
        backlog.receive(turn)?;
        if turn > 0 {
            cpu_seconds += cpu.seconds()?;
            seconds += begin.elapsed().as_secs_f64();
        }
        holder.finish()?;
    }
    let pairs = (run.scale.backlog as u64 * BACKLOGS) as f64;
    Ok(vec![
        (Measure::CpuMicrosEach, cpu_seconds * 1e6 / pairs),
        (Measure::PairsPerSecond, pairs / seconds),
    ])
}

/// The exchange that holds the channel.
struct Holder {
    producer: TcpStream,
    consumer: TcpStream,
    post: Vec<u8>,
    get: Vec<u8>,
    /// What the consumer has received of its reply.
    received: Vec<u8>,
}

impl Holder {
    fn connect(run: &Run, channel: &str) -> Result<Self> {
        Ok(Self {
            producer: connection::connect(run.target.address)?,
            consumer: connection::connect(run.target.address)?,
            post: post(run.target, channel),
            get: run.target.get(channel),
            received: Vec::new(),
        })
    }

    /// Sends half of the body; returns when some of it has arrived.
    fn hold(&mut self) -> Result<()> {
        self.consumer.write_all(&self.get)?;
        let (first, _) = self.post.split_at(self.post.len() - BODY_BYTES / 2);
        self.producer.write_all(first)?;
        self.received.clear();
        loop {
            self.receive()?;
            let head = reply::parse_head(&self.received)?;
            if head.is_some_and(|head| head.bytes < self.received.len()) {
                return Ok(());
            }
        }
    }

    fn release(&mut self) -> Result<()> {
        let (_, rest) = self.post.split_at(self.post.len() - BODY_BYTES / 2);
        Ok(self.producer.write_all(rest)?)
    }

    fn finish(&mut self) -> Result<()> {
        while reply::small_body(&self.received)?.is_none() {
            self.receive()?;
        }
        reply::read_small(&self.producer, &mut [0; REPLY_BYTES_MAX])?;
        Ok(())
    }

    fn receive(&mut self) -> Result<()> {
        let mut bytes = [0; REPLY_BYTES_MAX];
        match self.consumer.read(&mut bytes)? {
            0 => Err(
                "the server closed the connection of the exchange that holds the channel".into(),
            ),
            count => {
                self.received.extend_from_slice(&bytes[..count]);
                Ok(())
            }
        }
    }
}

/// The producers and consumers that queue.
struct Backlog {
    poller: Poller,
    /// Producers first, then as many consumers.
    clients: Vec<Client>,
    /// Of each producer, whether its body has arrived.
    arrived: Vec<bool>,
}

struct Client {
    socket: TcpStream,
    request: Vec<u8>,
    reply: Vec<u8>,
}

impl Backlog {
    fn connect(run: &Run, channel: &str) -> Result<Self> {
        let pairs = run.scale.backlog;
        machine::check_connections(2 * pairs)?;
        let poller = Poller::new()?;
        let (post, get) = (post(run.target, channel), run.target.get(channel));
        let requests = [vec![post; pairs], vec![get; pairs]].concat();
        let mut clients = Vec::with_capacity(2 * pairs);
        for (token, request) in requests.into_iter().enumerate() {
            let socket = connection::connect_nonblocking(run.target.address)?;
            connection::reset_on_close(&socket)?;
            poller.add(&socket, token, Interest::NewData)?;
            clients.push(Client {
                socket,
                request,
                reply: Vec::with_capacity(REPLY_BYTES_MAX),
            });
        }
        Ok(Self {
            poller,
            clients,
            arrived: vec![false; pairs],
        })
    }

    /// Sends all requests; returns when all of them wait.
    fn queue(&mut self, run: &Run, turn: u64) -> Result<()> {
        let pairs = self.arrived.len();
        self.arrived.fill(false);
        for (index, client) in self.clients.iter_mut().enumerate() {
            if index < pairs {
                stamp(&mut client.request, index, turn);
            }
            client.reply.clear();
            client.socket.write_all(&client.request)?;
        }
        for side in ["producer", "consumer"] {
            let waiting = format!("httpipe_waiting{{side=\"{side}\"}}");
            metrics::await_at_least(run.target, &waiting, pairs as f64)?;
        }
        Ok(())
    }

    /// Receives all replies; fails unless every body arrives exactly once.
    fn receive(&mut self, turn: u64) -> Result<()> {
        let pairs = self.arrived.len();
        let mut pending = self.clients.len();
        let mut ready = Vec::new();
        while pending > 0 {
            self.poller.wait(Duration::from_millis(100), &mut ready)?;
            for &token in &ready {
                let client = &mut self.clients[token];
                if !client.receive()? {
                    continue;
                }
                pending -= 1;
                if token >= pairs {
                    note_arrival(&client.reply, turn, &mut self.arrived)?;
                }
            }
        }
        Ok(())
    }
}

impl Client {
    /// True if the reply is complete now.
    fn receive(&mut self) -> Result<bool> {
        let mut bytes = [0; REPLY_BYTES_MAX];
        match self.socket.read(&mut bytes) {
            Ok(0) => return Err("the server closed a connection".into()),
            Ok(count) => self.reply.extend_from_slice(&bytes[..count]),
            Err(error) if connection::would_block(&error) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        Ok(reply::small_body(&self.reply)?.is_some())
    }
}

/// Any consumer may get any body, but each producer's body arrives once.
fn note_arrival(received: &[u8], turn: u64, arrived: &mut [bool]) -> Result<()> {
    let body = reply::small_body(received)?.ok_or("an incomplete reply")?;
    let body = &received[body];
    let number = body.first_chunk().ok_or("a body that is too short")?;
    let producer = usize::try_from(u64::from_le_bytes(*number))?;
    verify(body, producer, turn)?;
    match arrived.get_mut(producer) {
        Some(arrived @ false) => *arrived = true,
        _ => return Err(format!("the body of producer {producer} arrived twice").into()),
    }
    Ok(())
}
