//! Goals.

use crate::row::measure::Measure;

/// The limit for a figure of the row's first contestant.
#[derive(Clone, Copy, Debug)]
pub enum Bound {
    AtMost(f64),
    AtLeast(f64),
    /// A multiple of the same figure of the second contestant, compared within each round.
    RatioAtMost(f64),
    /// A multiple of the same figure of the second contestant, compared within each round.
    RatioAtLeast(f64),
}

/// A promise about one figure of the row's first contestant.
#[derive(Clone, Copy, Debug)]
pub struct Goal {
    pub measure: Measure,
    pub bound: Bound,
}
