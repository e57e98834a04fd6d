//! How long a connection may take to send a request. The time limits of waiting and of exchanges
//! are in `failure`.

use crate::support::connection::{Connection, Framing};
use crate::support::network::{SERVER, in_network_of_its_own};
use crate::support::request::{get, post, post_chunked_head, post_head_with, request};
use crate::support::server::Server;
use crate::support::{FAILURE_BOUND, Side};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

#[test]
fn part_of_a_head_is_answered_with_408_after_the_header_timeout() {
    let server = Server::start(&["--header-timeout", "1", "--threads", "2"]);
    for part in [
        "G",
        "GET /healthz HTTP/1.1\r\nHost: t",
        "GET /healthz HTTP/1.1\r\nHost: t\r\n",
    ] {
        let started = Instant::now();
        let mut client = server.connect_and_send(part.as_bytes());
        assert_eq!(client.last_reply().status, 408, "{part}");
        assert!(
            started.elapsed() > Duration::from_millis(900),
            "after {:?}",
            started.elapsed()
        );
    }
}

#[test]
fn a_connection_that_sends_nothing_is_closed_without_a_reply() {
    let server = Server::start(&["--header-timeout", "1"]);
    server.connect().expect_end();
}

#[test]
fn a_head_that_arrives_byte_by_byte_gets_no_more_time() {
    let server = Server::start(&["--header-timeout", "1"]);
    let mut client = server.connect();
    let trickle = client.sender();
    std::thread::scope(|scope| {
        scope.spawn(move || trickle_in(trickle));
        assert_eq!(client.reply().status, 408);
        client.until_end();
        // The server would read on.
        client.half_close();
    });
}

/// Sends an endless head, byte by byte, until the client has its reply.
fn trickle_in(mut client: TcpStream) {
    let _ = client.write_all(b"GET /healthz HTTP/1.1\r\nX: ");
    let started = Instant::now();
    while client.write_all(b"x").is_ok() {
        assert!(
            started.elapsed() < FAILURE_BOUND,
            "the server never replies"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_header_timeout_applies_to_each_request_of_a_connection() {
    let server = Server::start(&["--header-timeout", "1"]);
    let mut client = server.connect_and_send(&request("GET", "/healthz"));
    client.reply().assert_status(200);
    client.send(b"GET /healthz HTTP/1.1\r\n");
    assert_eq!(client.last_reply().status, 408);
}

#[test]
fn a_kept_alive_connection_without_a_request_is_closed_without_a_reply() {
    let server = Server::start(&["--keep-alive-timeout", "1", "--threads", "2"]);
    let mut client = server.connect();
    let mut ask = || {
        client.send(request("GET", "/healthz"));
        client.reply().assert_status(200);
    };
    ask();
    ask();
    // From before the request: this thread may go on late after the reply.
    let started = Instant::now();
    ask();
    client.expect_end();
    assert!(
        started.elapsed() > Duration::from_millis(800),
        "after {:?}",
        started.elapsed()
    );
}

#[test]
fn a_connection_whose_exchange_is_over_is_kept_alive_no_longer_than_others() {
    let server = Server::start(&["--keep-alive-timeout", "1", "--threads", "2"]);
    let mut consumer = server.consumer_waiting("kept/alive", 1);
    let mut producer = server.produce("kept/alive", b"data");
    assert_eq!(consumer.reply().body, b"data");
    producer.reply().assert_status(200);
    consumer.expect_end();
    producer.expect_end();
    server.until_metric("httpipe_connections", 1);
}

#[test]
fn neither_limit_touches_a_request_that_waits_for_its_counterpart() {
    let server = Server::start(&["--header-timeout", "1", "--keep-alive-timeout", "1"]);
    let mut consumer = server.consumer_waiting("long/wait", 1);
    let mut producer = server.producer_waiting("other/wait", b"kept", 1);
    // Both time limits pass for connections that came later.
    server.connect().expect_end();
    let mut idle = server.connect_and_send(&request("GET", "/healthz"));
    idle.reply().assert_status(200);
    idle.expect_end();
    server.until_waiting(Side::Consumer, 1);
    let mut late = server.produce("long/wait", b"data");
    assert_eq!(consumer.reply().body, b"data");
    late.reply().assert_status(200);
    assert_eq!(server.consume("other/wait").reply().body, b"kept");
    producer.reply().assert_status(200);
}

#[test]
fn a_client_that_never_reads_its_replies_blocks_no_other_client() {
    let server = Server::start(&["--keep-alive-timeout", "1", "--header-timeout", "1"]);
    let mut deaf = server.connect();
    deaf.narrow();
    let mut sender = deaf.sender();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let requests = request("GET", "/").repeat(200_000 / 20);
            let _ = sender.write_all(&requests);
        });
        let mut consumer = server.consumer_waiting("others/go-on", 1);
        let mut producer = server.connect_and_send(&post("others/go-on", b"data"));
        assert_eq!(consumer.reply().body, b"data");
        producer.reply().assert_status(200);
        consumer.send(get("no/such/path"));
        consumer.reply().assert_status(404);
        deaf.half_close();
    });
}

#[test]
fn the_time_of_an_exchange_starts_again_at_its_first_byte() {
    let server = Server::start(&["--idle-timeout", "3", "--threads", "2"]);
    for (fields, first, rest) in [
        ("Content-Length: 2\r\n", "a", "b"),
        (
            "Transfer-Encoding: chunked\r\n",
            "1\r\na\r\n",
            "1\r\nb\r\n0\r\n\r\n",
        ),
    ] {
        let mut consumer = server.consumer_waiting("first/byte", 1);
        let mut producer = server.connect_and_send(&post_head_with("first/byte", fields));
        server.until_exchanging(1);
        // Together longer than the limit, each shorter.
        for part in [first, rest] {
            std::thread::sleep(Duration::from_millis(1800));
            producer.send(part);
        }
        assert_eq!(consumer.reply().body, b"ab", "{fields}");
        producer.reply().assert_status(200);
    }
}

#[test]
fn a_listing_has_one_time_limit_in_all_however_steadily_its_client_reads() {
    in_network_of_its_own(|network| {
        network.set_send_buffer(16 << 10);
        let server = Server::start(&["--host", SERVER, "--keep-alive-timeout", "1"]);
        let name = |n| format!("{}/{n:0>250}", "n".repeat(250));
        let _waiting = Vec::from_iter((0..800).map(|n| server.consume(&name(n))));
        server.until_waiting(Side::Consumer, 800);
        let mut slow = server.connect();
        slow.narrow();
        slow.send(request("GET", "/state"));
        let listing = slow.head();
        let Framing::Length(length) = listing.framing else {
            panic!("a listing has a length: {listing:?}");
        };
        // In steps of a twentieth of the time limit, four times the limit in total.
        let (mut stream, mut step) = (slow.sender(), vec![0; length as usize / 80]);
        let mut read = 0;
        while let Ok(more @ 1..) = stream.read(&mut step) {
            read += more;
            std::thread::sleep(Duration::from_millis(50));
        }
        assert!(read < length as usize / 2, "{read} of {length} bytes");
        // A client that reads is sent the whole of it, and its connection is kept.
        let mut quick = server.connect();
        for _ in 0..2 {
            quick.send(request("GET", "/state"));
            assert_eq!(quick.reply().body.len() as u64, length);
        }
    });
}

/// Longer than the time of the first head: what a connection is under next is a limit of its own.
fn wait_past_the_first_head(server: &Server, channel: &str) -> Connection {
    let consumer = server.connect_and_send(&get(channel));
    server.until_waiting(Side::Consumer, 1);
    std::thread::sleep(Duration::from_millis(1300));
    consumer
}

#[test]
fn a_request_that_waited_past_the_time_of_its_head_is_under_every_later_limit() {
    let server = Server::start(&[
        "--header-timeout",
        "1",
        "--keep-alive-timeout",
        "1",
        "--idle-timeout",
        "1",
    ]);
    let mut consumer = wait_past_the_first_head(&server, "late/idle");
    let mut producer =
        server.connect_and_send(&post_head_with("late/idle", "Content-Length: 9\r\n"));
    producer.send(b"some");
    consumer.head();
    assert_eq!(producer.last_reply().status, 504);
    consumer.expect_cut();

    let mut consumer = wait_past_the_first_head(&server, "late/kept");
    let mut producer = server.connect_and_send(&post("late/kept", b"body"));
    producer.reply().assert_status(200);
    consumer.reply().assert_status(200);
    consumer.expect_end();
}

#[test]
fn a_request_that_waited_past_the_time_of_its_head_does_not_hold_up_the_drain() {
    let mut server = Server::start(&["--header-timeout", "1"]);
    let mut consumer = wait_past_the_first_head(&server, "late/drain");
    server.terminate();
    assert_eq!(consumer.reply().status, 503);
    // It does not close, and is given its time to.
    let ended = server.exit();
    assert!(ended.success(), "{ended}");
}

#[test]
fn chunk_framing_alone_does_not_keep_an_exchange_alive() {
    let server = Server::start(&["--idle-timeout", "2"]);
    let mut consumer = server.connect_and_send(&get("drip/chunks"));
    server.until_waiting(Side::Consumer, 1);
    let mut producer = server.connect_and_send(&post_chunked_head("drip/chunks"));
    producer.send(b"2\r\nhi\r\n1;");
    consumer.head();
    let drip = producer.sender();
    std::thread::scope(|scope| {
        scope.spawn(move || trickle_extension(drip));
        assert_eq!(producer.reply().status, 504);
        producer.until_end();
        // The server would read on.
        producer.half_close();
    });
}

/// Sends a chunk extension that never ends, byte by byte, until the client has its reply.
fn trickle_extension(mut client: TcpStream) {
    let started = Instant::now();
    while client.write_all(b"x").is_ok() {
        assert!(
            started.elapsed() < FAILURE_BOUND,
            "the server never replies"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}
