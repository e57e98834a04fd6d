//! The loops that run a shard: accept, mailbox, sweep; and its end.

use std::{
    cell::{Cell, RefCell},
    future::Future,
    io, iter,
    os::fd::OwnedFd,
    pin::pin,
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    task::{Poll, Waker},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{SocketFlags, accept_with},
};

use crate::{
    clock::Moment,
    complaint::Complaint,
    conn::{Close, Conn, Doing, Standing, Step, Stop},
    handle::{delete, list},
    limits,
    listener::{Door, Role},
    mesh::{Answer, Message, Question},
    serve,
    shard::{Shard, Shared},
    socket::{self, Peer, Socket},
    sys,
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
    let bell = Socket::new(shared.mesh.bell(index)?)?;
    let timer = Socket::new(sys::timer()?)?;
    let intakes = doors.into_iter().map(Intake::new);
    let worker = Rc::new(Worker {
        shard: Rc::new(Shard::new(index, shared)?),
        intakes: intakes.collect::<io::Result<_>>()?,
        tick: RefCell::default(),
        drain_until: Cell::new(Moment::NEVER),
        greet_until: Cell::new(Moment::NEVER),
        look_for_lost_at: Cell::new(Moment::BEGINNING),
        cannot_accept: Complaint::default(),
    });
    for nth in 0..worker.intakes.len() {
        monoio::spawn(Rc::clone(&worker).accept(nth));
    }
    monoio::spawn(Rc::clone(&worker).read_mail(bell));
    monoio::spawn(Rc::clone(&worker).lift_marks());
    if let Some(window) = worker.shard.config().busy_poll {
        monoio::spawn(Rc::clone(&worker).busy_poll(window));
    }
    ready();
    worker.sweep(timer).await;
    Ok(())
}

struct Worker {
    shard: Rc<Shard>,
    intakes: Vec<Intake>,
    /// Who waits for the next sweep: at most one for each intake.
    tick: RefCell<Vec<Waker>>,
    /// When exchanges under way have had their time.
    drain_until: Cell<Moment>,
    /// When clients that have connected have had their time to say what they want.
    greet_until: Cell<Moment>,
    /// When to look next for peers that vanished while bytes were on their way to them.
    look_for_lost_at: Cell<Moment>,
    /// Newcomers wait in the listen queue, because no descriptor or memory is free.
    cannot_accept: Complaint,
}

/// A listener, as one shard accepts on it.
struct Intake {
    listener: Socket,
    role: Role,
    /// Shutting it down is not for this process; the drain ends the accepting.
    inherited: bool,
    waker: RefCell<Option<Waker>>,
}

impl Intake {
    fn new(door: Door) -> io::Result<Self> {
        Ok(Self {
            listener: Socket::new(door.fd)?,
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
            match self.accept_batch(intake) {
                // A Unix socket that was shut down is readable and has nobody, for ever.
                Err(Errno::AGAIN) if intake.role == Role::Public && self.shard.draining.get() => {
                    break;
                }
                Err(Errno::AGAIN) => {}
                // A TCP socket that was shut down.
                Err(Errno::INVAL) => break,
                // A descriptor is asked for before the socket is looked at, and nobody comes any more.
                Err(_) if intake.role == Role::Public && self.shard.draining.get() => break,
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

    /// Accepts until none waits, which is the error `AGAIN`; without an error, there is no room.
    fn accept_batch(&self, intake: &Intake) -> Result<(), Errno> {
        for _ in 0..limits::ACCEPT_BATCH {
            if !self.has_room(intake.role) {
                return Ok(());
            }
            self.accept_one(intake)?;
        }
        Err(Errno::AGAIN)
    }

    fn accept_one(&self, intake: &Intake) -> Result<(), Errno> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        match accept_with(&intake.listener, flags) {
            Ok(socket) => self.admit(socket, intake.role),
            // The client gave up while it waited (accept(2)).
            Err(Errno::INTR | Errno::CONNABORTED | Errno::PROTO) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Takes in who waits, as far as there is room, and ends the listening: that would reset them
    /// (TCP), and they have come before the end. In one turn: it happens once.
    fn accept_last(&self, intake: &Intake) {
        for _ in 0..limits::LISTEN_BACKLOG {
            if !self.has_room(intake.role) || self.accept_one(intake).is_err() {
                break;
            }
        }
        intake.listener.end_listening();
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

    fn admit(&self, socket: OwnedFd, role: Role) -> Result<(), Errno> {
        let socket = Socket::new(socket).map_err(|_| Errno::NOMEM)?;
        let conn = self.shard.admit(socket, self.standing(role));
        serve::spawn(Rc::clone(&self.shard), conn, None);
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
    async fn read_mail(self: Rc<Self>, bell: Socket) {
        loop {
            bell.readable().await;
            sys::silence(&bell);
            for message in self.shard.shared.mesh.take(self.shard.index) {
                self.receive(message);
            }
        }
    }

    /// Lifts the marks of flows that pause.
    async fn lift_marks(self: Rc<Self>) {
        loop {
            self.shard.marks.lift_stale().await;
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
            Message::HandOver { socket, request } => match Socket::new(socket) {
                Ok(socket) => {
                    let conn = shard.admit(socket, Standing::Client);
                    serve::spawn(Rc::clone(shard), conn, Some(request));
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
    async fn sweep(&self, timer: Socket) {
        loop {
            self.look_after_conns(&timer).await;
            self.shard.pipes.try_again();
            self.shard.give_back_seats();
            socket::look_again();
            self.tick.take().into_iter().for_each(Waker::wake);
            if self.shard.draining.get() && self.is_drained() {
                return;
            }
        }
    }

    /// The shard gets on with its sweep: it lives, and knows what time it is.
    fn pulse(&self) {
        self.shard.clock.advance();
        self.shard.shared.pulses[self.shard.index].fetch_add(1, Ordering::Relaxed);
    }

    /// Looks after every connection over the length of a period, a part at each tick of `timer`:
    /// there may be tens of thousands, and thousands whose time is over, and those that have
    /// something to do are not to wait for all of them.
    async fn look_after_conns(&self, timer: &Socket) {
        let look_for_lost = self.is_time_to_look_for_lost();
        let seats = self.shard.seats();
        let parts = seats.div_ceil(limits::SWEPT_AT_ONCE).max(1);
        for part in 0..parts {
            sys::arm(timer, limits::SWEEP_PERIOD.div_f64(parts as f64));
            timer.readable().await;
            sys::silence(timer);
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
                serve::peer_seen(shard, conn, Peer::Gone);
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
            serve::expire(&self.shard, conn);
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
                Doing::Reading => over || serve::is_idle(conn, greeting),
                Doing::Waiting => true,
                Doing::Working => over,
                Doing::Consuming | Doing::Handed => false,
            };
            ends && conn.standing != Standing::Operator
        };
        self.each_of(ids, limits::SENT_AWAY_AT_ONCE, has_to_end, |conn| {
            serve::drain(&self.shard, conn, greeting);
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
                serve::peer_seen(&self.shard, conn, peer);
            }
        }
    }

    fn begin_drain(&self) {
        let shard = &self.shard;
        shard.draining.set(true);
        self.drain_until
            .set(shard.clock.deadline(shard.config().timeouts.drain));
        self.greet_until
            .set(shard.clock.deadline(limits::DRAIN_GREETING_TIME));
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

/// The drain has lasted long enough: an exchange stops, whatever else goes on ends.
fn cut_short(conn: &Rc<Conn>) {
    match conn.doing() {
        Doing::Working => conn.stop(Stop::Drained),
        Doing::Reading => conn.hand(Step::Close(Close::Now)),
        Doing::Waiting | Doing::Consuming | Doing::Handed => {}
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
