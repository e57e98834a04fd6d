//! Histograms of latencies.

use hdrhistogram::Histogram;

use crate::error::Result;

/// A histogram's quantile in microseconds.
pub fn micros(latencies: &Histogram<u64>, quantile: f64) -> f64 {
    latencies.value_at_quantile(quantile) as f64 / 1e3
}

/// A histogram for nanoseconds up to a minute, to three digits.
pub fn histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 60_000_000_000, 3)?)
}
