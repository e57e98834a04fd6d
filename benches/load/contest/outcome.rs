//! The results of a row.

use crate::row::Row;
use crate::row::measure::Sample;

/// The results of one contestant.
pub struct Measured {
    pub label: String,
    /// Index among the row's contestants; `None` for an attached server.
    pub place: Option<usize>,
    /// One per round; fewer if the contestant failed.
    pub samples: Vec<Sample>,
}

pub struct Outcome {
    pub row: &'static Row,
    /// In the order of the row; attached servers last.
    pub measured: Vec<Measured>,
    pub failures: Vec<String>,
    /// Why a contestant was left out, which is not a failure.
    pub notes: Vec<String>,
}
