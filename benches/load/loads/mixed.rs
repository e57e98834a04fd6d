//! Latency of small pairs while bulk exchanges run.
//!
//! The bulk clients are one thread with zero-copy clients and the small pairs another, so that neither
//! takes the server's core for long. With the privilege for it, the thread of the small pairs runs before
//! all others; otherwise the figure includes its own wait for a core (5 to 40 ms at the 99th percentile
//! on two cores).

use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::Result;
use crate::loads::histogram::micros;
use crate::loads::paced;
use crate::loads::transfer;
use crate::loads::transfer::job::{Job, Sending, Taking};
use crate::row::measure::{Measure, Sample};
use crate::row::run::Run;
use crate::system::sys;

const BULK_EXCHANGES: usize = 8;

/// Latency of the small pairs, and throughput of the bulk exchanges.
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
        let bulk = scope.spawn(|| transfer::one_thread(run, job));
        std::thread::sleep(run.scale.warm_up);
        // Every turn has its own thread, so this needs no undo.
        sys::run_before_others();
        let latencies = paced::pairs(run, BULK_EXCHANGES);
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
