//! Soak: mixed traffic for any time, and a check that nothing grows: memory is flat within a stated
//! bound, gauges return to their start values, and the same descriptors are open as before, by
//! kind, except for kept pipes.
//!
//! The long run, with its figures:
//! `HTTPIPE_SOAK_SECONDS=900 cargo test --release --test httpipe soak -- --nocapture`

use crate::support::connection::Connection;
use crate::support::pattern::{assert_same_bytes, pattern};
use crate::support::process::{descriptor_targets, descriptors, resident_bytes};
use crate::support::request::{chunked, get, post, post_chunked_head, post_head, request};
use crate::support::server::Server;
use crate::support::within_bound;
use fastrand::Rng;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

const SECONDS: u64 = 15;
const SAMPLE_PERIOD: Duration = Duration::from_secs(1);
/// The first part of the run, not judged: tables and pipes grow to the size that the traffic needs.
const WARM_UP_SHARE: u32 = 5;
/// How much more memory the last third may hold than the first. Measured: 37 to 134 KiB in nine
/// runs of 15 and 60 s, on an idle machine and a busy one with two cores; the margin is for more
/// cores.
const GROWTH_BYTES_MAX: u64 = 1 << 20;
/// The most connections and waiting requests at once: each client below has at most two, those that
/// left stay open for some time, and one asks for metrics.
const CONNECTIONS_MAX: u64 = 200;
/// The most pipes that the server opens and keeps: `bulk`, `chunked` and `broken bodies` have one
/// channel each with large enough bodies, and a channel has one exchange at a time.
const PIPES_MAX: usize = 3;

/// One round of a kind of traffic, in its own namespace.
type Turn = fn(&Server, &mut Rng, &str);
/// One figure of a sample.
type Figure = fn(&Sample) -> u64;

/// The kinds of traffic; each runs in its own thread until it is stopped.
const TRAFFIC: [(&str, Turn); 9] = [
    ("pairs", pair),
    ("other pairs", pair),
    ("bulk", bulk),
    ("chunked", chunked_pair),
    ("waits in vain", wait_in_vain),
    ("leavers", leave),
    ("broken bodies", break_off),
    ("deletions", delete),
    ("looks", look),
];

/// One reading of the server's figures.
#[derive(Clone, Copy)]
struct Sample {
    resident_bytes: u64,
    descriptors: u64,
    connections: u64,
    channels: u64,
    waiting: u64,
    exchanging: u64,
    pipes: u64,
}

impl Sample {
    fn take(server: &Server) -> Self {
        let metrics = server.metrics();
        let waiting = ["producer", "consumer"]
            .map(|side| metrics.value(&format!("httpipe_waiting{{side=\"{side}\"}}")));
        Self {
            resident_bytes: resident_bytes(server.pid()),
            descriptors: descriptors(server.pid()) as u64,
            connections: metrics.value("httpipe_connections"),
            channels: metrics.value("httpipe_channels"),
            waiting: waiting.iter().sum(),
            exchanging: metrics.value("httpipe_exchanging"),
            pipes: metrics.value("httpipe_pipes"),
        }
    }

    /// What holds at every moment: nothing accumulates.
    fn check(&self) {
        assert!(
            self.connections <= CONNECTIONS_MAX,
            "{} connections",
            self.connections
        );
        assert!(self.waiting <= self.connections, "{} wait", self.waiting);
        assert!(
            self.channels <= self.waiting + self.exchanging + self.connections,
            "{} channels",
            self.channels
        );
        // Each exchange has two connections; the shards are not read at the same moment.
        assert!(
            self.exchanging <= CONNECTIONS_MAX / 2,
            "{} exchanges",
            self.exchanging
        );
    }
}

#[test]
fn soak_under_mixed_traffic_nothing_grows() {
    let seconds = std::env::var("HTTPIPE_SOAK_SECONDS").map_or(SECONDS, |seconds| {
        seconds.parse().expect("HTTPIPE_SOAK_SECONDS is a number")
    });
    let server = Server::start(&["--threads", "2", "--request-timeout", "0.5"]);
    let unused = descriptor_kinds(server.pid());
    let (stop, turns) = (
        AtomicBool::new(false),
        [const { AtomicU64::new(0) }; TRAFFIC.len()],
    );
    let samples = std::thread::scope(|scope| {
        for (nth, (_, act)) in TRAFFIC.into_iter().enumerate() {
            let (server, stop, turns) = (&server, &stop, &turns[nth]);
            scope.spawn(move || {
                let _stop_all = StopOnPanic(stop);
                let mut rng = Rng::with_seed(nth as u64);
                let namespace = format!("soak{nth}");
                while !stop.load(Relaxed) {
                    act(server, &mut rng, &namespace);
                    turns.fetch_add(1, Relaxed);
                }
            });
        }
        sample(&server, &stop, Duration::from_secs(seconds))
    });
    for ((name, _), turns) in TRAFFIC.iter().zip(&turns) {
        eprintln!("soak: {name}: {} turns", turns.load(Relaxed));
        assert!(turns.load(Relaxed) > 0, "{name} made no progress");
    }
    check_flat(&samples);
    check_nothing_left(&server, &unused);
}

/// Stops the traffic when its thread panics.
struct StopOnPanic<'a>(&'a AtomicBool);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(true, Relaxed);
        }
    }
}

/// Takes a sample every second until the time is over, then stops the traffic.
fn sample(server: &Server, stop: &AtomicBool, length: Duration) -> Vec<Sample> {
    let _stop_all = StopOnPanic(stop);
    let (began, warm_up) = (Instant::now(), length / WARM_UP_SHARE);
    let mut samples = Vec::new();
    while began.elapsed() < length && !stop.load(Relaxed) {
        std::thread::sleep(SAMPLE_PERIOD);
        if began.elapsed() >= warm_up {
            let sample = Sample::take(server);
            sample.check();
            samples.push(sample);
        }
    }
    stop.store(true, Relaxed);
    samples
}

/// The last third of the run holds no more than the first.
fn check_flat(samples: &[Sample]) {
    let third = (samples.len() / 3).max(1);
    let (first, last) = (&samples[..third], &samples[samples.len() - third..]);
    let mean = |of: &[Sample], what: Figure| of.iter().map(what).sum::<u64>() / of.len() as u64;
    let figures: [(&str, Figure); 7] = [
        ("resident KiB", |sample| sample.resident_bytes >> 10),
        ("descriptors", |sample| sample.descriptors),
        ("connections", |sample| sample.connections),
        ("channels", |sample| sample.channels),
        ("waiting", |sample| sample.waiting),
        ("exchanging", |sample| sample.exchanging),
        ("pipes", |sample| sample.pipes),
    ];
    eprintln!(
        "soak: {} samples, means of the first and last third:",
        samples.len()
    );
    for (name, what) in figures {
        let most = samples.iter().map(what).max().unwrap_or_default();
        eprintln!(
            "  {name}: {} then {}, at most {most}",
            mean(first, what),
            mean(last, what)
        );
    }
    let resident = |of| mean(of, |sample| sample.resident_bytes);
    assert!(
        resident(last) <= resident(first) + GROWTH_BYTES_MAX,
        "from {} to {} bytes resident",
        resident(first),
        resident(last)
    );
}

/// No channel, connection or descriptor is left after the traffic, except the descriptors of kept
/// pipes.
fn check_nothing_left(server: &Server, unused: &BTreeMap<String, usize>) {
    server.until_unused();
    server.until_metric("httpipe_connections", 1);
    let metrics = server.metrics();
    assert_eq!(metrics.value("httpipe_panics_total"), 0);
    let pipes = metrics.value("httpipe_pipes") as usize;
    assert!(pipes <= PIPES_MAX, "{pipes} pipes are kept");
    let mut expected = unused.clone();
    *expected.entry("pipe".to_owned()).or_default() += 2 * pipes;
    // The connection that asked for metrics closes a moment later.
    let settled = within_bound(|| (descriptor_kinds(server.pid()) == expected).then_some(()));
    assert!(
        settled.is_some(),
        "expected the descriptors from before the traffic, {expected:?} with {pipes} pipes: {:#?}",
        descriptor_targets(server.pid())
    );
    eprintln!("soak: descriptors before and after: {unused:?}, and {pipes} pipes");
}

/// The number of open descriptors of the process, by kind.
fn descriptor_kinds(pid: u32) -> BTreeMap<String, usize> {
    let mut kinds = BTreeMap::new();
    for target in descriptor_targets(pid) {
        // A socket or a pipe is `kind:[number]`.
        let kind = match target.split_once(":[") {
            Some((kind @ ("socket" | "pipe"), _)) => kind.to_owned(),
            _ => target,
        };
        *kinds.entry(kind).or_default() += 1;
    }
    kinds
}

// ---------------------------------------------------------------- traffic

/// Some small exchanges on two kept connections.
fn pair(server: &Server, rng: &mut Rng, namespace: &str) {
    let (mut consumer, mut producer) = (server.connect(), server.connect());
    for round in 0..rng.usize(1..100) {
        let channel = format!("{namespace}/{}", rng.u32(..100));
        let body = pattern(round, rng.usize(..2000));
        if rng.bool() {
            consumer.send(get(&channel));
            producer.send(post(&channel, body));
        } else {
            producer.send(post(&channel, body));
            consumer.send(get(&channel));
        }
        if !hear_pair(&mut producer, &mut consumer, body) {
            return;
        }
    }
}

/// Reads both replies. On a busy machine the two may not have met: then both have timed out.
fn hear_pair(producer: &mut Connection, consumer: &mut Connection, body: &[u8]) -> bool {
    let taken = consumer.reply();
    let sent = producer.reply();
    match taken.status {
        200 => {
            assert_same_bytes(&taken.body, body);
            sent.assert_status(200);
        }
        408 => drop(sent.assert_status(408)),
        status => panic!("{status}"),
    }
    !sent.closes() && !taken.closes()
}

/// A body that is spliced.
fn bulk(server: &Server, rng: &mut Rng, namespace: &str) {
    exchange_large(
        server,
        namespace,
        pattern(1, rng.usize(1 << 20..8 << 20)),
        None,
    );
}

/// A body in chunks, of any size.
fn chunked_pair(server: &Server, rng: &mut Rng, namespace: &str) {
    let body = pattern(2, rng.usize(..400_000));
    exchange_large(server, namespace, body, Some(rng.usize(1000..100_000)));
}

fn exchange_large(server: &Server, namespace: &str, body: &[u8], chunk_bytes: Option<usize>) {
    let channel = format!("{namespace}/large");
    let bytes = match chunk_bytes {
        Some(chunk_bytes) => [post_chunked_head(&channel), chunked(body, chunk_bytes)].concat(),
        None => post(&channel, body),
    };
    let mut consumer = server.consume(&channel);
    std::thread::scope(|scope| {
        let producer = scope.spawn(|| {
            let mut producer = server.connect();
            // A request that has timed out is refused before its body is read.
            let _ = producer.try_send(&bytes);
            producer.reply().status
        });
        let reply = consumer.reply();
        let heard = producer.join().expect("the producer receives a reply");
        assert!(matches!((reply.status, heard), (200, 200) | (408, 408)));
        if reply.status == 200 {
            assert_same_bytes(&reply.body, body);
        }
    });
}

/// Both sides time out, on separate channels.
fn wait_in_vain(server: &Server, rng: &mut Rng, namespace: &str) {
    let mut lonely: Vec<_> = (0..10)
        .map(|nth| {
            let channel = format!("{namespace}/{}", rng.u64(..));
            match nth % 2 {
                0 => server.consume(&channel),
                _ => server.produce(&channel, pattern(nth, 3000 * nth)),
            }
        })
        .collect();
    for waiting in &mut lonely {
        waiting.reply().assert_status(408);
    }
}

/// Clients that leave while they wait, in different ways.
fn leave(server: &Server, rng: &mut Rng, namespace: &str) {
    for nth in 0..10 {
        let channel = format!("{namespace}/{}", rng.u64(..));
        let mut leaving = match rng.bool() {
            true => server.consume(&channel),
            false => server.produce(&channel, pattern(nth, rng.usize(..50_000))),
        };
        match rng.u8(..3) {
            0 => leaving.close(),
            1 => leaving.reset(),
            _ => {
                leaving.half_close();
                leaving.until_end();
            }
        }
    }
}

/// An exchange that one side stops.
fn break_off(server: &Server, rng: &mut Rng, namespace: &str) {
    let channel = format!("{namespace}/broken");
    let mut consumer = server.consume(&channel);
    let mut producer = server.connect_and_send(&post_head(&channel, 3 << 20));
    let _ = producer.try_send(pattern(3, rng.usize(1..300_000)));
    if consumer.head().status != 200 {
        return;
    }
    if rng.bool() {
        producer.close();
        consumer.expect_cut();
    } else {
        consumer.reset();
        assert!(matches!(producer.reply().status, 502 | 408));
    }
}

/// Waiting requests that are deleted with their namespace.
fn delete(server: &Server, rng: &mut Rng, namespace: &str) {
    let mut waiting: Vec<_> = (0..10)
        .map(|_| server.consume(&format!("{namespace}/{}", rng.u64(..))))
        .collect();
    server.ask("DELETE", &format!("/channels/{namespace}"));
    for consumer in &mut waiting {
        assert!(matches!(consumer.reply().status, 410 | 408));
    }
}

/// Listings and metrics, on one connection.
fn look(server: &Server, _: &mut Rng, _: &str) {
    let mut connection = server.connect();
    for target in [
        "/state",
        "/metrics",
        "/channels/namespaces",
        "/healthz",
        "/",
    ] {
        connection.send(request("GET", target));
        connection.reply().assert_status(200);
    }
}
