//! Waiting for a counterpart: how a connection gets into a channel's queue and out of it again.
//!
//! The registry keeps ids in order; the connections keep their requests. Only this file moves a
//! connection from one to the other, so the two always agree.

use std::{collections::VecDeque, rc::Rc};

use crate::{
    conn::{Close, Conn, Party, Step, Stop, Waiting},
    http::reply::Persistence,
    io::{clock::Moment, socket::Peer},
    limits,
    model::{
        refusal::Refusal,
        registry::{ChannelId, End, Full, Side},
        request::{ConsumerRequest, ProducerRequest},
    },
    shard::{Shard, session},
};

/// Lets `conn` wait on `channel`, behind all others of its side.
///
/// # Errors
/// A limit is reached; the request is given back, and the channel closed if nobody uses it.
pub fn join(
    shard: &Shard,
    channel: ChannelId,
    conn: &Conn,
    party: Party,
) -> Result<(), (Full, Party)> {
    let joined = shard
        .registry
        .borrow_mut()
        .join(channel, party.side(), End::Back, conn.id);
    match joined {
        Ok(place) => {
            conn.begin_waiting(Waiting {
                channel,
                place,
                party,
            });
            Ok(())
        }
        Err(full) => Err((full, party)),
    }
}

/// Lets `conn` wait again, before all others of its side: it was matched, and its counterpart left
/// before a byte moved. Call before the exchange is ended, or the channel may be gone.
pub fn rejoin(shard: &Shard, channel: ChannelId, conn: &Conn, party: Party) {
    let joined = shard
        .registry
        .borrow_mut()
        .join(channel, party.side(), End::Front, conn.id);
    let place = joined.expect("who was let in once is not refused");
    conn.line.unmatched();
    conn.begin_waiting(Waiting {
        channel,
        place,
        party,
    });
    conn.watch_again();
}

/// Takes the first consumer that waits on `channel` and is still there.
pub fn take_consumer(shard: &Shard, channel: ChannelId) -> Option<(Rc<Conn>, ConsumerRequest)> {
    match take(shard, channel, Side::Consumer)? {
        (conn, Party::Consumer(wanted)) => Some((conn, wanted)),
        _ => unreachable!("a producer waits among the consumers"),
    }
}

/// Takes the first producer that waits on `channel` and is still there.
pub fn take_producer(
    shard: &Shard,
    channel: ChannelId,
) -> Option<(Rc<Conn>, Box<ProducerRequest>)> {
    match take(shard, channel, Side::Producer)? {
        (conn, Party::Producer(request)) => Some((conn, request)),
        _ => unreachable!("a consumer waits among the producers"),
    }
}

fn take(shard: &Shard, channel: ChannelId, side: Side) -> Option<(Rc<Conn>, Party)> {
    loop {
        let id = shard.registry.borrow_mut().take_first(channel, side)?;
        let conn = shard.conn(id);
        if let Some(party) = claim(&conn) {
            return Some((conn, party));
        }
    }
}

/// Takes the request of a connection that was just taken out of its queue. A client that has left
/// is never matched: its connection ends here, and nothing is returned.
pub fn claim(conn: &Conn) -> Option<Party> {
    let waiting = conn
        .take_waiting()
        .expect("who stands in a queue is waiting");
    let peer = conn.socket.peer();
    if peer != Peer::There {
        conn.hand(Step::Close(Close::behind(peer)));
        return None;
    }
    Some(waiting.party)
}

/// Takes `conn` out of its queue because its client left. No-op if it does not wait.
pub fn leave(shard: &Shard, conn: &Conn) {
    if let Some(waiting) = conn.take_waiting() {
        let side = waiting.party.side();
        shard
            .registry
            .borrow_mut()
            .leave(waiting.channel, side, waiting.place);
    }
}

/// Takes `conn` out of its queue and answers its request with `refusal`. No-op if it does not wait.
pub fn turn_away(shard: &Rc<Shard>, conn: &Rc<Conn>, refusal: &Refusal) {
    if let Some(waiting) = conn.take_waiting() {
        let side = waiting.party.side();
        shard
            .registry
            .borrow_mut()
            .leave(waiting.channel, side, waiting.place);
        refuse(shard, conn, waiting.party, refusal);
    }
}

/// Who waited on a channel that was destroyed, and has yet to hear so.
#[must_use = "they hang unless they are told"]
pub struct Evicted(VecDeque<(Rc<Conn>, Option<Party>)>);

/// Destroys these channels: an exchange on one stops, and whoever waits is taken out of its queue.
pub fn destroy(shard: &Rc<Shard>, channels: &[ChannelId]) -> Evicted {
    let mut evicted = VecDeque::new();
    for &channel in channels {
        let driver = shard.registry.borrow().exchange(channel);
        if let Some(driver) = driver {
            shard.conn(driver).stop(Stop::Deleted);
        }
        let drained = shard.registry.borrow_mut().drain_waiting(channel);
        evicted.extend(drained.into_iter().map(|id| {
            let conn = shard.conn(id);
            let waiting = conn.take_waiting();
            conn.deadline.set(Moment::NEVER);
            let waiting = waiting.expect("who stands in a queue is waiting");
            (conn, Some(waiting.party))
        }));
    }
    Evicted(evicted)
}

impl Evicted {
    /// Tells everybody, a few a turn.
    pub async fn tell(mut self, shard: &Rc<Shard>) {
        let mut told = 0;
        while let Some((conn, party)) = self.0.front_mut() {
            if let Some(party) = party.take() {
                refuse(shard, conn, party, &Refusal::DELETED);
            }
            // Not held while others have their turn: it may go to another shard.
            self.0.pop_front();
            told += 1;
            if told % limits::SENT_AWAY_AT_ONCE == 0 {
                shard.turn().await;
            }
        }
    }
}

impl Drop for Evicted {
    fn drop(&mut self) {
        // Only a panic leaves somebody without a word.
        for (conn, _) in self.0.drain(..) {
            conn.hand(Step::Close(Close::Linger));
        }
    }
}

/// Answers a request that is out of its queue.
fn refuse(shard: &Rc<Shard>, conn: &Rc<Conn>, party: Party, refusal: &Refusal) {
    let step = match party {
        Party::Consumer(wanted) => session::refuse(shard, conn, wanted.persistence, false, refusal),
        Party::Producer(mut request) => refuse_producer(shard, conn, &mut request, refusal),
    };
    conn.hand(step);
}

/// Answers a producer with a refusal; its connection can only go on if its body was read whole.
pub fn refuse_producer(
    shard: &Rc<Shard>,
    conn: &Rc<Conn>,
    request: &mut ProducerRequest,
    refusal: &Refusal,
) -> Step {
    conn.keep_unread(request.take_rest());
    let asked = Persistence::of(&request.head);
    session::refuse(shard, conn, asked, !request.is_whole(), refusal)
}
