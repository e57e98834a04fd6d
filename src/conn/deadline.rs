//! The time limit that a connection is under.

use std::cell::Cell;

use crate::io::clock::Moment;

/// What a connection's deadline limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// A head, from the connection's start or from the head's first byte (`--header-timeout`).
    Head,
    /// The pause between two requests (`--keep-alive-timeout`).
    KeepAlive,
    /// The wait for a counterpart (`--request-timeout`).
    Wait,
    /// An exchange in which nothing moves (`--idle-timeout`), and a body that is dropped
    /// (`--header-timeout`).
    Idle,
    /// An exchange that keeps a pipe while nothing moves ([`crate::limits::PIPE_STILL_TIME`]). It ends
    /// nothing.
    Pipe,
    /// A reply that takes more than a turn, to its last byte, however steadily the client reads
    /// (`--keep-alive-timeout`). A listing's begins with its request.
    Reply,
    /// How long a client is read after its last reply.
    Linger,
}

/// When the sweep acts on a connection, and why.
#[derive(Debug)]
pub struct Deadline {
    at: Cell<Moment>,
    due: Cell<Due>,
    /// The time of the connection's entry in the shard's deadlines. Never later than `at`, which is
    /// postponed far more often than it expires.
    entry: Cell<Moment>,
}

impl Deadline {
    /// No deadline.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            at: Cell::new(Moment::NEVER),
            due: Cell::new(Due::Head),
            entry: Cell::new(Moment::NEVER),
        }
    }

    /// When it expires; [`Moment::NEVER`]: it does not.
    #[must_use]
    pub fn at(&self) -> Moment {
        self.at.get()
    }

    /// What it limits.
    #[must_use]
    pub fn due(&self) -> Due {
        self.due.get()
    }

    /// Sets it. Returns whether the connection's entry must become earlier.
    pub fn set(&self, due: Due, at: Moment) -> bool {
        self.due.set(due);
        self.at.set(at);
        at < self.entry.get()
    }

    /// Whether the sweep has acted on a limit of this kind, and no other is under way.
    #[must_use]
    pub fn is_over(&self, due: Due) -> bool {
        self.due.get() == due && self.at.get() == Moment::NEVER
    }

    /// Removes it; its entry stays.
    pub fn lift(&self) {
        self.at.set(Moment::NEVER);
    }

    /// The connection's entry in the shard's deadlines.
    #[must_use]
    pub fn entry(&self) -> Moment {
        self.entry.get()
    }

    /// Records the connection's entry in the shard's deadlines.
    pub fn set_entry(&self, at: Moment) {
        self.entry.set(at);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SOON: Moment = Moment::BEGINNING.after(Duration::from_millis(1));
    const LATER: Moment = Moment::BEGINNING.after(Duration::from_millis(2));

    #[test]
    fn a_new_deadline_does_not_come_and_nobody_looks_for_it() {
        let deadline = Deadline::new();
        assert_eq!(deadline.at(), Moment::NEVER);
        assert_eq!(deadline.entry(), Moment::NEVER);
        assert!(!deadline.set(Due::Idle, Moment::NEVER));
    }

    #[test]
    fn only_a_deadline_earlier_than_its_entry_asks_for_an_earlier_look() {
        let deadline = Deadline::new();
        assert!(deadline.set(Due::Head, LATER));
        deadline.set_entry(LATER);
        assert!(!deadline.set(Due::Wait, LATER));
        assert!(deadline.set(Due::Idle, SOON));
        deadline.set_entry(SOON);
        assert!(!deadline.set(Due::Linger, LATER));
        assert_eq!((deadline.due(), deadline.at()), (Due::Linger, LATER));
        assert_eq!(deadline.entry(), SOON);
    }

    #[test]
    fn a_deadline_that_is_lifted_keeps_its_entry_until_somebody_looks() {
        let deadline = Deadline::new();
        deadline.set(Due::Wait, SOON);
        deadline.set_entry(SOON);
        deadline.lift();
        assert_eq!((deadline.at(), deadline.entry()), (Moment::NEVER, SOON));
    }
}
