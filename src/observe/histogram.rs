//! A histogram of durations, in plain counts. Pure.
//!
//! Must never: cost an observation more than a few additions, or take a lock.

use std::cell::Cell;

use prometheus_client::encoding::{MetricEncoder, NoLabelSet};

/// The upper bounds of the buckets, in microseconds. One more bucket has no bound.
///
/// The lowest is 10 ms, because the clock has steps of 1 to 10 ms (`CONFIG_HZ`): a lower bound would
/// show ticks, not durations. The highest is an hour, because requests may wait without a limit.
pub const BOUNDS_MICROS: [u64; 14] = [
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    600_000_000,
    3_600_000_000,
];

const BUCKETS: usize = BOUNDS_MICROS.len() + 1;

/// A histogram that one thread updates.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [Cell<u64>; BUCKETS],
    sum_micros: Cell<u64>,
}

impl Histogram {
    /// Counts a duration.
    pub fn observe(&self, micros: u64) {
        // Almost all durations belong in the first bucket, so the search is linear.
        let found = BOUNDS_MICROS.iter().position(|&bound| micros <= bound);
        let bucket = &self.buckets[found.unwrap_or(BUCKETS - 1)];
        bucket.set(bucket.get() + 1);
        self.sum_micros.set(self.sum_micros.get() + micros);
    }

    #[must_use]
    pub fn observed(&self) -> Observed {
        Observed {
            buckets: self.buckets.each_ref().map(Cell::get),
            sum_micros: self.sum_micros.get(),
        }
    }
}

/// The counts of one [`Histogram`], or the sum of several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    buckets: [u64; BUCKETS],
    sum_micros: u64,
}

impl Observed {
    pub fn add(&mut self, other: &Self) {
        for (sum, share) in self.buckets.iter_mut().zip(other.buckets) {
            *sum += share;
        }
        self.sum_micros += other.sum_micros;
    }

    /// Encodes it in seconds.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn encode(&self, mut to: MetricEncoder<'_>) -> std::fmt::Result {
        let bounds = BOUNDS_MICROS.iter().map(|&micros| seconds(micros));
        let bounds = bounds.chain([f64::INFINITY]);
        let buckets = Vec::from_iter(bounds.zip(self.buckets));
        let count = self.buckets.iter().sum();
        to.encode_histogram::<NoLabelSet>(seconds(self.sum_micros), count, &buckets, None)
    }
}

fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upper_bound_is_inclusive() {
        let histogram = Histogram::default();
        let longest = BOUNDS_MICROS[BOUNDS_MICROS.len() - 1];
        for micros in [0, 10_000, 10_001, longest, longest + 1] {
            histogram.observe(micros);
        }
        let observed = histogram.observed();
        assert_eq!(observed.buckets[..2], [2, 1]);
        assert_eq!(observed.buckets[BUCKETS - 2..], [1, 1]);
        assert_eq!(observed.sum_micros, 20_001 + 2 * longest + 1);
    }

    #[test]
    fn shares_add_up_bucket_by_bucket() {
        let (one, other) = (Histogram::default(), Histogram::default());
        one.observe(1);
        other.observe(2);
        other.observe(20_000);
        let mut sum = one.observed();
        sum.add(&other.observed());
        assert_eq!(sum.buckets[..3], [2, 1, 0]);
        assert_eq!(sum.sum_micros, 20_003);
    }

    #[test]
    fn bounds_rise() {
        assert!(BOUNDS_MICROS.is_sorted_by(|shorter, longer| shorter < longer));
    }
}
