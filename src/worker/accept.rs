//! Accepting connections: one acceptor for each listener of a shard.
//!
//! Owns: when a shard accepts a connection, and when it leaves one in the backlog.

use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    os::fd::OwnedFd,
    pin::pin,
    rc::Rc,
    sync::atomic::Ordering,
    task::{Poll, Waker},
};

use crate::{
    io::{
        listen::{Accepted, ListenSocket},
        socket::{Kind, Transport},
    },
    limits,
    model::audience::Audience,
    observe::throttle::Throttle,
    shard::{Shard, session::Session},
    worker::task,
};

/// A shard's handle on a listener.
#[derive(Debug)]
pub struct ListenerHandle {
    /// The listening socket, non-blocking.
    pub fd: OwnedFd,
    /// The kind of the connections accepted on it.
    pub kind: Kind,
    pub audience: Audience,
    /// The socket outlives this process, so the process must not shut it down.
    pub inherited: bool,
}

/// One listener of one shard.
pub struct Acceptor {
    shard: Rc<Shard>,
    listener: ListenSocket,
    audience: Audience,
    inherited: bool,
    /// Wakes the acceptor's task when a drain begins.
    waker: RefCell<Option<Waker>>,
    /// No descriptor or memory is free for newcomers.
    cannot_accept: Throttle,
}

/// Why a batch ended.
enum Batch {
    /// The backlog is empty, or the batch is full.
    Taken,
    /// The limit of open connections is reached.
    Full,
    /// The listener was shut down.
    Ended,
    /// No descriptor or memory is free.
    Failed(io::Error),
}

impl Acceptor {
    /// Takes over `handle`.
    ///
    /// # Errors
    /// The runtime refuses the descriptor.
    pub fn new(shard: &Rc<Shard>, handle: ListenerHandle) -> io::Result<Self> {
        Ok(Self {
            shard: Rc::clone(shard),
            listener: ListenSocket::new(handle.fd, handle.kind)?,
            audience: handle.audience,
            inherited: handle.inherited,
            waker: RefCell::new(None),
            cannot_accept: Throttle::default(),
        })
    }

    /// Accepts connections, in batches, until the listener ends.
    pub async fn run(self: Rc<Self>) {
        loop {
            self.newcomers().await;
            if self.is_over() {
                break;
            }
            match self.accept_batch(limits::ACCEPT_BATCH) {
                // Draining. A shut-down Unix listener stays readable for ever, and without a free
                // descriptor `accept` fails before it looks at the socket.
                Batch::Taken | Batch::Failed(_) if self.drains() => break,
                Batch::Taken => {}
                Batch::Ended => break,
                Batch::Full => self.shard.ticks.next().await,
                Batch::Failed(error) => {
                    self.warn(&error);
                    // Tried again after a tick, so that a lasting shortage costs hardly any CPU.
                    self.shard.ticks.next().await;
                }
            }
        }
        if self.audience.has_clients() {
            // Release: a thread that loads this count (Acquire) sees the connections counted before.
            self.shard.shared.accepting.fetch_sub(1, Ordering::Release);
        }
    }

    /// Accepts what is in the backlog, then shuts the listener down; the other order would reset
    /// clients that connected before the drain. An inherited listener is left to the next instance.
    pub fn begin_drain(&self) {
        if self.audience.has_clients() && !self.inherited {
            // All in one turn, because it happens only once.
            let _ = self.accept_batch(limits::LISTEN_BACKLOG as usize);
            self.listener.end();
        }
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    fn drains(&self) -> bool {
        self.shard.draining.get() && self.audience.has_clients()
    }

    /// Whether nothing more may be accepted. From a listener that this process shut down, the rest of
    /// the backlog is still taken.
    fn is_over(&self) -> bool {
        self.drains() && self.inherited
    }

    /// Waits until a connection can be accepted, or until the listener ends.
    async fn newcomers(&self) {
        let mut readable = pin!(self.listener.readable());
        poll_fn(|context| {
            if self.is_over() {
                return Poll::Ready(());
            }
            *self.waker.borrow_mut() = Some(context.waker().clone());
            readable.as_mut().poll(context)
        })
        .await;
    }

    fn warn(&self, error: &io::Error) {
        if let Some(times) = self.cannot_accept.record(&self.shard.clock) {
            tracing::warn!(
                "cannot accept connections: {error}; new clients wait in the listen queue until \
                 some connections close ({times} failed attempts since the last line)"
            );
        }
    }

    /// Accepts until the backlog is empty, at most `count_max` connections.
    fn accept_batch(&self, count_max: usize) -> Batch {
        for _ in 0..count_max {
            if !self.has_room() {
                return Batch::Full;
            }
            match self.listener.accept() {
                Accepted::Connection(transport) => self.admit(transport),
                Accepted::Nobody => return Batch::Taken,
                Accepted::Ended => return Batch::Ended,
                Accepted::Failed(error) => return Batch::Failed(error),
            }
        }
        Batch::Taken
    }

    fn has_room(&self) -> bool {
        let shared = &self.shard.shared;
        if !self.audience.has_clients() {
            return self.shard.connections.operators() < limits::ADMIN_CONNECTIONS_MAX;
        }
        let descriptors = &shared.config.descriptors;
        shared.connections.load(Ordering::Relaxed)
            < descriptors.connections_max + descriptors.over_limit_max
    }

    fn admit(&self, transport: Transport) {
        let over_limit = self.audience.has_clients() && self.count_is_over_limit();
        let conn = self.shard.admit(transport, self.audience, over_limit);
        task::spawn(Session::new(&self.shard, conn), None);
    }

    /// Counts a client's connection; returns whether it is one too many.
    fn count_is_over_limit(&self) -> bool {
        let shared = &self.shard.shared;
        let before = shared.connections.fetch_add(1, Ordering::Relaxed);
        before >= shared.config.descriptors.connections_max
    }
}
