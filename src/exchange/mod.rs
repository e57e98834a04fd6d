//! One exchange: from the match to both replies.
//!
//! The producer's task drives it and owns both sockets meanwhile. Whatever goes wrong ends in
//! `Exchange::conclude`, the one place that decides what each side hears:
//!
//! ```text
//! match ─▶ 100 Continue ─▶ first payload ─▶ consumer's head and first payload ─▶ rest ─▶ 200
//!          (if expected)   └──── nothing is lost yet: who stays waits on ────┘    └─ a cut shows ─┘
//! ```
//!
//! A body that is in hand whole is sent within the turn that makes the match: [`meet`].

pub mod transfer;
pub mod waiting;

use std::rc::Rc;

use bytes::Bytes;

use crate::{
    conn::{Close, Conn, Party, Step, Stop},
    exchange::transfer::{Broken, Transfer},
    http::{
        head::RequestHead,
        reply::{self, Framing, Persistence},
    },
    io::{clock::Reading, socket::Sent},
    model::{
        refusal::{Refusal, Status},
        registry::{ChannelId, Side},
        request::{ConsumerRequest, ProducerRequest},
    },
    observe::{
        access,
        counters::{Outcome, Path},
    },
    shard::{
        Shard,
        session::{self, After},
    },
};

/// What a producer brings to a match.
pub enum Offer<'a> {
    /// A request that arrives with its whole body, still in the shard's buffer.
    Arriving {
        /// Its head.
        head: &'a RequestHead,
        /// Head, body and what was read behind it.
        bytes: &'a [u8],
        /// Where the body ends.
        end: usize,
    },
    /// A request that has waited, or whose body is not all there.
    Kept(Box<ProducerRequest>),
}

impl Offer<'_> {
    fn head(&self) -> &RequestHead {
        match self {
            Self::Arriving { head, .. } => head,
            Self::Kept(request) => &request.head,
        }
    }

    /// The bytes that the head's spans point into.
    fn head_bytes(&self) -> &[u8] {
        match self {
            Self::Arriving { bytes, .. } => bytes,
            Self::Kept(request) => request.head_bytes(),
        }
    }

    fn whole_body(&self) -> Option<&[u8]> {
        match self {
            Self::Arriving { head, bytes, end } => Some(&bytes[usize::from(head.head_bytes)..*end]),
            Self::Kept(request) => request.is_whole().then(|| request.payload()),
        }
    }

    /// The request as one that can outlive this turn.
    #[must_use]
    pub fn into_request(self) -> Box<ProducerRequest> {
        match self {
            Self::Arriving { head, bytes, .. } => {
                let request = ProducerRequest::new(head, bytes);
                Box::new(request.expect("a declared length has no framing to break"))
            }
            Self::Kept(request) => request,
        }
    }
}

/// What came of a match.
pub enum Met<'a> {
    /// The body was delivered at once. The offer, to be answered, and the consumer's next step.
    Delivered(Offer<'a>, Step),
    /// The consumer was gone and was sent nothing. The offer stands.
    ConsumerLeft(Offer<'a>),
    /// The producer's task has to do this.
    UnderWay(Step),
}

/// A producer and a consumer have met on `channel`, on which no exchange is under way.
pub fn meet<'a>(
    shard: &Rc<Shard>,
    channel: ChannelId,
    producer: &Rc<Conn>,
    offer: Offer<'a>,
    consumer: &Rc<Conn>,
    wanted: ConsumerRequest,
) -> Met<'a> {
    let reply = Reply::choose(shard, offer.head(), wanted);
    let Some(body) = offer.whole_body().filter(|_| reply.shows_cut(consumer)) else {
        let exchange = Exchange::begin(
            shard,
            channel,
            producer,
            offer.into_request(),
            consumer,
            wanted,
        );
        return Met::UnderWay(exchange.into_step());
    };
    let mut out = shard.out.borrow_mut();
    reply.start(
        &mut out,
        shard,
        offer.head(),
        offer.head_bytes(),
        body,
        true,
    );
    if reply.guard(consumer, true).is_err() {
        return Met::ConsumerLeft(offer);
    }
    match consumer.socket.send(&out, false) {
        Sent::PeerGone => Met::ConsumerLeft(offer),
        Sent::Bytes(sent) if sent == out.len() => {
            let _ = reply.guard(consumer, false);
            shard.counters.replied(Status::Ok);
            shard.counters.moved(Path::WithHead, body.len() as u64);
            matched(shard, producer, consumer);
            // Within one turn, so it took no time that the clock could show.
            shard.counters.exchange_ended(Outcome::Delivered, 0);
            producer.line.moved(body.len() as u64);
            session::note(shard, consumer, Status::Ok, access::DELIVERED);
            consumer.line.moved(body.len() as u64);
            producer.bulky.set(false);
            let next = session::finish(shard, consumer, reply.after());
            Met::Delivered(offer, next)
        }
        Sent::Bytes(sent) => {
            let mut exchange = Exchange::begin(
                shard,
                channel,
                producer,
                offer.into_request(),
                consumer,
                wanted,
            );
            if sent > 0 {
                exchange.started(reply, Bytes::copy_from_slice(&out[sent..]));
            } else {
                let _ = reply.guard(consumer, false);
            }
            Met::UnderWay(exchange.into_step())
        }
    }
}

/// Measures how long both sides have waited for this match; returns when it was.
fn matched(shard: &Shard, producer: &Conn, consumer: &Conn) -> Reading {
    let now = shard.clock.read();
    for (conn, side) in [(producer, Side::Producer), (consumer, Side::Consumer)] {
        let waited = conn.arrived.get().micros_until(now);
        shard.counters.matched(side, waited);
        conn.line.matched(now);
    }
    now
}

/// How the consumer's reply is framed and what it says about the connection.
#[derive(Clone, Copy)]
struct Reply {
    framing: Framing,
    persistence: Persistence,
}

impl Reply {
    fn choose(shard: &Shard, head: &RequestHead, wanted: ConsumerRequest) -> Self {
        Self {
            framing: Framing::choose(head.body, wanted.version),
            persistence: session::persistence(shard, wanted.persistence),
        }
    }

    /// Writes the head, the payload that is in hand, and what ends the body if that is all of it.
    fn start(
        self,
        out: &mut Vec<u8>,
        shard: &Shard,
        head: &RequestHead,
        head_bytes: &[u8],
        payload: &[u8],
        whole: bool,
    ) {
        out.clear();
        shard.clock.with_date(|date| {
            reply::consumer_head(out, date, self.framing, self.persistence, head, head_bytes);
        });
        reply::payload(out, self.framing, payload, whole);
    }

    fn after(self) -> After {
        match self.framing {
            Framing::Close => After::Close(Close::Linger),
            Framing::Length(_) | Framing::Chunked => After::of(self.persistence),
        }
    }

    /// Whether `consumer` could tell a cut body from a whole one.
    fn shows_cut(self, consumer: &Conn) -> bool {
        self.framing != Framing::Close || consumer.socket.can_reset()
    }

    /// From before its first byte until its last the body is `open`: whatever ends the connection then,
    /// be it the end of this process, shows that it was cut.
    ///
    /// # Errors
    /// The kernel refused: the consumer's connection is of no use.
    fn guard(self, consumer: &Conn, open: bool) -> Result<(), Broken> {
        if self.framing == Framing::Close {
            let guarded = consumer.socket.reset_on_close(open);
            return guarded.map_err(|_| Broken::ConsumerLeft);
        }
        Ok(())
    }

    /// How the consumer's connection ends if the body is cut: where the framing shows the cut the
    /// end of the stream will do, so that earlier replies arrive whole.
    fn cut(self) -> Close {
        match self.framing {
            Framing::Close => Close::Now,
            Framing::Length(_) | Framing::Chunked => Close::Linger,
        }
    }
}

/// An exchange that takes more than one turn.
struct Exchange {
    shard: Rc<Shard>,
    wanted: ConsumerRequest,
    /// When the match was.
    began: Reading,
    transfer: Transfer,
    /// Chosen when the consumer's reply starts; until then nothing is lost if a side leaves.
    reply: Option<Reply>,
    /// Last, so that it is let go of when all else is decided.
    hold: Hold,
}

/// The channel, held for one exchange. Letting go ends the exchange and starts the next one.
struct Hold {
    shard: Rc<Shard>,
    channel: ChannelId,
    consumer: Rc<Conn>,
    /// How the consumer's connection ends if the producer's task ends without a conclusion.
    cut: Close,
}

impl Drop for Hold {
    fn drop(&mut self) {
        // Only a panic leaves the consumer without a word; it sees the cut.
        if self.consumer.is_consuming() {
            self.consumer.line.panicked();
            self.consumer.hand(Step::Close(self.cut));
        }
        self.shard.registry.borrow_mut().end_exchange(self.channel);
        begin_next(&self.shard, self.channel);
    }
}

/// Starts the next exchange on `channel` if both sides wait and none is under way.
fn begin_next(shard: &Rc<Shard>, channel: ChannelId) {
    loop {
        let matched = shard.registry.borrow_mut().next_match(channel);
        let Some((producer, consumer)) = matched else {
            return shard.registry.borrow_mut().close_if_unused(channel);
        };
        let (producer, consumer) = (shard.conn(producer), shard.conn(consumer));
        match (waiting::claim(&producer), waiting::claim(&consumer)) {
            (Some(Party::Producer(request)), Some(Party::Consumer(wanted))) => {
                let exchange =
                    Exchange::begin(shard, channel, &producer, request, &consumer, wanted);
                return producer.hand(exchange.into_step());
            }
            (Some(stays), None) => waiting::rejoin(shard, channel, &producer, stays),
            (None, Some(stays)) => waiting::rejoin(shard, channel, &consumer, stays),
            _ => {}
        }
    }
}

impl Exchange {
    /// Marks the exchange as under way. The producer's task is to drive it: `into_step`.
    fn begin(
        shard: &Rc<Shard>,
        channel: ChannelId,
        producer: &Rc<Conn>,
        request: Box<ProducerRequest>,
        consumer: &Rc<Conn>,
        wanted: ConsumerRequest,
    ) -> Self {
        shard
            .registry
            .borrow_mut()
            .begin_exchange(channel, producer.id);
        consumer.begin_consuming(producer);
        // What was told to the producer before does not concern this exchange.
        let _ = producer.take_stop();
        let hold = Hold {
            shard: Rc::clone(shard),
            channel,
            consumer: Rc::clone(consumer),
            cut: Close::Now,
        };
        Self {
            shard: Rc::clone(shard),
            wanted,
            began: matched(shard, producer, consumer),
            transfer: Transfer::new(shard, producer, request, consumer),
            reply: None,
            hold,
        }
    }

    fn into_step(self) -> Step {
        Step::Work(Box::pin(self.drive()))
    }

    async fn drive(mut self) -> Step {
        let result = self.run().await;
        self.transfer.uncork();
        self.conclude(result)
    }

    async fn run(&mut self) -> Result<(), Broken> {
        let reply = match self.reply {
            Some(reply) => reply,
            None => {
                transfer::check_stop(&self.transfer.producer)?;
                self.check_cut_shows()?;
                self.transfer.first_payload().await?;
                self.start_reply().await?
            }
        };
        self.transfer.run(reply.framing).await
    }

    /// A truncated body must never look whole: better none than one whose cut would not show.
    fn check_cut_shows(&self) -> Result<(), Broken> {
        let reply = Reply::choose(&self.shard, &self.transfer.request.head, self.wanted);
        if reply.shows_cut(&self.transfer.consumer) {
            Ok(())
        } else {
            Err(Broken::CutUnseen)
        }
    }

    /// Sends the consumer's head with the payload in hand.
    async fn start_reply(&mut self) -> Result<Reply, Broken> {
        loop {
            let reply = Reply::choose(&self.shard, &self.transfer.request.head, self.wanted);
            if let Some(unsent) = self.send_start(reply)? {
                self.started(reply, unsent);
                return Ok(reply);
            }
            self.transfer.consumer_writable().await?;
        }
    }

    /// Tries to send the start of the reply. What is left of it, or `None` if nothing could be sent.
    fn send_start(&mut self, reply: Reply) -> Result<Option<Bytes>, Broken> {
        let mut out = self.shard.out.borrow_mut();
        let request = &self.transfer.request;
        let whole = request.is_whole();
        reply.start(
            &mut out,
            &self.shard,
            &request.head,
            request.head_bytes(),
            request.payload(),
            whole,
        );
        reply.guard(&self.transfer.consumer, true)?;
        match self.transfer.send_start(&out) {
            Sent::PeerGone => Err(Broken::ConsumerLeft),
            Sent::Bytes(0) => {
                let _ = reply.guard(&self.transfer.consumer, false);
                Ok(None)
            }
            Sent::Bytes(sent) => Ok(Some(Bytes::copy_from_slice(&out[sent..]))),
        }
    }

    /// The consumer was sent the beginning of `reply` and of the payload in hand; `unsent` is left.
    fn started(&mut self, reply: Reply, unsent: Bytes) {
        let bytes = self.transfer.request.payload().len() as u64;
        self.transfer.count(Path::WithHead, bytes);
        let Transfer {
            request, consumer, ..
        } = &mut self.transfer;
        self.shard.counters.replied(Status::Ok);
        session::note(&self.shard, consumer, Status::Ok, access::DELIVERED);
        request.drop_payload();
        consumer.mark_started();
        self.transfer.unsent = unsent;
        self.transfer.progressed();
        self.hold.cut = reply.cut();
        self.reply = Some(reply);
    }

    /// Decides what each side hears and who waits on.
    fn conclude(self, result: Result<(), Broken>) -> Step {
        match (result, self.reply) {
            (Ok(()), Some(reply)) => self.delivered(reply),
            (Ok(()), None) => unreachable!("an exchange cannot end before it starts"),
            (Err(broken), None) => self.broken_before_start(broken),
            (Err(broken), Some(reply)) => self.broken_midway(broken, reply),
        }
    }

    /// Counts how the exchange ended, and says so to the access log.
    fn ended(&self, outcome: Outcome) {
        let micros = self.began.micros_until(self.shard.clock.read());
        self.shard.counters.exchange_ended(outcome, micros);
        let Transfer {
            producer,
            consumer,
            moved,
            ..
        } = &self.transfer;
        producer.line.moved(*moved);
        consumer.line.moved(*moved);
    }

    fn delivered(mut self, reply: Reply) -> Step {
        self.ended(Outcome::Delivered);
        let Transfer {
            producer,
            consumer,
            request,
            ..
        } = &mut self.transfer;
        let _ = reply.guard(consumer, false);
        consumer.hand(session::finish(&self.shard, consumer, reply.after()));
        producer.keep_unread(request.take_rest());
        session::delivered(&self.shard, producer, Persistence::of(&request.head))
    }

    /// No byte was sent on: who stays waits on, in front of its queue.
    fn broken_before_start(self, broken: Broken) -> Step {
        // A deletion counts whatever else happened: nobody waits on.
        let broken = match self.transfer.producer.take_stop() {
            Some(Stop::Deleted) => Broken::Stopped(Stop::Deleted),
            _ => broken,
        };
        let (outcome, refusal) = broken.meaning(false);
        self.ended(outcome);
        let Transfer {
            producer,
            consumer,
            mut request,
            ..
        } = self.transfer;
        let channel = self.hold.channel;
        match broken {
            Broken::ConsumerLeft | Broken::ConsumerStalled => {
                if broken == Broken::ConsumerStalled {
                    consumer.line.ended(outcome.label());
                }
                consumer.hand(Step::Close(Close::behind(consumer.socket.peer())));
                waiting::rejoin(&self.shard, channel, &producer, Party::Producer(request));
                return Step::Wait;
            }
            Broken::CutUnseen => {
                let (asked, refusal) = (self.wanted.persistence, &Refusal::CUT_UNSEEN);
                consumer.hand(session::refuse(
                    &self.shard,
                    &consumer,
                    asked,
                    false,
                    refusal,
                ));
                waiting::rejoin(&self.shard, channel, &producer, Party::Producer(request));
                return Step::Wait;
            }
            Broken::Stopped(Stop::Deleted | Stop::Drained) => {
                let asked = self.wanted.persistence;
                consumer.hand(session::refuse(
                    &self.shard,
                    &consumer,
                    asked,
                    false,
                    &refusal,
                ));
            }
            _ => waiting::rejoin(
                &self.shard,
                channel,
                &consumer,
                Party::Consumer(self.wanted),
            ),
        }
        waiting::refuse_producer(&self.shard, &producer, &mut request, &refusal)
    }

    /// The consumer was sent a part: it sees the cut, and the producer hears why.
    fn broken_midway(mut self, broken: Broken, reply: Reply) -> Step {
        let (outcome, refusal) = broken.meaning(true);
        self.ended(outcome);
        self.transfer.consumer.line.ended(outcome.label());
        let Transfer {
            producer,
            consumer,
            request,
            ..
        } = &mut self.transfer;
        consumer.hand(Step::Close(reply.cut()));
        waiting::refuse_producer(&self.shard, producer, request, &refusal)
    }
}
