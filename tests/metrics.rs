//! What `/metrics` tells: every name of the contract, counters that count what happened, gauges
//! that come back to nothing, and the fast path at work.

use crate::support::Side;
use crate::support::pattern::{assert_same_bytes, pattern};
use crate::support::request::{chunked, post_chunked_head, post_head};
use crate::support::server::Server;

/// One whole exchange.
fn exchange(server: &Server, body: &[u8]) {
    let mut consumer = server.consumer_waiting("count/me", 1);
    std::thread::scope(|scope| {
        let producer = scope.spawn(|| server.produce("count/me", body).reply());
        assert_same_bytes(&consumer.reply().body, body);
        producer
            .join()
            .expect("the producer is served")
            .assert_status(200);
    });
}

fn outcomes(server: &Server, outcome: &str) -> u64 {
    server
        .metrics()
        .value(&format!("httpipe_exchanges_total{{outcome=\"{outcome}\"}}"))
}

fn moved(server: &Server, path: &str) -> u64 {
    server
        .metrics()
        .value(&format!("httpipe_bytes_total{{path=\"{path}\"}}"))
}

#[test]
fn every_family_is_declared_from_the_start() {
    let server = Server::start(&[]);
    let metrics = server.metrics();
    for family in [
        "httpipe_handovers_total",
        "httpipe_requests_total",
        "httpipe_exchanges_total",
        "httpipe_bytes_total",
        "httpipe_replies_total",
        "httpipe_panics_total",
        "httpipe_connections",
        "httpipe_channels",
        "httpipe_waiting",
        "httpipe_exchanging",
        "httpipe_pipes",
    ] {
        assert!(metrics.declares(family), "{family}");
    }
    assert_eq!(metrics.value("httpipe_panics_total"), 0);
}

#[test]
fn a_large_body_is_spliced() {
    let server = Server::start(&[]);
    exchange(&server, pattern(1, 8 << 20));
    let spliced = moved(&server, "spliced");
    assert!(spliced > 7 << 20, "{spliced} bytes spliced");
}

#[test]
fn a_large_body_is_copied_where_splicing_is_off() {
    let server = Server::start(&["--no-splice"]);
    exchange(&server, pattern(1, 8 << 20));
    assert_eq!(moved(&server, "spliced"), 0);
    assert!(moved(&server, "copied") > 7 << 20);
}

#[test]
fn a_large_chunk_is_spliced() {
    let server = Server::start(&[]);
    let mut consumer = server.consumer_waiting("splice/chunks", 1);
    let body = pattern(1, 4 << 20);
    std::thread::scope(|scope| {
        let producer = scope.spawn(|| {
            let mut producer = server.connect_and_send(&post_chunked_head("splice/chunks"));
            producer.send(chunked(body, 1 << 20));
            producer.reply()
        });
        assert_same_bytes(&consumer.reply().body, body);
        producer
            .join()
            .expect("the producer is served")
            .assert_status(200);
    });
    assert!(moved(&server, "spliced") > 3 << 20);
}

#[test]
fn a_small_body_goes_with_the_consumers_head() {
    let server = Server::start(&[]);
    exchange(&server, b"small");
    assert_eq!(moved(&server, "with_head"), 5);
    assert_eq!(moved(&server, "spliced") + moved(&server, "copied"), 0);
}

#[test]
fn every_byte_of_a_body_is_counted_once() {
    let server = Server::start(&["--threads", "2"]);
    let sizes = [1, 100, 5000, 20_000, 70_000, 1_000_000];
    sizes
        .iter()
        .for_each(|&bytes| exchange(&server, pattern(bytes, bytes)));
    let counted: u64 = ["spliced", "copied", "with_head"]
        .map(|path| moved(&server, path))
        .iter()
        .sum();
    assert_eq!(counted, sizes.iter().sum::<usize>() as u64);
}

#[test]
fn exchanges_are_counted_by_how_they_ended() {
    let server = Server::start(&["--idle-timeout", "1"]);
    exchange(&server, b"data");
    exchange(&server, pattern(1, 100_000));
    assert_eq!(outcomes(&server, "delivered"), 2);

    let under_way = || {
        let mut consumer = server.consumer_waiting("end/early", 1);
        let mut producer = server.connect_and_send(&post_head("end/early", 5));
        producer.send(b"a");
        consumer.head();
        assert_eq!(consumer.body_bytes(1), b"a");
        (producer, consumer)
    };
    let (producer, mut consumer) = under_way();
    producer.close();
    consumer.expect_cut();
    server.until_metric("httpipe_exchanges_total{outcome=\"producer_left\"}", 1);

    let (mut producer, consumer) = under_way();
    consumer.reset();
    assert_eq!(producer.reply().status, 502);
    server.until_metric("httpipe_exchanges_total{outcome=\"consumer_left\"}", 1);

    let (mut producer, _consumer) = under_way();
    assert_eq!(server.ask("DELETE", "/channels/end/early").status, 204);
    assert_eq!(producer.reply().status, 410);
    server.until_metric("httpipe_exchanges_total{outcome=\"deleted\"}", 1);

    let (mut producer, _consumer) = under_way();
    assert_eq!(producer.reply().status, 408);
    server.until_metric("httpipe_exchanges_total{outcome=\"idle\"}", 1);
    assert_eq!(outcomes(&server, "delivered"), 2);
    server.until_unused();
}

#[test]
fn requests_and_replies_are_counted() {
    let server = Server::start(&["--threads", "2"]);
    let before = server.metrics();
    assert_eq!(server.ask("GET", "/nothing").status, 404);
    assert_eq!(server.ask("GET", "/healthz").status, 200);
    exchange(&server, b"data");
    let after = server.metrics();
    let risen = |name: &str| after.value(name) - before.value(name);
    assert!(risen("httpipe_requests_total") >= 4);
    assert_eq!(risen("httpipe_replies_total{status=\"404\"}"), 1);
    assert!(risen("httpipe_replies_total{status=\"200\"}") >= 3);
}

#[test]
fn gauges_follow_what_waits_and_moves_and_come_back_to_nothing() {
    let server = Server::start(&["--threads", "2"]);
    let consumers: Vec<_> = (1..=3)
        .map(|nth| server.consumer_waiting(&format!("gauge/{nth}"), nth))
        .collect();
    let _producer = server.producer_waiting("gauge/other", b"data", 1);
    assert_eq!(server.metrics().value("httpipe_channels"), 4);
    // Those four, and the one that asks.
    assert_eq!(server.metrics().value("httpipe_connections"), 5);
    server.until_waiting(Side::Consumer, 3);
    drop(consumers);
    assert_eq!(server.ask("DELETE", "/channels/gauge/other").status, 204);
    server.until_unused();
}

#[test]
fn no_name_of_a_channel_shows_in_the_metrics() {
    let server = Server::start(&[]);
    let _waiting = server.consumer_waiting("secretspace/secretchannel", 1);
    assert!(!server.ask("GET", "/metrics").text().contains("secret"));
}
