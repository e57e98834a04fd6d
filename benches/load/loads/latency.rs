//! Latency of small bodies: one channel, one pair at a time.
//!
//! The time runs from just before the producer's send to just after the consumer's receive. Producer and
//! consumer are threads with blocking sockets, like two programs that wait for each other: a single
//! thread with both roles would avoid a wakeup that real users pay for. Each continues as soon as it has
//! its reply, so either of them may be the one that the other waits for.
//!
//! A second figure has a silence before each pair, while the consumer already waits. It shows the latency
//! of a server that has stopped spinning.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::client::small_body::{BODY_BYTES, post};
use crate::client::{connection, reply};
use crate::error::Result;
use crate::loads::histogram::{histogram, micros};
use crate::row::measure::{Measure, Sample};
use crate::row::run::Run;
use crate::system::process::CpuMeter;

/// Longer than any server spins.
const SILENCE: Duration = Duration::from_millis(2);

pub fn one_at_a_time(run: &Run) -> Result<Sample> {
    let warm_up = run.scale.latency_pairs / 20;
    exchange(run, 0, warm_up, Duration::ZERO)?;
    let cpu = CpuMeter::start(run.target.pid)?;
    let busy = exchange(run, 1, run.scale.latency_pairs, Duration::ZERO)?;
    let cpu = cpu.seconds()? * 1e6 / run.scale.latency_pairs as f64;
    let quiet = exchange(run, 2, run.scale.quiet_pairs, SILENCE)?;
    Ok(vec![
        (Measure::MedianMicros, micros(&busy, 0.5)),
        (Measure::P99Micros, micros(&busy, 0.99)),
        (Measure::CpuMicrosEach, cpu),
        (Measure::QuietMedianMicros, micros(&quiet, 0.5)),
    ])
}

/// `pairs` pairs on channel number `channel`; the producer sleeps for `pause` before each.
fn exchange(run: &Run, channel: usize, pairs: u64, pause: Duration) -> Result<Histogram<u64>> {
    let channel = run.channel(channel);
    let (get, post) = (run.target.get(&channel), post(run.target, &channel));
    let producer = connection::connect(run.target.address)?;
    let consumer = connection::connect(run.target.address)?;
    let epoch = Instant::now();
    std::thread::scope(|scope| {
        let producing = scope.spawn(move || produce(&producer, post, pairs, pause, epoch));
        let latencies = consume(&consumer, &get, pairs, epoch);
        producing
            .join()
            .map_err(|_| "the producer's thread panicked")??;
        latencies
    })
}

fn produce(
    mut socket: &TcpStream,
    mut post: Vec<u8>,
    pairs: u64,
    pause: Duration,
    epoch: Instant,
) -> Result<()> {
    let mut reply = [0; 1024];
    let body = post.len() - BODY_BYTES;
    for _ in 0..pairs {
        if !pause.is_zero() {
            std::thread::sleep(pause);
        }
        let now = u64::try_from(epoch.elapsed().as_nanos())?;
        post[body..][..8].copy_from_slice(&now.to_le_bytes());
        socket.write_all(&post)?;
        reply::read_small(socket, &mut reply)?;
    }
    Ok(())
}

fn consume(
    mut socket: &TcpStream,
    get: &[u8],
    pairs: u64,
    epoch: Instant,
) -> Result<Histogram<u64>> {
    let mut reply = [0; 1024];
    let mut latencies = histogram()?;
    for _ in 0..pairs {
        socket.write_all(get)?;
        let body = reply::read_small(socket, &mut reply)?;
        let now = u64::try_from(epoch.elapsed().as_nanos())?;
        let stamp = reply[body]
            .first_chunk()
            .ok_or("a body that is too short")?;
        let sent = u64::from_le_bytes(*stamp);
        latencies.record(now.checked_sub(sent).ok_or("a body from the future")?)?;
    }
    Ok(latencies)
}
