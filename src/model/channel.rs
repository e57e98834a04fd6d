//! A channel as the registry keeps it. Pure.

use crate::model::{key::Key, queue::Queue};

/// The two sides of a channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// Sends a body (`POST`, `PUT`).
    Producer,
    /// Receives a body (`GET`).
    Consumer,
}

/// Identifies a channel of one registry while the channel exists. A waiter and the driver of an
/// exchange keep the channel open, so their id stays valid; any other id is valid only until the next
/// `await`, because slots are reused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct ChannelId(pub(super) u32);

pub(super) struct Channel<W> {
    pub(super) key: Key,
    pub(super) hash: u64,
    pub(super) queues: [Queue; 2],
    pub(super) busy: Busy<W>,
    pub(super) membership: Membership,
}

/// Where a channel stands in the index by namespace.
#[derive(Clone, Copy, Debug)]
pub(super) struct Membership {
    /// The slot of the namespace's list, or [`NEW`].
    pub(super) list: u32,
    pub(super) position: u32,
}

/// The list of channels that are not sorted into their namespaces yet.
pub(super) const NEW: u32 = u32::MAX;

/// Whether arrivals must wait even if a counterpart waits already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Busy<W> {
    No,
    /// An exchange is under way, driven by this waiter's task.
    Exchange(W),
    /// The waiters are matched in a later turn of the loop; new requests queue behind them.
    Backlog,
}

impl Side {
    #[must_use]
    pub fn other(self) -> Side {
        match self {
            Side::Producer => Side::Consumer,
            Side::Consumer => Side::Producer,
        }
    }
}

impl ChannelId {
    pub(super) fn slot(self) -> usize {
        self.0 as usize
    }
}

impl<W: Eq> Channel<W> {
    pub(super) fn new(hash: u64, namespace: &str, name: &str, membership: Membership) -> Self {
        let key = Key::new(namespace, name);
        Channel {
            key,
            hash,
            queues: Default::default(),
            busy: Busy::No,
            membership,
        }
    }

    /// Compares the hashes first: they are in the slot itself, the key costs a cache miss.
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
