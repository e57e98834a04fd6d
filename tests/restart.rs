//! The end of the process and the next one's beginning: killed, replaced, or told twice to end.

use crate::support::connection::Connection;
use crate::support::pattern::pattern;
use crate::support::request::{post_head, request};
use crate::support::server::Server;
use crate::support::{Side, until};
use rustix::process::Signal;
use std::io::Write;
use std::net::TcpStream;

/// A server on this port, which must be free as soon as it is asked for.
fn start_at(port: u16, options: &[&str]) -> Server {
    Server::start(&[&["--port", &port.to_string()], options].concat())
}

/// An exchange of which the consumer has one byte and that stalls there.
fn stalled(server: &Server) -> (Connection, Connection) {
    let mut consumer = server.connect_and_send(&request("GET", "/channels/restart/stalled"));
    server.until_waiting(Side::Consumer, 1);
    let mut producer = server.connect_and_send(&post_head("restart/stalled", 5));
    server.until_exchanging(1);
    producer.send(b"a");
    consumer.head().assert_status(200);
    assert_eq!(consumer.body_bytes(1), b"a");
    (producer, consumer)
}

#[test]
fn a_killed_server_is_replaced_on_its_port_at_once() {
    let mut server = Server::start(&["--threads", "2"]);
    let port = server.address().port();
    for _ in 0..3 {
        let mut idle = server.connect_and_send(&request("GET", "/healthz"));
        idle.reply().assert_status(200);
        let (producer, mut consumer) = stalled(&server);
        let mut waiting = server.consumer_waiting("restart/waiting", 1);
        // A large body is under way too, and lies in the buffers of both sides.
        let taker = server.consume("restart/large");
        taker.narrow();
        let giver = server.connect_and_send(&post_head("restart/large", 32 << 20));
        server.until_exchanging(2);
        std::thread::scope(|scope| {
            let mut sender = giver.sender();
            scope.spawn(move || sender.write_all(pattern(1, 32 << 20)));
            // On io_uring the kernel holds the port for some ms more than the process lives.
            server.signal(Signal::KILL);
            assert_eq!(server.exit().code(), None, "it was killed");
        });
        let next = start_at(port, &["--threads", "2"]);
        // The old clients know, and the new server knows nothing of them.
        consumer.expect_cut();
        for connection in [&mut idle, &mut waiting] {
            assert!(connection.until_end().0.is_empty());
        }
        drop((idle, producer, consumer, waiting, taker, giver));
        next.until_unused();
        let mut consumer = next.consumer_waiting("restart/waiting", 1);
        next.produce("restart/waiting", b"data")
            .reply()
            .assert_status(200);
        assert_eq!(consumer.reply().body, b"data");
        server = next;
    }
}

#[test]
fn a_server_that_drains_leaves_its_port_to_the_next_one() {
    let mut old = Server::start(&["--threads", "2"]);
    let address = old.address();
    let (mut producer, mut consumer) = stalled(&old);
    old.terminate();
    until("the port to be left", || TcpStream::connect(address).err());
    let new = start_at(address.port(), &["--threads", "2"]);
    assert_eq!(new.ask("GET", "/healthz").status, 200);
    // What was under way at the old one ends well there, and concerns the new one in nothing.
    new.until_metric("httpipe_exchanging", 0);
    producer.send(b"bcde");
    assert_eq!(consumer.rest_of_body().expect("a whole body"), b"bcde");
    producer.last_reply().assert_status(200);
    consumer.expect_end();
    assert_eq!(old.exit().code(), Some(0));
}

#[test]
fn told_twice_to_end_it_ends_at_once_with_code_1() {
    for (first, second) in [
        (Signal::TERM, Signal::TERM),
        (Signal::INT, Signal::INT),
        (Signal::INT, Signal::TERM),
    ] {
        let mut server = Server::start(&["--threads", "2", "--drain-timeout", "3600"]);
        let (_producer, mut consumer) = stalled(&server);
        let mut waiting = server.consumer_waiting("restart/waiting", 1);
        server.signal(first);
        // It drains, and would for an hour.
        waiting.last_reply().assert_turned_away();
        assert!(server.is_running());
        server.signal(second);
        assert_eq!(server.exit().code(), Some(1));
        assert!(consumer.expect_cut().received.is_empty());
        let said = server.stderr();
        assert!(said.contains("second signal"), "{said}");
    }
}
