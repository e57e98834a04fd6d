//! The shards as seen by each other: which one owns a channel, and the messages between them.
//!
//! A handover gives a connection away and is never awaited. Only questions about a whole namespace
//! or the whole server are answered, by every shard for itself, without asking a third: so no
//! circle of waits can form. The lock here is taken between requests, never on the way of the data.
//!
//! Bounded without a count of its own: a handover holds a connection (`--max-connections`), and a
//! connection asks one question at a time.

use std::{io, mem, os::fd::OwnedFd, sync::Mutex};

use crate::{
    io::{eventfd::EventFd, socket::Parts},
    model::{audience::Audience, key::KeyHasher, request::Request},
    observe::counters::Snapshot,
};

/// What a shard tells another.
pub enum Message {
    /// A connection that now belongs to the receiver.
    HandOver(Box<Handover>),
    /// A question that the receiver answers to `from`.
    Ask {
        /// The shard that asks.
        from: usize,
        /// What it calls its question.
        ticket: usize,
        /// The question.
        question: Question,
    },
    /// The answer to the receiver's question.
    Answer {
        /// What the receiver calls its question.
        ticket: usize,
        /// The sender's share of the answer.
        answer: Answer,
    },
    /// The server ends: take nothing new, finish what is under way.
    Drain,
}

/// A connection on its way to the shard that owns the channel of its request.
pub struct Handover {
    /// The socket.
    pub transport: Parts,
    /// Who is at the other end.
    pub audience: Audience,
    /// The request to serve first, and all bytes that were read with it.
    pub request: Box<Request>,
}

/// What can be asked of all shards.
#[derive(Clone, Debug)]
pub enum Question {
    /// The channels of one namespace, or of all.
    Channels(Option<String>),
    /// Destroy every channel of this namespace.
    DeleteNamespace(String),
    /// The counters.
    Metrics,
}

/// One shard's share of an answer.
#[derive(Debug)]
pub enum Answer {
    /// Pairs of namespace and channel, in no order.
    Channels(Vec<(String, String)>),
    /// How many channels were destroyed.
    Deleted(usize),
    /// The counters.
    Metrics(Box<Snapshot>),
}

/// All mailboxes, and the rule that says which shard owns a channel.
pub struct Mesh {
    mailboxes: Box<[Mailbox]>,
    hasher: KeyHasher,
}

struct Mailbox {
    messages: Mutex<Vec<Message>>,
    news: EventFd,
}

impl Mesh {
    /// A mesh of `shards` shards, at least one.
    ///
    /// # Errors
    /// No descriptor was free for a mailbox.
    pub fn new(shards: usize) -> io::Result<Self> {
        let mailbox = |_| {
            Ok(Mailbox {
                messages: Mutex::default(),
                news: EventFd::new()?,
            })
        };
        Ok(Self {
            mailboxes: (0..shards).map(mailbox).collect::<io::Result<_>>()?,
            hasher: KeyHasher::seeded(),
        })
    }

    /// How many shards there are.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.mailboxes.len()
    }

    /// The hash that names a channel's owner, and its place in the owner's tables.
    #[must_use]
    pub fn hash(&self, namespace: &str, channel: &str) -> u64 {
        self.hasher.hash(namespace, channel)
    }

    /// The shard that owns the channel with this hash. Chosen by bits in the middle: a registry's
    /// table uses those at both ends.
    #[must_use]
    pub fn owner(&self, hash: u64) -> usize {
        let middle = u64::from((hash >> 16) as u32);
        ((middle * self.mailboxes.len() as u64) >> 32) as usize
    }

    /// Puts `message` into the mailbox of shard `to`, and wakes it if it was empty.
    pub fn send(&self, to: usize, message: Message) {
        let mailbox = &self.mailboxes[to];
        let mut messages = mailbox
            .messages
            .lock()
            .expect("no one panics with a mailbox open");
        messages.push(message);
        let first = messages.len() == 1;
        drop(messages);
        if first {
            mailbox.news.notify();
        }
    }

    /// Takes everything out of the mailbox of shard `of`, oldest first.
    #[must_use]
    pub fn take(&self, of: usize) -> Vec<Message> {
        let mut messages = self.mailboxes[of]
            .messages
            .lock()
            .expect("no one panics with a mailbox open");
        mem::take(&mut *messages)
    }

    /// A descriptor that becomes readable when the mailbox of shard `of` is no longer empty.
    ///
    /// # Errors
    /// No descriptor was free.
    pub fn news(&self, of: usize) -> io::Result<OwnedFd> {
        self.mailboxes[of].news.duplicate()
    }
}
