//! Replies before the body is read: they reach a client in the middle of sending, even if it reads
//! only when it can send no more. A client that never stops holds resources for a short time only.

use super::SEEN;
use crate::support::connection::{Connection, Reply};
use crate::support::request::{post_chunked_head, post_head, post_head_with, request};
use crate::support::server::Server;
use crate::support::{FAILURE_BOUND, Side, until};
use std::io::{ErrorKind, Write};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// The declared length of a body that is never sent to its end.
const ENDLESS: u64 = 1 << 40;

/// More than the sockets hold of unread bytes: if a client sent so much, the server read and
/// dropped some.
const READ_ON_BYTES_MIN: usize = 2 << 20;
/// More than a server takes that drops a limited amount, and much less than it could take in its
/// time limit (16 MiB and 2 s), whatever the sockets hold.
const READ_ON_BYTES_MAX: usize = 96 << 20;

/// When a client reads the reply.
#[derive(Clone, Copy, Debug)]
enum Reads {
    /// As soon as it arrives, while sending goes on.
    AtOnce,
    /// When it can send no more.
    WhenStopped,
}

const EITHER: [Reads; 2] = [Reads::AtOnce, Reads::WhenStopped];

/// A client that sends without end.
struct Sending {
    connection: Connection,
    /// How many bytes of the body it could send, and the error that stopped it.
    sender: JoinHandle<(usize, ErrorKind)>,
    reads: Reads,
}

/// Sends `head`, and then a body until the server stops reading.
fn send(server: &Server, head: &[u8], reads: Reads) -> Sending {
    let mut connection = server.connect();
    connection.narrow_sending();
    connection.send(head);
    let mut stream = connection.sender();
    let sender = thread::spawn(move || {
        let mut sent = 0;
        loop {
            match stream.write(&[b'x'; 16 * 1024]) {
                Ok(bytes) => sent += bytes,
                Err(error) => return (sent, error.kind()),
            }
        }
    });
    Sending {
        connection,
        sender,
        reads,
    }
}

impl Sending {
    /// The whole reply and the end of the stream after it. The connection stays open on this side.
    #[track_caller]
    fn hear(self) -> (Reply, Connection) {
        let Self {
            mut connection,
            sender,
            reads,
        } = self;
        let early = match reads {
            Reads::AtOnce => Some(connection.last_reply()),
            Reads::WhenStopped => None,
        };
        let (sent, error) = sender.join().expect("a sender does not panic");
        // Not the time-out that bounds a failing test.
        assert!(
            matches!(error, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset),
            "stopped by {error:?} after {sent} bytes"
        );
        assert!(
            (READ_ON_BYTES_MIN..READ_ON_BYTES_MAX).contains(&sent),
            "{sent} bytes were taken after the reply: {reads:?}"
        );
        let reply = early.unwrap_or_else(|| connection.last_reply());
        (reply, connection)
    }
}

/// A producer's heads for `channel`, with a body of each framing.
fn heads(channel: &str) -> [Vec<u8>; 2] {
    let chunked = [&post_chunked_head(channel)[..], b"10000000000\r\n"].concat();
    [post_head(channel, ENDLESS), chunked]
}

/// Clients that send each of `heads` and an endless body; one client of each kind.
fn send_all(server: &Server, heads: &[Vec<u8>]) -> Vec<Sending> {
    let kinds = heads
        .iter()
        .flat_map(|head| EITHER.map(|reads| (head, reads)));
    kinds
        .map(|(head, reads)| send(server, head, reads))
        .collect()
}

/// Every client receives `status`. Then the server has at most `descriptors` open, although no
/// client has closed.
#[track_caller]
fn check(server: &Server, sending: Vec<Sending>, status: u16, descriptors: usize) {
    let heard = hear_all(sending, status);
    check_freed(server, descriptors);
    drop(heard);
}

/// Every client receives `status`. The connections stay open on this side.
#[track_caller]
fn hear_all(sending: Vec<Sending>, status: u16) -> Vec<Connection> {
    let hear = |sending: Sending| {
        let (reply, connection) = sending.hear();
        match status {
            503 => reply.assert_turned_away(),
            _ => reply.assert_status(status),
        };
        connection
    };
    sending.into_iter().map(hear).collect()
}

#[track_caller]
fn check_freed(server: &Server, descriptors: usize) {
    until("the descriptors to be free", || {
        (server.descriptors().len() <= descriptors).then_some(())
    });
}

/// Producers on `channel` that wait while their bodies are being sent.
fn send_and_wait(server: &Server, channel: &str) -> Vec<Sending> {
    let sending = send_all(server, &heads(channel));
    server.until_waiting(Side::Producer, sending.len() as u64);
    sending
}

#[test]
fn a_producer_that_times_out_receives_408_while_it_sends() {
    let server = Server::start(&["--request-timeout", SEEN]);
    let descriptors = server.descriptors().len();
    let sending = send_and_wait(&server, "unread/in-vain");
    check(&server, sending, 408, descriptors);
}

#[test]
fn a_producer_whose_channel_is_deleted_receives_410_while_it_sends() {
    thread::scope(|scope| {
        for target in ["/channels/unread/deleted", "/channels/unread"] {
            scope.spawn(move || {
                let server = Server::start(&["--threads", "2"]);
                let descriptors = server.descriptors().len();
                let sending = send_and_wait(&server, "unread/deleted");
                server.ask("DELETE", target).assert_status(204);
                check(&server, sending, 410, descriptors);
            });
        }
    });
}

#[test]
fn a_producer_that_waits_when_the_drain_begins_receives_503_while_it_sends() {
    let mut server = Server::start(&["--threads", "2"]);
    let sending = send_and_wait(&server, "unread/drained");
    server.terminate();
    let heard = Vec::from_iter(sending.into_iter().map(Sending::hear));
    // No client has closed, and none delays the end.
    assert_eq!(server.exit().code(), Some(0));
    for (reply, _connection) in &heard {
        reply.assert_turned_away();
    }
}

#[test]
fn a_producer_that_finds_a_full_queue_receives_503_while_it_sends() {
    let full = [
        ("--max-waiting", "unread/full"),
        ("--max-waiting-total", "unread/full"),
        ("--max-channels", "unread/other"),
    ];
    // All at once: each takes the time that the server grants after a last reply.
    thread::scope(|scope| {
        for (limit, channel) in full {
            scope.spawn(move || {
                let server = Server::start(&[limit, "1"]);
                let descriptors = server.descriptors().len() + 1;
                let _first = server.producer_waiting("unread/full", b"first", 1);
                let sending = send_all(&server, &heads(channel));
                check(&server, sending, 503, descriptors);
            });
        }
    });
}

#[test]
fn a_producer_beyond_the_connection_limit_receives_503_while_it_sends() {
    let server = Server::start(&["--max-connections", "1"]);
    let descriptors = server.descriptors().len() + 1;
    let mut first = server.connect_and_send(&request("GET", "/healthz"));
    first.reply().assert_status(200);
    let sending = send_all(&server, &heads("unread/too-many"));
    check(&server, sending, 503, descriptors);
}

#[test]
fn a_producer_with_another_expectation_receives_417_while_it_sends() {
    let server = Server::start(&[]);
    let descriptors = server.descriptors().len();
    let fields = format!("Expect: 200-ok\r\nContent-Length: {ENDLESS}\r\n");
    let head = post_head_with("unread/hope", &fields);
    check(&server, send_all(&server, &[head]), 417, descriptors);
}

#[test]
fn a_client_whose_head_is_refused_receives_the_reply_while_it_sends() {
    let server = Server::start(&["--threads", "2"]);
    let descriptors = server.descriptors().len();
    let head = |request: &str| {
        format!("{request} HTTP/1.1\r\nHost: t\r\nContent-Length: {ENDLESS}\r\n\r\n").into_bytes()
    };
    let refused = [
        (413, "GET /channels/unread/get"),
        (404, "POST /nowhere"),
        (405, "POST /healthz"),
        (400, "POST /channels/unread/%zz"),
    ];
    let all = refused.map(|(status, request)| (status, send_all(&server, &[head(request)])));
    let heard = all.map(|(status, sending)| hear_all(sending, status));
    check_freed(&server, descriptors);
    drop(heard);
}

#[test]
fn a_client_that_never_closes_after_a_refusal_is_disconnected() {
    let server = Server::start(&[]);
    let descriptors = server.descriptors().len();
    let head = post_head_with(
        "unread/endless",
        &format!("Expect: 200-ok\r\nContent-Length: {ENDLESS}\r\n"),
    );
    let began = Instant::now();
    let mut silent = server.connect_and_send(&head);
    silent.last_reply().assert_status(417);
    let mut slow = server.connect_and_send(&head);
    slow.last_reply().assert_status(417);
    // Far less in total than the amount limit: only the time limit ends it.
    while slow.try_send(b"x").is_ok() {
        assert!(
            began.elapsed() < FAILURE_BOUND,
            "the server never stops reading"
        );
        thread::sleep(Duration::from_millis(20));
    }
    let lasted = began.elapsed();
    assert!(lasted > Duration::from_secs(1), "after {lasted:?}");
    check_freed(&server, descriptors);
    silent.expect_end();
}
