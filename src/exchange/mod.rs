//! One exchange: from the match to both replies.
//!
//! The producer's task drives it and owns both sockets meanwhile. Every failure is ruled on by
//! [`rule`]; [`Exchange::conclude`] applies the ruling.
//!
//! ```text
//! match ─▶ 100 Continue ─▶ first payload ─▶ consumer's head and first payload ─▶ rest ─▶ 200
//!          (if expected)   └──── nothing is lost yet: who stays waits on ────┘    └─ a cut shows ─┘
//! ```

mod copy;
pub mod matching;
pub mod offer;
pub mod sink;
pub mod source;
mod splice;
pub mod waiting;

use std::{cell::Cell, rc::Rc, time::Duration};

use smallvec::{SmallVec, smallvec};

use crate::{
    conn::{
        Party,
        deadline::Due,
        outbox::PeerGone,
        step::{Next, Step, Work, close_behind},
    },
    http::reply::Persistence,
    io::{
        clock::{Moment, Reading},
        pipe::Emptied,
    },
    limits,
    model::{
        registry::{ChannelId, Side},
        reply::Reply,
        request::ProducerRequest,
        verdict::{Cause, Fate, Outcome, Stage, rule},
    },
    observe::counters::Path,
    shard::{Shard, session::Session},
};

use self::{
    sink::{Sink, Start, Started},
    source::Source,
};

/// An exchange that takes more than one turn.
pub struct Exchange {
    /// The producer.
    session: Session,
    source: Source,
    sinks: SmallVec<[Sink; 1]>,
    stage: Stage,
    /// Bytes of payload that were sent on, or are on their way.
    moved: u64,
    /// What the consumers had taken when `--idle-timeout` was over, if nothing moved since.
    taken: Cell<Option<u64>>,
    /// When `--idle-timeout` is over.
    idle_until: Cell<Moment>,
    /// What a pipe was emptied of and the consumer has not taken.
    emptied: Option<Emptied>,
    /// Declared last so that it is dropped last.
    guard: ChannelGuard,
}

/// Keeps the channel busy for one exchange. Dropping it ends the exchange and starts the next one.
struct ChannelGuard {
    shard: Rc<Shard>,
    channel: ChannelId,
    /// When the match was.
    began: Reading,
    go_on: GoOn,
}

/// Matches the waiters of a channel: [`matching::go_on`].
type GoOn = fn(&Rc<Shard>, ChannelId);

/// What moves the body next; decided once a round.
enum Plan {
    /// All payload that is known to follow, through the pipe.
    Splice,
    /// At most this many bytes, through the shard's buffer.
    Copy(usize),
    /// Nothing: the body is whole.
    Done,
}

impl Drop for ChannelGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.count_end(Outcome::Panicked);
        }
        self.shard.registry.borrow_mut().end_exchange(self.channel);
        (self.go_on)(&self.shard, self.channel);
    }
}

impl ChannelGuard {
    /// Counts how the exchange ended.
    fn count_end(&self, outcome: Outcome) {
        let micros = self.began.micros_until(self.shard.clock.read());
        self.shard.counters.exchange_ended(outcome, micros);
    }
}

impl Exchange {
    /// Marks the exchange as under way. The producer's task is to drive it: [`Self::into_work`].
    /// `go_on` is called when it is over. Inlined, because it is moved otherwise.
    #[inline(always)]
    fn begin(
        channel: ChannelId,
        producer: &Session,
        request: Box<ProducerRequest>,
        sink: Sink,
        go_on: GoOn,
    ) -> Self {
        let Session { shard, conn } = producer;
        shard.registry.borrow_mut().begin_exchange(channel, conn.id);
        sink.session.conn.begin_driven(conn);
        // What stopped the producer's task before does not concern this exchange.
        conn.signal.clear_stop();
        let exchange = Self {
            session: producer.clone(),
            source: Source::new(shard, conn, request),
            stage: Stage::Matched,
            moved: 0,
            taken: Cell::new(None),
            idle_until: Cell::new(Moment::NEVER),
            emptied: None,
            guard: ChannelGuard {
                shard: Rc::clone(shard),
                channel,
                began: matched(producer, &sink.session),
                go_on,
            },
            sinks: smallvec![sink],
        };
        exchange.progressed();
        exchange
    }

    /// The exchange as work of its producer's task. A block, because an `async fn` that takes `self` keeps
    /// room for it twice and moves it.
    #[inline(always)]
    fn into_work(mut self) -> Work {
        Box::pin(async move {
            let result = self.run().await;
            self.uncork();
            // Reply before the channel matches the requests that wait for the end of this exchange.
            Step::Next(match result {
                Ok(()) => {
                    let delivered = self.delivered();
                    self.session.settle(delivered)
                }
                Err(cause) => {
                    let session = self.session.clone();
                    let (step, guard) = self.conclude(cause);
                    let next = session.settle(step);
                    drop(guard);
                    next
                }
            })
        })
    }

    async fn run(&mut self) -> Result<(), Cause> {
        // A part of the start may be sent already: a stop may have come before this task's first turn.
        self.source.conn.check_stop()?;
        if self.stage == Stage::Matched {
            if !self.sinks.iter().all(Sink::shows_cut) {
                return Err(Cause::CutUnseen);
            }
            self.source.first_payload(&self.session).await?;
            self.progressed();
            self.start().await?;
        }
        loop {
            self.send_unsent().await?;
            match self.plan() {
                Plan::Splice => self.splice().await?,
                Plan::Copy(bytes) => self.copy(bytes).await?,
                Plan::Done => return Ok(()),
            }
        }
    }

    fn plan(&self) -> Plan {
        if self.splices() {
            Plan::Splice
        } else if self.source.request.is_whole() {
            Plan::Done
        } else {
            let sink = &self.sinks[0];
            Plan::Copy(self.source.copy_bytes(|| sink.room()))
        }
    }

    /// Whether the payload that is known to follow is spliced.
    fn splices(&self) -> bool {
        let paced = || self.sinks[0].is_paced();
        self.source.splices(&self.session.shard.pipes, paced)
    }

    /// The one consumer.
    fn sink(&mut self) -> &mut Sink {
        &mut self.sinks[0]
    }

    /// Sends the consumer's head with the payload in hand.
    async fn start(&mut self) -> Result<(), Cause> {
        loop {
            let more = self.splices();
            let request = &self.source.request;
            let start = Start {
                head: &request.head,
                head_bytes: request.head_bytes(),
                payload: request.payload(),
                last: request.is_whole(),
                more,
            };
            match self.sinks[0].send_start(&start)? {
                Started::All | Started::Part => {
                    self.started();
                    return Ok(());
                }
                Started::Nothing => self.writable().await?,
            }
        }
    }

    /// The consumer was sent the beginning of its reply; the payload in hand is on its way.
    fn started(&mut self) {
        let bytes = self.source.request.payload().len() as u64;
        self.count(Path::WithHead, bytes);
        self.source.request.drop_payload();
        self.sink().session.conn.outbound.mark_started();
        self.stage = Stage::Moving;
        self.progressed();
    }

    /// Counts payload that moves on by `path`.
    fn count(&mut self, path: Path, bytes: u64) {
        self.moved += bytes;
        if self.moved >= limits::BULK_BYTES {
            self.sinks.iter_mut().for_each(Sink::deepen);
        }
        self.session.shard.counters.moved(path, bytes);
    }

    async fn send_unsent(&mut self) -> Result<(), Cause> {
        while !self.sink().out.is_empty() {
            let sink = self.sink();
            match sink.out.send_unsent(&sink.session.conn.transport)? {
                0 => self.writable().await?,
                _ => self.progressed(),
            }
        }
        self.emptied = None;
        Ok(())
    }

    /// Something moved: restarts the idle timeout.
    fn progressed(&self) {
        self.taken.set(None);
        let limit = self.session.shard.config().timeouts.idle;
        // Where there is none, only the limit of a kept pipe has to be lifted.
        if limit.is_some() || self.session.conn.deadline.due() != Due::Idle {
            self.limit_idle(limit);
        }
    }

    /// `--idle-timeout` is over in `limit`; `None` means never.
    fn limit_idle(&self, limit: Option<Duration>) {
        let until = self.session.shard.clock.deadline_if(limit);
        self.idle_until.set(until);
        self.session.limit_until(Due::Idle, until);
    }

    /// `--idle-timeout` is over, during which nothing could be sent: whether a consumer has taken some of
    /// what was sent before. If so, a new limit is under way, from when that may have been. Without a
    /// look since something moved, what was taken before counts.
    ///
    /// `poll(2)` tells only when a third of a socket's buffer is free again, which may take a slow reader
    /// longer than the limit.
    fn goes_on(&self) -> bool {
        let Some(idle) = self.session.shard.config().timeouts.idle else {
            return false;
        };
        let (mut mark, mut ago) = (0_u64, idle);
        for sink in &self.sinks {
            let taken = sink.session.conn.transport.taken();
            mark = mark.wrapping_add(taken.mark);
            ago = ago.min(taken.ago);
        }
        let goes_on = self.taken.replace(Some(mark)) != Some(mark) && ago < idle;
        if goes_on {
            self.limit_idle(Some(idle - ago));
        }
        goes_on
    }

    /// Waits until the producer's socket is worth trying.
    async fn readable(&mut self) -> Result<(), Cause> {
        if self.source.budget.reads_on() {
            return self.source.conn.check_stop();
        }
        self.uncork();
        self.gave_pipe_back();
        loop {
            match self.source.readable(&self.session.shard).await {
                Err(Cause::Expired) if self.goes_on() => {}
                ready => return ready,
            }
        }
    }

    /// Waits until the consumer takes more, or empties the pipe into the outbox instead.
    async fn writable(&mut self) -> Result<(), Cause> {
        self.uncork();
        if self.gave_pipe_back() {
            return Ok(());
        }
        let transport = &self.sinks[0].session.conn.transport;
        let watch = &self.session.shard.write_watch;
        loop {
            let writable = self
                .source
                .conn
                .ready_or_stopped(|| watch.writable(transport));
            match writable.await {
                Err(Cause::Expired) if self.goes_on() => {}
                Err(Cause::Expired) => return Err(Cause::ConsumerStalled),
                ready => return ready,
            }
        }
    }

    /// Sends what the kernel holds back. Also called however the exchange ends, because a reset would
    /// discard those bytes.
    fn uncork(&mut self) {
        for sink in &mut self.sinks {
            sink.out.uncork(&sink.session.conn.transport);
        }
    }

    /// Counts how the exchange ended, and notes it for the access log.
    fn count_end(&self, outcome: Outcome) {
        self.guard.count_end(outcome);
        self.source.conn.line.moved(self.moved);
        for sink in &self.sinks {
            sink.session.conn.line.moved(self.moved);
        }
    }

    fn delivered(&mut self) -> Step {
        self.count_end(Outcome::Delivered);
        for sink in &mut self.sinks {
            let next = sink.finish();
            sink.session.conn.outbound.end_driven();
            sink.session.conn.hand(next);
        }
        let request = &mut self.source.request;
        self.source.conn.inbound.keep_unread(request.take_rest());
        Step::Reply(Reply::delivered(Persistence::of(&request.head)))
    }

    /// Applies the ruling on `cause`.
    fn conclude(self, cause: Cause) -> (Step, ChannelGuard) {
        // Before the first byte a deletion overrides every other cause: neither side waits on.
        let cause = match (self.stage, self.source.conn.signal.take_stop()) {
            (Stage::Matched, Some(Cause::Deleted)) => Cause::Deleted,
            _ => cause,
        };
        let ruling = rule(cause, self.stage, self.sinks[0].framing());
        self.count_end(ruling.outcome);
        // Last to first, so that the consumers keep their order in the queue.
        for sink in self.sinks.iter().rev() {
            sink.session.conn.outbound.end_driven();
            self.apply_to_consumer(sink, ruling.consumer, ruling.outcome);
        }
        self.apply_to_producer(ruling.producer)
    }

    fn apply_to_consumer(&self, sink: &Sink, fate: Fate, outcome: Outcome) {
        let Sink { session, want, .. } = sink;
        match fate {
            Fate::WaitsOn => {
                waiting::wait_on(session, self.guard.channel, Party::Consumer(*want));
            }
            Fate::Refused(refusal) => session.answer(Reply::refuse(want.persistence, &refusal)),
            Fate::Left => {
                let close = close_behind(session.conn.transport.peer());
                session.conn.hand(Next::Close(close));
            }
            Fate::Cut(close) => {
                session.conn.line.ended(outcome.label());
                session.conn.hand(Next::Close(close));
            }
        }
    }

    fn apply_to_producer(self, fate: Fate) -> (Step, ChannelGuard) {
        let Self {
            session,
            source: Source { mut request, .. },
            guard,
            ..
        } = self;
        let step = match fate {
            Fate::WaitsOn => {
                waiting::wait_on(&session, guard.channel, Party::Producer(request));
                Step::WAIT
            }
            Fate::Refused(refusal) => {
                Step::Reply(waiting::refuse_producer(&session, &mut request, &refusal))
            }
            Fate::Left => Step::close(close_behind(session.conn.transport.peer())),
            Fate::Cut(close) => Step::close(close),
        };
        (step, guard)
    }
}

/// Measures how long both sides have waited for this match; returns when it was.
fn matched(producer: &Session, consumer: &Session) -> Reading {
    let now = producer.shard.clock.read();
    for (session, side) in [(producer, Side::Producer), (consumer, Side::Consumer)] {
        let waited = session.conn.arrived.get().micros_until(now);
        session.shard.counters.matched(side, waited);
        session.conn.line.matched(now);
    }
    now
}

/// In an exchange, a broken connection to the consumer means that the consumer left.
impl From<PeerGone> for Cause {
    fn from(_: PeerGone) -> Self {
        Self::ConsumerLeft
    }
}
