//! Large bodies: throughput, and the server's CPU a GiB.
//!
//! The timed pass does not look at the bodies. A smaller pass before it compares every byte.

use crate::error::Result;
use crate::loads::transfer;
use crate::loads::transfer::job::{Chunking, Job, Sending, Taking};
use crate::row::measure::{Measure, Sample};
use crate::row::run::Run;
use crate::row::scale::Scale;
use crate::system::process::CpuMeter;

/// Bodies of 1 GiB, zero-copy clients.
pub fn zero_copy(run: &Run) -> Result<Sample> {
    timed(run, one_channel(run.scale, Sending::File, Taking::Discard))
}

/// Bodies of 1 GiB, ordinary clients.
pub fn ordinary(run: &Run) -> Result<Sample> {
    timed(run, one_channel(run.scale, Sending::Writes, Taking::Read))
}

/// Bodies of 1 GiB in chunks of 64 KiB, four in a write, ordinary clients.
pub fn chunked(run: &Run) -> Result<Sample> {
    let chunking = Chunking {
        bytes: 64 << 10,
        per_write: 4,
    };
    timed(run, in_chunks(run.scale, chunking))
}

/// Bodies of 1 GiB in chunks of `BYTES`, one in a write, ordinary clients.
pub fn a_write_a_chunk<const BYTES: usize>(run: &Run) -> Result<Sample> {
    let chunking = Chunking {
        bytes: BYTES,
        per_write: 1,
    };
    timed(run, in_chunks(run.scale, chunking))
}

fn in_chunks(scale: &Scale, chunking: Chunking) -> Job<'static> {
    one_channel(scale, Sending::Chunks(chunking), Taking::Read)
}

/// Bodies of 64 KiB on four channels, zero-copy clients.
pub fn bodies_64k(run: &Run) -> Result<Sample> {
    timed(run, four_channels(run.scale, Scale::SMALL_BODY_BYTES))
}

/// Bodies of 1 MiB on four channels, zero-copy clients.
pub fn bodies_1m(run: &Run) -> Result<Sample> {
    timed(run, four_channels(run.scale, Scale::MIDDLE_BODY_BYTES))
}

/// Measures `job`. In the first round a smaller verified pass comes first.
fn timed(run: &Run, job: Job) -> Result<Sample> {
    if run.round == 0 {
        transfer::two_threads(run, verified(job, run.scale))?;
    }
    let cpu = CpuMeter::start(run.target.pid)?;
    let moved = transfer::two_threads(run, job)?;
    Ok(vec![
        (Measure::CpuSecondsPerGib, cpu.seconds()? / moved.gib()),
        (Measure::GibPerSecond, moved.gib() / moved.seconds),
    ])
}

fn one_channel(scale: &Scale, sending: Sending, taking: Taking) -> Job<'static> {
    Job {
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

fn four_channels(scale: &Scale, bytes: u64) -> Job<'static> {
    let bodies = scale.middle_bytes / bytes / 4;
    let job = one_channel(scale, Sending::File, Taking::Discard);
    Job {
        exchanges: 4,
        bodies,
        bytes,
        ..job
    }
}

/// The same job at the size of the verified pass, with consumers that compare.
fn verified<'job>(job: Job<'job>, scale: &Scale) -> Job<'job> {
    let bytes = job.bytes.min(scale.verified_bytes);
    let bodies = (scale.verified_bytes / job.exchanges as u64 / bytes).max(1);
    Job {
        bodies,
        bytes,
        taking: Taking::Verify,
        ..job
    }
}
