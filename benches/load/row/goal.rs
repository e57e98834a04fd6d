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

impl Bound {
    pub fn describe(self, unit: &str) -> String {
        match self {
            Self::AtMost(limit) => format!("at most {limit} {unit}"),
            Self::AtLeast(limit) => format!("at least {limit} {unit}"),
            Self::RatioAtMost(limit) => format!("at most {limit} ×"),
            Self::RatioAtLeast(limit) => format!("at least {limit} ×"),
        }
    }

    /// `ratio` is to the second contestant. A goal is not met if rounds are missing (`!complete`).
    pub fn verdict(self, figure: f64, ratio: Option<f64>, complete: bool) -> &'static str {
        let met = match (self, ratio) {
            _ if !complete => false,
            (Self::AtMost(limit), _) => figure <= limit,
            (Self::AtLeast(limit), _) => figure >= limit,
            (Self::RatioAtMost(limit), Some(ratio)) => ratio <= limit,
            (Self::RatioAtLeast(limit), Some(ratio)) => ratio >= limit,
            (_, None) => return "nothing to compare with",
        };
        if met { "met" } else { "NOT met" }
    }
}
