//! A channel as the registry keeps it. Pure.

use crate::model::{key::Key, queue::Queue};

/// What a request does on a channel: it brings a body or takes one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// Brings a body (`POST`, `PUT`).
    Producer,
    /// Takes a body (`GET`).
    Consumer,
}

pub(super) struct Channel<W> {
    pub(super) key: Key,
    pub(super) hash: u64,
    pub(super) queues: [Queue; 2],
    pub(super) busy: Busy<W>,
}

/// Whether arrivals on a channel have to wait although their counterpart may be there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Busy<W> {
    No,
    /// An exchange is under way; this one drives it.
    Exchange(W),
    /// Those who wait are matched further in a later turn; newcomers go behind them.
    Backlog,
}

impl Side {
    /// The counterpart's side.
    #[must_use]
    pub fn other(self) -> Side {
        match self {
            Side::Producer => Side::Consumer,
            Side::Consumer => Side::Producer,
        }
    }
}

impl<W: Eq> Channel<W> {
    pub(super) fn new(hash: u64, namespace: &str, name: &str) -> Self {
        let key = Key::new(namespace, name);
        Channel {
            key,
            hash,
            queues: Default::default(),
            busy: Busy::No,
        }
    }

    /// The hashes first: they lie in the slot itself, the key is a cache miss away.
    pub(super) fn is_named(&self, hash: u64, namespace: &str, name: &str) -> bool {
        self.hash == hash && self.key.is(namespace, name)
    }

    pub(super) fn in_use(&self) -> bool {
        self.busy != Busy::No || self.waiting() > 0
    }

    pub(super) fn waiting(&self) -> usize {
        self.queues.iter().map(Queue::len).sum()
    }

    pub(super) fn queue(&self, side: Side) -> &Queue {
        &self.queues[side as usize]
    }

    pub(super) fn queue_mut(&mut self, side: Side) -> &mut Queue {
        &mut self.queues[side as usize]
    }
}
