//! A thousand exchanges at once. All of them make progress and end, every byte is verified, and pipes and
//! memory of the server stay bounded.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::client::metrics;
use crate::client::target::Target;
use crate::error::Result;
use crate::loads::transfer;
use crate::loads::transfer::job::{Job, Moved, Sending, Taking};
use crate::row::measure::{Measure, Sample};
use crate::row::run::Run;
use crate::system::process;

/// Without this limit a thousand clients fill gigabytes of socket buffers, and the row measures TCP's
/// memory limits.
const SOCKET_BUFFER_BYTES: usize = 256 << 10;
/// Time to begin all exchanges, for a server without metrics.
const HEAD_START: Duration = Duration::from_secs(1);
/// Interval between two readings of the number of pipes.
const LOOK_EVERY: Duration = Duration::from_millis(50);

pub fn exchanges(run: &Run) -> Result<Sample> {
    let job = Job {
        exchanges: run.scale.crowd,
        bodies: 1,
        bytes: run.scale.crowd_bytes,
        sending: Sending::File,
        taking: Taking::Verify,
        socket_buffer_bytes: Some(SOCKET_BUFFER_BYTES),
        stop: None,
        gate: Some(all_at_once),
    };
    let before = process::resident_kib(run.target.pid)?;
    let over = AtomicBool::new(false);
    let (moved, pipes) = std::thread::scope(|scope| {
        let looking = scope.spawn(|| most_pipes(run.target, &over));
        let moved = transfer::two_threads(run, job);
        over.store(true, Ordering::Relaxed);
        let pipes = looking.join().map_err(|_| "the looking thread panicked")?;
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>((moved?, pipes))
    })?;
    let grown = process::peak_kib(run.target.pid)? - before;
    Ok(sample(moved, pipes?, grown / 1024.0))
}

fn sample(moved: Moved, pipes: Option<f64>, grown_mib: f64) -> Sample {
    let mut sample = vec![
        (
            Measure::LongestPauseMillis,
            moved.longest_pause.as_secs_f64() * 1e3,
        ),
        (Measure::GrowthMib, grown_mib),
        (Measure::GibPerSecond, moved.gib() / moved.seconds),
    ];
    sample.extend(pipes.map(|pipes| (Measure::PipesMax, pipes)));
    sample
}

/// The gate of the producers: opens when all exchanges have begun.
fn all_at_once(target: &Target, exchanges: usize) -> Result<()> {
    if target.has_metrics {
        return metrics::await_at_least(target, "httpipe_exchanging", exchanges as f64);
    }
    std::thread::sleep(HEAD_START);
    Ok(())
}

/// The highest number of pipes seen; `None` for a server without metrics.
fn most_pipes(target: &Target, over: &AtomicBool) -> Result<Option<f64>> {
    if !target.has_metrics {
        return Ok(None);
    }
    let mut most: f64 = 0.0;
    while !over.load(Ordering::Relaxed) {
        most = most.max(metrics::value(target, "httpipe_pipes")?);
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(Some(most))
}
