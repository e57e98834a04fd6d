//! Chaos: hundreds of clients in random roles and with every misfortune that a client can have or
//! cause, and the proof that nothing is lost and nothing is stuck.
//!
//! What is claimed, and checked:
//! - A body that looks whole is exactly one producer's, sent to this channel, whole (`ledger`); what
//!   comes of a cut one is its front. Each says in its reply's head which one it is, so that empty
//!   ones count too. No consumer is sent the beginning of a body that another one was sent.
//! - A producer that hears 200 had its body handed to a consumer's connection to the last byte: that
//!   consumer took it whole, or left. Nobody who stayed saw it cut.
//! - A producer whose body was taken whole, and who stays to hear, hears 200. Who hears 502 had a
//!   consumer that left.
//! - Whoever stays hears a reply, within the bound of every read here, and one that has a cause: 410
//!   if a deletion of that channel was under way since the request was begun, 408 if its time had
//!   passed, 503 if the server has so narrow a limit, 400 if the request was broken. Two clients whom
//!   nobody disturbs always succeed.
//! - The counters of the server say what the clients saw, as exactly as can be known.
//! - Afterwards nothing is left: no channel, no request that waits, no exchange, no connection, no
//!   descriptor but those of the pipes that are kept, and no more memory than after a warm-up.
//! - All of this was put to the test: every misfortune happened, and exchanges ended in every way.
//!
//! Seeded: `HTTPIPE_SEED` repeats a run as far as scheduling allows; a failing one prints it. The
//! long form, with its figures:
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

/// Clients at once, each a thread.
const CLIENTS: usize = 224;
/// Exchanges in all, over all servers, unless `HTTPIPE_CHAOS_EXCHANGES` says otherwise.
const EXCHANGES: u64 = 25_000;
const SERVERS: u64 = 5;
/// No turn of any client begun for so long: the server is stuck.
const STUCK: Duration = Duration::from_secs(30);
/// What the server may hold more after the run than after a warm-up of a quarter of it: tables and
/// buffers that have grown to the largest crowd seen, and what the allocator keeps of that.
const RESIDENT_GROWTH_BYTES_MAX: u64 = 8 << 20;

/// The servers take turns: the machine is small, and each has hundreds of clients.
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
    // A machine that is busy may keep even undisturbed clients from meeting in so short a time.
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

/// Runs one server through a warm-up and the rest, each to its end, and settles.
fn run(nth: u64, options: &[&str], weather: Weather) {
    let _turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let seed = number_in_environment("HTTPIPE_SEED").unwrap_or(1) * 1000 + nth;
    let exchanges = number_in_environment("HTTPIPE_CHAOS_EXCHANGES").unwrap_or(EXCHANGES) / SERVERS;
    let limits = weather.limits.options();
    let limits: Vec<_> = limits.iter().map(String::as_str).collect();
    // A client may be slow to begin: hundreds share a core or two.
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

/// What a server holds while nobody uses it.
struct Held {
    descriptors: usize,
    resident_bytes: u64,
}

impl Held {
    /// Looks at a server that nobody has used yet.
    fn unused(server: &Server) -> Self {
        Self {
            descriptors: descriptors(server.pid()),
            resident_bytes: resident_bytes(server.pid()),
        }
    }

    /// Waits until nobody uses the server any more, and no descriptor is left over but the two of
    /// each pipe that is kept.
    fn after(server: &Server, unused: &Self) -> Self {
        server.until_unused();
        server.until_metric("httpipe_connections", 1);
        let pipes = server.metrics().value("httpipe_pipes");
        let expected = unused.descriptors + 2 * pipes as usize;
        // The connection that asked for metrics is closed a moment later.
        let settled = within_bound(|| (descriptors(server.pid()) == expected).then_some(()));
        assert!(
            settled.is_some(),
            "not the {expected} descriptors that were expected with {pipes} pipes: {:#?}",
            descriptor_targets(server.pid())
        );
        Self {
            descriptors: expected,
            resident_bytes: resident_bytes(server.pid()),
        }
    }
}

/// Lets all clients loose until the server has seen so many exchanges in all.
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

/// Stops the clients when the server has seen enough, when one of them failed, or when none gets on.
fn watch(server: &Server, ledger: &Ledger, exchanges: u64) {
    let _fail_all = FailAll(ledger);
    let (mut turns, mut risen) = (0, Instant::now());
    while !ledger.has_failed() {
        std::thread::sleep(Duration::from_millis(20));
        if ledger.turns() != turns {
            (turns, risen) = (ledger.turns(), Instant::now());
        } else if risen.elapsed() > STUCK {
            dump(server, ledger);
            panic!("no client has got on for {STUCK:?}");
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

/// What there is to know about a run that failed.
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
