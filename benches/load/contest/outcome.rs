//! What a row came to.

use crate::row::Row;
use crate::row::measure::Sample;

/// What one contestant came to.
pub struct Measured {
    /// What the table calls it.
    pub label: String,
    /// Which of the row's contestants it is; `None` for an attached server.
    pub place: Option<usize>,
    /// One for each round; fewer if it failed.
    pub samples: Vec<Sample>,
}

/// What a row came to.
pub struct Outcome {
    /// Which row.
    pub row: &'static Row,
    /// In the order of the row, attached servers behind.
    pub measured: Vec<Measured>,
    /// What went wrong, if anything did.
    pub failures: Vec<String>,
    /// Why a contestant is missing without anything being wrong.
    pub notes: Vec<String>,
}
