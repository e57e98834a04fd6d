//! `/metrics`: every name on the operator's page (`deploy/README.md`; `doc/protocol.md` explains
//! the labels), counters that count what happened, gauges that return to zero, and the fast path.

use crate::support::metrics::Metrics;
use crate::support::pattern::{assert_same_bytes, pattern};
use crate::support::request::{chunked, post, post_chunked_head, post_head, request};
use crate::support::server::Server;
use crate::support::{EndOnDrop, Side, until};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

/// One whole exchange.
fn exchange(server: &Server, body: &[u8]) {
    let mut consumer = server.consumer_waiting("count/me", 1);
    let mut producer = server.connect();
    let received = producer.send_while(post("count/me", body), || consumer.reply());
    assert_same_bytes(&received.body, body);
    producer.reply().assert_status(200);
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
        "httpipe_discarded_bytes_total",
        "httpipe_replies_total",
        "httpipe_panics_total",
        "httpipe_connections",
        "httpipe_channels",
        "httpipe_waiting",
        "httpipe_exchanging",
        "httpipe_pipes",
        "httpipe_refusals_total",
        "httpipe_wait_seconds",
        "httpipe_exchange_seconds",
        "httpipe_shard_requests_total",
        "httpipe_shard_handovers_total",
        "httpipe_shard_connections",
        "httpipe_shard_exchanging",
        "httpipe_build_info",
        "httpipe_log_lines_dropped_total",
        "process_cpu_seconds_total",
        "process_start_time_seconds",
        "process_resident_memory_bytes",
        "process_virtual_memory_bytes",
        "process_max_fds",
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

/// One whole exchange of `body` in chunks of `chunk_bytes`.
fn exchange_chunks(server: &Server, body: &[u8], chunk_bytes: usize) {
    let mut consumer = server.consumer_waiting("count/chunks", 1);
    let mut producer = server.connect_and_send(&post_chunked_head("count/chunks"));
    let received = producer.send_while(chunked(body, chunk_bytes), || consumer.reply());
    assert_same_bytes(&received.body, body);
    producer.reply().assert_status(200);
}

#[test]
fn a_large_chunk_is_spliced() {
    let server = Server::start(&[]);
    exchange_chunks(&server, pattern(1, 4 << 20), 1 << 20);
    assert!(moved(&server, "spliced") > 3 << 20);
}

/// A congestion control that sends at a pace of its own takes spliced chunks of this size more slowly
/// than copied ones.
#[test]
fn chunks_of_64_kib_are_spliced_unless_the_tcp_paces() {
    let control = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control");
    let paces = control.expect("a file of the kernel").starts_with("bbr");
    let server = Server::start(&[]);
    exchange_chunks(&server, pattern(1, 4 << 20), 64 << 10);
    let spliced = moved(&server, "spliced");
    assert_eq!(spliced > 1 << 20, !paces, "{spliced} bytes spliced");
    // Smaller ones are copied anyhow.
    exchange_chunks(&server, pattern(1, 4 << 20), 32 << 10);
    assert_eq!(moved(&server, "spliced"), spliced);
}

#[test]
fn a_small_body_leaves_with_the_consumers_head() {
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
fn exchanges_are_counted_by_outcome() {
    let server = Server::start(&["--idle-timeout", "2"]);
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
    assert_eq!(producer.reply().status, 504);
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
fn gauges_follow_waiting_and_exchanging_and_return_to_zero() {
    let server = Server::start(&["--threads", "2"]);
    let consumers: Vec<_> = (1..=3)
        .map(|nth| server.consumer_waiting(&format!("gauge/{nth}"), nth))
        .collect();
    let _producer = server.producer_waiting("gauge/other", b"data", 1);
    assert_eq!(server.metrics().value("httpipe_channels"), 4);
    // Those four, and the one that asks for the metrics. Those that asked before close a moment later.
    server.until_metric("httpipe_connections", 5);
    server.until_waiting(Side::Consumer, 3);
    drop(consumers);
    assert_eq!(server.ask("DELETE", "/channels/gauge/other").status, 204);
    server.until_unused();
}

/// Clients that ask for listings in a loop, and those that do not read theirs.
fn with_listings_asked_for(server: &Server, then: impl FnOnce()) {
    let over = AtomicBool::new(false);
    let name = |n: usize| format!("{}/{n:0>250}", "n".repeat(250));
    let waiting = Vec::from_iter((0..800).map(|n| server.consume(&name(n))));
    server.until_waiting(Side::Consumer, waiting.len() as u64);
    let unread = Vec::from_iter((0..32).map(|_| {
        let client = server.connect();
        client.narrow();
        client
    }));
    let unread = Vec::from_iter(unread.into_iter().map(|mut client| {
        client.send(request("GET", "/state"));
        until("its reply", || client.has_bytes().then_some(()));
        client
    }));
    std::thread::scope(|scope| {
        for n in 0..60 {
            let over = &over;
            scope.spawn(move || {
                let mut client = server.connect();
                while !over.load(Ordering::Relaxed) {
                    client.send(request("GET", &format!("/channels/nope{}", n % 30)));
                    let status = client.reply().status;
                    assert!(matches!(status, 404 | 503), "{status}");
                }
            });
        }
        let _ends = EndOnDrop(&over);
        then();
    });
    drop(unread);
}

#[test]
fn no_scrape_is_refused_however_many_listings_are_asked_for() {
    let server = Server::start(&["--threads", "2"]);
    with_listings_asked_for(&server, || {
        for nth in 0..100 {
            let status = server.ask("GET", "/metrics").status;
            assert_eq!(status, 200, "scrape {nth}");
        }
    });
}

#[test]
fn no_name_of_a_channel_is_in_the_metrics() {
    let server = Server::start(&[]);
    let _waiting = server.consumer_waiting("secretspace/secretchannel", 1);
    assert!(!server.ask("GET", "/metrics").text().contains("secret"));
}

#[test]
fn refusals_are_counted_by_kind() {
    let server = Server::start(&["--max-waiting", "1"]);
    let refused = |kind: &str| {
        let name = format!("httpipe_refusals_total{{kind=\"{kind}\"}}");
        server.metrics().value(&name)
    };
    assert_eq!(server.metrics().sum("httpipe_refusals_total"), 0);
    server.ask("GET", "/nothing").assert_status(404);
    assert_eq!(refused("no_such_path"), 1);
    server.ask("DELETE", "/channels/no/body").assert_status(404);
    assert_eq!(refused("not_in_use"), 1);
    server.ask("GET", "/channels/a%01/b").assert_status(400);
    assert_eq!(refused("bad_name"), 1);
    server.ask("PATCH", "/channels/a/b").assert_status(405);
    assert_eq!(refused("method_not_allowed"), 1);
    let mut waiting = server.consumer_waiting("a/b", 1);
    server.ask("GET", "/channels/a/b").assert_status(503);
    assert_eq!(refused("too_many_waiting_on_channel"), 1);
    server.ask("DELETE", "/channels/a/b").assert_status(204);
    waiting.reply().assert_status(410);
    assert_eq!(refused("deleted"), 1);
    let mut broken = server.connect_and_send(b"no request\r\n\r\n");
    broken.last_reply().assert_status(400);
    assert_eq!(refused("bad_head"), 1);
    assert_eq!(server.metrics().sum("httpipe_refusals_total"), 7);
}

/// How many observations of `histogram` were at most `bound`, with the labels behind `le`.
fn at_most(metrics: &Metrics, histogram: &str, bound: &str, labels: &str) -> u64 {
    metrics.value(&format!("{histogram}_bucket{{le=\"{bound}\"{labels}}}"))
}

#[test]
fn a_wait_is_measured_from_arrival_to_match_for_each_side() {
    let server = Server::start(&["--header-timeout", "0.6"]);
    let mut consumer = server.consumer_waiting("wait/long", 1);
    // The server's own time limit is the clock: it answers 0.6 s after this connection begins.
    let mut slow = server.connect_and_send(b"GET / HTTP/1.1\r\n");
    slow.last_reply().assert_status(408);
    let mut producer = server.produce("wait/long", b"data");
    producer.reply().assert_status(200);
    consumer.reply().assert_status(200);

    let metrics = server.metrics();
    let consumer = ",side=\"consumer\"";
    let wait = "httpipe_wait_seconds";
    assert_eq!(at_most(&metrics, wait, "0.5", consumer), 0);
    assert_eq!(at_most(&metrics, wait, "3600.0", consumer), 1);
    let sum = metrics.number("httpipe_wait_seconds_sum{side=\"consumer\"}");
    assert!((0.5..3600.0).contains(&sum), "{sum}");
    let producer = ",side=\"producer\"";
    assert_eq!(at_most(&metrics, wait, "+Inf", producer), 1);
    // The producer found its counterpart waiting.
    let arrived_last = metrics.number("httpipe_wait_seconds_sum{side=\"producer\"}");
    assert!(arrived_last < sum, "{arrived_last}");
}

#[test]
fn every_exchange_is_measured_once() {
    let server = Server::start(&["--threads", "2"]);
    for bytes in [1, 100, 100_000, 1_000_000] {
        exchange(&server, pattern(1, bytes));
    }
    let mut consumer = server.consumer_waiting("count/cut", 1);
    let mut producer = server.connect_and_send(&post_head("count/cut", 5));
    producer.send(b"a");
    consumer.head();
    producer.close();
    consumer.expect_cut();
    server.until_metric("httpipe_exchanges_total{outcome=\"producer_left\"}", 1);

    let metrics = server.metrics();
    assert_eq!(metrics.sum("httpipe_exchanges_total"), 5);
    assert_eq!(metrics.value("httpipe_exchange_seconds_count"), 5);
    assert_eq!(at_most(&metrics, "httpipe_exchange_seconds", "+Inf", ""), 5);
    for side in ["producer", "consumer"] {
        let name = format!("httpipe_wait_seconds_count{{side=\"{side}\"}}");
        assert_eq!(metrics.value(&name), 5, "{side}");
    }
}

#[test]
fn the_figures_of_the_shards_add_up_to_those_of_the_server() {
    let server = Server::start(&["--threads", "2"]);
    let _waiting = Vec::from_iter((1..=8).map(|n| server.consumer_waiting(&format!("s/{n}"), n)));
    // Those eight, and the one that asks for the metrics. Those that asked before close a moment later.
    let metrics = until("the earlier connections to be closed", || {
        Some(server.metrics()).filter(|metrics| metrics.sum("httpipe_shard_connections") == 9)
    });
    for (by_shard, in_all) in [
        ("httpipe_shard_requests_total", "httpipe_requests_total"),
        ("httpipe_shard_handovers_total", "httpipe_handovers_total"),
        ("httpipe_shard_connections", "httpipe_connections"),
        ("httpipe_shard_exchanging", "httpipe_exchanging"),
    ] {
        assert_eq!(metrics.sum(by_shard), metrics.value(in_all), "{by_shard}");
        for shard in 0..2 {
            metrics.number(&format!("{by_shard}{{shard=\"{shard}\"}}"));
        }
    }
}

#[test]
fn the_metrics_have_the_version_the_age_and_the_resources_of_the_process() {
    let before = SystemTime::now();
    let server = Server::start(&[]);
    let metrics = server.metrics();
    let version = env!("CARGO_PKG_VERSION");
    let build = format!("httpipe_build_info{{version=\"{version}\"}}");
    assert_eq!(metrics.value(&build), 1);
    let began = metrics.number("process_start_time_seconds");
    let began = SystemTime::UNIX_EPOCH + Duration::from_secs_f64(began);
    let bound = Duration::from_secs(1);
    assert!(before - bound <= began && began <= SystemTime::now() + bound);
    assert!(metrics.number("process_cpu_seconds_total") > 0.0);
    let resident = metrics.value("process_resident_memory_bytes");
    assert!(resident > 100_000, "{resident}");
    assert!(metrics.value("process_virtual_memory_bytes") >= resident);
    assert!(metrics.value("process_max_fds") > 10);
    let later = server.metrics();
    assert_eq!(
        later.number("process_start_time_seconds"),
        metrics.number("process_start_time_seconds")
    );
}
