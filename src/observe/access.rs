//! The access log: one line for every request, answered or abandoned by its client.
//!
//! Owns: the fields of a line until it is written, and the redaction of names. Every connection has a
//! [`Line`]. Without an access log it stays empty, and each of its methods costs one comparison.
//!
//! Must never: write a plain name unless configured, or make a system call, except one for each
//! connection's peer address.

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

/// The `tracing` target of the access log, for filters.
pub const TARGET: &str = "httpipe::access";

/// Outcome: the client left before the response.
const LEFT: &str = "left";

/// Outcome: the task of the request, or of its counterpart, panicked.
const PANICKED: &str = "panicked";

/// The configuration of the access log, shared by all shards.
#[derive(Debug)]
pub struct AccessLog {
    names: Names,
    /// Names are short and guessable: without a secret key, a hash could be reversed by trying names.
    /// The key is new in each process, so hashes of two runs cannot be compared.
    key: RandomState,
}

impl AccessLog {
    /// Chooses a random key.
    #[must_use]
    pub fn new(names: Names) -> Self {
        Self {
            names,
            key: RandomState::new(),
        }
    }

    /// Redacts the names of a namespace and of a channel in it. A channel's hash covers its namespace:
    /// channels of the same name in two namespaces have different hashes.
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
            // A separator: names contain no control characters.
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

/// The line of a connection's current request. Empty without an access log.
#[derive(Default)]
pub struct Line(Cell<Option<Box<Record>>>);

#[derive(Debug)]
struct Record {
    /// Looked up once, at the start: after a reset TCP no longer knows it.
    peer: String,
    /// The current request; `None` between two requests.
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
    /// A head has arrived; `method` is `None` if it is invalid. `peer` is called only for the first
    /// request of a connection.
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
            Route::Robots => ("robots", None, Redacted::default()),
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

    #[inline]
    pub fn matched(&self, now: Reading) {
        self.note(|request| request.matched = Some(now));
    }

    /// The request waits again, because its exchange moved nothing.
    #[inline]
    pub fn unmatched(&self) {
        self.note(|request| request.matched = None);
    }

    /// `bytes`: payload moved for the request so far.
    #[inline]
    pub fn moved(&self, bytes: u64) {
        self.note(|request| request.bytes = bytes);
    }

    /// The response was sent, or has begun. `outcome` is the label of a
    /// [`crate::model::reply::Meaning`] or a [`crate::model::verdict::Outcome`]. Returns false without a
    /// current request.
    #[inline]
    pub fn answered(&self, status: Status, outcome: &'static str) -> bool {
        self.note(|request| {
            request.status = Some(status);
            request.outcome = outcome;
        })
    }

    /// A response that had begun has ended.
    #[inline]
    pub fn ended(&self, outcome: &'static str) {
        self.note(|request| request.outcome = outcome);
    }

    /// The client left before the response.
    #[inline]
    pub fn left(&self) {
        self.ended(LEFT);
    }

    /// The connection's task panicked, or the task that sends it a body.
    #[inline]
    pub fn panicked(&self) {
        self.ended(PANICKED);
    }

    /// Updates the current request; returns false without one.
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

    /// Writes the line of the current request, which arrived at `arrived`. No-op without one.
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

/// Text from clients is passed as strings, which the subscriber quotes and escapes.
#[cold]
fn write(peer: &str, request: &Asked, arrived: Reading, now: Reading) {
    let side = request.side.map(|side| match side {
        Side::Producer => "producer",
        Side::Consumer => "consumer",
    });
    // A request without a match waited until its end.
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
    fn equal_channels_have_equal_hashes_and_different_ones_differ() {
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
    fn hashes_differ_between_two_runs() {
        let one = AccessLog::new(Names::Hash).redact("a", None);
        let other = AccessLog::new(Names::Hash).redact("a", None);
        assert_ne!(one.namespace, other.namespace);
    }

    #[test]
    fn names_are_omitted_or_plain_as_configured() {
        let none = AccessLog::new(Names::None).redact("a", Some("b"));
        assert_eq!((none.namespace, none.channel), (None, None));
        let plain = AccessLog::new(Names::Plain).redact("a", Some("b"));
        assert_eq!(plain.namespace.as_deref(), Some("a"));
        assert_eq!(plain.channel.as_deref(), Some("b"));
    }
}
