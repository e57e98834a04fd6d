//! The writing direction of a connection: whose task sends on it.
//!
//! A connection's own task sends its replies. A body is sent by the task of its producer, the driver
//! of the exchange. So one connection can be the source of one exchange and the sink of another.
//! `D` is what a driver is: a connection too.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

/// The writing direction.
pub struct Outbound<D> {
    driven: RefCell<Option<Driven<D>>>,
    /// The client has half-closed: the connection ends after its exchange.
    half_closed: Cell<bool>,
    /// Something was sent on the connection.
    has_sent: Cell<bool>,
}

/// The connection is the sink of an exchange.
struct Driven<D> {
    /// The connection whose task sends the body: the producer's.
    driver: Rc<D>,
    /// The consumer was sent a byte.
    started: bool,
    /// The consumer has left, and the driver has yet to act on it.
    left: bool,
}

impl<D> Default for Outbound<D> {
    fn default() -> Self {
        Self {
            driven: RefCell::new(None),
            half_closed: Cell::new(false),
            has_sent: Cell::new(false),
        }
    }
}

impl<D> Outbound<D> {
    /// The task of `driver` sends from now on.
    pub fn begin_driven(&self, driver: &Rc<D>) {
        *self.driven.borrow_mut() = Some(Driven {
            driver: Rc::clone(driver),
            started: false,
            left: false,
        });
    }

    /// The connection's own task sends again.
    pub fn end_driven(&self) {
        *self.driven.borrow_mut() = None;
    }

    /// The connection whose task sends on this one, if it is not its own.
    #[must_use]
    pub fn driver(&self) -> Option<Rc<D>> {
        let driven = self.driven.borrow();
        Some(Rc::clone(&driven.as_ref()?.driver))
    }

    /// Whether another connection's task sends on this one.
    #[must_use]
    pub fn is_driven(&self) -> bool {
        self.driven.borrow().is_some()
    }

    /// The consumer was sent its first byte.
    pub fn mark_started(&self) {
        if let Some(driven) = &mut *self.driven.borrow_mut() {
            driven.started = true;
        }
    }

    /// Whether the consumer was sent a byte.
    #[must_use]
    pub fn is_started(&self) -> bool {
        let driven = self.driven.borrow();
        driven.as_ref().is_some_and(|driven| driven.started)
    }

    /// The consumer left. Returns the driver, which has to be told.
    pub fn mark_left(&self) -> Option<Rc<D>> {
        let mut driven = self.driven.borrow_mut();
        let driven = driven.as_mut()?;
        driven.left = true;
        Some(Rc::clone(&driven.driver))
    }

    /// Whether this consumer is the one that left.
    #[must_use]
    pub fn has_left(&self) -> bool {
        let driven = self.driven.borrow();
        driven.as_ref().is_some_and(|driven| driven.left)
    }

    /// Something is sent on the connection.
    pub fn note_sent(&self) {
        self.has_sent.set(true);
    }

    /// Whether something was sent on the connection: perhaps it is still on its way.
    #[must_use]
    pub fn has_sent(&self) -> bool {
        self.has_sent.get()
    }

    /// The client sends nothing more and may still read.
    pub fn half_close(&self) {
        self.half_closed.set(true);
    }

    /// Whether the client has half-closed.
    #[must_use]
    pub fn is_half_closed(&self) -> bool {
        self.half_closed.get()
    }
}
