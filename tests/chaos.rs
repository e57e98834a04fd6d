//! Chaos: hundreds of clients in random roles and with every fault that a client can have or cause;
//! a check that nothing is lost and nothing hangs.
//!
//! What is checked:
//! - A body that looks whole is exactly the whole body of one producer, sent to this channel
//!   (`ledger`); a cut body is a prefix of one. Each reply's head says which body it has, so that
//!   empty ones count too. No two consumers receive the beginning of the same body.
//! - If a producer receives 200, its last byte was handed to a consumer's connection: that consumer
//!   received the whole body, or left. No consumer that stayed saw it cut.
//! - A producer whose body was received whole, and which stays, receives 200. If it receives 502,
//!   its consumer left.
//! - Every client that stays receives a reply, within the bound of each read here, and the reply
//!   has a cause: 410 if a deletion of that channel was under way since the request began, 408 if
//!   its time was over, 503 if the server has that limit, 400 if the request was broken. Two
//!   undisturbed clients always succeed.
//! - The server's counters agree with the clients, as exactly as can be known.
//! - Afterwards nothing is left: no channel, no waiting request, no exchange, no connection, no
//!   descriptor except those of kept pipes, and no more memory than after a warm-up.
//! - The run covered all of this: every fault happened, and exchanges ended in every way.
//!
//! Seeded: `HTTPIPE_SEED` repeats a run as far as scheduling allows; a failing run prints it.
//! The long run, with its figures:
//! `HTTPIPE_CHAOS_EXCHANGES=1000000 cargo test --release --test httpipe chaos -- --nocapture`

mod client;
mod consumer;
mod ledger;
mod producer;

use crate::support::process::{descriptor_targets, descriptors, resident_bytes};
use crate::support::server::Server;
use crate::support::within_bound;
use client::{Client, FailAll, Weather, calm_pair, end_all_waits};
use fastrand::Rng;
use ledger::{Ledger, Limits, exchanges_ended};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Clients at once, one thread each.
const CLIENTS: usize = 224;
/// Exchanges in total over all servers; `HTTPIPE_CHAOS_EXCHANGES` overrides it.
const EXCHANGES: u64 = 25_000;
const SERVERS: u64 = 5;
/// If no client starts a new action for so long, the server hangs.
const STUCK: Duration = Duration::from_secs(30);
/// Memory that the server may hold after the run in addition to what it held after a warm-up of a
/// quarter of it: tables and buffers at the size of the largest peak, and what the allocator keeps.
const RESIDENT_GROWTH_BYTES_MAX: u64 = 8 << 20;

/// One server at a time: the machine is small, and each server has hundreds of clients.
static TURN: Mutex<()> = Mutex::new(());

#[test]
fn chaos_on_one_shard_loses_nothing_and_leaves_nothing_behind() {
    chaos(1, &[]);
}

#[test]
fn chaos_on_two_shards_loses_nothing_and_leaves_nothing_behind() {
    chaos(2, &["--threads", "2"]);
}

#[test]
fn chaos_on_four_shards_loses_nothing_and_leaves_nothing_behind() {
    chaos(3, &["--threads", "4"]);
}

#[test]
fn chaos_without_splicing_loses_nothing_and_leaves_nothing_behind() {
    chaos(4, &["--threads", "2", "--no-splice"]);
}

#[test]
fn chaos_within_tight_limits_loses_nothing_and_leaves_nothing_behind() {
    // On a busy machine even undisturbed clients may not meet in so short a time.
    let weather = Weather {
        calm_pairs: 0,
        long_stall: Duration::from_millis(1000),
        one_in: 2,
        limits: Limits {
            request_timeout: Duration::from_millis(500),
            idle_timeout: Some(Duration::from_millis(300)),
            max_waiting: Some(6),
        },
    };
    run(5, &["--threads", "2"], weather);
}

fn chaos(nth: u64, options: &[&str]) {
    let weather = Weather {
        calm_pairs: 4,
        long_stall: Duration::from_millis(2300),
        one_in: 20,
        limits: Limits {
            request_timeout: Duration::from_secs(2),
            idle_timeout: None,
            max_waiting: None,
        },
    };
    run(nth, options, weather);
}

/// Runs one server through a warm-up and the rest, and checks both.
fn run(nth: u64, options: &[&str], weather: Weather) {
    let _turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let seed = number_in_environment("HTTPIPE_SEED").unwrap_or(1) * 1000 + nth;
    let exchanges = number_in_environment("HTTPIPE_CHAOS_EXCHANGES").unwrap_or(EXCHANGES) / SERVERS;
    let limits = weather.limits.options();
    let limits: Vec<_> = limits.iter().map(String::as_str).collect();
    // A client may start slowly: hundreds share a core or two.
    let options = [options, &limits, &["--header-timeout", "60"]].concat();
    eprintln!("chaos: HTTPIPE_SEED={} {options:?}", seed / 1000);
    raise_descriptor_limit();
    let server = Server::start(&options);
    let began = Instant::now();
    let unused = Held::unused(&server);
    let ledger = Ledger::new(weather.limits);
    storm(&server, &ledger, seed, exchanges / 4, weather);
    let warm = Held::after(&server, &unused);
    storm(&server, &ledger, seed ^ 1 << 32, exchanges, weather);
    let after = Held::after(&server, &unused);
    let metrics = server.metrics();
    ledger.settle(&metrics);
    eprintln!(
        "chaos: {options:?}: {} exchanges in {:?}: {}\n  resident: {} KiB unused, {} KiB after a \
         quarter, {} KiB after all; descriptors: {}, {}, {}",
        exchanges_ended(&metrics),
        began.elapsed(),
        ledger.report(&metrics),
        unused.resident_bytes >> 10,
        warm.resident_bytes >> 10,
        after.resident_bytes >> 10,
        unused.descriptors,
        warm.descriptors,
        after.descriptors,
    );
    if exchanges >= EXCHANGES / SERVERS {
        ledger.settle_coverage(&metrics, exchanges);
    }
    assert!(
        after.resident_bytes <= warm.resident_bytes + RESIDENT_GROWTH_BYTES_MAX,
        "from {} to {} bytes resident",
        warm.resident_bytes,
        after.resident_bytes
    );
}

fn number_in_environment(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(
        value
            .parse()
            .unwrap_or_else(|_| panic!("{name} is a number")),
    )
}

/// The resources of an idle server.
struct Held {
    descriptors: usize,
    resident_bytes: u64,
}

impl Held {
    /// Of a server that nobody has used yet.
    fn unused(server: &Server) -> Self {
        Self {
            descriptors: descriptors(server.pid()),
            resident_bytes: resident_bytes(server.pid()),
        }
    }

    /// Waits until the server is unused, with no descriptor left over except the two of each kept
    /// pipe.
    fn after(server: &Server, unused: &Self) -> Self {
        server.until_unused();
        server.until_metric("httpipe_connections", 1);
        let pipes = server.metrics().value("httpipe_pipes");
        let expected = unused.descriptors + 2 * pipes as usize;
        // The connection that asked for metrics closes a moment later.
        let settled = within_bound(|| (descriptors(server.pid()) == expected).then_some(()));
        assert!(
            settled.is_some(),
            "expected {expected} descriptors, with {pipes} pipes: {:#?}",
            descriptor_targets(server.pid())
        );
        Self {
            descriptors: expected,
            resident_bytes: resident_bytes(server.pid()),
        }
    }
}

/// Runs all clients until the server has seen so many exchanges in total.
fn storm(server: &Server, ledger: &Ledger, seed: u64, exchanges: u64, weather: Weather) {
    ledger.go_on();
    std::thread::scope(|scope| {
        for number in 0..CLIENTS {
            let client = Client {
                server,
                ledger,
                weather,
                rng: Rng::with_seed(seed.wrapping_mul(1_000_003) + number as u64),
                number,
            };
            let name = format!("client {number}");
            let thread = std::thread::Builder::new()
                .name(name)
                .stack_size(512 * 1024);
            thread
                .spawn_scoped(scope, || client.run())
                .expect("a thread");
        }
        let calm: Vec<_> = (0..weather.calm_pairs)
            .map(|pair| {
                let rng = Rng::with_seed(seed + pair as u64);
                scope.spawn(move || calm_pair(server, ledger, pair, rng))
            })
            .collect();
        watch(server, ledger, exchanges);
        while !calm.iter().all(|pair| pair.is_finished()) {
            std::thread::sleep(Duration::from_millis(1));
        }
        end_all_waits(server, ledger);
    });
}

/// Stops the clients when the server has seen enough, when a client failed, or when no client makes
/// progress.
fn watch(server: &Server, ledger: &Ledger, exchanges: u64) {
    let _fail_all = FailAll(ledger);
    let (mut turns, mut risen) = (0, Instant::now());
    while !ledger.has_failed() {
        std::thread::sleep(Duration::from_millis(20));
        if ledger.turns() != turns {
            (turns, risen) = (ledger.turns(), Instant::now());
        } else if risen.elapsed() > STUCK {
            dump(server, ledger);
            panic!("no client made progress for {STUCK:?}");
        }
        let ended = exchanges_ended(&server.metrics()).saturating_sub(ledger.calm_exchanges());
        if ended >= exchanges {
            return ledger.stop();
        } else if ended >= exchanges - exchanges / 8 {
            ledger.come_to_an_end();
        }
    }
    dump(server, ledger);
}

/// Prints what is known about a failed run.
fn dump(server: &Server, ledger: &Ledger) {
    eprintln!("clients:\n{}", ledger.stuck(Duration::from_secs(2)));
    eprintln!("server:\n{}", server.stderr());
    eprintln!("{}", server.ask("GET", "/state").text());
    eprintln!("{}", server.ask("GET", "/metrics").text());
}

fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).expect("up to the hard limit");
}
