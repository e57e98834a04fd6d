//! The loops that run a shard: accept, mailbox, sweep; and its end.

use std::{
    cell::{Cell, RefCell},
    io,
    os::fd::OwnedFd,
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
    conn::{Close, Conn, Doing, Step, Stop},
    handle::{delete, list},
    limits,
    mesh::{Answer, Message, Question},
    serve,
    shard::{Shard, Shared},
    socket::{Peer, Socket},
    sys,
};

/// Runs shard `index` until the server ends. `listener` must be non-blocking; `ready` is called when
/// the shard takes connections. Runs on the thread that is to be the shard's, within its runtime.
///
/// # Errors
/// No descriptor was free for the shard itself.
pub async fn run(
    index: usize,
    shared: Arc<Shared>,
    listener: OwnedFd,
    ready: impl FnOnce(),
) -> io::Result<()> {
    let bell = Socket::new(shared.mesh.bell(index)?)?;
    let timer = Socket::new(sys::timer(limits::SWEEP_PERIOD)?)?;
    let listener = Socket::new(listener)?;
    let worker = Rc::new(Worker {
        shard: Rc::new(Shard::new(index, shared)?),
        tick: RefCell::default(),
        drain_until: Cell::new(Moment::NEVER),
    });
    monoio::spawn(Rc::clone(&worker).accept(listener));
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
    /// Who waits for the next sweep.
    tick: RefCell<Option<Waker>>,
    /// When exchanges under way have had their time.
    drain_until: Cell<Moment>,
}

impl Worker {
    /// Accepts connections, in batches, as long as there is room for them.
    async fn accept(self: Rc<Self>, listener: Socket) {
        loop {
            listener.readable().await;
            match self.accept_batch(&listener) {
                Err(Errno::AGAIN) => {}
                // Shut down: the server ends.
                Err(Errno::INVAL) => return,
                Err(error) => {
                    tracing::warn!("cannot accept connections for now: {error}");
                    self.next_sweep().await;
                }
                Ok(()) => self.next_sweep().await,
            }
        }
    }

    /// Accepts until none waits, which is the error `AGAIN`; without an error, there is no room.
    fn accept_batch(&self, listener: &Socket) -> Result<(), Errno> {
        let shared = &self.shard.shared;
        let connections_max = shared.config.connections_max;
        for _ in 0..limits::ACCEPT_BATCH {
            if shared.connections.load(Ordering::Relaxed)
                >= connections_max + limits::OVER_LIMIT_CONNECTIONS
            {
                return Ok(());
            }
            match accept_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                Ok(socket) => {
                    let before = shared.connections.fetch_add(1, Ordering::Relaxed);
                    self.admit(socket, before >= connections_max)?;
                }
                // The client gave up while it waited (accept(2)).
                Err(Errno::INTR | Errno::CONNABORTED | Errno::PROTO) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Errno::AGAIN)
    }

    fn admit(&self, socket: OwnedFd, over_limit: bool) -> Result<(), Errno> {
        let Ok(socket) = Socket::new(socket) else {
            self.shard.count_closed();
            return Err(Errno::NOMEM);
        };
        let conn = self.shard.admit(socket, over_limit);
        serve::spawn(Rc::clone(&self.shard), conn, None);
        Ok(())
    }

    async fn next_sweep(&self) {
        let mut asked = false;
        std::future::poll_fn(|context| {
            if asked {
                return Poll::Ready(());
            }
            asked = true;
            *self.tick.borrow_mut() = Some(context.waker().clone());
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
                    let conn = shard.admit(socket, false);
                    serve::spawn(Rc::clone(shard), conn, Some(request));
                }
                Err(error) => {
                    tracing::error!("a connection was lost between two shards: {error}");
                    shard.count_closed();
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
            timer.readable().await;
            sys::silence(&timer);
            self.shard.clock.advance();
            self.expire();
            self.look_at_peers();
            self.shard.pipes.try_again();
            if let Some(waiting) = self.tick.borrow_mut().take() {
                waiting.wake();
            }
            if self.shard.draining.get() && self.is_drained() {
                return;
            }
        }
    }

    /// Steps in wherever a deadline has passed.
    fn expire(&self) {
        let now = self.shard.clock.now();
        self.shard.each_conn(|conn| {
            if conn.deadline.get() <= now {
                conn.deadline.set(Moment::NEVER);
                serve::expire(&self.shard, conn);
            }
        });
    }

    /// Looks at the peers of connections whose readability is of no interest, because unread bytes
    /// lie there: one `poll(2)` over all of them.
    fn look_at_peers(&self) {
        let mut conns = Vec::new();
        self.shard.each_conn(|conn| {
            if conn.needs_sweep() {
                conns.push(Rc::clone(conn));
            }
        });
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
    }

    /// Whether everything has ended; what has had its time is stopped.
    fn is_drained(&self) -> bool {
        let shard = &self.shard;
        shard.each_conn(|conn| serve::drain(shard, conn));
        if shard.clock.now() >= self.drain_until.get() {
            shard.each_conn(cut_short);
        }
        // Of all shards: another's connection may come here yet, or ask for a listing.
        shard.shared.connections.load(Ordering::Relaxed) == 0
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
