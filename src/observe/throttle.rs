//! A line of the log about a trouble that lasts: said at once, then seldom, with how often it came
//! up meanwhile. Owns when it is said; must never know what is said.

use std::cell::Cell;

use crate::{
    io::clock::{Clock, Moment},
    limits,
};

/// One trouble of one shard.
#[derive(Debug, Default)]
pub struct Complaint {
    /// Said last, with the moment from which it may be said again.
    again: Cell<Option<Moment>>,
    /// How often it came up since.
    unsaid: Cell<u64>,
}

impl Complaint {
    /// The trouble came up. `Some` if it is to be said now: how often it came up since it was said
    /// last, this time included. At most once in [`limits::COMPLAINT_PERIOD`].
    pub fn came_up(&self, clock: &Clock) -> Option<u64> {
        let times = self.unsaid.get() + 1;
        self.unsaid.set(times);
        if self.again.get().is_some_and(|again| clock.now() < again) {
            return None;
        }
        self.unsaid.set(0);
        self.again
            .set(Some(clock.deadline(limits::COMPLAINT_PERIOD)));
        Some(times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_that_lasts_is_said_once_and_counted() {
        let (clock, complaint) = (Clock::new(false), Complaint::default());
        assert_eq!(complaint.came_up(&clock), Some(1));
        for _ in 0..1000 {
            assert_eq!(complaint.came_up(&clock), None);
        }
        complaint.again.set(Some(clock.now()));
        assert_eq!(complaint.came_up(&clock), Some(1001));
        assert_eq!(complaint.came_up(&clock), None);
    }
}
