//! CPU that waiting consumers cost while nothing happens.

use std::time::Instant;

use crate::error::Result;
use crate::loads::waiters::Waiters;
use crate::row::measure::{Measure, Sample};
use crate::row::run::Run;
use crate::system::process::CpuMeter;

pub fn waiting(run: &Run) -> Result<Sample> {
    let waiters = Waiters::join(run)?;
    let percent = quiet_percent(run)?;
    waiters.check_waiting()?;
    waiters.serve()?;
    Ok(vec![(Measure::IdlePercent, percent)])
}

/// CPU of the server during the quiet window, in percent of one core.
fn quiet_percent(run: &Run) -> Result<f64> {
    std::thread::sleep(run.scale.settle);
    let (begin, cpu) = (Instant::now(), CpuMeter::start(run.target.pid)?);
    std::thread::sleep(run.scale.quiet_window);
    Ok(100.0 * cpu.seconds()? / begin.elapsed().as_secs_f64())
}
