//! Transfers of large bodies: producers and consumers on any number of channels, driven by one thread, or
//! by one per side.
//!
//! Zero-copy clients send with `sendfile` from the page cache and receive with `MSG_TRUNC`, which discards
//! the bytes in the kernel. They cost almost nothing, so the server decides the figure. Ordinary clients
//! write and read 256 KiB at a time.

mod consumer;
pub mod job;
mod producer;

use std::net::TcpStream;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::client::large_body;
use crate::client::poller::{Interest, Poller};
use crate::error::Result;
use crate::loads::transfer::consumer::{Consumer, Scratch};
use crate::loads::transfer::job::{Job, Moved, Next};
use crate::loads::transfer::producer::Producer;
use crate::row::run::Run;

/// A transfer that takes longer fails.
const SECONDS_MAX: Duration = Duration::from_secs(120);

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

/// Drives one consumer of bodies that somebody else sends to channel 0, with content from 0 on. The time
/// begins with the first byte of the first body.
pub fn one_consumer(run: &Run, job: Job) -> Result<Moved> {
    let opened = OnceLock::from(Instant::now());
    let consumer = Consumer::new(run, job, &run.channel(0), 0, &opened)?;
    let mut consumers = [Client::Consumer(consumer)];
    drive(&mut consumers, job.stop)?;
    let [Client::Consumer(consumer)] = &consumers else {
        return Err("no consumer".into());
    };
    let begin = consumer.first_byte.ok_or("stopped before any byte")?;
    Ok(summary(&consumers, begin))
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

/// One producer and one consumer per exchange.
fn clients<'job>(
    run: &'job Run,
    job: Job<'job>,
    opened: &'job OnceLock<Instant>,
) -> Result<Sides<'job>> {
    let mut producers = Vec::with_capacity(job.exchanges);
    let mut consumers = Vec::with_capacity(job.exchanges);
    for index in 0..job.exchanges {
        let channel = run.channel(index);
        // A multiple of 8 that differs between exchanges; whole pages suit sendfile.
        let start = (index as u64 * (large_body::PERIOD_BYTES / job.exchanges as u64)) & !4095;
        producers.push(Client::Producer(Producer::new(
            run, job, &channel, start, opened,
        )?));
        consumers.push(Client::Consumer(Consumer::new(
            run, job, &channel, start, opened,
        )?));
    }
    Ok((producers, consumers))
}

type Sides<'job> = (Vec<Client<'job>>, Vec<Client<'job>>);

enum Client<'job> {
    Producer(Producer<'job>),
    Consumer(Consumer<'job>),
}

impl Client<'_> {
    fn socket(&self) -> &TcpStream {
        match self {
            Self::Producer(producer) => &producer.socket,
            Self::Consumer(consumer) => &consumer.socket,
        }
    }

    fn advance(&mut self, scratch: &mut Scratch) -> Result<Next> {
        match self {
            Self::Producer(producer) => producer.advance(),
            Self::Consumer(consumer) => consumer.advance(scratch),
        }
    }
}

/// Drives `clients` until all of them are done, or `stop` is set.
fn drive(clients: &mut [Client], stop: Option<&AtomicBool>) -> Result<()> {
    let deadline = Instant::now() + SECONDS_MAX;
    let mut poller = Poller::new()?;
    let mut scratch = Scratch::new();
    for (token, client) in clients.iter().enumerate() {
        poller.add(client.socket(), token, Interest::Write)?;
    }
    let mut waits_for = vec![Next::Room; clients.len()];
    let mut active = clients.len();
    let mut ready = Vec::new();
    while active > 0 {
        poller.wait(Duration::from_millis(100), &mut ready)?;
        for &token in &ready {
            let next = clients[token].advance(&mut scratch)?;
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
                    active -= 1;
                }
            }
        }
        if stop.is_some_and(|stop| stop.load(Ordering::Relaxed)) {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("large bodies were not done after {SECONDS_MAX:?}").into());
        }
    }
    Ok(())
}
