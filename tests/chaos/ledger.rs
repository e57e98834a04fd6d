//! The records of all clients in a chaos run, and the totals that must match. Owns the bodies'
//! labels. Must never talk to the server.
//!
//! Every request ends in exactly one entry: a reply that was received, or the client's own
//! leaving. A body is **intact** (its producer sent all of it) or **spoiled** (its producer stopped
//! or broke its framing, and it must never look whole). It goes to at most one consumer, which
//! receives it whole, sees it cut, or leaves. The reply's head and the body both say which body it
//! is.

use crate::support::connection::Reply;
use crate::support::metrics::Metrics;
use crate::support::pattern::pattern;
use fastrand::Rng;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

const NAMESPACES: usize = 3;
const CHANNELS_PER_NAMESPACE: usize = 8;
pub const CHANNELS: usize = NAMESPACES * CHANNELS_PER_NAMESPACE;
/// The channels that clients delete. No deletion affects the others until the end.
pub const DELETED_CHANNELS: usize = CHANNELS - CHANNELS_PER_NAMESPACE;
/// Number and payload length, eight digits each, at the start of every body that is not empty.
const LABEL_BYTES: usize = 16;

/// Actions that ordinary clients do not do, or not always.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Oddity {
    Close,
    Reset,
    HalfClose,
    Stall,
    LongStall,
    SlowHead,
    Garbage,
    BadChunkSize,
    NoChunkEnd,
    TooShort,
    TooLong,
    ReplyUnheard,
    DeleteChannel,
    DeleteNamespace,
    Pipelined,
    Expectation,
    ImpatientExpectation,
    Http10,
    BodyOnGet,
    EmptyBody,
    LargeBody,
}

impl Oddity {
    const ALL: [Self; 21] = [
        Self::Close,
        Self::Reset,
        Self::HalfClose,
        Self::Stall,
        Self::LongStall,
        Self::SlowHead,
        Self::Garbage,
        Self::BadChunkSize,
        Self::NoChunkEnd,
        Self::TooShort,
        Self::TooLong,
        Self::ReplyUnheard,
        Self::DeleteChannel,
        Self::DeleteNamespace,
        Self::Pipelined,
        Self::Expectation,
        Self::ImpatientExpectation,
        Self::Http10,
        Self::BodyOnGet,
        Self::EmptyBody,
        Self::LargeBody,
    ];
}

/// A body to be sent.
pub struct Parcel {
    pub number: usize,
    pub body: Vec<u8>,
}

/// The server's limits in a run: each refusal comes from one of them, or from a deletion.
#[derive(Clone, Copy)]
pub struct Limits {
    pub request_timeout: Duration,
    pub idle_timeout: Option<Duration>,
    pub max_waiting: Option<u32>,
}

impl Limits {
    /// The same as options of the server.
    pub fn options(self) -> Vec<String> {
        let seconds = |time: Duration| time.as_secs_f64().to_string();
        let options = [
            ("--request-timeout", Some(seconds(self.request_timeout))),
            ("--idle-timeout", self.idle_timeout.map(seconds)),
            ("--max-waiting", self.max_waiting.map(|max| max.to_string())),
        ];
        let given = options
            .into_iter()
            .filter_map(|(name, value)| Some([name.to_owned(), value?]));
        given.flatten().collect()
    }
}

/// A consumer's request.
#[derive(Clone, Copy)]
pub struct Wanted {
    pub channel: usize,
    /// HTTP/1.0: the body may end with the connection.
    pub is_old: bool,
    /// It half-closed while it waited, which counts as leaving unless its body arrived first.
    half_closed: bool,
    since: Instant,
}

impl Wanted {
    /// A request that is about to be sent.
    pub fn begin(channel: usize, is_old: bool) -> Self {
        Self {
            channel,
            is_old,
            half_closed: false,
            since: Instant::now(),
        }
    }

    /// The same, after its client half-closed.
    pub fn half_closed(self) -> Self {
        Self {
            half_closed: true,
            ..self
        }
    }
}

/// How a body ended for a consumer that received the reply's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Given {
    Whole,
    Cut {
        half_closed: bool,
    },
    /// It left before the end.
    Left,
}

/// How a producer's request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Heard(u16),
    /// It left before its reply.
    Left,
}

/// What happened to a body.
#[derive(Clone, Copy, Debug)]
struct Record {
    channel: usize,
    payload_bytes: usize,
    empty: bool,
    since: Instant,
    spoiled: bool,
    given: Option<Given>,
    ended: Option<Ended>,
}

impl Record {
    fn heard(&self, status: u16) -> bool {
        self.ended == Some(Ended::Heard(status))
    }

    fn left(&self) -> bool {
        self.ended == Some(Ended::Left)
    }

    fn is_taken(&self) -> bool {
        self.given == Some(Given::Whole)
    }

    fn is_cut(&self) -> bool {
        matches!(self.given, Some(Given::Cut { .. }))
    }

    fn is_left_behind(&self) -> bool {
        self.given == Some(Given::Left)
    }

    /// Neither its consumer nor its producer knows how it ended.
    fn is_unknown(&self) -> bool {
        self.left() && matches!(self.given, None | Some(Given::Left))
    }

    /// The length of the whole body, with its label.
    fn bytes(&self) -> usize {
        match self.empty {
            true => 0,
            false => LABEL_BYTES + self.payload_bytes,
        }
    }

    /// Whether body `number` begins with `front`.
    fn begins_with(&self, number: usize, front: &[u8]) -> bool {
        let (head, payload) = front.split_at(front.len().min(LABEL_BYTES));
        front.len() <= self.bytes()
            && label(number, self.payload_bytes)
                .as_bytes()
                .starts_with(head)
            && pattern(number, self.payload_bytes).starts_with(payload)
    }
}

/// The deletions that affect a channel.
#[derive(Default)]
struct Deletions {
    under_way: usize,
    last_heard: Option<Instant>,
}

/// The totals of one channel.
#[derive(Default)]
struct Tally {
    /// Active producers minus active consumers.
    balance: AtomicI64,
    deletions: Mutex<Deletions>,
    /// Consumers that left without knowing their body.
    left_unknowing: AtomicU64,
    /// Consumers whose reply was destroyed by a reset, head included.
    cut_headless: AtomicU64,
}

/// The records of a run.
pub struct Ledger {
    limits: Limits,
    records: Mutex<Vec<Record>>,
    channels: [Tally; CHANNELS],
    replies: Mutex<BTreeMap<u16, u64>>,
    unanswered: AtomicU64,
    bytes_verified: AtomicU64,
    calm: AtomicU64,
    oddities: [AtomicU64; Oddity::ALL.len()],
    turns: AtomicU64,
    nearly_over: AtomicBool,
    stop: AtomicBool,
    failed: AtomicBool,
    doing: Mutex<BTreeMap<usize, (&'static str, Instant)>>,
}

/// `namespace/channel` of one of the shared channels.
pub fn channel_name(channel: usize) -> String {
    format!(
        "chaos{}/c{}",
        channel / CHANNELS_PER_NAMESPACE,
        channel % CHANNELS_PER_NAMESPACE
    )
}

/// The namespaces of the shared channels, each with its channels.
pub fn namespaces() -> impl Iterator<Item = (String, Range<usize>)> {
    (0..NAMESPACES).map(|nth| {
        let first = nth * CHANNELS_PER_NAMESPACE;
        (format!("chaos{nth}"), first..first + CHANNELS_PER_NAMESPACE)
    })
}

// ---------------------------------------------------------------- while it runs

impl Ledger {
    /// No records yet, for a server with these limits.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            records: Mutex::default(),
            channels: Default::default(),
            replies: Mutex::default(),
            unanswered: AtomicU64::default(),
            bytes_verified: AtomicU64::default(),
            calm: AtomicU64::default(),
            oddities: Default::default(),
            turns: AtomicU64::default(),
            nearly_over: AtomicBool::default(),
            stop: AtomicBool::default(),
            failed: AtomicBool::default(),
            doing: Mutex::default(),
        }
    }

    /// A body of random size, with its number in it. Its producer is about to send it.
    pub fn new_parcel(&self, channel: usize, rng: &mut Rng, payload_bytes_max: usize) -> Parcel {
        let empty = payload_bytes_max == 0;
        let payload_bytes = rng.usize(..=payload_bytes_max);
        let mut records = self.records.lock().expect("no client panicked");
        let number = records.len();
        records.push(Record {
            channel,
            payload_bytes,
            empty,
            since: Instant::now(),
            spoiled: false,
            given: None,
            ended: None,
        });
        drop(records);
        let body = match empty {
            true => Vec::new(),
            false => [
                label(number, payload_bytes).as_bytes(),
                pattern(number, payload_bytes),
            ]
            .concat(),
        };
        Parcel { number, body }
    }

    /// The producer is about to send the body incomplete, or with broken framing. Recorded first,
    /// so that no consumer can be faster.
    pub fn spoil(&self, number: usize) {
        self.records.lock().expect("no client panicked")[number].spoiled = true;
    }

    /// A producer has received its reply.
    pub fn producer_heard(&self, number: usize, status: u16) {
        self.replied(status);
        let record = self.end(number, Ended::Heard(status));
        assert!(
            !(record.spoiled && status == 200),
            "200 for body {number}, which was never sent whole"
        );
        assert!(
            record.spoiled || status != 400,
            "400 for body {number}, which was sent correctly"
        );
        self.check_cause(record.channel, record.since, status);
    }

    /// A producer has left without a reply.
    pub fn producer_left(&self, number: usize) {
        self.unanswered.fetch_add(1, Relaxed);
        self.end(number, Ended::Left);
    }

    fn end(&self, number: usize, ended: Ended) -> Record {
        let record = &mut self.records.lock().expect("no client panicked")[number];
        let before = record.ended.replace(ended);
        assert_eq!(before, None, "the producer of body {number} ended twice");
        *record
    }

    /// A consumer was refused.
    pub fn refused(&self, wanted: Wanted, status: u16) {
        self.replied(status);
        self.check_cause(wanted.channel, wanted.since, status);
    }

    /// A refusal has a cause: a time that is over, a deletion that was under way after the request
    /// began (`since`), or a limit of this run.
    fn check_cause(&self, channel: usize, since: Instant, status: u16) {
        let is_over = |limit: Option<Duration>| limit.is_some_and(|limit| since.elapsed() >= limit);
        let possible = match status {
            408 => is_over(Some(self.limits.request_timeout)),
            504 => is_over(self.limits.idle_timeout),
            410 => self.deleted_since(channel, since),
            503 => self.limits.max_waiting.is_some(),
            _ => true,
        };
        assert!(
            possible,
            "{status} without a cause on channel {channel}, {:?} after the request was begun",
            since.elapsed()
        );
    }

    /// A consumer has received body `number`, which looks whole: it must be exactly what its
    /// producer sent, to this channel.
    pub fn taken(&self, wanted: Wanted, number: usize, body: &[u8]) {
        self.replied(200);
        self.bytes_verified.fetch_add(body.len() as u64, Relaxed);
        let record = self.give(wanted, number, Given::Whole);
        assert!(
            body.len() == record.bytes() && record.begins_with(number, body),
            "body {number} looks whole, but is not: {} bytes, {record:?}",
            body.len()
        );
        assert!(
            !record.spoiled,
            "body {number} looks whole, but was never sent whole"
        );
    }

    /// A consumer saw body `number` cut: it must have a prefix of it.
    pub fn cut(&self, wanted: Wanted, number: usize, received: &[u8]) {
        self.replied(200);
        let half_closed = wanted.half_closed;
        self.given_front(wanted, number, received, Given::Cut { half_closed });
    }

    /// A consumer's reply was destroyed by a reset, head included: the body was cut.
    pub fn cut_headless(&self, wanted: Wanted) {
        self.replied(200);
        let tally = &self.channels[wanted.channel];
        tally.cut_headless.fetch_add(1, Relaxed);
    }

    /// A consumer left body `number` after receiving this part of it.
    pub fn left_body(&self, wanted: Wanted, number: usize, received: &[u8]) {
        self.unanswered.fetch_add(1, Relaxed);
        self.given_front(wanted, number, received, Given::Left);
    }

    fn given_front(&self, wanted: Wanted, number: usize, received: &[u8], given: Given) {
        let bytes = received.len() as u64;
        self.bytes_verified.fetch_add(bytes, Relaxed);
        let record = self.give(wanted, number, given);
        assert!(
            record.begins_with(number, received),
            "the received part of body {number} was changed: {bytes} bytes, {record:?}"
        );
    }

    /// Gives the body to its only consumer: once a consumer has received the beginning, no other
    /// does.
    fn give(&self, wanted: Wanted, number: usize, given: Given) -> Record {
        let mut records = self.records.lock().expect("no client panicked");
        let record = records.get_mut(number).expect("a body that was sent");
        assert_eq!(
            record.channel, wanted.channel,
            "body {number} arrived on another channel"
        );
        let before = record.given.replace(given);
        assert_eq!(before, None, "body {number} was delivered twice");
        *record
    }

    /// A consumer left without knowing whether it had a body.
    pub fn consumer_left(&self, channel: usize) {
        let tally = &self.channels[channel];
        tally.left_unknowing.fetch_add(1, Relaxed);
        self.unanswered.fetch_add(1, Relaxed);
    }

    /// A client is about to request the deletion of these channels.
    pub fn begin_deletion(&self, channels: Range<usize>) {
        for channel in &self.channels[channels] {
            channel
                .deletions
                .lock()
                .expect("no client panicked")
                .under_way += 1;
        }
    }

    /// The deletion was answered, or never will be: it deletes nothing more.
    pub fn end_deletion(&self, channels: Range<usize>) {
        for channel in &self.channels[channels] {
            let mut deletions = channel.deletions.lock().expect("no client panicked");
            deletions.under_way -= 1;
            deletions.last_heard = Some(Instant::now());
        }
    }

    fn deleted_since(&self, channel: usize, since: Instant) -> bool {
        let deletions = &self.channels[channel].deletions;
        let deletions = deletions.lock().expect("no client panicked");
        deletions.under_way > 0 || deletions.last_heard.is_some_and(|heard| heard >= since)
    }

    /// A reply was received.
    pub fn replied(&self, status: u16) {
        let mut replies = self.replies.lock().expect("no client panicked");
        *replies.entry(status).or_default() += 1;
    }

    /// A request that is neither a producer's nor a consumer's got no reply.
    pub fn unanswered(&self) {
        self.unanswered.fetch_add(1, Relaxed);
    }

    /// Two undisturbed clients have exchanged a body of so many bytes.
    pub fn calm_exchange(&self, bytes: usize) {
        self.calm.fetch_add(1, Relaxed);
        self.replied(200);
        self.replied(200);
        self.bytes_verified.fetch_add(bytes as u64, Relaxed);
    }

    pub fn calm_exchanges(&self) -> u64 {
        self.calm.load(Relaxed)
    }

    pub fn note(&self, oddity: Oddity) {
        self.oddities[oddity as usize].fetch_add(1, Relaxed);
    }

    /// A client begins an action; the one before has ended.
    pub fn begin(&self, client: usize, doing: &'static str) {
        self.turns.fetch_add(1, Relaxed);
        let mut all = self.doing.lock().expect("no client panicked");
        all.insert(client, (doing, Instant::now()));
    }

    /// The number of actions begun: it rises as long as any client makes progress.
    pub fn turns(&self) -> u64 {
        self.turns.load(Relaxed)
    }

    /// The side that the channel lacks: above zero, consumers.
    pub fn balance(&self, channel: usize) -> &AtomicI64 {
        &self.channels[channel].balance
    }

    pub fn stop(&self) {
        self.stop.store(true, Relaxed);
    }

    /// The clients are about to be stopped.
    pub fn come_to_an_end(&self) {
        self.nearly_over.store(true, Relaxed);
    }

    pub fn is_nearly_over(&self) -> bool {
        self.nearly_over.load(Relaxed)
    }

    pub fn go_on(&self) {
        self.nearly_over.store(false, Relaxed);
        self.stop.store(false, Relaxed);
    }

    pub fn is_stopped(&self) -> bool {
        self.stop.load(Relaxed)
    }

    /// A client panicked: all stop, and the run has failed.
    pub fn fail(&self) {
        self.failed.store(true, Relaxed);
        self.stop();
    }

    pub fn has_failed(&self) -> bool {
        self.failed.load(Relaxed)
    }

    /// What clients have been doing for longer than `since`.
    pub fn stuck(&self, since: Duration) -> String {
        let all = self.doing.lock().unwrap_or_else(|all| all.into_inner());
        let mut text = String::new();
        for (client, (doing, began)) in &*all {
            if began.elapsed() >= since {
                let _ = writeln!(text, "  client {client}: {doing} for {:?}", began.elapsed());
            }
        }
        text
    }
}

/// Number and payload length, as a body contains them.
fn label(number: usize, payload_bytes: usize) -> String {
    format!("{number:08}{payload_bytes:08}")
}

const FILE_NAME: &str = "attachment; filename=\"";

/// The field line that tells a consumer which body it receives, even if the body is cut.
pub fn disposition(number: usize) -> String {
    format!("Content-Disposition: {FILE_NAME}{number}\"\r\n")
}

/// Which body the reply has.
pub fn number_of(head: &Reply) -> usize {
    let said = head.value("Content-Disposition");
    let number = said.and_then(|said| said.strip_prefix(FILE_NAME)?.strip_suffix('"'));
    let number = number.and_then(|number| number.parse().ok());
    number.unwrap_or_else(|| panic!("a reply without its number: {:?}", head.fields))
}

// ---------------------------------------------------------------- afterwards

impl Ledger {
    /// What must hold once every client has ended.
    pub fn settle(&self, metrics: &Metrics) {
        let records = self.records.lock().expect("no client panicked");
        for (number, record) in records.iter().enumerate() {
            self.settle_body(number, record);
        }
        self.settle_channels(&records);
        self.settle_outcomes(&records, metrics);
        drop(records);
        self.settle_replies(metrics);
        self.settle_refusals(metrics);
    }

    /// The consumer's and the producer's results must match. Above all: 200 means that no consumer
    /// saw the body cut, and a whole body means 200. A consumer that left may have left a body that
    /// was accepted whole; one that half-closed early may be cut as if it had left.
    fn settle_body(&self, number: usize, record: &Record) {
        let Some(Ended::Heard(heard)) = record.ended else {
            assert!(record.left(), "body {number} has no record of its producer");
            return;
        };
        let can_be_idle = self.limits.idle_timeout.is_some();
        // 400 and 410 were checked when they were received.
        let possible = match (record.given, heard) {
            (Some(Given::Whole), heard) => heard == 200,
            (Some(Given::Cut { half_closed }), 502) => half_closed,
            (Some(Given::Cut { .. }), heard) => {
                matches!(heard, 400 | 410) || heard == 504 && can_be_idle
            }
            (Some(Given::Left), heard) => {
                matches!(heard, 200 | 400 | 410 | 502) || heard == 504 && can_be_idle
            }
            (None, heard) => matches!(heard, 200 | 400 | 408 | 410 | 502 | 503 | 504),
        };
        assert!(possible, "body {number}, and {heard} for it: {record:?}");
    }

    /// If a body was accepted, or given up because its consumer left, and no consumer knows it,
    /// then a consumer left before it could know: one per body, on each channel. And each consumer
    /// that knows only of a cut had a body that was cut.
    fn settle_channels(&self, records: &[Record]) {
        for (channel, tally) in self.channels.iter().enumerate() {
            let unseen = records
                .iter()
                .filter(|record| record.channel == channel && record.given.is_none());
            let (mut gone, mut maybe_cut) = (0, 0);
            for record in unseen {
                gone += u64::from(record.heard(200) || record.heard(502));
                let may_be = [400, 410, 504].iter().any(|status| record.heard(*status));
                maybe_cut += u64::from(may_be || record.left());
            }
            let left = tally.left_unknowing.load(Relaxed);
            assert!(
                gone <= left,
                "channel {channel}: {gone} bodies reached no consumer, but only {left} consumers left"
            );
            let cut = tally.cut_headless.load(Relaxed);
            assert!(
                cut <= maybe_cut,
                "channel {channel}: {cut} consumers saw a cut, of {maybe_cut} bodies at most"
            );
        }
    }

    /// Each outcome is counted at least as often as clients know of, and at most as often as they
    /// can have caused.
    fn settle_outcomes(&self, records: &[Record], metrics: &Metrics) {
        let count = |of: &dyn Fn(&Record) -> bool| records.iter().filter(|r| of(r)).count() as u64;
        let delivered = count(&|r| r.heard(200) || r.is_taken()) + self.calm_exchanges();
        let unknown = count(&|r| r.is_unknown() && !r.spoiled);
        let left = self.left_unknowing() + count(&Record::is_left_behind);
        let half_closed = count(&|r| r.given == Some(Given::Cut { half_closed: true }));
        // An exchange that ended so, and whose producer stayed for the reply.
        let midway = |status| count(&|r| r.heard(status) && r.given.is_some());
        let at_most = |status| count(&|r| r.heard(status) || r.left() && !r.is_taken());
        let idle_at_most = match self.limits.idle_timeout {
            Some(_) => at_most(504),
            None => 0,
        };
        for (name, at_least, at_most) in [
            ("delivered", delivered, delivered + unknown.min(left)),
            (
                "consumer_left",
                count(&|r| r.heard(502)),
                left + half_closed,
            ),
            (
                "producer_left",
                midway(400),
                count(&|r| r.spoiled || r.left()),
            ),
            ("deleted", midway(410), at_most(410)),
            ("idle", midway(504), idle_at_most),
            ("drained", 0, 0),
        ] {
            let counted = metrics.value(&exchanges_total(name));
            assert!(
                (at_least..=at_most).contains(&counted),
                "{counted} exchanges ended as {name}, {at_least} to {at_most} were expected"
            );
        }
        assert_eq!(metrics.value("httpipe_panics_total"), 0);
    }

    /// Each status that a client received was counted, and no more except those that no client
    /// read.
    fn settle_replies(&self, metrics: &Metrics) {
        let unanswered = self.unanswered.load(Relaxed);
        let replies = self.replies.lock().expect("no client panicked");
        for status in [
            200, 204, 400, 404, 405, 408, 410, 411, 412, 413, 414, 417, 431, 501, 502, 503, 504,
            505,
        ] {
            let heard = replies.get(&status).copied().unwrap_or_default();
            let counted = metrics.value(&format!("httpipe_replies_total{{status=\"{status}\"}}"));
            // The test itself asks for metrics, with 200.
            let at_most = if status == 200 {
                u64::MAX
            } else {
                heard + unanswered
            };
            assert!(
                (heard..=at_most).contains(&counted),
                "{counted} replies {status} counted, {heard} received, {unanswered} not read"
            );
        }
        assert_eq!(
            replies.keys().find(|status| **status >= 506),
            None,
            "an unknown status"
        );
    }

    /// The server refused only for causes that this run has.
    fn settle_refusals(&self, metrics: &Metrics) {
        let count = |kind| metrics.value(&format!("httpipe_refusals_total{{kind=\"{kind}\"}}"));
        for kind in [
            "header_timeout",
            "body_timeout",
            "cut_unseen",
            "draining",
            "drained",
            "too_many_connections",
            "too_many_channels",
            "too_many_waiting",
            "no_descriptor",
        ] {
            assert_eq!(count(kind), 0, "{kind}");
        }
        let limits = self.limits;
        assert!(limits.idle_timeout.is_some() || count("idle_timeout") == 0);
        assert!(limits.max_waiting.is_some() || count("too_many_waiting_on_channel") == 0);
    }

    /// In a run of so many exchanges, every fault and every outcome must have happened.
    pub fn settle_coverage(&self, metrics: &Metrics, exchanges: u64) {
        for oddity in Oddity::ALL {
            let count = self.oddities[oddity as usize].load(Relaxed);
            assert!(count > 0, "no client had {oddity:?}");
        }
        let is_tight = self.limits.max_waiting.is_some();
        let can_be_idle = self.limits.idle_timeout.is_some();
        for name in OUTCOMES {
            let expected = match name {
                "idle" => can_be_idle,
                // A server drains only when nobody uses it any more.
                "drained" => false,
                _ => true,
            };
            let count = metrics.value(&exchanges_total(name));
            assert!(count > 0 || !expected, "no exchange ended as {name}");
        }
        let replies = self.replies.lock().expect("no client panicked");
        let tight: &[u16] = if is_tight { &[408, 503] } else { &[] };
        for status in [&[200, 204, 400, 404, 410, 501, 502, 505], tight].concat() {
            assert!(replies.contains_key(&status), "nobody heard {status}");
        }
        for (fate, count) in self.fates() {
            let expected = fate != BEGUN_AND_504 || can_be_idle;
            assert!(count > 0 || !expected, "no body was {fate}");
        }
        let taken = self.count(Record::is_taken);
        assert!(
            taken >= exchanges / 2,
            "only {taken} bodies arrived whole in {exchanges} exchanges"
        );
    }

    /// How many bodies had each fate.
    fn fates(&self) -> impl Iterator<Item = (&'static str, u64)> {
        FATES.into_iter().map(|(fate, of)| (fate, self.count(of)))
    }

    fn count(&self, of: fn(&Record) -> bool) -> u64 {
        let records = self.records.lock().expect("no client panicked");
        records.iter().filter(|record| of(record)).count() as u64
    }

    fn left_unknowing(&self) -> u64 {
        let left = |tally: &Tally| tally.left_unknowing.load(Relaxed);
        self.channels.iter().map(left).sum()
    }

    fn cuts_headless(&self) -> u64 {
        let cut = |tally: &Tally| tally.cut_headless.load(Relaxed);
        self.channels.iter().map(cut).sum()
    }

    /// The figures of the run, to print.
    pub fn report(&self, metrics: &Metrics) -> String {
        let mut text = String::new();
        for name in OUTCOMES {
            let _ = write!(text, "{name} {}, ", metrics.value(&exchanges_total(name)));
        }
        let _ = write!(
            text,
            "calm pairs {}\n  bodies: {} begun, {} spoiled, {} cut without a head; {} bytes \
             verified\n  fates:",
            self.calm_exchanges(),
            self.count(|_| true),
            self.count(|r| r.spoiled),
            self.cuts_headless(),
            self.bytes_verified.load(Relaxed),
        );
        for (fate, count) in self.fates() {
            let _ = write!(text, " {fate}: {count},");
        }
        let _ = write!(text, "\n  replies heard:");
        for (status, count) in &*self.replies.lock().expect("no client panicked") {
            let _ = write!(text, " {status}: {count}");
        }
        let _ = write!(
            text,
            "; not listened to: {} ({} consumers, {} producers)\n  oddities:",
            self.unanswered.load(Relaxed),
            self.left_unknowing() + self.count(Record::is_left_behind),
            self.count(Record::left),
        );
        for oddity in Oddity::ALL {
            let count = self.oddities[oddity as usize].load(Relaxed);
            let _ = write!(text, " {oddity:?} {count}");
        }
        for path in ["spliced", "copied", "with_head"] {
            let moved = metrics.value(&format!("httpipe_bytes_total{{path=\"{path}\"}}"));
            let _ = write!(text, "; {path} {moved} bytes");
        }
        text
    }
}

/// A name, and the bodies that it applies to.
type Fate = (&'static str, fn(&Record) -> bool);

/// The fates of a body of which a consumer received the beginning.
const FATES: [Fate; 9] = [
    ("taken, and 200", |r| r.is_taken() && r.heard(200)),
    ("taken, and 200 not read", |r| r.is_taken() && r.left()),
    ("taken, and empty", |r| r.is_taken() && r.empty),
    ("cut, and 400", |r| r.is_cut() && r.heard(400)),
    ("cut, and 410", |r| r.is_cut() && r.heard(410)),
    ("cut, and its producer gone", |r| r.is_cut() && r.left()),
    ("left behind, and 200", |r| {
        r.is_left_behind() && r.heard(200)
    }),
    ("left behind, and 502", |r| {
        r.is_left_behind() && r.heard(502)
    }),
    (BEGUN_AND_504, |r| r.given.is_some() && r.heard(504)),
];

/// Needs an idle timeout.
const BEGUN_AND_504: &str = "begun, and 504";

const OUTCOMES: [&str; 6] = [
    "delivered",
    "producer_left",
    "consumer_left",
    "deleted",
    "idle",
    "drained",
];

fn exchanges_total(outcome: &str) -> String {
    format!("httpipe_exchanges_total{{outcome=\"{outcome}\"}}")
}

/// All ended exchanges, whatever their outcome.
pub fn exchanges_ended(metrics: &Metrics) -> u64 {
    let ended = OUTCOMES.map(|outcome| metrics.value(&exchanges_total(outcome)));
    ended.iter().sum()
}
