//! The end of a process and the start of the next one: after SIGKILL, during a drain, after a
//! second signal.

use crate::support::connection::Connection;
use crate::support::pattern::pattern;
use crate::support::proxy::lasting_port;
use crate::support::request::{post_head, request};
use crate::support::server::Server;
use crate::support::{Side, until};
use rustix::process::Signal;
use std::io::Write;
use std::net::TcpStream;

/// A server on this port, which must be free at once, and which no other test may get meanwhile.
fn start_at(port: u16, options: &[&str]) -> Server {
    Server::start(&[&["--port", &port.to_string()], options].concat())
}

/// A stalled exchange; the consumer has one byte.
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
    let port = lasting_port();
    let mut server = start_at(port, &["--threads", "2"]);
    for _ in 0..3 {
        let mut idle = server.connect_and_send(&request("GET", "/healthz"));
        idle.reply().assert_status(200);
        let (producer, mut consumer) = stalled(&server);
        let mut waiting = server.consumer_waiting("restart/waiting", 1);
        // A large body is under way too, and fills the buffers of both sides.
        let taker = server.consume("restart/large");
        taker.narrow();
        let giver = server.connect_and_send(&post_head("restart/large", 32 << 20));
        server.until_exchanging(2);
        std::thread::scope(|scope| {
            let mut sender = giver.sender();
            scope.spawn(move || sender.write_all(pattern(1, 32 << 20)));
            // On io_uring the kernel holds the port for some ms longer than the process lives.
            server.signal(Signal::KILL);
            assert_eq!(server.exit().code(), None, "it was killed");
        });
        let next = start_at(port, &["--threads", "2"]);
        // The old clients see the cut, and the new server does not know them.
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
fn a_draining_server_frees_its_port_for_the_next_one() {
    let mut old = start_at(lasting_port(), &["--threads", "2"]);
    let address = old.address();
    let (mut producer, mut consumer) = stalled(&old);
    old.terminate();
    until("the port to be left", || TcpStream::connect(address).err());
    let new = start_at(address.port(), &["--threads", "2"]);
    assert_eq!(new.ask("GET", "/healthz").status, 200);
    // Exchanges on the old server end normally there and do not affect the new one.
    new.until_metric("httpipe_exchanging", 0);
    producer.send(b"bcde");
    assert_eq!(consumer.rest_of_body().expect("a whole body"), b"bcde");
    producer.last_reply().assert_status(200);
    consumer.expect_end();
    assert_eq!(old.exit().code(), Some(0));
}

#[test]
fn at_the_second_signal_the_server_exits_immediately_with_code_1() {
    for (first, second) in [
        (Signal::TERM, Signal::TERM),
        (Signal::INT, Signal::INT),
        (Signal::INT, Signal::TERM),
    ] {
        let mut server = Server::start(&["--threads", "2", "--drain-timeout", "3600"]);
        let (_producer, mut consumer) = stalled(&server);
        let mut waiting = server.consumer_waiting("restart/waiting", 1);
        server.signal(first);
        // It drains, and would do so for an hour.
        waiting.last_reply().assert_turned_away();
        assert!(server.is_running());
        server.signal(second);
        assert_eq!(server.exit().code(), Some(1));
        assert!(consumer.expect_cut().received.is_empty());
        let said = server.stderr();
        assert!(said.contains("second signal"), "{said}");
    }
}
