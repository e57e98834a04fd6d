//! Small pairs while bulk exchanges run: how long a body of 100 bytes is under way then.
//!
//! The bulk clients are one thread with zero-copy clients, the small ones another, so that neither
//! crowds the server out, and the small one runs before all others if the harness is privileged to
//! arrange that: otherwise its own waiting for a core is what it would measure (on two cores, 5 to
//! 40 ms at the 99th percentile). Small pairs begin by the clock, not when the one before is through, and
//! their time runs from when they should have begun: a stall of the server is felt by every pair
//! that falls into it, as it is by users, and not by one alone.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use crate::bulk::{self, Job, Sending, Taking};
use crate::client;
use crate::error::Result;
use crate::latency::{histogram, micros};
use crate::poller::{Interest, Poller};
use crate::row::{Measure, Run, Sample};
use crate::small_body::{post, stamp, verify};
use crate::sys;

const BULK_EXCHANGES: usize = 8;
/// Pairs of connections that take turns.
const PAIRS: usize = 16;
/// A pair begins this often: 1,000 a second.
const PERIOD: Duration = Duration::from_millis(1);
/// What the poller calls the timer; the connections have the numbers from 0.
const METRONOME: usize = usize::MAX;

/// The latency of small pairs beside eight endless bulk exchanges, and what those moved meanwhile.
pub fn small_beside_bulk(run: &Run) -> Result<Sample> {
    let stop = AtomicBool::new(false);
    let job = Job {
        exchanges: BULK_EXCHANGES,
        bodies: u64::MAX,
        bytes: run.scale.bulk_bytes,
        sending: Sending::File,
        taking: Taking::Discard,
        socket_buffer_bytes: None,
        stop: Some(&stop),
        gate: None,
    };
    let (latencies, moved) = std::thread::scope(|scope| {
        let bulk = scope.spawn(|| bulk::one_thread(run, job));
        std::thread::sleep(run.scale.warm_up);
        // This turn's thread is its own, so nothing has to be undone.
        sys::run_before_others();
        let latencies = paced(run, BULK_EXCHANGES);
        stop.store(true, Ordering::Relaxed);
        let moved = bulk
            .join()
            .map_err(|_| "the bulk clients' thread panicked")??;
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>((latencies?, moved))
    })?;
    Ok(vec![
        (Measure::P99Micros, micros(&latencies, 0.99)),
        (Measure::MedianMicros, micros(&latencies, 0.5)),
        (Measure::GibPerSecond, moved.gib() / moved.seconds),
    ])
}

struct Pair {
    producer: TcpStream,
    consumer: TcpStream,
    post: Vec<u8>,
    get: Vec<u8>,
    /// When the pairs that have not arrived yet should have begun; the first one is under way.
    due: VecDeque<Instant>,
    /// The producer has a request in flight.
    producing: bool,
    produced: u64,
    consumed: u64,
    reply: [u8; 1024],
    filled: usize,
}

/// Small pairs for as long as the run's window, 1,000 a second by the clock, on the run's channels
/// from number `first_channel` on: how long each was under way since it should have begun.
pub fn paced(run: &Run, first_channel: usize) -> Result<Histogram<u64>> {
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
    // Before the metronome is set going: a pair that were due just behind its tick would begin with
    // the next one, and be late by a whole period.
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
                pairs[index].receive(index, &mut latencies)?;
            } else {
                pairs[index].hear(index)?;
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

/// A timer that becomes readable once a period. (The poller's own timeouts are whole milliseconds.)
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
            producer: client::connect_nonblocking(run.target.address)?,
            consumer: client::connect_nonblocking(run.target.address)?,
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

    /// Sends the next body that is due, unless one is under way.
    fn produce(&mut self, index: usize) -> Result<()> {
        let under_way = self.produced > self.consumed;
        if self.producing || under_way || self.due.is_empty() {
            return Ok(());
        }
        stamp(&mut self.post, index, self.produced);
        self.producer.write_all(&self.post)?;
        self.producing = true;
        self.produced += 1;
        Ok(())
    }

    /// The producer has a reply.
    fn hear(&mut self, index: usize) -> Result<()> {
        let mut reply = [0; 1024];
        match self.producer.read(&mut reply) {
            Ok(count) if client::small_body(&reply[..count])?.is_some() => self.producing = false,
            Ok(_) => return Err("a producer's reply is not whole".into()),
            Err(error) if client::would_block(&error) => {}
            Err(error) => return Err(error.into()),
        }
        self.produce(index)
    }

    /// The consumer has (some of) a body.
    fn receive(&mut self, index: usize, latencies: &mut Histogram<u64>) -> Result<()> {
        match self.consumer.read(&mut self.reply[self.filled..]) {
            Ok(0) => return Err("the server closed a consumer's connection".into()),
            Ok(count) => self.filled += count,
            Err(error) if client::would_block(&error) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let Some(body) = client::small_body(&self.reply[..self.filled])? else {
            return Ok(());
        };
        verify(&self.reply[body], index, self.consumed)?;
        let due = self.due.pop_front().ok_or("a body that nobody sent")?;
        latencies.record(u64::try_from(due.elapsed().as_nanos())?)?;
        self.filled = 0;
        self.consumed += 1;
        self.consumer.write_all(&self.get)?;
        self.produce(index)
    }
}
