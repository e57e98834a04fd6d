//! A connection as the server has it: `src/conn/mod.rs` without a socket. Signal and outbound are the
//! real ones.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::mem;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use httpipe::testing::conn::{outbound::Outbound, signal::Signal};
use httpipe::testing::model::{
    queue::Place,
    registry::{ChannelId, Side},
    verdict::Cause,
};

use super::client::{Client, Peer, Ticket, Unit};
use super::exchange::Exchange;
use super::seen::{Event, Seen};

pub type Id = u32;

pub struct Conn {
    pub id: Id,
    pub client: Client,
    pub signal: Signal,
    pub outbound: Outbound<Conn>,
    pub request: RefCell<Request>,
    pub state: RefCell<State>,
    /// The exchange that its task drives.
    pub work: RefCell<Option<Exchange>>,
    /// Its task panics at its next turn.
    pub faulty: Cell<bool>,
    /// A time limit was over in the exchange that it drives.
    pub expired: Cell<bool>,
    /// Its task knows of its peer what there is to know.
    looked: Cell<bool>,
    /// What was signalled since its task looked.
    stops: RefCell<Vec<Cause>>,
    awake: Arc<Awake>,
    seen: Rc<Seen>,
}

/// The request in hand.
pub struct Request {
    pub ticket: Ticket,
    pub side: Side,
    /// The channel, by its place in `NAMES`.
    pub name: usize,
    pub chunked: bool,
    /// What was received of the body and not sent on.
    pub in_hand: VecDeque<Unit>,
    pub is_whole: bool,
}

impl Request {
    /// What a connection begins with.
    pub const NONE: Self = Self {
        ticket: 0,
        side: Side::Producer,
        name: 0,
        chunked: false,
        in_hand: VecDeque::new(),
        is_whole: false,
    };
}

pub enum State {
    Reading,
    Waiting(ChannelId, Place),
    Driven,
    Working,
    Handed(Next),
}

/// What its task does next.
pub enum Next {
    Wait,
    Work(Exchange),
    Close,
}

/// What ended a wait of its task.
pub enum Woken {
    Readable,
    Poked,
}

/// Its task is to be polled.
#[derive(Default)]
struct Awake(AtomicBool);

impl Wake for Awake {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Conn {
    pub fn new(id: Id, client: Client, seen: &Rc<Seen>) -> Rc<Self> {
        Rc::new(Self {
            id,
            client,
            signal: Signal::default(),
            outbound: Outbound::default(),
            request: RefCell::new(Request::NONE),
            state: RefCell::new(State::Reading),
            work: RefCell::default(),
            faulty: Cell::new(false),
            expired: Cell::new(false),
            looked: Cell::new(false),
            stops: RefCell::default(),
            awake: Arc::default(),
            seen: Rc::clone(seen),
        })
    }

    pub fn side(&self) -> Side {
        self.request.borrow().side
    }

    pub fn name(&self) -> usize {
        self.request.borrow().name
    }

    pub fn is_reading(&self) -> bool {
        matches!(*self.state.borrow(), State::Reading)
    }

    pub fn is_waiting(&self) -> bool {
        matches!(*self.state.borrow(), State::Waiting(..))
    }

    pub fn is_driven(&self) -> bool {
        matches!(*self.state.borrow(), State::Driven)
    }

    pub fn is_working(&self) -> bool {
        matches!(*self.state.borrow(), State::Working)
    }

    pub fn begin_waiting(&self, channel: ChannelId, place: Place) {
        self.looked.set(false);
        *self.state.borrow_mut() = State::Waiting(channel, place);
    }

    /// The channel that it waits on, if it waits.
    pub fn channel(&self) -> Option<ChannelId> {
        match *self.state.borrow() {
            State::Waiting(channel, _) => Some(channel),
            _ => None,
        }
    }

    /// Where it stands, if it waits; its task is at work from then on.
    pub fn take_waiting(&self) -> Option<(ChannelId, Place)> {
        let mut state = self.state.borrow_mut();
        let State::Waiting(channel, place) = *state else {
            return None;
        };
        *state = State::Working;
        Some((channel, place))
    }

    pub fn begin_reading(&self) {
        self.clear_stop();
        self.looked.set(false);
        *self.state.borrow_mut() = State::Reading;
    }

    pub fn begin_driven(&self, driver: &Rc<Self>) {
        self.outbound.begin_driven(driver);
        *self.state.borrow_mut() = State::Driven;
    }

    pub fn hand(&self, next: Next) {
        *self.state.borrow_mut() = State::Handed(next);
        self.signal.poke();
    }

    pub fn take_handed(&self) -> Option<Next> {
        let mut state = self.state.borrow_mut();
        if !matches!(*state, State::Handed(_)) {
            return None;
        }
        let State::Handed(next) = mem::replace(&mut *state, State::Working) else {
            return None;
        };
        if matches!(next, Next::Wait) {
            *state = State::Reading;
        }
        Some(next)
    }

    pub fn watch_readability_again(&self) {
        self.looked.set(false);
        self.signal.poke();
    }

    /// What there is to know of the peer is known.
    pub fn has_looked(&self) {
        self.looked.set(true);
    }

    pub fn consumer_left(&self) {
        if let Some(driver) = self.outbound.mark_left() {
            driver.stop(Cause::ConsumerLeft);
        }
    }

    pub fn consumer_half_closed(&self) {
        if self.outbound.is_started() {
            self.outbound.half_close();
        } else {
            self.consumer_left();
        }
    }

    /// The client did something: the kernel wakes its task, and the one that sends to it.
    pub fn client_acted(&self) {
        self.looked.set(false);
        self.wake();
        if let Some(driver) = self.outbound.driver() {
            driver.wake();
        }
    }

    pub fn stop(&self, cause: Cause) {
        self.stops.borrow_mut().push(cause);
        self.signal.stop(cause);
        if cause == Cause::Expired {
            self.expired.set(true);
        }
    }

    /// Checks that the first cause counts, but a deletion more.
    pub fn take_stop(&self) -> Option<Cause> {
        let stops = mem::take(&mut *self.stops.borrow_mut());
        let deleted = stops.contains(&Cause::Deleted).then_some(Cause::Deleted);
        let expected = deleted.or(stops.first().copied());
        match (&stops[..], expected) {
            ([first, _, ..], Some(Cause::Deleted)) if *first != Cause::Deleted => {
                self.seen.saw(Event::DeletionOutranked);
            }
            ([_, _, ..], _) => self.seen.saw(Event::LaterCauseLost),
            _ => {}
        }
        assert_eq!(self.signal.take_stop(), expected, "of {stops:?}");
        expected
    }

    pub fn has_stop(&self) -> bool {
        !self.stops.borrow().is_empty()
    }

    pub fn clear_stop(&self) {
        self.stops.borrow_mut().clear();
        self.signal.clear_stop();
    }

    pub fn check_stop(&self) -> Result<(), Cause> {
        self.take_stop().map_or(Ok(()), Err)
    }

    pub async fn ready_or_stopped(&self, ready: impl Fn() -> bool) -> Result<(), Cause> {
        loop {
            self.check_stop()?;
            let ready = pin!(until(&ready));
            if self.signal.poked_or(ready).await.is_some() {
                return self.check_stop();
            }
        }
    }

    /// Waits until its client left, or for a poke.
    pub fn poll_event(&self) -> Poll<Woken> {
        let news = || self.client.peer.get() != Peer::There && !self.looked.get();
        let readable = pin!(until(&news));
        let event = self.poll(self.signal.poked_or(readable));
        event.map(|readable| readable.map_or(Woken::Poked, |()| Woken::Readable))
    }

    /// Polls in its task.
    pub fn poll<F: Future>(&self, future: F) -> Poll<F::Output> {
        let waker = Waker::from(Arc::clone(&self.awake));
        pin!(future).poll(&mut Context::from_waker(&waker))
    }

    pub fn wake(&self) {
        self.awake.0.store(true, Ordering::Relaxed);
    }

    pub fn is_awake(&self) -> bool {
        self.awake.0.load(Ordering::Relaxed)
    }

    /// Its turn has come.
    pub fn sleep(&self) {
        self.awake.0.store(false, Ordering::Relaxed);
    }
}

fn until(ready: &impl Fn() -> bool) -> impl Future<Output = ()> {
    poll_fn(move |_| match ready() {
        true => Poll::Ready(()),
        false => Poll::Pending,
    })
}
