//! The loops that run a shard: acceptors, mailbox, sweep, and what else waits for the whole shard; and
//! the shard's end.

pub mod accept;
mod heads;
mod linger;
mod sweep;
mod task;

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::{Arc, atomic::Ordering},
};

use crate::{
    exchange::matching,
    handle::{documents, own_share::own_share},
    io::{eventfd, fd::AsyncFd, runtime, socket::Transport},
    observe::log,
    shard::{
        Shard,
        listings::Asker,
        mesh::{Handover, Message, Question},
        session::Session,
        shared::Shared,
    },
};

use self::{
    accept::{Acceptor, ListenerHandle},
    sweep::Sweep,
};

/// Runs shard `index` until the server ends; calls `ready` when the shard accepts connections. Call it on
/// the shard's thread, within its runtime.
///
/// # Errors
/// No descriptor is free for the shard itself.
pub async fn run(
    index: usize,
    shared: Arc<Shared>,
    listeners: Vec<ListenerHandle>,
    ready: impl FnOnce(),
) -> io::Result<()> {
    let news = AsyncFd::new(shared.mesh.news(index)?)?;
    let shard = Rc::new(Shard::new(index, shared)?);
    let acceptors = listeners
        .into_iter()
        .map(|handle| Acceptor::new(&shard, handle).map(Rc::new));
    let worker = Rc::new(Worker {
        acceptors: acceptors.collect::<io::Result<_>>()?,
        sweep: Sweep::new(&shard)?,
        shard: Rc::clone(&shard),
    });
    for acceptor in &worker.acceptors {
        runtime::spawn(Rc::clone(acceptor).run());
    }
    runtime::spawn(Rc::clone(&worker).read_mail(news));
    runtime::spawn(lift_low_waters(Rc::clone(&shard)));
    runtime::spawn(watch_peers(Rc::clone(&shard)));
    runtime::spawn(watch_writes(Rc::clone(&shard)));
    runtime::spawn(match_backlog(Rc::clone(&shard)));
    if let Some(window) = shard.config().busy_poll {
        runtime::spawn(async move { shard.busy_poll(window).await });
    }
    ready();
    worker.sweep().await;
    Ok(())
}

struct Worker {
    shard: Rc<Shard>,
    sweep: Sweep,
    acceptors: Vec<Rc<Acceptor>>,
}

impl Worker {
    /// Reads what other shards and the signal thread send.
    async fn read_mail(self: Rc<Self>, news: AsyncFd) {
        loop {
            news.readable().await;
            eventfd::clear(&news);
            for message in self.shard.shared.mesh.take(self.shard.index) {
                self.receive(message);
            }
        }
    }

    fn receive(&self, message: Message) {
        let shard = &self.shard;
        match message {
            Message::HandOver(handover) => take_over(shard, *handover),
            Message::Ask {
                from,
                ticket,
                question: Question::Document(subject),
            } => documents::order(shard, subject, Asker { from, ticket }),
            Message::Ask {
                from,
                ticket,
                question,
            } => runtime::spawn(answer(Rc::clone(shard), from, ticket, question)),
            Message::Answer { ticket, answer } => shard.questions.answered(ticket, answer),
            Message::Drain => self.begin_drain(),
        }
    }

    /// Sweeps until the server has ended.
    async fn sweep(&self) {
        loop {
            self.sweep.tick().await;
            if self.shard.draining.get() && self.is_drained() {
                return;
            }
        }
    }

    fn begin_drain(&self) {
        self.shard.draining.set(true);
        self.sweep.begin_drain();
        self.acceptors
            .iter()
            .for_each(|acceptor| acceptor.begin_drain());
    }

    /// Whether the clients' connections have ended on all shards: one of another shard may still be handed
    /// over to this one, or ask it a question. Operators' connections do not count.
    fn is_drained(&self) -> bool {
        let shared = &self.shard.shared;
        // Load `accepting` first (Acquire): an acceptor counts its connections before it decrements it
        // (Release).
        shared.accepting.load(Ordering::Acquire) == 0
            && shared.connections.load(Ordering::Relaxed) == 0
    }
}

/// Takes over a connection that another shard gave.
fn take_over(shard: &Rc<Shard>, handover: Handover) {
    let Handover {
        transport,
        audience,
        request,
    } = handover;
    match Transport::from_parts(transport) {
        Ok(transport) => {
            let conn = shard.admit(transport, audience, false);
            // Earlier replies of the other shard may be on their way.
            conn.outbound.note_sent();
            task::spawn(Session::new(shard, conn), Some(request));
        }
        Err(error) => {
            tracing::error!("a connection was lost between two threads: {error}");
            shard.count_closed(audience);
        }
    }
}

/// Answers another shard's question with this shard's share.
async fn answer(shard: Rc<Shard>, from: usize, ticket: usize, question: Question) {
    let answer = own_share(&shard, &question).await;
    shard
        .shared
        .mesh
        .send(from, Message::Answer { ticket, answer });
}

/// Lifts the low-water marks of flows that pause.
async fn lift_low_waters(shard: Rc<Shard>) {
    loop {
        shard.low_waters.lift_paused().await;
    }
}

/// Acts on peers that leave while their sockets have unread bytes.
async fn watch_peers(shard: Rc<Shard>) {
    loop {
        for id in shard.peer_watch.left().await {
            // The id may belong to another connection by now, so check its socket.
            if let Some(conn) = shard.connections.find(id)
                && conn.needs_peer_watch()
            {
                let peer = conn.transport.peer();
                task::peer_seen(&Session::new(&shard, conn), peer);
            }
        }
    }
}

/// Wakes tasks whose half-closed peers take more bytes.
async fn watch_writes(shard: Rc<Shard>) {
    shard.write_watch.run().await;
}

/// Matches the waiters of channels with a backlog, a part per turn.
async fn match_backlog(shard: Rc<Shard>) {
    loop {
        let channel = shard.backlog.next().await;
        shard.yield_now().await;
        let matched = AssertUnwindSafe(|| matching::go_on_with_backlog(&shard, channel));
        if let Err(panic) = catch_unwind(matched) {
            shard.counters.panics.add(1);
            let reason = log::reason(&*panic);
            tracing::error!("matching a channel's backlog panicked: {reason}");
            matching::go_on_later(&shard, channel);
        }
    }
}
