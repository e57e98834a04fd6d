//! The sweep: what a shard does periodically. It acts on time limits that are over, on peers that
//! vanished, and on what must end in a drain.
//!
//! Must never: decide how a client is answered (`task` does), or block other tasks for long.

use std::{cell::Cell, io, rc::Rc, sync::atomic::Ordering};

use crate::{
    conn::{Conn, ConnId, Doing, step::Next},
    io::{clock::Moment, runtime, socket::Peer, sys, timer::TimerFd},
    limits,
    model::{
        registry::Side,
        verdict::{Cause, Close},
    },
    shard::{Shard, peak::Peak, session::Session},
    worker::task,
};

/// The sweep of one shard.
pub struct Sweep {
    shard: Rc<Shard>,
    timer: TimerFd,
    /// When the next round begins; there is one every [`limits::SWEEP_PERIOD`].
    next_round: Cell<Moment>,
    /// When to look next for peers that vanished while bytes were on their way to them.
    next_look_for_lost: Cell<Moment>,
    /// The process was paused: no limit strikes before this.
    paused_until: Cell<Moment>,
    /// Of the requests that wait on the shard's channels.
    waiting: Peak,
    /// When the heap may give memory back again; of the first shard, which does it for all.
    next_trim: Cell<Moment>,
    /// When exchanges under way are stopped in a drain.
    drain_until: Cell<Moment>,
    /// When connections without a request are closed in a drain.
    grace_until: Cell<Moment>,
}

impl Sweep {
    /// A sweep that has not begun.
    ///
    /// # Errors
    /// No descriptor is free.
    pub fn new(shard: &Rc<Shard>) -> io::Result<Self> {
        Ok(Self {
            shard: Rc::clone(shard),
            timer: TimerFd::new()?,
            next_round: Cell::new(Moment::BEGINNING),
            next_look_for_lost: Cell::new(Moment::BEGINNING),
            paused_until: Cell::new(Moment::BEGINNING),
            waiting: Peak::default(),
            next_trim: Cell::new(Moment::BEGINNING),
            drain_until: Cell::new(Moment::NEVER),
            grace_until: Cell::new(Moment::NEVER),
        })
    }

    /// The server shuts down: from now on, each round ends what must end.
    pub fn begin_drain(&self) {
        let clock = &self.shard.clock;
        let timeout = self.shard.config().timeouts.drain;
        self.drain_until.set(clock.deadline(timeout));
        self.grace_until.set(clock.deadline(limits::DRAIN_GRACE));
    }

    /// Waits until a time limit is over or a round is due, and does what is due then.
    pub async fn tick(&self) {
        let due = self.shard.deadlines.next().min(self.next_round.get());
        let wait = self.shard.clock.until(due);
        let wait = wait.clamp(limits::TICK_MIN, limits::SWEEP_PERIOD);
        let late = self.shard.clock.deadline(wait + limits::SWEEP_PERIOD);
        self.timer.arm(wait);
        self.timer.fired().await;
        self.heartbeat();
        let now = self.shard.clock.now();
        if self.shard.deadlines.may_be_due(now) {
            // What has come in time is read before its limit strikes. The first wait lets the driver ask
            // for it, the second lets every task have its turn.
            self.shard.yield_now().await;
            self.shard.yield_now().await;
        }
        if now > late {
            self.was_paused();
        }
        self.expire().await;
        if self.shard.clock.now() >= self.next_round.get() {
            let clock = &self.shard.clock;
            self.next_round.set(clock.now().after(limits::SWEEP_PERIOD));
            self.round().await;
        }
    }

    /// Updates the shard's clock, and records for the watchdog that the shard works.
    fn heartbeat(&self) {
        self.shard.clock.advance();
        self.shard.shared.heartbeats[self.shard.index].fetch_add(1, Ordering::Relaxed);
    }

    /// The tick came late: the process was paused (SIGSTOP, a frozen cgroup, a migrated machine), and what
    /// came meanwhile may be on other shards and in the listen queue. A shard that is always late is
    /// merely busy: its limits strike at least half of the time.
    fn was_paused(&self) {
        let now = self.shard.clock.now();
        if now > self.paused_until.get().after(limits::GRACE_AFTER_PAUSE) {
            let until = now.after(limits::GRACE_AFTER_PAUSE);
            self.paused_until.set(until);
        }
    }

    /// Acts on the connections whose time limit is over, a few per turn.
    async fn expire(&self) {
        if self.shard.clock.now() < self.paused_until.get() {
            return;
        }
        let shard = &self.shard;
        let (mut looked_at, mut expired) = (0, 0);
        while let Some(id) = shard.deadlines.take_due(shard.clock.now()) {
            looked_at += 1;
            expired += usize::from(self.expire_if_over(id));
            // No connection is held while other tasks run: it may go to another shard.
            if looked_at == limits::SLOTS_LOOKED_AT_ONCE || expired == limits::SENT_AWAY_AT_ONCE {
                (looked_at, expired) = (0, 0);
                shard.yield_now().await;
                self.heartbeat();
            }
        }
    }

    /// Looks at a connection whose entry has come up; returns whether its time limit is over.
    fn expire_if_over(&self, id: ConnId) -> bool {
        let shard = &self.shard;
        // The entry may be of a connection that has ended, and another may have its id.
        let Some(conn) = shard.connections.find(id) else {
            return false;
        };
        let now = shard.clock.now();
        let deadline = &conn.deadline;
        if deadline.entry() > now {
            return false;
        }
        if deadline.at() > now {
            shard.deadlines.look_again(id, deadline, deadline.at());
            return false;
        }
        if conn.doing() == Doing::Handed {
            // Its task is about to do what comes next, under a limit of its own.
            let soon = now.after(limits::SWEEP_PERIOD);
            shard.deadlines.look_again(id, deadline, soon);
            return false;
        }
        shard.deadlines.look_again(id, deadline, Moment::NEVER);
        deadline.lift();
        task::expire(&Session::new(shard, conn));
        true
    }

    /// The work of each period, whether or not a time limit is over.
    async fn round(&self) {
        let shard = &self.shard;
        shard.pipes.try_again();
        shard.connections.shrink();
        shard.write_watch.retry_refused();
        shard.ticks.wake_all();
        self.retry_peer_watch();
        self.tighten_heap().await;
        if shard.draining.get() {
            self.drain().await;
        }
        if shard.clock.now() >= self.next_look_for_lost.get() {
            let interval = shard.config().keepalive.interval;
            self.next_look_for_lost.set(shard.clock.deadline(interval));
            self.look_for_lost().await;
        }
    }

    /// After a peak, gives free memory back to the kernel. glibc does so by itself only at the end of its
    /// heap, and what lives longer than a crowd stands there: 6,000 producers with 16 KiB each left
    /// 102 MiB behind, and with this 2 MiB (2 shards).
    async fn tighten_heap(&self) {
        let shard = &self.shard;
        let waiting = {
            let registry = shard.registry.borrow();
            registry.waiting(Side::Producer) + registry.waiting(Side::Consumer)
        };
        let high = (limits::PEAK_MIN / shard.config().shards).max(1);
        // Both looks, whatever the first one says.
        if shard.connections.peak_is_over(high) | self.waiting.is_over(waiting, high) {
            shard.shared.heap_is_loose.store(true, Ordering::Relaxed);
        }
        let due = shard.index == 0 && shard.clock.now() >= self.next_trim.get();
        if due && shard.shared.heap_is_loose.swap(false, Ordering::Relaxed) {
            let next = shard.clock.deadline(limits::HEAP_TRIM_PERIOD);
            self.next_trim.set(next);
            runtime::run_blocking(sys::trim_heap).await;
        }
    }

    /// Checks the peers that the kernel refused to watch.
    fn retry_peer_watch(&self) {
        for id in self.shard.peer_watch.take_refused() {
            if let Some(conn) = self.shard.connections.find(id)
                && conn.needs_peer_watch()
            {
                let peer = conn.transport.peer();
                task::peer_seen(&Session::new(&self.shard, conn), peer);
            }
        }
    }

    /// Ends connections whose peer vanished while bytes were unacknowledged. Keepalive detects only idle
    /// peers: it pauses during retransmission, and the kernel retransmits for a quarter of an hour or
    /// more (`tcp(7)`, `tcp_retries2`).
    async fn look_for_lost(&self) {
        let shard = &self.shard;
        let long = shard.config().keepalive.gone_after();
        // A waiting client that was sent nothing has nothing to acknowledge.
        let matters = |conn: &Conn| match conn.doing() {
            Doing::Waiting => conn.outbound.has_sent(),
            Doing::Driven => true,
            Doing::Reading | Doing::Working | Doing::Handed => false,
        };
        self.each(limits::LOST_ASKED_AT_ONCE, matters, |conn| {
            if conn.transport.is_lost(long) {
                task::peer_seen(&Session::new(shard, Rc::clone(conn)), Peer::Gone);
            } else if let Some(producer) = conn.outbound.driver()
                && producer.transport.is_lost(long)
            {
                producer.signal.stop(Cause::ProducerLeft);
            }
        })
        .await;
    }

    /// Ends what must end in a drain. Operators are served to the end.
    async fn drain(&self) {
        let now = self.shard.clock.now();
        let grace = now < self.grace_until.get();
        let over = now >= self.drain_until.get();
        let has_to_end = |conn: &Conn| {
            let ends = match conn.doing() {
                Doing::Reading => over || task::is_idle(conn, grace),
                Doing::Waiting => true,
                Doing::Working => over,
                Doing::Driven | Doing::Handed => false,
            };
            ends && conn.audience.has_clients()
        };
        self.each(limits::SENT_AWAY_AT_ONCE, has_to_end, |conn| {
            task::drain(&Session::new(&self.shard, Rc::clone(conn)));
            if over {
                cut_short(conn);
            }
        })
        .await;
    }

    /// Calls `act` for all connections for which `holds` is true, `at_once` of them per turn.
    async fn each(&self, at_once: usize, holds: impl Fn(&Conn) -> bool, act: impl Fn(&Rc<Conn>)) {
        let shard = &self.shard;
        let (mut from, mut acted) = (0, 0);
        while from < shard.connections.slots() {
            let to = from + limits::SLOTS_LOOKED_AT_ONCE;
            for id in shard.connections.ids_if(from, to, &holds) {
                // It may have ended or changed since, or another may have its id. No reference is held
                // while other tasks run: it would keep the connection from going to another shard.
                if let Some(conn) = self.find_if(id, &holds) {
                    act(&conn);
                    acted += 1;
                }
                if acted == at_once {
                    acted = 0;
                    shard.yield_now().await;
                    self.heartbeat();
                }
            }
            from = to;
            shard.yield_now().await;
            self.heartbeat();
            self.expire().await;
        }
    }

    fn find_if(&self, id: ConnId, holds: impl Fn(&Conn) -> bool) -> Option<Rc<Conn>> {
        let conn = self.shard.connections.find(id)?;
        holds(&conn).then_some(conn)
    }
}

/// The drain has timed out: stops an exchange, and ends any other connection.
fn cut_short(conn: &Rc<Conn>) {
    match conn.doing() {
        Doing::Working => conn.signal.stop(Cause::Drained),
        Doing::Reading => conn.hand(Next::Close(Close::Now)),
        Doing::Waiting | Doing::Driven | Doing::Handed => {}
    }
}
