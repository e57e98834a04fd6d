//! Small pairs while bulk exchanges run: how long a body of 100 bytes is under way then.
//!
//! The bulk clients are one thread with zero-copy clients, the small ones another, so that neither
//! crowds the server out, and the small one runs before all others if the harness is privileged to
//! arrange that: otherwise its own waiting for a core is what it would measure (on two cores, 5 to
//! 40 ms at the 99th percentile).

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
        let bulk = scope.spawn(|| transfer::one_thread(run, job));
        std::thread::sleep(run.scale.warm_up);
        // This turn's thread is its own, so nothing has to be undone.
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
