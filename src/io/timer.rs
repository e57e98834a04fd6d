//! A timer with a descriptor (`timerfd_create(2)`). It is exact to the microsecond; monoio's own timers
//! tick once per millisecond.

use std::{io, time::Duration};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use crate::io::{eventfd::clear, fd::AsyncFd};

/// A timer that fires once each time it is armed.
#[derive(Debug)]
pub struct TimerFd(AsyncFd);

impl TimerFd {
    /// # Errors
    /// No descriptor is free.
    pub fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let fd = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        Ok(Self(AsyncFd::new(fd)?))
    }

    /// Fires once after `delay`, which must not be zero. Replaces an earlier `arm`.
    pub fn arm(&self, delay: Duration) {
        let once = Itimerspec {
            it_interval: timespec(Duration::ZERO),
            it_value: timespec(delay),
        };
        let armed = timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &once);
        armed.expect("a timer of our own takes any delay");
    }

    /// Waits until it fires.
    pub async fn fired(&self) {
        self.0.readable().await;
        clear(&self.0);
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: duration.as_secs() as _,
        tv_nsec: i64::from(duration.subsec_nanos()) as _,
    }
}
