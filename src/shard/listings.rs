//! How many listings a shard makes or sends at once; each may be megabytes.

use std::{cell::Cell, rc::Rc};

use crate::limits;

/// The count.
#[derive(Debug, Default)]
pub struct Listings(Rc<Cell<usize>>);

/// A listing that is being made or sent, until it is dropped.
#[derive(Debug)]
pub struct Listing(Rc<Cell<usize>>);

impl Listings {
    /// Permits another one; `None` if [`limits::LISTINGS_MAX`] are under way.
    pub fn begin(&self) -> Option<Listing> {
        if self.0.get() >= limits::LISTINGS_MAX {
            return None;
        }
        self.0.set(self.0.get() + 1);
        Some(Listing(Rc::clone(&self.0)))
    }
}

impl Drop for Listing {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
