//! The purpose of httpipe: a body goes from a producer to a consumer, whole, in order and at once,
//! for every framing, version and size, in either order of arrival and on any shard.

use crate::support::Side;
use crate::support::connection::{Connection, Framing, Reply};
use crate::support::pattern::{assert_same_bytes, pattern};
use crate::support::request::{chunk, chunked, get, post, post_chunked_head, post_head, request};
use crate::support::server::Server;
use serde_json::json;
use std::io::Write;
use std::time::{Duration, Instant};

// ---------------------------------------------------------------- the matrix

/// The producer's version and framing.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Sending {
    Length11,
    Chunked11,
    Length10,
    Length10KeepAlive,
}

/// How the producer's request is split into writes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Writing {
    HeadAndBodyTogether,
    HeadFirst,
    InPieces,
}

/// The consumer's version.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Receiving {
    Http11,
    Http10,
    Http10KeepAlive,
}

#[derive(Clone, Copy, Debug)]
struct Case {
    number: usize,
    sending: Sending,
    writing: Writing,
    receiving: Receiving,
    first: Side,
    bytes: usize,
}

/// Sizes around the likely sizes of buffers and pipes.
const SIZES: [usize; 16] = [
    0,
    1,
    100,
    4095,
    4096,
    4097,
    16_383,
    16_384,
    16_385,
    65_535,
    65_536,
    65_537,
    (1 << 20) - 1,
    1 << 20,
    (1 << 20) + 1,
    8 << 20,
];

/// Every combination, with the sizes in the innermost loop.
fn cases() -> Vec<Case> {
    use {Receiving::*, Sending::*, Writing::*};
    let mut cases = Vec::new();
    for sending in [Length11, Chunked11, Length10, Length10KeepAlive] {
        for writing in [HeadAndBodyTogether, HeadFirst, InPieces] {
            for receiving in [Http11, Http10, Http10KeepAlive] {
                for first in [Side::Producer, Side::Consumer] {
                    for bytes in SIZES {
                        let number = cases.len();
                        cases.push(Case {
                            number,
                            sending,
                            writing,
                            receiving,
                            first,
                            bytes,
                        });
                    }
                }
            }
        }
    }
    cases
}

#[test]
fn every_body_arrives_whole_on_one_shard_without_a_handover() {
    let server = Server::start(&[]);
    cases().iter().for_each(|case| case.run(&server));
    assert_eq!(server.metrics().value("httpipe_handovers_total"), 0);
}

#[test]
fn every_body_arrives_whole_on_two_shards_and_connections_are_handed_over() {
    matrix_with_handovers("2", 0);
}

#[test]
fn every_body_arrives_whole_on_four_shards_and_connections_are_handed_over() {
    matrix_with_handovers("4", 1);
}

/// Every fifth case, which still contains every pair of values.
fn matrix_with_handovers(threads: &str, skipped: usize) {
    let server = Server::start(&["--threads", threads]);
    cases()
        .iter()
        .skip(skipped)
        .step_by(5)
        .for_each(|case| case.run(&server));
    assert!(server.metrics().value("httpipe_handovers_total") > 0);
}

#[test]
fn every_body_arrives_whole_without_splicing() {
    let server = Server::start(&["--no-splice"]);
    cases()
        .iter()
        .skip(2)
        .step_by(5)
        .for_each(|case| case.run(&server));
    assert_eq!(
        server
            .metrics()
            .value("httpipe_bytes_total{path=\"spliced\"}"),
        0
    );
}

impl Case {
    /// One exchange, then one more request on each of the two connections if it is kept.
    fn run(&self, server: &Server) {
        let report = Report(self);
        let (mut producer, mut consumer) = (server.connect(), server.connect());
        self.exchange(server, &mut producer, &mut consumer);
        self.again(server, producer, consumer);
        std::mem::forget(report);
    }

    fn exchange(&self, server: &Server, producer: &mut Connection, consumer: &mut Connection) {
        if self.first == Side::Consumer {
            consumer.send(self.consumer_request());
            server.until_waiting(Side::Consumer, 1);
        }
        let (head, body) = (self.producer_head(), self.producer_body());
        if self.writing == Writing::HeadFirst {
            producer.send(&head);
            match self.first {
                // An exchange with an empty body ends with its head.
                Side::Consumer if body.is_empty() => {}
                Side::Consumer => server.until_exchanging(1),
                Side::Producer => server.until_waiting(Side::Producer, 1),
            }
        }
        std::thread::scope(|scope| {
            let produced = scope.spawn(|| self.produce(producer, &head, &body));
            if self.first == Side::Producer {
                server.until_waiting(Side::Producer, 1);
                consumer.send(self.consumer_request());
            }
            let reply = consumer.reply();
            self.check_consumed(&reply);
            produced.join().expect("the producer is served");
        });
    }

    fn produce(&self, producer: &mut Connection, head: &[u8], body: &[u8]) {
        match self.writing {
            Writing::HeadAndBodyTogether => producer.send([head, body].concat()),
            Writing::HeadFirst => producer.send(body),
            Writing::InPieces => {
                let whole = [head, body].concat();
                let mut rng = fastrand::Rng::with_seed(self.number as u64);
                let mut rest = &whole[..];
                while !rest.is_empty() {
                    let bytes = rng.usize(1..=rest.len().min(1 + whole.len() / 4));
                    producer.send(&rest[..bytes]);
                    rest = &rest[bytes..];
                }
            }
        }
        let reply = producer.reply();
        reply.assert_status(200);
        assert_eq!(
            (reply.framing, reply.closes()),
            (Framing::Length(0), !self.producer_lives())
        );
    }

    fn check_consumed(&self, reply: &Reply) {
        reply.assert_status(200);
        let bytes = self.bytes as u64;
        let framing = match (self.sending, self.receiving) {
            (Sending::Chunked11, Receiving::Http11) => Framing::Chunked,
            (Sending::Chunked11, _) => Framing::Close,
            _ => Framing::Length(bytes),
        };
        assert_eq!(
            (reply.framing, reply.closes()),
            (framing, !self.consumer_lives())
        );
        assert_same_bytes(&reply.body, pattern(self.number, self.bytes));
    }

    /// The two connections swap sides on another channel, if both are kept.
    fn again(&self, server: &Server, mut producer: Connection, mut consumer: Connection) {
        match (self.producer_lives(), self.consumer_lives()) {
            (true, true) => {
                let channel = format!("again/{}", self.number);
                producer.send(get(&channel));
                server.until_waiting(Side::Consumer, 1);
                consumer.send(post(&channel, b"and back"));
                assert_eq!(producer.reply().body, b"and back");
                consumer.reply().assert_status(200);
            }
            (true, false) => check_alive(&mut producer),
            (false, true) => check_alive(&mut consumer),
            (false, false) => {}
        }
        if !self.producer_lives() {
            producer.expect_end();
        }
        if !self.consumer_lives() {
            consumer.expect_end();
        }
    }

    fn producer_lives(&self) -> bool {
        self.sending != Sending::Length10
    }

    fn consumer_lives(&self) -> bool {
        match self.receiving {
            Receiving::Http11 => true,
            Receiving::Http10 => false,
            Receiving::Http10KeepAlive => self.sending != Sending::Chunked11,
        }
    }

    fn producer_head(&self) -> Vec<u8> {
        let (number, bytes) = (self.number, self.bytes);
        let (version, fields) = match self.sending {
            Sending::Length11 => ("1.1", format!("Host: test\r\nContent-Length: {bytes}\r\n")),
            Sending::Chunked11 => (
                "1.1",
                "Host: t\r\nTransfer-Encoding: chunked\r\n".to_owned(),
            ),
            Sending::Length10 => ("1.0", format!("Content-Length: {bytes}\r\n")),
            Sending::Length10KeepAlive => (
                "1.0",
                format!("Connection: keep-alive\r\nContent-Length: {bytes}\r\n"),
            ),
        };
        format!("POST /channels/matrix/{number} HTTP/{version}\r\n{fields}\r\n").into_bytes()
    }

    fn producer_body(&self) -> Vec<u8> {
        let body = pattern(self.number, self.bytes);
        match self.sending {
            Sending::Chunked11 => chunked(body, 1 + self.bytes * (1 + self.number % 7) / 8),
            _ => body.to_vec(),
        }
    }

    fn consumer_request(&self) -> Vec<u8> {
        let number = self.number;
        let rest = match self.receiving {
            Receiving::Http11 => "1.1\r\nHost: test\r\n",
            Receiving::Http10 => "1.0\r\n",
            Receiving::Http10KeepAlive => "1.0\r\nConnection: keep-alive\r\n",
        };
        format!("GET /channels/matrix/{number} HTTP/{rest}\r\n").into_bytes()
    }
}

/// Prints the case if its test panics.
struct Report<'a>(&'a Case);

impl Drop for Report<'_> {
    fn drop(&mut self) {
        eprintln!("failed: {:?}", self.0);
    }
}

/// The connection still serves requests.
#[track_caller]
fn check_alive(connection: &mut Connection) {
    connection.send(request("GET", "/healthz"));
    connection.reply().assert_status(200);
}

// ---------------------------------------------------------------- connections

#[test]
fn each_request_of_a_connection_may_use_another_side_and_another_channel() {
    for threads in ["1", "2", "4"] {
        let server = Server::start(&["--threads", threads]);
        let mut rng = fastrand::Rng::with_seed(7);
        let (mut a, mut b) = (server.connect(), server.connect());
        for round in 0..200 {
            let channel = format!("n{}/c{}", rng.u8(..3), rng.u8(..20));
            let body = pattern(round, rng.usize(..3000));
            let (producer, consumer) = if rng.bool() {
                (&mut a, &mut b)
            } else {
                (&mut b, &mut a)
            };
            if rng.bool() {
                producer.send(post(&channel, body));
                consumer.send(get(&channel));
            } else {
                consumer.send(get(&channel));
                producer.send(post(&channel, body));
            }
            assert_same_bytes(&consumer.reply().body, body);
            producer.reply().assert_status(200);
        }
        let handovers = server.metrics().value("httpipe_handovers_total");
        assert_eq!(
            handovers > 0,
            threads != "1",
            "{handovers} with {threads} threads"
        );
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    for threads in ["1", "4"] {
        let server = Server::start(&["--threads", threads]);
        let mut first = server.consumer_waiting("pipe/first", 1);
        let mut second = server.consumer_waiting("pipe/second", 2);
        let mut pipelined = server.connect_and_send(
            &[
                request("GET", "/channels/pipe"),
                post("pipe/first", b"one"),
                request("GET", "/healthz"),
                post("pipe/second", b"two"),
                request("GET", "/channels/pipe"),
                request("GET", "/channels/pipe/no/such/path"),
                request("GET", "/state"),
            ]
            .concat(),
        );
        assert_eq!(pipelined.reply().json(), json!(["first", "second"]));
        pipelined.reply().assert_status(200);
        pipelined.reply().assert_status(200);
        pipelined.reply().assert_status(200);
        pipelined.reply().assert_status(404);
        pipelined.reply().assert_status(404);
        assert_eq!(pipelined.reply().json(), json!({}));
        assert_eq!(first.reply().body, b"one");
        assert_eq!(second.reply().body, b"two");
    }
}

#[test]
fn pipelined_consumers_receive_their_bodies_in_order() {
    let server = Server::start(&["--threads", "2"]);
    let large = pattern(3, 300_000);
    let mut small = server.producer_waiting("pipe/small", b"small", 1);
    let mut chunked_one = server.connect_and_send(&post_chunked_head("pipe/chunked"));
    chunked_one.send(chunked(b"in chunks", 4));
    server.until_waiting(Side::Producer, 2);
    let consumer = server.connect();
    let mut sender = consumer.sender();
    let requests = [get("pipe/small"), get("pipe/chunked"), get("pipe/large")].concat();
    sender.write_all(&requests).expect("it is open");
    let mut consumer = consumer;
    assert_eq!(consumer.reply().body, b"small");
    assert_eq!(consumer.reply().body, b"in chunks");
    server.until_waiting(Side::Consumer, 1);
    let mut late = server.produce("pipe/large", large);
    assert_same_bytes(&consumer.reply().body, large);
    for producer in [&mut small, &mut chunked_one, &mut late] {
        producer.reply().assert_status(200);
    }
}

#[test]
fn a_pipelined_request_is_not_served_while_the_one_before_waits() {
    let server = Server::start(&["--threads", "2"]);
    let mut pipelined =
        server.connect_and_send(&[post("turn/a", b"first"), post("turn/b", b"second")].concat());
    server.until_waiting(Side::Producer, 1);
    server.barrier();
    assert_eq!(server.state(), json!({"turn": ["a"]}));
    let mut consumer = server.consume("turn/a");
    assert_eq!(consumer.reply().body, b"first");
    pipelined.reply().assert_status(200);
    consumer.send(get("turn/b"));
    assert_eq!(consumer.reply().body, b"second");
    pipelined.reply().assert_status(200);
}

#[test]
fn a_connection_that_waited_is_handed_over_with_its_pipelined_bytes() {
    const CHANNELS: usize = 16;
    let server = Server::start(&["--threads", "4"]);
    let all = |make: &dyn Fn(usize) -> Vec<u8>| (0..CHANNELS).flat_map(make).collect::<Vec<u8>>();
    let name = |n: usize| format!("hand/over{n}");
    let posts = all(&|n| post(&name(n), format!("body {n}")));
    let gets = all(&|n| get(&name(n)));
    // In both directions: each request of the pipelined connection waits before its match.
    let mut producer = server.connect_and_send(&posts);
    for n in 0..CHANNELS {
        server.until_waiting(Side::Producer, 1);
        assert_eq!(server.consume(&name(n)).reply().text(), format!("body {n}"));
        producer.reply().assert_status(200);
    }
    let mut consumer = server.connect_and_send(&gets);
    for n in 0..CHANNELS {
        server.until_waiting(Side::Consumer, 1);
        server
            .produce(&name(n), format!("body {n}"))
            .reply()
            .assert_status(200);
        assert_eq!(consumer.reply().text(), format!("body {n}"));
    }
    assert!(server.metrics().value("httpipe_handovers_total") > 0);
}

#[test]
fn many_pipelined_small_bodies_all_arrive_in_order() {
    let server = Server::start(&["--threads", "2"]);
    let (mut producer, mut consumer) = (server.connect(), server.connect());
    let requests = |make: &dyn Fn(usize) -> Vec<u8>| (0..200).flat_map(make).collect::<Vec<u8>>();
    producer.send(requests(&|n| {
        post(&format!("queue/{}", n % 5), format!("body {n}"))
    }));
    consumer.send(requests(&|n| get(&format!("queue/{}", n % 5))));
    for n in 0..200 {
        assert_eq!(consumer.reply().text(), format!("body {n}"));
        producer.reply().assert_status(200);
    }
}

#[test]
fn a_connection_closes_after_the_reply_if_the_client_asks_for_it() {
    let server = Server::start(&[]);
    let close = |start: String| format!("{start} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n");
    let consumer_request = close("GET /channels/close/me".to_owned()) + "\r\n";
    let mut consumer = server.connect_and_send(consumer_request.as_bytes());
    server.until_waiting(Side::Consumer, 1);
    let producer_request =
        close("PUT /channels/close/me".to_owned()) + "Content-Length: 3\r\n\r\nend";
    let mut producer = server.connect_and_send(producer_request.as_bytes());
    assert_eq!(consumer.last_reply().body, b"end");
    producer.last_reply().assert_status(200);
}

// ---------------------------------------------------------------- order

#[test]
fn waiting_producers_are_served_in_the_order_they_came() {
    for threads in ["1", "4"] {
        let server = Server::start(&["--threads", threads]);
        let mut producers: Vec<_> = (1..=20)
            .map(|n| server.producer_waiting("line/up", format!("body {n}"), n))
            .collect();
        let mut consumer = server.connect();
        for (n, producer) in (1..=20).zip(&mut producers) {
            consumer.send(get("line/up"));
            assert_eq!(consumer.reply().text(), format!("body {n}"));
            producer.reply().assert_status(200);
        }
    }
}

#[test]
fn waiting_consumers_are_served_in_the_order_they_came() {
    for threads in ["1", "4"] {
        let server = Server::start(&["--threads", threads]);
        let mut consumers: Vec<_> = (1..=20)
            .map(|n| server.consumer_waiting("line/up", n))
            .collect();
        let mut producer = server.connect();
        for (n, consumer) in (1..=20).zip(&mut consumers) {
            producer.send(post("line/up", format!("body {n}")));
            assert_eq!(consumer.reply().text(), format!("body {n}"));
            producer.reply().assert_status(200);
        }
    }
}

#[test]
fn a_channel_has_one_exchange_at_a_time() {
    let server = Server::start(&["--threads", "2"]);
    let mut first_consumer = server.consumer_waiting("one/at-a-time", 1);
    let mut first_producer = server.connect_and_send(&post_head("one/at-a-time", 2));
    first_producer.send(b"a");
    assert_eq!(first_consumer.head().status, 200);
    assert_eq!(first_consumer.body_bytes(1), b"a");
    let mut second_producer = server.producer_waiting("one/at-a-time", b"second", 1);
    let mut second_consumer = server.consumer_waiting("one/at-a-time", 1);
    server.barrier();
    second_consumer.expect_nothing();
    second_producer.expect_nothing();
    server.until_exchanging(1);
    first_producer.send(b"b");
    assert_eq!(first_consumer.rest_of_body().expect("a whole body"), b"b");
    first_producer.reply().assert_status(200);
    assert_eq!(second_consumer.reply().body, b"second");
    second_producer.reply().assert_status(200);
    server.until_unused();
}

#[test]
fn a_stalled_exchange_blocks_no_other_channel() {
    let server = Server::start(&[]);
    let mut paused_consumer = server.consumer_waiting("slow/one", 1);
    let mut paused_producer = server.connect_and_send(&post_head("slow/one", 2));
    paused_producer.send(b"a");
    assert_eq!(paused_consumer.head().status, 200);
    let (mut producer, mut consumer) = (server.connect(), server.connect());
    for n in 0..50 {
        let channel = format!("quick/{n}");
        let body = pattern(n, 70_000);
        consumer.send(get(&channel));
        producer.send(post(&channel, body));
        assert_same_bytes(&consumer.reply().body, body);
        producer.reply().assert_status(200);
    }
    paused_producer.send(b"b");
    assert_eq!(paused_consumer.rest_of_body().expect("a whole body"), b"ab");
    paused_producer.reply().assert_status(200);
}

#[test]
fn many_pairs_on_many_channels_at_once_do_not_mix_their_bodies() {
    const PAIRS: usize = 16;
    let server = Server::start(&["--threads", "4"]);
    std::thread::scope(|scope| {
        for pair in 0..PAIRS {
            let server = &server;
            scope.spawn(move || produce_seeded(server, pair));
            scope.spawn(move || consume_seeded(server, pair));
        }
    });
    server.until_unused();
    let delivered = server
        .metrics()
        .value("httpipe_exchanges_total{outcome=\"delivered\"}");
    assert_eq!(delivered, (PAIRS * SEEDED_ROUNDS) as u64);
}

const SEEDED_ROUNDS: usize = 40;

/// The bodies of one pair, each on another channel.
fn seeded_bodies(pair: usize) -> impl Iterator<Item = (String, &'static [u8])> {
    let mut rng = fastrand::Rng::with_seed(pair as u64);
    (0..SEEDED_ROUNDS).map(move |round| {
        let bytes_max = *rng
            .choice([200, 20_000, 400_000].iter())
            .expect("not empty");
        (
            format!("pair{pair}/{round}"),
            pattern(pair * 100 + round, rng.usize(..bytes_max)),
        )
    })
}

fn produce_seeded(server: &Server, pair: usize) {
    let mut producer = server.connect();
    for (round, (channel, body)) in seeded_bodies(pair).enumerate() {
        if (pair + round).is_multiple_of(2) {
            producer.send(post(&channel, body));
        } else {
            producer.send(post_chunked_head(&channel));
            producer.send(chunked(body, 30_000));
        }
        producer.reply().assert_status(200);
    }
}

fn consume_seeded(server: &Server, pair: usize) {
    let mut consumer = server.connect();
    for (channel, body) in seeded_bodies(pair) {
        consumer.send(get(&channel));
        assert_same_bytes(&consumer.reply().body, body);
    }
}

// ---------------------------------------------------------------- streaming

#[test]
fn a_byte_is_delivered_at_once_if_the_producer_pauses() {
    let server = Server::start(&["--threads", "2"]);
    for version in ["1.1", "1.0"] {
        let request = format!("GET /channels/drip/drop HTTP/{version}\r\nHost: t\r\n\r\n");
        for in_chunks in [false, true] {
            let mut consumer = server.connect_and_send(request.as_bytes());
            server.until_waiting(Side::Consumer, 1);
            let mut producer = server.connect();
            producer.send(match in_chunks {
                true => post_chunked_head("drip/drop"),
                false => post_head("drip/drop", 300),
            });
            drip(&mut producer, &mut consumer, in_chunks);
            producer.reply().assert_status(200);
        }
    }
}

/// Sends 300 bytes, each after the one before has arrived.
fn drip(producer: &mut Connection, consumer: &mut Connection, in_chunks: bool) {
    let body = pattern(5, 300);
    for (n, byte) in body.chunks(1).enumerate() {
        match in_chunks {
            true => producer.send(chunk(byte)),
            false => producer.send(byte),
        }
        if n == 0 {
            assert_eq!(consumer.head().status, 200);
        }
        assert_eq!(consumer.body_bytes(1), byte);
    }
    if in_chunks {
        producer.send(b"0\r\n\r\n");
    }
    assert_eq!(consumer.rest_of_body().expect("a whole body"), b"");
}

#[test]
fn a_pause_in_a_large_body_delays_no_byte() {
    const PIECE_BYTES: usize = 300_000;
    let server = Server::start(&[]);
    let body = pattern(9, 20 * PIECE_BYTES);
    for in_chunks in [false, true] {
        let mut consumer = server.consumer_waiting("large/pause", 1);
        let mut producer = server.connect();
        producer.send(match in_chunks {
            true => post_chunked_head("large/pause"),
            false => post_head("large/pause", body.len() as u64),
        });
        for (n, piece) in body.chunks(PIECE_BYTES).enumerate() {
            match in_chunks {
                true => producer.send(chunk(piece)),
                false => producer.send(piece),
            }
            if n == 0 {
                assert_eq!(consumer.head().status, 200);
            }
            assert_same_bytes(&consumer.body_bytes(piece.len()), piece);
        }
        if in_chunks {
            producer.send(b"0\r\n\r\n");
        }
        assert_eq!(consumer.rest_of_body().expect("a whole body"), b"");
        producer.reply().assert_status(200);
    }
}

#[test]
fn the_last_bytes_before_a_pause_arrive_at_once_after_any_flow() {
    const BURST_BYTES: usize = 1 << 20;
    const ROUNDS: usize = 21;
    let server = Server::start(&[]);
    let mut rng = fastrand::Rng::with_seed(3);
    for in_chunks in [false, true] {
        let mut consumer = server.consumer_waiting("fast/pause", 1);
        let head = match in_chunks {
            true => post_chunked_head("fast/pause"),
            false => post_head("fast/pause", 1 << 40),
        };
        let producer = server.connect_and_send(&head);
        let mut delays = Vec::new();
        for round in 0..ROUNDS {
            let piece = pattern(round, BURST_BYTES + rng.usize(1..100_000));
            let coded = if in_chunks {
                chunk(piece)
            } else {
                piece.to_vec()
            };
            let mut sender = producer.sender();
            std::thread::scope(|scope| {
                let sent = scope.spawn(move || {
                    sender.write_all(&coded).expect("it is read");
                    Instant::now()
                });
                if round == 0 {
                    assert_eq!(consumer.head().status, 200);
                }
                assert_same_bytes(&consumer.body_bytes(piece.len()), piece);
                delays.push(sent.join().expect("it is sent").elapsed());
            });
        }
        // The median, so that a busy machine does not decide; the server sweeps every 100 ms.
        delays.sort();
        assert!(delays[ROUNDS / 2] < Duration::from_millis(50), "{delays:?}");
        producer.close();
        consumer.expect_cut();
    }
}

#[test]
fn the_beginning_of_a_chunk_is_delivered_before_its_end_arrives() {
    let server = Server::start(&[]);
    let mut consumer = server.consumer_waiting("part/chunk", 1);
    let mut producer = server.connect_and_send(&post_chunked_head("part/chunk"));
    producer.send(b"5\r\nab");
    assert_eq!(consumer.head().framing, Framing::Chunked);
    assert_eq!(consumer.body_bytes(2), b"ab");
    producer.send(b"cde");
    assert_eq!(consumer.body_bytes(3), b"cde");
    producer.send(b"\r\n0\r\n\r\n");
    assert_eq!(consumer.rest_of_body().expect("a whole body"), b"");
    producer.reply().assert_status(200);
}

#[test]
fn the_consumers_reply_starts_only_when_the_first_body_byte_has_arrived() {
    let server = Server::start(&["--threads", "2"]);
    for head in [post_head("first/byte", 1), post_chunked_head("first/byte")] {
        let mut consumer = server.consumer_waiting("first/byte", 1);
        let mut producer = server.connect_and_send(&head);
        server.until_exchanging(1);
        server.barrier();
        consumer.expect_nothing();
        let is_chunked = head.ends_with(b"chunked\r\n\r\n");
        if is_chunked {
            producer.send(b"1\r\n");
            server.barrier();
            consumer.expect_nothing();
        }
        producer.send(b"x");
        assert_eq!(consumer.head().status, 200);
        assert_eq!(consumer.body_bytes(1), b"x");
        if is_chunked {
            producer.send(b"\r\n0\r\n\r\n");
        }
        assert_eq!(consumer.rest_of_body().expect("a whole body"), b"");
        producer.reply().assert_status(200);
    }
}

#[test]
fn a_producer_receives_200_only_after_its_last_byte_was_sent() {
    let server = Server::start(&[]);
    let mut consumer = server.consumer_waiting("last/byte", 1);
    let mut producer = server.connect_and_send(&post_head("last/byte", 1000));
    producer.send(pattern(1, 999));
    assert_eq!(consumer.head().status, 200);
    assert_eq!(consumer.body_bytes(999).len(), 999);
    server.barrier();
    producer.expect_nothing();
    producer.send(b"!");
    assert_eq!(consumer.rest_of_body().expect("a whole body"), b"!");
    producer.reply().assert_status(200);
}

#[test]
fn a_producer_of_chunks_receives_200_only_after_the_last_chunk() {
    let server = Server::start(&[]);
    let mut consumer = server.consumer_waiting("last/chunk", 1);
    let mut producer = server.connect_and_send(&post_chunked_head("last/chunk"));
    producer.send(b"3\r\nabc\r\n");
    assert_eq!(consumer.head().status, 200);
    assert_eq!(consumer.body_bytes(3), b"abc");
    server.barrier();
    producer.expect_nothing();
    producer.send(b"0\r\nTrailer: not yet the end\r\n");
    server.barrier();
    producer.expect_nothing();
    producer.send(b"\r\n");
    assert_eq!(consumer.rest_of_body().expect("a whole body"), b"");
    producer.reply().assert_status(200);
}

#[test]
fn a_producer_receives_no_reply_while_its_consumer_does_not_read() {
    // More than all buffers on the way hold, so the end cannot have been sent.
    const BYTES: usize = 32 << 20;
    for options in [&[][..], &["--no-splice"]] {
        let server = Server::start(options);
        let body = pattern(4, BYTES);
        let mut consumer = server.connect();
        consumer.narrow();
        consumer.send(get("slow/consumer"));
        server.until_waiting(Side::Consumer, 1);
        let mut producer = server.connect_and_send(&post_head("slow/consumer", BYTES as u64));
        let mut sender = producer.sender();
        std::thread::scope(|scope| {
            scope.spawn(move || sender.write_all(body).expect("the server reads it all"));
            assert_eq!(consumer.head().framing, Framing::Length(BYTES as u64));
            assert_same_bytes(&consumer.body_bytes(1000), &body[..1000]);
            server.barrier();
            producer.expect_nothing();
            let rest = consumer.rest_of_body().expect("a whole body");
            assert_same_bytes(&rest, &body[1000..]);
        });
        producer.reply().assert_status(200);
    }
}

#[test]
fn a_small_body_arrives_with_its_head_in_one_segment() {
    let server = Server::start(&["--threads", "2"]);
    for bytes in [1, 100, 1000] {
        let body = pattern(bytes, bytes);
        for in_chunks in [false, true] {
            let whole = match in_chunks {
                true => [post_chunked_head("one/segment"), chunked(body, bytes)].concat(),
                false => post("one/segment", body),
            };
            let mut consumer = server.consumer_waiting("one/segment", 1);
            let mut producer = server.connect_and_send(&whole);
            check_one_segment(&consumer.one_receive(), body);
            producer.reply().assert_status(200);

            let mut producer = server.connect_and_send(&whole);
            server.until_waiting(Side::Producer, 1);
            let mut consumer = server.consume("one/segment");
            check_one_segment(&consumer.one_receive(), body);
            producer.reply().assert_status(200);
        }
    }
}

/// These bytes are exactly the head and the body, with or without chunk heads.
#[track_caller]
fn check_one_segment(received: &[u8], body: &[u8]) {
    let text = received.escape_ascii();
    assert!(received.starts_with(b"HTTP/1.1 200 "), "{text}");
    let head = received
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .expect("a whole head");
    let is_chunked = received.ends_with(b"\r\n0\r\n\r\n");
    assert!(
        is_chunked || &received[head + 4..] == body,
        "no whole body: {text}"
    );
}

/// A client that reads chunk by chunk waits for the end of a chunk before it gives its payload on.
#[test]
fn a_chunk_ends_for_the_consumer_while_its_producer_pauses() {
    let server = Server::start(&[]);
    // Copied, and spliced.
    for bytes in [100, 1 << 20] {
        let mut consumer = server.consume("paused/chunk");
        server.until_waiting(Side::Consumer, 1);
        let mut producer = server.connect_and_send(&post_chunked_head("paused/chunk"));
        for nth in 0..3 {
            producer.send(chunk(vec![b'a' + nth; bytes]));
            if nth == 0 {
                consumer.head().assert_status(200);
            }
            assert_eq!(consumer.body_bytes(bytes), vec![b'a' + nth; bytes]);
            consumer.expect_chunk_end();
        }
        producer.send(b"0\r\n\r\n");
        assert_eq!(consumer.rest_of_body().expect("a whole body"), b"");
        producer.reply().assert_status(200);
    }
}
