//! One channel, one pair at a time: how long a small body is under way.
//!
//! Time runs from just before the producer's send to just after the consumer's receipt of the
//! body. The two are threads of their own with blocking sockets, because that is what two programs
//! that wait for each other see: one thread that plays both sides would save itself a wake that
//! real users pay for. Each goes on as soon as it has its reply; the consumer's next request is
//! then about as early as the producer's, and whichever comes later decides.
//!
//! A second figure lets everything fall silent before each pair (the consumer waits already): it
//! shows what a server that spins for a moment before it sleeps can no longer hide.

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

/// Longer than any server is expected to spin.
const SILENCE: Duration = Duration::from_millis(2);

/// Median and 99th percentile, the server's CPU a pair, and the median after a silence.
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

/// `pairs` pairs on the run's channel number `channel`; the producer waits for `pause` before each.
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
