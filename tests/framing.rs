//! A request whose framing could be read in two ways is refused, the connection closes, and nothing
//! after it is taken for a request (RFC 9112 §11.2). Each case has a second request after the
//! refused one, which would show if it were served.

use crate::support::Side;
use crate::support::connection::{Connection, End, Framing};
use crate::support::pattern::{assert_same_bytes, pattern};
use crate::support::request::{chunked, get, post, post_chunked_head, request};
use crate::support::server::Server;
use serde_json::json;
use std::io::Write;

/// Would delete the channel `guard/intact`, which a consumer keeps in use.
const SMUGGLED: &[u8] = b"DELETE /channels/guard/intact HTTP/1.1\r\nHost: t\r\n\r\n";

/// Sends `request` followed by [`SMUGGLED`], and checks that there is one reply with this status,
/// then the end, and that the smuggled request had no effect.
#[track_caller]
fn check_refused(server: &Server, status: u16, request: &[u8]) {
    let mut client = server.connect();
    // The server may refuse and close before all of it is written.
    let _ = client.try_send([request, SMUGGLED].concat());
    let reply = client.last_reply();
    assert_eq!(
        reply.status,
        status,
        "to {}: {}",
        request.escape_ascii(),
        reply.text()
    );
    assert_eq!(
        server.state(),
        json!({"guard": ["intact"]}),
        "after {}",
        request.escape_ascii()
    );
}

/// Checks each of `requests` against a server with the channel `guard/intact` in use.
fn check_all_refused<R: AsRef<[u8]>>(requests: impl IntoIterator<Item = R>) {
    let server = Server::start(&["--threads", "2"]);
    let mut guard = server.consumer_waiting("guard/intact", 1);
    for request in requests {
        check_refused(&server, 400, request.as_ref());
    }
    check_guard(&server, &mut guard);
}

/// The consumer that keeps `guard/intact` in use still waits, and is then served.
#[track_caller]
fn check_guard(server: &Server, guard: &mut Connection) {
    let mut producer = server.produce("guard/intact", b"still here");
    assert_eq!(guard.reply().body, b"still here");
    producer.reply().assert_status(200);
}

/// A POST with these field lines, and a body that is short under every reading.
fn post_with(fields: &str) -> String {
    format!("POST /channels/refused/x HTTP/1.1\r\nHost: t\r\n{fields}\r\n0\r\n\r\n")
}

#[test]
fn both_framings_at_once_are_refused() {
    check_all_refused([
        post_with("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"),
        post_with("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
        post_with("Content-Length: 0\r\ntransfer-encoding: CHUNKED\r\n"),
        post_with("Transfer-Encoding: identity\r\nContent-Length: 5\r\n"),
        post_with("Content-Length: 5\r\nTransfer-Encoding:\r\n"),
    ]);
}

#[test]
fn several_differing_lengths_are_refused() {
    check_all_refused([
        post_with("Content-Length: 5\r\nContent-Length: 6\r\n"),
        post_with("Content-Length: 5\r\nX: y\r\ncontent-length: 0\r\n"),
        post_with("Content-Length: 5, 6\r\n"),
        post_with("Content-Length: 5,6\r\n"),
        post_with("Content-Length: 5, 5, 6\r\n"),
        post_with("Content-Length: 5, 5\r\nContent-Length: 6\r\n"),
        post_with("Content-Length: 5\r\nContent-Length: 5, 6\r\n"),
        post_with("Content-Length: 5\r\nContent-Length: 5\r\nContent-Length: 6\r\n"),
        post_with("Content-Length: 5\r\nContent-Length:\r\n"),
        // The same number, but not to a reader of octal digits.
        post_with("Content-Length: 5\r\nContent-Length: 05\r\n"),
        post_with("Content-Length: 05, 5\r\n"),
    ]);
}

#[test]
fn lists_of_lengths_with_anything_but_lengths_are_refused() {
    let lists = [
        "5,", ",5", "5,,5", ",", "+5, +5", "x, x", "5 , 5;", "5, 5 5", "5; 5",
    ];
    check_all_refused(lists.map(|list| post_with(&format!("Content-Length: {list}\r\n"))));
    check_all_refused([
        post_with("Content-Length: +5\r\nContent-Length: +5\r\n"),
        post_with("Content-Length:\r\nContent-Length:\r\n"),
        post_with(&"Content-Length: 9223372036854775808\r\n".repeat(2)),
        post_with("Content-Length: 5, 5\r\nTransfer-Encoding: chunked\r\n"),
    ]);
}

#[test]
fn equal_lengths_are_one() {
    let server = Server::start(&["--threads", "2"]);
    let mut guard = server.consumer_waiting("guard/intact", 1);
    let length = SMUGGLED.len();
    let fields = [
        format!("Content-Length: {length}\r\nContent-Length: {length}\r\n"),
        format!("content-length:{length} \r\nX: y\r\nCONTENT-LENGTH:\t{length}\r\n"),
        format!("Content-Length: {length}, {length}\r\n"),
        format!("Content-Length: {length},{length} \t,\t {length}\r\n"),
        format!("Content-Length: {length}\r\nContent-Length: {length}, {length}\r\n"),
        format!("Content-Length: {length}, {length}\r\nContent-Length: {length}\r\n"),
        format!("Content-Length: 0{length}, 0{length}\r\n"),
    ];
    let (mut producer, mut consumer) = (server.connect(), server.connect());
    for fields in &fields {
        consumer.send(get("equal/lengths"));
        server.until_waiting(Side::Consumer, 2);
        let head = format!("POST /channels/equal/lengths HTTP/1.1\r\nHost: t\r\n{fields}\r\n");
        // The body is exactly that long: what follows it is the next request.
        let next = request("GET", "/healthz");
        producer.send([head.as_bytes(), SMUGGLED, &next].concat());
        let reply = consumer.reply();
        assert_eq!(reply.framing, Framing::Length(length as u64), "{fields}");
        assert_eq!(reply.body, SMUGGLED, "{fields}");
        producer.reply().assert_status(200);
        assert_eq!(producer.reply().text(), "ok\n");
    }
    check_guard(&server, &mut guard);
}

#[test]
fn a_length_that_is_not_plain_digits_is_refused() {
    let lengths = [
        "+5",
        "-5",
        "0x5",
        "5a",
        "5 5",
        "",
        " ",
        ",",
        "5,",
        ",5",
        "5.0",
        "5;",
        "\"5\"",
        "1e1",
        "9223372036854775808",
        "18446744073709551616",
        "18446744073709551621",
        "99999999999999999999999999999999",
        "５",
        "five",
    ];
    check_all_refused(lengths.map(|length| post_with(&format!("Content-Length: {length}\r\n"))));
}

#[test]
fn a_transfer_coding_other_than_one_final_chunked_is_refused() {
    let codings = [
        "gzip",
        "identity",
        "gzip, chunked",
        "chunked, gzip",
        "chunked, chunked",
        "xchunked",
        "chunkedx",
        "chunked;q=1",
        "\"chunked\"",
        "",
        ",",
        "chunked, identity",
        "\u{b}chunked",
        "chunked\u{b}",
        "chun ked",
    ];
    check_all_refused(codings.map(|coding| post_with(&format!("Transfer-Encoding: {coding}\r\n"))));
    check_all_refused([
        post_with("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n"),
        post_with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
        post_with("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n"),
    ]);
}

#[test]
fn ambiguous_framing_is_refused_on_a_get_and_a_delete_too() {
    check_all_refused(["GET", "DELETE", "OPTIONS", "PUT", "PATCH"].map(|method| {
        let framing = "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n";
        format!("{method} /channels/refused/x HTTP/1.1\r\nHost: t\r\n{framing}\r\n0\r\n\r\n")
    }));
}

#[test]
fn a_transfer_coding_from_http_1_0_is_refused() {
    check_all_refused([
        "POST /channels/refused/x HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /channels/refused/x HTTP/1.0\r\nConnection: keep-alive\r\n\
         Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ]);
}

#[test]
fn a_post_from_http_1_0_without_a_length_is_411() {
    let server = Server::start(&["--threads", "2"]);
    let mut guard = server.consumer_waiting("guard/intact", 1);
    for line in [
        "POST /channels/guard/intact",
        "PUT /channels/guard/intact",
        "POST /state",
    ] {
        for fields in [
            "",
            "Host: t\r\n",
            "Connection: keep-alive\r\n",
            "Expect: 100-continue\r\n",
        ] {
            let head = format!("{line} HTTP/1.0\r\n{fields}\r\n");
            check_refused(&server, 411, head.as_bytes());
            check_refused(
                &server,
                411,
                (head + "all of this would be lost\n").as_bytes(),
            );
        }
    }
    guard.expect_nothing();
    assert_eq!(
        server
            .metrics()
            .value("httpipe_refusals_total{kind=\"length_required\"}"),
        24
    );
    // What nc sends: the body ends with the sending direction.
    let mut client = server.connect();
    client.send("POST /channels/guard/intact HTTP/1.0\r\n\r\nall of this would be lost\n");
    client.half_close();
    client.last_reply().assert_status(411);
    check_guard(&server, &mut guard);
    // Other methods bring no body, and with a length all is well.
    for request in [
        "GET /healthz HTTP/1.0\r\n\r\n",
        "DELETE /channels/guard/intact HTTP/1.0\r\n\r\n",
        "POST /state HTTP/1.0\r\nContent-Length: 0\r\n\r\n",
    ] {
        let status = server.connect_and_send(request.as_bytes()).reply().status;
        assert_ne!(status, 411, "{request}");
    }
}

#[test]
fn an_http_1_1_request_needs_exactly_one_valid_host() {
    check_all_refused([
        "GET /healthz HTTP/1.1\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: a, b\r\n\r\n",
        "GET http://host/healthz HTTP/1.1\r\n\r\n",
        "POST /channels/refused/x HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
    ]);
    let server = Server::start(&[]);
    for request in [
        "GET /healthz HTTP/1.0\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost:\r\n\r\n",
    ] {
        assert_eq!(
            server.connect_and_send(request.as_bytes()).reply().status,
            200,
            "{request}"
        );
    }
}

#[test]
fn bytes_that_a_head_may_not_contain_are_refused() {
    let head = |line: &str| format!("GET /healthz HTTP/1.1\r\nHost: t\r\n{line}\r\n\r\n");
    check_all_refused([
        head("X: a\rb"),
        head("X: a\r\r"),
        head("X: a\0b"),
        head("X\0: a"),
        head("X: a\u{1}"),
        head("X: a\u{7f}"),
        head("X : a"),
        head("X\t: a"),
        head("Content-Length : 5"),
        head("Transfer-Encoding : chunked"),
        head(" X: a"),
        head("X: a\r\n folded"),
        head("X: a\r\n\tfolded"),
        head("Content-Length: 0\r\n 5"),
        head("Transfer-Encoding:\r\n chunked"),
        head("no colon"),
        head(": no name"),
        head("X(): a"),
        head("X\"Y: a"),
    ]);
}

#[test]
fn a_malformed_request_line_is_refused() {
    let head = |line: &str| format!("{line}\r\nHost: t\r\n\r\n");
    check_all_refused([
        head("GET /a b HTTP/1.1"),
        head("GET  / HTTP/1.1"),
        head("GET /\0 HTTP/1.1"),
        head("GET /a\rb HTTP/1.1"),
        head("G@T / HTTP/1.1"),
        head("GET\0 / HTTP/1.1"),
        head(" GET / HTTP/1.1"),
        head("GET / HTTP/1.1 "),
        head("GET / HTTX/1.1"),
        head("GET / http/1.1"),
        head("GET / HTTP/1.1x"),
        head("GET / HTTP/11"),
        head("GET"),
        head("\u{16}\u{3}\u{1}\u{2}"),
    ]);
}

#[test]
fn nothing_after_a_request_refused_for_another_reason_is_served() {
    let server = Server::start(&["--threads", "2"]);
    let _guard = server.consumer_waiting("guard/intact", 1);
    let fields: String = (0..70).map(|n| format!("X-{n}: y\r\n")).collect();
    let refused = [
        (431, format!("GET / HTTP/1.1\r\nHost: t\r\n{fields}\r\n")),
        (
            414,
            format!("GET /{} HTTP/1.1\r\nHost: t\r\n\r\n", "x".repeat(9000)),
        ),
        (505, "GET / HTTP/2.0\r\nHost: t\r\n\r\n".to_owned()),
        (
            413,
            "GET / HTTP/1.1\r\nHost: t\r\nContent-Length: 70000\r\n\r\n".to_owned(),
        ),
    ];
    for (status, request) in refused {
        check_refused(&server, status, request.as_bytes());
    }
}

/// Bodies that contain [`SMUGGLED`]: alone, after the end of a chunked body, before it, and in the
/// middle of more than one read takes.
fn bodies_with_a_request() -> [Vec<u8>; 4] {
    [
        SMUGGLED.to_vec(),
        [b"0\r\n\r\n", SMUGGLED].concat(),
        [SMUGGLED, b"\r\n0\r\n\r\n"].concat(),
        [SMUGGLED, pattern(9, 300_000), SMUGGLED].concat(),
    ]
}

#[test]
fn a_body_is_never_taken_for_a_request() {
    let server = Server::start(&["--threads", "2"]);
    let mut guard = server.consumer_waiting("guard/intact", 1);
    let mut carrier = server.connect();
    for body in bodies_with_a_request() {
        let framings = [
            post("real/body", &body),
            [post_chunked_head("real/body"), chunked(&body, body.len())].concat(),
            // The request in one chunk, and in pieces.
            [
                post_chunked_head("real/body"),
                chunked(&body, SMUGGLED.len()),
            ]
            .concat(),
            [post_chunked_head("real/body"), chunked(&body, 7)].concat(),
        ];
        for (whole, pieces) in framings.iter().flat_map(|whole| [(whole, 1), (whole, 2)]) {
            let mut consumer = server.consumer_waiting("real/body", 2);
            // Head and body together, or the body after the server has read the head.
            let body_at = whole.windows(4).position(|end| end == b"\r\n\r\n");
            let cut = if pieces == 1 {
                0
            } else {
                body_at.expect("a head") + 4
            };
            let (mut sender, next) = (carrier.sender(), request("GET", "/state"));
            std::thread::scope(|scope| {
                if cut > 0 {
                    carrier.send(&whole[..cut]);
                    server.until_exchanging(1);
                }
                scope.spawn(move || {
                    sender.write_all(&whole[cut..]).expect("it is read");
                    sender.write_all(&next).expect("it is read");
                });
                assert_same_bytes(&consumer.reply().body, &body);
            });
            carrier.reply().assert_status(200);
            // The next request is the one after the body, and the channel is still there.
            assert_eq!(carrier.reply().json(), json!({"guard": ["intact"]}));
        }
    }
    carrier.close();
    check_guard(&server, &mut guard);
}

#[test]
fn a_body_that_is_dropped_is_never_taken_for_a_request() {
    let server = Server::start(&["--threads", "2"]);
    let mut guard = server.consumer_waiting("guard/intact", 1);
    let length = format!("Content-Length: {}", SMUGGLED.len());
    for (fields, body) in [
        (length.as_str(), SMUGGLED.to_vec()),
        ("Transfer-Encoding: chunked", chunked(SMUGGLED, 1000)),
        ("Transfer-Encoding: chunked", chunked(SMUGGLED, 5)),
    ] {
        for (line, status) in [
            ("GET /healthz", 200),
            ("GET /channels/no-such", 404),
            ("DELETE /channels/no/such", 404),
            ("OPTIONS /channels/guard/intact", 204),
        ] {
            let head = format!("{line} HTTP/1.1\r\nHost: t\r\n{fields}\r\n\r\n");
            let mut client = server.connect_and_send(head.as_bytes());
            client.send(&body);
            client.send(request("GET", "/state"));
            client.reply().assert_status(status);
            assert_eq!(
                client.reply().json(),
                json!({"guard": ["intact"]}),
                "behind {line} with {fields}"
            );
        }
    }
    check_guard(&server, &mut guard);
}

#[test]
fn an_empty_line_before_a_request_is_skipped() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.send([b"\r\n", &request("GET", "/healthz")[..]].concat());
    assert_eq!(client.reply().status, 200);
    let mut consumer = server.consumer_waiting("empty/line", 1);
    client.send(
        [
            &post("empty/line", b"data")[..],
            b"\r\n",
            &request("GET", "/healthz"),
        ]
        .concat(),
    );
    assert_eq!(consumer.reply().body, b"data");
    assert_eq!(client.reply().status, 200);
    assert_eq!(client.reply().status, 200);
}

#[test]
fn a_head_may_arrive_in_any_pieces() {
    let server = Server::start(&["--threads", "2"]);
    let whole = post("piece/meal", b"body");
    let (mut producer, mut consumer) = (server.connect(), server.connect());
    for cut in 1..whole.len() {
        consumer.send(&get("piece/meal")[..cut.min(20)]);
        producer.send(&whole[..cut]);
        server.barrier();
        consumer.send(&get("piece/meal")[cut.min(20)..]);
        producer.send(&whole[cut..]);
        assert_eq!(consumer.reply().body, b"body");
        producer.reply().assert_status(200);
    }
}

// ---------------------------------------------------------------- chunked bodies

/// Bodies with a chunked coding that is broken before the first payload byte.
fn broken_from_the_start() -> Vec<Vec<u8>> {
    let texts = [
        "x\r\n",
        "\r\n",
        "-1\r\na",
        "+1\r\na",
        "0x1\r\na",
        " 1\r\na",
        "1 1\r\na",
        "1g\r\na",
        "1\na",
        "1\ra",
        "8000000000000000\r\na",
        "10000000000000000\r\na",
        "fffffffffffffffff\r\na",
        "1;a\0b\r\na",
        "0\r\nbad trailer\r\n\r\n",
        "0\r\n bad: fold\r\n\r\n",
        "0\r\n: no name\r\n\r\n",
        "0\n\n",
        "0\r\n\n",
    ];
    let mut bodies: Vec<Vec<u8>> = texts.map(|text| text.as_bytes().to_vec()).into();
    bodies.push([b"1;", &[b'e'; 100_000][..], b"\r\na"].concat());
    bodies.push([b"0\r\nLong: ", &[b't'; 100_000][..], b"\r\n\r\n"].concat());
    bodies
}

const PRODUCER_LEFT: &str = "httpipe_exchanges_total{outcome=\"producer_left\"}";

#[test]
fn a_chunked_body_broken_from_the_start_is_400_and_its_consumer_waits_on() {
    let server = Server::start(&["--threads", "2"]);
    let mut guard = server.consumer_waiting("guard/intact", 1);
    let mut first = server.consumer_waiting("broken/chunks", 2);
    let mut second = server.consumer_waiting("broken/chunks", 3);
    for body in broken_from_the_start() {
        // If the head is sent alone, the exchange begins before the broken part; otherwise the
        // broken part may come first.
        for in_exchange in [false, true] {
            let shown = body[..body.len().min(60)].escape_ascii();
            let mut producer = server.connect();
            let head = post_chunked_head("broken/chunks");
            let behind = [&body, SMUGGLED].concat();
            if in_exchange {
                producer.send(head);
                server.until_exchanging(1);
                server.until_waiting(Side::Consumer, 2);
                // The server may refuse and close before all of it is written.
                let broken_off = server.metrics().value(PRODUCER_LEFT);
                let _ = producer.try_send(behind);
                server.until_metric(PRODUCER_LEFT, broken_off + 1);
            } else {
                let _ = producer.try_send([head, behind].concat());
            }
            let reply = producer.last_reply();
            assert_eq!(reply.status, 400, "to {shown}: {}", reply.text());
            server.until_waiting(Side::Consumer, 3);
            server.until_exchanging(0);
            first.expect_nothing();
            second.expect_nothing();
        }
    }
    assert_eq!(
        server.state(),
        json!({"broken": ["chunks"], "guard": ["intact"]})
    );
    // The consumer that was matched repeatedly is still the first.
    for (consumer, body) in [(&mut first, b"1st"), (&mut second, b"2nd")] {
        let mut producer = server.produce("broken/chunks", body);
        assert_eq!(consumer.reply().body, body);
        producer.reply().assert_status(200);
    }
    check_guard(&server, &mut guard);
}

/// Parts that break a chunked body whose first chunk, or its payload, the consumer has received.
const BROKEN_LATER: [(&[u8], &[u8]); 11] = [
    (b"4\r\ngood\r\n", b"x\r\n"),
    (b"4\r\ngood\r\n", b"\r\n"),
    (b"4\r\ngood\r\n", b"8000000000000000\r\n"),
    (b"4\r\ngood\r\n", b"1\n"),
    (b"4\r\ngood\r\n", b"0\n"),
    (b"4\r\ngood\r\n", b" 0\r\n"),
    (b"4\r\ngood\r\n", b"0\r\nbad trailer\r\n\r\n"),
    (b"4\r\ngood", b"X"),
    (b"4\r\ngood", b"\n0\r\n"),
    (b"4\r\ngood", b"0\r\n\r\n"),
    (b"4\r\ngood\r", b"\r\n0\r\n\r\n"),
];

#[test]
fn a_chunked_body_broken_later_is_400_and_its_consumer_sees_no_last_chunk() {
    let server = Server::start(&["--threads", "2"]);
    let mut guard = server.consumer_waiting("guard/intact", 1);
    let mut broken_off = 0;
    for (good, broken) in BROKEN_LATER {
        for (version, end) in [("HTTP/1.1\r\nHost: t", End::Fin), ("HTTP/1.0", End::Reset)] {
            let shown = format!("{} {}", broken.escape_ascii(), version.escape_debug());
            let request = format!("GET /channels/broken/later {version}\r\n\r\n");
            let mut consumer = server.connect_and_send(request.as_bytes());
            server.until_waiting(Side::Consumer, 2);
            let mut producer = server.connect_and_send(&post_chunked_head("broken/later"));
            server.until_exchanging(1);
            producer.send(good);
            consumer.head().assert_status(200);
            assert_eq!(consumer.body_bytes(4), b"good", "{shown}");
            producer.expect_nothing();
            producer.send([broken, SMUGGLED].concat());
            let reply = producer.last_reply();
            assert_eq!(reply.status, 400, "{shown}: {}", reply.text());
            let cut = consumer.expect_cut();
            assert_eq!((&cut.received[..], cut.end), (&b""[..], end), "{shown}");
            server.until_exchanging(0);
            broken_off += 1;
            server.until_metric(PRODUCER_LEFT, broken_off);
            assert_eq!(server.state(), json!({"guard": ["intact"]}), "{shown}");
        }
    }
    check_guard(&server, &mut guard);
}

#[test]
fn chunk_extensions_and_trailers_are_dropped() {
    let server = Server::start(&["--threads", "2"]);
    let body = b"3;name=value\r\nabc\r\n0005 ; quoted=\"a b\"\r\ndefgh\r\nA\r\n0123456789\r\n\
                 000;last\r\nTrailer: one\r\nContent-Length: 7\r\nOther:two\r\n\r\n";
    let (mut producer, mut consumer) = (server.connect(), server.connect());
    for _ in 0..3 {
        consumer.send(get("with/extras"));
        producer.send([&post_chunked_head("with/extras"), &body[..]].concat());
        let reply = consumer.reply();
        assert_eq!(reply.text(), "abcdefgh0123456789");
        producer.reply().assert_status(200);
    }
}

#[test]
fn a_chunked_body_may_arrive_in_any_pieces() {
    let server = Server::start(&[]);
    let body = b"3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nT: r\r\n\r\n";
    let (mut producer, mut consumer) = (server.connect(), server.connect());
    for cut in 0..=body.len() {
        consumer.send(get("any/pieces"));
        producer.send([&post_chunked_head("any/pieces"), &body[..cut]].concat());
        server.barrier();
        producer.send(&body[cut..]);
        assert_eq!(consumer.reply().text(), "abc0123456789");
        producer.reply().assert_status(200);
    }
}

#[test]
fn what_follows_a_chunked_body_is_the_next_request() {
    let server = Server::start(&["--threads", "2"]);
    let mut consumer = server.connect_and_send(&[get("next/a"), get("next/b")].concat());
    let body = pattern(8, 50_000);
    let coded = chunked(body, 7000);
    let first = [post_chunked_head("next/a"), coded].concat();
    let mut producer = server.connect_and_send(&[first, post("next/b", b"small")].concat());
    assert_eq!(consumer.reply().body, body);
    assert_eq!(consumer.reply().body, b"small");
    producer.reply().assert_status(200);
    producer.reply().assert_status(200);
}
