//! Matching, waiting and what comes of an exchange: `src/exchange/matching.rs`, `waiting.rs` and the
//! end of `mod.rs`, step by step, without sockets.

use std::rc::Rc;

use httpipe::testing::http::encode::Framing;
use httpipe::testing::limits;
use httpipe::testing::model::{
    refusal::Refusal,
    registry::{Arrival, ChannelId, Match, Side},
    verdict::{Cause, Close, Fate, Stage, rule},
};

use super::client::Peer;
use super::conn::{Conn, Id, Next};
use super::exchange::{Exchange, Flow, Started};
use super::ledger::End;
use super::seen::Event;
use super::server::Server;
use super::{NAMES, hash};

/// What follows from a match.
enum Met {
    /// The producer's offer stands.
    ConsumerGone,
    /// The consumer's next step.
    Delivered(Next),
    UnderWay(Exchange),
}

impl Server {
    pub fn begin_request(&mut self, conn: &Rc<Conn>) -> Next {
        if self.draining {
            self.seen.saw(Event::RefusedInDrain);
            return self.refuse(conn, &Refusal::DRAINING);
        }
        let (namespace, channel) = NAMES[conn.name()];
        match self.registry.open(hash(conn.name()), namespace, channel) {
            Ok(channel) => self.arrive_on(conn, channel),
            Err(full) => {
                self.seen.saw(Event::RefusedFull);
                self.refuse(conn, &Refusal::from(full))
            }
        }
    }

    fn arrive_on(&mut self, conn: &Rc<Conn>, channel: ChannelId) -> Next {
        loop {
            match self.registry.arrive(channel, conn.side(), conn.id) {
                Ok(Arrival::Matches(found)) => {
                    self.matched(conn.name(), &found);
                    self.seen.saw(Event::MatchedOnArrival);
                    if let Some(next) = self.meet_arriving(conn, channel, &found) {
                        self.registry.close_if_unused(channel);
                        return next;
                    }
                    self.ledger.arrives_again(conn.id);
                }
                Ok(Arrival::Waits(place)) => {
                    self.seen.saw(Event::Waited);
                    if self.backlog.iter().any(|(name, _)| *name == conn.name()) {
                        self.seen.saw(Event::WaitedBehindBacklog);
                    }
                    self.ledger.waits(conn.id);
                    conn.begin_waiting(channel, place);
                    return Next::Wait;
                }
                Err(full) => {
                    self.seen.saw(Event::RefusedFull);
                    return self.refuse(conn, &Refusal::from(full));
                }
            }
        }
    }

    fn matched(&mut self, name: usize, found: &Match<Id>) {
        if self.ledger.matched(name, found) {
            self.seen.saw(Event::MatchedAgain);
        }
    }

    /// `None`: the counterpart had left.
    fn meet_arriving(
        &mut self,
        conn: &Rc<Conn>,
        channel: ChannelId,
        found: &Match<Id>,
    ) -> Option<Next> {
        if conn.side() == Side::Producer {
            let Some(consumer) = self.claim(found.consumers[0]) else {
                self.seen.saw(Event::ConsumerGoneAtMatch);
                return None;
            };
            match self.meet(channel, conn, &consumer) {
                Met::ConsumerGone => {
                    consumer.hand(Next::Close);
                    None
                }
                Met::Delivered(next) => {
                    consumer.hand(next);
                    Some(self.send(conn, 200, false))
                }
                Met::UnderWay(exchange) => Some(Next::Work(exchange)),
            }
        } else {
            let Some(producer) = self.claim(found.producer) else {
                self.seen.saw(Event::ProducerGoneAtMatch);
                return None;
            };
            match self.meet(channel, &producer, conn) {
                Met::ConsumerGone => {
                    self.wait_on(&producer, channel);
                    Some(Next::Close)
                }
                Met::Delivered(next) => {
                    let answered = self.send(&producer, 200, false);
                    producer.hand(answered);
                    Some(next)
                }
                Met::UnderWay(exchange) => {
                    producer.hand(Next::Work(exchange));
                    Some(Next::Wait)
                }
            }
        }
    }

    /// Matches those who wait on both sides of a channel that is not busy.
    pub fn go_on(&mut self, name: usize, channel: ChannelId) {
        for _ in 0..limits::MATCHED_AT_ONCE {
            let Some(found) = self.registry.next_match(channel) else {
                return self.registry.close_if_unused(channel);
            };
            self.matched(name, &found);
            self.seen.saw(Event::MatchedWaiting);
            self.meet_waiting(channel, &found);
        }
        if self.registry.has_match(channel) {
            self.registry.begin_backlog(channel);
            self.backlog.push_back((name, channel));
            self.seen.saw(Event::BacklogBegun);
        } else {
            self.registry.close_if_unused(channel);
        }
    }

    pub fn go_on_with_backlog(&mut self) {
        if let Some((name, channel)) = self.backlog.pop_front() {
            self.registry.end_backlog(channel);
            self.go_on(name, channel);
            if self.backlog.back() == Some(&(name, channel)) {
                self.seen.saw(Event::BacklogWentOn);
            }
        }
    }

    fn meet_waiting(&mut self, channel: ChannelId, found: &Match<Id>) {
        let producer = self.claim(found.producer);
        let consumer = self.claim(found.consumers[0]);
        match (producer, consumer) {
            (Some(producer), Some(consumer)) => match self.meet(channel, &producer, &consumer) {
                Met::ConsumerGone => {
                    consumer.hand(Next::Close);
                    self.wait_on(&producer, channel);
                }
                Met::Delivered(next) => {
                    consumer.hand(next);
                    let next = self.send(&producer, 200, false);
                    producer.hand(next);
                }
                Met::UnderWay(exchange) => producer.hand(Next::Work(exchange)),
            },
            (Some(producer), None) => {
                self.seen.saw(Event::ConsumerGoneAtMatch);
                self.wait_on(&producer, channel);
            }
            (None, Some(consumer)) => {
                self.seen.saw(Event::ProducerGoneAtMatch);
                self.wait_on(&consumer, channel);
            }
            (None, None) => self.seen.saw(Event::BothGoneAtMatch),
        }
    }

    /// Takes the request of a connection that was just taken out of its queue, unless its client left.
    fn claim(&mut self, id: Id) -> Option<Rc<Conn>> {
        let conn = Rc::clone(&self.conns[id as usize]);
        if conn.take_waiting().is_none() {
            panic!("{id} is in a queue and does not wait");
        }
        if conn.client.has_left() {
            self.ledger.ended(&conn, End::Closed);
            conn.hand(Next::Close);
            return None;
        }
        Some(conn)
    }

    /// A body that is in hand whole leaves within this turn; for any other an exchange begins.
    fn meet(&mut self, channel: ChannelId, producer: &Rc<Conn>, consumer: &Rc<Conn>) -> Met {
        let name = producer.name();
        self.ledger.meets(name, producer.id, consumer.id);
        let flow = Flow::new(producer, consumer);
        if !producer.request.borrow().is_whole || !flow.shows_cut() {
            return Met::UnderWay(self.begin(channel, flow));
        }
        match flow.send_start() {
            Err(cause) => {
                self.seen.saw(Event::GoneAtStart);
                self.ledger.gone_at_start(name);
                assert_eq!(cause, Cause::ConsumerLeft);
                Met::ConsumerGone
            }
            Ok(Started::All) => {
                self.seen.saw(Event::DeliveredAtOnce);
                self.ledger.ended(consumer, End::Whole);
                self.ledger.parts(name, Stage::Moving, None);
                Met::Delivered(self.finish(consumer, flow.framing == Framing::Close))
            }
            Ok(Started::Part) => {
                self.seen.saw(Event::StartedInPart);
                let exchange = self.begin(channel, flow);
                exchange.flow.started();
                Met::UnderWay(exchange)
            }
            Ok(Started::Nothing) => {
                self.seen.saw(Event::StartedNothing);
                Met::UnderWay(self.begin(channel, flow))
            }
        }
    }

    fn begin(&mut self, channel: ChannelId, flow: Rc<Flow>) -> Exchange {
        let producer = &flow.producer;
        self.registry.begin_exchange(channel, producer.id);
        flow.consumer.begin_driven(producer);
        producer.clear_stop();
        producer.expired.set(false);
        let run = Box::pin(Rc::clone(&flow).run());
        let name = producer.name();
        Exchange {
            channel,
            name,
            flow,
            run,
        }
    }

    pub fn delivered(&mut self, exchange: &Exchange) -> Next {
        let Flow {
            producer,
            consumer,
            framing,
            stage,
            ..
        } = &*exchange.flow;
        self.saw_delivery(producer, consumer);
        self.ledger.ended(consumer, End::Whole);
        let next = self.finish(consumer, *framing == Framing::Close);
        consumer.outbound.end_driven();
        consumer.hand(next);
        self.end(exchange, stage.get(), None);
        self.send(producer, 200, false)
    }

    fn saw_delivery(&self, producer: &Conn, consumer: &Conn) {
        self.seen.saw(Event::DeliveredInTime);
        if consumer.outbound.is_half_closed() {
            self.seen.saw(Event::DeliveredToHalfClosed);
        }
        if producer.client.peer.get() == Peer::HalfClosed {
            self.seen.saw(Event::DeliveredFromHalfClosed);
        }
        assert!(!producer.has_stop(), "delivered, though it was to stop");
    }

    /// Applies what is ruled on `cause`.
    pub fn conclude(&mut self, exchange: &Exchange, cause: Cause) -> Next {
        let Flow {
            producer,
            consumer,
            framing,
            stage,
            ..
        } = &*exchange.flow;
        let stage = stage.get();
        let cause = match (stage, producer.take_stop()) {
            (Stage::Matched, Some(Cause::Deleted)) => Cause::Deleted,
            _ => cause,
        };
        assert!(self.is_true(exchange, cause), "{cause:?} is not true");
        self.seen.ruled(stage, cause);
        let ruling = rule(cause, stage, *framing);
        consumer.outbound.end_driven();
        self.apply_to_consumer(exchange, ruling.consumer);
        let refusal = match ruling.producer {
            Fate::WaitsOn => {
                self.wait_on(producer, exchange.channel);
                None
            }
            Fate::Refused(refusal) => Some(refusal),
            fate => unreachable!("a producer's {fate:?}"),
        };
        self.end(exchange, stage, Some(cause));
        refusal.map_or(Next::Wait, |refusal| self.refuse(producer, &refusal))
    }

    fn apply_to_consumer(&mut self, exchange: &Exchange, fate: Fate) {
        let flow = &exchange.flow;
        let consumer = &flow.consumer;
        match fate {
            Fate::WaitsOn => self.wait_on(consumer, exchange.channel),
            Fate::Refused(refusal) => {
                let next = self.refuse(consumer, &refusal);
                consumer.hand(next);
            }
            Fate::Left => {
                assert!(consumer.client.has_left());
                self.ledger.ended(consumer, End::Closed);
                consumer.hand(Next::Close);
            }
            Fate::Cut(close) => {
                let started = !consumer.client.got.borrow().is_empty();
                let by_reset = close == Close::Now;
                let needs_reset = flow.framing == Framing::Close;
                // Nobody takes what is there for the whole: the framing or a reset tells.
                assert!(!started || by_reset == needs_reset, "{:?}", flow.framing);
                assert!(!started || flow.shows_cut());
                self.ledger
                    .ended(consumer, if started { End::Cut } else { End::Closed });
                consumer.hand(Next::Close);
            }
        }
    }

    /// The task that drove `exchange` panicked: the consumer is cut, and the channel goes on.
    pub fn after_panic(&mut self, exchange: &Exchange) {
        let flow = &exchange.flow;
        let stage = flow.stage.get();
        self.seen.ruled(stage, Cause::Panicked);
        let ruling = rule(Cause::Panicked, stage, flow.framing);
        assert_eq!(ruling.producer, Fate::Left);
        flow.consumer.outbound.end_driven();
        self.apply_to_consumer(exchange, ruling.consumer);
        self.end(exchange, stage, Some(Cause::Panicked));
    }

    fn end(&mut self, exchange: &Exchange, stage: Stage, cause: Option<Cause>) {
        self.registry.end_exchange(exchange.channel);
        self.ledger.parts(exchange.name, stage, cause);
        self.go_on(exchange.name, exchange.channel);
    }

    /// Whether `cause` is what happened.
    fn is_true(&self, exchange: &Exchange, cause: Cause) -> bool {
        let flow = &exchange.flow;
        let (producer, consumer) = (&flow.producer, &flow.consumer.client);
        match cause {
            Cause::ProducerLeft => producer.client.has_left(),
            Cause::BadBody(_) => producer.client.broke.get(),
            Cause::ConsumerLeft => consumer.has_left(),
            Cause::CutUnseen => !flow.shows_cut(),
            Cause::Deleted => self.ledger.meetings[&exchange.name].deleted.is_some(),
            Cause::Expired | Cause::ConsumerStalled => producer.expired.get(),
            Cause::Drained => self.drained,
            Cause::Panicked => false,
        }
    }

    /// It was matched, and nothing moved: it waits on, before all others of its side.
    fn wait_on(&mut self, conn: &Rc<Conn>, channel: ChannelId) {
        let place = self.registry.give_back(channel, conn.side(), conn.id);
        self.ledger.waits_on(conn);
        conn.begin_waiting(channel, place);
        conn.watch_readability_again();
        self.seen.saw(match conn.side() {
            Side::Producer => Event::ProducerWaitedOn,
            Side::Consumer => Event::ConsumerWaitedOn,
        });
        if self.draining {
            self.seen.saw(Event::WaitedOnInDrain);
        }
        if conn.side() == Side::Consumer && conn.client.has_left() {
            self.seen.saw(Event::WaitedOnThoughLeft);
        }
    }
}
