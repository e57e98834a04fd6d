//! Plain counters, one set a shard, summed when somebody asks. Pure.
//!
//! Must never: hold a channel's name, or cost the way of the data more than an addition.

use std::{cell::Cell, fmt};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};

use crate::error::Status;

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The whole body was handed to the consumer's connection.
    Delivered,
    /// The producer left, or broke its framing.
    ProducerLeft,
    /// The consumer left.
    ConsumerLeft,
    /// The channel was deleted.
    Deleted,
    /// Nothing moved for `--idle-timeout`.
    Idle,
    /// The server ended.
    Drained,
}

impl Outcome {
    const ALL: [(Self, &'static str); 6] = [
        (Self::Delivered, "delivered"),
        (Self::ProducerLeft, "producer_left"),
        (Self::ConsumerLeft, "consumer_left"),
        (Self::Deleted, "deleted"),
        (Self::Idle, "idle"),
        (Self::Drained, "drained"),
    ];
}

/// How payload bytes got from one socket to the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// Through a pipe, without a copy.
    Spliced,
    /// Through a buffer.
    Copied,
    /// In one send with the consumer's head.
    WithHead,
}

impl Path {
    const ALL: [(Self, &'static str); 3] = [
        (Self::Spliced, "spliced"),
        (Self::Copied, "copied"),
        (Self::WithHead, "with_head"),
    ];
}

/// What a shard counts as it works.
#[derive(Debug, Default)]
pub struct Counters {
    /// Requests whose head was read, on the shard that answers them.
    pub requests: Counter,
    /// Connections given to another shard.
    pub handovers: Counter,
    /// Tasks that panicked.
    pub panics: Counter,
    exchanges: [Counter; Outcome::ALL.len()],
    bytes: [Counter; Path::ALL.len()],
    replies: [Counter; Status::ALL.len()],
}

/// A number that one thread counts up.
#[derive(Debug, Default)]
pub struct Counter(Cell<u64>);

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.set(self.0.get() + n);
    }

    /// The sum so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.get()
    }
}

impl Counters {
    /// An exchange ended.
    pub fn exchange_ended(&self, outcome: Outcome) {
        self.exchanges[outcome as usize].add(1);
    }

    /// So many bytes of payload were sent on.
    pub fn moved(&self, path: Path, bytes: u64) {
        self.bytes[path as usize].add(bytes);
    }

    /// A reply's head was sent.
    pub fn replied(&self, status: Status) {
        self.replies[status as usize].add(1);
    }
}

/// What a shard holds at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gauges {
    /// Open connections.
    pub connections: u64,
    /// Channels in use.
    pub channels: u64,
    /// Producers that wait for a consumer.
    pub waiting_producers: u64,
    /// Consumers that wait for a producer.
    pub waiting_consumers: u64,
    /// Exchanges under way.
    pub exchanging: u64,
    /// Pipes, pooled and in use.
    pub pipes: u64,
}

/// A sum over shards, ready to be written out.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    counts: [u64; COUNTS],
    gauges: Gauges,
}

const COUNTS: usize = 3 + Outcome::ALL.len() + Path::ALL.len() + Status::ALL.len();

impl Snapshot {
    /// One shard's share.
    #[must_use]
    pub fn new(counters: &Counters, gauges: Gauges) -> Self {
        let all = [&counters.requests, &counters.handovers, &counters.panics];
        let all = all
            .into_iter()
            .chain(&counters.exchanges)
            .chain(&counters.bytes)
            .chain(&counters.replies);
        let mut counts = [0; COUNTS];
        for (count, counter) in counts.iter_mut().zip(all) {
            *count = counter.get();
        }
        Self { counts, gauges }
    }

    /// Adds another shard's share.
    pub fn add(&mut self, other: &Self) {
        for (sum, share) in self.counts.iter_mut().zip(other.counts) {
            *sum += share;
        }
        let (sum, share) = (&mut self.gauges, &other.gauges);
        sum.connections += share.connections;
        sum.channels += share.channels;
        sum.waiting_producers += share.waiting_producers;
        sum.waiting_consumers += share.waiting_consumers;
        sum.exchanging += share.exchanging;
        sum.pipes += share.pipes;
    }

    /// The media type of what `to_text` writes.
    pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

    /// The text format that Prometheus reads (OpenMetrics 1.0).
    #[must_use]
    pub fn to_text(self) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry)
            .expect("writing to a string does not fail");
        text
    }
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.encode_counts(&mut encoder)?;
        self.encode_gauges(&mut encoder)
    }
}

impl Snapshot {
    fn encode_counts(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let [requests, handovers, panics, families @ ..] = &self.counts;
        counter(to, "httpipe_requests", "Requests", *requests)?;
        counter(
            to,
            "httpipe_handovers",
            "Connections given to another shard",
            *handovers,
        )?;
        counter(to, "httpipe_panics", "Tasks that panicked", *panics)?;

        let (exchanges, families) = families.split_at(Outcome::ALL.len());
        let (bytes, replies) = families.split_at(Path::ALL.len());
        let exchanges = Outcome::ALL.iter().map(|(_, name)| *name).zip(exchanges);
        family(
            to,
            "httpipe_exchanges",
            "Exchanges ended",
            "outcome",
            exchanges,
        )?;
        let bytes = Path::ALL.iter().map(|(_, name)| *name).zip(bytes);
        family(to, "httpipe_bytes", "Payload bytes sent on", "path", bytes)?;
        let replies = Status::ALL.iter().map(|status| status.code()).zip(replies);
        family(to, "httpipe_replies", "Replies", "status", replies)
    }

    fn encode_gauges(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let gauges = &self.gauges;
        gauge(
            to,
            "httpipe_connections",
            "Open connections",
            gauges.connections,
        )?;
        gauge(to, "httpipe_channels", "Channels in use", gauges.channels)?;
        gauge(
            to,
            "httpipe_exchanging",
            "Exchanges under way",
            gauges.exchanging,
        )?;
        gauge(
            to,
            "httpipe_pipes",
            "Pipes, pooled and in use",
            gauges.pipes,
        )?;
        let sides = [
            ("producer", gauges.waiting_producers),
            ("consumer", gauges.waiting_consumers),
        ];
        let help = "Waiting requests";
        let mut waiting = to.encode_descriptor("httpipe_waiting", help, None, MetricType::Gauge)?;
        for (side, count) in sides {
            let labels = [("side", side)];
            ConstGauge::new(count as i64).encode(waiting.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

fn counter(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    ConstCounter::new(value).encode(encoder.encode_descriptor(
        name,
        help,
        None,
        MetricType::Counter,
    )?)
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    ConstGauge::new(value as i64).encode(encoder.encode_descriptor(
        name,
        help,
        None,
        MetricType::Gauge,
    )?)
}

fn family<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    label: &str,
    values: impl Iterator<Item = (&'static str, &'a u64)>,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (value, count) in values {
        ConstCounter::new(*count).encode(metric.encode_family(&[(label, value)])?)?;
    }
    Ok(())
}
