//! Plain counters, one set per shard, summed on read. Pure.
//!
//! Must never: use a channel's name as a label, or cost the data path more than an addition.

use std::{cell::Cell, fmt};

use prometheus_client::{
    collector::Collector,
    encoding::{
        DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeLabelValue, EncodeMetric,
    },
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::{Registry, Unit},
};

use strum::{EnumCount, EnumIter, IntoEnumIterator, IntoStaticStr};

use crate::{
    http::status::Status,
    model::{refusal::Kind, registry::Side, verdict::Outcome},
    observe::histogram::{Histogram, Observed},
};

/// How payload bytes moved from one socket to the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumCount, EnumIter, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Path {
    /// Through a pipe, without a copy.
    Spliced,
    /// Through a buffer.
    Copied,
    /// In one send with the consumer's head.
    WithHead,
}

/// The counters of one shard.
#[derive(Debug, Default)]
pub struct Counters {
    /// Requests received, counted on the shard that answers them.
    pub requests: Counter,
    /// Connections handed over to another shard.
    pub handovers: Counter,
    pub panics: Counter,
    /// Bytes that clients sent after their last reply.
    pub discarded_bytes: Counter,
    exchanges: [Counter; Outcome::COUNT],
    bytes: [Counter; Path::COUNT],
    replies: [Counter; Status::COUNT],
    refusals: Each<Counter, { Kind::COUNT }>,
    waits: [Histogram; 2],
    exchange_times: Histogram,
}

/// One value for each of `N` kinds. The standard library has defaults for arrays of up to 32.
#[derive(Clone, Debug)]
struct Each<T, const N: usize>([T; N]);

impl<T: Default, const N: usize> Default for Each<T, N> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| T::default()))
    }
}

/// A counter that one thread increments.
#[derive(Debug, Default)]
pub struct Counter(Cell<u64>);

impl Counter {
    pub fn add(&self, n: u64) {
        self.0.set(self.0.get() + n);
    }

    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.get()
    }
}

impl Counters {
    /// A request of `side` was matched, `micros` after its arrival.
    pub fn matched(&self, side: Side, micros: u64) {
        self.waits[side as usize].observe(micros);
    }

    /// An exchange ended, `micros` after the match.
    pub fn exchange_ended(&self, outcome: Outcome, micros: u64) {
        self.exchanges[outcome as usize].add(1);
        self.exchange_times.observe(micros);
    }

    /// `bytes` of payload were sent on.
    pub fn moved(&self, path: Path, bytes: u64) {
        self.bytes[path as usize].add(bytes);
    }

    pub fn replied(&self, status: Status) {
        self.replies[status as usize].add(1);
    }

    pub fn refused(&self, kind: Kind) {
        self.refusals.0[kind as usize].add(1);
    }
}

/// The current gauges of one shard.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gauges {
    pub connections: u64,
    pub channels: u64,
    pub waiting_producers: u64,
    pub waiting_consumers: u64,
    pub exchanging: u64,
    /// Pipes, pooled and in use.
    pub pipes: u64,
}

/// The sum over shards, for exposition.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    requests: u64,
    handovers: u64,
    panics: u64,
    discarded_bytes: u64,
    exchanges: [u64; Outcome::COUNT],
    bytes: [u64; Path::COUNT],
    replies: [u64; Status::COUNT],
    refusals: Each<u64, { Kind::COUNT }>,
    waits: [Observed; 2],
    exchange_times: Observed,
    gauges: Gauges,
    /// The values per shard that show whether the load is even.
    shards: Vec<Share>,
}

#[derive(Clone, Copy, Debug)]
struct Share {
    shard: usize,
    requests: u64,
    handovers: u64,
    connections: u64,
    exchanging: u64,
}

impl Snapshot {
    /// The snapshot of shard number `shard`.
    #[must_use]
    pub fn new(shard: usize, counters: &Counters, gauges: Gauges) -> Self {
        let share = Share {
            shard,
            requests: counters.requests.get(),
            handovers: counters.handovers.get(),
            connections: gauges.connections,
            exchanging: gauges.exchanging,
        };
        Self {
            requests: share.requests,
            handovers: share.handovers,
            panics: counters.panics.get(),
            discarded_bytes: counters.discarded_bytes.get(),
            exchanges: counters.exchanges.each_ref().map(Counter::get),
            bytes: counters.bytes.each_ref().map(Counter::get),
            replies: counters.replies.each_ref().map(Counter::get),
            refusals: Each(counters.refusals.0.each_ref().map(Counter::get)),
            waits: counters.waits.each_ref().map(Histogram::observed),
            exchange_times: counters.exchange_times.observed(),
            gauges,
            shards: vec![share],
        }
    }

    /// Adds another shard's share.
    pub fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.handovers += other.handovers;
        self.panics += other.panics;
        self.discarded_bytes += other.discarded_bytes;
        add_each(&mut self.exchanges, &other.exchanges);
        add_each(&mut self.bytes, &other.bytes);
        add_each(&mut self.replies, &other.replies);
        add_each(&mut self.refusals.0, &other.refusals.0);
        for (sum, share) in self.waits.iter_mut().zip(&other.waits) {
            sum.add(share);
        }
        self.exchange_times.add(&other.exchange_times);
        let (sum, share) = (&mut self.gauges, &other.gauges);
        sum.connections += share.connections;
        sum.channels += share.channels;
        sum.waiting_producers += share.waiting_producers;
        sum.waiting_consumers += share.waiting_consumers;
        sum.exchanging += share.exchanging;
        sum.pipes += share.pipes;
        self.shards.extend_from_slice(&other.shards);
    }

    /// The text format of Prometheus (OpenMetrics 1.0), with the metrics of `beside`.
    #[must_use]
    pub fn into_text(mut self, beside: impl Collector) -> String {
        self.shards.sort_unstable_by_key(|share| share.shard);
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        registry.register_collector(Box::new(beside));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry)
            .expect("writing to a string does not fail");
        text
    }
}

fn add_each(sums: &mut [u64], shares: &[u64]) {
    for (sum, share) in sums.iter_mut().zip(shares) {
        *sum += share;
    }
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.encode_counts(&mut encoder)?;
        self.encode_times(&mut encoder)?;
        self.encode_gauges(&mut encoder)?;
        self.encode_shards(&mut encoder)?;
        encode_build(&mut encoder)
    }
}

impl Snapshot {
    fn encode_counts(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        counter(to, "httpipe_requests", "Requests received", self.requests)?;
        counter(
            to,
            "httpipe_handovers",
            "Connections handed over to the shard that owns their channel",
            self.handovers,
        )?;
        counter(
            to,
            "httpipe_panics",
            "Tasks that panicked; each is a bug of the server",
            self.panics,
        )?;
        let exchanges = Outcome::iter().map(Outcome::label);
        family(
            to,
            "httpipe_exchanges",
            "Ended exchanges, by outcome",
            "outcome",
            exchanges.zip(self.exchanges),
        )?;
        let paths = Path::iter().map(<&str>::from);
        family(
            to,
            "httpipe_bytes",
            "Payload bytes sent on, by path: spliced, copied, or with the head",
            "path",
            paths.zip(self.bytes),
        )?;
        counter(
            to,
            "httpipe_discarded_bytes",
            "Bytes read and dropped after the last reply on a connection",
            self.discarded_bytes,
        )?;
        let statuses = Status::iter().map(Status::code);
        family(
            to,
            "httpipe_replies",
            "Replies, by status",
            "status",
            statuses.zip(self.replies),
        )?;
        let kinds = Kind::iter().map(Kind::label);
        family(
            to,
            "httpipe_refusals",
            "Error responses, by kind",
            "kind",
            kinds.zip(self.refusals.0),
        )
    }

    fn encode_times(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Time from the arrival of a matched request to its match, in seconds; the clock \
                    has steps of up to 0.01 s";
        let (unit, kind) = (Unit::Seconds, MetricType::Histogram);
        let mut waits = to.encode_descriptor("httpipe_wait", help, Some(&unit), kind)?;
        for (side, observed) in ["producer", "consumer"].into_iter().zip(&self.waits) {
            observed.encode(waits.encode_family(&[("side", side)])?)?;
        }
        let help = "Time from a match to the end of the exchange, in seconds; the clock has steps of \
                    up to 0.01 s";
        let (unit, kind) = (Unit::Seconds, MetricType::Histogram);
        let times = to.encode_descriptor("httpipe_exchange", help, Some(&unit), kind)?;
        self.exchange_times.encode(times)
    }

    fn encode_gauges(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let gauges = &self.gauges;
        for (name, help, value) in [
            (
                "httpipe_connections",
                "Open connections",
                gauges.connections,
            ),
            ("httpipe_channels", "Channels in use", gauges.channels),
            (
                "httpipe_exchanging",
                "Exchanges under way",
                gauges.exchanging,
            ),
            ("httpipe_pipes", "Pipes, pooled and in use", gauges.pipes),
        ] {
            gauge(to, name, help, value)?;
        }
        let help = "Requests that wait for a counterpart";
        let mut waiting = to.encode_descriptor("httpipe_waiting", help, None, MetricType::Gauge)?;
        for (side, count) in [
            ("producer", gauges.waiting_producers),
            ("consumer", gauges.waiting_consumers),
        ] {
            ConstGauge::new(count).encode(waiting.encode_family(&[("side", side)])?)?;
        }
        Ok(())
    }

    /// Separate families, so that a sum over a family counts nothing twice.
    fn encode_shards(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let each = |of: fn(&Share) -> u64| {
            self.shards
                .iter()
                .map(move |share| (share.shard, of(share)))
        };
        family(
            to,
            "httpipe_shard_requests",
            "Requests received, by shard",
            "shard",
            each(|share| share.requests),
        )?;
        family(
            to,
            "httpipe_shard_handovers",
            "Connections handed over to another shard, by the sending shard",
            "shard",
            each(|share| share.handovers),
        )?;
        for (name, help, of) in [
            (
                "httpipe_shard_connections",
                "Open connections, by shard",
                (|share| share.connections) as fn(&Share) -> u64,
            ),
            (
                "httpipe_shard_exchanging",
                "Exchanges under way, by shard",
                |share| share.exchanging,
            ),
        ] {
            let mut metric = to.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (shard, value) in each(of) {
                ConstGauge::new(value).encode(metric.encode_family(&[("shard", shard)])?)?;
            }
        }
        Ok(())
    }
}

/// A gauge of value 1: the Prometheus convention for text.
fn encode_build(to: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let help = "The server's version; always 1";
    let mut build = to.encode_descriptor("httpipe_build_info", help, None, MetricType::Gauge)?;
    let labels = [("version", env!("CARGO_PKG_VERSION"))];
    ConstGauge::new(1u64).encode(build.encode_family(&labels)?)
}

/// `name` must not end in `_total`: the encoder appends it.
pub(crate) fn counter(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: impl EncodeCounterValue,
) -> fmt::Result {
    let to = to.encode_descriptor(name, help, None, MetricType::Counter)?;
    ConstCounter::new(value).encode(to)
}

pub(crate) fn gauge(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: impl EncodeGaugeValue,
) -> fmt::Result {
    let to = to.encode_descriptor(name, help, None, MetricType::Gauge)?;
    ConstGauge::new(value).encode(to)
}

fn family<Label: EncodeLabelValue>(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    label: &str,
    values: impl Iterator<Item = (Label, u64)>,
) -> fmt::Result {
    let mut metric = to.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (value, count) in values {
        ConstCounter::new(count).encode(metric.encode_family(&[(label, value)])?)?;
    }
    Ok(())
}
