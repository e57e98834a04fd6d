//! The loops that run a shard: accept, mailbox, sweep; and its end.

pub mod sweep;
pub mod task;

use std::{
    cell::RefCell,
    future::Future,
    io,
    os::fd::OwnedFd,
    pin::pin,
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    task::{Poll, Waker},
    time::Duration,
};

use rustix::{
    io::Errno,
    net::{SocketFlags, accept_with},
};

use crate::{
    conn::Standing,
    handle::{delete, list},
    io::{
        eventfd,
        fd::{self, AsyncFd},
        socket::{Kind, Transport},
    },
    limits,
    observe::throttle::Complaint,
    server::listener::{Door, Role},
    shard::{
        Shard, Shared,
        mesh::{Answer, Message, Question},
    },
    worker::sweep::Sweep,
};

/// Runs shard `index` until the server ends. The doors must be non-blocking; `ready` is called when
/// the shard takes connections. Runs on the thread that is to be the shard's, within its runtime.
///
/// # Errors
/// No descriptor was free for the shard itself.
pub async fn run(
    index: usize,
    shared: Arc<Shared>,
    doors: Vec<Door>,
    ready: impl FnOnce(),
) -> io::Result<()> {
    let news = AsyncFd::new(shared.mesh.news(index)?)?;
    let shard = Rc::new(Shard::new(index, shared)?);
    let intakes = doors.into_iter().map(Intake::new);
    let worker = Rc::new(Worker {
        sweep: Sweep::new(&shard)?,
        shard,
        intakes: intakes.collect::<io::Result<_>>()?,
        tick: RefCell::default(),
        cannot_accept: Complaint::default(),
    });
    for nth in 0..worker.intakes.len() {
        monoio::spawn(Rc::clone(&worker).accept(nth));
    }
    monoio::spawn(Rc::clone(&worker).read_mail(news));
    monoio::spawn(Rc::clone(&worker).lift_low_waters());
    if let Some(window) = worker.shard.config().busy_poll {
        monoio::spawn(Rc::clone(&worker).busy_poll(window));
    }
    ready();
    worker.sweep().await;
    Ok(())
}

struct Worker {
    shard: Rc<Shard>,
    sweep: Sweep,
    intakes: Vec<Intake>,
    /// Who waits for the next sweep: at most one for each intake.
    tick: RefCell<Vec<Waker>>,
    /// Newcomers wait in the listen queue, because no descriptor or memory is free.
    cannot_accept: Complaint,
}

/// A listener, as one shard accepts on it.
struct Intake {
    listener: AsyncFd,
    /// What connections accepted on it are.
    kind: Kind,
    role: Role,
    /// Shutting it down is not for this process; the drain ends the accepting.
    inherited: bool,
    waker: RefCell<Option<Waker>>,
}

impl Intake {
    fn new(door: Door) -> io::Result<Self> {
        Ok(Self {
            listener: AsyncFd::new(door.fd)?,
            kind: door.kind,
            role: door.role,
            inherited: door.inherited,
            waker: RefCell::new(None),
        })
    }

    /// Whether nothing more is to be taken from it. A listener of this process's own was shut down
    /// then, and what it still has is taken; what an inherited one has is for the next instance.
    fn is_over(&self, shard: &Shard) -> bool {
        shard.draining.get() && self.inherited && self.role == Role::Public
    }

    /// Waits until somebody may be accepted, or until it is over.
    async fn newcomers(&self, shard: &Shard) {
        let mut readable = pin!(self.listener.readable());
        std::future::poll_fn(|context| {
            if self.is_over(shard) {
                return Poll::Ready(());
            }
            *self.waker.borrow_mut() = Some(context.waker().clone());
            readable.as_mut().poll(context)
        })
        .await;
    }
}

impl Worker {
    /// Accepts connections, in batches, as long as there is room for them.
    async fn accept(self: Rc<Self>, nth: usize) {
        let intake = &self.intakes[nth];
        loop {
            intake.newcomers(&self.shard).await;
            if intake.is_over(&self.shard) {
                break;
            }
            match self.accept_batch(intake, limits::ACCEPT_BATCH) {
                // Nobody comes any more. A Unix socket that was shut down is readable and has nobody,
                // for ever; and a descriptor is asked for before the socket is looked at.
                Err(_) if intake.role == Role::Public && self.shard.draining.get() => break,
                Err(Errno::AGAIN) => {}
                // A TCP socket that was shut down.
                Err(Errno::INVAL) => break,
                Err(error) => {
                    self.complain(error);
                    self.next_sweep().await;
                }
                Ok(()) => self.next_sweep().await,
            }
        }
        if intake.role == Role::Public {
            // Whoever sees this sees what was accepted before.
            self.shard.shared.accepting.fetch_sub(1, Ordering::Release);
        }
    }

    /// Looked at again after a sweep, so that a trouble that lasts costs next to nothing.
    fn complain(&self, error: Errno) {
        if let Some(times) = self.cannot_accept.came_up(&self.shard.clock) {
            tracing::warn!(
                "cannot accept connections for now: {error}; newcomers wait until some close \
                 ({times} tries since this was last said)"
            );
        }
    }

    /// Accepts until none waits, or so many have come, which is the error `AGAIN`; without an error,
    /// there is no room.
    fn accept_batch(&self, intake: &Intake, at_most: usize) -> Result<(), Errno> {
        for _ in 0..at_most {
            if !self.has_room(intake.role) {
                return Ok(());
            }
            match accept_with(
                &intake.listener,
                SocketFlags::NONBLOCK | SocketFlags::CLOEXEC,
            ) {
                Ok(socket) => self.admit(socket, intake)?,
                // The client gave up while it waited (accept(2)).
                Err(Errno::INTR | Errno::CONNABORTED | Errno::PROTO) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Errno::AGAIN)
    }

    /// Takes in who waits, as far as there is room, and ends the listening: that would reset them
    /// (TCP), and they have come before the end. In one turn: it happens once.
    fn accept_last(&self, intake: &Intake) {
        let _ = self.accept_batch(intake, limits::LISTEN_BACKLOG as usize);
        fd::end_listening(&intake.listener);
    }

    fn has_room(&self, role: Role) -> bool {
        let shared = &self.shard.shared;
        match role {
            Role::Public => {
                let files = &shared.config.files;
                shared.connections.load(Ordering::Relaxed)
                    < files.connections_max + files.over_limit_max
            }
            Role::Admin => self.shard.operators() < limits::ADMIN_CONNECTIONS_MAX,
        }
    }

    fn admit(&self, socket: OwnedFd, intake: &Intake) -> Result<(), Errno> {
        let socket = Transport::new(socket, intake.kind).map_err(|_| Errno::NOMEM)?;
        let conn = self.shard.admit(socket, self.standing(intake.role));
        task::spawn(Rc::clone(&self.shard), conn, None);
        Ok(())
    }

    /// Whose the connection is that was just accepted; a client's is counted.
    fn standing(&self, role: Role) -> Standing {
        let shared = &self.shard.shared;
        if role == Role::Admin {
            return Standing::Operator;
        }
        let before = shared.connections.fetch_add(1, Ordering::Relaxed);
        if before < shared.config.files.connections_max {
            Standing::Client
        } else {
            Standing::Excess
        }
    }

    async fn next_sweep(&self) {
        let mut asked = false;
        std::future::poll_fn(|context| {
            if asked {
                return Poll::Ready(());
            }
            asked = true;
            self.tick.borrow_mut().push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Reads what other shards, and the main thread, send.
    async fn read_mail(self: Rc<Self>, news: AsyncFd) {
        loop {
            news.readable().await;
            eventfd::clear(&news);
            for message in self.shard.shared.mesh.take(self.shard.index) {
                self.receive(message);
            }
        }
    }

    /// Lifts the low-water marks of flows that pause.
    async fn lift_low_waters(self: Rc<Self>) {
        loop {
            self.shard.low_waters.lift_paused().await;
        }
    }

    /// Looks for news for a while before the shard sleeps.
    async fn busy_poll(self: Rc<Self>, window: Duration) {
        let shard = &self.shard;
        shard.busy_poll.run(window, &shard.always_ready).await;
    }

    fn receive(&self, message: Message) {
        let shard = &self.shard;
        match message {
            Message::HandOver { socket, request } => match Transport::from_parts(socket) {
                Ok(socket) => {
                    let conn = shard.admit(socket, Standing::Client);
                    task::spawn(Rc::clone(shard), conn, Some(request));
                }
                Err(error) => {
                    tracing::error!("a connection was lost between two shards: {error}");
                    shard.count_closed(Standing::Client);
                }
            },
            Message::Ask {
                from,
                ticket,
                question,
            } => {
                monoio::spawn(answer(Rc::clone(shard), from, ticket, question));
            }
            Message::Answer { ticket, answer } => shard.answered(ticket, answer),
            Message::Drain => self.begin_drain(),
        }
    }

    /// Sweeps once a period, until the server has ended.
    async fn sweep(&self) {
        loop {
            self.sweep.go_round().await;
            self.shard.pipes.try_again();
            self.shard.give_back_seats();
            fd::retry_waits();
            self.tick.take().into_iter().for_each(Waker::wake);
            if self.shard.draining.get() && self.is_drained() {
                return;
            }
        }
    }

    fn begin_drain(&self) {
        let shard = &self.shard;
        shard.draining.set(true);
        self.sweep.begin_drain();
        for intake in &self.intakes {
            if intake.role == Role::Public && !intake.inherited {
                self.accept_last(intake);
            }
            if let Some(waker) = intake.waker.borrow_mut().take() {
                waker.wake();
            }
        }
    }

    /// Whether everything has ended. Nobody waits for operators. Of all shards: another's connection
    /// may come here yet, or ask for a listing.
    fn is_drained(&self) -> bool {
        let shared = &self.shard.shared;
        // In this order: who has stopped accepting has counted whom it accepted.
        shared.accepting.load(Ordering::Acquire) == 0
            && shared.connections.load(Ordering::Relaxed) == 0
    }
}

/// Answers another shard's question with this shard's share.
async fn answer(shard: Rc<Shard>, from: usize, ticket: usize, question: Question) {
    let answer = match question {
        Question::Channels(namespace) => {
            Answer::Channels(list::own_channels(&shard, namespace.as_deref()).await)
        }
        Question::DeleteNamespace(namespace) => {
            Answer::Deleted(delete::own_channels(&shard, &namespace).await)
        }
        Question::Metrics => Answer::Metrics(Box::new(shard.snapshot())),
    };
    shard
        .shared
        .mesh
        .send(from, Message::Answer { ticket, answer });
}
