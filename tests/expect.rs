//! `Expect: 100-continue` (RFC 9110 §10.1.1): a client that waits for the 100 sends its body only
//! when there is a consumer.

use crate::support::Side;
use crate::support::pattern::{assert_same_bytes, pattern};
use crate::support::request::{chunked, post_head_with};
use crate::support::server::Server;

/// The head of a producer that waits for a `100 Continue` before it sends `bytes` of body.
fn expecting(channel: &str, bytes: usize) -> Vec<u8> {
    post_head_with(
        channel,
        &format!("Expect: 100-continue\r\nContent-Length: {bytes}\r\n"),
    )
}

#[test]
fn the_100_is_sent_at_the_match() {
    let server = Server::start(&["--threads", "2"]);
    let body = pattern(1, 100_000);
    let mut producer = server.connect_and_send(&expecting("hold/it", body.len()));
    server.until_waiting(Side::Producer, 1);
    server.barrier();
    producer.expect_nothing();
    let mut consumer = server.consume("hold/it");
    producer.expect_continue();
    producer.send(body);
    assert_same_bytes(&consumer.reply().body, body);
    producer.reply().assert_status(200);
}

#[test]
fn the_100_is_sent_at_once_if_a_consumer_waits() {
    let server = Server::start(&["--threads", "2"]);
    let mut producer = server.connect();
    for body in [&b"x"[..], pattern(2, 3000), pattern(3, 70_000)] {
        let mut consumer = server.consumer_waiting("at/once", 1);
        producer.send(expecting("at/once", body.len()));
        producer.expect_continue();
        server.barrier();
        consumer.expect_nothing();
        producer.send(body);
        assert_same_bytes(&consumer.reply().body, body);
        producer.reply().assert_status(200);
    }
}

#[test]
fn a_chunked_body_waits_for_its_100_too() {
    let server = Server::start(&[]);
    let fields = "Transfer-Encoding: chunked\r\nexpect: 100-CONTINUE\r\n";
    let mut producer = server.connect_and_send(&post_head_with("in/chunks", fields));
    server.until_waiting(Side::Producer, 1);
    server.barrier();
    producer.expect_nothing();
    let mut consumer = server.consume("in/chunks");
    producer.expect_continue();
    producer.send(chunked(b"some bytes", 3));
    assert_eq!(consumer.reply().body, b"some bytes");
    producer.reply().assert_status(200);
}

#[test]
fn a_client_that_sends_its_body_without_waiting_is_served_all_the_same() {
    let server = Server::start(&["--threads", "2"]);
    for bytes in [1, 5000, 400_000] {
        let body = pattern(bytes, bytes);
        let mut producer = server.connect_and_send(&expecting("no/patience", bytes));
        server.until_waiting(Side::Producer, 1);
        let mut sender = producer.sender();
        std::thread::scope(|scope| {
            scope.spawn(move || std::io::Write::write_all(&mut sender, body).expect("it is read"));
            server.barrier();
            let mut consumer = server.consume("no/patience");
            assert_same_bytes(&consumer.reply().body, body);
        });
        producer.reply_after_continue().assert_status(200);
    }
}

#[test]
fn a_body_in_one_write_with_its_head_is_served_all_the_same() {
    let server = Server::start(&[]);
    for first in [Side::Producer, Side::Consumer] {
        let waiting = (first == Side::Consumer).then(|| server.consumer_waiting("one/write", 1));
        let whole = [&expecting("one/write", 4)[..], b"data"].concat();
        let mut producer = server.connect_and_send(&whole);
        let mut consumer = waiting.unwrap_or_else(|| {
            server.until_waiting(Side::Producer, 1);
            server.consume("one/write")
        });
        assert_eq!(consumer.reply().body, b"data");
        producer.reply_after_continue().assert_status(200);
    }
}

#[test]
fn an_empty_body_with_an_expectation_is_served() {
    let server = Server::start(&[]);
    let mut producer = server.connect_and_send(&expecting("empty/body", 0));
    server.until_waiting(Side::Producer, 1);
    let mut consumer = server.consume("empty/body");
    assert_eq!(consumer.reply().body, b"");
    producer.reply_after_continue().assert_status(200);
}

#[test]
fn an_expectation_from_http_1_0_is_ignored() {
    let server = Server::start(&[]);
    let mut consumer = server.consumer_waiting("old/client", 1);
    let mut producer = server.connect();
    producer.send(
        b"POST /channels/old/client HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n",
    );
    server.until_exchanging(1);
    server.barrier();
    producer.expect_nothing();
    producer.send(b"data");
    assert_eq!(consumer.reply().body, b"data");
    producer.reply().assert_status(200);
}

#[test]
fn an_expectation_is_a_list_with_empty_elements_and_repeats() {
    let server = Server::start(&[]);
    let mut producer = server.connect();
    for value in [
        "100-continue,",
        ", 100-continue",
        ",,100-continue\t,",
        "100-continue, 100-continue",
        "100-CONTINUE,100-Continue",
        "100-continue\r\nExpect: 100-continue",
        "100-continue, \r\nExpect:\r\nexpect: ,100-continue",
    ] {
        let fields = format!("Expect: {value}\r\nContent-Length: 4\r\n");
        producer.send(post_head_with("list/of", &fields));
        server.until_waiting(Side::Producer, 1);
        let mut consumer = server.consume("list/of");
        producer.expect_continue();
        producer.send(b"data");
        assert_eq!(consumer.reply().body, b"data", "{value}");
        producer.reply().assert_status(200);
    }
}

#[test]
fn an_empty_list_of_expectations_expects_nothing() {
    let server = Server::start(&[]);
    let mut producer = server.connect();
    for value in ["", ",", " ,\t, ", "\r\nExpect:"] {
        let mut consumer = server.consumer_waiting("empty/list", 1);
        let fields = format!("Expect: {value}\r\nContent-Length: 4\r\n");
        producer.send(post_head_with("empty/list", &fields));
        server.until_exchanging(1);
        server.barrier();
        producer.expect_nothing();
        producer.send(b"data");
        assert_eq!(consumer.reply().body, b"data", "{value}");
        producer.reply().assert_status(200);
    }
}

#[test]
fn any_other_expectation_is_417() {
    let server = Server::start(&[]);
    for value in [
        "200-ok",
        "100-continue, 200-ok",
        "200-ok, 100-continue",
        "100-continue\r\nExpect: x",
        ", x ,",
        "100",
        "100-continue;q=1",
        "100-continue 100-continue",
        "\"100-continue\"",
        "x=\"a, 100-continue\"",
        "x=y",
    ] {
        let fields = format!("Expect: {value}\r\nContent-Length: 4\r\n");
        let mut producer = server.connect_and_send(&post_head_with("other/hope", &fields));
        assert_eq!(producer.reply().status, 417, "{value}");
    }
    server.until_unused();
}

#[test]
fn a_client_that_receives_a_final_status_instead_of_the_100_sends_no_body() {
    let server = Server::start(&["--threads", "2"]);
    let mut deleted = server.connect_and_send(&expecting("early/final", 1000));
    server.until_waiting(Side::Producer, 1);
    assert_eq!(server.ask("DELETE", "/channels/early/final").status, 204);
    assert_eq!(deleted.reply().status, 410);

    let mut lost = server.connect_and_send(&expecting("early/%zz", 1000));
    assert_eq!(lost.reply().status, 400);

    let impatient = Server::start(&["--request-timeout", "1"]);
    let mut timed_out = impatient.connect_and_send(&expecting("early/final", 1000));
    assert_eq!(timed_out.reply().status, 408);
}

#[test]
fn a_producer_whose_consumer_leaves_after_the_100_waits_on() {
    let server = Server::start(&["--threads", "2"]);
    let mut producer = server.connect_and_send(&expecting("next/one", 4));
    server.until_waiting(Side::Producer, 1);
    let leaving = server.consume("next/one");
    producer.expect_continue();
    leaving.reset();
    server.until_waiting(Side::Producer, 1);
    let mut consumer = server.consume("next/one");
    producer.send(b"data");
    assert_eq!(consumer.reply().body, b"data");
    producer.reply_after_continue().assert_status(200);
}
