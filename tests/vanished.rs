//! Peers that vanish: no FIN, no reset, no answer. TCP keepalive detects idle ones; the sweep,
//! `--idle-timeout` or the kernel's retransmission limit detects the others. Each test has a
//! control: a live client that is just as silent.

use crate::support::Side;
use crate::support::connection::Connection;
use crate::support::network::{MORTAL, Network, SERVER, in_network_of_its_own};
use crate::support::pattern::{assert_same_bytes, pattern};
use crate::support::request::{get, post, post_head, post_head_with};
use crate::support::server::Server;
use std::io::Write;

/// With one second of silence and six probes a second apart, a peer is gone after 7 s.
const SOON: [&str; 4] = ["--host", SERVER, "--tcp-keepalive", "1"];

fn start(options: &[&str]) -> Server {
    Server::start(&[&SOON, options].concat())
}

/// A connection of a client that will vanish, on which `bytes` were sent.
fn mortal(server: &Server, bytes: &[u8]) -> Connection {
    let mut connection = Connection::open_from(MORTAL, server.address());
    connection.send(bytes);
    connection
}

/// Starts the `nth` exchange; `consumer` receives one byte.
#[track_caller]
fn begin(server: &Server, nth: u64, producer: &mut Connection, consumer: &mut Connection) {
    server.until_exchanging(nth);
    producer.send(b"a");
    consumer.head().assert_status(200);
    assert_eq!(consumer.body_bytes(1), b"a");
}

#[test]
fn a_waiting_consumer_that_vanished_is_removed_from_its_queue() {
    in_network_of_its_own(|network: &Network| {
        let server = start(&[]);
        let _gone = mortal(&server, &get("vanished/consumer"));
        server.until_waiting(Side::Consumer, 1);
        let mut there = server.consumer_waiting("vanished/consumer", 2);
        network.vanish();
        server.until_waiting(Side::Consumer, 1);
        let mut producer = server.produce("vanished/consumer", b"data");
        assert_eq!(there.reply().body, b"data");
        producer.reply().assert_status(200);
        server.until_unused();
    });
}

#[test]
fn a_waiting_producer_that_vanished_is_removed_from_its_queue_with_its_body_unread() {
    in_network_of_its_own(|network: &Network| {
        let server = start(&[]);
        let unread = [
            post_head("vanished/producer", 1 << 20),
            pattern(1, 64 << 10).to_vec(),
        ];
        let _gone = mortal(&server, &unread.concat());
        server.until_waiting(Side::Producer, 1);
        let mut there = server.producer_waiting("vanished/producer", b"data", 2);
        network.vanish();
        server.until_waiting(Side::Producer, 1);
        assert_eq!(server.consume("vanished/producer").reply().body, b"data");
        there.reply().assert_status(200);
        server.until_unused();
    });
}

#[test]
fn a_body_whose_producer_vanished_is_cut() {
    in_network_of_its_own(|network: &Network| {
        let server = start(&["--threads", "2"]);
        let mut steady = server.consumer_waiting("vanished/steady", 1);
        let mut slow = server.connect_and_send(&post_head("vanished/steady", 2));
        begin(&server, 1, &mut slow, &mut steady);
        let mut consumer = server.consumer_waiting("vanished/midway", 1);
        let mut producer = mortal(&server, &post_head("vanished/midway", 2));
        server.until_exchanging(2);
        producer.send(b"a");
        consumer.head().assert_status(200);
        network.vanish();
        assert_eq!(consumer.expect_cut().received, b"a");
        server.until_exchanging(1);
        // A client that was silent for as long but is alive goes on.
        slow.send(b"b");
        assert_eq!(steady.rest_of_body().expect("a whole body"), b"b");
        slow.reply().assert_status(200);
    });
}

#[test]
fn an_exchange_whose_consumer_vanished_ends_at_the_idle_timeout() {
    in_network_of_its_own(|network: &Network| {
        let server = start(&["--idle-timeout", "2"]);
        // The idle timeout, shorter than the keepalive, does not apply to waiting.
        let mut waiting = server.consumer_waiting("vanished/waiting", 1);
        let mut consumer = mortal(&server, &get("vanished/idle"));
        server.until_waiting(Side::Consumer, 2);
        let mut producer = server.connect_and_send(&post_head("vanished/idle", 32 << 20));
        begin(&server, 1, &mut producer, &mut consumer);
        network.vanish();
        std::thread::scope(|scope| {
            let mut sender = producer.sender();
            // The write fails as soon as the server has given up.
            scope.spawn(move || sender.write_all(&pattern(2, 32 << 20)[1..]));
            producer.last_reply().assert_status(504);
        });
        server.until_exchanging(0);
        server
            .produce("vanished/waiting", b"data")
            .reply()
            .assert_status(200);
        assert_eq!(waiting.reply().body, b"data");
    });
}

#[test]
fn an_exchange_whose_consumer_vanished_ends_when_the_kernel_gives_up() {
    in_network_of_its_own(|network: &Network| {
        // With the kernel's default of 15 it would take a quarter of an hour.
        network.set_retries(3);
        let server = start(&[]);
        let mut consumer = mortal(&server, &get("vanished/unacknowledged"));
        server.until_waiting(Side::Consumer, 1);
        let mut producer = server.connect_and_send(&post_head("vanished/unacknowledged", 32 << 20));
        begin(&server, 1, &mut producer, &mut consumer);
        network.vanish();
        std::thread::scope(|scope| {
            let mut sender = producer.sender();
            scope.spawn(move || sender.write_all(&pattern(3, 32 << 20)[1..]));
            producer.last_reply().assert_status(502);
        });
        server.until_unused();
    });
}

#[test]
fn a_connection_whose_last_reply_was_never_acknowledged_ends() {
    in_network_of_its_own(|network: &Network| {
        network.set_retries(3);
        let server = start(&[]);
        // The next request already waits when the reply to the one before is sent.
        let mut gone = mortal(
            &server,
            &[post("vanished/reply", b"data"), get("vanished/next")].concat(),
        );
        server.until_waiting(Side::Producer, 1);
        network.vanish();
        assert_eq!(server.consume("vanished/reply").reply().body, b"data");
        server.until_unused();
        server.until_metric("httpipe_connections", 1);
        gone.expect_nothing();
    });
}

/// Without `--idle-timeout`, and with the kernel's own limit of a quarter of an hour or more.
#[test]
fn an_exchange_whose_consumer_vanished_midway_ends_no_later_than_a_wait() {
    in_network_of_its_own(|network: &Network| {
        let server = start(&["--threads", "2"]);
        let body = pattern(4, 32 << 20);
        // A live consumer that takes nothing for as long, with its window closed too.
        let mut slow = server.consumer_waiting("vanished/slow", 1);
        let mut patient = server.connect_and_send(&post_head("vanished/slow", 32 << 20));
        begin(&server, 1, &mut patient, &mut slow);
        let mut consumer = mortal(&server, &get("vanished/window"));
        server.until_waiting(Side::Consumer, 1);
        let mut producer = server.connect_and_send(&post_head("vanished/window", 32 << 20));
        begin(&server, 2, &mut producer, &mut consumer);
        std::thread::scope(|scope| {
            for mut sender in [patient.sender(), producer.sender()] {
                // One write fails as soon as the server has given up.
                scope.spawn(move || sender.write_all(&body[1..]));
            }
            network.vanish();
            producer.last_reply().assert_status(502);
            server.until_exchanging(1);
            assert_same_bytes(&slow.rest_of_body().expect("a whole body"), &body[1..]);
            patient.reply().assert_status(200);
        });
        server.until_unused();
    });
}

#[test]
fn a_wait_whose_client_vanished_with_a_reply_on_its_way_ends_no_later_than_other_waits() {
    in_network_of_its_own(|network: &Network| {
        let server = start(&[]);
        let requests = [post("vanished/reply", b"data"), get("vanished/next")];
        let _gone = mortal(&server, &requests.concat());
        server.until_waiting(Side::Producer, 1);
        network.vanish();
        assert_eq!(server.consume("vanished/reply").reply().body, b"data");
        server.until_waiting(Side::Consumer, 1);
        server.until_unused();
    });
}

#[test]
fn an_exchange_whose_producer_vanished_before_the_100_ends_no_later() {
    in_network_of_its_own(|network: &Network| {
        let server = start(&["--threads", "2"]);
        let fields = "Content-Length: 4\r\nExpect: 100-continue\r\n";
        let _gone = mortal(&server, &post_head_with("vanished/asked", fields));
        server.until_waiting(Side::Producer, 1);
        network.vanish();
        // Nothing is known yet: the 100 is on its way to a vanished client.
        let mut consumer = server.consume("vanished/asked");
        server.until_exchanging(1);
        server.until_waiting(Side::Consumer, 1);
        let mut there = server.produce("vanished/asked", b"data");
        assert_eq!(consumer.reply().body, b"data");
        there.reply().assert_status(200);
        server.until_unused();
    });
}
