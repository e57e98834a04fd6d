//! Small pairs: many persistent connections in one thread, each with one request in flight.
//!
//! Each producer has one consumer, and both use the same channels in the same order; no other pair uses
//! them. So a body can only reach its own consumer, and every body is verified by its pair and turn. The
//! same loop measures a server with static replies (nginx), so that the yardstick has the same client.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::client::poller::{Interest, Poller};
use crate::client::small_body::{BODY_BYTES, post, stamp, verify};
use crate::client::target::Target;
use crate::client::{connection, metrics, reply};
use crate::error::Result;
use crate::row::measure::{Measure, Sample};
use crate::row::run::Run;
use crate::system::process::CpuMeter;

/// Pairs of connections.
pub const PAIRS: usize = 64;

/// Channels per pair of connections: more than a thousand in all.
const RANDOM_CHANNELS: usize = 16;
/// Longest reply.
const REPLY_BYTES_MAX: usize = 1024;

/// 64 channels, each with one pair of connections.
pub fn steady(run: &Run) -> Result<Sample> {
    drive(run, pair_connections(run, 1)?)
}

/// Like [`steady`], for a server with an access log: each pair is two lines.
pub fn logged(run: &Run) -> Result<Sample> {
    let lost = || metrics::value(run.target, "httpipe_log_lines_dropped_total");
    let before = lost()?;
    let mut sample = steady(run)?;
    sample.push((Measure::LogLinesLost, lost()? - before));
    Ok(sample)
}

/// Every request uses a different channel than the one before on its connection.
pub fn random(run: &Run) -> Result<Sample> {
    drive(run, pair_connections(run, RANDOM_CHANNELS)?)
}

/// The same number of connections, with replies that need no counterpart. Two replies count as a pair.
pub fn replies(run: &Run) -> Result<Sample> {
    let askers = (0..2 * PAIRS)
        .map(|pair| Connection::new(run.target, Role::Asker, pair, vec![run.target.get("")]));
    drive(run, askers.collect::<Result<_>>()?)
}

fn pair_connections(run: &Run, channels: usize) -> Result<Vec<Connection>> {
    let mut connections = Vec::with_capacity(2 * PAIRS);
    for pair in 0..PAIRS {
        let names: Vec<_> = (0..channels)
            .map(|index| run.channel(pair * channels + index))
            .collect();
        let posts = names.iter().map(|name| post(run.target, name)).collect();
        let gets = names.iter().map(|name| run.target.get(name)).collect();
        connections.push(Connection::new(run.target, Role::Producer, pair, posts)?);
        connections.push(Connection::new(run.target, Role::Consumer, pair, gets)?);
    }
    Ok(connections)
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Role {
    Producer,
    Consumer,
    /// For a server with static replies.
    Asker,
}

struct Connection {
    socket: TcpStream,
    role: Role,
    pair: usize,
    /// One complete request per channel.
    requests: Vec<Vec<u8>>,
    channel: usize,
    /// Both connections of a pair have the same seed, so they choose the same channels.
    chance: Rng,
    sent: u64,
    answered: u64,
    reply: Box<[u8; REPLY_BYTES_MAX]>,
    filled: usize,
}

#[derive(PartialEq, Eq)]
enum Progress {
    Partial,
    Answered,
}

impl Connection {
    fn new(target: &Target, role: Role, pair: usize, requests: Vec<Vec<u8>>) -> Result<Self> {
        Ok(Self {
            socket: connection::connect_nonblocking(target.address)?,
            role,
            pair,
            requests,
            channel: 0,
            chance: Rng::with_seed(pair as u64),
            sent: 0,
            answered: 0,
            reply: Box::new([0; REPLY_BYTES_MAX]),
            filled: 0,
        })
    }

    /// Sends the next request in one write: it is far smaller than the socket's empty buffer.
    fn send(&mut self) -> Result<()> {
        self.choose_channel();
        let request = &mut self.requests[self.channel];
        if self.role == Role::Producer {
            stamp(request, self.pair, self.sent);
        }
        let count = self.socket.write(request)?;
        if count < request.len() {
            return Err("a small request did not fit into the socket's buffer".into());
        }
        self.sent += 1;
        Ok(())
    }

    fn choose_channel(&mut self) {
        let others = self.requests.len() - 1;
        if others > 0 {
            self.channel = (self.channel + 1 + self.chance.usize(0..others)) % self.requests.len();
        }
    }

    /// One read is enough: the poller is edge-triggered and reports data that arrives later.
    fn receive(&mut self) -> Result<Progress> {
        match self.socket.read(&mut self.reply[self.filled..]) {
            Ok(0) => return Err("the server closed a connection, or sent too long a reply".into()),
            Ok(count) => self.filled += count,
            Err(error) if connection::would_block(&error) => return Ok(Progress::Partial),
            Err(error) => return Err(error.into()),
        }
        let Some(body) = reply::small_body(&self.reply[..self.filled])? else {
            return Ok(Progress::Partial);
        };
        match self.role {
            Role::Consumer => verify(&self.reply[body], self.pair, self.answered)?,
            Role::Asker if body.len() != BODY_BYTES => return Err("not the expected reply".into()),
            _ => {}
        }
        self.filled = 0;
        self.answered += 1;
        Ok(Progress::Answered)
    }
}

enum Phase {
    WarmUp {
        until: Instant,
    },
    Counting {
        until: Instant,
        since: Instant,
        answered_before: u64,
        cpu: CpuMeter,
    },
    /// Sends no new requests and waits for the replies, so that no request stays on the server.
    Ending(Sample),
}

fn drive(run: &Run, mut connections: Vec<Connection>) -> Result<Sample> {
    let mut poller = Poller::new()?;
    for (token, connection) in connections.iter_mut().enumerate() {
        poller.add(&connection.socket, token, Interest::NewData)?;
        connection.send()?;
    }
    let mut in_flight = connections.len();
    let mut answered = 0;
    let mut phase = Phase::WarmUp {
        until: Instant::now() + run.scale.warm_up,
    };
    let mut ready = Vec::new();
    while in_flight > 0 {
        poller.wait(Duration::from_millis(50), &mut ready)?;
        phase = advance(phase, run, answered)?;
        for &token in &ready {
            if connections[token].receive()? == Progress::Partial {
                continue;
            }
            answered += 1;
            in_flight -= 1;
            if !matches!(phase, Phase::Ending(_)) || lags_behind(&connections, token) {
                connections[token].send()?;
                in_flight += 1;
            }
        }
    }
    match phase {
        Phase::Ending(sample) => Ok(sample),
        _ => Err("the load ended early".into()),
    }
}

/// True if the other connection of the pair has sent a request without a counterpart so far.
fn lags_behind(connections: &[Connection], token: usize) -> bool {
    // Neighbours are a pair: see `pair_connections`.
    let (connection, partner) = (&connections[token], &connections[token ^ 1]);
    connection.role != Role::Asker && connection.sent < partner.sent
}

fn advance(phase: Phase, run: &Run, answered: u64) -> Result<Phase> {
    let now = Instant::now();
    Ok(match phase {
        Phase::WarmUp { until } if now >= until => Phase::Counting {
            until: now + run.scale.window,
            since: now,
            answered_before: answered,
            cpu: CpuMeter::start(run.target.pid)?,
        },
        Phase::Counting {
            until,
            since,
            answered_before,
            cpu,
        } if now >= until => {
            let seconds = since.elapsed().as_secs_f64();
            // A pair has two replies.
            let pairs = (answered - answered_before) as f64 / 2.0;
            Phase::Ending(vec![
                (Measure::CpuMicrosEach, cpu.seconds()? * 1e6 / pairs),
                (Measure::PairsPerSecond, pairs / seconds),
            ])
        }
        same => same,
    })
}
