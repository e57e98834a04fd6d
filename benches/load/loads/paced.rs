//! Small pairs at a fixed rate.
//!
//! Each pair is due by the clock, whether or not the pair before it is done, and its time runs from then.
//! So a stall of the server delays every pair that is due during it, as it does for users, and not just
//! one.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use crate::client::poller::{Interest, Poller};
use crate::client::small_body::{post, stamp, verify};
use crate::client::{connection, reply};
use crate::error::Result;
use crate::loads::histogram::histogram;
use crate::row::run::Run;

/// Pairs of connections, used in turn.
const PAIRS: usize = 16;
/// Interval between pairs: 1,000 a second.
const PERIOD: Duration = Duration::from_millis(1);
/// The timer's token; the connections have the tokens from 0.
const METRONOME: usize = usize::MAX;

struct Pair {
    producer: TcpStream,
    consumer: TcpStream,
    post: Vec<u8>,
    get: Vec<u8>,
    /// When the bodies that have not arrived were due; the first of them is in flight.
    due: VecDeque<Instant>,
    /// The producer waits for a reply.
    producing: bool,
    produced: u64,
    consumed: u64,
    reply: [u8; 1024],
    filled: usize,
}

/// Latencies of small pairs, 1,000 a second during the run's window, on channels from number
/// `first_channel` on. Each latency counts from the time at which the pair was due.
pub fn pairs(run: &Run, first_channel: usize) -> Result<Histogram<u64>> {
    let mut pairs: Vec<_> = (0..PAIRS)
        .map(|index| Pair::new(run, first_channel + index))
        .collect::<Result<_>>()?;
    let mut poller = Poller::new()?;
    for (index, pair) in pairs.iter_mut().enumerate() {
        poller.add(&pair.producer, 2 * index, Interest::NewData)?;
        poller.add(&pair.consumer, 2 * index + 1, Interest::NewData)?;
        pair.consumer.write_all(&pair.get)?;
    }
    let mut latencies = histogram()?;
    let mut ready = Vec::new();
    // Set before the timer starts: a pair that is due just after a tick would wait for the next tick and
    // be late by a whole period.
    let mut next = Instant::now() + PERIOD;
    let metronome = metronome()?;
    poller.add(&metronome, METRONOME, Interest::Read)?;
    let end = next + run.scale.window;
    let mut turn = 0;
    while next < end || pairs.iter().any(|pair| !pair.due.is_empty()) {
        poller.wait(Duration::from_millis(100), &mut ready)?;
        for &token in &ready {
            if token == METRONOME {
                rustix::io::read(&metronome, &mut [0; 8])?;
                continue;
            }
            let (index, consumer) = (token / 2, token % 2 == 1);
            if consumer {
                pairs[index].receive_body(index, &mut latencies)?;
            } else {
                pairs[index].receive_reply(index)?;
            }
        }
        while next < end && next <= Instant::now() {
            let index = turn % PAIRS;
            pairs[index].due.push_back(next);
            pairs[index].produce(index)?;
            turn += 1;
            next += PERIOD;
        }
    }
    Ok(latencies)
}

/// A timer that becomes readable once a period; epoll's timeouts have whole milliseconds only.
fn metronome() -> Result<OwnedFd> {
    let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC)?;
    let period = Timespec::try_from(PERIOD)?;
    let ticks = Itimerspec {
        it_interval: period,
        it_value: period,
    };
    timerfd_settime(&timer, TimerfdTimerFlags::empty(), &ticks)?;
    Ok(timer)
}

impl Pair {
    fn new(run: &Run, channel: usize) -> Result<Self> {
        let channel = run.channel(channel);
        Ok(Self {
            producer: connection::connect_nonblocking(run.target.address)?,
            consumer: connection::connect_nonblocking(run.target.address)?,
            post: post(run.target, &channel),
            get: run.target.get(&channel),
            due: VecDeque::new(),
            producing: false,
            produced: 0,
            consumed: 0,
            reply: [0; 1024],
            filled: 0,
        })
    }

    /// Sends the next body that is due, unless one is in flight.
    fn produce(&mut self, index: usize) -> Result<()> {
        let in_flight = self.produced > self.consumed;
        if self.producing || in_flight || self.due.is_empty() {
            return Ok(());
        }
        stamp(&mut self.post, index, self.produced);
        self.producer.write_all(&self.post)?;
        self.producing = true;
        self.produced += 1;
        Ok(())
    }

    fn receive_reply(&mut self, index: usize) -> Result<()> {
        let mut reply = [0; 1024];
        match self.producer.read(&mut reply) {
            Ok(count) if reply::small_body(&reply[..count])?.is_some() => self.producing = false,
            Ok(_) => return Err("a producer's reply is not whole".into()),
            Err(error) if connection::would_block(&error) => {}
            Err(error) => return Err(error.into()),
        }
        self.produce(index)
    }

    fn receive_body(&mut self, index: usize, latencies: &mut Histogram<u64>) -> Result<()> {
        match self.consumer.read(&mut self.reply[self.filled..]) {
            Ok(0) => return Err("the server closed a consumer's connection".into()),
            Ok(count) => self.filled += count,
            Err(error) if connection::would_block(&error) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let Some(body) = reply::small_body(&self.reply[..self.filled])? else {
            return Ok(());
        };
        verify(&self.reply[body], index, self.consumed)?;
        let due = self.due.pop_front().ok_or("a body without a sender")?;
        latencies.record(u64::try_from(due.elapsed().as_nanos())?)?;
        self.filled = 0;
        self.consumed += 1;
        self.consumer.write_all(&self.get)?;
        self.produce(index)
    }
}
