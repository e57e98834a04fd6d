//! Signals: what ends the server and what does not. The drain at SIGTERM and SIGINT is in `failure`
//! and `restart`.

use crate::support::connection::Connection;
use crate::support::request::post_head;
use crate::support::server::Server;
use crate::support::until;
use rustix::process::Signal;

/// Signals that never end the process, although the kernel's default would.
const HARMLESS: [Signal; 9] = [
    Signal::HUP,
    Signal::USR1,
    Signal::USR2,
    Signal::ALARM,
    Signal::VTALARM,
    Signal::PROF,
    Signal::IO,
    Signal::PIPE,
    Signal::XFSZ,
];

/// An exchange in which one byte of two has moved.
fn under_way(server: &Server) -> (Connection, Connection) {
    let mut consumer = server.consume("signals/moving");
    let mut producer = server.connect_and_send(&post_head("signals/moving", 2));
    producer.send(b"1");
    consumer.head();
    assert_eq!(consumer.body_bytes(1), b"1");
    (producer, consumer)
}

#[track_caller]
fn finish((mut producer, mut consumer): (Connection, Connection)) {
    producer.send(b"2");
    assert_eq!(consumer.rest_of_body().expect("a whole body"), b"2");
    producer.reply().assert_status(200);
}

fn reloads(server: &Server) -> usize {
    server.stderr().matches("nothing to reload").count()
}

#[test]
fn signals_that_are_not_meant_to_end_the_server_disturb_nothing() {
    let mut server = Server::start(&["--threads", "2"]);
    let mut waiting = server.consumer_waiting("signals/waiting", 1);
    let moving = under_way(&server);
    for _ in 0..10 {
        for signal in HARMLESS {
            server.signal(signal);
        }
    }
    until("SIGHUP", || (reloads(&server) > 0).then_some(()));
    server
        .produce("signals/waiting", b"still here")
        .reply()
        .assert_status(200);
    assert_eq!(waiting.reply().body, b"still here");
    finish(moving);
    assert!(server.is_running());
}

#[test]
fn each_sighup_is_one_line_that_says_what_was_reloaded() {
    let server = Server::start(&[]);
    for nth in 1..=3 {
        server.signal(Signal::HUP);
        until("the line", || (reloads(&server) == nth).then_some(()));
    }
}

#[test]
fn a_sighup_neither_begins_nor_ends_a_drain() {
    let mut server = Server::start(&["--threads", "2", "--drain-timeout", "3600"]);
    server.signal(Signal::HUP);
    until("SIGHUP", || (reloads(&server) == 1).then_some(()));
    let mut waiting = server.consumer_waiting("signals/waiting", 1);
    let moving = under_way(&server);
    server.terminate();
    waiting.last_reply().assert_turned_away();
    server.signal(Signal::HUP);
    until("SIGHUP", || (reloads(&server) == 2).then_some(()));
    assert!(server.is_running());
    let (mut producer, mut consumer) = moving;
    producer.send(b"2");
    assert_eq!(consumer.rest_of_body().expect("a whole body"), b"2");
    producer.last_reply().assert_status(200);
    assert_eq!(server.exit().code(), Some(0));
}
