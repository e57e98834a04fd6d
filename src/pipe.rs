//! The shard's pipes: get, put, kill.

use std::cell::Cell;

/// The pipes of one shard.
#[derive(Debug)]
pub struct Pipes {
    #[allow(dead_code)]
    enabled: bool,
    count: Cell<usize>,
}

impl Pipes {
    /// No pipes yet.
    #[must_use]
    pub fn new(enabled: bool) -> Self {
        Self {
            enabled,
            count: Cell::new(0),
        }
    }

    /// How many pipes there are, pooled and in use.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count.get()
    }
}
