//! CPU that waiting consumers cost while nothing happens.

use std::time::Instant;

use crate::error::Result;
use crate::loads::waiters::Waiters;
use crate::row::measure::{Measure, Sample};
use crate::row::run::Run;
use crate::system::process::CpuMeter;

pub fn waiting(run: &Run) -> Result<Sample> {
    measure(run, Waiters::join(run)?)
}

/// Each consumer has sent the first byte of its next request. Its socket stays readable, so readability no
/// longer tells the server that the client has left.
pub fn unread(run: &Run) -> Result<Sample> {
    let waiters = Waiters::join(run)?;
    waiters.send_unread_byte()?;
    measure(run, waiters)
}

fn measure(run: &Run, waiters: Waiters) -> Result<Sample> {
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
