//! What replies contain: the fields that a consumer receives, those that pass from the producer,
//! those that must not, and how each reply declares the end of its body.

use crate::support::Side;
use crate::support::connection::{Framing, Reply};
use crate::support::request::{chunked, get, post, post_head_with};
use crate::support::server::Server;

/// The consumer's reply to a producer's request with these field lines and the body `data`.
fn consumed(server: &Server, fields: &str) -> Reply {
    let mut consumer = server.consumer_waiting("reply/fields", 1);
    let head = post_head_with("reply/fields", &format!("{fields}Content-Length: 4\r\n"));
    let mut producer = server.connect_and_send(&[&head[..], b"data"].concat());
    let reply = consumer.reply();
    assert_eq!(reply.body, b"data");
    producer.reply().assert_status(200);
    reply
}

#[test]
fn a_consumers_reply_forbids_storing_and_buffering() {
    let server = Server::start(&[]);
    let reply = consumed(&server, "");
    assert_eq!(reply.version, "HTTP/1.1");
    assert_eq!(reply.status, 200);
    assert_eq!(reply.value("Cache-Control"), Some("no-store"));
    assert_eq!(reply.value("X-Accel-Buffering"), Some("no"));
    assert_eq!(
        reply.value("Content-Type"),
        Some("application/octet-stream")
    );
    assert_eq!(reply.framing, Framing::Length(4));
}

#[test]
fn a_consumers_reply_lets_a_browser_guess_no_type_and_run_no_script() {
    let server = Server::start(&["--threads", "2"]);
    for (sent, sandboxed) in [
        ("", true),
        ("Content-Type: text/html\r\n", true),
        ("Content-Type: image/svg+xml\r\n", true),
        ("Content-Type: application/x-www-form-urlencoded\r\n", true),
        ("Content-Type: application/pdfx\r\n", true),
        ("Content-Type: application/pdf\r\n", false),
        ("content-type:Application/PDF ; x=y\r\n", false),
        // Only the first is sent on.
        (
            "Content-Type: text/html\r\nContent-Type: application/pdf\r\n",
            true,
        ),
        // A browser takes the last type of a list (Fetch, "extract a MIME type").
        ("Content-Type: application/pdf;x=y, text/html\r\n", true),
        ("Content-Type: application/pdf,text/html\r\n", true),
    ] {
        let reply = consumed(&server, sent);
        assert_eq!(
            reply.values("X-Content-Type-Options"),
            ["nosniff"],
            "{sent}"
        );
        let policy = reply.values("Content-Security-Policy");
        let expected: &[&str] = if sandboxed { &["sandbox"] } else { &[] };
        assert_eq!(policy, expected, "{sent}");
    }
}

#[test]
fn every_text_of_the_servers_own_lets_a_browser_guess_no_type() {
    let server = Server::start(&["--threads", "2"]);
    for target in [
        "/",
        "/healthz",
        "/readyz",
        "/metrics",
        "/state",
        "/robots.txt",
        "/channels/namespaces",
        "/channels/unused",
        "/nowhere",
    ] {
        let reply = server.ask("GET", target);
        assert_eq!(
            reply.values("X-Content-Type-Options"),
            ["nosniff"],
            "{target}"
        );
    }
    let refused = server.connect_and_send(b"BREW / HTTP/1.1\r\nHost: t\r\n\r\n");
    let reply = { refused }.last_reply();
    assert_eq!(reply.values("X-Content-Type-Options"), ["nosniff"]);
}

#[test]
fn fields_that_describe_the_body_pass_from_the_producer_to_the_consumer() {
    let server = Server::start(&["--threads", "2"]);
    let fields = [
        ("Content-Type", "text/html; charset=\"utf-8\""),
        ("Content-Encoding", "gzip"),
        ("Content-Language", "de, en"),
        (
            "Content-Disposition",
            "attachment; filename=\"a b.txt\"; filename*=UTF-8''%e2%82%ac",
        ),
    ];
    let lines: String = fields
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .concat();
    let reply = consumed(&server, &lines);
    for (name, value) in fields {
        assert_eq!(reply.value(name), Some(value), "{name}");
    }
}

#[test]
fn field_names_are_recognized_in_any_case_with_any_white_space_around_the_value() {
    let server = Server::start(&[]);
    let reply = consumed(
        &server,
        "content-TYPE:text/plain\r\nCONTENT-language: \t fr \t \r\n",
    );
    assert_eq!(reply.value("Content-Type"), Some("text/plain"));
    assert_eq!(reply.value("Content-Language"), Some("fr"));
}

#[test]
fn a_field_with_several_lines_passes_whole() {
    let server = Server::start(&[]);
    let reply = consumed(&server, "Content-Language: de\r\nContent-Language: en\r\n");
    assert!(reply.lists("Content-Language", "de") && reply.lists("Content-Language", "en"));
}

#[test]
fn fields_about_the_producer_only_do_not_pass() {
    let server = Server::start(&[]);
    let names = [
        "Authorization",
        "Cookie",
        "Set-Cookie",
        "X-Own",
        "User-Agent",
        "Location",
        "Range",
        "Trailer",
        "Upgrade",
        "Keep-Alive",
    ];
    let lines: String = names.map(|name| format!("{name}: secret\r\n")).concat();
    let reply = consumed(&server, &lines);
    for name in names {
        let values = reply.values(name);
        assert!(
            !values.contains(&"secret"),
            "{name} passed: {:?}",
            reply.fields
        );
    }
}

#[test]
fn curls_default_type_is_replaced() {
    let server = Server::start(&[]);
    for kind in [
        "application/x-www-form-urlencoded",
        "Application/X-WWW-Form-URLEncoded",
    ] {
        let reply = consumed(&server, &format!("Content-Type: {kind}\r\n"));
        assert_eq!(
            reply.value("Content-Type"),
            Some("application/octet-stream"),
            "{kind}"
        );
    }
}

#[test]
fn a_declared_length_passes_to_consumers_of_both_versions() {
    let server = Server::start(&[]);
    for version in ["1.1", "1.0"] {
        let request = format!("GET /channels/declared/length HTTP/{version}\r\nHost: t\r\n\r\n");
        for body in ["", "some"] {
            let mut producer = server.producer_waiting("declared/length", body, 1);
            let mut consumer = server.connect_and_send(request.as_bytes());
            let reply = consumer.reply();
            assert_eq!(reply.framing, Framing::Length(body.len() as u64));
            assert_eq!(reply.closes(), version == "1.0");
            producer.reply().assert_status(200);
        }
    }
}

#[test]
fn a_body_of_undeclared_length_is_chunked_for_1_1_and_ends_with_the_connection_for_1_0() {
    let server = Server::start(&[]);
    let cases = [
        ("HTTP/1.1\r\nHost: t\r\n", Framing::Chunked),
        (
            "HTTP/1.1\r\nHost: t\r\nConnection: close\r\n",
            Framing::Chunked,
        ),
        ("HTTP/1.0\r\n", Framing::Close),
        ("HTTP/1.0\r\nConnection: keep-alive\r\n", Framing::Close),
    ];
    let head = post_head_with("no/length", "Transfer-Encoding: chunked\r\n");
    for (rest, framing) in cases {
        for body in ["", "some bytes"] {
            let mut producer = server.connect_and_send(&head);
            producer.send(chunked(body.as_bytes(), 4));
            server.until_waiting(Side::Producer, 1);
            let request = format!("GET /channels/no/length {rest}\r\n");
            let reply = server.connect_and_send(request.as_bytes()).reply();
            assert_eq!(
                (reply.framing, reply.text().as_str()),
                (framing, body),
                "{rest}"
            );
            assert!(reply.values("Trailer").is_empty());
            producer.reply().assert_status(200);
        }
    }
}

#[test]
fn a_length_of_nearly_63_bits_is_accepted() {
    let server = Server::start(&[]);
    let bytes = (1u64 << 63) - 1;
    let mut consumer = server.consumer_waiting("huge/body", 1);
    let head = post_head_with("huge/body", &format!("Content-Length: {bytes}\r\n"));
    let producer = server.connect_and_send(&[&head[..], b"x"].concat());
    assert_eq!(consumer.head().framing, Framing::Length(bytes));
    assert_eq!(consumer.body_bytes(1), b"x");
    producer.close();
    consumer.expect_cut();
}

#[test]
fn a_post_without_any_framing_has_an_empty_body() {
    let server = Server::start(&[]);
    for request in [
        "POST /channels/no/framing HTTP/1.1\r\nHost: t\r\n\r\n",
        "PUT /channels/no/framing HTTP/1.1\r\nHost: t\r\n\r\n",
        "POST /channels/no/framing HTTP/1.0\r\nContent-Length: 0\r\n\r\n",
    ] {
        let mut consumer = server.consumer_waiting("no/framing", 1);
        let mut producer = server.connect_and_send(request.as_bytes());
        let reply = consumer.reply();
        assert_eq!((reply.status, reply.body.len()), (200, 0));
        producer.reply().assert_status(200);
    }
}

#[test]
fn a_producers_reply_is_an_empty_200() {
    let server = Server::start(&[]);
    let mut consumer = server.consumer_waiting("empty/reply", 1);
    let mut producer = server.produce("empty/reply", b"data");
    let reply = producer.reply();
    assert_eq!((reply.status, reply.framing), (200, Framing::Length(0)));
    assert!(!reply.closes());
    consumer.reply().assert_status(200);
}

#[test]
fn an_http_1_0_client_learns_that_its_connection_is_kept() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    for _ in 0..2 {
        client.send(b"GET /healthz HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n");
        let reply = client.reply();
        assert!(
            reply.lists("Connection", "keep-alive"),
            "{:?}",
            reply.fields
        );
    }
    client.send(b"GET /healthz HTTP/1.0\r\n\r\n");
    client.last_reply().assert_status(200);
}

#[test]
fn a_client_that_may_not_know_hears_how_long_its_connection_is_kept() {
    let server = Server::start(&["--threads", "2"]);
    let mut client = server.connect();
    for fields in [
        "HTTP/1.0\r\nConnection: keep-alive\r\n",
        "HTTP/1.0\r\nConnection: keep-alive\r\nKeep-Alive: 300\r\n",
        "HTTP/1.1\r\nHost: t\r\nKeep-Alive: timeout=300, max=9\r\n",
        "HTTP/1.1\r\nHost: t\r\nConnection: keep-alive\r\nkeep-alive:\r\n",
    ] {
        let check = |reply: &Reply| {
            assert_eq!(reply.value("Keep-Alive"), Some("timeout=75"), "{fields}");
            // A field about the connection is listed (RFC 9110 §7.6.1).
            assert!(reply.lists("Connection", "keep-alive"), "{fields}");
        };
        for (line, status) in [
            ("GET /healthz", 200),
            ("GET /nowhere", 404),
            ("OPTIONS /state", 204),
            ("GET /state", 200),
        ] {
            client.send(format!("{line} {fields}\r\n"));
            let reply = client.reply();
            assert_eq!(reply.status, status);
            check(&reply);
        }
        // The two sides of an exchange.
        let mut producer = server.producer_waiting("kept/alive", "data", 1);
        client.send(format!("GET /channels/kept/alive {fields}\r\n"));
        check(&client.reply());
        assert_eq!(producer.reply().value("Keep-Alive"), None);
        let mut consumer = server.consumer_waiting("kept/alive", 1);
        let produce = "POST /channels/kept/alive";
        client.send(format!("{produce} {fields}Content-Length: 4\r\n\r\ndata"));
        check(&client.reply());
        assert_eq!(consumer.reply().value("Keep-Alive"), None);
    }
}

#[test]
fn the_seconds_that_a_connection_is_kept_are_whole_ones_and_at_least_one() {
    for (option, timeout) in [
        ("0.9", "timeout=1"),
        ("1", "timeout=1"),
        ("59.9", "timeout=59"),
    ] {
        let server = Server::start(&["--keep-alive-timeout", option]);
        let request = b"GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
        let reply = server.connect_and_send(request).reply();
        assert_eq!(reply.value("Keep-Alive"), Some(timeout), "{option}");
    }
}

#[test]
fn a_client_that_knows_or_whose_connection_closes_hears_no_keep_alive() {
    let server = Server::start(&[]);
    for fields in [
        "HTTP/1.0\r\n",
        "HTTP/1.0\r\nKeep-Alive: 300\r\n",
        "HTTP/1.0\r\nConnection: close, keep-alive\r\n",
        "HTTP/1.1\r\nHost: t\r\n",
        "HTTP/1.1\r\nHost: t\r\nConnection: keep-alive\r\n",
        "HTTP/1.1\r\nHost: t\r\nConnection: close\r\nKeep-Alive: 300\r\n",
    ] {
        let request = format!("GET /healthz {fields}\r\n");
        let reply = server.connect_and_send(request.as_bytes()).reply();
        assert_eq!(reply.value("Keep-Alive"), None, "{fields}");
        assert!(!reply.lists("Connection", "keep-alive"), "{fields}");
    }
    // A body that ends with the connection, and a refusal that closes.
    let mut producer = server.connect();
    producer.send(post_head_with("kept/not", "Transfer-Encoding: chunked\r\n"));
    producer.send(chunked(b"data", 4));
    server.until_waiting(Side::Producer, 1);
    for request in [
        "GET /channels/kept/not HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: t\r\nKeep-Alive: 300\r\nContent-Length: 70000\r\n\r\n",
    ] {
        let reply = server.connect_and_send(request.as_bytes()).last_reply();
        assert_eq!(reply.value("Keep-Alive"), None, "{request}");
    }
}

#[test]
fn connection_options_are_found_anywhere_in_their_list() {
    let server = Server::start(&[]);
    for fields in [
        "Connection: foo, CLOSE",
        "Connection: close , bar",
        "Connection: foo\r\nConnection: close",
        "Connection: keep-alive, close",
    ] {
        let request = format!("GET /healthz HTTP/1.1\r\nHost: t\r\n{fields}\r\n\r\n");
        server
            .connect_and_send(request.as_bytes())
            .last_reply()
            .assert_status(200);
    }
    let mut client = server.connect();
    client.send(b"GET /healthz HTTP/1.1\r\nHost: t\r\nConnection: closed, x-close\r\n\r\n");
    assert!(!client.reply().closes());
    client.send(get("no/such/path"));
    client.reply().assert_status(404);
}

#[test]
fn a_put_does_the_same_as_a_post() {
    let server = Server::start(&[]);
    let mut consumer = server.consumer_waiting("put/it", 1);
    let request = String::from_utf8(post("put/it", b"data")).expect("ASCII");
    let mut producer = server.connect_and_send(request.replacen("POST", "PUT", 1).as_bytes());
    assert_eq!(consumer.reply().body, b"data");
    producer.reply().assert_status(200);
}
