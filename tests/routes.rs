//! What each path and method does, which are refused and how, which names are valid, and what the
//! listings contain.

use crate::support::connection::Reply;
use crate::support::request::{chunk, chunked, get, post, post_head, request};
use crate::support::server::Server;
use crate::support::{Side, until};
use serde_json::json;
use std::sync::atomic::{AtomicBool, Ordering};

/// The reply to a request given as its first line without the version.
fn ask(server: &Server, start: &str) -> Reply {
    let (method, target) = start.split_once(' ').expect("method and target");
    server.ask(method, target)
}

/// An array of a listing, in its order.
#[track_caller]
fn names(reply: &Reply) -> Vec<String> {
    reply.assert_status(200);
    assert_eq!(reply.value("Content-Type"), Some("application/json"));
    serde_json::from_slice(&reply.body).expect("a JSON array of strings")
}

// ---------------------------------------------------------------- methods and paths

const METHODS: [&str; 8] = [
    "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE",
];

/// Paths and their methods, from `doc/protocol.md`.
const PATHS: [(&str, &[&str]); 7] = [
    (
        "/channels/allowed/channel",
        &["GET", "POST", "PUT", "DELETE", "OPTIONS"],
    ),
    ("/channels/allowed", &["GET", "HEAD", "DELETE", "OPTIONS"]),
    ("/state", &["GET", "HEAD", "OPTIONS"]),
    ("/", &["GET", "HEAD", "OPTIONS"]),
    ("/robots.txt", &["GET", "HEAD", "OPTIONS"]),
    ("/metrics", &["GET", "HEAD", "OPTIONS"]),
    ("/healthz", &["GET", "HEAD", "OPTIONS"]),
];

#[test]
fn another_method_on_a_known_path_is_405_with_the_allowed_methods() {
    let server = Server::start(&[]);
    for (path, allowed) in PATHS {
        for method in METHODS.iter().filter(|method| !allowed.contains(method)) {
            let mut connection = server.connect_and_send(&request(method, path));
            let reply = match *method {
                "HEAD" => connection.reply_to_head(),
                _ => connection.reply(),
            };
            assert_eq!(reply.status, 405, "{method} {path}");
            check_allow(&reply, allowed, path);
        }
    }
}

#[test]
fn options_is_204_with_the_allowed_methods() {
    let server = Server::start(&[]);
    for (path, allowed) in PATHS {
        let reply = server.ask("OPTIONS", path);
        assert_eq!(reply.status, 204, "{path}");
        check_allow(&reply, allowed, path);
    }
    let reply = server.ask("OPTIONS", "/channels/namespaces");
    assert_eq!(reply.status, 204);
    check_allow(
        &reply,
        &["GET", "HEAD", "DELETE", "OPTIONS"],
        "/channels/namespaces",
    );
}

#[track_caller]
fn check_allow(reply: &Reply, allowed: &[&str], path: &str) {
    let allow = reply.value("Allow").expect("an Allow field");
    let mut listed: Vec<_> = allow.split(',').map(str::trim).collect();
    let mut allowed = allowed.to_vec();
    listed.sort_unstable();
    allowed.sort_unstable();
    assert_eq!(listed, allowed, "{path}");
}

#[test]
fn any_other_path_is_404() {
    let server = Server::start(&[]);
    for target in [
        "/nothing",
        "/channels",
        "/channels/",
        "/channels//x",
        "/channels/ns//",
        "/channels/ns//x",
        "/channels/a/b/c",
        "/channels/a/b//",
        "/Channels/a/b",
        "/state/x",
        "/states",
        "//state",
        "/metrics/x",
        "/favicon.ico",
    ] {
        for method in ["GET", "POST", "DELETE", "OPTIONS"] {
            assert_eq!(server.ask(method, target).status, 404, "{method} {target}");
        }
    }
    server.until_unused();
}

#[test]
fn a_method_that_http_does_not_define_is_501() {
    let server = Server::start(&[]);
    for start in [
        "BREW /",
        "get /healthz",
        "FOO /channels/a/b",
        "GETS /state",
        "M-SEARCH /",
    ] {
        assert_eq!(ask(&server, start).status, 501, "{start}");
    }
    server.until_unused();
}

#[test]
fn a_version_other_than_1_0_or_1_1_is_505() {
    let server = Server::start(&[]);
    for version in ["HTTP/2.0", "HTTP/1.2", "HTTP/3.0", "HTTP/0.9"] {
        let request = format!("GET /healthz {version}\r\nHost: t\r\n\r\n");
        let reply = server.connect_and_send(request.as_bytes()).last_reply();
        assert_eq!(reply.status, 505, "{version}");
    }
}

#[test]
fn the_help_has_curl_lines_with_the_address_of_the_request() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.send(format!(
        "GET / HTTP/1.1\r\nHost: {}\r\n\r\n",
        server.address()
    ));
    let reply = client.reply();
    assert_eq!(reply.status, 200);
    assert!(
        reply
            .value("Content-Type")
            .expect("a type")
            .starts_with("text/plain")
    );
    let text = reply.text();
    let lines: Vec<_> = text.lines().filter(|line| line.contains("curl ")).collect();
    let address = server.address().to_string();
    assert!(
        lines.len() >= 2 && lines.iter().all(|line| line.contains(&address)),
        "{text}"
    );
}

#[test]
fn crawlers_are_sent_away() {
    let server = Server::start(&[]);
    let reply = server.ask("GET", "/robots.txt");
    assert_eq!(reply.status, 200);
    assert_eq!(
        reply.value("Content-Type"),
        Some("text/plain; charset=utf-8")
    );
    assert_eq!(reply.text(), "User-agent: *\nDisallow: /\n");
}

#[test]
fn a_health_check_is_answered_with_200() {
    let server = Server::start(&[]);
    assert_eq!(server.ask("GET", "/healthz").status, 200);
    assert_eq!(server.ask("GET", "/healthz?verbose=1").status, 200);
}

// ---------------------------------------------------------------- bounds of a head

#[test]
fn a_target_of_8_kib_is_taken_and_a_longer_one_is_414() {
    let server = Server::start(&[]);
    let target = |bytes: usize| format!("/healthz?{}", "a".repeat(bytes - "/healthz?".len()));
    assert_eq!(server.ask("GET", &target(8192)).status, 200);
    let mut refused = server.connect_and_send(&request("GET", &target(8193)));
    assert_eq!(refused.last_reply().status, 414);
    let mut unfinished = server.connect();
    unfinished.send(format!("GET {}", target(9000)));
    assert_eq!(unfinished.last_reply().status, 414);
}

#[test]
fn a_head_of_16_kib_is_taken_and_a_longer_one_is_431() {
    let server = Server::start(&[]);
    let head = |bytes: usize| {
        let start = "GET /healthz HTTP/1.1\r\nHost: t\r\nX-Long: ";
        format!("{start}{}\r\n\r\n", "a".repeat(bytes - start.len() - 4))
    };
    let mut taken = server.connect_and_send(head(16_384).as_bytes());
    assert_eq!(taken.reply().status, 200);
    let mut refused = server.connect_and_send(head(16_384 + 8).as_bytes());
    assert_eq!(refused.last_reply().status, 431);
    let mut unfinished = server.connect_and_send(&head(20_000).as_bytes()[..17_000]);
    assert_eq!(unfinished.last_reply().status, 431);
}

#[test]
fn a_head_of_64_fields_is_taken_and_one_of_more_is_431() {
    let server = Server::start(&[]);
    let head = |fields: usize| {
        let others: String = (1..fields).map(|n| format!("X-{n}: {n}\r\n")).collect();
        format!("GET /healthz HTTP/1.1\r\nHost: t\r\n{others}\r\n")
    };
    assert_eq!(
        server.connect_and_send(head(64).as_bytes()).reply().status,
        200
    );
    assert_eq!(
        server
            .connect_and_send(head(65).as_bytes())
            .last_reply()
            .status,
        431
    );
}

// ---------------------------------------------------------------- names

#[test]
fn names_are_compared_after_percent_decoding() {
    let server = Server::start(&["--threads", "4"]);
    for (produced, consumed) in [
        ("v1/a%62", "v1/ab"),
        ("v1/%61%62%63", "%76%31/abc"),
        ("v1/caf%c3%a9", "v1/caf%C3%A9"),
        ("v1/a%2Fb", "v1/a%2fb"),
        ("v1/a+b", "v1/a%2Bb"),
        ("v1/slash/", "v1/slash"),
        ("v1/query?x=1", "v1/query?y/2"),
        ("v1/query?", "v1/query"),
        (
            "v1/~-._!$&'()*,;=:@",
            "v1/%7E%2d%2E_%21%24%26%27%28%29%2A%2C%3B%3D%3A%40",
        ),
    ] {
        let mut producer = server.producer_waiting(produced, produced, 1);
        let mut consumer = server.consume(consumed);
        assert_eq!(consumer.reply().text(), produced);
        producer.reply().assert_status(200);
    }
}

#[test]
fn different_names_are_different_channels() {
    let server = Server::start(&["--threads", "4"]);
    let channels = [
        "a/b", "a/B", "A/b", "a/b%20", "a/%62%2F", "ab/b", "a%2Fb/b", "a/b%2Fb", "a/b+", "a/%2562",
    ];
    let mut producers: Vec<_> = (1..)
        .zip(channels)
        .map(|(nth, channel)| server.producer_waiting(channel, channel, nth))
        .collect();
    for (channel, producer) in channels.into_iter().zip(&mut producers).rev() {
        assert_eq!(server.consume(channel).reply().text(), channel);
        producer.reply().assert_status(200);
    }
}

#[test]
fn an_absolute_target_works_like_its_path() {
    let server = Server::start(&[]);
    assert_eq!(
        server.ask("GET", "http://elsewhere.example/healthz").status,
        200
    );
    assert_eq!(
        server
            .ask("GET", "HTTP://elsewhere.example:81/state")
            .status,
        200
    );
    assert_eq!(server.ask("GET", "http://elsewhere.example").status, 200);
    let mut producer = server.producer_waiting("abs/form", b"data", 1);
    let reply = server.ask("GET", "http://host/channels/abs/form?query");
    assert_eq!(reply.body, b"data");
    producer.reply().assert_status(200);
}

#[test]
fn a_name_may_be_255_bytes_long_and_no_longer() {
    let server = Server::start(&[]);
    let longest = "n".repeat(255);
    let encoded = "%C3%A9".repeat(127) + "x";
    for name in [longest, encoded] {
        let channel = format!("{name}/{name}");
        let mut producer = server.producer_waiting(&channel, b"data", 1);
        assert_eq!(server.consume(&channel).reply().body, b"data");
        producer.reply().assert_status(200);
        for channel in [format!("{name}x/c"), format!("ns/{name}x")] {
            assert_eq!(server.consume(&channel).reply().status, 400, "{channel}");
        }
        assert_eq!(
            server.ask("DELETE", &format!("/channels/{name}x")).status,
            400
        );
    }
}

#[test]
fn an_invalid_name_is_400() {
    let server = Server::start(&[]);
    for name in [
        "%00",
        "a%00b",
        "%0a",
        "%0D%0A",
        "%1f",
        "%7F",
        "%C2%80",
        "%c2%9f",
        "%ff",
        "%C3",
        "%C3%28",
        "%ED%A0%80",
        "%zz",
        "%4",
        "a%",
        "%%41",
        "%2",
        "%u0041",
    ] {
        for target in [
            format!("/channels/{name}/c"),
            format!("/channels/ns/{name}"),
            format!("/channels/{name}"),
        ] {
            for method in ["GET", "DELETE"] {
                assert_eq!(server.ask(method, &target).status, 400, "{method} {target}");
            }
        }
        assert_eq!(
            server
                .produce(&format!("ns/{name}"), b"data")
                .reply()
                .status,
            400,
            "{name}"
        );
    }
    server.until_unused();
}

#[test]
fn a_refused_request_with_a_body_is_answered_and_affects_no_other() {
    let server = Server::start(&[]);
    for target in ["/nothing", "/state", "/channels/ns", "/channels/ns/%zz"] {
        for fields in [
            "Content-Length: 40000\r\n",
            "Transfer-Encoding: chunked\r\n",
        ] {
            let mut client = server.connect();
            client.send(format!("POST {target} HTTP/1.1\r\nHost: t\r\n{fields}\r\n"));
            let body = match fields.starts_with('C') {
                true => vec![b'x'; 40_000],
                false => chunked(&[b'x'; 40_000], 9000),
            };
            // The server may have closed already; its reply must still arrive.
            let _ = client.try_send(body);
            let reply = client.reply();
            assert!(
                matches!(reply.status, 400 | 404 | 405),
                "{target}: {}",
                reply.status
            );
            match reply.closes() {
                true => client.expect_end(),
                false => {
                    client.send(request("GET", "/healthz"));
                    client.reply().assert_status(200);
                }
            }
        }
    }
}

#[test]
fn a_client_that_sends_a_large_body_first_receives_the_error_response() {
    let server = Server::start(&[]);
    for (target, status) in [
        ("/nothing", 404),
        ("/state", 405),
        ("/channels/ns/%zz", 400),
    ] {
        let mut client = server.connect();
        let head = "Host: t\r\nContent-Length: 8388608\r\n";
        client.send(format!("POST {target} HTTP/1.1\r\n{head}\r\n"));
        let _ = client.try_send(vec![b'x'; 8 << 20]);
        assert_eq!(client.reply().status, status, "{target}");
    }
    server.until_metric("httpipe_connections", 1);
}

// ---------------------------------------------------------------- bodies that are dropped

#[test]
fn a_body_on_a_get_or_delete_is_dropped_up_to_64_kib() {
    let server = Server::start(&["--threads", "2"]);
    for bytes in [1, 100, 16_384, 65_536] {
        let body = vec![b'G'; bytes];
        let chunks = chunked(&body, 5000);
        let length = format!("Content-Length: {bytes}\r\n");
        for (fields, body) in [
            (length.as_str(), body),
            ("Transfer-Encoding: chunked\r\n", chunks),
        ] {
            let mut producer = server.producer_waiting("get/body", b"data", 1);
            let mut client = server.connect();
            client.send(format!(
                "GET /channels/get/body HTTP/1.1\r\nHost: t\r\n{fields}\r\n"
            ));
            client.send(&body);
            assert_eq!(client.reply().body, b"data", "{fields}");
            producer.reply().assert_status(200);
            client.send(format!(
                "DELETE /channels/get/body HTTP/1.1\r\nHost: t\r\n{fields}\r\n"
            ));
            client.send(&body);
            assert_eq!(client.reply().status, 404, "{fields}");
            client.send(format!("GET /healthz HTTP/1.1\r\nHost: t\r\n{fields}\r\n"));
            client.send(&body);
            client.send(request("GET", "/state"));
            assert_eq!(client.reply().status, 200, "{fields}");
            assert_eq!(client.reply().json(), json!({}));
        }
    }
}

#[test]
fn a_body_of_more_than_64_kib_on_a_get_or_delete_is_413() {
    let server = Server::start(&[]);
    for method in ["GET", "DELETE"] {
        for target in ["/channels/too/large", "/channels/too", "/state"] {
            if (method, target) == ("DELETE", "/state") {
                continue;
            }
            let mut declared = server.connect();
            declared.send(format!(
                "{method} {target} HTTP/1.1\r\nHost: t\r\nContent-Length: 65537\r\n\r\n"
            ));
            assert_eq!(declared.last_reply().status, 413, "{method} {target}");
            let mut in_chunks = server.connect();
            in_chunks.send(format!(
                "{method} {target} HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n"
            ));
            let chunk = chunk([b'x'; 16_385]);
            for _ in 0..4 {
                let _ = in_chunks.try_send(&chunk);
            }
            assert_eq!(in_chunks.last_reply().status, 413, "{method} {target}");
        }
    }
    server.until_unused();
}

// ---------------------------------------------------------------- HEAD

#[test]
fn a_head_never_consumes() {
    let server = Server::start(&["--threads", "2"]);
    let mut producer = server.producer_waiting("head/safe", b"data", 1);
    let mut client = server.connect_and_send(&request("HEAD", "/channels/head/safe"));
    assert_eq!(client.reply_to_head().status, 405);
    server.barrier();
    producer.expect_nothing();
    server.until_waiting(Side::Producer, 1);
    client.send(get("head/safe"));
    assert_eq!(client.reply().body, b"data");
    producer.reply().assert_status(200);
}

/// A reply to `method` on `target`, and that the connection is in step behind it.
fn ask_and_go_on(server: &Server, method: &str, target: &str) -> Reply {
    let mut client = server.connect_and_send(&request(method, target));
    let reply = match method {
        "HEAD" => client.reply_to_head(),
        _ => client.reply(),
    };
    client.send(request("GET", "/healthz"));
    assert_eq!(client.reply().text(), "ok\n", "after {method} {target}");
    reply
}

#[test]
fn head_on_a_document_says_what_get_would_without_the_body() {
    let server = Server::start(&["--threads", "2"]);
    let _used = server.consumer_waiting("used/channel", 1);
    for (target, status) in [
        ("/", 200),
        ("/healthz", 200),
        ("/robots.txt", 200),
        ("/readyz", 200),
        ("/state", 200),
        ("/channels/namespaces", 200),
        ("/channels/used", 200),
        ("/channels/used/?query", 200),
        ("/channels/unused", 404),
        ("/channels/%zz", 400),
        ("/nowhere", 404),
    ] {
        let of_get = ask_and_go_on(&server, "GET", target);
        let of_head = ask_and_go_on(&server, "HEAD", target);
        assert_eq!(
            (of_get.status, of_head.status),
            (status, status),
            "{target}"
        );
        assert_eq!(of_head.body, b"", "{target}");
        for name in ["Content-Type", "Content-Length", "Cache-Control"] {
            let declared = of_head.value(name).expect(name);
            assert_eq!(Some(declared), of_get.value(name), "{target}");
        }
    }
    // Metrics change between two requests.
    let metrics = ask_and_go_on(&server, "HEAD", "/metrics");
    metrics.assert_status(200);
    let length = metrics.value("Content-Length").expect("a length");
    assert!(length.parse::<usize>().expect("digits") > 1000, "{length}");
}

#[test]
fn a_body_on_a_head_is_dropped_as_on_a_get() {
    let server = Server::start(&[]);
    let head = |fields: &str| format!("HEAD /state HTTP/1.1\r\nHost: t\r\n{fields}\r\n");
    let mut client = server.connect();
    client.send(head("Content-Length: 40000\r\n"));
    client.send([b'x'; 40_000]);
    assert_eq!(client.reply_to_head().status, 200);
    client.send(head("Transfer-Encoding: chunked\r\n"));
    client.send(chunked(&[b'x'; 40_000], 9000));
    assert_eq!(client.reply_to_head().status, 200);
    client.send(head("Transfer-Encoding: chunked\r\n"));
    client.send(b"no chunk\r\n");
    assert_eq!(client.reply_to_head().status, 400);
    client.expect_end();
}

// ---------------------------------------------------------------- listings

#[test]
fn listings_of_an_idle_server_are_empty() {
    let server = Server::start(&["--threads", "2"]);
    assert_eq!(server.state(), json!({}));
    assert_eq!(names(&server.ask("GET", "/channels/namespaces")), [""; 0]);
    assert_eq!(server.ask("GET", "/channels/nobody").status, 404);
}

#[test]
fn listings_are_sorted_and_complete_over_all_shards() {
    let server = Server::start(&["--threads", "4"]);
    let mut waiting = Vec::new();
    for namespace in ["zoo", "a", "m"] {
        for channel in 0..30 {
            let channel = format!("{namespace}/c{}", (channel * 7) % 30);
            waiting.push(server.consume(&channel));
        }
    }
    server.until_waiting(Side::Consumer, 90);
    let mut channels: Vec<_> = (0..30).map(|n| format!("c{n}")).collect();
    channels.sort();
    assert_eq!(
        names(&server.ask("GET", "/channels/namespaces")),
        ["a", "m", "zoo"]
    );
    for namespace in ["zoo", "a", "m"] {
        assert_eq!(
            names(&server.ask("GET", &format!("/channels/{namespace}"))),
            channels
        );
        assert_eq!(
            names(&server.ask("GET", &format!("/channels/{namespace}/"))),
            channels
        );
    }
    assert_eq!(
        server.state(),
        json!({"a": channels, "m": channels, "zoo": channels})
    );
    let text = server.ask("GET", "/state").text();
    let places = ["\"a\"", "\"m\"", "\"zoo\""].map(|name| text.find(name));
    assert!(places.is_sorted(), "{text}");
}

#[test]
fn listings_contain_any_valid_name() {
    let server = Server::start(&["--threads", "2"]);
    let _waiting = [
        server.consumer_waiting("quote%22/back%5Cslash", 1),
        server.consumer_waiting("caf%C3%A9/%F0%9F%90%8E", 2),
        server.consumer_waiting("a%2Fb/%3Cb%3E", 3),
        server.consumer_waiting("namespaces/state", 4),
        server.consumer_waiting("%E2%80%A8/.", 5),
    ];
    assert_eq!(
        server.state(),
        json!({
            "quote\"": ["back\\slash"],
            "café": ["🐎"],
            "a/b": ["<b>"],
            "namespaces": ["state"],
            "\u{2028}": ["."],
        })
    );
    assert_eq!(names(&server.ask("GET", "/channels/a%2Fb")), ["<b>"]);
    let namespaces = names(&server.ask("GET", "/channels/namespaces"));
    assert_eq!(
        namespaces,
        ["a/b", "café", "namespaces", "quote\"", "\u{2028}"]
    );
}

#[test]
fn a_channel_is_listed_only_while_it_is_in_use() {
    let server = Server::start(&[]);
    let mut producer = server.connect_and_send(&post_head("list/me", 2));
    server.until_waiting(Side::Producer, 1);
    assert_eq!(server.state(), json!({"list": ["me"]}));
    let mut consumer = server.consume("list/me");
    producer.send(b"a");
    assert_eq!(consumer.head().status, 200);
    assert_eq!(consumer.body_bytes(1), b"a");
    assert_eq!(names(&server.ask("GET", "/channels/list")), ["me"]);
    producer.send(b"b");
    producer.reply().assert_status(200);
    assert_eq!(consumer.rest_of_body().expect("a whole body"), b"b");
    server.until_unused();
    assert_eq!(server.state(), json!({}));
    assert_eq!(server.ask("GET", "/channels/list").status, 404);
}

// ---------------------------------------------------------------- DELETE

#[test]
fn deleting_a_channel_answers_its_waiting_requests_with_410() {
    for threads in ["1", "4"] {
        let server = Server::start(&["--threads", threads]);
        assert_eq!(server.ask("DELETE", "/channels/gone/a").status, 404);
        let mut producers: Vec<_> = (1..=3)
            .map(|nth| server.producer_waiting("gone/a", b"data", nth))
            .collect();
        let mut consumers: Vec<_> = (1..=3)
            .map(|nth| server.consumer_waiting("gone/b", nth))
            .collect();
        let _untouched = server.consumer_waiting("gone/other", 4);
        assert_eq!(server.ask("DELETE", "/channels/gone/%61").status, 204);
        assert_eq!(server.ask("DELETE", "/channels/gone/b").status, 204);
        for waiter in producers.iter_mut().chain(&mut consumers) {
            assert_eq!(waiter.reply().status, 410);
        }
        assert_eq!(server.state(), json!({"gone": ["other"]}));
        assert_eq!(server.ask("DELETE", "/channels/gone/a").status, 404);
    }
}

#[test]
fn deleting_a_namespace_answers_all_its_waiting_requests_and_no_others() {
    for threads in ["1", "4"] {
        let server = Server::start(&["--threads", threads]);
        assert_eq!(server.ask("DELETE", "/channels/gone").status, 404);
        let mut gone: Vec<_> = (1..=20)
            .map(|n| server.consumer_waiting(&format!("gone/{n}"), n))
            .collect();
        let mut kept = server.consumer_waiting("gone2/1", 21);
        assert_eq!(server.ask("DELETE", "/channels/gone").status, 204);
        for waiter in &mut gone {
            assert_eq!(waiter.reply().status, 410);
        }
        assert_eq!(server.state(), json!({"gone2": ["1"]}));
        assert_eq!(server.ask("DELETE", "/channels/gone").status, 404);
        let mut producer = server.produce("gone2/1", b"data");
        assert_eq!(kept.reply().body, b"data");
        producer.reply().assert_status(200);
    }
}

#[test]
fn all_who_waited_have_their_reply_before_that_of_delete_even_if_others_come_meanwhile() {
    const CROWD: usize = 700;
    const ALONE: usize = 100;
    let server = Server::start(&["--threads", "2"]);
    let channel = |n: usize| match n {
        0..CROWD => "gone/crowd".to_owned(),
        _ => format!("gone/{n}"),
    };
    let mut waiting = Vec::from_iter((0..CROWD + ALONE).map(|n| server.consume(&channel(n))));
    server.until_waiting(Side::Consumer, waiting.len() as u64);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let others = Vec::from_iter((0..4).map(|nth| {
            let (server, over) = (&server, &over);
            scope.spawn(move || {
                let mut producer = server.connect();
                for n in (0..CROWD + ALONE).rev().skip(nth).step_by(4) {
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                    producer.send(post(&channel(n), b"data"));
                    let status = producer.reply().status;
                    assert!(matches!(status, 200 | 410), "{status}");
                }
            })
        }));
        assert_eq!(server.ask("DELETE", "/channels/gone").status, 204);
        over.store(true, Ordering::Relaxed);
        let hanging = waiting.iter().filter(|waiter| !waiter.has_bytes());
        assert_eq!(hanging.count(), 0);
        // Those who came meanwhile wait on, or were deleted too.
        until("the others to end", || {
            server.ask("DELETE", "/channels/gone");
            others.iter().all(|other| other.is_finished()).then_some(())
        });
    });
    for waiter in &mut waiting {
        let reply = waiter.reply();
        assert!(matches!(reply.status, 200 | 410), "{}", reply.status);
    }
    server.until_unused();
}

#[test]
fn a_deleted_channel_can_be_used_again_at_once() {
    let server = Server::start(&["--threads", "2"]);
    let mut deleted = server.consumer_waiting("again/again", 1);
    assert_eq!(server.ask("DELETE", "/channels/again/again").status, 204);
    assert_eq!(deleted.reply().status, 410);
    let mut consumer = server.consumer_waiting("again/again", 1);
    let mut producer = server.produce("again/again", b"data");
    assert_eq!(consumer.reply().body, b"data");
    producer.reply().assert_status(200);
}
