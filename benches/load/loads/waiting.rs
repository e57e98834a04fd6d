//! Memory per waiting consumer; each waits on its own channel.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use crate::client::small_body::{post, stamp, verify};
use crate::client::{connection, metrics, reply};
use crate::error::Result;
use crate::row::measure::{Measure, Sample};
use crate::row::run::Run;
use crate::system::machine;
use crate::system::process;

/// Descriptors that the harness and the server need for other purposes.
const FILES_SPARE: usize = 500;
/// Pairs that make the server allocate what it needs for any client.
const WARM_UP_PAIRS: usize = 64;
/// This many of the consumers are served at the end, which proves that they were waiting.
const SERVED: usize = 64;

pub fn memory(run: &Run) -> Result<Sample> {
    let count = run
        .scale
        .waiting
        .min(machine::open_files_max().saturating_sub(FILES_SPARE));
    for index in 0..WARM_UP_PAIRS {
        let channel = run.channel(count + index);
        serve(run, &channel, wait_on(run, &channel)?, index)?;
    }
    let before = settled_resident_kib(run)?;
    let channels: Vec<_> = (0..count).map(|index| run.channel(index)).collect();
    let consumers: Vec<_> = channels
        .iter()
        .map(|channel| wait_on(run, channel))
        .collect::<Result<_>>()?;
    if run.target.has_metrics {
        metrics::await_at_least(
            run.target,
            "httpipe_waiting{side=\"consumer\"}",
            count as f64,
        )?;
    }
    let resident = settled_resident_kib(run)? - before;
    let every = (count / SERVED).max(1);
    for (index, consumer) in consumers.into_iter().enumerate().step_by(every) {
        serve(run, &channels[index], consumer, index)?;
    }
    Ok(vec![(Measure::ResidentKibEach, resident / count as f64)])
}

fn wait_on(run: &Run, channel: &str) -> Result<TcpStream> {
    let mut consumer = connection::connect(run.target.address)?;
    // With a reset no port stays in TIME_WAIT, and the next round finds enough free ports.
    rustix::net::sockopt::set_socket_linger(&consumer, Some(Duration::ZERO))?;
    consumer.write_all(&run.target.get(channel))?;
    Ok(consumer)
}

fn serve(run: &Run, channel: &str, consumer: TcpStream, index: usize) -> Result<()> {
    let mut request = post(run.target, channel);
    stamp(&mut request, index, 0);
    let mut producer = connection::connect(run.target.address)?;
    producer.write_all(&request)?;
    let mut reply = [0; 1024];
    let body = reply::read_small(&consumer, &mut reply)?;
    verify(&reply[body], index, 0)?;
    reply::read_small(&producer, &mut reply)?;
    Ok(())
}

/// Resident memory when it has stopped changing: the server may still be accepting.
fn settled_resident_kib(run: &Run) -> Result<f64> {
    const LOOKS_MAX: usize = 50;
    let mut last = process::resident_kib(run.target.pid)?;
    for _ in 0..LOOKS_MAX {
        std::thread::sleep(Duration::from_millis(150));
        let now = process::resident_kib(run.target.pid)?;
        if now == last {
            break;
        }
        last = now;
    }
    Ok(last)
}
