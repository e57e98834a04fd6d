//! Goals, and whether a figure meets one.

use crate::row::measure::Measure;

/// What a goal compares a figure of the row's first contestant with.
#[derive(Clone, Copy, Debug)]
pub enum Bound {
    /// A number.
    AtMost(f64),
    /// A number.
    AtLeast(f64),
    /// So many times the same figure of the second contestant, round by round.
    RatioAtMost(f64),
    /// So many times the same figure of the second contestant, round by round.
    RatioAtLeast(f64),
}

/// A promise about a figure of the row's first contestant.
#[derive(Clone, Copy, Debug)]
pub struct Goal {
    /// Which figure.
    pub measure: Measure,
    /// What it must keep to.
    pub bound: Bound,
}
