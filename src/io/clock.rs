//! A shard's clocks: a cached one, advanced by the sweep and free to read, and one for measurements.
//!
//! Time limits expire in a sweep, so the time of the last sweep is exact enough for them. Deadlines
//! and measurements ([`Reading`]) call `clock_gettime(2)`, which runs in user space.

use std::{
    cell::{Cell, RefCell},
    time::{Duration, SystemTime},
};

use rustix::time::{ClockId, clock_gettime};

/// The longest tick of any kernel (100 per second): the lag of the kernel's coarse clock.
const TICK_MAX: Duration = Duration::from_millis(10);

/// A point in a shard's time, in milliseconds since the shard started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

impl Moment {
    pub const BEGINNING: Self = Self(0);

    pub const NEVER: Self = Self(u64::MAX);

    #[must_use]
    pub const fn after(self, later: Duration) -> Self {
        Self(self.0.saturating_add(later.as_millis() as u64))
    }
}

/// A timestamp for measurements, in microseconds; the same scale on all shards.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reading(u64);

impl Reading {
    /// The microseconds from `self` to `later`; 0 if `later` is earlier.
    #[must_use]
    pub const fn micros_until(self, later: Self) -> u64 {
        later.0.saturating_sub(self.0)
    }
}

/// The clocks of one shard.
#[derive(Debug)]
pub struct Clock {
    measures_by: ClockId,
    began: Duration,
    now: Cell<Moment>,
    date: RefCell<String>,
    date_second: Cell<u64>,
}

impl Clock {
    /// `precise`: [`Self::read`] is exact to the microsecond. Otherwise it has the resolution of the
    /// kernel's tick, and does not read the hardware.
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

    /// Updates the cached time and date.
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

    /// The current time, for measurements; in steps of the kernel's tick, 1 to 10 ms, unless `precise`.
    #[must_use]
    pub fn read(&self) -> Reading {
        let now = clock_gettime(self.measures_by);
        Reading(now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1000)
    }

    /// The cached time: that of the last [`Self::advance`].
    #[must_use]
    pub fn now(&self) -> Moment {
        self.now.get()
    }

    /// The time from now to `moment`; zero if it has passed.
    #[must_use]
    pub fn until(&self, moment: Moment) -> Duration {
        let moment = Duration::from_millis(moment.0);
        moment.saturating_sub(monotonic() - self.began)
    }

    /// The moment `limit` from now. Never early, even if the last `advance` was long ago: it reads the
    /// kernel's coarse clock and adds one tick.
    #[must_use]
    pub fn deadline(&self, limit: Duration) -> Moment {
        let now = Duration::try_from(clock_gettime(ClockId::MonotonicCoarse)).unwrap_or_default();
        let due = now.saturating_sub(self.began) + TICK_MAX;
        Moment((due.as_millis() as u64).saturating_add(limit.as_millis() as u64))
    }

    /// As [`Self::deadline`]; `None` means never.
    #[must_use]
    pub fn deadline_if(&self, limit: Option<Duration>) -> Moment {
        limit.map_or(Moment::NEVER, |limit| self.deadline(limit))
    }

    /// The value of a `Date` field, at most one sweep old (RFC 9110 §6.6.1 allows seconds).
    pub fn with_date<R>(&self, read: impl FnOnce(&str) -> R) -> R {
        read(&self.date.borrow())
    }
}

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
    fn a_deadline_is_never_early_even_if_the_cached_time_is_old() {
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
