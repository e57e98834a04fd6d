//! httpipe behind the real HAProxy and the real nginx: exchanges pass as without a proxy, a client
//! that leaves is detected, and no request is smuggled (RFC 9112 §11.2).
//!
//! A proxy may refuse, repair or forward malformed input, depending on its version; no test
//! expects one of these. httpipe must never see a request where the proxy saw none, and a client
//! must never receive the reply to another client's request.

use crate::support::connection::{Connection, Framing};
use crate::support::pattern::{assert_same_bytes, pattern};
use crate::support::proxy::{FORBIDDEN, Heard, KINDS, Kind, PROGRAMS, Program, Proxy, heard};
use crate::support::request::{chunk, chunked, get, post, post_chunked_head, post_head, request};
use crate::support::server::Server;
use crate::support::{FAILURE_BOUND, Side, until};
use serde_json::json;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

/// More than the buffers on the way hold.
const LARGE_BYTES: usize = 3 << 20;

fn each(test: impl Fn(&Server, &Proxy)) {
    for kind in KINDS {
        let server = Server::start(&["--threads", "2"]);
        let proxy = Proxy::start(kind, &server);
        test(&server, &proxy);
    }
}

// ---------------------------------------------------------------- exchanges

#[test]
fn bodies_pass_whole_between_clients_behind_a_proxy_over_connections_that_are_kept() {
    each(|server, proxy| {
        let (mut consumer, mut producer) = (proxy.connect(), proxy.connect());
        for (round, bytes) in [1, LARGE_BYTES, 0, 1, LARGE_BYTES].into_iter().enumerate() {
            let body = pattern(round, bytes);
            consumer.send(get("behind/proxy"));
            server.until_waiting(Side::Consumer, 1);
            let reply = producer.send_while(post("behind/proxy", body), || consumer.reply());
            assert_eq!(reply.framing, Framing::Length(bytes as u64));
            assert_same_bytes(&reply.body, body);
            producer.reply().assert_status(200);

            consumer.send(get("behind/proxy"));
            producer.send(post_chunked_head("behind/proxy"));
            let reply = producer.send_while(chunked(body, 50_000), || consumer.reply());
            assert_same_bytes(&reply.body, body);
            producer.reply().assert_status(200);
        }
        // One for each of the two clients that were open at the same time, and the one that asks.
        server.until_metric("httpipe_connections", 3);
        server.until_unused();
    });
}

#[test]
fn a_request_for_a_later_part_of_a_body_passes_a_proxy_and_is_refused() {
    each(|server, proxy| {
        let mut producer = server.producer_waiting("later/part", "whole", 1);
        let mut consumer = proxy.connect();
        for (range, status) in [("5-", 412), ("-5", 412), ("0-", 200)] {
            let line = "GET /channels/later/part HTTP/1.1";
            consumer.send(format!("{line}\r\nHost: t\r\nRange: bytes={range}\r\n\r\n"));
            let reply = consumer.reply();
            assert_eq!(reply.status, status, "{range}");
            assert!(status == 412 || reply.body == b"whole", "{range}");
        }
        producer.reply().assert_status(200);
    });
}

#[test]
fn a_producer_that_waits_behind_a_proxy_is_matched_with_a_consumer_without_a_proxy() {
    each(|server, proxy| {
        let body = pattern(3, LARGE_BYTES);
        let mut producer = proxy.connect();
        producer.send(post_head("wait/first", LARGE_BYTES as u64));
        server.until_waiting(Side::Producer, 1);
        let mut sender = producer.sender();
        std::thread::scope(|scope| {
            scope.spawn(move || sender.write_all(body).expect("it is taken"));
            assert_same_bytes(&server.consume("wait/first").reply().body, body);
        });
        producer.reply().assert_status(200);
    });
}

#[test]
fn each_byte_of_a_producer_that_pauses_is_delivered_through_a_proxy_at_once() {
    each(|_, proxy| {
        for coded in [false, true] {
            let (mut consumer, mut producer) = (proxy.consume("slow/bytes"), proxy.connect());
            let piece = |byte: u8| if coded { chunk([byte]) } else { vec![byte] };
            producer.send(if coded {
                post_chunked_head("slow/bytes")
            } else {
                post_head("slow/bytes", 5)
            });
            for byte in *b"pause" {
                producer.send(piece(byte));
                if byte == b'p' {
                    consumer.head().assert_status(200);
                }
                assert_eq!(consumer.body_bytes(1), [byte], "chunked: {coded}");
            }
            producer.send(if coded { &b"0\r\n\r\n"[..] } else { b"" });
            assert_eq!(consumer.rest_of_body().expect("the end"), b"");
            producer.reply().assert_status(200);
        }
    });
}

#[test]
fn an_unfinished_body_never_looks_whole_behind_a_proxy() {
    each(|server, proxy| {
        for head in [post_head("cut/short", 9), post_chunked_head("cut/short")] {
            let chunked = head.ends_with(b"chunked\r\n\r\n");
            let part = if chunked {
                chunk("part")
            } else {
                b"part".to_vec()
            };
            // The proxy is on the consumer's side, then on the producer's side.
            let mut consumer = proxy.consume("cut/short");
            let producer = server.connect_and_send(&[&head[..], &part].concat());
            consumer.head().assert_status(200);
            assert_eq!(consumer.body_bytes(4), b"part");
            producer.close();
            consumer.expect_cut();

            let mut consumer = server.consume("cut/short");
            let producer = proxy.connect_and_send(&[&head[..], &part].concat());
            consumer.head().assert_status(200);
            assert_eq!(consumer.body_bytes(4), b"part");
            producer.close();
            consumer.expect_cut();
        }
        server.until_unused();
    });
}

/// The most bytes of a head (`doc/protocol.md`, Bounds).
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// A producer's head of [`HEAD_BYTES_MAX`], filled with content fields in this many lines, and these.
fn largest_head(lines: usize, framing: &str) -> (Vec<u8>, Vec<String>) {
    // nginx puts a shorter name in its place.
    let host = "a.long.name.of.a.host.example";
    let head = |values: &[String]| {
        let fields = values.iter().enumerate().map(|(nth, value)| match nth {
            0 => format!("Content-Disposition: {value}\r\n"),
            _ => format!("Content-Language: {value}\r\n"),
        });
        let fields = String::from_iter(fields);
        format!("POST /channels/big/head HTTP/1.1\r\nHost: {host}\r\n{framing}\r\n{fields}\r\n")
    };
    let mut values = vec!["v".to_owned(); lines];
    let room = HEAD_BYTES_MAX - head(&values).len();
    for (nth, value) in values.iter_mut().enumerate() {
        let part = room / lines + usize::from(nth < room % lines);
        *value = "v".repeat(1 + part);
    }
    let head = head(&values).into_bytes();
    assert_eq!(head.len(), HEAD_BYTES_MAX);
    (head, values)
}

/// Exchanges a body with as many content fields as a head holds; on each side there is a proxy or none.
#[track_caller]
fn check_largest_head(server: &Server, producing: Option<&Proxy>, consuming: Option<&Proxy>) {
    let open = |proxy: Option<&Proxy>| proxy.map_or_else(|| server.connect(), Proxy::connect);
    let coded = [
        ("Content-Length: 5", b"whole".to_vec()),
        ("Transfer-Encoding: chunked", chunked(b"whole", 5)),
    ];
    for (framing, body) in coded {
        for lines in [1, 2, 8] {
            let (head, values) = largest_head(lines, framing);
            let mut consumer = open(consuming);
            consumer.send(get("big/head"));
            let mut producer = open(producing);
            producer.send([&head[..], &body].concat());
            let reply = consumer.reply();
            reply.assert_status(200);
            let said = ["Content-Disposition", "Content-Language"].map(|name| reply.values(name));
            assert!(
                said.concat() == values,
                "{lines} lines, {framing}: a field is not whole"
            );
            assert_eq!(reply.body, b"whole");
            producer.reply().assert_status(200);
        }
    }
}

#[test]
fn content_fields_as_large_as_a_head_pass_through_a_proxy_with_the_shipped_files() {
    for program in [Program::Nginx, Program::Haproxy] {
        let server = Server::start(&["--threads", "2"]);
        let proxy = Proxy::start_shipped(program, &[(1, server.address())]);
        check_largest_head(&server, None, None);
        check_largest_head(&server, None, Some(&proxy));
        check_largest_head(&server, Some(&proxy), None);
        check_largest_head(&server, Some(&proxy), Some(&proxy));
    }
}

// ---------------------------------------------------------------- leaving

#[test]
fn a_client_that_leaves_while_it_waits_behind_a_proxy_is_detected() {
    each(|server, proxy| {
        let consumer = proxy.consume("leave/early");
        server.until_waiting(Side::Consumer, 1);
        consumer.close();
        server.until_waiting(Side::Consumer, 0);
        let producer = proxy.produce("leave/early", b"never taken");
        server.until_waiting(Side::Producer, 1);
        producer.close();
        server.until_unused();
        // The next two requests on the channel meet each other, not the client that left.
        let mut consumer = proxy.consume("leave/early");
        let mut producer = proxy.produce("leave/early", b"taken");
        assert_eq!(consumer.reply().body, b"taken");
        producer.reply().assert_status(200);
    });
}

#[test]
fn a_proxy_that_times_out_answers_504_and_leaves_no_waiting_request() {
    let check = |kind| {
        let server = Server::start(&["--threads", "2"]);
        // Long enough to see that the request waits.
        let proxy = Proxy::start_with_patience(kind, &server, Duration::from_secs(3));
        for (side, request) in [
            (Side::Consumer, get("long/wait")),
            (Side::Producer, post("long/wait", b"patient")),
        ] {
            let mut client = Client::of(&proxy);
            client.send(&request);
            server.until_waiting(side, 1);
            assert_eq!(client.first_heard().status, 504);
            server.until_unused();
        }
        let mut consumer = proxy.consume("long/wait");
        let mut producer = proxy.produce("long/wait", b"in time");
        assert_eq!(consumer.reply().body, b"in time");
        producer.reply().assert_status(200);
    };
    // All at once: they mostly wait.
    std::thread::scope(|scope| {
        for kind in KINDS {
            scope.spawn(move || check(kind));
        }
    });
}

// ---------------------------------------------------------------- smuggling

/// The request to smuggle past the proxy, which answers it with 403 if it sees it. If httpipe sees
/// it, it deletes the channel `guard/intact`, on which a consumer waits.
const SMUGGLED: &str = "DELETE /channels/guard/intact HTTP/1.1\r\nHost: t\r\n\r\n";

/// The only request that is answered with [`HONEST_BODY`].
const HONEST: &[u8] = b"GET /channels/first HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n";
const HONEST_BODY: &[u8] = b"[\"one\"]";

/// If nothing arrives for so long after an attempt that left the proxy waiting, and for so long again
/// after another client was served, the client ends its stream.
const QUIET: Duration = Duration::from_millis(100);

/// The requests whose framing is changed. The first is answered although it has a body, and its
/// connection is kept; the body of the second goes to a consumer; the third is refused before its
/// body is read.
const CARRIERS: [&str; 3] = ["GET /", "POST /channels/carrier/x", "POST /channels/first"];

/// Framing that two readers could read differently: the lines after `Host` in the head, each with
/// its end, and the body.
type Tampered = (String, String);

/// A lenient client.
struct Client<'a> {
    proxy: &'a Proxy,
    stream: TcpStream,
    received: Vec<u8>,
}

impl<'a> Client<'a> {
    fn of(proxy: &'a Proxy) -> Self {
        let stream = proxy.stream();
        stream
            .set_read_timeout(Some(FAILURE_BOUND))
            .expect("a bound");
        Self {
            proxy,
            stream,
            received: Vec::new(),
        }
    }

    /// Sends `bytes`; the proxy may stop reading.
    fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// The first final reply.
    #[track_caller]
    fn first_heard(&mut self) -> Heard {
        self.first(1).remove(0)
    }

    /// The first final replies.
    #[track_caller]
    fn first(&mut self, count: usize) -> Vec<Heard> {
        loop {
            let replies = heard(&self.received).0;
            if replies.len() >= count {
                return replies;
            }
            let more = self.more().expect("a reply in time");
            assert!(more, "the end instead of a reply");
        }
    }

    /// Every final reply until [`HONEST`] is answered or the proxy ends the connection.
    fn hear_out(mut self) -> Vec<Heard> {
        let started = Instant::now();
        self.stream.set_read_timeout(Some(QUIET)).expect("a bound");
        let mut silences = 0;
        loop {
            let replies = heard(&self.received).0;
            if replies.iter().any(|reply| reply.body == HONEST_BODY) {
                return replies;
            }
            match self.more() {
                Ok(true) => silences = 0,
                Ok(false) => return replies,
                Err(_) => {
                    assert!(started.elapsed() < FAILURE_BOUND, "no end: {replies:?}");
                    silences += 1;
                    // On a busy machine they may only be slow.
                    match silences {
                        1 => hear_names(&mut self.proxy.connect()),
                        _ => drop(self.stream.shutdown(Shutdown::Write)),
                    }
                }
            }
        }
    }

    /// Reads more; `false` at the end of the stream, an error if nothing arrives in time.
    fn more(&mut self) -> std::io::Result<bool> {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(bytes) => {
                self.received.extend_from_slice(&buffer[..bytes]);
                Ok(bytes > 0)
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Another client on the proxy's shared connections receives its own replies.
#[track_caller]
fn hear_names(other: &mut Connection) {
    for _ in 0..2 {
        other.send(request("GET", "/channels/second"));
        let reply = other.reply();
        assert_eq!((reply.status, &*reply.text()), (200, "[\"two\"]"));
    }
}

/// A server behind a proxy, with channels in use that show a smuggled request.
struct Site {
    server: Server,
    proxy: Proxy,
    guard: Connection,
    _first: Connection,
    _second: Connection,
}

impl Site {
    fn open(kind: Kind) -> Self {
        let server = Server::start(&["--threads", "2"]);
        let proxy = Proxy::start(kind, &server);
        let guard = server.consumer_waiting("guard/intact", 1);
        let first = server.consumer_waiting("first/one", 2);
        let second = server.consumer_waiting("second/two", 3);
        Self {
            server,
            proxy,
            guard,
            _first: first,
            _second: second,
        }
    }

    /// Sends `attempt` and then [`HONEST`] through the proxy, and checks that neither httpipe nor a
    /// client was deceived.
    fn check(&self, attempt: &[u8]) {
        let mut carried = self.server.consumer_waiting("carrier/x", 4);
        let mut client = Client::of(&self.proxy);
        client.send(&[attempt, HONEST].concat());
        let replies = client.hear_out();
        self.check_carried(&mut carried, &replies, attempt);
        carried.close();
        self.check_replies(&replies, attempt);
        self.check_unharmed(attempt);
    }

    /// The body of the carrier's consumer is whole if the carrier received 200, otherwise cut or
    /// absent. It consists of bytes that were sent, in order.
    fn check_carried(&self, carried: &mut Connection, replies: &[Heard], attempt: &[u8]) {
        let produced = attempt.starts_with(b"POST /channels/carrier/x ")
            && replies.first().is_some_and(|reply| reply.status == 200);
        self.server.barrier();
        if !produced && !carried.has_bytes() {
            return;
        }
        carried.head().assert_status(200);
        let (body, whole) = match carried.rest_of_body() {
            Ok(body) => (body, true),
            Err(cut) => (cut.received, false),
        };
        // The honest request may be part of the body, if the length covers it.
        let mut sent = attempt.iter().chain(HONEST);
        let in_order = body.iter().all(|byte| sent.any(|sent| sent == byte));
        assert!(
            whole == produced && in_order,
            "the consumer received {}, and the replies were {replies:?} to {}",
            body.escape_ascii(),
            attempt.escape_ascii()
        );
    }

    /// Each reply answers the request at its position: the carrier, the smuggled request if the
    /// proxy saw it, the honest one.
    fn check_replies(&self, replies: &[Heard], attempt: &[u8]) {
        let shown = || format!("{replies:?} to {}", attempt.escape_ascii());
        assert!(replies.len() <= 3, "too many replies: {}", shown());
        for (nth, reply) in replies.iter().enumerate() {
            let own = match reply.status {
                200 if reply.body == HONEST_BODY => nth + 1 == replies.len() && nth > 0,
                200 => nth == 0 && !reply.body.starts_with(b"["),
                status => status >= 400,
            };
            assert!(own, "reply {nth} answers another request: {}", shown());
        }
    }

    /// Nothing was smuggled, nothing waits that should not, and another client on the proxy's
    /// shared connections receives its own replies.
    fn check_unharmed(&self, attempt: &[u8]) {
        let mut other = self.proxy.connect();
        for _ in 0..2 {
            other.send(request("GET", "/channels/second"));
            let reply = other.reply();
            let shown = attempt.escape_ascii();
            assert_eq!(
                (reply.status, reply.text().as_str()),
                (200, "[\"two\"]"),
                "after {shown}"
            );
        }
        self.server.until_waiting(Side::Consumer, 3);
        self.server.until_waiting(Side::Producer, 0);
        self.server.until_exchanging(0);
        assert_eq!(
            self.server.state(),
            json!({"guard": ["intact"], "first": ["one"], "second": ["two"]}),
            "after {}",
            attempt.escape_ascii()
        );
    }

    fn check_all(&self, attempts: &[Tampered]) {
        for (fields, body) in attempts {
            for carrier in CARRIERS {
                let head = format!("{carrier} HTTP/1.1\r\nHost: t\r\n{fields}\r\n");
                self.check(&[head.as_bytes(), body.as_bytes()].concat());
            }
        }
    }

    /// The consumer on `guard/intact` is there and receives its own body.
    fn close(mut self) {
        let mut producer = self.server.produce("guard/intact", b"still here");
        assert_eq!(self.guard.reply().body, b"still here");
        producer.reply().assert_status(200);
    }
}

fn each_site(test: impl Fn(&Site)) {
    for kind in KINDS {
        let site = Site::open(kind);
        test(&site);
        site.close();
    }
}

#[test]
fn the_proxy_refuses_the_smuggled_request_and_httpipe_would_obey_it() {
    each_site(|site| {
        assert!(SMUGGLED.contains(FORBIDDEN));
        let mut client = Client::of(&site.proxy);
        client.send(&[SMUGGLED.as_bytes(), HONEST].concat());
        let statuses: Vec<u16> = client.first(2).iter().map(|reply| reply.status).collect();
        assert_eq!(statuses, [403, 200]);
        site.check_unharmed(SMUGGLED.as_bytes());
    });
    for kind in KINDS {
        let site = Site::open(kind);
        let mut client = site.server.connect_and_send(SMUGGLED.as_bytes());
        client.reply().assert_status(204);
        assert_eq!(
            site.server.state(),
            json!({"first": ["one"], "second": ["two"]})
        );
    }
}

/// A whole body for a reader of chunks, followed by the smuggled request.
fn ended_by_chunks() -> String {
    format!("0\r\n\r\n{SMUGGLED}")
}

/// A whole body for a reader of chunks, with the smuggled request in a chunk; and the length of its
/// first line.
fn inside_a_chunk() -> (String, usize) {
    let size = format!("{:x}\r\n", SMUGGLED.len());
    (format!("{size}{SMUGGLED}\r\n0\r\n\r\n"), size.len())
}

/// Heads with `coding` in them, for readers that use the coding or ignore it: with a length for the
/// whole body, with a length up to the smuggled request, and without a length.
fn with_lengths(coding: &str) -> [Tampered; 4] {
    let (ended, (inside, line)) = (ended_by_chunks(), inside_a_chunk());
    let whole = ended.len();
    [
        (
            format!("Content-Length: {whole}\r\n{coding}"),
            ended.clone(),
        ),
        (
            format!("{coding}Content-Length: {whole}\r\n"),
            ended.clone(),
        ),
        (format!("{coding}Content-Length: {line}\r\n"), inside),
        (coding.to_owned(), ended),
    ]
}

#[test]
fn no_request_is_smuggled_past_a_proxy_by_a_transfer_coding() {
    let codings = [
        "chunked",
        "CHUNKED",
        "xchunked",
        "chunkedx",
        "identity",
        "gzip, chunked",
        "chunked, gzip",
        "chunked, chunked",
        "chunked, identity",
        "chunked;q=1",
        "\"chunked\"",
        "chun ked",
        "",
        ",",
        ",chunked",
        "chunked,",
        "\tchunked\t",
        "\u{b}chunked",
        "chunked\u{b}",
        "chunked\0",
        "\u{a0}chunked",
        "\r\n chunked",
        "\r\n\tchunked",
        "x\r\n chunked",
        "chunked\r\nTransfer-Encoding: chunked",
        "chunked\r\nTransfer-Encoding: identity",
        "identity\r\nTransfer-Encoding: chunked",
        "x\r\nTransfer-Encoding: chunked",
        "chunked\r\nTransfer-Encoding: x",
    ];
    let mut lines: Vec<String> = codings
        .map(|coding| format!("Transfer-Encoding: {coding}\r\n"))
        .into();
    lines.extend(
        [
            "Transfer-Encoding : chunked\r\n",
            "Transfer-Encoding\t: chunked\r\n",
            "Transfer-Encoding\0: chunked\r\n",
            "Transfer-Encoding:chunked\n",
            "Transfer-Encoding: chunked\r",
            "Transfer-Encoding: chunked\r\r\n",
            " Transfer-Encoding: chunked\r\n",
            "X: y\r\n Transfer-Encoding: chunked\r\n",
            "X: y\nTransfer-Encoding: chunked\r\n",
            "X: y\rTransfer-Encoding: chunked\r\n",
            "X: y\0\r\nTransfer-Encoding: chunked\r\n",
            "Transfer_Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nConnection: Transfer-Encoding\r\n",
            "Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n",
        ]
        .map(str::to_owned),
    );
    each_site(|site| {
        for line in &lines {
            site.check_all(&with_lengths(line));
        }
    });
}

#[test]
fn no_request_is_smuggled_past_a_proxy_by_a_length() {
    let length = SMUGGLED.len();
    let lines = [
        format!("Content-Length: 0\r\nContent-Length: {length}\r\n"),
        format!("Content-Length: {length}\r\nContent-Length: 0\r\n"),
        format!("Content-Length: {length}\r\ncontent-length: {length}\r\n"),
        format!("Content-Length: {length}, {length}\r\n"),
        format!("Content-Length: 0, {length}\r\n"),
        format!("Content-Length: {length}, 0\r\n"),
        format!("Content-Length: +{length}\r\n"),
        format!("Content-Length: -{length}\r\n"),
        format!("Content-Length: 0x{length:x}\r\n"),
        format!("Content-Length: 00{length}\r\n"),
        format!("Content-Length: {length}a\r\n"),
        format!("Content-Length: {length} 0\r\n"),
        format!("Content-Length: {length};\r\n"),
        format!("Content-Length: {length}.0\r\n"),
        format!("Content-Length: {length}\0\r\n"),
        format!("Content-Length: \"{length}\"\r\n"),
        format!("Content-Length: \u{b}{length}\r\n"),
        format!("Content-Length: {}\r\n", length as u128 + (1 << 64)),
        format!("Content-Length: {}\r\n", (1_u64 << 63) + length as u64),
        format!("Content-Length: {}\r\n", (1_u64 << 32) + length as u64),
        "Content-Length: \r\n".to_owned(),
        format!("Content-Length:\r\n {length}\r\n"),
        format!("Content-Length: 0\r\n {length}\r\n"),
        format!("Content-Length : {length}\r\n"),
        format!(" Content-Length: {length}\r\n"),
        format!("Content-Length\0: {length}\r\n"),
        format!("Content_Length: {length}\r\n"),
        format!("X: y\nContent-Length: {length}\r\n"),
        format!("X: y\rContent-Length: {length}\r\n"),
        format!("X: y\r\n Content-Length: {length}\r\n"),
        format!("Content-Length: {length}\n"),
        format!("Content-Length: {length}\r\r\n"),
        format!("Content-Length: {length}\r\nConnection: Content-Length\r\n"),
        format!("Content-Length: {length}\r\nConnection: close, Content-Length\r\n"),
        format!("Content-Length: {length}\r\nExpect: 100-continue\r\n"),
        format!("Content-Length: {length}\r\nExpect: something-else\r\n"),
        format!("Content-Length: {length}\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n"),
        format!("Content-Length: {length}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"),
        "\n".to_owned(),
        "\r\r\n".to_owned(),
    ];
    let attempts = lines.map(|line| (line, SMUGGLED.to_owned()));
    each_site(|site| site.check_all(&attempts));
}

#[test]
fn no_request_is_smuggled_past_a_proxy_by_a_chunk() {
    let (inside, _) = inside_a_chunk();
    let size = "0\r\n\r\n".len() + SMUGGLED.len();
    let mut bodies: Vec<String> = [
        "0\n\n",
        "0\r\n\n",
        "0\n\r\n",
        "0\r\r\n\r\n",
        "0\r\r",
        "0;\rx\r\n\r\n",
        "0;\nx\r\n\r\n",
        "0;x\0\r\n\r\n",
        "0;x=\"\r\n\r\n",
        "-0\r\n\r\n",
        "+0\r\n\r\n",
        "0x0\r\n\r\n",
        " 0\r\n\r\n",
        "0 \r\n\r\n",
        "0\t\r\n\r\n",
        "0 0\r\n\r\n",
        "\r\n0\r\n\r\n",
        "\r\n\r\n",
        ";\r\n\r\n",
        "0_0\r\n\r\n",
        "g\r\n\r\n",
        "00000000000000000000\r\n\r\n",
        "100000000\r\n\r\n",
        "8000000000000000\r\n\r\n",
        "10000000000000000\r\n\r\n",
        "fffffffffffffffff\r\n\r\n",
        "ffffffffffffffff\r\n\r\n",
        "1\r\na0\r\n\r\n",
        "1\r\na\n0\r\n\r\n",
        "1\r\na\r0\r\n\r\n",
        "1\r\naXX0\r\n\r\n",
        "1\r\naX\r\n0\r\n\r\n",
        "0\r\nX: y\n\r\n",
        "0\r\nX: y\r\r\n",
        "0\r\n X: y\r\n\r\n",
        "0\r\nX : y\r\n\r\n",
        "0\r\nno colon\r\n\r\n",
        "0\r\nContent-Length: 57\r\n\r\n",
        "0\r\nTransfer-Encoding: chunked\r\n\r\n",
        "0\r\n: y\r\n\r\n",
        "0\r\nX: \0\r\n\r\n",
    ]
    .map(|end| format!("{end}{SMUGGLED}"))
    .into();
    // For a reader that ends the line there: two bytes, and a chunk that contains the smuggled
    // request. For other readers: two digits, the last chunk, and then the smuggled request.
    for line in [
        "2;\n", "2;\r", "2;x\n", "2;x=\"\n", "2\n", "2\r", "2;\0", "2 \n",
    ] {
        bodies.push(format!(
            "{line}xx\r\n{size:x}\r\n0\r\n\r\n{SMUGGLED}\r\n0\r\n\r\n"
        ));
    }
    for sign in ["+", "-", "0x", " ", "\t", "1000000000000000", "\r\n"] {
        bodies.push(format!("{sign}{inside}"));
    }
    let attempts: Vec<Tampered> = bodies
        .into_iter()
        .map(|body| ("Transfer-Encoding: chunked\r\n".to_owned(), body))
        .collect();
    each_site(|site| site.check_all(&attempts));
}

#[test]
fn no_request_is_smuggled_past_a_proxy_by_the_rest_of_a_head() {
    let (inside, length) = (inside_a_chunk().0, SMUGGLED.len());
    let heads = [
        "GET /state HTTP/1.1\r\nHost: t\r\nHost: t\r\n".to_owned(),
        "GET /state HTTP/1.1\r\nHost: t\r\nHost: other\r\n".to_owned(),
        "GET /state HTTP/1.1\r\nHost: t, other\r\n".to_owned(),
        "GET /state HTTP/1.1\r\nHost: t\r\n Host: other\r\n".to_owned(),
        "GET /state HTTP/1.1\r\n".to_owned(),
        "GET http://other/state HTTP/1.1\r\nHost: t\r\n".to_owned(),
        "GET http://other/state HTTP/1.1\r\n".to_owned(),
        "GET other:80/state HTTP/1.1\r\nHost: t\r\n".to_owned(),
        "CONNECT t:80 HTTP/1.1\r\nHost: t\r\n".to_owned(),
        "CONNECT /state HTTP/1.1\r\nHost: t\r\n".to_owned(),
        "TRACE /state HTTP/1.1\r\nHost: t\r\n".to_owned(),
        "PRI * HTTP/2.0\r\n".to_owned(),
        "GET /state HTTP/1.1 HTTP/1.0\r\nHost: t\r\n".to_owned(),
        "GET /state HTTP/1.2\r\nHost: t\r\n".to_owned(),
        "GET /state HTTP/1.1\nHost: t\n".to_owned(),
        "GET /state HTTP/1.1\rHost: t\r\n".to_owned(),
        "GET /sta\0te HTTP/1.1\r\nHost: t\r\n".to_owned(),
        "GET\t/state\tHTTP/1.1\r\nHost: t\r\n".to_owned(),
        format!("GET /state HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: {length}\r\n"),
        "GET /state HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n"
            .to_owned(),
        format!(
            "GET /state HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\
             Content-Length: {length}\r\n"
        ),
        format!("PATCH /state HTTP/1.1\r\nHost: t\r\nContent-Length: {length}\r\n"),
        format!("DELETE /nowhere HTTP/1.1\r\nHost: t\r\nContent-Length: {length}\r\n"),
    ];
    each_site(|site| {
        for head in &heads {
            for body in [SMUGGLED, &inside, &ended_by_chunks()] {
                site.check(format!("{head}\r\n{body}").as_bytes());
            }
        }
    });
}

#[test]
fn no_form_of_a_target_bypasses_the_rules_of_a_proxy() {
    let targets = [
        "http://t/channels/guard/intact",
        "HTTP://other:80/channels/guard/intact",
        "https://t/channels/guard/intact/",
        "http://t?/channels/guard/intact",
        "http://t#/channels/guard/intact",
        "http://t@/channels/guard/intact",
        "http://t/@other/channels/guard/intact",
        "http:///channels/guard/intact",
        "http:/channels/guard/intact",
        "//t/channels/guard/intact",
        "t/channels/guard/intact",
        "t:80/channels/guard/intact",
        "/t/../channels/guard/intact",
        "/./channels/guard/intact",
        "//channels/guard/intact",
        "/channels//guard/intact",
        "/channels/guard/intact#x",
        "/channels/guard/intact?x",
        "/nowhere?/channels/guard/intact",
        "\\channels\\guard\\intact",
        "*/channels/guard/intact",
    ];
    each_site(|site| {
        for target in targets {
            site.check(format!("DELETE {target} HTTP/1.1\r\nHost: t\r\n\r\n").as_bytes());
        }
    });
}

// ---------------------------------------------------------------- web pages

#[test]
fn a_page_from_behind_a_shipped_proxy_may_send_there_and_no_other_page_may() {
    for program in PROGRAMS {
        let server = Server::start(&["--threads", "2"]);
        let proxy = Proxy::start_shipped(program, &[(1, server.address())]);
        let from = |origin: &str| {
            let fields = format!("Host: here.example:8080\r\nOrigin: {origin}\r\n");
            let head = format!("POST /channels/page/x HTTP/1.1\r\n{fields}");
            proxy.connect_and_send(format!("{head}Content-Length: 4\r\n\r\ndata").as_bytes())
        };
        for origin in ["http://here.example", "http://there.example:8080"] {
            from(origin).reply().assert_status(403);
        }
        let mut consumer = server.consumer_waiting("page/x", 1);
        from("http://here.example:8080").reply().assert_status(200);
        assert_eq!(consumer.reply().body, b"data");
        // A client of HTTP/1.0 has no Host.
        let mut old = proxy.connect_and_send(b"GET / HTTP/1.0\r\n\r\n");
        old.reply().assert_status(200);
        assert_eq!(proxy.ask("GET", "/robots.txt").status, 200);
    }
}

#[test]
fn the_check_of_haproxys_file_passes_a_node_that_answers_to_localhost_and_named_hosts_alone() {
    let server = Server::start(&["--allow-host", "localhost,test"]);
    let _proxy = Proxy::start_shipped(Program::Haproxy, &[(1, server.address())]);
    let mut asked = 0;
    let seen = until("a check", || {
        asked += 1;
        let seen = server.metrics();
        (seen.value("httpipe_requests_total") > asked).then_some(seen)
    });
    assert_eq!(seen.value("httpipe_refusals_total{kind=\"other_host\"}"), 0);
}

// ---------------------------------------------------------------- replies and their requests

#[test]
fn replies_to_head_keep_requests_and_replies_in_step_on_shared_connections() {
    each_site(|site| {
        let mut clients = [site.proxy.connect(), site.proxy.connect()];
        for target in [
            "/",
            "/channels/first",
            "/channels/first/one",
            "/channels/first/one/more",
        ] {
            for client in &mut clients {
                client.send([request("HEAD", target), request("GET", "/channels/first")].concat());
                assert!(client.reply_to_head().status >= 200);
                assert_eq!(client.reply().body, HONEST_BODY, "after HEAD {target}");
            }
        }
        site.check_unharmed(b"HEAD");
    });
}

/// A producer's request for `target`; its body, sent later, is [`SMUGGLED`].
fn expecting(target: &str) -> String {
    let length = SMUGGLED.len();
    format!(
        "POST {target} HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
    )
}

#[test]
fn a_body_that_arrives_after_an_early_reply_is_not_taken_for_a_request_behind_a_proxy() {
    each_site(|site| {
        for target in ["/nowhere", "/channels/first", "/channels/early/x"] {
            let head = expecting(target);
            let mut client = Client::of(&site.proxy);
            client.send(head.as_bytes());
            if target.ends_with('x') {
                site.server.until_waiting(Side::Producer, 1);
                let deleted = site.server.ask("DELETE", target);
                deleted.assert_status(204);
            }
            let early = client.first_heard();
            assert!([404, 405, 410].contains(&early.status), "{early:?}");
            // Other clients' requests must not be read as that body, nor the body as a request.
            site.check_unharmed(head.as_bytes());
            client.send(&[SMUGGLED.as_bytes(), HONEST].concat());
            site.check_replies(&client.hear_out(), head.as_bytes());
            site.check_unharmed(head.as_bytes());
        }
    });
}

#[test]
fn a_client_that_leaves_in_mid_body_does_not_affect_the_next_one_behind_a_proxy() {
    each_site(|site| {
        for framing in ["Content-Length: 500", "Transfer-Encoding: chunked"] {
            for carrier in CARRIERS {
                let carried = site.server.consumer_waiting("carrier/x", 4);
                let head = format!("{carrier} HTTP/1.1\r\nHost: t\r\n{framing}\r\n\r\nff\r\npart");
                let mut client = Client::of(&site.proxy);
                client.send(head.as_bytes());
                site.server.barrier();
                drop(client);
                carried.close();
                site.check_unharmed(head.as_bytes());
            }
        }
    });
}
