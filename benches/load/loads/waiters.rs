//! Consumers that wait, each on its own channel.

use std::io::Write;
use std::net::TcpStream;

use crate::client::small_body::{post, stamp, verify};
use crate::client::{connection, metrics, reply};
use crate::error::Result;
use crate::row::run::Run;
use crate::system::machine;

/// Pairs that make the server allocate what it needs for any client.
const WARM_UP_PAIRS: usize = 64;
/// This many of the consumers are served at the end, which proves that they were waiting.
const SERVED: usize = 64;

const WAITING: &str = "httpipe_waiting{side=\"consumer\"}";

pub struct Waiters<'run> {
    run: &'run Run<'run>,
    /// One per channel, in the order of the channels.
    consumers: Vec<TcpStream>,
}

impl<'run> Waiters<'run> {
    /// The number of consumers: as many as the scale says, or as there are descriptors for.
    pub fn count(run: &Run) -> usize {
        run.scale.waiting.min(machine::connections_max())
    }

    /// Serves some pairs first, on channels that the waiters do not use.
    pub fn warm_up(run: &Run) -> Result<()> {
        for index in Self::count(run)..Self::count(run) + WARM_UP_PAIRS {
            serve(run, index, &wait_on(run, index)?)?;
        }
        Ok(())
    }

    /// Connects all consumers and returns when they wait.
    pub fn join(run: &'run Run<'run>) -> Result<Self> {
        let consumers = (0..Self::count(run))
            .map(|index| wait_on(run, index))
            .collect::<Result<_>>()?;
        let waiters = Self { run, consumers };
        waiters.check_waiting()?;
        Ok(waiters)
    }

    /// Returns when the server says that all consumers wait; fails if it does not say so in time.
    pub fn check_waiting(&self) -> Result<()> {
        if !self.run.target.has_metrics {
            return Ok(());
        }
        let count = self.consumers.len() as f64;
        metrics::await_at_least(self.run.target, WAITING, count)
    }

    /// Sends the first byte of each consumer's next request. It arrives after the server has read the
    /// first request, so it stays in the socket.
    pub fn send_unread_byte(&self) -> Result<()> {
        for mut consumer in &self.consumers {
            consumer.write_all(b"G")?;
        }
        Ok(())
    }

    /// Serves some of the consumers.
    pub fn serve(self) -> Result<()> {
        let every = (self.consumers.len() / SERVED).max(1);
        for (index, consumer) in self.consumers.iter().enumerate().step_by(every) {
            serve(self.run, index, consumer)?;
        }
        Ok(())
    }
}

fn wait_on(run: &Run, index: usize) -> Result<TcpStream> {
    let mut consumer = connection::connect(run.target.address)?;
    connection::reset_on_close(&consumer)?;
    consumer.write_all(&run.target.get(&run.channel(index)))?;
    Ok(consumer)
}

fn serve(run: &Run, index: usize, consumer: &TcpStream) -> Result<()> {
    let mut request = post(run.target, &run.channel(index));
    stamp(&mut request, index, 0);
    let mut producer = connection::connect(run.target.address)?;
    producer.write_all(&request)?;
    let mut reply = [0; 1024];
    let body = reply::read_small(consumer, &mut reply)?;
    verify(&reply[body], index, 0)?;
    reply::read_small(&producer, &mut reply)?;
    Ok(())
}
