//! What one shard owns: its connections, its channels, its pipes, its buffers.
//!
//! Nothing here is shared with another thread but what is in [`Shared`]. The loops that run a shard
//! are in `worker`.

pub mod busy_poll;
pub mod mesh;
pub mod scribe;
pub mod session;

use std::{
    cell::{Cell, RefCell},
    io,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Poll, Waker},
};

use slab::Slab;

use crate::{
    config::Config,
    conn::{Conn, ConnId, Standing},
    io::{
        clock::Clock, eventfd::EventFd, fd::AsyncFd, low_water::LowWaters, pipe::Pipes,
        socket::Transport,
    },
    limits,
    model::{
        registry::{Limits, Registry, Side},
        route::Offer,
    },
    observe::{
        access::AccessLog,
        counters::{Counters, Gauges, Snapshot},
        throttle::Complaint,
    },
    server::listener::{Listener, Role},
    shard::{
        busy_poll::BusyPoll,
        mesh::{Answer, Document, Mesh, Message, Question},
        scribe::{Form, Scribe},
    },
};

/// What all shards share.
pub struct Shared {
    /// How the server runs.
    pub config: Config,
    /// The way to the other shards.
    pub mesh: Mesh,
    /// The access log, if there is one.
    pub access: Option<AccessLog>,
    /// Who writes listings out.
    pub scribe: Scribe,
    /// Open connections of clients in all; touched when one opens or closes.
    pub connections: AtomicUsize,
    /// Accept loops that still take in clients, in all: until there is none, no shard can know that
    /// it has seen the last connection.
    pub accepting: AtomicUsize,
    /// How often each shard got on with its sweep: what the watchdog feels.
    pub pulses: Box<[AtomicU64]>,
    /// What clients are offered: everything, or what operators have no listener of their own for.
    pub offer: Offer,
    /// The port of the first listener for clients that has one.
    pub port: Option<u16>,
}

impl Shared {
    /// What the shards of a server share that listens on `listeners`.
    ///
    /// # Errors
    /// No descriptor or thread was to be had.
    pub fn new(config: Config, listeners: &[Listener]) -> io::Result<Self> {
        let of = |role| listeners.iter().filter(move |known| known.role == role);
        let offer = match of(Role::Admin).next() {
            Some(_) => Offer::Public,
            None => Offer::All,
        };
        Ok(Self {
            mesh: Mesh::new(config.shards)?,
            access: config.access.map(AccessLog::new),
            scribe: Scribe::start()?,
            connections: AtomicUsize::new(0),
            accepting: AtomicUsize::new(config.shards * of(Role::Public).count()),
            pulses: (0..config.shards).map(|_| AtomicU64::new(0)).collect(),
            offer,
            port: of(Role::Public).find_map(|known| known.address.port()),
            config,
        })
    }
}

/// One thread's share of the server.
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
    /// Connections cannot go to another shard, because no descriptor is free.
    pub cannot_hand_over: Complaint,
    /// The low-water marks that are set on producers' sockets.
    pub low_waters: Rc<LowWaters<Rc<Conn>>>,
    /// When it looks for news instead of sleeping.
    pub busy_poll: BusyPoll,
    /// A descriptor that is always readable: waiting for it lets the other tasks have their turn.
    pub always_ready: AsyncFd,
    conns: RefCell<Slab<Rc<Conn>>>,
    /// How many of its connections are operators'.
    operators: Cell<usize>,
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
        let always_ready = EventFd::new()?;
        always_ready.notify();
        Ok(Self {
            index,
            // A line costs more than a precise look at the clock, and says more with it.
            clock: Clock::new(shared.access.is_some()),
            counters: Counters::default(),
            registry: RefCell::new(Registry::new(limits)),
            scratch: RefCell::new(vec![0; limits::COPY_BYTES].into()),
            out: RefCell::new(Vec::with_capacity(limits::COPY_BYTES)),
            pipes: Pipes::new(if config.splice {
                config.files.pipes_max
            } else {
                0
            }),
            draining: Cell::new(false),
            cannot_hand_over: Complaint::default(),
            low_waters: Rc::new(LowWaters::new()?),
            busy_poll: BusyPoll::default(),
            always_ready: AsyncFd::new(always_ready.into())?,
            conns: RefCell::default(),
            operators: Cell::new(0),
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

    /// Takes in a connection that has `header_timeout` to send its first request. A client's is
    /// counted by the caller, in all.
    pub fn admit(&self, socket: Transport, standing: Standing) -> Rc<Conn> {
        if standing == Standing::Operator {
            self.operators.set(self.operators.get() + 1);
        }
        let deadline = self.clock.deadline(self.config().timeouts.header);
        let mut conns = self.conns.borrow_mut();
        let entry = conns.vacant_entry();
        let id = ConnId::try_from(entry.key()).expect("fewer connections than 2^32");
        Rc::clone(entry.insert(Rc::new(Conn::new(id, socket, deadline, standing))))
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

    /// One more than the highest id that a connection may have.
    #[must_use]
    pub fn seats(&self) -> usize {
        self.conns.borrow().capacity()
    }

    /// Gives back the seats behind the last connection if most seats are empty, so that a crowd that
    /// has gone costs the sweep nothing any more.
    pub fn give_back_seats(&self) {
        let mut conns = self.conns.borrow_mut();
        if conns.capacity() > limits::SWEPT_AT_ONCE.max(4 * conns.len()) {
            conns.shrink_to_fit();
        }
    }

    /// The connections with these ids for which `holds` is true.
    pub fn conns_if(
        &self,
        ids: impl Iterator<Item = usize>,
        holds: impl Fn(&Conn) -> bool,
    ) -> Vec<Rc<Conn>> {
        let conns = self.conns.borrow();
        let found = ids
            .filter_map(|id| conns.get(id))
            .filter(|conn| holds(conn));
        found.map(Rc::clone).collect()
    }

    /// How many connections of clients it has.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.conns.borrow().len() - self.operators.get()
    }

    /// How many connections of operators it has.
    #[must_use]
    pub fn operators(&self) -> usize {
        self.operators.get()
    }

    /// A connection of this standing has closed.
    pub fn count_closed(&self, standing: Standing) {
        if standing == Standing::Operator {
            self.operators.set(self.operators.get() - 1);
        } else {
            self.shared.connections.fetch_sub(1, Ordering::Relaxed);
        }
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
        let ticket = self.await_answers(others);
        for other in (0..=others).filter(|&other| other != self.index) {
            let ask = Message::Ask {
                from: self.index,
                ticket,
                question: question.clone(),
            };
            self.shared.mesh.send(other, ask);
        }
        self.gathered(ticket).await
    }

    /// Has `form` make a document of the answers of all shards, off this thread.
    pub async fn write_out(&self, answers: Vec<Answer>, form: Form) -> Document {
        let ticket = self.await_answers(1);
        let (shared, to) = (Arc::clone(&self.shared), self.index);
        self.shared.scribe.order(answers, form, move |document| {
            let answer = Answer::Written(document);
            shared.mesh.send(to, Message::Answer { ticket, answer });
        });
        match self.gathered(ticket).await.pop() {
            Some(Answer::Written(document)) => document,
            _ => unreachable!("the scribe answers once, with a document"),
        }
    }

    fn await_answers(&self, awaited: usize) -> usize {
        self.questions.borrow_mut().insert(Gathering {
            awaited,
            answers: Vec::with_capacity(awaited),
            waker: None,
        })
    }

    fn gathered(&self, ticket: usize) -> impl Future<Output = Vec<Answer>> {
        std::future::poll_fn(move |context| {
            let mut questions = self.questions.borrow_mut();
            if questions[ticket].awaited == 0 {
                return Poll::Ready(questions.remove(ticket).answers);
            }
            questions[ticket].waker = Some(context.waker().clone());
            Poll::Pending
        })
    }

    /// An answer to a question of this shard came.
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
