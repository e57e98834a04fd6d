//! The odds of a simulation, which change so that crowds gather and are served.

use fastrand::Rng;

use super::NAMES;

/// The odds for a while.
pub struct Mood {
    /// That a step is the turn of a task.
    pub turn: f64,
    /// That a step is an arrival, if it is no turn.
    pub arrive: f64,
    /// That one who arrives is a producer.
    pub produce: f64,
    /// That a body is in hand whole when its request arrives.
    pub whole: f64,
    /// That a client sends or reads when it may.
    pub flow: f64,
    /// That what goes wrong does.
    pub harm: f64,
    /// Where most arrive.
    pub crowd: Option<usize>,
}

impl Mood {
    /// Many small bodies gather behind one that does not move.
    fn crowd(name: usize) -> Self {
        Self {
            turn: 0.3,
            arrive: 0.95,
            produce: 0.5,
            whole: 0.97,
            flow: 0.02,
            harm: 0.02,
            crowd: Some(name),
        }
    }

    /// The crowd gets on.
    pub const RELEASE: Self = Self {
        turn: 0.3,
        arrive: 0.3,
        produce: 0.5,
        whole: 0.97,
        flow: 1.0,
        harm: 0.3,
        crowd: None,
    };

    pub fn after(before: &Self, rng: &mut Rng) -> Self {
        if before.crowd.is_some() {
            return Self::RELEASE;
        }
        if rng.u32(..3) == 0 {
            return Self::crowd(rng.usize(..NAMES.len()));
        }
        let pick = |rng: &mut Rng, odds: [f64; 3]| odds[rng.usize(..odds.len())];
        Self {
            turn: pick(rng, [0.03, 0.1, 0.6]),
            arrive: pick(rng, [0.1, 0.2, 0.4]),
            produce: pick(rng, [0.2, 0.5, 0.8]),
            whole: pick(rng, [0.0, 0.3, 0.6]),
            flow: pick(rng, [0.1, 0.5, 1.0]),
            harm: pick(rng, [0.02, 0.2, 1.0]),
            crowd: None,
        }
    }
}
