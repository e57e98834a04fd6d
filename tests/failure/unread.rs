//! Replies before the body is read: they reach a client in the middle of sending, even if it reads
//! only when it has sent its body. A client that never stops keeps nobody else from anything.

use super::SEEN;
use crate::support::connection::{Connection, Reply};
use crate::support::request::{post_chunked_head, post_head, post_head_with, request};
use crate::support::server::Server;
use crate::support::{FAILURE_BOUND, Side, until, within_bound};
use std::io::{ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// The declared length of a body that is never sent to its end.
const ENDLESS: u64 = 1 << 40;

/// More than the sockets hold of unread bytes, also on a machine with large buffers (36 MiB).
const LONG_BYTES: usize = 64 << 20;
/// What a client can send well within [`PAUSE`], also on a busy machine.
const SHORT_BYTES: usize = 4 << 20;
/// So much is read of what a client sends after its last reply.
const READ_ON_BYTES: usize = 1 << 30;
/// How long a client may be silent after its last reply.
const PAUSE: Duration = Duration::from_secs(2);

/// When a client reads the reply.
#[derive(Clone, Copy, Debug)]
enum Reads {
    /// As soon as it arrives, while sending goes on.
    AtOnce,
    /// When it has sent all, or can send no more.
    WhenStopped,
}

const EITHER: [Reads; 2] = [Reads::AtOnce, Reads::WhenStopped];

/// A client that is sending.
struct Sending {
    connection: Connection,
    /// How many bytes of the body it could send, and the error that stopped it, if one did.
    sender: JoinHandle<(usize, Option<ErrorKind>)>,
    /// How many it has.
    bytes: usize,
    reads: Reads,
}

/// Sends `head`, and then `bytes` of a body, or fewer if the server stops reading.
fn send(mut connection: Connection, head: &[u8], bytes: usize, reads: Reads) -> Sending {
    connection.send(head);
    let mut stream = connection.sender();
    let sender = thread::spawn(move || {
        let piece = [b'x'; 64 * 1024];
        let mut sent = 0;
        while sent < bytes {
            match stream.write(&piece[..piece.len().min(bytes - sent)]) {
                Ok(bytes) => sent += bytes,
                Err(error) => return (sent, Some(error.kind())),
            }
        }
        (sent, None)
    });
    Sending {
        connection,
        sender,
        bytes,
        reads,
    }
}

impl Sending {
    /// The whole reply and the end of the stream after it, of a client that could send all that it
    /// has. The connection stays open on this side.
    #[track_caller]
    fn hear(self) -> (Reply, Connection) {
        let bytes = self.bytes;
        let (reply, connection, sent, error) = self.hear_and_stop();
        assert_eq!((sent, error), (bytes, None));
        (reply, connection)
    }

    /// As [`Self::hear`], of any client; with how much it could send, and what stopped it.
    #[track_caller]
    fn hear_and_stop(self) -> (Reply, Connection, usize, Option<ErrorKind>) {
        let Self {
            mut connection,
            sender,
            reads,
            ..
        } = self;
        let early = match reads {
            Reads::AtOnce => Some(connection.last_reply()),
            Reads::WhenStopped => None,
        };
        let (sent, error) = sender.join().expect("a sender does not panic");
        let reply = early.unwrap_or_else(|| connection.last_reply());
        (reply, connection, sent, error)
    }
}

/// A producer's heads for `channel`, with a body of each framing.
fn heads(channel: &str) -> [Vec<u8>; 2] {
    let chunked = [&post_chunked_head(channel)[..], b"10000000000\r\n"].concat();
    [post_head(channel, ENDLESS), chunked]
}

/// Clients that send each of `heads` and a long body without its end; one client of each kind.
fn send_all(server: &Server, heads: &[Vec<u8>]) -> Vec<Sending> {
    send_all_of(server, heads, LONG_BYTES)
}

/// As [`send_all`], so many bytes of a body.
fn send_all_of(server: &Server, heads: &[Vec<u8>], bytes: usize) -> Vec<Sending> {
    let kinds = heads
        .iter()
        .flat_map(|head| EITHER.map(|reads| (head, reads)));
    kinds
        .map(|(head, reads)| send(server.connect(), head, bytes, reads))
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
    let sending = send_all_of(&server, &heads("unread/too-many"), SHORT_BYTES);
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
fn a_client_that_never_stops_is_read_for_a_gibibyte_and_receives_its_reply() {
    let server = Server::start(&["--threads", "2"]);
    let descriptors = server.descriptors().len();
    let sending = heads("").into_iter().zip(EITHER).map(|(head, reads)| {
        let connection = server.connect();
        connection.narrow_sending();
        send(connection, &head, usize::MAX, reads)
    });
    let heard = Vec::from_iter(sending).into_iter().map(|sending| {
        let (reply, connection, sent, error) = sending.hear_and_stop();
        reply.assert_status(404);
        // Not the time-out that bounds a failing test.
        assert!(
            matches!(
                error,
                Some(ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)
            ),
            "stopped by {error:?} after {sent} bytes"
        );
        // The rest was in the sockets.
        assert!((READ_ON_BYTES..READ_ON_BYTES + LONG_BYTES).contains(&sent));
        connection
    });
    let heard = Vec::from_iter(heard);
    check_freed(&server, descriptors);
    let discarded = server.metrics().value("httpipe_discarded_bytes_total");
    assert_eq!(discarded, (heard.len() * READ_ON_BYTES) as u64);
}

/// A client with a refusal in hand that may send on.
fn refused(server: &Server) -> Connection {
    let mut client = server.connect_and_send(&post_head("", ENDLESS));
    client.last_reply().assert_status(404);
    client
}

/// Sends a byte now and then, as long as `goes_on`; it must be read.
#[track_caller]
fn trickle_while(client: &mut Connection, mut goes_on: impl FnMut() -> bool) {
    let began = Instant::now();
    while goes_on() {
        client.send("x");
        assert!(began.elapsed() < FAILURE_BOUND, "it takes too long");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Sends a byte now and then on each of `clients`, read or not, as long as `goes_on`.
fn trickle(mut clients: Vec<Connection>, goes_on: impl Fn() -> bool) {
    let began = Instant::now();
    // A failing test never says that it is over.
    while goes_on() && began.elapsed() < FAILURE_BOUND * 2 {
        clients.retain_mut(|client| client.try_send("x").is_ok());
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_client_that_pauses_after_a_refusal_is_disconnected_and_one_that_sends_slowly_is_not() {
    let server = Server::start(&[]);
    let descriptors = server.descriptors().len();
    let mut silent = refused(&server);
    let mut slow = refused(&server);
    let began = Instant::now();
    trickle_while(&mut slow, || {
        began.elapsed() < PAUSE * 2 || server.descriptors().len() > descriptors + 1
    });
    // The slow one, which pauses now.
    check_freed(&server, descriptors);
    silent.expect_end();
    slow.expect_end();
}

#[test]
fn clients_that_send_on_after_a_refusal_keep_nobody_out() {
    let server = Server::start(&["--max-connections", "4"]);
    // 64 of them are refused because the server is full. A newcomer waits in the listen queue.
    let head = post_head("", ENDLESS);
    let sending = Vec::from_iter((0..4 + 64).map(|_| server.connect_and_send(&head)));
    let served = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| trickle(sending, || !served.load(Ordering::Relaxed)));
        let newcomer = within_bound(|| {
            let reply = server.ask("GET", "/healthz");
            (reply.status == 200).then_some(())
        });
        served.store(true, Ordering::Relaxed);
        assert!(newcomer.is_some(), "a newcomer finds no room");
    });
}

#[test]
fn a_client_that_sends_on_after_a_refusal_is_read_during_a_drain() {
    let mut server = Server::start(&[]);
    let mut slow = refused(&server);
    server.terminate();
    let began = Instant::now();
    trickle_while(&mut slow, || began.elapsed() < PAUSE * 2);
    assert!(server.is_running());
    drop(slow);
    assert_eq!(server.exit().code(), Some(0));
}

#[test]
fn a_client_that_sends_on_after_a_refusal_does_not_hold_up_a_drain_that_has_timed_out() {
    let mut server = Server::start(&["--drain-timeout", "1"]);
    let sending = vec![refused(&server)];
    server.terminate();
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| trickle(sending, || !ended.load(Ordering::Relaxed)));
        let exit = within_bound(|| (!server.is_running()).then_some(()));
        ended.store(true, Ordering::Relaxed);
        assert!(exit.is_some(), "the drain goes on");
    });
    assert_eq!(server.exit().code(), Some(0));
}
