//! What one shard owns: its connections, its channels, its pipes, its buffers.
//!
//! Only what is in [`Shared`] is shared with other threads. The loops that run a shard are in `worker`.

pub mod backlog;
pub mod busy_poll;
pub mod connections;
pub mod deadlines;
pub mod listings;
pub mod mesh;
pub mod peak;
pub mod questions;
pub mod session;
pub mod shared;
pub mod wakers;

use std::{
    cell::{Cell, RefCell},
    io,
    rc::Rc,
    sync::{Arc, atomic::Ordering},
};

use crate::{
    config::Config,
    conn::{Conn, ConnId, deadline::Due},
    io::{
        clock::Clock, eventfd::EventFd, fd::AsyncFd, low_water::LowWaters, peer_watch::PeerWatch,
        pipe::Pipes, socket::Transport, write_watch::WriteWatch,
    },
    limits,
    model::{
        admission::Limits,
        audience::Audience,
        registry::{Registry, Side},
    },
    observe::{
        counters::{Counters, Gauges, Snapshot},
        throttle::Throttle,
    },
};

use self::{
    backlog::Backlog, busy_poll::BusyPoll, connections::Connections, deadlines::Deadlines,
    listings::Listings, questions::Questions, shared::Shared, wakers::Wakers,
};

/// One thread's share of the server.
pub struct Shard {
    /// Its number, from 0.
    pub index: usize,
    pub shared: Arc<Shared>,
    pub clock: Clock,
    pub counters: Counters,
    pub connections: Connections,
    pub deadlines: Deadlines,
    /// Detects departures that readability does not show.
    pub peer_watch: PeerWatch,
    /// Waits until sockets take more bytes.
    pub write_watch: WriteWatch,
    /// The channels it owns. A waiter is the id of its connection.
    pub registry: RefCell<Registry<ConnId>>,
    pub backlog: Backlog,
    /// Where heads and bodies are received; empty between two turns of a task.
    pub scratch: RefCell<Box<[u8]>>,
    /// Where replies are written; empty between two turns of a task.
    pub out: RefCell<Vec<u8>>,
    pub pipes: Pipes,
    /// The low-water marks that are set on producers' sockets.
    pub low_waters: Rc<LowWaters<Rc<Conn>>>,
    /// The server shuts down.
    pub draining: Cell<bool>,
    /// The problem that no descriptor is free for a handover.
    pub cannot_hand_over: Throttle,
    pub busy_poll: BusyPoll,
    pub questions: Questions,
    pub listings: Listings,
    /// Loops that wait for the next tick of the sweep.
    pub ticks: Wakers,
    /// Always readable: a wait for it lets the other tasks run.
    always_ready: AsyncFd,
}

impl Shard {
    /// A shard that owns nothing yet. Call within the runtime that will run it.
    ///
    /// # Errors
    /// No descriptor is free.
    pub fn new(index: usize, shared: Arc<Shared>) -> io::Result<Self> {
        let config = &shared.config;
        let share = |in_all: usize| in_all.div_ceil(config.shards);
        let limits = Limits {
            channels_max: share(config.channels_max),
            waiting_max: share(config.waiting_max),
            waiting_per_channel_max: config.waiting_per_channel_max,
        };
        let pipes_max = if config.splice {
            config.descriptors.pipes_max
        } else {
            0
        };
        let always_ready = EventFd::new()?;
        always_ready.notify();
        Ok(Self {
            index,
            // Beside the cost of an access log line, that of a precise clock is small.
            clock: Clock::new(shared.access.is_some()),
            counters: Counters::default(),
            connections: Connections::default(),
            deadlines: Deadlines::default(),
            peer_watch: PeerWatch::new()?,
            write_watch: WriteWatch::new()?,
            registry: RefCell::new(Registry::new(limits)),
            backlog: Backlog::default(),
            scratch: RefCell::new(vec![0; limits::COPY_BYTES_MAX].into()),
            out: RefCell::new(Vec::with_capacity(limits::COPY_BYTES)),
            pipes: Pipes::new(pipes_max),
            low_waters: Rc::new(LowWaters::new()?),
            draining: Cell::new(false),
            cannot_hand_over: Throttle::default(),
            busy_poll: BusyPoll::default(),
            questions: Questions::new(index, &shared),
            listings: Listings::default(),
            ticks: Wakers::default(),
            always_ready: AsyncFd::new(always_ready.into())?,
            shared,
        })
    }

    /// Lets every other task run. By readiness, because monoio puts a task that wakes itself in front
    /// of all others.
    pub async fn yield_now(&self) {
        self.always_ready.readable().await;
    }

    /// Keeps the thread awake for a while after each request (`--busy-poll`). Never returns.
    pub async fn busy_poll(&self, window: std::time::Duration) {
        self.busy_poll.run(window, &self.always_ready).await;
    }

    /// How the server runs.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    /// Adds a connection, which has `--header-timeout` to send its first request. If it is a client's,
    /// the caller counts it in [`Shared::connections`].
    pub fn admit(&self, transport: Transport, audience: Audience, over_limit: bool) -> Rc<Conn> {
        let conn = self.connections.add(transport, audience, over_limit);
        let until = self.clock.deadline(self.config().timeouts.header);
        self.deadlines
            .set(conn.id, &conn.deadline, Due::Head, until);
        conn
    }

    /// Forgets a connection that ends, or that goes to another shard.
    pub fn dismiss(&self, conn: &Conn) {
        self.deadlines.remove(conn.id, &conn.deadline);
        self.connections.remove(conn);
    }

    /// A connection of this audience has closed.
    pub fn count_closed(&self, audience: Audience) {
        if audience.has_clients() {
            self.shared.connections.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Its counters and gauges.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let registry = self.registry.borrow();
        let gauges = Gauges {
            connections: self.connections.clients() as u64,
            channels: registry.channels() as u64,
            waiting_producers: registry.waiting(Side::Producer) as u64,
            waiting_consumers: registry.waiting(Side::Consumer) as u64,
            exchanging: registry.exchanging() as u64,
            pipes: self.pipes.count() as u64,
        };
        Snapshot::new(self.index, &self.counters, gauges)
    }
}
