//! Throttles log lines about a persistent problem: the first occurrence is logged immediately, later
//! ones periodically, with a count.

use std::cell::Cell;

use crate::{
    io::clock::{Clock, Moment},
    limits,
};

/// One problem of one shard.
#[derive(Debug, Default)]
pub struct Throttle {
    /// The next line is due from here on; `None` before the first.
    next_line: Cell<Option<Moment>>,
    /// Occurrences since the last line.
    unreported: Cell<u64>,
}

impl Throttle {
    /// Records one occurrence. Returns `Some(count since the last line)` when a line is due: at most
    /// once in [`limits::THROTTLE_PERIOD`].
    pub fn record(&self, clock: &Clock) -> Option<u64> {
        let count = self.unreported.get() + 1;
        self.unreported.set(count);
        if self.next_line.get().is_some_and(|next| clock.now() < next) {
            return None;
        }
        self.unreported.set(0);
        self.next_line
            .set(Some(clock.deadline(limits::THROTTLE_PERIOD)));
        Some(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_persistent_problem_is_reported_once_and_counted() {
        let (clock, throttle) = (Clock::new(false), Throttle::default());
        assert_eq!(throttle.record(&clock), Some(1));
        for _ in 0..1000 {
            assert_eq!(throttle.record(&clock), None);
        }
        throttle.next_line.set(Some(clock.now()));
        assert_eq!(throttle.record(&clock), Some(1001));
        assert_eq!(throttle.record(&clock), None);
    }
}
