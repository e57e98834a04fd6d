//! The sweep: a look at every connection of a shard, over and over, for what no event tells: a time
//! limit that is over, a peer that left behind unread bytes or vanished, a server that ends.
//!
//! Must never: decide what a client hears (that is `serve`'s), or keep others from their turn.

use std::{cell::Cell, io, iter, rc::Rc, sync::atomic::Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::{
    conn::{Close, Conn, Doing, Standing, Step, Stop},
    io::{clock::Moment, socket::Peer, timer::TimerFd},
    limits,
    shard::Shard,
    worker::task,
};

/// The sweep of one shard.
pub struct Sweep {
    shard: Rc<Shard>,
    timer: TimerFd,
    /// When exchanges under way have had their time.
    drain_until: Cell<Moment>,
    /// When clients that have connected have had their time to say what they want.
    greet_until: Cell<Moment>,
    /// When to look next for peers that vanished while bytes were on their way to them.
    look_for_lost_at: Cell<Moment>,
}

impl Sweep {
    /// A sweep that has not begun.
    ///
    /// # Errors
    /// No descriptor was free.
    pub fn new(shard: &Rc<Shard>) -> io::Result<Self> {
        Ok(Self {
            shard: Rc::clone(shard),
            timer: TimerFd::new()?,
            drain_until: Cell::new(Moment::NEVER),
            greet_until: Cell::new(Moment::NEVER),
            look_for_lost_at: Cell::new(Moment::BEGINNING),
        })
    }

    /// The server ends: what has to end is looked after from now on.
    pub fn begin_drain(&self) {
        let clock = &self.shard.clock;
        let timeout = self.shard.config().timeouts.drain;
        self.drain_until.set(clock.deadline(timeout));
        self.greet_until
            .set(clock.deadline(limits::DRAIN_GREETING_TIME));
    }

    /// The shard gets on with its sweep: it lives, and knows what time it is.
    fn pulse(&self) {
        self.shard.clock.advance();
        self.shard.shared.pulses[self.shard.index].fetch_add(1, Ordering::Relaxed);
    }

    /// Looks after every connection over the length of a period, a part at each tick:
    /// there may be tens of thousands, and thousands whose time is over, and those that have
    /// something to do are not to wait for all of them.
    pub async fn go_round(&self) {
        let look_for_lost = self.is_time_to_look_for_lost();
        let seats = self.shard.seats();
        let parts = seats.div_ceil(limits::SWEPT_AT_ONCE).max(1);
        for part in 0..parts {
            self.timer.arm(limits::SWEEP_PERIOD.div_f64(parts as f64));
            self.timer.fired().await;
            self.pulse();
            // Neighbours came, and expire, at about the same time: they are in different parts.
            let ids = (part..seats).step_by(parts);
            self.expire(ids.clone()).await;
            if self.shard.draining.get() {
                self.drain(ids.clone()).await;
            }
            self.look_at_peers(ids.clone());
            if look_for_lost {
                self.look_for_lost(ids).await;
            }
        }
    }

    /// Ends what goes on with a peer that vanished while bytes were on their way to it. Keepalive
    /// finds those of whom nothing is awaited; it rests while there is something to send again, and
    /// the kernel does that for a quarter of an hour and more (`tcp(7)`, `tcp_retries2`).
    async fn look_for_lost(&self, ids: impl Iterator<Item = usize>) {
        let shard = &self.shard;
        let long = shard.config().keepalive.gone_after();
        let matters = |conn: &Conn| matches!(conn.doing(), Doing::Waiting | Doing::Consuming);
        self.each_of(ids, limits::ASKED_AFTER_AT_ONCE, matters, |conn| {
            if conn.socket.is_lost(long) {
                task::peer_seen(shard, conn, Peer::Gone);
            } else if let Some(producer) = conn.driver()
                && producer.socket.is_lost(long)
            {
                producer.stop(Stop::ProducerLeft);
            }
        })
        .await;
    }

    /// True once for each interval of TCP's own questions.
    fn is_time_to_look_for_lost(&self) -> bool {
        let clock = &self.shard.clock;
        let due = clock.now() >= self.look_for_lost_at.get();
        if due {
            let interval = self.shard.config().keepalive.interval;
            self.look_for_lost_at.set(clock.deadline(interval));
        }
        due
    }

    /// Steps in wherever a deadline has passed, among the connections with these ids.
    async fn expire(&self, ids: impl Iterator<Item = usize>) {
        let now = self.shard.clock.now();
        let is_due = |conn: &Conn| conn.deadline.get() <= now && conn.doing() != Doing::Handed;
        self.each_of(ids, limits::SENT_AWAY_AT_ONCE, is_due, |conn| {
            conn.deadline.set(Moment::NEVER);
            task::expire(&self.shard, conn);
        })
        .await;
    }

    /// Ends what has to end now that the server does, among the connections with these ids.
    /// Operators are looked after to the end.
    async fn drain(&self, ids: impl Iterator<Item = usize>) {
        let now = self.shard.clock.now();
        let greeting = now < self.greet_until.get();
        let over = now >= self.drain_until.get();
        let has_to_end = |conn: &Conn| {
            let ends = match conn.doing() {
                Doing::Reading => over || task::is_idle(conn, greeting),
                Doing::Waiting => true,
                Doing::Working => over,
                Doing::Consuming | Doing::Handed => false,
            };
            ends && conn.standing != Standing::Operator
        };
        self.each_of(ids, limits::SENT_AWAY_AT_ONCE, has_to_end, |conn| {
            task::drain(&self.shard, conn);
            if over {
                cut_short(conn);
            }
        })
        .await;
    }

    /// Calls `act` for those of the connections with these ids for which `holds` is true, so many
    /// `at_once`.
    async fn each_of(
        &self,
        ids: impl Iterator<Item = usize>,
        at_once: usize,
        holds: impl Fn(&Conn) -> bool,
        act: impl Fn(&Rc<Conn>),
    ) {
        let shard = &self.shard;
        let found = Vec::from_iter(shard.conns_if(ids, &holds).iter().map(|conn| conn.id));
        for (nth, id) in found.into_iter().enumerate() {
            if nth > 0 && nth % at_once == 0 {
                shard.turn().await;
                self.pulse();
            }
            // It may have gone since, or have got on, or another may have its id. None is held while
            // others have their turn: who holds one keeps it from going to another shard.
            if let [conn] = &*shard.conns_if(iter::once(id as usize), &holds) {
                act(conn);
            }
        }
    }

    /// Looks at the peers of connections whose readability is of no interest, because unread bytes
    /// lie there: one `poll(2)` over all of those with these ids.
    fn look_at_peers(&self, ids: impl Iterator<Item = usize>) {
        let conns = self.shard.conns_if(ids, Conn::needs_sweep);
        let mut fds = Vec::from_iter(
            conns
                .iter()
                .map(|conn| PollFd::new(&conn.socket, PollFlags::RDHUP)),
        );
        let Ok(1..) = poll(&mut fds, Some(&Timespec::default())) else {
            return;
        };
        let peers = Vec::from_iter(fds.iter().map(|fd| Peer::of(fd.revents())));
        for (conn, peer) in conns.iter().zip(peers) {
            if peer != Peer::There {
                task::peer_seen(&self.shard, conn, peer);
            }
        }
    }
}

/// The drain has lasted long enough: an exchange stops, whatever else goes on ends.
fn cut_short(conn: &Rc<Conn>) {
    match conn.doing() {
        Doing::Working => conn.stop(Stop::Drained),
        Doing::Reading => conn.hand(Step::Close(Close::Now)),
        Doing::Waiting | Doing::Consuming | Doing::Handed => {}
    }
}
