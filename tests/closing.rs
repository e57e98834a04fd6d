//! How a connection ends: earlier replies on it arrive, a cut body looks cut, and a client that
//! asked in time gets an answer.

use crate::support::Side;
use crate::support::connection::{Connection, End};
use crate::support::metrics::Metrics;
use crate::support::request::{
    chunk, get, post, post_chunked_head, post_head, post_head_with, request,
};
use crate::support::server::Server;
use rustix::process::Signal;

/// Enough replies to fill the window of a client that does not read, and the server's buffers.
const EARLIER: usize = 200;

/// A client with a small window that has requested [`EARLIER`] replies, read none, and then sent
/// `last`.
fn with_replies_unread(server: &Server, last: &[u8]) -> Connection {
    let mut client = server.connect();
    client.narrow();
    client.send([request("GET", "/").repeat(EARLIER), last.to_vec()].concat());
    client
}

/// As [`with_replies_unread`], for a producer on `channel` that waits with its body unread.
fn waiting_with_replies_unread(server: &Server, channel: &str) -> Connection {
    // More than is read with a head, so that a part is unread when the connection closes.
    let body = vec![b'x'; 40 << 10];
    let head = post_head(channel, 1 << 20);
    let client = with_replies_unread(server, &[head, body].concat());
    server.until_waiting(Side::Producer, 1);
    client
}

/// All earlier replies arrive, followed only by the end of the stream.
#[track_caller]
fn expect_earlier_replies(client: &mut Connection) {
    for _ in 0..EARLIER {
        client.reply().assert_status(200);
    }
    client.expect_end();
}

#[test]
fn replies_on_their_way_reach_a_client_that_half_closes_while_it_waits() {
    let server = Server::start(&["--threads", "1"]);
    let mut client = waiting_with_replies_unread(&server, "closing/half");
    client.half_close();
    server.until_unused();
    expect_earlier_replies(&mut client);
}

#[test]
fn replies_on_their_way_reach_a_client_that_half_closed_before_it_was_matched() {
    let server = Server::start(&["--threads", "1"]);
    let mut client = waiting_with_replies_unread(&server, "closing/claim");
    // The server is stopped, and the consumer arrives first: it meets a producer that has left.
    server.signal(Signal::STOP);
    let mut consumer = server.consume("closing/claim");
    client.half_close();
    server.signal(Signal::CONT);
    server.until_waiting(Side::Consumer, 1);
    expect_earlier_replies(&mut client);
    let mut producer = server.produce("closing/claim", b"data");
    assert_eq!(consumer.reply().body, b"data");
    producer.reply().assert_status(200);
}

#[test]
fn replies_on_their_way_reach_a_consumer_that_leaves_before_its_first_byte() {
    let server = Server::start(&["--threads", "1"]);
    // The unread bytes are requests after the current one.
    let behind = request("GET", "/healthz").repeat((40 << 10) / 30);
    let asked = [get("closing/consumer"), behind].concat();
    let mut client = with_replies_unread(&server, &asked);
    server.until_waiting(Side::Consumer, 1);
    let mut producer = server.connect_and_send(&post_head("closing/consumer", 4));
    server.until_exchanging(1);
    client.half_close();
    server.until_waiting(Side::Producer, 1);
    expect_earlier_replies(&mut client);
    producer.send(b"data");
    assert_eq!(server.consume("closing/consumer").reply().body, b"data");
    producer.reply().assert_status(200);
}

/// An exchange with an HTTP/1.0 consumer, whose body ends with the connection; one byte has moved.
fn endless(server: &Server) -> (Connection, Connection) {
    let head = b"GET /channels/closing/endless HTTP/1.0\r\n\r\n";
    let mut consumer = server.connect_and_send(head);
    server.until_waiting(Side::Consumer, 1);
    let mut producer = server.connect_and_send(&post_chunked_head("closing/endless"));
    producer.send(chunk("a"));
    consumer.head().assert_status(200);
    assert_eq!(consumer.body_bytes(1), b"a");
    (producer, consumer)
}

#[test]
fn a_body_that_ends_with_the_connection_is_reset_when_the_server_is_killed() {
    let mut server = Server::start(&["--threads", "2"]);
    let (_producer, mut consumer) = endless(&server);
    server.signal(Signal::KILL);
    server.exit();
    assert_eq!(consumer.expect_cut().end, End::Reset);
}

#[test]
fn a_body_that_ends_with_the_connection_is_reset_at_the_second_signal() {
    let mut server = Server::start(&["--threads", "2"]);
    let (_producer, mut consumer) = endless(&server);
    let mut waiting = server.consumer_waiting("closing/waiting", 1);
    server.signal(Signal::TERM);
    waiting.last_reply().assert_turned_away();
    server.signal(Signal::TERM);
    assert_eq!(server.exit().code(), Some(1));
    assert_eq!(consumer.expect_cut().end, End::Reset);
}

#[test]
fn a_whole_body_that_ends_with_the_connection_ends_with_a_fin() {
    let server = Server::start(&["--threads", "2"]);
    let (mut producer, mut consumer) = endless(&server);
    producer.send([chunk("b"), b"0\r\n\r\n".to_vec()].concat());
    assert_eq!(consumer.rest_of_body().expect("a whole body"), b"b");
    producer.reply().assert_status(200);
}

#[test]
fn clients_that_connected_before_the_drain_receive_a_reply() {
    let mut server = Server::start(&["--threads", "2"]);
    server.barrier();
    server.signal(Signal::STOP);
    let mut clients = Vec::from_iter((0..200).map(|_| server.consume("closing/queue")));
    server.terminate();
    server.signal(Signal::CONT);
    for client in &mut clients {
        client.last_reply().assert_turned_away();
    }
    assert_eq!(server.exit().code(), Some(0));
}

#[test]
fn a_connect_is_refused_and_nothing_behind_it_is_taken_for_a_request() {
    let server = Server::start(&["--threads", "2"]);
    for target in ["example.com:443", "/channels/closing/tunnel"] {
        let mut client = server.connect_and_send(
            &[
                request("CONNECT", target),
                post("closing/tunnel", b"smuggled"),
            ]
            .concat(),
        );
        assert!([404, 405].contains(&client.last_reply().status), "{target}");
    }
    server.until_unused();
}

#[test]
fn a_malformed_head_request_is_answered_without_a_body() {
    let server = Server::start(&[]);
    let mut client = server.connect_and_send(b"HEAD /state HTTP/1.1\r\n\r\n");
    assert_eq!(client.reply_to_head().status, 400);
    client.expect_end();
}

#[test]
fn a_part_of_a_body_is_refused() {
    let server = Server::start(&[]);
    let mut consumer = server.consumer_waiting("closing/range", 1);
    for range in ["bytes 0-3/8", "bytes 0-3/4", "x"] {
        let fields = format!("Content-Range: {range}\r\nContent-Length: 4\r\n");
        let post = String::from_utf8(post_head_with("closing/range", &fields)).expect("text");
        let put = post.replacen("POST", "PUT", 1);
        for head in [post, put] {
            let mut client = server.connect_and_send((head + "data").as_bytes());
            client.last_reply().assert_status(400);
        }
    }
    consumer.expect_nothing();
    let mut producer = server.produce("closing/range", "whole");
    assert_eq!(consumer.reply().body, b"whole");
    producer.reply().assert_status(200);
    // On any other request the field has no meaning (RFC 9110 §14.4).
    let mut client = server.connect();
    client.send(b"GET /healthz HTTP/1.1\r\nHost: t\r\nContent-Range: bytes 0-3/8\r\n\r\n");
    client.reply().assert_status(200);
}

#[test]
fn other_clients_are_served_while_one_client_s_many_requests_are_answered() {
    const REQUESTS: u64 = 400;
    let server = Server::start(&["--threads", "1"]);
    let mut looking = server.connect_and_send(&request("GET", "/healthz"));
    looking.reply().assert_status(200);
    let mut many = server.connect_and_send(&request("GET", "/healthz"));
    many.reply().assert_status(200);
    let before = server.metrics().value("httpipe_requests_total");
    server.signal(Signal::STOP);
    many.send(request("GET", "/healthz").repeat(REQUESTS as usize));
    looking.send(request("GET", "/metrics"));
    server.signal(Signal::CONT);
    let seen = Metrics::parse(&looking.reply().text());
    let served = seen.value("httpipe_requests_total") - before;
    assert!(served < REQUESTS, "all {served} were served first");
    for _ in 0..REQUESTS {
        many.reply().assert_status(200);
    }
}

#[test]
fn other_clients_are_served_while_a_channel_s_many_waiting_requests_are_refused() {
    const WAITERS: u64 = 400;
    for target in ["/channels/closing/crowd", "/channels/closing"] {
        let server = Server::start(&["--threads", "1"]);
        let mut looking = server.connect_and_send(&request("GET", "/healthz"));
        looking.reply().assert_status(200);
        let mut deleting = server.connect_and_send(&request("GET", "/healthz"));
        deleting.reply().assert_status(200);
        let mut waiting = Vec::from_iter((0..WAITERS).map(|_| server.consume("closing/crowd")));
        server.until_waiting(Side::Consumer, WAITERS);
        server.signal(Signal::STOP);
        deleting.send(request("DELETE", target));
        looking.send(request("GET", "/metrics"));
        server.signal(Signal::CONT);
        let seen = Metrics::parse(&looking.reply().text());
        let refused = seen.value("httpipe_refusals_total{kind=\"deleted\"}");
        assert!(refused < WAITERS, "all were refused first");
        deleting.reply().assert_status(204);
        for waiting in &mut waiting {
            waiting.reply().assert_status(410);
        }
        server.until_unused();
    }
}

#[test]
fn after_a_deletion_a_connection_goes_on_with_its_next_request_on_any_shard() {
    const WAITERS: u64 = 40;
    let server = Server::start(&["--threads", "4"]);
    let mut waiting = Vec::from_iter((0..WAITERS).map(|n| {
        let both = [get("closing/first"), get(&format!("closing/next{n}"))];
        server.connect_and_send(&both.concat())
    }));
    server.until_waiting(Side::Consumer, WAITERS);
    assert_eq!(server.ask("DELETE", "/channels/closing/first").status, 204);
    for (n, waiting) in waiting.iter_mut().enumerate() {
        waiting.reply().assert_status(410);
        let mut producer = server.produce(&format!("closing/next{n}"), b"data");
        assert_eq!(waiting.reply().body, b"data");
        producer.reply().assert_status(200);
    }
}
