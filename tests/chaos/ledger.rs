//! What all clients of a chaos run write down, and the sums that must come out. Owns the bodies'
//! labels. Must never talk to the server.
//!
//! Every request ends in exactly one entry: a reply that was heard, or the client's own leaving.
//! A body is in one of three states for good: **intact** (its producer sent all of it), **spoiled**
//! (its producer broke off or broke its framing, and it must never look whole), and, if intact,
//! **taken** once a consumer has checked it whole.

use crate::support::metrics::Metrics;
use crate::support::pattern::pattern;
use fastrand::Rng;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

const NAMESPACES: usize = 3;
const CHANNELS_PER_NAMESPACE: usize = 8;
pub const CHANNELS: usize = NAMESPACES * CHANNELS_PER_NAMESPACE;
/// Number and payload length, eight digits each, in front of every body that is not empty.
const LABEL_BYTES: usize = 16;

/// What clients do that an ordinary one does not, or not always.
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

/// What became of a body.
#[derive(Clone, Copy)]
struct Record {
    channel: usize,
    payload_bytes: usize,
    empty: bool,
    spoiled: bool,
    taken: bool,
    /// What its producer heard; `None` if it left before.
    heard: Option<u16>,
}

/// One channel's sums.
#[derive(Default)]
struct Tally {
    /// Producers under way less consumers under way.
    balance: AtomicI64,
    empties_taken: AtomicU64,
    consumers_left: AtomicU64,
}

/// The book itself.
#[derive(Default)]
pub struct Ledger {
    records: Mutex<Vec<Record>>,
    channels: [Tally; CHANNELS],
    replies: Mutex<BTreeMap<u16, u64>>,
    /// What producers heard, by status.
    to_producers: Mutex<BTreeMap<u16, u64>>,
    unanswered: AtomicU64,
    producers_left: AtomicU64,
    bodies_spoiled: AtomicU64,
    cuts: AtomicU64,
    bytes_verified: AtomicU64,
    calm: AtomicU64,
    oddities: [AtomicU64; Oddity::ALL.len()],
    turns: AtomicU64,
    nearly_over: AtomicBool,
    stop: AtomicBool,
    failed: AtomicBool,
    doing: Mutex<BTreeMap<usize, (&'static str, Instant)>>,
}

/// `namespace/channel` of one of the channels that all fight over.
pub fn channel_name(channel: usize) -> String {
    format!(
        "chaos{}/c{}",
        channel / CHANNELS_PER_NAMESPACE,
        channel % CHANNELS_PER_NAMESPACE
    )
}

/// The namespaces of these channels.
pub fn namespaces() -> impl Iterator<Item = String> {
    (0..NAMESPACES).map(|nth| format!("chaos{nth}"))
}

// ---------------------------------------------------------------- while it runs

impl Ledger {
    /// A body of random size that says itself which one it is.
    pub fn new_parcel(&self, channel: usize, rng: &mut Rng, payload_bytes_max: usize) -> Parcel {
        let empty = payload_bytes_max == 0;
        let payload_bytes = rng.usize(..=payload_bytes_max);
        let mut records = self.records.lock().expect("no client panicked");
        let number = records.len();
        records.push(Record {
            channel,
            payload_bytes,
            empty,
            spoiled: false,
            taken: false,
            heard: None,
        });
        drop(records);
        let body = match empty {
            true => Vec::new(),
            false => [
                format!("{number:08}{payload_bytes:08}").as_bytes(),
                pattern(number, payload_bytes),
            ]
            .concat(),
        };
        Parcel { number, body }
    }

    /// The body's producer is about to send less than all of it, or with broken framing: noted
    /// before it does, so that no consumer can be faster.
    pub fn spoil(&self, number: usize) {
        self.bodies_spoiled.fetch_add(1, Relaxed);
        self.records.lock().expect("no client panicked")[number].spoiled = true;
    }

    /// A producer has heard how its request ended.
    pub fn producer_heard(&self, number: usize, status: u16) {
        self.replied(status);
        let mut heard = self.to_producers.lock().expect("no client panicked");
        *heard.entry(status).or_default() += 1;
        drop(heard);
        let record = &mut self.records.lock().expect("no client panicked")[number];
        record.heard = Some(status);
        assert!(
            !(record.spoiled && status == 200),
            "200 for body {number}, which was never sent whole"
        );
    }

    /// A producer has left without hearing how its request ended.
    pub fn producer_left(&self) {
        self.producers_left.fetch_add(1, Relaxed);
        self.unanswered.fetch_add(1, Relaxed);
    }

    /// A consumer was given a body that looks whole: it must be exactly one producer's, sent to
    /// this channel, and nobody else's before.
    pub fn taken(&self, channel: usize, body: &[u8]) {
        self.replied(200);
        if body.is_empty() {
            self.channels[channel].empties_taken.fetch_add(1, Relaxed);
            return;
        }
        let (number, payload_bytes) = label(body);
        assert!(
            body[LABEL_BYTES..] == *pattern(number, payload_bytes),
            "body {number} of {payload_bytes} bytes looks whole and is not: {} bytes",
            body.len() - LABEL_BYTES
        );
        self.bytes_verified.fetch_add(body.len() as u64, Relaxed);
        let record = &mut self.records.lock().expect("no client panicked")[number];
        assert_eq!(
            (record.channel, record.payload_bytes),
            (channel, payload_bytes),
            "body {number} came to another channel, or with another length"
        );
        assert!(
            !record.spoiled,
            "body {number} looks whole and was never sent whole"
        );
        assert!(!record.taken, "body {number} was delivered whole twice");
        record.taken = true;
    }

    /// A consumer saw that its body was cut: what came of it is the front of one producer's body.
    pub fn cut(&self, channel: usize, received: &[u8]) {
        self.replied(200);
        self.cuts.fetch_add(1, Relaxed);
        if received.len() < LABEL_BYTES {
            return;
        }
        let (number, payload_bytes) = label(received);
        let payload = &received[LABEL_BYTES..];
        assert!(
            pattern(number, payload_bytes).starts_with(payload),
            "what came of body {number} was changed"
        );
        self.bytes_verified
            .fetch_add(received.len() as u64, Relaxed);
        let record = self.records.lock().expect("no client panicked")[number];
        assert_eq!(
            record.channel, channel,
            "body {number} came to another channel"
        );
    }

    /// A consumer has left without knowing whether it had a body.
    pub fn consumer_left(&self, channel: usize) {
        self.channels[channel].consumers_left.fetch_add(1, Relaxed);
        self.unanswered.fetch_add(1, Relaxed);
    }

    /// A reply was heard.
    pub fn replied(&self, status: u16) {
        let mut replies = self.replies.lock().expect("no client panicked");
        *replies.entry(status).or_default() += 1;
    }

    /// A request that is neither a producer's nor a consumer's was left unheard.
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

    /// A client begins something; it has ended what it did before.
    pub fn begin(&self, client: usize, doing: &'static str) {
        self.turns.fetch_add(1, Relaxed);
        let mut all = self.doing.lock().expect("no client panicked");
        all.insert(client, (doing, Instant::now()));
    }

    /// How many things clients have begun: it rises as long as any of them gets on.
    pub fn turns(&self) -> u64 {
        self.turns.load(Relaxed)
    }

    /// Which side the channel has too few of, if so: more than zero means consumers.
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

    /// Somebody panicked: everybody stops, and the run has failed.
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

/// Number and payload length, as a body says itself.
fn label(body: &[u8]) -> (usize, usize) {
    let digits = |digits: Option<&[u8]>| -> Option<usize> {
        std::str::from_utf8(digits?).ok()?.parse().ok()
    };
    let read = digits(body.get(..8)).zip(digits(body.get(8..LABEL_BYTES)));
    let Some(read) = read else {
        let front = &body[..body.len().min(LABEL_BYTES)];
        panic!("a body without its label: {}", front.escape_ascii());
    };
    read
}

// ---------------------------------------------------------------- afterwards

impl Ledger {
    /// What must hold once every client has ended.
    pub fn settle(&self, metrics: &Metrics) {
        self.settle_bodies();
        self.settle_outcomes(metrics);
        self.settle_replies(metrics);
    }

    /// A producer that heard 200 had its body taken whole, or handed to a consumer that left: on
    /// each channel, no more bodies are missing than consumers have left. And the other way round:
    /// a producer whose body was taken whole, and who stayed to hear, heard 200.
    fn settle_bodies(&self) {
        let records = self.records.lock().expect("no client panicked");
        for (number, record) in records.iter().enumerate() {
            let heard = record.heard.unwrap_or(200);
            assert!(
                !record.taken || heard == 200,
                "body {number} was delivered, and its producer heard {heard}"
            );
        }
        for (channel, tally) in self.channels.iter().enumerate() {
            let accepted =
                |record: &&Record| record.channel == channel && record.heard == Some(200);
            let accepted: Vec<_> = records.iter().filter(accepted).collect();
            let missing = accepted.iter().filter(|r| !r.empty && !r.taken).count() as u64;
            let empties = accepted.iter().filter(|r| r.empty).count() as u64;
            let empties_missing = empties.saturating_sub(tally.empties_taken.load(Relaxed));
            let left = tally.consumers_left.load(Relaxed);
            assert!(
                missing + empties_missing <= left,
                "channel {channel}: {missing} bodies and {empties_missing} empty ones were \
                 accepted and never arrived, and only {left} consumers left"
            );
            let sent = |r: &&Record| r.channel == channel && r.empty && !r.spoiled;
            let empties_sent = records.iter().filter(sent).count() as u64;
            assert!(tally.empties_taken.load(Relaxed) <= empties_sent);
        }
    }

    /// Each outcome counts no less than clients know of, and no more than they can have caused.
    fn settle_outcomes(&self, metrics: &Metrics) {
        let outcome = |name| metrics.value(&exchanges_total(name));
        let heard = |status| self.heard_by_producers(status);
        let calm = self.calm_exchanges();
        let consumers_left = self.consumers_left();
        let producers_left = self.producers_left.load(Relaxed);
        let spoiled = self.bodies_spoiled.load(Relaxed);
        let taken = self.bodies_taken() + calm;
        let accepted = heard(200) + calm;
        for (name, at_least, at_most) in [
            (
                "delivered",
                taken.max(accepted),
                (taken + consumers_left).min(accepted + producers_left),
            ),
            ("consumer_left", heard(502), consumers_left),
            ("producer_left", 0, producers_left + spoiled),
            ("deleted", 0, heard(410) + producers_left),
            ("idle", 0, heard(408) + producers_left + consumers_left),
            ("drained", 0, 0),
        ] {
            let counted = outcome(name);
            assert!(
                (at_least..=at_most).contains(&counted),
                "{counted} exchanges ended as {name}, {at_least} to {at_most} were expected"
            );
        }
        assert_eq!(metrics.value("httpipe_panics_total"), 0);
    }

    /// Each status that a client heard was counted, and no more than those that nobody waited for.
    fn settle_replies(&self, metrics: &Metrics) {
        let unanswered = self.unanswered.load(Relaxed);
        let replies = self.replies.lock().expect("no client panicked");
        for status in [
            200, 204, 400, 404, 405, 408, 410, 413, 414, 417, 431, 501, 502, 503, 505,
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
                "{counted} replies {status} counted, {heard} heard, {unanswered} not listened to"
            );
        }
        assert_eq!(
            replies.keys().find(|status| **status >= 506),
            None,
            "an unknown status"
        );
    }

    fn heard_by_producers(&self, status: u16) -> u64 {
        let heard = self.to_producers.lock().expect("no client panicked");
        heard.get(&status).copied().unwrap_or_default()
    }

    fn consumers_left(&self) -> u64 {
        let left = |tally: &Tally| tally.consumers_left.load(Relaxed);
        self.channels.iter().map(left).sum()
    }

    fn bodies_taken(&self) -> u64 {
        let records = self.records.lock().expect("no client panicked");
        let labelled = records.iter().filter(|record| record.taken).count() as u64;
        let empties = |tally: &Tally| tally.empties_taken.load(Relaxed);
        labelled + self.channels.iter().map(empties).sum::<u64>()
    }

    /// The figures of the run, for people.
    pub fn report(&self, metrics: &Metrics) -> String {
        let mut text = String::new();
        for name in OUTCOMES {
            let _ = write!(text, "{name} {}, ", metrics.value(&exchanges_total(name)));
        }
        let begun = self.records.lock().expect("no client panicked").len();
        let _ = write!(
            text,
            "calm pairs {}\n  bodies: {begun} begun, {} taken whole, {} seen cut, {} spoiled; \
             {} bytes verified\n  replies heard:",
            self.calm_exchanges(),
            self.bodies_taken(),
            self.cuts.load(Relaxed),
            self.bodies_spoiled.load(Relaxed),
            self.bytes_verified.load(Relaxed),
        );
        for (status, count) in &*self.replies.lock().expect("no client panicked") {
            let _ = write!(text, " {status}: {count}");
        }
        let _ = write!(
            text,
            "; not listened to: {} ({} consumers, {} producers)\n  oddities:",
            self.unanswered.load(Relaxed),
            self.consumers_left(),
            self.producers_left.load(Relaxed),
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

/// Exchanges that ended, in whatever way.
pub fn exchanges_ended(metrics: &Metrics) -> u64 {
    let ended = OUTCOMES.map(|outcome| metrics.value(&exchanges_total(outcome)));
    ended.iter().sum()
}
