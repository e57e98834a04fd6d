//! Memory per waiting consumer.

use std::time::Duration;

use crate::error::Result;
use crate::loads::waiters::Waiters;
use crate::row::measure::{Measure, Sample};
use crate::row::run::Run;
use crate::system::process;

pub fn memory(run: &Run) -> Result<Sample> {
    Waiters::warm_up(run)?;
    let before = settled_resident_kib(run)?;
    let waiters = Waiters::join(run)?;
    let resident = settled_resident_kib(run)? - before;
    waiters.serve()?;
    let count = Waiters::count(run) as f64;
    Ok(vec![(Measure::ResidentKibEach, resident / count)])
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
