//! A connection: its socket, what it is doing, and how others reach the task that serves it.
//!
//! Owns: the state of one client's connection. The task in `serve` runs it; other tasks of the same
//! shard change it through [`Conn::hand`] and [`Conn::stop`] and never wait for it.
//! Must never: know what a request means, or how bytes move.

use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    mem,
    os::fd::{AsFd, BorrowedFd},
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;

use crate::{
    io::{
        clock::{Moment, Reading},
        socket::{Peer, Transport},
    },
    model::{
        queue::Place,
        registry::{ChannelId, Side},
        request::{ConsumerRequest, ProducerRequest, Request},
    },
    observe::access::Line,
};

/// Names a connection of one shard, for as long as that connection is there.
pub type ConnId = u32;

/// Whose a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A client's.
    Client,
    /// A client's that came when there were enough: its first request is refused.
    Excess,
    /// An operator's, through the admin listener.
    Operator,
}

/// Something that takes more than one turn of the connection's task.
pub type Work = Pin<Box<dyn Future<Output = Step>>>;

/// What the task of a connection does next.
pub enum Step {
    /// Wait: for bytes, for the peer to leave, or for another task to hand over a step.
    Wait,
    /// Look at the bytes that are in hand already.
    Parse,
    /// Do this, then the step that comes of it.
    Work(Work),
    /// Give the connection to the shard that owns the channel of this request.
    HandOver(usize, Box<Request>),
    /// End the connection.
    Close(Close),
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// At once: everything was read, nobody is there, or the socket resets and is meant to.
    Now,
    /// With time for the peer, which may still be sending, to read the last reply: the sending
    /// direction ends, what comes is read and dropped for a bounded time and amount.
    Linger,
}

impl Close {
    /// How the connection of a client that left ends: who has only said that it sends nothing more
    /// may be reading earlier replies, which a close over unread bytes would destroy.
    #[must_use]
    pub const fn behind(peer: Peer) -> Self {
        match peer {
            Peer::Gone => Self::Now,
            Peer::HalfClosed | Peer::There => Self::Linger,
        }
    }
}

/// Why an exchange must not go on: told to the task that drives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The producer vanished: its connection is lost, though it has not ended.
    ProducerLeft,
    /// The consumer half-closed before its first byte, or its connection broke.
    ConsumerLeft,
    /// The channel or its namespace was deleted.
    Deleted,
    /// Nothing moved for too long.
    Expired,
    /// The server ends and can wait no longer.
    Drained,
}

/// What a connection is doing.
pub enum State {
    /// Between two requests, or inside a head.
    Reading,
    /// In a channel's queue.
    Waiting(Waiting),
    /// A consumer that another connection's task sends a body.
    Consuming {
        /// The producer.
        driver: Rc<Conn>,
        /// The consumer was sent a byte.
        started: bool,
    },
    /// Its own task is at work.
    Working,
    /// Another task decided what comes next; its own task has yet to do it.
    Handed(Step),
}

/// A [`State`] without what belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "as in `State`")]
pub enum Doing {
    Reading,
    Waiting,
    Consuming,
    Working,
    Handed,
}

/// A place in a channel's queue, and the request that stands there.
pub struct Waiting {
    /// The channel.
    pub channel: ChannelId,
    /// Where in the queue; spent once a counterpart took it out.
    pub place: Place,
    /// The request.
    pub party: Party,
}

/// One side of an exchange to be.
pub enum Party {
    /// It brings a body.
    Producer(Box<ProducerRequest>),
    /// It takes one.
    Consumer(ConsumerRequest),
}

impl Party {
    /// Which side it is.
    #[must_use]
    pub fn side(&self) -> Side {
        match self {
            Self::Producer(_) => Side::Producer,
            Self::Consumer(_) => Side::Consumer,
        }
    }
}

/// What woke the task of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// There is something to receive, be it the end of the stream.
    Readable,
    /// Another task changed the connection's state.
    Poked,
}

/// The connection.
pub struct Conn {
    /// What others call it.
    pub id: ConnId,
    /// Its socket.
    pub socket: Transport,
    /// Bytes that were read and belong to the next request.
    unread: RefCell<Bytes>,
    /// When the sweep steps in; what that means follows from the state.
    pub deadline: Cell<Moment>,
    /// Until when its request may wait, kept over a match that came to nothing.
    pub wait_until: Cell<Moment>,
    /// When the request in hand came.
    pub arrived: Cell<Reading>,
    /// What the access log will say of the request in hand.
    pub line: Line,
    /// The consumer has said that it sends nothing more: its connection ends with its exchange.
    pub half_closed: Cell<bool>,
    /// No request was served on it yet.
    pub fresh: Cell<bool>,
    /// Its last body was spliced.
    pub bulky: Cell<bool>,
    /// Whose it is.
    pub standing: Standing,
    state: RefCell<State>,
    stop: Cell<Option<Stop>>,
    /// Whether readability is of interest while it waits; not so once it is known that unread bytes
    /// lie there, when the sweep looks for a peer that leaves.
    watching: Cell<bool>,
    /// Whether its task waits for readability at this moment.
    armed: Cell<bool>,
    poked: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Conn {
    /// A connection that has yet to send its first request, until `deadline`.
    #[must_use]
    pub fn new(id: ConnId, socket: Transport, deadline: Moment, standing: Standing) -> Self {
        Self {
            id,
            socket,
            unread: RefCell::default(),
            deadline: Cell::new(deadline),
            wait_until: Cell::new(Moment::NEVER),
            arrived: Cell::default(),
            line: Line::default(),
            half_closed: Cell::new(false),
            fresh: Cell::new(true),
            bulky: Cell::new(false),
            standing,
            state: RefCell::new(State::Reading),
            stop: Cell::new(None),
            watching: Cell::new(true),
            armed: Cell::new(false),
            poked: Cell::new(false),
            waker: RefCell::new(None),
        }
    }

    /// Takes the bytes that were read for the next request.
    pub fn take_unread(&self) -> Bytes {
        self.unread.take()
    }

    /// Keeps bytes that were read and belong to the next request.
    pub fn keep_unread(&self, bytes: Bytes) {
        *self.unread.borrow_mut() = bytes;
    }

    /// Whether bytes of the next request are in hand.
    #[must_use]
    pub fn has_unread(&self) -> bool {
        !self.unread.borrow().is_empty()
    }

    /// The place in a queue that this connection has, if it waits; its task is at work from then on.
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

    /// What the connection is doing.
    #[must_use]
    pub fn doing(&self) -> Doing {
        match &*self.state.borrow() {
            State::Reading => Doing::Reading,
            State::Waiting(_) => Doing::Waiting,
            State::Consuming { .. } => Doing::Consuming,
            State::Working => Doing::Working,
            State::Handed(_) => Doing::Handed,
        }
    }

    /// Its task is at work from now on.
    pub fn begin_work(&self) {
        *self.state.borrow_mut() = State::Working;
    }

    /// It stands in a queue from now on.
    pub fn begin_waiting(&self, waiting: Waiting) {
        self.deadline.set(self.wait_until.get());
        self.watching.set(true);
        *self.state.borrow_mut() = State::Waiting(waiting);
    }

    /// It may send its next request, until `deadline`.
    pub fn begin_reading(&self, deadline: Moment) {
        self.fresh.set(false);
        self.watching.set(true);
        self.stop.set(None);
        self.deadline.set(deadline);
        *self.state.borrow_mut() = State::Reading;
    }

    /// The first bytes of a head came; it is due by `deadline`, or, on a connection that has sent
    /// nothing before, when the connection's first head is due.
    pub fn begin_head(&self, deadline: Moment) {
        if !self.fresh.get() {
            self.deadline.set(deadline);
        }
    }

    /// Its task does `step` next. Nothing is done, and nobody woken, if that is to wait for the next
    /// request and the task does so already.
    pub fn hand(&self, step: Step) {
        if matches!(step, Step::Wait) && self.armed.get() {
            return;
        }
        *self.state.borrow_mut() = State::Handed(step);
        self.poke();
    }

    /// The step that was handed over, if one was, with the state that belongs to it.
    pub fn take_handed(&self) -> Option<Step> {
        let mut state = self.state.borrow_mut();
        if !matches!(&*state, State::Handed(_)) {
            return None;
        }
        let State::Handed(step) = mem::replace(&mut *state, State::Working) else {
            return None;
        };
        if matches!(step, Step::Wait | Step::Parse) {
            *state = State::Reading;
        }
        Some(step)
    }

    /// The exchange that this connection's task drives must not go on. The first reason counts, but
    /// a deletion counts more: whoever deleted was told that nobody waits on.
    pub fn stop(&self, stop: Stop) {
        if self.stop.get().is_none() || stop == Stop::Deleted {
            self.stop.set(Some(stop));
        }
        self.poke();
    }

    /// Why the exchange must not go on, said once.
    pub fn take_stop(&self) -> Option<Stop> {
        self.stop.take()
    }

    /// The task of `driver`, the producer, sends this consumer its body from now on.
    pub fn begin_consuming(&self, driver: &Rc<Self>) {
        self.deadline.set(Moment::NEVER);
        *self.state.borrow_mut() = State::Consuming {
            driver: Rc::clone(driver),
            started: false,
        };
    }

    /// Whether another task sends it a body.
    #[must_use]
    pub fn is_consuming(&self) -> bool {
        matches!(&*self.state.borrow(), State::Consuming { .. })
    }

    /// The connection whose task sends it a body, if one does.
    #[must_use]
    pub fn driver(&self) -> Option<Rc<Self>> {
        match &*self.state.borrow() {
            State::Consuming { driver, .. } => Some(Rc::clone(driver)),
            _ => None,
        }
    }

    /// The consumer was sent its first byte.
    pub fn mark_started(&self) {
        if let State::Consuming { started, .. } = &mut *self.state.borrow_mut() {
            *started = true;
        }
    }

    /// Ends the exchange in which this connection is sent a body; no-op if there is none.
    pub fn stop_driver(&self, stop: Stop) {
        if let State::Consuming { driver, .. } = &*self.state.borrow() {
            driver.stop(stop);
        }
    }

    /// The consumer sends nothing more. Before its first byte that cannot be told from leaving;
    /// after it, it gets the rest, and its connection ends then.
    pub fn half_closed_while_consuming(&self) {
        if let State::Consuming { driver, started } = &*self.state.borrow() {
            if *started {
                self.half_closed.set(true);
            } else {
                driver.stop(Stop::ConsumerLeft);
            }
        }
    }

    /// From now on readability is of interest, or is not: for the task of this connection to say, or
    /// for another that ends its wait.
    pub fn watch(&self, watching: bool) {
        self.watching.set(watching);
    }

    /// As `watch`, for another task to say: this one's begins to wait for readability.
    pub fn watch_again(&self) {
        self.watching.set(true);
        if !self.armed.get() {
            self.poke();
        }
    }

    /// Whether the sweep has to look whether the peer is still there.
    #[must_use]
    pub fn needs_sweep(&self) -> bool {
        !self.watching.get()
            && matches!(
                &*self.state.borrow(),
                State::Waiting(_) | State::Consuming { .. }
            )
    }

    /// Waits for readability, unless that is of no interest, or for a poke.
    pub async fn event(&self) -> Event {
        if !self.watching.get() {
            return self.poked().await;
        }
        self.armed.set(true);
        let readable = pin!(self.socket.readable());
        let event = self.poked_or(readable).await;
        self.armed.set(false);
        event.map_or(Event::Poked, |()| Event::Readable)
    }

    /// Waits for another task to poke this one.
    pub async fn poked(&self) -> Event {
        poll_fn(|context| self.poll_poked(context)).await;
        Event::Poked
    }

    /// Waits for `future` unless another task pokes this one first: `None` then. Takes a pinned
    /// reference, because an `async fn` that takes a future keeps room for it twice.
    pub fn poked_or<F: Future>(
        &self,
        mut future: Pin<&mut F>,
    ) -> impl Future<Output = Option<F::Output>> {
        poll_fn(move |context| {
            if self.poll_poked(context).is_ready() {
                return Poll::Ready(None);
            }
            future.as_mut().poll(context).map(Some)
        })
    }

    fn poll_poked(&self, context: &Context<'_>) -> Poll<()> {
        if self.poked.take() {
            return Poll::Ready(());
        }
        let mut waker = self.waker.borrow_mut();
        if !waker
            .as_ref()
            .is_some_and(|known| known.will_wake(context.waker()))
        {
            *waker = Some(context.waker().clone());
        }
        Poll::Pending
    }

    fn poke(&self) {
        self.poked.set(true);
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}

impl AsFd for Conn {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
