//! A shard's clocks: a coarse one, advanced by the sweep and read for nothing, and one to measure by.
//!
//! Whether a time limit is over is looked up when the sweep comes by, so the moment of that look is
//! exact enough. When it is to be over goes by the kernel's tick, and how long a request waited is
//! measured in [`Reading`]s: both are calls of `clock_gettime(2)` in user space.

use std::{
    cell::{Cell, RefCell},
    time::{Duration, SystemTime},
};

use rustix::time::{ClockId, clock_gettime};

/// The longest tick of any kernel (100 a second), by which the coarse clock is behind.
const TICK_MAX: Duration = Duration::from_millis(10);

/// A point in a shard's time, in milliseconds since the shard began. `Moment::NEVER` is past every
/// moment that comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

impl Moment {
    /// When the shard began.
    pub const BEGINNING: Self = Self(0);

    /// A deadline that does not come.
    pub const NEVER: Self = Self(u64::MAX);

    /// The moment `later` than this one.
    #[must_use]
    pub const fn after(self, later: Duration) -> Self {
        Self(self.0.saturating_add(later.as_millis() as u64))
    }
}

/// A point in time to measure from and to, in microseconds; the same scale on all shards.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reading(u64);

impl Reading {
    /// The microseconds from `self` to `later`; 0 if that is not later.
    #[must_use]
    pub const fn micros_until(self, later: Self) -> u64 {
        later.0.saturating_sub(self.0)
    }
}

/// The clocks themselves.
#[derive(Debug)]
pub struct Clock {
    measures_by: ClockId,
    began: Duration,
    now: Cell<Moment>,
    date: RefCell<String>,
    date_second: Cell<u64>,
}

impl Clock {
    /// A clock that stands at its beginning. What it measures is `precise` to the microsecond, or to
    /// the kernel's tick: then reading it does not ask the hardware.
    #[must_use]
    pub fn new(precise: bool) -> Self {
        let clock = Self {
            measures_by: if precise {
                ClockId::Monotonic
            } else {
                ClockId::MonotonicCoarse
            },
            began: monotonic(),
            now: Cell::new(Moment(0)),
            date: RefCell::new(String::new()),
            date_second: Cell::new(u64::MAX),
        };
        clock.advance();
        clock
    }

    /// Reads the real clocks.
    pub fn advance(&self) {
        let elapsed = monotonic() - self.began;
        self.now.set(Moment(elapsed.as_millis() as u64));
        let wall = SystemTime::now();
        let second = wall
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        if self.date_second.replace(second) != second {
            *self.date.borrow_mut() = httpdate::fmt_http_date(wall);
        }
    }

    /// What time it is, for measuring: to the kernel's tick of 1 to 10 ms, or precisely if that was
    /// asked for (`clock_gettime(2)`).
    #[must_use]
    pub fn read(&self) -> Reading {
        let now = clock_gettime(self.measures_by);
        Reading(now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1000)
    }

    /// The moment of the last `advance`.
    #[must_use]
    pub fn now(&self) -> Moment {
        self.now.get()
    }

    /// How long it is from now to `moment`; zero if that has passed.
    #[must_use]
    pub fn until(&self, moment: Moment) -> Duration {
        let moment = Duration::from_millis(moment.0);
        moment.saturating_sub(monotonic() - self.began)
    }

    /// The deadline of something that begins now and may take `limit`. Never early, also where the
    /// last `advance` was long ago: it goes by the kernel's tick, and one tick is added.
    #[must_use]
    pub fn deadline(&self, limit: Duration) -> Moment {
        let now = Duration::try_from(clock_gettime(ClockId::MonotonicCoarse)).unwrap_or_default();
        let due = now.saturating_sub(self.began) + TICK_MAX;
        Moment((due.as_millis() as u64).saturating_add(limit.as_millis() as u64))
    }

    /// As `deadline`, where no limit means never.
    #[must_use]
    pub fn deadline_if(&self, limit: Option<Duration>) -> Moment {
        limit.map_or(Moment::NEVER, |limit| self.deadline(limit))
    }

    /// The value of a `Date` field, at most a sweep old (RFC 9110 §6.6.1 allows seconds).
    pub fn with_date<R>(&self, read: impl FnOnce(&str) -> R) -> R {
        read(&self.date.borrow())
    }
}

/// Time since the machine started (`clock_gettime(2)`).
fn monotonic() -> Duration {
    Duration::try_from(clock_gettime(ClockId::Monotonic)).unwrap_or_default()
}

impl Default for Clock {
    fn default() -> Self {
        Self::new(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_never_early_however_long_the_clock_stood() {
        let limit = Duration::from_millis(100);
        let clock = Clock::default();
        std::thread::sleep(Duration::from_millis(300));
        let began = monotonic();
        let due = clock.deadline(limit);
        loop {
            clock.advance();
            if clock.now() >= due {
                break;
            }
        }
        assert!(monotonic() - began >= limit);
        assert!(due < Moment::NEVER && clock.deadline(Duration::MAX) > due);
    }
}
