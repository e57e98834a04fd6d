//! Waiting for a counterpart: how a request leaves its channel's queue, and how it gets back into it.
//!
//! The registry keeps ids in order; the connections keep their requests. Only this file and
//! [`super::matching`] move a connection from one to the other, so the two always agree.

use std::{collections::VecDeque, ops::Deref, rc::Rc};

use crate::{
    conn::{
        ConnId, Party, Waiting,
        step::{Next, close_behind},
    },
    http::reply::Persistence,
    io::socket::Peer,
    limits,
    model::{
        refusal::Refusal,
        registry::{ChannelId, Registry, Side},
        reply::Reply,
        request::{ConsumerRequest, ProducerRequest},
        verdict::{Cause, Close, WaitEnd, rule_waiting},
    },
    shard::{Shard, session::Session},
};

/// A connection that has left its queue and has not been answered or matched yet.
pub struct Claimed {
    session: Session,
    /// A panic was unwinding before the claim, so it does not concern this match.
    unwinding: bool,
}

impl Deref for Claimed {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.session
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        // The match itself panicked. The connection's own task sleeps, and nothing else would wake it.
        if std::thread::panicking() && !self.unwinding {
            self.conn.hand(Next::Close(Close::Linger));
        }
    }
}

/// Puts a request back to the front of its queue: it was matched, and the exchange moved nothing. Call
/// it before the exchange is ended, which may close the channel.
pub(super) fn wait_on(session: &Session, channel: ChannelId, party: Party) {
    let Session { shard, conn } = session;
    let mut registry = shard.registry.borrow_mut();
    let place = registry.give_back(channel, party.side(), conn.id);
    conn.line.unmatched();
    session.begin_waiting(Waiting {
        channel,
        place,
        party,
    });
    conn.watch_readability_again();
}

/// Takes the first producer, which was just taken out of its queue; see [`claim`].
pub(super) fn claim_producer(
    shard: &Rc<Shard>,
    id: ConnId,
) -> Option<(Claimed, Box<ProducerRequest>)> {
    match claim(shard, id)? {
        (claimed, Party::Producer(request)) => Some((claimed, request)),
        (_, Party::Consumer(_)) => unreachable!("a consumer waits among the producers"),
    }
}

/// As [`claim_producer`], for a consumer.
pub(super) fn claim_consumer(shard: &Rc<Shard>, id: ConnId) -> Option<(Claimed, ConsumerRequest)> {
    match claim(shard, id)? {
        (claimed, Party::Consumer(want)) => Some((claimed, want)),
        (_, Party::Producer(_)) => unreachable!("a producer waits among the consumers"),
    }
}

/// Takes the request of a connection that was just taken out of its queue. A client that has left
/// is never matched: its connection closes here, and nothing is returned.
fn claim(shard: &Rc<Shard>, id: ConnId) -> Option<(Claimed, Party)> {
    let claimed = Claimed {
        session: Session::new(shard, shard.connections.get(id)),
        unwinding: std::thread::panicking(),
    };
    let waiting = claimed.conn.take_waiting();
    let waiting = waiting.expect("a connection in a queue is waiting");
    let peer = claimed.conn.transport.peer();
    if peer != Peer::There {
        claimed.conn.hand(Next::Close(close_behind(peer)));
        return None;
    }
    Some((claimed, waiting.party))
}

/// Takes a waiting request out of its queue because its client left. No-op if it does not wait.
pub fn leave(session: &Session) {
    let Session { shard, conn } = session;
    if let Some(waiting) = conn.take_waiting() {
        let (side, place) = (waiting.party.side(), waiting.place);
        let mut registry = shard.registry.borrow_mut();
        registry.leave(waiting.channel, side, place);
    }
}

/// Takes a waiting request out of its queue and answers it. No-op if it does not wait.
pub fn turn_away(session: &Session, end: WaitEnd) {
    turn_away_as(session, |_, _| end);
}

/// As [`turn_away`], for a request that has waited as long as it may.
pub fn expire(session: &Session) {
    turn_away_as(session, |registry, waiting| {
        match registry.driver(waiting.channel) {
            Some(_) => WaitEnd::StayedBusy,
            None => WaitEnd::Expired,
        }
    });
}

fn turn_away_as(session: &Session, why: impl FnOnce(&Registry<ConnId>, &Waiting) -> WaitEnd) {
    let Session { shard, conn } = session;
    if let Some(waiting) = conn.take_waiting() {
        let mut registry = shard.registry.borrow_mut();
        let end = why(&registry, &waiting);
        registry.leave(waiting.channel, waiting.party.side(), waiting.place);
        drop(registry);
        answer_waiting(session, waiting.party, end);
    }
}

/// Deletes a channel of this shard: stops its exchange and answers its waiters, a few a turn. When it
/// returns, every request that waited on the channel when it was called has its reply, or is in an
/// exchange that was stopped. `told`: how many were answered in earlier turns or this one.
///
/// Where more waiters than [`limits::EVICTED_AT_ONCE`] have to leave, other tasks run before all of them
/// have left. A request that arrives meanwhile queues behind those of its side, so as many leave as
/// there were, first come first served; it may leave in the place of one that has left by itself, and
/// it may be matched with one that has yet to leave: that exchange is stopped in the next turn.
pub async fn delete(shard: &Rc<Shard>, namespace: &str, name: &str, told: &mut usize) {
    let hash = shard.shared.mesh.hash(namespace, name);
    let mut left = [usize::MAX; 2];
    while left != [0; 2] {
        // By name: an id may be another channel's once other tasks have run.
        let found = shard.registry.borrow().find(hash, namespace, name);
        let Some(channel) = found else { return };
        let driver = shard.registry.borrow().driver(channel);
        if let Some(driver) = driver {
            shard.connections.get(driver).signal.stop(Cause::Deleted);
        }
        evict(shard, channel, &mut left).tell(shard, told).await;
    }
}

/// Takes the first of at most `left` waiters on each side of a deleted channel out of their queues;
/// `left` counts the others then.
fn evict(shard: &Rc<Shard>, channel: ChannelId, left: &mut [usize; 2]) -> Evicted {
    let mut registry = shard.registry.borrow_mut();
    let (mut at_most, mut room) = ([0; 2], limits::EVICTED_AT_ONCE);
    for side in [Side::Producer, Side::Consumer] {
        let waiting = registry.waiting_on(channel, side).min(left[side as usize]);
        at_most[side as usize] = waiting.min(room);
        room -= at_most[side as usize];
        left[side as usize] = waiting - at_most[side as usize];
    }
    let drained = registry.drain_waiting(channel, at_most);
    let evicted = drained.into_iter().map(|id| {
        let session = Session::new(shard, shard.connections.get(id));
        let waiting = session.conn.take_waiting();
        session.conn.deadline.lift();
        let waiting = waiting.expect("a connection in a queue is waiting");
        (session, Some(waiting.party))
    });
    Evicted(evicted.collect())
}

/// The waiters of deleted channels that have not been answered yet.
#[must_use = "they hang unless they are told"]
struct Evicted(VecDeque<(Session, Option<Party>)>);

impl Evicted {
    /// Answers all of them, a few per turn; `told` counts them.
    async fn tell(mut self, shard: &Rc<Shard>, told: &mut usize) {
        while let Some((session, party)) = self.0.front_mut() {
            if let Some(party) = party.take() {
                answer_waiting(session, party, WaitEnd::Deleted);
            }
            // Not held while other tasks run: the connection may go to another shard.
            self.0.pop_front();
            *told += 1;
            if told.is_multiple_of(limits::SENT_AWAY_AT_ONCE) {
                shard.yield_now().await;
            }
        }
    }
}

impl Drop for Evicted {
    fn drop(&mut self) {
        // Only a panic leaves waiters unanswered.
        for (session, _) in self.0.drain(..) {
            session.conn.hand(Next::Close(Close::Linger));
        }
    }
}

/// Answers a request that was taken out of its queue.
fn answer_waiting(session: &Session, party: Party, end: WaitEnd) {
    let refusal = rule_waiting(end);
    session.answer(match party {
        Party::Producer(mut request) => refuse_producer(session, &mut request, &refusal),
        Party::Consumer(want) => Reply::refuse(want.persistence, &refusal),
    });
}

/// The refusal of a producer's request; the connection can only go on if its body was read whole.
pub(super) fn refuse_producer(
    session: &Session,
    request: &mut ProducerRequest,
    refusal: &Refusal,
) -> Reply {
    session.conn.inbound.keep_unread(request.take_rest());
    let asked = Persistence::of(&request.head);
    Reply::refuse(asked, refusal).closing_if(!request.is_whole())
}
