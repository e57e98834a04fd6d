//! The connections of a shard, each under its id.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use slab::Slab;

use crate::{
    conn::{Conn, ConnId},
    io::socket::Transport,
    limits,
    model::audience::Audience,
    shard::peak::Peak,
};

/// The connections.
#[derive(Default)]
pub struct Connections {
    slots: RefCell<Slab<Rc<Conn>>>,
    operators: Cell<usize>,
    peak: Peak,
}

impl Connections {
    /// Adds a connection.
    pub fn add(&self, transport: Transport, audience: Audience, over_limit: bool) -> Rc<Conn> {
        if !audience.has_clients() {
            self.operators.set(self.operators.get() + 1);
        }
        let mut slots = self.slots.borrow_mut();
        let entry = slots.vacant_entry();
        let id = ConnId::try_from(entry.key()).expect("fewer connections than 2^32");
        let conn = Rc::new(Conn::new(id, transport, audience, over_limit));
        let conn = Rc::clone(entry.insert(conn));
        self.peak.note(slots.len());
        conn
    }

    /// Forgets a connection that ends, or that goes to another shard.
    pub fn remove(&self, conn: &Conn) {
        self.slots.borrow_mut().remove(conn.id as usize);
        if !conn.audience.has_clients() {
            self.operators.set(self.operators.get() - 1);
        }
    }

    /// The connection with this id.
    ///
    /// # Panics
    /// If there is none: ids in the registry are removed before their connections.
    #[must_use]
    pub fn get(&self, id: ConnId) -> Rc<Conn> {
        Rc::clone(&self.slots.borrow()[id as usize])
    }

    /// The connection with this id, if there is one.
    #[must_use]
    pub fn find(&self, id: ConnId) -> Option<Rc<Conn>> {
        self.slots.borrow().get(id as usize).map(Rc::clone)
    }

    /// The ids of connections for which `holds` is true, among the slots `from..to`.
    pub fn ids_if(&self, from: usize, to: usize, holds: impl Fn(&Conn) -> bool) -> Vec<ConnId> {
        let slots = self.slots.borrow();
        let found = (from..to).filter_map(|slot| slots.get(slot));
        found
            .filter(|conn| holds(conn))
            .map(|conn| conn.id)
            .collect()
    }

    /// One more than the highest id that a connection may have.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.slots.borrow().capacity()
    }

    /// Shrinks the slab after a peak.
    pub fn shrink(&self) {
        let mut slots = self.slots.borrow_mut();
        if slots.capacity() > limits::SLOTS_LOOKED_AT_ONCE.max(4 * slots.len()) {
            slots.shrink_to_fit();
        }
    }

    /// Whether a peak of at least so many is over, as in [`Peak::is_over`].
    #[must_use]
    pub fn peak_is_over(&self, high: usize) -> bool {
        self.peak.is_over(self.slots.borrow().len(), high)
    }

    /// How many are clients'.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.slots.borrow().len() - self.operators.get()
    }

    /// How many are operators'.
    #[must_use]
    pub fn operators(&self) -> usize {
        self.operators.get()
    }
}
