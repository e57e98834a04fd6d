//! Who moves is not cut, and what has come in time counts: readers that are slow and never pause, and a
//! server that was paused itself.

use crate::support::Side;
use crate::support::connection::Connection;
use crate::support::pattern::{assert_same_bytes, pattern};
use crate::support::request::{get, post, post_head, request};
use crate::support::server::Server;
use rustix::process::Signal;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The server's time limit, in seconds: long enough that on a busy machine a test moves bytes, or pauses
/// the server, before the limit strikes.
const LIMIT: &str = "2";

/// Long enough that no [`LIMIT`] could have been kept by chance.
const SEVERAL_LIMITS: Duration = Duration::from_millis(6500);

/// More than the sockets on the way hold, whatever the kernel grows them to.
const BODY_BYTES: usize = 24 << 20;

/// A consumer of a long body reads so many bytes a second for several times the `--idle-timeout`,
/// then the rest at once.
fn read_steadily(mut consumer: Connection, mut producer: Connection, bytes_a_second: f64) {
    let body = pattern(1, BODY_BYTES);
    std::thread::scope(|scope| {
        let mut sender = producer.sender();
        scope.spawn(move || sender.write_all(body).expect("the body is read"));
        consumer.head().assert_status(200);
        let mut received = Vec::new();
        let started = Instant::now();
        while started.elapsed() < SEVERAL_LIMITS {
            // A busy machine may let it sleep longer: then more is due.
            std::thread::sleep(Duration::from_millis(20));
            let due = (started.elapsed().as_secs_f64() * bytes_a_second) as usize;
            received.extend(consumer.body_bytes(due - received.len()));
        }
        let rest = consumer.rest_of_body();
        received.extend(rest.unwrap_or_else(|cut| panic!("cut behind {}", cut.received.len())));
        assert_same_bytes(&received, body);
    });
    producer.reply().assert_status(200);
}

#[test]
fn a_consumer_that_reads_slowly_and_never_pauses_is_not_idle() {
    for options in [&["--no-splice"][..], &[]] {
        let server = Server::start(&[&["--idle-timeout", LIMIT], options].concat());
        let mut consumer = server.connect();
        // Its TCP acknowledges in steps of a part of its buffer.
        consumer.narrow();
        consumer.send(get("slow/reader"));
        server.until_waiting(Side::Consumer, 1);
        let producer = server.connect_and_send(&post_head("slow/reader", BODY_BYTES as u64));
        read_steadily(consumer, producer, 100_000.0);
        server.until_unused();
    }
}

#[test]
fn on_a_unix_socket_neither() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("socket");
    let server = Server::start(&[
        "--idle-timeout",
        LIMIT,
        "--listen",
        "127.0.0.1:0",
        "--listen",
        &format!("unix:{}", path.display()),
    ]);
    let consumer = open_and_send(&path, &get("slow/unix"));
    server.until_waiting(Side::Consumer, 1);
    let producer = server.connect_and_send(&post_head("slow/unix", BODY_BYTES as u64));
    // A kernel buffer of 32 KiB every 300 ms.
    read_steadily(consumer, producer, 110_000.0);
    server.until_unused();
}

fn open_and_send(path: &Path, bytes: &[u8]) -> Connection {
    let mut connection = Connection::open_unix(path);
    connection.send(bytes);
    connection
}

// ---------------------------------------------------------------- a paused server

/// Stops the server, does `meanwhile`, and lets the server go on once a time limit of [`LIMIT`] that was
/// under way is over.
fn paused_for_longer_than_a_limit<R>(server: &Server, meanwhile: impl FnOnce() -> R) -> R {
    server.signal(Signal::STOP);
    let result = meanwhile();
    std::thread::sleep(Duration::from_millis(2500));
    server.signal(Signal::CONT);
    result
}

#[test]
fn a_head_that_was_finished_while_the_server_was_paused_is_in_time() {
    let server = Server::start(&["--header-timeout", LIMIT, "--threads", "2"]);
    for _ in 0..3 {
        let mut first = server.connect_and_send(b"GET /healthz HTTP/1.1\r\n");
        let mut later = server.connect_and_send(&request("GET", "/healthz"));
        later.reply().assert_status(200);
        later.send(b"GET /healthz HTTP/1.1\r\n");
        server.barrier();
        paused_for_longer_than_a_limit(&server, || {
            first.send(b"Host: t\r\n\r\n");
            later.send(b"Host: t\r\n\r\n");
        });
        first.reply().assert_status(200);
        later.reply().assert_status(200);
    }
}

#[test]
fn a_request_that_came_to_a_kept_connection_while_the_server_was_paused_is_in_time() {
    let server = Server::start(&["--keep-alive-timeout", LIMIT]);
    let mut client = server.connect_and_send(&request("GET", "/healthz"));
    client.reply().assert_status(200);
    paused_for_longer_than_a_limit(&server, || client.send(request("GET", "/healthz")));
    client.reply().assert_status(200);
}

#[test]
fn a_counterpart_that_came_while_the_server_was_paused_is_in_time() {
    let server = Server::start(&["--request-timeout", LIMIT, "--threads", "2"]);
    // Some have to go to the other shard.
    let channels = ["pause/1", "pause/2", "pause/3", "pause/4"];
    let mut producers = channels.map(|_| server.connect_and_send(&request("GET", "/healthz")));
    for producer in &mut producers {
        producer.reply().assert_status(200);
    }
    let all_waiting = || {
        let consumers = channels.map(|channel| server.consume(channel));
        server.until_waiting(Side::Consumer, channels.len() as u64);
        consumers
    };
    let consumers = all_waiting();
    paused_for_longer_than_a_limit(&server, || {
        for (producer, channel) in producers.iter_mut().zip(channels) {
            producer.send(post(channel, channel));
        }
    });
    assert_met(producers, consumers, channels);
    // Nor is one late that had yet to connect.
    let consumers = all_waiting();
    let producers = paused_for_longer_than_a_limit(&server, || {
        channels.map(|channel| server.produce(channel, channel))
    });
    assert_met(producers, consumers, channels);
}

/// Each body is the name of its channel.
#[track_caller]
fn assert_met<const N: usize>(
    producers: [Connection; N],
    consumers: [Connection; N],
    channels: [&str; N],
) {
    for ((mut producer, mut consumer), channel) in
        producers.into_iter().zip(consumers).zip(channels)
    {
        producer.reply().assert_status(200);
        assert_eq!(consumer.reply().text(), channel);
    }
}

#[test]
fn payload_that_came_while_the_server_was_paused_is_in_time() {
    let server = Server::start(&["--idle-timeout", LIMIT]);
    let mut consumer = server.consumer_waiting("pause/body", 1);
    let mut producer = server.connect_and_send(&post_head("pause/body", 3));
    producer.send(b"a");
    consumer.head().assert_status(200);
    assert_eq!(consumer.body_bytes(1), b"a");
    paused_for_longer_than_a_limit(&server, || producer.send(b"b"));
    assert_eq!(consumer.body_bytes(1), b"b");
    producer.send(b"c");
    assert_eq!(consumer.rest_of_body().expect("a whole body"), b"c");
    producer.reply().assert_status(200);
}
