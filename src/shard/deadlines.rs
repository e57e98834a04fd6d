//! The time limits of a shard's connections, in order. Costs what is due, not what is there.
//!
//! A connection has at most one entry. Its deadline moves on with every request and every body byte,
//! so the entry does not follow: it is no later than the deadline, and when it comes up too early it is
//! put where the deadline is then. Only a deadline that is earlier than its entry moves the entry.

use std::{cell::RefCell, collections::BTreeSet};

use crate::{
    conn::{Conn, ConnId, deadline::Due},
    io::clock::Moment,
};

/// The entries, earliest first.
#[derive(Debug, Default)]
pub struct Deadlines(RefCell<BTreeSet<(Moment, ConnId)>>);

impl Deadlines {
    /// Puts `conn` under a time limit that ends `at`; the one before is forgotten. O(1) unless it is
    /// earlier than what is looked at anyway, O(log n) then.
    pub fn set(&self, conn: &Conn, due: Due, at: Moment) {
        if conn.deadline.set(due, at) {
            self.enter(conn, at);
        }
    }

    /// Forgets a connection that ends.
    pub fn remove(&self, conn: &Conn) {
        self.0
            .borrow_mut()
            .remove(&(conn.deadline.entry(), conn.id));
    }

    /// When the next entry comes up; [`Moment::NEVER`] if there is none.
    #[must_use]
    pub fn next(&self) -> Moment {
        let entries = self.0.borrow();
        entries.first().map_or(Moment::NEVER, |&(at, _)| at)
    }

    /// Takes the first entry out if it has come up by `now`. The caller looks at the connection's
    /// deadline and, if that is later, calls [`Self::look_again`].
    #[must_use]
    pub fn take_due(&self, now: Moment) -> Option<ConnId> {
        let mut entries = self.0.borrow_mut();
        let &first = entries.first().filter(|&&(at, _)| at <= now)?;
        entries.remove(&first);
        Some(first.1)
    }

    /// Looks at `conn` again `at` that moment. Its entry was taken.
    pub fn look_again(&self, conn: &Conn, at: Moment) {
        conn.deadline.set_entry(Moment::NEVER);
        if at < Moment::NEVER {
            self.enter(conn, at);
        }
    }

    fn enter(&self, conn: &Conn, at: Moment) {
        let mut entries = self.0.borrow_mut();
        entries.remove(&(conn.deadline.entry(), conn.id));
        entries.insert((at, conn.id));
        conn.deadline.set_entry(at);
    }
}
