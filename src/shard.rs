//! What one core owns: its connections, its channels, its pipes, its buffers.
//!
//! Nothing here is shared with another thread but the mesh and the count of connections. The loops
//! that run a shard are in `worker`.

use std::{
    cell::{Cell, RefCell},
    io,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Poll, Waker},
};

use slab::Slab;

use crate::{
    access::AccessLog,
    busy_poll::BusyPoll,
    clock::Clock,
    config::Config,
    conn::{Conn, ConnId},
    limits,
    mark::Marks,
    mesh::{Answer, Mesh, Message, Question},
    metrics::{Counters, Gauges, Snapshot},
    pipe::Pipes,
    registry::{Limits, Registry, Side},
    socket::Socket,
    sys,
};

/// What all shards share.
pub struct Shared {
    /// How the server runs.
    pub config: Config,
    /// The way to the other shards.
    pub mesh: Mesh,
    /// The access log, if there is one.
    pub access: Option<AccessLog>,
    /// Open connections in all; touched when one opens or closes.
    pub connections: AtomicUsize,
}

/// One core's share of the server.
pub struct Shard {
    /// Which one it is.
    pub index: usize,
    /// What it shares with the others.
    pub shared: Arc<Shared>,
    /// Its time.
    pub clock: Clock,
    /// What it counts.
    pub counters: Counters,
    /// The channels it owns. A waiter is the id of its connection.
    pub registry: RefCell<Registry<ConnId>>,
    /// Where heads and bodies are received; empty between two turns of a task.
    pub scratch: RefCell<Box<[u8]>>,
    /// Where replies are written; empty between two turns of a task.
    pub out: RefCell<Vec<u8>>,
    /// The pipes that bodies are spliced through.
    pub pipes: Pipes,
    /// The server was told to end.
    pub draining: Cell<bool>,
    /// The marks that are set on producers' sockets.
    pub marks: Rc<Marks>,
    /// When it looks for news instead of sleeping.
    pub busy_poll: BusyPoll,
    /// A descriptor that is always readable: waiting for it lets the other tasks have their turn.
    pub always_ready: Socket,
    conns: RefCell<Slab<Rc<Conn>>>,
    questions: RefCell<Slab<Gathering>>,
    listings: Cell<usize>,
}

/// A question to all shards, and the answers that have come.
struct Gathering {
    awaited: usize,
    answers: Vec<Answer>,
    waker: Option<Waker>,
}

/// A listing that is being made or sent.
pub struct Listing(Rc<Shard>);

impl Drop for Listing {
    fn drop(&mut self) {
        self.0.listings.set(self.0.listings.get() - 1);
    }
}

impl Shard {
    /// A shard that owns nothing yet. Call within the runtime that will run it.
    ///
    /// # Errors
    /// No descriptor was free.
    pub fn new(index: usize, shared: Arc<Shared>) -> io::Result<Self> {
        let config = &shared.config;
        let share = |in_all: usize| in_all.div_ceil(config.shards);
        let limits = Limits {
            channels_max: share(config.channels_max),
            waiting_max: share(config.waiting_max),
            waiting_per_channel_max: config.waiting_per_channel_max,
        };
        let always_ready = sys::bell()?;
        sys::ring(&always_ready);
        Ok(Self {
            index,
            // A line costs more than a precise look at the clock, and says more with it.
            clock: Clock::new(shared.access.is_some()),
            counters: Counters::default(),
            registry: RefCell::new(Registry::new(limits)),
            scratch: RefCell::new(vec![0; limits::COPY_BYTES].into()),
            out: RefCell::new(Vec::with_capacity(limits::COPY_BYTES)),
            pipes: Pipes::new(config.splice),
            draining: Cell::new(false),
            marks: Rc::new(Marks::new()?),
            busy_poll: BusyPoll::default(),
            always_ready: Socket::new(always_ready)?,
            conns: RefCell::default(),
            questions: RefCell::default(),
            listings: Cell::new(0),
            shared,
        })
    }

    /// Lets every other task have its turn. Readiness, because monoio puts a task that wakes itself
    /// in front of all others.
    pub async fn turn(&self) {
        self.always_ready.readable().await;
    }

    /// How the server runs.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    /// Takes in a connection that has `header_timeout` to send its first request.
    pub fn admit(&self, socket: Socket, over_limit: bool) -> Rc<Conn> {
        let deadline = self.clock.deadline(self.config().timeouts.header);
        let mut conns = self.conns.borrow_mut();
        let entry = conns.vacant_entry();
        let id = ConnId::try_from(entry.key()).expect("fewer connections than 2^32");
        Rc::clone(entry.insert(Rc::new(Conn::new(id, socket, deadline, over_limit))))
    }

    /// Forgets a connection that ends, or that goes to another shard.
    pub fn dismiss(&self, conn: &Conn) {
        self.conns.borrow_mut().remove(conn.id as usize);
    }

    /// The connection with this id.
    ///
    /// # Panics
    /// If there is none: ids in the registry are removed before their connections.
    #[must_use]
    pub fn conn(&self, id: ConnId) -> Rc<Conn> {
        Rc::clone(&self.conns.borrow()[id as usize])
    }

    /// Calls `visit` for every connection; it must not open or close one.
    pub fn each_conn(&self, mut visit: impl FnMut(&Rc<Conn>)) {
        for (_, conn) in &*self.conns.borrow() {
            visit(conn);
        }
    }

    /// How many connections it has.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.conns.borrow().len()
    }

    /// One connection fewer in all.
    pub fn count_closed(&self) {
        self.shared.connections.fetch_sub(1, Ordering::Relaxed);
    }

    /// What it holds and has counted.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let registry = self.registry.borrow();
        let gauges = Gauges {
            connections: self.connections() as u64,
            channels: registry.channels() as u64,
            waiting_producers: registry.waiting(Side::Producer) as u64,
            waiting_consumers: registry.waiting(Side::Consumer) as u64,
            exchanging: registry.exchanging() as u64,
            pipes: self.pipes.count() as u64,
        };
        Snapshot::new(self.index, &self.counters, gauges)
    }

    /// Leave to make a listing, until it is dropped; `None` if many are being made or sent.
    pub fn begin_listing(self: &Rc<Self>) -> Option<Listing> {
        let listings = self.listings.get();
        if listings >= limits::LISTINGS_MAX {
            return None;
        }
        self.listings.set(listings + 1);
        Some(Listing(Rc::clone(self)))
    }

    /// Puts `question` to every other shard and waits for all of their answers. The caller adds
    /// this shard's own.
    pub async fn ask_others(&self, question: &Question) -> Vec<Answer> {
        let others = self.shared.mesh.shards() - 1;
        let gathering = Gathering {
            awaited: others,
            answers: Vec::with_capacity(others),
            waker: None,
        };
        let ticket = self.questions.borrow_mut().insert(gathering);
        for other in (0..=others).filter(|&other| other != self.index) {
            let ask = Message::Ask {
                from: self.index,
                ticket,
                question: question.clone(),
            };
            self.shared.mesh.send(other, ask);
        }
        std::future::poll_fn(|context| {
            let mut questions = self.questions.borrow_mut();
            if questions[ticket].awaited == 0 {
                return Poll::Ready(questions.remove(ticket).answers);
            }
            questions[ticket].waker = Some(context.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Another shard's answer came.
    pub fn answered(&self, ticket: usize, answer: Answer) {
        let mut questions = self.questions.borrow_mut();
        let gathering = &mut questions[ticket];
        gathering.awaited -= 1;
        gathering.answers.push(answer);
        if let Some(waker) = gathering.waker.take() {
            waker.wake();
        }
    }
}
