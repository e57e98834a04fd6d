//! A shard without sockets and clock: its tasks, its sweep, its replies. Follows `src/worker/task.rs`,
//! `src/worker/sweep.rs` and `src/shard/session.rs`; what they do with a request is in `matching`.

use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;
use std::task::Poll;

use httpipe::testing::limits;
use httpipe::testing::model::{
    refusal::Refusal,
    registry::{ChannelId, Registry, Side},
    verdict::{Cause, WaitEnd, rule_waiting},
};

use slab::Slab;

use super::LIMITS;
use super::client::Peer;
use super::conn::{Conn, Id, Next, State, Woken};
use super::exchange::Exchange;
use super::ledger::{End, Ledger};
use super::seen::{Event, Seen};

pub struct Server {
    pub registry: Registry<Id>,
    pub conns: Slab<Rc<Conn>>,
    pub backlog: VecDeque<(usize, ChannelId)>,
    /// Those that waited on a channel that was deleted, and have yet to be told.
    pub evicted: VecDeque<Rc<Conn>>,
    pub draining: bool,
    /// `--drain-timeout` is over.
    pub drained: bool,
    pub ledger: Ledger,
    pub seen: Rc<Seen>,
    /// Where the sweep goes on.
    sweep_from: usize,
}

impl Server {
    pub fn new(seen: &Rc<Seen>) -> Self {
        Self {
            registry: Registry::new(LIMITS),
            conns: Slab::new(),
            backlog: VecDeque::new(),
            evicted: VecDeque::new(),
            draining: false,
            drained: false,
            ledger: Ledger::default(),
            seen: Rc::clone(seen),
            sweep_from: 0,
        }
    }

    /// The request in hand of `conn` arrives.
    pub fn arrive(&mut self, conn: &Rc<Conn>, pieces: u32) {
        self.ledger.arrives(conn, pieces);
        let next = self.begin_request(conn);
        self.run(conn, next);
    }

    /// A turn of the task of `conn`, which was woken.
    pub fn turn(&mut self, conn: &Rc<Conn>) {
        conn.sleep();
        if conn.faulty.take() {
            let next = conn.take_handed();
            if let Some(Next::Work(exchange)) = next {
                *conn.work.borrow_mut() = Some(exchange);
            } else if let Some(next) = next {
                return self.run(conn, next);
            }
            if conn.work.borrow().is_some() || conn.is_waiting() {
                return self.panicked(conn);
            }
        }
        let work = conn.work.take();
        self.run(conn, work.map_or(Next::Wait, Next::Work));
    }

    /// The task of `conn` goes on until it waits or ends.
    fn run(&mut self, conn: &Rc<Conn>, mut next: Next) {
        loop {
            next = match next {
                Next::Wait => match conn.poll_event() {
                    Poll::Pending => return,
                    Poll::Ready(event) => self.react(conn, event),
                },
                Next::Work(exchange) => match self.drive(conn, exchange) {
                    Poll::Pending => return,
                    Poll::Ready(next) => next,
                },
                Next::Close => return self.close(conn),
            }
        }
    }

    fn react(&mut self, conn: &Rc<Conn>, event: Woken) -> Next {
        if let Some(next) = conn.take_handed() {
            return next;
        }
        match event {
            Woken::Poked => Next::Wait,
            Woken::Readable if conn.is_reading() => Next::Close,
            Woken::Readable => self.look_at_peer(conn),
        }
    }

    fn look_at_peer(&mut self, conn: &Rc<Conn>) -> Next {
        conn.has_looked();
        if conn.is_waiting() {
            self.leave(conn);
            return Next::Close;
        }
        if conn.is_driven() {
            match conn.client.peer.get() {
                Peer::There => unreachable!("there are no news"),
                Peer::HalfClosed => conn.consumer_half_closed(),
                Peer::Gone => conn.consumer_left(),
            }
        } else {
            self.seen.saw(Event::LeftWhileEvicted);
        }
        Next::Wait
    }

    /// A client leaves while it waits.
    fn leave(&mut self, conn: &Rc<Conn>) {
        let (channel, place) = conn.take_waiting().expect("it waits");
        assert_eq!(self.registry.leave(channel, conn.side(), place), conn.id);
        self.seen.saw(Event::LeftWhileWaiting);
        self.ledger.ended(conn, End::Closed);
    }

    fn drive(&mut self, conn: &Rc<Conn>, mut exchange: Exchange) -> Poll<Next> {
        *conn.state.borrow_mut() = State::Working;
        match conn.poll(exchange.run.as_mut()) {
            Poll::Pending => {
                *conn.work.borrow_mut() = Some(exchange);
                Poll::Pending
            }
            Poll::Ready(Ok(())) => Poll::Ready(self.delivered(&exchange)),
            Poll::Ready(Err(cause)) => Poll::Ready(self.conclude(&exchange, cause)),
        }
    }

    fn close(&mut self, conn: &Rc<Conn>) {
        if !self.ledger.has_ended(conn.id) {
            assert!(
                conn.client.has_left(),
                "{} is closed without a word",
                conn.id
            );
            self.ledger.ended(conn, End::Closed);
        }
        self.conns.remove(conn.id as usize);
        self.ledger.closes(conn.id);
    }

    /// The task panicked, while it drove an exchange or waited.
    fn panicked(&mut self, conn: &Rc<Conn>) {
        if let Some(exchange) = conn.work.take() {
            self.after_panic(&exchange);
        } else {
            self.seen.saw(Event::PanickedWhileWaiting);
            let (channel, place) = conn.take_waiting().expect("it waits");
            self.registry.leave(channel, conn.side(), place);
        }
        self.ledger.ended(conn, End::Closed);
        self.conns.remove(conn.id as usize);
        self.ledger.closes(conn.id);
    }

    /// Says `refusal`.
    pub fn refuse(&mut self, conn: &Rc<Conn>, refusal: &Refusal) -> Next {
        let unread = conn.side() == Side::Producer && !conn.request.borrow().is_whole;
        self.send(conn, refusal.status.number(), refusal.closes || unread)
    }

    /// Says a reply of the server's own; a client that left does not hear it.
    pub fn send(&mut self, conn: &Rc<Conn>, status: u16, closes: bool) -> Next {
        self.ledger.ended(conn, End::Reply(status));
        if conn.client.refuses() {
            return Next::Close;
        }
        self.finish(conn, closes)
    }

    /// The request in hand is answered.
    pub fn finish(&self, conn: &Conn, closes: bool) -> Next {
        if closes || self.draining || conn.client.closes || conn.outbound.is_half_closed() {
            return Next::Close;
        }
        conn.begin_reading();
        Next::Wait
    }

    /// The connection's time limit is over.
    pub fn expire(&mut self, conn: &Rc<Conn>) {
        if conn.is_waiting() {
            let channel = conn.channel().expect("it waits");
            let end = match self.registry.driver(channel) {
                Some(_) => WaitEnd::StayedBusy,
                None => WaitEnd::Expired,
            };
            self.turn_away(conn, end);
        } else if conn.work.borrow().is_some() {
            conn.stop(Cause::Expired);
        }
    }

    fn turn_away(&mut self, conn: &Rc<Conn>, end: WaitEnd) {
        let (channel, place) = conn.take_waiting().expect("it waits");
        assert_eq!(self.registry.leave(channel, conn.side(), place), conn.id);
        self.answer_waiting(conn, end);
    }

    /// Answers a request that was taken out of its queue.
    fn answer_waiting(&mut self, conn: &Rc<Conn>, end: WaitEnd) {
        self.seen.ruled_waiting(end);
        let next = self.refuse(conn, &rule_waiting(end));
        conn.hand(next);
    }

    /// Destroys channels: an exchange on one stops, and whoever waits is taken out of its queue.
    pub fn destroy(&mut self, channels: &[(usize, ChannelId)]) {
        for &(name, channel) in channels {
            self.saw_deletion(name, channel);
            if let Some(driver) = self.registry.driver(channel) {
                self.conns[driver as usize].stop(Cause::Deleted);
            }
            let drained = self.registry.drain_waiting(channel, [usize::MAX; 2]);
            let conns = &self.conns;
            let started = |id: Id| !conns[id as usize].client.got.borrow().is_empty();
            assert_eq!(drained, self.ledger.deleted(name, started));
            for id in drained {
                let conn = Rc::clone(&self.conns[id as usize]);
                conn.take_waiting()
                    .expect("a connection in a queue is waiting");
                self.evicted.push_back(conn);
            }
        }
    }

    fn saw_deletion(&self, name: usize, channel: ChannelId) {
        let waiting = |side| self.registry.waiters(channel, side).next().is_some();
        if self.registry.driver(channel).is_some() {
            self.seen.saw(Event::DeletedInExchange);
        } else if self.backlog.iter().any(|(of, _)| *of == name) {
            self.seen.saw(Event::DeletedInBacklog);
        } else if waiting(Side::Producer) || waiting(Side::Consumer) {
            self.seen.saw(Event::DeletedWhileWaiting);
        }
    }

    /// Tells a few of those whose channel was deleted.
    pub fn tell_evicted(&mut self) {
        for _ in 0..limits::SENT_AWAY_AT_ONCE {
            if let Some(conn) = self.evicted.pop_front() {
                self.answer_waiting(&conn, WaitEnd::Deleted);
            }
        }
    }

    /// A part of the sweep of a server that drains.
    pub fn sweep(&mut self) {
        let some = self
            .conns
            .iter()
            .skip_while(|(slot, _)| *slot < self.sweep_from);
        let some = some.take(limits::SENT_AWAY_AT_ONCE);
        let some = Vec::from_iter(some.map(|(_, conn)| Rc::clone(conn)));
        self.sweep_from = some.last().map_or(0, |conn| conn.id as usize + 1);
        for conn in some {
            if conn.is_waiting() {
                self.turn_away(&conn, WaitEnd::Drained);
            } else if conn.is_reading() {
                conn.hand(Next::Close);
            } else if conn.is_working() && self.drained {
                conn.stop(Cause::Drained);
            }
        }
    }

    /// What must hold after every step.
    pub fn check(&mut self) {
        let backlog = BTreeSet::from_iter(self.backlog.iter().map(|(name, _)| *name));
        assert_eq!(backlog.len(), self.backlog.len(), "twice in the backlog");
        self.ledger.check(&self.registry, &backlog);
        let mut waiting = 0;
        for (_, conn) in &self.conns {
            let (waits, driven) = (conn.is_waiting(), conn.is_driven());
            assert_eq!(driven, conn.outbound.is_driven(), "{}", conn.id);
            let drives = conn.work.borrow().is_some();
            assert!(!drives || conn.is_working(), "{} does two things", conn.id);
            waiting += usize::from(waits);
        }
        let registry = &self.registry;
        let in_queues = registry.waiting(Side::Producer) + registry.waiting(Side::Consumer);
        assert_eq!(waiting, in_queues);
    }
}
