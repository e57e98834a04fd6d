//! A connection: its socket, its two directions, what it is doing, and how others reach its task.
//!
//! Owns: the state of one client's connection. The task in `worker` runs it; other tasks of the same
//! shard change it through [`Conn::hand`] and [`Conn::signal`] and never wait for it.
//! Must never: know what a request means, or how bytes move.

pub mod deadline;
pub mod inbound;
pub mod outbound;
pub mod outbox;
pub mod signal;
pub mod step;

use std::{
    cell::{Cell, RefCell},
    future::Future,
    mem,
    os::fd::{AsFd, BorrowedFd},
    pin::{Pin, pin},
    rc::Rc,
};

use strum::EnumDiscriminants;

use crate::{
    conn::{deadline::Deadline, inbound::Inbound, outbound::Outbound, signal::Signal, step::Next},
    io::{
        clock::{Moment, Reading},
        socket::Transport,
    },
    model::{
        audience::Audience,
        queue::Place,
        registry::{ChannelId, Side},
        request::{ConsumerRequest, ProducerRequest},
        verdict::Cause,
    },
    observe::access::Line,
};

/// Identifies a connection of one shard while the connection exists.
pub type ConnId = u32;

/// The connection.
pub struct Conn {
    pub id: ConnId,
    pub transport: Transport,
    pub inbound: Inbound,
    pub outbound: Outbound<Self>,
    pub signal: Signal,
    pub deadline: Deadline,
    /// Until when its request may wait; kept after a match that moved nothing.
    pub wait_until: Cell<Moment>,
    /// When the current request arrived.
    pub arrived: Cell<Reading>,
    /// The access log's line of the current request.
    pub line: Line,
    pub audience: Audience,
    /// It was accepted beyond `--max-connections`: its first request is refused.
    pub over_limit: bool,
    state: RefCell<State>,
    watch: Cell<Watch>,
    /// Its task waits for readability at this moment.
    armed: Cell<bool>,
}

/// A waiting connection costs its `Conn` and its task, together at most 1.0 KiB of memory.
const _: () = assert!(size_of::<Conn>() <= 280);

/// What a connection's task is doing.
#[derive(EnumDiscriminants)]
#[strum_discriminants(name(Doing))]
pub enum State {
    /// Between two requests, or inside a head.
    Reading,
    /// In a channel's queue.
    Waiting(Waiting),
    /// The sink of an exchange: the producer's task sends, this one only watches its peer.
    Driven,
    /// A [`Next::Work`] runs, or another task is about to hand over what comes next.
    Working,
    /// Another task decided what comes next; this one has yet to do it.
    Handed(Next),
}

/// A place in a channel's queue, and the request that stands there.
pub struct Waiting {
    /// The channel.
    pub channel: ChannelId,
    /// Where in the queue; spent when a counterpart has taken it out.
    pub place: Place,
    /// The request.
    pub party: Party,
}

/// A request that waits: one side of a future exchange.
pub enum Party {
    /// It brings a body.
    Producer(Box<ProducerRequest>),
    /// It takes one.
    Consumer(ConsumerRequest),
}

impl Party {
    /// Which side it is.
    #[must_use]
    pub const fn side(&self) -> Side {
        match self {
            Self::Producer(_) => Side::Producer,
            Self::Consumer(_) => Side::Consumer,
        }
    }
}

/// How a task that waits learns that its peer sends something or leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Watch {
    /// By readability.
    Readability,
    /// Unread bytes keep the socket readable, so the shard watches the peer instead.
    Peer,
}

/// What woke the task of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// There is something to receive, perhaps the end of the stream.
    Readable,
    /// Another task changed the connection's state.
    Poked,
}

impl Conn {
    /// A connection that has yet to send its first request.
    #[must_use]
    pub fn new(id: ConnId, transport: Transport, audience: Audience, over_limit: bool) -> Self {
        Self {
            id,
            transport,
            inbound: Inbound::new(),
            outbound: Outbound::default(),
            signal: Signal::default(),
            deadline: Deadline::new(),
            wait_until: Cell::new(Moment::NEVER),
            arrived: Cell::default(),
            line: Line::default(),
            audience,
            over_limit,
            state: RefCell::new(State::Reading),
            watch: Cell::new(Watch::Readability),
            armed: Cell::new(false),
        }
    }

    /// What the connection's task is doing.
    #[must_use]
    pub fn doing(&self) -> Doing {
        Doing::from(&*self.state.borrow())
    }

    /// Its task is at work from now on.
    pub fn begin_work(&self) {
        *self.state.borrow_mut() = State::Working;
    }

    /// It stands in a queue from now on.
    pub fn begin_waiting(&self, waiting: Waiting) {
        self.watch.set(Watch::Readability);
        *self.state.borrow_mut() = State::Waiting(waiting);
    }

    /// If the connection waits, takes its place in the queue and begins work; `None` otherwise.
    pub fn take_waiting(&self) -> Option<Waiting> {
        let mut state = self.state.borrow_mut();
        if !matches!(&*state, State::Waiting(_)) {
            return None;
        }
        match mem::replace(&mut *state, State::Working) {
            State::Waiting(waiting) => Some(waiting),
            _ => None,
        }
    }

    /// It may send its next request.
    pub fn begin_reading(&self) {
        self.inbound.served();
        self.signal.clear_stop();
        self.watch.set(Watch::Readability);
        *self.state.borrow_mut() = State::Reading;
    }

    /// The task of `driver`, the producer, sends this consumer its body from now on.
    pub fn begin_driven(&self, driver: &Rc<Self>) {
        self.deadline.lift();
        self.outbound.begin_driven(driver);
        *self.state.borrow_mut() = State::Driven;
    }

    /// Hands `next` to the connection's task. No-op if `next` is to wait for the next request and the
    /// task does so already.
    pub fn hand(&self, next: Next) {
        if matches!(next, Next::Wait) && self.armed.get() {
            return;
        }
        *self.state.borrow_mut() = State::Handed(next);
        self.signal.poke();
    }

    /// Takes what was handed over, if anything was, and enters the state that belongs to it.
    pub fn take_handed(&self) -> Option<Next> {
        let mut state = self.state.borrow_mut();
        if !matches!(&*state, State::Handed(_)) {
            return None;
        }
        let State::Handed(next) = mem::replace(&mut *state, State::Working) else {
            return None;
        };
        if matches!(next, Next::Wait | Next::Parse) {
            *state = State::Reading;
        }
        Some(next)
    }

    /// Stops waiting for readability: unread bytes are in the socket, or another task is about to hand
    /// over what comes next.
    pub fn ignore_readability(&self) {
        self.watch.set(Watch::Peer);
    }

    /// Makes the connection's task wait for readability again; any task may call it.
    pub fn watch_readability_again(&self) {
        self.watch.set(Watch::Readability);
        if !self.armed.get() {
            self.signal.poke();
        }
    }

    /// Whether its peer can leave unseen by its task, because unread bytes keep the socket readable.
    #[must_use]
    pub fn needs_peer_watch(&self) -> bool {
        self.watch.get() == Watch::Peer && matches!(self.doing(), Doing::Waiting | Doing::Driven)
    }

    /// Waits for a poke or, unless it is ignored, for readability.
    pub async fn event(&self) -> Event {
        if self.watch.get() == Watch::Peer {
            self.signal.poked().await;
            return Event::Poked;
        }
        self.armed.set(true);
        let readable = pin!(self.transport.readable());
        let event = self.signal.poked_or(readable).await;
        self.armed.set(false);
        event.map_or(Event::Poked, |()| Event::Readable)
    }

    /// Waits for `ready` in this connection's task, unless the task is stopped. A poke ends the wait too: the
    /// caller tries what it waited for, and waits again.
    ///
    /// # Errors
    /// Why it was stopped.
    pub async fn ready_or_stopped<F: Future<Output = ()>>(
        &self,
        ready: impl FnOnce() -> F,
    ) -> Result<(), Cause> {
        self.check_stop()?;
        let ready = pin!(ready());
        self.signal.poked_or(ready).await;
        self.check_stop()
    }

    /// Waits for `future` in this connection's task, unless the task is stopped. Takes a pinned
    /// reference as [`Signal::poked_or`] does.
    ///
    /// # Errors
    /// Why it was stopped.
    pub async fn or_stopped<F: Future>(&self, mut future: Pin<&mut F>) -> Result<F::Output, Cause> {
        loop {
            self.check_stop()?;
            if let Some(output) = self.signal.poked_or(future.as_mut()).await {
                return Ok(output);
            }
        }
    }

    /// Whether this connection's task was stopped.
    ///
    /// # Errors
    /// Why it was stopped.
    pub fn check_stop(&self) -> Result<(), Cause> {
        self.signal.take_stop().map_or(Ok(()), Err)
    }

    /// The consumer left: the task that sends to it has to stop.
    pub fn consumer_left(&self) {
        if let Some(driver) = self.outbound.mark_left() {
            driver.signal.stop(Cause::ConsumerLeft);
        }
    }

    /// The consumer half-closed. Before the first byte of its reply that counts as leaving, because the
    /// two look the same; after it, the consumer receives the rest, then its connection ends.
    pub fn consumer_half_closed(&self) {
        if self.outbound.is_started() {
            self.outbound.half_close();
        } else {
            self.consumer_left();
        }
    }
}

impl AsFd for Conn {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.transport.as_fd()
    }
}
