//! The results of a row.

use crate::row::Row;
use crate::row::goal::Bound;
use crate::row::measure::{Measure, Sample};

/// Where a server belongs in its row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// The row's contestant with this index.
    Contestant(usize),
    /// The same contestant, with the executable of `--beside`.
    Beside(usize),
    Attached,
}

/// The results of one contestant.
pub struct Measured {
    pub label: String,
    pub place: Place,
    /// One per round; fewer if the contestant failed.
    pub samples: Vec<Sample>,
}

pub struct Outcome {
    pub row: &'static Row,
    /// In the order of the row; attached servers last.
    pub measured: Vec<Measured>,
    pub failures: Vec<String>,
    /// The program that the row needs and that is not installed: the row did not run.
    pub missing: Option<&'static str>,
    /// Why a contestant was left out, which is not a failure.
    pub notes: Vec<String>,
}

impl Outcome {
    /// The limit for this figure. Only the row's first contestant has goals.
    pub fn bound(&self, measured: &Measured, measure: Measure) -> Option<Bound> {
        let mut goals = self.row.goals.iter();
        let goal = goals.find(|goal| goal.measure == measure && measured.is_first())?;
        Some(goal.bound)
    }

    /// Median of the ratios within each round, of the row's first contestant to the second; `None` if
    /// rounds are missing or a divisor is zero.
    pub fn ratio(&self, measured: &Measured, measure: Measure) -> Option<f64> {
        let other = self.comparator().filter(|_| measured.is_first())?;
        let (values, others) = (measured.values(measure), other.values(measure));
        let usable = values.len() == others.len() && others.iter().all(|&other| other > 0.0);
        let ratios: Vec<f64> = values
            .iter()
            .zip(&others)
            .map(|(value, other)| value / other)
            .collect();
        (usable && !ratios.is_empty()).then(|| median(&ratios))
    }

    /// What the row's first contestant is compared with: the second contestant or, if the row has only
    /// one, the first attached server. An attached server never replaces a second contestant that is
    /// missing.
    fn comparator(&self) -> Option<&Measured> {
        self.at(match self.row.contestants.len() {
            1 => Place::Attached,
            _ => Place::Contestant(1),
        })
    }

    /// Ratio of the median to that of the same contestant with the executable of `--beside`; `None`
    /// without it, or if rounds are missing or the divisor is zero.
    pub fn ratio_to_beside(&self, measured: &Measured, measure: Measure) -> Option<f64> {
        let Place::Contestant(index) = measured.place else {
            return None;
        };
        let other = self.at(Place::Beside(index))?.values(measure);
        let values = measured.values(measure);
        if values.is_empty() || values.len() != other.len() {
            return None;
        }
        let divisor = median(&other);
        (divisor > 0.0).then(|| median(&values) / divisor)
    }

    fn at(&self, place: Place) -> Option<&Measured> {
        self.measured
            .iter()
            .find(|measured| measured.place == place)
    }
}

impl Measured {
    fn is_first(&self) -> bool {
        self.place == Place::Contestant(0)
    }

    /// One value per round.
    pub fn values(&self, measure: Measure) -> Vec<f64> {
        let of_sample = |sample: &Sample| {
            sample
                .iter()
                .find(|(found, _)| *found == measure)
                .map(|&(_, value)| value)
        };
        self.samples.iter().filter_map(of_sample).collect()
    }
}

/// `values` must not be empty.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) {
        (sorted[middle - 1] + sorted[middle]) / 2.0
    } else {
        sorted[middle]
    }
}
