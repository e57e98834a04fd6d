//! Matching: [`meet`] is the one routine for a match, whether a request has just arrived or both sides
//! have waited behind an exchange.

use std::rc::Rc;

use super::{
    Exchange, matched,
    offer::Offer,
    sink::{Sink, Start, Started},
    waiting::{claim_consumer, claim_producer, wait_on},
};
use crate::{
    conn::{
        ConnId, Party, Waiting,
        step::{Next, Step, Work},
    },
    limits,
    model::{
        refusal::Refusal,
        registry::{Arrival, ChannelId, Match, Side},
        reply::Reply,
        request::ConsumerRequest,
        verdict::{Close, Outcome},
    },
    observe::counters::Path,
    shard::{Shard, session::Session},
};

/// A request that arrives.
pub enum Arriving<'a> {
    /// It brings a body.
    Producer(Offer<'a>),
    /// It takes one.
    Consumer(ConsumerRequest),
}

/// What follows from a match.
enum Met<'a> {
    /// The body was delivered at once. The offer, to be answered, and what the consumer does next.
    Delivered(Offer<'a>, Next),
    /// The producer's task has to do this; it sends to the consumer from now on.
    UnderWay(Work),
    /// The consumer had left before the first byte. The offer still waits for a consumer.
    ConsumerLeft(Offer<'a>),
}

/// A request arrives on `channel`: it meets its counterpart, or waits for one, or is refused.
pub fn arrive(session: &Session, channel: ChannelId, mut arriving: Arriving<'_>) -> Step {
    let Session { shard, conn } = session;
    let timeout = shard.config().timeouts.request;
    conn.wait_until.set(shard.clock.deadline_if(timeout));
    loop {
        let side = match &arriving {
            Arriving::Producer(_) => Side::Producer,
            Arriving::Consumer(_) => Side::Consumer,
        };
        let arrived = shard.registry.borrow_mut().arrive(channel, side, conn.id);
        let found = match arrived {
            Ok(Arrival::Matches(found)) => found,
            Ok(Arrival::Waits(place)) => {
                session.begin_waiting(Waiting {
                    channel,
                    place,
                    party: party_of(arriving),
                });
                return Step::WAIT;
            }
            Err(full) => return refuse_arrival(session, arriving, &Refusal::from(full)),
        };
        match meet_arriving(session, channel, &found, arriving) {
            Ok(step) => {
                shard.registry.borrow_mut().close_if_unused(channel);
                return step;
            }
            // Its counterpart had left: there may be another.
            Err(again) => arriving = again,
        }
    }
}

fn party_of(arriving: Arriving<'_>) -> Party {
    match arriving {
        Arriving::Producer(offer) => Party::Producer(offer.into_request()),
        Arriving::Consumer(want) => Party::Consumer(want),
    }
}

fn refuse_arrival(session: &Session, arriving: Arriving<'_>, refusal: &Refusal) -> Step {
    Step::Reply(match arriving {
        Arriving::Producer(offer) => {
            let unread = offer.whole_body().is_none();
            let reply = Reply::refuse(offer.persistence(), refusal).closing_if(unread);
            if let Some(rest) = offer.into_rest() {
                session.conn.inbound.keep_unread(rest);
            }
            reply
        }
        Arriving::Consumer(want) => Reply::refuse(want.persistence, refusal),
    })
}

/// Lets the request that arrives on `session` meet the counterpart that waited.
///
/// # Errors
/// The counterpart had left; the request is given back.
#[inline]
fn meet_arriving<'a>(
    session: &Session,
    channel: ChannelId,
    found: &Match<ConnId>,
    arriving: Arriving<'a>,
) -> Result<Step, Arriving<'a>> {
    let shard = &session.shard;
    match arriving {
        Arriving::Producer(offer) => {
            let Some((consumer, want)) = claim_consumer(shard, found.consumers[0]) else {
                return Err(Arriving::Producer(offer));
            };
            match meet(channel, session, offer, &consumer, want) {
                Met::Delivered(offer, next) => {
                    consumer.conn.hand(next);
                    Ok(Step::Reply(deliver(session, offer)))
                }
                Met::UnderWay(work) => Ok(Step::Next(Next::Work(work))),
                Met::ConsumerLeft(offer) => {
                    consumer.conn.hand(Next::Close(Close::Now));
                    Err(Arriving::Producer(offer))
                }
            }
        }
        Arriving::Consumer(want) => {
            let Some((producer, request)) = claim_producer(shard, found.producer) else {
                return Err(Arriving::Consumer(want));
            };
            let met = meet(channel, &producer, Offer::Kept(request), session, want);
            Ok(Step::Next(tell_producer(&producer, channel, met)))
        }
    }
}

/// Matches the waiters of `channel`, which is not busy, until an exchange takes more than one turn. After
/// many complete bodies in a row, the rest is matched in a later turn.
pub fn go_on(shard: &Rc<Shard>, channel: ChannelId) {
    for _ in 0..limits::MATCHED_AT_ONCE {
        let found = shard.registry.borrow_mut().next_match(channel);
        let Some(found) = found else {
            return shard.registry.borrow_mut().close_if_unused(channel);
        };
        meet_waiting(shard, channel, &found);
    }
    go_on_later(shard, channel);
}

/// Postpones the remaining waiters to a later turn, if there is a match among them.
pub fn go_on_later(shard: &Shard, channel: ChannelId) {
    let mut registry = shard.registry.borrow_mut();
    if registry.has_match(channel) {
        registry.begin_backlog(channel);
        shard.backlog.put(channel);
    } else {
        registry.close_if_unused(channel);
    }
}

/// The turn of a channel with a backlog has come.
pub fn go_on_with_backlog(shard: &Rc<Shard>, channel: ChannelId) {
    shard.registry.borrow_mut().end_backlog(channel);
    go_on(shard, channel);
}

/// Matches two requests that both waited.
fn meet_waiting(shard: &Rc<Shard>, channel: ChannelId, found: &Match<ConnId>) {
    let producer = claim_producer(shard, found.producer);
    let consumer = claim_consumer(shard, found.consumers[0]);
    match (producer, consumer) {
        (Some((producer, request)), Some((consumer, want))) => {
            let met = meet(channel, &producer, Offer::Kept(request), &consumer, want);
            match tell_producer(&producer, channel, met) {
                // The producer's task sends to it.
                Next::Wait if consumer.conn.outbound.is_driven() => {}
                next => consumer.conn.hand(next),
            }
        }
        (Some((producer, request)), None) => {
            wait_on(&producer, channel, Party::Producer(request));
        }
        (None, Some((consumer, want))) => wait_on(&consumer, channel, Party::Consumer(want)),
        (None, None) => {}
    }
}

/// Tells a producer that has waited what came of its match. Returns what the consumer does next.
fn tell_producer(producer: &Session, channel: ChannelId, met: Met<'_>) -> Next {
    match met {
        Met::Delivered(offer, next) => {
            producer.answer(deliver(producer, offer));
            next
        }
        Met::UnderWay(work) => {
            producer.conn.hand(Next::Work(work));
            Next::Wait
        }
        Met::ConsumerLeft(offer) => {
            let party = Party::Producer(offer.into_request());
            wait_on(producer, channel, party);
            Next::Close(Close::Now)
        }
    }
}

/// The body of `offer` is delivered: keeps the bytes received after it, and returns the producer's reply.
#[inline]
fn deliver(producer: &Session, offer: Offer<'_>) -> Reply {
    let reply = Reply::delivered(offer.persistence());
    if let Some(rest) = offer.into_rest() {
        producer.conn.inbound.keep_unread(rest);
    }
    reply
}

/// A producer and a consumer have met on `channel`, which is not busy. A body that has arrived whole
/// leaves with the consumer's head in one send, within this turn; for any other an exchange begins.
fn meet<'a>(
    channel: ChannelId,
    producer: &Session,
    offer: Offer<'a>,
    consumer: &Session,
    want: ConsumerRequest,
) -> Met<'a> {
    let mut sink = Sink::new(consumer, want, offer.head());
    let Some(body) = offer.whole_body().filter(|_| sink.shows_cut()) else {
        let exchange = Exchange::begin(channel, producer, offer.into_request(), sink, go_on);
        return Met::UnderWay(exchange.into_work());
    };
    let bytes = body.len() as u64;
    let started = sink.send_start(&Start {
        head: offer.head(),
        head_bytes: offer.head_bytes(),
        payload: body,
        last: true,
        more: false,
    });
    match started {
        Err(_) => Met::ConsumerLeft(offer),
        Ok(Started::All) => {
            count_delivery(producer, consumer, bytes);
            Met::Delivered(offer, sink.finish())
        }
        Ok(started) => {
            let mut exchange =
                Exchange::begin(channel, producer, offer.into_request(), sink, go_on);
            if started == Started::Part {
                exchange.started();
            }
            Met::UnderWay(exchange.into_work())
        }
    }
}

/// Counts a body of `bytes` that was delivered within one turn, so that it took no time that the clock
/// could show.
fn count_delivery(producer: &Session, consumer: &Session, bytes: u64) {
    let counters = &producer.shard.counters;
    counters.moved(Path::WithHead, bytes);
    matched(producer, consumer);
    counters.exchange_ended(Outcome::Delivered, 0);
    producer.conn.line.moved(bytes);
    consumer.conn.line.moved(bytes);
    producer.conn.inbound.expect_large(false);
}
