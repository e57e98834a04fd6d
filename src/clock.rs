//! A shard's clocks: a coarse one, advanced by the sweep and read for nothing, and one to measure by.
//!
//! Time limits here are seconds long, so a moment that is up to one sweep old is exact enough and
//! spares every request a look at the real clock. How long a request waited is measured in
//! [`Reading`]s, which are calls of `clock_gettime(2)` in user space.

use std::{
    cell::{Cell, RefCell},
    time::{Duration, Instant, SystemTime},
};

use rustix::time::{ClockId, clock_gettime};

use crate::limits::SWEEP_PERIOD;

/// A point in a shard's time, in milliseconds since the shard began. `Moment::NEVER` is past every
/// moment that comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

impl Moment {
    /// When the shard began.
    pub const BEGINNING: Self = Self(0);

    /// A deadline that does not come.
    pub const NEVER: Self = Self(u64::MAX);
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
    began: Instant,
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
            began: Instant::now(),
            now: Cell::new(Moment(0)),
            date: RefCell::new(String::new()),
            date_second: Cell::new(u64::MAX),
        };
        clock.advance();
        clock
    }

    /// Reads the real clocks.
    pub fn advance(&self) {
        let elapsed = self.began.elapsed();
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

    /// The deadline of something that begins now and may take `limit`. Never early: the reading may
    /// be one sweep old, so one sweep is added.
    #[must_use]
    pub fn deadline(&self, limit: Duration) -> Moment {
        let limit = (limit + SWEEP_PERIOD).as_millis() as u64;
        Moment(self.now.get().0.saturating_add(limit))
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

impl Default for Clock {
    fn default() -> Self {
        Self::new(false)
    }
}
