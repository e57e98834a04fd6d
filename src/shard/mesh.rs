//! Which shard owns a channel, and the messages between shards.
//!
//! A handover is never awaited. Only questions about a namespace or the whole server are answered. A
//! shard gives its share without asking another one, and asks for shares when it is asked for a
//! document, so waits cannot form a cycle. The lock is taken between requests, never on the data path.
//!
//! The mailboxes are bounded. A connection is handed over, or asks one question and closes no earlier than
//! all answers are there. So a mailbox holds at most one message of each other shard for each connection,
//! of clients (`--max-connections`) and of operators ([`crate::limits::ADMIN_CONNECTIONS_MAX`]), and the
//! drain's.

use std::{io, mem, os::fd::OwnedFd, sync::Mutex};

use bytes::Bytes;

use crate::{
    http::reply::MediaType,
    io::{eventfd::EventFd, socket::Parts},
    model::{audience::Audience, key::KeyHasher, names::Names, refusal::Refusal, request::Request},
    observe::counters::Snapshot,
};

/// A message from one shard to another.
pub enum Message {
    /// Transfers a connection to the receiver.
    HandOver(Box<Handover>),
    /// A question that the receiver answers to `from`.
    Ask {
        /// The asking shard.
        from: usize,
        /// The asking shard's id of the question.
        ticket: usize,
        question: Question,
    },
    /// The answer to the receiver's question.
    Answer {
        /// The receiver's id of the question.
        ticket: usize,
        /// The sender's share of the answer.
        answer: Answer,
    },
    /// The server drains: accept nothing new, finish exchanges under way.
    Drain,
}

/// A connection on its way to the shard that owns the channel of its request.
pub struct Handover {
    pub transport: Parts,
    pub audience: Audience,
    /// The first request to serve, and all bytes received with it.
    pub request: Box<Request>,
}

/// What a document is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// All channels in use, by namespace.
    State,
    /// The namespaces in use.
    Namespaces,
    /// The channels in use of one namespace.
    Namespace(String),
    Metrics,
}

/// A document: its media type and its bytes, or why there is none.
pub type Document = Result<(MediaType, Bytes), Refusal>;

/// What one shard asks another.
#[derive(Clone, Debug)]
pub enum Question {
    /// The next document, about all shards; for [`Mesh::DESK`].
    Document(Subject),
    /// The receiver's share of a document.
    Share(Subject),
    /// The receiver's share of a deletion.
    DeleteNamespace(String),
}

#[derive(Debug)]
pub enum Answer {
    /// `None`: the making panicked.
    Document(Option<Document>),
    /// Namespaces, channels of a namespace, or pairs of both, in no order. A channel that opens or
    /// closes meanwhile may be in it, missing, or in it twice.
    Names(Vec<Names>),
    Metrics(Box<Snapshot>),
    /// The number of channels deleted.
    Deleted(usize),
}

/// The mailboxes of all shards, and the rule that says which shard owns a channel.
pub struct Mesh {
    mailboxes: Box<[Mailbox]>,
    hasher: KeyHasher,
}

struct Mailbox {
    messages: Mutex<Vec<Message>>,
    news: EventFd,
}

impl Mesh {
    /// The shard that makes the documents that clients of all shards ask for.
    pub const DESK: usize = 0;

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

    #[must_use]
    pub fn shards(&self) -> usize {
        self.mailboxes.len()
    }

    /// The hash that decides the channel's owner and its slot in the owner's index.
    #[must_use]
    pub fn hash(&self, namespace: &str, channel: &str) -> u64 {
        self.hasher.hash(namespace, channel)
    }

    /// The shard that owns the channel with this hash. Uses the middle bits: a registry's index uses
    /// those at both ends.
    #[must_use]
    pub fn owner(&self, hash: u64) -> usize {
        let middle = u64::from((hash >> 16) as u32);
        ((middle * self.mailboxes.len() as u64) >> 32) as usize
    }

    /// Puts `message` into the mailbox of shard `to`, and notifies the shard if the mailbox was empty.
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

    /// Takes all messages from the mailbox of shard `of`, oldest first.
    #[must_use]
    pub fn take(&self, of: usize) -> Vec<Message> {
        let mut messages = self.mailboxes[of]
            .messages
            .lock()
            .expect("no one panics with a mailbox open");
        mem::take(&mut *messages)
    }

    /// A descriptor that becomes readable when shard `of` gets its first message.
    ///
    /// # Errors
    /// No descriptor was free.
    pub fn news(&self, of: usize) -> io::Result<OwnedFd> {
        self.mailboxes[of].news.duplicate()
    }
}
