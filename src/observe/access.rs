//! The access log: one line for every request that was answered, or whose client left before.
//!
//! Owns: what is known of a request until its line is written, and how the names in it are written.
//! A connection has a [`Line`]. Without an access log it stays empty, and every method on it is one
//! comparison.
//!
//! Must never: write a name in the clear unless that was asked for, or ask the kernel for more than
//! each connection's peer, once.

use std::{
    cell::Cell,
    hash::{BuildHasher, Hasher, RandomState},
};

use crate::{
    config::Names,
    http::{method::Method, status::Status},
    io::clock::Reading,
    model::{
        registry::Side,
        route::{ChannelName, Route},
    },
};

/// What its lines are called where lines are chosen by their target.
pub const TARGET: &str = "httpipe::access";

/// The outcome of a request whose client went before it was answered.
const LEFT: &str = "left";

/// The outcome of a request whose task, or whose counterpart's, panicked.
const PANICKED: &str = "panicked";

/// The access log of a server that keeps one; the same for all its shards.
#[derive(Debug)]
pub struct AccessLog {
    names: Names,
    /// Names are short and can be guessed: without a key that nobody knows, a hash could be found
    /// by trying. It ends with the process, so lines of two runs cannot be put together.
    key: RandomState,
}

impl AccessLog {
    /// A log with a key of its own.
    #[must_use]
    pub fn new(names: Names) -> Self {
        Self {
            names,
            key: RandomState::new(),
        }
    }

    /// The name of a namespace, and of a channel in it, as they stand in a line. A channel's hash
    /// covers its namespace too: channels of the same name in two namespaces do not look alike.
    fn redact(&self, namespace: &str, channel: Option<&str>) -> Redacted {
        match self.names {
            Names::Hash => Redacted {
                namespace: Some(self.hash(&[namespace])),
                channel: channel.map(|channel| self.hash(&[namespace, channel])),
            },
            Names::None => Redacted::default(),
            Names::Plain => Redacted {
                namespace: Some(namespace.to_owned()),
                channel: channel.map(str::to_owned),
            },
        }
    }

    fn hash(&self, names: &[&str]) -> String {
        let mut hasher = self.key.build_hasher();
        for name in names {
            hasher.write(name.as_bytes());
            // No name holds a control character.
            hasher.write_u8(0);
        }
        format!("{:016x}", hasher.finish())
    }
}

#[derive(Debug, Default)]
struct Redacted {
    namespace: Option<String>,
    channel: Option<String>,
}

/// What the access log will say of the request that a connection has in hand. Empty where there is no
/// access log.
#[derive(Default)]
pub struct Line(Cell<Option<Box<Record>>>);

#[derive(Debug)]
struct Record {
    /// Asked for once: TCP no longer knows it after the peer has reset the connection.
    peer: String,
    /// The rest is about the request in hand; `None` between two requests.
    request: Option<Asked>,
}

#[derive(Debug)]
struct Asked {
    method: Option<Method>,
    route: Option<&'static str>,
    names: Redacted,
    side: Option<Side>,
    matched: Option<Reading>,
    status: Option<Status>,
    outcome: &'static str,
    bytes: u64,
}

impl Asked {
    fn new(method: Option<Method>) -> Self {
        Self {
            method,
            route: None,
            names: Redacted::default(),
            side: None,
            matched: None,
            status: None,
            outcome: LEFT,
            bytes: 0,
        }
    }
}

impl Line {
    /// A request has arrived whole; `method` is `None` if its head could not be parsed. `peer` is
    /// called for the first request of a connection only.
    #[cold]
    pub fn begin(&self, method: Option<Method>, peer: impl FnOnce() -> String) {
        let mut record = self.0.take().unwrap_or_else(|| {
            Box::new(Record {
                peer: peer(),
                request: None,
            })
        });
        record.request = Some(Asked::new(method));
        self.0.set(Some(record));
    }

    /// What the request asks for.
    #[cold]
    pub fn asks(&self, log: &AccessLog, route: &Route<'_>) {
        let channel = |name: &ChannelName<'_>| log.redact(&name.namespace, Some(&name.channel));
        let (label, side, names) = match route {
            Route::Produce(name) => ("produce", Some(Side::Producer), channel(name)),
            Route::Consume(name) => ("consume", Some(Side::Consumer), channel(name)),
            Route::DeleteChannel(name) => ("delete_channel", None, channel(name)),
            Route::DeleteNamespace(name) => ("delete_namespace", None, log.redact(name, None)),
            Route::ListChannels(name) => ("list_channels", None, log.redact(name, None)),
            Route::ListNamespaces => ("list_namespaces", None, Redacted::default()),
            Route::State => ("state", None, Redacted::default()),
            Route::Help => ("help", None, Redacted::default()),
            Route::Metrics => ("metrics", None, Redacted::default()),
            Route::Health => ("health", None, Redacted::default()),
            Route::Ready => ("ready", None, Redacted::default()),
            Route::Options(_) => ("options", None, Redacted::default()),
        };
        self.note(|request| {
            request.route = Some(label);
            request.side = side;
            request.names = names;
        });
    }

    /// The request was matched.
    #[inline]
    pub fn matched(&self, now: Reading) {
        self.note(|request| request.matched = Some(now));
    }

    /// The request waits again: its exchange moved nothing.
    #[inline]
    pub fn unmatched(&self) {
        self.note(|request| request.matched = None);
    }

    /// Bytes of payload that were moved for the request, in all.
    #[inline]
    pub fn moved(&self, bytes: u64) {
        self.note(|request| request.bytes = bytes);
    }

    /// The request was answered, or its answer has begun. `outcome` is the label of a
    /// [`crate::model::refusal::Kind`] or a [`crate::observe::counters::Outcome`], or one of this file's. Returns false if
    /// no request is in hand.
    #[inline]
    pub fn answered(&self, status: Status, outcome: &'static str) -> bool {
        self.note(|request| {
            request.status = Some(status);
            request.outcome = outcome;
        })
    }

    /// How an answer that has begun ended.
    #[inline]
    pub fn ended(&self, outcome: &'static str) {
        self.note(|request| request.outcome = outcome);
    }

    /// The client left before it was answered.
    #[inline]
    pub fn left(&self) {
        self.ended(LEFT);
    }

    /// The connection's task panicked, or the task that was to send it a body.
    #[inline]
    pub fn panicked(&self) {
        self.ended(PANICKED);
    }

    /// Changes what is known of the request in hand; returns false if there is none, or no log.
    #[inline]
    fn note(&self, change: impl FnOnce(&mut Asked)) -> bool {
        let Some(mut record) = self.0.take() else {
            return false;
        };
        let request = record.request.as_mut();
        let noted = request.map(change).is_some();
        self.0.set(Some(record));
        noted
    }

    /// The request in hand, which arrived at `arrived`, is over: writes its line. No-op if there is
    /// none.
    #[inline]
    pub fn finish(&self, arrived: Reading, now: impl FnOnce() -> Reading) {
        if let Some(mut record) = self.0.take() {
            if let Some(request) = record.request.take() {
                write(&record.peer, &request, arrived, now());
            }
            self.0.set(Some(record));
        }
    }
}

/// Text from clients is written as a string, which the log's form quotes and escapes.
#[cold]
fn write(peer: &str, request: &Asked, arrived: Reading, now: Reading) {
    let side = request.side.map(|side| match side {
        Side::Producer => "producer",
        Side::Consumer => "consumer",
    });
    // A request that was never matched has waited all its time.
    let waited = arrived.micros_until(request.matched.unwrap_or(now));
    tracing::info!(
        target: TARGET,
        peer,
        method = request.method.map(Method::name),
        route = request.route,
        namespace = request.names.namespace.as_deref(),
        channel = request.names.channel.as_deref(),
        side,
        status = request.status.map(Status::number),
        outcome = request.outcome,
        bytes = request.bytes,
        waited_us = side.map(|_| waited),
        took_us = arrived.micros_until(now),
        "request"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_tells_channels_apart_and_says_when_two_are_the_same() {
        let log = AccessLog::new(Names::Hash);
        let one = log.redact("a", Some("b"));
        let same = log.redact("a", Some("b"));
        assert_eq!(
            (&one.namespace, &one.channel),
            (&same.namespace, &same.channel)
        );
        let other = log.redact("a", Some("c"));
        assert_eq!(one.namespace, other.namespace);
        assert_ne!(one.channel, other.channel);
        let elsewhere = log.redact("ab", Some("b"));
        assert_ne!(one.namespace, elsewhere.namespace);
        assert_ne!(one.channel, elsewhere.channel);
        assert_ne!(one.channel, log.redact("b", None).namespace);
    }

    #[test]
    fn a_hash_is_another_at_each_start() {
        let one = AccessLog::new(Names::Hash).redact("a", None);
        let other = AccessLog::new(Names::Hash).redact("a", None);
        assert_ne!(one.namespace, other.namespace);
    }

    #[test]
    fn names_are_left_out_or_written_as_they_are() {
        let none = AccessLog::new(Names::None).redact("a", Some("b"));
        assert_eq!((none.namespace, none.channel), (None, None));
        let plain = AccessLog::new(Names::Plain).redact("a", Some("b"));
        assert_eq!(plain.namespace.as_deref(), Some("a"));
        assert_eq!(plain.channel.as_deref(), Some("b"));
    }
}
