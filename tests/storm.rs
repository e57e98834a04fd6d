//! A storm of clients that come, leave in every way and at every point, delete what others use,
//! and ask again: whatever happened, each body arrives at most once, whole bodies are the ones that
//! were sent, and afterwards nothing is left behind.
//!
//! Seeded: `HTTPIPE_SEED` repeats a storm as far as scheduling allows; a failing one prints it.

use crate::support::connection::Connection;
use crate::support::pattern::pattern;
use crate::support::request::{chunked, post_head_with};
use crate::support::server::Server;
use fastrand::Rng;
use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

const CLIENTS: u64 = 12;
const ROUNDS: usize = 60;
const CHANNELS: usize = 5;
/// Seed and length, in front of every body.
const LABEL_BYTES: usize = 16;

/// What all clients of a storm write down.
#[derive(Default)]
struct Log {
    bodies: AtomicUsize,
    /// Seeds of the bodies that a consumer received whole.
    received: Mutex<HashSet<usize>>,
    /// Producers that heard 200.
    accepted: AtomicUsize,
}

#[test]
fn a_storm_on_one_shard_leaves_nothing_behind() {
    storm(&["--request-timeout", "0.3"], 1);
}

#[test]
fn a_storm_on_four_shards_leaves_nothing_behind() {
    storm(&["--request-timeout", "0.3", "--threads", "4"], 2);
}

#[test]
fn a_storm_without_splicing_leaves_nothing_behind() {
    storm(
        &["--request-timeout", "0.3", "--threads", "2", "--no-splice"],
        3,
    );
}

fn storm(options: &[&str], default_seed: u64) {
    let seed = match std::env::var("HTTPIPE_SEED") {
        Ok(seed) => seed.parse().expect("HTTPIPE_SEED is a number"),
        Err(_) => default_seed,
    };
    eprintln!("HTTPIPE_SEED={seed}");
    let server = Server::start(options);
    let log = Log::default();
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (server, log) = (&server, &log);
            let rng = Rng::with_seed(seed.wrapping_mul(1000) + client);
            scope.spawn(move || weather(server, log, rng));
        }
    });
    server.until_unused();
    server.until_metric("httpipe_connections", 1);
    let metrics = server.metrics();
    assert_eq!(metrics.value("httpipe_panics_total"), 0);
    let delivered = metrics.value("httpipe_exchanges_total{outcome=\"delivered\"}") as usize;
    let received = log.received.lock().expect("no client panicked").len();
    let accepted = log.accepted.load(Ordering::Relaxed);
    assert!(
        received > 0 && received <= delivered,
        "{received} received, {delivered} delivered"
    );
    assert!(
        accepted > 0 && accepted <= delivered,
        "{accepted} accepted, {delivered} delivered"
    );
}

/// One client's part of the storm: a connection as long as it lives, then the next.
fn weather(server: &Server, log: &Log, mut rng: Rng) {
    let mut kept: Option<Connection> = None;
    for _ in 0..ROUNDS {
        let connection = kept.take().unwrap_or_else(|| server.connect());
        let channel = format!("storm/{}", rng.usize(..CHANNELS));
        kept = match rng.u8(..20) {
            0 => delete(connection, &channel),
            1..10 => produce(connection, &channel, log, &mut rng),
            _ => consume(connection, &channel, log, &mut rng),
        };
    }
}

fn delete(mut connection: Connection, channel: &str) -> Option<Connection> {
    connection.send(format!(
        "DELETE /channels/{channel} HTTP/1.1\r\nHost: t\r\n\r\n"
    ));
    assert!(matches!(connection.reply().status, 204 | 404));
    Some(connection)
}

/// A body that tells by itself whether it is whole and which one it is.
fn new_body(log: &Log, rng: &mut Rng) -> Vec<u8> {
    let seed = log.bodies.fetch_add(1, Ordering::Relaxed);
    let bytes_max = *[50, 5_000, 60_000, 300_000]
        .get(rng.usize(..4))
        .expect("in bounds");
    let bytes = rng.usize(..bytes_max);
    [
        format!("{seed:08}{bytes:08}").as_bytes(),
        pattern(seed, bytes),
    ]
    .concat()
}

/// A whole request, or the front of one before leaving.
fn produce(
    mut connection: Connection,
    channel: &str,
    log: &Log,
    rng: &mut Rng,
) -> Option<Connection> {
    let body = new_body(log, rng);
    let expect = if rng.u8(..4) == 0 {
        "Expect: 100-continue\r\n"
    } else {
        ""
    };
    let (fields, coded) = if rng.bool() {
        (format!("Content-Length: {}\r\n", body.len()), body)
    } else {
        (
            "Transfer-Encoding: chunked\r\n".to_owned(),
            chunked(&body, 1 + rng.usize(..70_000)),
        )
    };
    let head = post_head_with(channel, &format!("{expect}{fields}"));
    let whole = [head, coded].concat();
    if rng.u8(..4) == 0 {
        // The server may have refused by now; leaving is all that matters here.
        let _ = connection.try_send(&whole[..rng.usize(..whole.len())]);
        leave(connection, rng);
        return None;
    }
    let cut = rng.usize(..whole.len());
    let sent = connection
        .try_send(&whole[..cut])
        .and_then(|()| connection.try_send(&whole[cut..]));
    let reply = connection.reply_after_continue();
    assert!(
        matches!(reply.status, 200 | 408 | 410 | 502),
        "{}",
        reply.status
    );
    assert!(
        sent.is_ok() || reply.status != 200,
        "200 to a body that was not sent whole"
    );
    if reply.status == 200 {
        log.accepted.fetch_add(1, Ordering::Relaxed);
    }
    (!reply.closes()).then_some(connection)
}

/// A consumer that stays to the end of its body, or leaves while it waits or receives.
fn consume(
    mut connection: Connection,
    channel: &str,
    log: &Log,
    rng: &mut Rng,
) -> Option<Connection> {
    let version = if rng.u8(..4) == 0 {
        "HTTP/1.0"
    } else {
        "HTTP/1.1"
    };
    connection.send(format!(
        "GET /channels/{channel} {version}\r\nHost: t\r\n\r\n"
    ));
    if rng.u8(..6) == 0 {
        leave(connection, rng);
        return None;
    }
    let head = connection.head();
    if head.status != 200 {
        assert!(matches!(head.status, 408 | 410), "{}", head.status);
        connection.rest_of_body().expect("an error is whole");
        return (!head.closes()).then_some(connection);
    }
    if rng.u8(..6) == 0 {
        connection.body_bytes(1);
        leave(connection, rng);
        return None;
    }
    let body = connection.rest_of_body().ok()?;
    check_whole(&body, log);
    (!head.closes()).then_some(connection)
}

/// The body says itself what it should be; nobody received it before.
fn check_whole(body: &[u8], log: &Log) {
    let number = |digits: &[u8]| -> usize {
        std::str::from_utf8(digits)
            .expect("digits")
            .parse()
            .expect("digits")
    };
    assert!(
        body.len() >= LABEL_BYTES,
        "a body without its label: {}",
        body.escape_ascii()
    );
    let (seed, bytes) = (number(&body[..8]), number(&body[8..LABEL_BYTES]));
    assert!(
        body[LABEL_BYTES..] == *pattern(seed, bytes),
        "body {seed} arrived changed"
    );
    let first = log
        .received
        .lock()
        .expect("no client panicked")
        .insert(seed);
    assert!(first, "body {seed} was received twice");
}

fn leave(mut connection: Connection, rng: &mut Rng) {
    match rng.u8(..3) {
        0 => connection.close(),
        1 => connection.reset(),
        _ => {
            connection.half_close();
            // Whatever the server has to say to it is heard out.
            connection.until_end();
        }
    }
}
