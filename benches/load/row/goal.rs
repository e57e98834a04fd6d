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
    /// A multiple of the median of the same contestant with the executable of `--beside`.
    BesideAtMost(f64),
}

/// A promise about one figure of the row's first contestant.
#[derive(Clone, Copy, Debug)]
pub struct Goal {
    pub measure: Measure,
    pub bound: Bound,
}

/// What a run found for a goal.
pub struct Found {
    pub figure: f64,
    /// To the second contestant.
    pub ratio: Option<f64>,
    pub ratio_to_beside: Option<f64>,
    /// No round is missing. Otherwise no goal is met.
    pub complete: bool,
}

impl Bound {
    pub fn describe(self, unit: &str) -> String {
        match self {
            Self::AtMost(limit) => format!("at most {limit} {unit}"),
            Self::AtLeast(limit) => format!("at least {limit} {unit}"),
            Self::RatioAtMost(limit) => format!("at most {limit} ×"),
            Self::RatioAtLeast(limit) => format!("at least {limit} ×"),
            Self::BesideAtMost(limit) => format!("at most {limit} × beside"),
        }
    }

    pub fn verdict(self, found: &Found) -> &'static str {
        let met = match self {
            _ if !found.complete => Some(false),
            Self::AtMost(limit) => Some(found.figure <= limit),
            Self::AtLeast(limit) => Some(found.figure >= limit),
            Self::RatioAtMost(limit) => found.ratio.map(|ratio| ratio <= limit),
            Self::RatioAtLeast(limit) => found.ratio.map(|ratio| ratio >= limit),
            Self::BesideAtMost(limit) => found.ratio_to_beside.map(|ratio| ratio <= limit),
        };
        match met {
            Some(true) => "met",
            Some(false) => "NOT met",
            None => "nothing to compare with",
        }
    }
}
