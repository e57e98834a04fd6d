//! The writing direction of a connection: whose task sends on it.
//!
//! A connection's own task sends its replies. A body is sent by the task of its producer, the driver
//! of the exchange. So one connection can be the source of one exchange and the sink of another.
//! `D` is the type of the driver: a connection too.

use std::{cell::Cell, rc::Rc};

/// The writing direction.
pub struct Outbound<D> {
    /// The connection whose task sends on this one: the producer's. `None`: its own.
    driver: Cell<Option<Rc<D>>>,
    /// How far its exchange has come, if it is a sink.
    progress: Cell<Progress>,
    /// The client has half-closed: the connection ends after its exchange.
    half_closed: Cell<bool>,
    /// Something was sent on the connection.
    has_sent: Cell<bool>,
}

/// How far the connection has come as the sink of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// The connection's own task sends.
    NotDriven,
    /// The consumer was sent nothing.
    Matched,
    /// The consumer was sent a byte.
    Started,
    /// The consumer left, and the driver has yet to act on it.
    Left,
}

impl<D> Default for Outbound<D> {
    fn default() -> Self {
        Self {
            driver: Cell::new(None),
            progress: Cell::new(Progress::NotDriven),
            half_closed: Cell::new(false),
            has_sent: Cell::new(false),
        }
    }
}

impl<D> Outbound<D> {
    /// The task of `driver` sends from now on.
    pub fn begin_driven(&self, driver: &Rc<D>) {
        self.driver.set(Some(Rc::clone(driver)));
        self.progress.set(Progress::Matched);
    }

    /// The connection's own task sends again.
    pub fn end_driven(&self) {
        self.driver.set(None);
        self.progress.set(Progress::NotDriven);
    }

    /// The connection whose task sends on this one, if it is not its own.
    #[must_use]
    pub fn driver(&self) -> Option<Rc<D>> {
        let driver = self.driver.take();
        self.driver.set(driver.clone());
        driver
    }

    /// Whether another connection's task sends on this one.
    #[must_use]
    pub fn is_driven(&self) -> bool {
        self.progress.get() != Progress::NotDriven
    }

    /// The consumer was sent its first byte.
    pub fn mark_started(&self) {
        self.progress.set(Progress::Started);
    }

    /// Whether the consumer was sent a byte and is still there.
    #[must_use]
    pub fn is_started(&self) -> bool {
        self.progress.get() == Progress::Started
    }

    /// The consumer left. Returns the driver, which the caller must notify.
    pub fn mark_left(&self) -> Option<Rc<D>> {
        if self.is_driven() {
            self.progress.set(Progress::Left);
        }
        self.driver()
    }

    /// Whether this consumer left.
    #[must_use]
    pub fn has_left(&self) -> bool {
        self.progress.get() == Progress::Left
    }

    /// Something is sent on the connection.
    pub fn note_sent(&self) {
        self.has_sent.set(true);
    }

    /// Whether something was sent on the connection; it may still be on its way.
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
