//! When something goes wrong: which side waits on, what each side receives, and that a cut body
//! never looks whole. Each test is a row of the table in `doc/protocol.md` ("When something goes
//! wrong"), or a sentence under it. Names like `stalled` are names of rows.

mod table;
mod unread;

use crate::support::connection::{Connection, End};
use crate::support::pattern::{assert_same_bytes, pattern};
use crate::support::proxy::lasting_port;
use crate::support::request::{chunk, get, post, post_chunked_head, post_head, request};
use crate::support::server::Server;
use crate::support::{Side, until};
use rustix::process::Signal;
use std::io::Write;
use std::time::{Duration, Instant};

/// A time limit in seconds, under which a test on a busy machine still sees what it must see before the
/// limit strikes.
const SEEN: &str = "2";

/// The end of a consumer's request, for each version.
const HTTP_11: &str = "HTTP/1.1\r\nHost: t\r\n";
const HTTP_10: &str = "HTTP/1.0\r\n";

/// A producer and a consumer (whose request line ends with `version`) in an exchange in which no
/// byte of the body was sent yet.
fn matched(server: &Server, head: &[u8], version: &str) -> (Connection, Connection) {
    let target = head
        .split(|&b| b == b' ')
        .nth(1)
        .expect("a target")
        .escape_ascii();
    let consumer_request = format!("GET {target} {version}\r\n");
    let consumer = server.connect_and_send(consumer_request.as_bytes());
    server.until_waiting(Side::Consumer, 1);
    let producer = server.connect_and_send(head);
    server.until_exchanging(1);
    (producer, consumer)
}

/// As [`matched`], after the consumer has received the body byte `a`.
fn under_way(server: &Server, head: &[u8], version: &str) -> (Connection, Connection) {
    let (mut producer, mut consumer) = matched(server, head, version);
    match head.ends_with(b"chunked\r\n\r\n") {
        true => producer.send(chunk(b"a")),
        false => producer.send(b"a"),
    }
    assert_eq!(consumer.head().status, 200);
    assert_eq!(consumer.body_bytes(1), b"a");
    (producer, consumer)
}

/// How a client leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaving {
    Close,
    Reset,
    HalfClose,
}

const EVERY_WAY: [Leaving; 3] = [Leaving::Close, Leaving::Reset, Leaving::HalfClose];

/// Leaves; the returned connection is half-closed and still open.
fn leave(mut connection: Connection, how: Leaving) -> Option<Connection> {
    match how {
        Leaving::Close => connection.close(),
        Leaving::Reset => connection.reset(),
        Leaving::HalfClose => {
            connection.half_close();
            return Some(connection);
        }
    }
    None
}

// ---------------------------------------------------------------- no counterpart: `wait-over`

#[test]
fn no_counterpart_within_the_request_timeout_is_408() {
    let server = Server::start(&["--request-timeout", "1", "--threads", "2"]);
    let started = Instant::now();
    let mut waiters = [
        server.consume("time/out"),
        server.connect_and_send(b"GET /channels/time/out HTTP/1.0\r\n\r\n"),
        server.produce("time/in", b"data"),
        server.connect_and_send(&post_head("time/in", 100)),
        server.connect_and_send(&post_chunked_head("time/in")),
        server.produce("time/large", pattern(1, 100_000)),
    ];
    for waiter in &mut waiters {
        assert_eq!(waiter.reply().status, 408);
    }
    assert!(
        started.elapsed() > Duration::from_millis(900),
        "after {:?}",
        started.elapsed()
    );
    server.until_unused();
}

#[test]
fn a_request_on_a_busy_channel_hears_that_the_channel_stayed_busy_and_not_that_nobody_came() {
    // Long enough for all three to be seen waiting at once.
    let server = Server::start(&["--request-timeout", "4", "--threads", "2"]);
    let (mut producer, mut consumer) = under_way(&server, &post_head("busy/channel", 2), HTTP_11);
    let mut waiters = [
        server.consumer_waiting("busy/channel", 1),
        server.producer_waiting("busy/channel", b"data", 1),
    ];
    let mut alone = server.consumer_waiting("busy/not", 2);
    for waiter in &mut waiters {
        let reply = waiter.reply();
        assert_eq!(reply.status, 408);
        assert!(reply.text().contains("kept this channel busy"), "{reply:?}");
    }
    assert!(alone.reply().text().contains("no counterpart came"));
    producer.send(b"b");
    assert_eq!(consumer.rest_of_body().expect("a whole body"), b"b");
    producer.reply().assert_status(200);
}

#[test]
fn the_request_timeout_is_over_once_there_is_a_match() {
    let server = Server::start(&["--request-timeout", SEEN]);
    let (mut producer, mut consumer) = under_way(&server, &post_head("no/hurry", 2), HTTP_11);
    // A request that arrives later reaches the limit first.
    assert_eq!(server.consume("never/matched").reply().status, 408);
    producer.send(b"b");
    assert_eq!(consumer.rest_of_body().expect("a whole body"), b"b");
    producer.reply().assert_status(200);
}

#[test]
fn a_request_that_timed_out_is_never_matched() {
    let server = Server::start(&["--request-timeout", SEEN]);
    let mut consumer = server.consume("too/late");
    assert_eq!(consumer.reply().status, 408);
    let mut producer = server.producer_waiting("too/late", b"data", 1);
    assert_eq!(server.consume("too/late").reply().body, b"data");
    producer.reply().assert_status(200);
}

// ---------------------------------------------------------------- leaving while waiting: `left-waiting`

#[test]
fn a_consumer_that_leaves_while_it_waits_is_removed_from_its_queue() {
    let server = Server::start(&["--threads", "2"]);
    for how in EVERY_WAY {
        let leaving = server.consumer_waiting("gone/consumer", 1);
        let mut staying = server.consumer_waiting("gone/consumer", 2);
        let left = leave(leaving, how);
        server.until_waiting(Side::Consumer, 1);
        let mut producer = server.produce("gone/consumer", b"data");
        assert_eq!(staying.reply().body, b"data", "{how:?}");
        producer.reply().assert_status(200);
        if let Some(mut half_closed) = left {
            half_closed.until_end();
        }
        server.until_unused();
    }
}

#[test]
fn a_producer_that_leaves_while_it_waits_is_removed_from_its_queue() {
    let server = Server::start(&["--threads", "2"]);
    let requests = [
        post_head("gone/producer", 10),
        post_chunked_head("gone/producer"),
        [&post_head("gone/producer", 10)[..], b"part"].concat(),
        post("gone/producer", b"whole body"),
        post("gone/producer", pattern(1, 50_000)),
        [&post_head("gone/producer", 1 << 40)[..], pattern(1, 50_000)].concat(),
    ];
    for request in &requests {
        for how in EVERY_WAY {
            let leaving = server.connect_and_send(request);
            server.until_waiting(Side::Producer, 1);
            let mut staying = server.producer_waiting("gone/producer", b"data", 2);
            let left = leave(leaving, how);
            server.until_waiting(Side::Producer, 1);
            assert_eq!(
                server.consume("gone/producer").reply().body,
                b"data",
                "{how:?}"
            );
            staying.reply().assert_status(200);
            drop(left);
            server.until_unused();
        }
    }
}

#[test]
fn a_waiting_client_that_leaves_after_pipelined_bytes_is_removed_too() {
    let server = Server::start(&["--threads", "2"]);
    let next = request("GET", "/healthz").repeat(2000);
    let consumer_request = [&get("gone/pipelined")[..], &next].concat();
    let producer_request = [&post("gone/pipelined", b"data")[..], &next].concat();
    for (side, bytes) in [
        (Side::Consumer, consumer_request),
        (Side::Producer, producer_request),
    ] {
        for how in EVERY_WAY {
            let leaving = server.connect_and_send(&bytes);
            server.until_waiting(side, 1);
            let _left = leave(leaving, how);
            server.until_unused();
        }
    }
}

#[test]
fn a_client_may_send_much_ahead_while_it_waits() {
    let server = Server::start(&[]);
    let ahead = request("GET", "/healthz").repeat(2000);
    let mut consumer = server.connect_and_send(&[get("send/ahead"), ahead].concat());
    server.until_waiting(Side::Consumer, 1);
    let mut producer = server.produce("send/ahead", b"data");
    assert_eq!(consumer.reply().body, b"data");
    producer.reply().assert_status(200);
    for _ in 0..2000 {
        consumer.reply().assert_status(200);
    }
}

#[test]
fn a_client_that_left_no_longer_counts_against_the_limit() {
    let server = Server::start(&[]);
    let before = server.metrics().value("httpipe_connections");
    let leaving: Vec<_> = (1..=50)
        .map(|nth| server.consumer_waiting(&format!("room/{nth}"), nth))
        .collect();
    drop(leaving);
    server.until_unused();
    server.until_metric("httpipe_connections", before);
}

// ---------------------------------------------------------------- the consumer leaves:
// `consumer-left-before`, `consumer-left-midway`, `consumer-half-closed`

#[test]
fn a_producer_whose_consumer_leaves_before_a_byte_waits_on_at_the_front() {
    let server = Server::start(&["--threads", "2"]);
    for head in [
        post_head("front/producer", 5),
        post_chunked_head("front/producer"),
    ] {
        let (mut first, leaving) = matched(&server, &head, HTTP_11);
        let mut second = server.producer_waiting("front/producer", b"second", 1);
        leaving.reset();
        server.until_exchanging(0);
        server.until_waiting(Side::Producer, 2);
        let mut consumer = server.consume("front/producer");
        match head.ends_with(b"chunked\r\n\r\n") {
            true => first.send([&chunk(b"first")[..], b"0\r\n\r\n"].concat()),
            false => first.send(b"first"),
        }
        assert_eq!(consumer.reply().body, b"first");
        first.reply().assert_status(200);
        assert_eq!(server.consume("front/producer").reply().body, b"second");
        second.reply().assert_status(200);
    }
}

#[test]
fn a_producer_whose_consumer_leaves_is_matched_with_the_next_consumer_at_once() {
    let server = Server::start(&[]);
    let (mut producer, leaving) = matched(&server, &post_head("next/consumer", 4), HTTP_11);
    let mut next = server.consumer_waiting("next/consumer", 1);
    leaving.reset();
    server.until_waiting(Side::Consumer, 0);
    producer.send(b"data");
    assert_eq!(next.reply().body, b"data");
    producer.reply().assert_status(200);
}

#[test]
fn a_producer_whose_consumer_leaves_midway_receives_502() {
    let server = Server::start(&["--threads", "2"]);
    for head in [
        post_head("later/consumer", 1 << 30),
        post_chunked_head("later/consumer"),
    ] {
        for version in [HTTP_11, HTTP_10] {
            let (mut producer, consumer) = under_way(&server, &head, version);
            consumer.reset();
            assert_eq!(producer.last_reply().status, 502);
            server.until_unused();
        }
    }
}

#[test]
fn a_producer_that_is_still_sending_receives_the_502() {
    for options in [&[][..], &["--no-splice"]] {
        let server = Server::start(options);
        let (mut producer, consumer) =
            under_way(&server, &post_head("deaf/producer", 8 << 20), HTTP_11);
        let mut sender = producer.sender();
        let body = pattern(1, 8 << 20);
        std::thread::scope(|scope| {
            // The server may stop reading it at any point.
            scope.spawn(move || sender.write_all(&body[1..]));
            // The consumer leaves with much of the body unread, like a client that its user
            // interrupts.
            consumer.close();
            let reply = producer.reply();
            assert_eq!((reply.status, reply.closes()), (502, true));
            producer.until_end();
        });
        server.until_unused();
    }
}

#[test]
fn a_consumer_that_leaves_after_pipelined_bytes_during_its_exchange_is_detected() {
    let server = Server::start(&["--threads", "2"]);
    for bytes in [1, 1 << 30] {
        let (mut producer, mut consumer) =
            matched(&server, &post_head("later/pipelined", bytes + 1), HTTP_11);
        consumer.send(request("GET", "/healthz").repeat(100));
        producer.send(b"a");
        assert_eq!(consumer.head().status, 200);
        assert_eq!(consumer.body_bytes(1), b"a");
        consumer.reset();
        assert_eq!(producer.last_reply().status, 502);
        server.until_unused();
    }
}

#[test]
fn a_consumer_that_half_closes_during_its_exchange_receives_the_rest_of_its_body() {
    let server = Server::start(&["--threads", "2"]);
    let body = pattern(2, 300_000);
    let (mut producer, mut consumer) = matched(&server, &post_head("half/open", 300_000), HTTP_11);
    producer.send(&body[..1]);
    assert_eq!(consumer.head().status, 200);
    consumer.half_close();
    server.barrier();
    producer.send(&body[1..]);
    assert_same_bytes(&consumer.rest_of_body().expect("a whole body"), body);
    consumer.expect_end();
    producer.reply().assert_status(200);
    producer.send(request("GET", "/healthz"));
    producer.reply().assert_status(200);
}

#[test]
fn a_consumer_that_half_closes_receives_a_chunked_body_to_its_last_chunk() {
    let server = Server::start(&[]);
    for version in [HTTP_11, HTTP_10] {
        let (mut producer, mut consumer) =
            under_way(&server, &post_chunked_head("half/chunked"), version);
        consumer.half_close();
        server.barrier();
        producer.send([&chunk(b"rest")[..], b"0\r\n\r\n"].concat());
        assert_eq!(consumer.rest_of_body().expect("a whole body"), b"rest");
        consumer.expect_end();
        producer.reply().assert_status(200);
    }
}

// ---------------------------------------------------------------- the producer leaves:
// `producer-left-before`, `producer-left-midway`

#[test]
fn a_consumer_whose_producer_leaves_before_a_byte_waits_on_at_the_front() {
    let server = Server::start(&["--threads", "2"]);
    for head in [
        post_head("front/consumer", 5),
        post_chunked_head("front/consumer"),
    ] {
        for how in EVERY_WAY {
            let (leaving, mut first) = matched(&server, &head, HTTP_11);
            let mut second = server.consumer_waiting("front/consumer", 1);
            let left = leave(leaving, how);
            server.until_exchanging(0);
            server.until_waiting(Side::Consumer, 2);
            first.expect_nothing();
            for (body, consumer) in [(b"1st", &mut first), (b"2nd", &mut second)] {
                let mut producer = server.produce("front/consumer", body);
                assert_eq!(consumer.reply().body, body, "{how:?}");
                producer.reply().assert_status(200);
            }
            if let Some(mut half_closed) = left {
                assert_eq!(half_closed.last_reply().status, 400);
            }
            server.until_unused();
        }
    }
}

#[test]
fn a_consumer_whose_producer_leaves_is_matched_with_the_next_producer_at_once() {
    let server = Server::start(&[]);
    let (leaving, mut consumer) = matched(&server, &post_head("next/producer", 4), HTTP_11);
    let mut next = server.producer_waiting("next/producer", b"next", 1);
    leaving.close();
    assert_eq!(consumer.reply().body, b"next");
    next.reply().assert_status(200);
}

#[test]
fn a_body_cut_by_its_producer_ends_short_of_its_length() {
    let server = Server::start(&["--threads", "2"]);
    for version in [HTTP_11, HTTP_10] {
        for how in EVERY_WAY {
            let (producer, mut consumer) = under_way(&server, &post_head("cut/length", 5), version);
            let left = leave(producer, how);
            let cut = consumer.expect_cut();
            assert_eq!((cut.received.len(), cut.end), (0, End::Fin), "{how:?}");
            if let Some(mut half_closed) = left {
                assert_eq!(half_closed.last_reply().status, 400);
            }
            server.until_unused();
        }
    }
}

#[test]
fn a_chunked_body_cut_by_its_producer_ends_without_the_last_chunk() {
    let server = Server::start(&["--threads", "2"]);
    for how in EVERY_WAY {
        let (producer, mut consumer) =
            under_way(&server, &post_chunked_head("cut/chunked"), HTTP_11);
        let left = leave(producer, how);
        let cut = consumer.expect_cut();
        assert_eq!((cut.received.len(), cut.end), (0, End::Fin), "{how:?}");
        if let Some(mut half_closed) = left {
            assert_eq!(half_closed.last_reply().status, 400);
        }
        server.until_unused();
    }
}

#[test]
fn a_body_that_ends_with_the_connection_is_cut_by_a_reset() {
    let server = Server::start(&["--threads", "2"]);
    for how in EVERY_WAY {
        let (producer, mut consumer) = under_way(&server, &post_chunked_head("cut/reset"), HTTP_10);
        let left = leave(producer, how);
        assert_eq!(consumer.expect_cut().end, End::Reset, "{how:?}");
        drop(left);
        server.until_unused();
    }
}

#[test]
fn a_body_that_ends_inside_a_chunk_is_cut() {
    let server = Server::start(&[]);
    for (version, end) in [(HTTP_11, End::Fin), (HTTP_10, End::Reset)] {
        for part in [
            &b"5\r\nab"[..],
            b"5\r\nabcde",
            b"5",
            b"0\r\n",
            b"0\r\nTrailer: x\r\n",
        ] {
            let (mut producer, mut consumer) =
                under_way(&server, &post_chunked_head("within/chunk"), version);
            producer.send(part);
            producer.half_close();
            let cut = consumer.expect_cut();
            assert_eq!(cut.end, end, "after {}", part.escape_ascii());
            assert_eq!(producer.last_reply().status, 400);
            server.until_unused();
        }
    }
}

#[test]
fn a_large_body_cut_in_the_middle_never_looks_whole() {
    for options in [&[][..], &["--no-splice"]] {
        let server = Server::start(options);
        let body = pattern(3, 2 << 20);
        for (head, version) in [
            (post_head("cut/large", 4 << 20), HTTP_11),
            (post_head("cut/large", (2 << 20) + 1), HTTP_10),
        ] {
            let (producer, mut consumer) = matched(&server, &head, version);
            let mut sender = producer.sender();
            std::thread::scope(|scope| {
                scope.spawn(move || {
                    sender.write_all(body).expect("it is read");
                    drop((sender, producer));
                });
                assert_eq!(consumer.head().status, 200);
                let cut = consumer.expect_cut();
                assert_eq!(cut.end, End::Fin);
                assert_same_bytes(&cut.received, body);
            });
            server.until_unused();
        }
    }
}

#[test]
fn earlier_replies_on_a_connection_that_is_cut_arrive_whole() {
    let server = Server::start(&[]);
    let mut first = server.producer_waiting("earlier/whole", b"whole", 1);
    let requests = [get("earlier/whole"), get("earlier/cut")].concat();
    let mut consumer = server.connect_and_send(&requests);
    server.until_waiting(Side::Consumer, 1);
    let mut second = server.connect_and_send(&post_head("earlier/cut", 5));
    second.send(b"a");
    first.reply().assert_status(200);
    server.until_exchanging(1);
    second.close();
    server.until_unused();
    assert_eq!(consumer.reply().body, b"whole");
    assert_eq!(consumer.head().status, 200);
    let cut = consumer.expect_cut();
    assert_eq!((cut.received.as_slice(), cut.end), (&b"a"[..], End::Fin));
}

// ---------------------------------------------------------------- deletion: `deleted-before`,
// `deleted-midway`

#[test]
fn if_the_channel_is_deleted_before_the_first_body_byte_both_sides_receive_410() {
    let server = Server::start(&["--threads", "2"]);
    for target in ["/channels/deleted/early", "/channels/deleted"] {
        let (mut producer, mut consumer) =
            matched(&server, &post_head("deleted/early", 5), HTTP_11);
        assert_eq!(server.ask("DELETE", target).status, 204);
        assert_eq!(producer.reply().status, 410);
        assert_eq!(consumer.reply().status, 410);
        server.until_unused();
    }
}

#[test]
fn if_the_channel_is_deleted_midway_the_producer_receives_410_and_the_body_is_cut() {
    let server = Server::start(&["--threads", "2"]);
    for target in ["/channels/deleted/late", "/channels/deleted"] {
        for (head, version, end) in [
            (post_head("deleted/late", 5), HTTP_11, End::Fin),
            (post_chunked_head("deleted/late"), HTTP_11, End::Fin),
            (post_chunked_head("deleted/late"), HTTP_10, End::Reset),
        ] {
            let (mut producer, mut consumer) = under_way(&server, &head, version);
            assert_eq!(server.ask("DELETE", target).status, 204);
            assert_eq!(producer.last_reply().status, 410);
            assert_eq!(consumer.expect_cut().end, end);
            server.until_unused();
        }
    }
}

#[test]
fn deleting_a_stalled_large_exchange_ends_it() {
    let server = Server::start(&[]);
    let mut consumer = server.connect();
    consumer.narrow();
    consumer.send(get("deleted/stalled"));
    server.until_waiting(Side::Consumer, 1);
    let mut producer = server.connect_and_send(&post_head("deleted/stalled", 32 << 20));
    let mut sender = producer.sender();
    std::thread::scope(|scope| {
        scope.spawn(move || sender.write_all(pattern(1, 32 << 20)));
        assert_eq!(consumer.head().status, 200);
        assert_eq!(
            server.ask("DELETE", "/channels/deleted/stalled").status,
            204
        );
        assert_eq!(producer.reply().status, 410);
        producer.until_end();
    });
    assert!(consumer.expect_cut().received.len() < 32 << 20);
    server.until_unused();
}

// ---------------------------------------------------------------- idle: `stalled`

#[test]
fn a_producer_that_stalls_in_an_exchange_receives_504_and_the_body_is_cut() {
    let server = Server::start(&["--idle-timeout", SEEN, "--threads", "2"]);
    for (head, version, end) in [
        (post_head("idle/producer", 5), HTTP_11, End::Fin),
        (post_chunked_head("idle/producer"), HTTP_10, End::Reset),
    ] {
        let (mut producer, mut consumer) = under_way(&server, &head, version);
        assert_eq!(producer.last_reply().status, 504);
        assert_eq!(consumer.expect_cut().end, end);
        server.until_unused();
    }
}

#[test]
fn a_consumer_that_stalls_in_an_exchange_ends_it() {
    let server = Server::start(&["--idle-timeout", SEEN]);
    let body = pattern(1, 32 << 20);
    let mut consumer = server.connect();
    consumer.narrow();
    consumer.send(get("idle/consumer"));
    server.until_waiting(Side::Consumer, 1);
    // The first byte comes with the head: without one the consumer would wait on.
    let front = [&post_head("idle/consumer", 32 << 20)[..], &body[..1]].concat();
    let mut producer = server.connect_and_send(&front);
    let mut sender = producer.sender();
    std::thread::scope(|scope| {
        scope.spawn(move || sender.write_all(&body[1..]));
        let reply = producer.reply();
        assert_eq!((reply.status, reply.closes()), (504, true));
        producer.until_end();
    });
    assert_eq!(consumer.head().status, 200);
    assert!(consumer.expect_cut().received.len() < 32 << 20);
    server.until_unused();
}

#[test]
fn an_exchange_that_moves_slowly_is_not_idle() {
    let server = Server::start(&["--idle-timeout", SEEN]);
    let (mut producer, mut consumer) = under_way(&server, &post_head("slow/steady", 60), HTTP_11);
    let started = Instant::now();
    let mut sent = 1;
    // For longer than the limit, with pauses far below it: this test is about the passing of time.
    while sent < 60 {
        std::thread::sleep(Duration::from_millis(60));
        producer.send(b"b");
        assert_eq!(consumer.body_bytes(1), b"b");
        sent += 1;
    }
    assert!(started.elapsed() > Duration::from_millis(3000));
    producer.reply().assert_status(200);
}

#[test]
fn the_idle_timeout_does_not_apply_to_waiting() {
    let server = Server::start(&["--idle-timeout", SEEN, "--request-timeout", "30"]);
    let mut consumer = server.consumer_waiting("patient/consumer", 1);
    let (mut stalled, _cut) = under_way_beside(&server);
    assert_eq!(stalled.last_reply().status, 504);
    let mut producer = server.produce("patient/consumer", b"data");
    assert_eq!(consumer.reply().body, b"data");
    producer.reply().assert_status(200);
}

/// An exchange under way, and a consumer that waits on another channel.
fn under_way_beside(server: &Server) -> (Connection, Connection) {
    let mut consumer = server.consumer_waiting("stalled/exchange", 2);
    let mut producer = server.connect_and_send(&post_head("stalled/exchange", 5));
    producer.send(b"a");
    assert_eq!(consumer.head().status, 200);
    (producer, consumer)
}

// ---------------------------------------------------------------- drain: `drain-waiting`, `drain`,
// `drain-over-before`, `drain-over-midway`

#[test]
fn a_draining_server_refuses_waiting_requests_with_503() {
    for signal in [rustix::process::Signal::TERM, rustix::process::Signal::INT] {
        let mut server = Server::start(&["--threads", "2"]);
        let mut waiters = [
            server.consume("drain/consumer"),
            server.produce("drain/producer", b"data"),
            server.connect_and_send(&post_head("drain/producer", 10)),
        ];
        server.until_waiting(Side::Consumer, 1);
        server.until_waiting(Side::Producer, 2);
        server.signal(signal);
        for waiter in &mut waiters {
            let reply = waiter.last_reply();
            assert_eq!(reply.status, 503);
            check_retry_after(reply.value("Retry-After"));
        }
        assert_eq!(server.exit().code(), Some(0));
    }
}

/// Seconds (RFC 9110 §10.2.3).
#[track_caller]
fn check_retry_after(value: Option<&str>) {
    let seconds = value.expect("a Retry-After");
    assert!(seconds.parse::<u32>().is_ok(), "{seconds}");
}

#[test]
fn a_draining_server_serves_its_exchanges_to_the_end() {
    let mut server = Server::start(&["--threads", "2"]);
    let body = pattern(6, 3 << 20);
    let (mut producer, mut consumer) = matched(
        &server,
        &post_head("drain/exchange", body.len() as u64),
        HTTP_11,
    );
    producer.send(&body[..1]);
    assert_eq!(consumer.head().status, 200);
    let mut waiting = server.consumer_waiting("drain/waiting", 1);
    server.terminate();
    // The server drains once it refuses waiting requests.
    assert_eq!(waiting.last_reply().status, 503);
    std::thread::scope(|scope| {
        let mut sender = producer.sender();
        scope.spawn(move || sender.write_all(&body[1..]).expect("it is read"));
        assert_same_bytes(&consumer.rest_of_body().expect("a whole body"), body);
    });
    assert_eq!(producer.last_reply().status, 200);
    consumer.expect_end();
    assert_eq!(server.exit().code(), Some(0));
}

#[test]
fn a_draining_server_closes_idle_connections_and_accepts_no_new_ones() {
    // No other server listens there once this one does not.
    let port = lasting_port().to_string();
    let mut server = Server::start(&["--threads", "2", "--port", &port]);
    let mut idle = server.connect_and_send(&request("GET", "/healthz"));
    idle.reply().assert_status(200);
    let (producer, mut consumer) = under_way(&server, &post_head("drain/hold", 5), HTTP_11);
    server.terminate();
    idle.expect_end();
    let address = server.address();
    until("connections to be refused", || {
        std::net::TcpStream::connect(address).err()
    });
    producer.close();
    consumer.expect_cut();
    assert_eq!(server.exit().code(), Some(0));
}

/// A server with a drain timeout of one second and an admin listener.
fn impatient() -> Server {
    Server::start(&[
        "--drain-timeout",
        "1",
        "--admin",
        "127.0.0.1:0",
        "--threads",
        "2",
    ])
}

/// Sends SIGTERM to `server` and waits until its only exchange, which goes on, ends: not before the
/// drain timeout. For some time its clients delay the end of the server, until they close.
fn outlast_the_drain(server: &Server) {
    let told = Instant::now();
    server.terminate();
    server.until_metric("httpipe_exchanges_total{outcome=\"drained\"}", 1);
    assert!(
        told.elapsed() > Duration::from_millis(900),
        "after {:?}",
        told.elapsed()
    );
    let seen = server.metrics();
    assert_eq!(seen.sum("httpipe_exchanges_total"), 1);
    assert_eq!(seen.value("httpipe_exchanging"), 0);
}

#[test]
fn an_exchange_that_outlasts_the_drain_timeout_is_cut_and_its_producer_receives_503() {
    for (head, version, end) in [
        (post_head("drain/cut", 5), HTTP_11, End::Fin),
        (post_chunked_head("drain/cut"), HTTP_11, End::Fin),
        (post_chunked_head("drain/cut"), HTTP_10, End::Reset),
    ] {
        let mut server = impatient();
        let (mut producer, mut consumer) = under_way(&server, &head, version);
        outlast_the_drain(&server);
        producer.last_reply().assert_turned_away();
        let cut = consumer.expect_cut();
        assert_eq!((cut.received.len(), cut.end), (0, end));
        drop((producer, consumer));
        assert_eq!(server.exit().code(), Some(0));
    }
}

#[test]
fn both_sides_of_an_exchange_without_a_byte_receive_503_at_the_drain_timeout() {
    for version in [HTTP_11, HTTP_10] {
        let mut server = impatient();
        let (mut producer, mut consumer) = matched(&server, &post_head("drain/none", 5), version);
        outlast_the_drain(&server);
        producer.last_reply().assert_turned_away();
        consumer.last_reply().assert_turned_away();
        drop((producer, consumer));
        assert_eq!(server.exit().code(), Some(0));
    }
}

// ---------------------------------------------------------------- limits: `limit`

#[test]
fn a_full_queue_refuses_the_next_request_with_503() {
    for option in ["--max-waiting", "--max-waiting-total"] {
        let server = Server::start(&[option, "2"]);
        let mut producers: Vec<_> = (1..=2)
            .map(|nth| server.producer_waiting("full/queue", b"data", nth))
            .collect();
        let reply = server.produce("full/queue", b"data").reply();
        assert_eq!(reply.status, 503, "{option}");
        check_retry_after(reply.value("Retry-After"));
        for producer in &mut producers {
            assert_eq!(server.consume("full/queue").reply().body, b"data");
            producer.reply().assert_status(200);
        }
        let _waiting = [
            server.consumer_waiting("full/queue", 1),
            server.consumer_waiting("full/queue", 2),
        ];
        assert_eq!(server.consume("full/queue").reply().status, 503, "{option}");
    }
}

#[test]
fn the_limit_of_a_queue_does_not_depend_on_other_channels() {
    let server = Server::start(&["--max-waiting", "1"]);
    let _first = server.consumer_waiting("full/one", 1);
    let mut other = server.consumer_waiting("full/other", 2);
    assert_eq!(server.consume("full/one").reply().status, 503);
    let mut producer = server.produce("full/other", b"data");
    assert_eq!(other.reply().body, b"data");
    producer.reply().assert_status(200);
}

#[test]
fn a_channel_beyond_the_limit_is_refused_with_503() {
    let server = Server::start(&["--max-channels", "2"]);
    let mut first = server.consumer_waiting("few/first", 1);
    let _second = server.consumer_waiting("few/second", 2);
    let reply = server.consume("few/third").reply();
    assert_eq!(reply.status, 503);
    check_retry_after(reply.value("Retry-After"));
    assert_eq!(server.produce("few/third", b"data").reply().status, 503);
    // The channels in use go on, and make room when they are done.
    let mut producer = server.produce("few/first", b"data");
    assert_eq!(first.reply().body, b"data");
    producer.reply().assert_status(200);
    let mut third = server.consumer_waiting("few/third", 2);
    producer.send(post("few/third", b"data"));
    assert_eq!(third.reply().body, b"data");
    producer.reply().assert_status(200);
}

#[test]
fn a_connection_beyond_the_limit_is_refused_with_503() {
    let server = Server::start(&["--max-connections", "3"]);
    let mut connected: Vec<_> = (0..3).map(|_| server.connect()).collect();
    for connection in &mut connected {
        connection.send(request("GET", "/healthz"));
        connection.reply().assert_status(200);
    }
    let mut refused = server.connect();
    let _ = refused.try_send(request("GET", "/healthz"));
    let reply = refused.reply();
    assert_eq!((reply.status, reply.closes()), (503, true));
    check_retry_after(reply.value("Retry-After"));
    drop(connected);
    until("room for a connection", || {
        (server.ask("GET", "/healthz").status == 200).then_some(())
    });
}

#[test]
fn a_server_with_few_descriptors_refuses_what_it_cannot_serve_and_recovers() {
    const DESCRIPTORS: &str = "300";
    let server = Server::start_with_descriptors(DESCRIPTORS, &["--threads", "2"]);
    let mut crowd: Vec<_> = (0..250).map(|_| server.connect()).collect();
    let mut refused = 0;
    for connection in &mut crowd {
        let _ = connection.try_send(request("GET", "/healthz"));
        let reply = connection.reply();
        match reply.status {
            200 => {}
            503 => {
                check_retry_after(reply.value("Retry-After"));
                refused += 1;
            }
            status => panic!("{status}"),
        }
    }
    assert!((1..250).contains(&refused), "{refused} of 250 were refused");
    drop(crowd);
    until("room for a connection", || {
        (server.ask("GET", "/healthz").status == 200).then_some(())
    });
    // With few pipes and descriptors, large bodies arrive all the same.
    let body = pattern(8, 1 << 20);
    let mut consumer = server.consume("few/descriptors");
    std::thread::scope(|scope| {
        let producer = scope.spawn(|| server.produce("few/descriptors", body).reply());
        assert_same_bytes(&consumer.reply().body, body);
        producer
            .join()
            .expect("the producer is served")
            .assert_status(200);
    });
}

#[test]
fn bytes_that_were_sent_on_before_a_cut_arrive_even_if_a_reset_follows() {
    let server = Server::start(&[]);
    let mut consumer =
        server.connect_and_send(b"GET /channels/cut/short HTTP/1.0\r\nHost: test\r\n\r\n");
    server.until_waiting(Side::Consumer, 1);
    let mut producer = server.connect();
    // While the server is stopped, all of this arrives: the beginning of a chunk that will be
    // spliced, and directly after it the end of the stream.
    server.signal(Signal::STOP);
    producer.send(post_chunked_head("cut/short"));
    producer.send(format!("8000\r\n{}", "x".repeat(100)));
    producer.half_close();
    server.signal(Signal::CONT);
    consumer.head().assert_status(200);
    assert_eq!(consumer.body_bytes(100), "x".repeat(100).as_bytes());
    assert_eq!(consumer.expect_cut().end, End::Reset);
    producer.last_reply().assert_status(400);
}
