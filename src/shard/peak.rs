//! [`Peak`]: notices that a number has been high and stays low. Pure.

use std::cell::Cell;

use crate::limits;

/// The highest value since the last peak was over.
#[derive(Debug, Default)]
pub struct Peak {
    highest: Cell<usize>,
    /// For so many looks the number has been at most a quarter of the highest.
    low_looks: Cell<u32>,
    /// What was left of a peak when it was over, until the number rises again.
    left: Cell<usize>,
}

impl Peak {
    /// The number is `now`.
    pub fn note(&self, now: usize) {
        self.highest.set(self.highest.get().max(now));
        if now > self.left.get() {
            self.left.set(0);
        }
    }

    /// Whether a peak of at least `high` is over: the number, which is `now`, has been low for
    /// [`limits::PEAK_OVER_LOOKS`] looks in a row. A busy server's numbers jump, and each jump must not
    /// count. True once for each peak; what is left of it then is a peak of its own, however low, until the
    /// number rises: a crowd may take long to go.
    pub fn is_over(&self, now: usize, high: usize) -> bool {
        self.note(now);
        let highest = self.highest.get();
        let high = match self.left.get() {
            0 => high,
            left => left,
        };
        let low = highest >= high && now <= highest / 4;
        let looks = if low { self.low_looks.get() + 1 } else { 0 };
        let over = looks == limits::PEAK_OVER_LOOKS;
        if over {
            self.highest.set(now);
            self.left.set(now);
        }
        self.low_looks.set(if over { 0 } else { looks });
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HIGH: usize = 100;

    /// Looks until the peak is over, so often at most; returns how many looks that took.
    fn over_after(peak: &Peak, now: usize) -> Option<u32> {
        (1..=2 * limits::PEAK_OVER_LOOKS).find(|_| peak.is_over(now, HIGH))
    }

    #[test]
    fn a_peak_is_over_once_when_the_number_stays_low() {
        let peak = Peak::default();
        for (now, looks) in [
            (HIGH - 1, None),
            (0, None),
            (4 * HIGH, None),
            (HIGH + 1, None),
            (HIGH, Some(limits::PEAK_OVER_LOOKS)),
            (HIGH, None),
            (0, Some(limits::PEAK_OVER_LOOKS)),
            (0, None),
        ] {
            assert_eq!(over_after(&peak, now), looks, "{now}");
        }
    }

    #[test]
    fn what_is_left_of_a_peak_is_one_too_until_the_number_rises_again() {
        let peak = Peak::default();
        peak.note(4 * HIGH);
        assert_eq!(over_after(&peak, 40), Some(limits::PEAK_OVER_LOOKS));
        for (now, looks) in [
            (11, None),
            (10, Some(limits::PEAK_OVER_LOOKS)),
            (3, None),
            (2, Some(limits::PEAK_OVER_LOOKS)),
            (1, None),
            (0, Some(limits::PEAK_OVER_LOOKS)),
            (0, None),
            // Low numbers that rise and fall again.
            (40, None),
            (0, None),
        ] {
            assert_eq!(over_after(&peak, now), looks, "{now}");
        }
        peak.note(4 * HIGH);
        assert_eq!(over_after(&peak, 40), Some(limits::PEAK_OVER_LOOKS));
        peak.note(41);
        assert_eq!(over_after(&peak, 0), None);
    }

    #[test]
    fn a_number_that_jumps_has_no_peak_that_is_over() {
        let peak = Peak::default();
        for _ in 0..10 {
            assert!(!peak.is_over(HIGH, HIGH));
            for _ in 1..limits::PEAK_OVER_LOOKS {
                assert!(!peak.is_over(0, HIGH));
            }
        }
    }

    #[test]
    fn a_peak_between_two_looks_counts() {
        let peak = Peak::default();
        peak.note(HIGH);
        peak.note(1);
        assert_eq!(over_after(&peak, 0), Some(limits::PEAK_OVER_LOOKS));
    }
}
