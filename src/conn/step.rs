//! What a connection's task does next.

use std::{future::Future, pin::Pin};

use crate::model::{reply::Reply, request::Request, verdict::Close};

/// Something that takes more than one turn of the connection's task.
pub type Work = Pin<Box<dyn Future<Output = Step>>>;

/// What a handler decides.
pub enum Step {
    /// Answer the request in hand with this.
    Reply(Reply),
    /// This connection's task sends no reply: go on.
    Next(Next),
}

/// What the task does after the reply, if there is one.
pub enum Next {
    /// Wait: for bytes, for the peer to leave, or for another task to hand over what comes next.
    Wait,
    /// Parse the bytes that are in hand already.
    Parse,
    /// Run this, then take the step that it returns.
    Work(Work),
    /// Give the connection to the shard that owns the channel of this request.
    HandOver(usize, Box<Request>),
    /// End the connection.
    Close(Close),
}

impl Step {
    /// Waits.
    pub const WAIT: Self = Self::Next(Next::Wait);

    /// Does `work`.
    pub fn work(work: impl Future<Output = Self> + 'static) -> Self {
        Self::Next(Next::Work(Box::pin(work)))
    }

    /// Ends the connection.
    #[must_use]
    pub const fn close(close: Close) -> Self {
        Self::Next(Next::Close(close))
    }
}

/// How to close the connection of a client that left: after a half-close it may still be reading, and
/// closing with unread input would reset the connection and lose earlier replies.
#[must_use]
pub const fn close_behind(peer: crate::io::socket::Peer) -> Close {
    use crate::io::socket::Peer;
    match peer {
        Peer::Gone => Close::Now,
        Peer::HalfClosed | Peer::There => Close::Linger,
    }
}
