//! What a browser says of the page that asks: requests that no person meant take and change nothing.
//! The fields are written here by hand; `browser` has those of a real one.

use crate::support::Side;
use crate::support::connection::Reply;
use crate::support::server::Server;

const CROSS_SITE: &str = "Sec-Fetch-Site: cross-site\r\n";
/// What a person's click on a link, or the address bar, sends along.
const NAVIGATION: &str =
    "Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\nSec-Fetch-User: ?1\r\n";

fn ask(server: &Server, start: &str, fields: &str) -> Reply {
    let request = format!("{start} HTTP/1.1\r\nHost: here.example\r\n{fields}\r\n");
    let mut client = server.connect_and_send(request.as_bytes());
    match start.starts_with("HEAD ") {
        true => client.reply_to_head(),
        false => client.reply(),
    }
}

/// `fields` get a consumer nothing, a producer nothing, and delete nothing.
#[track_caller]
fn check_refused(server: &Server, methods: &[&str], fields: &str) {
    let mut producer = server.producer_waiting("pages/taken", b"data", 1);
    let mut consumer = server.consumer_waiting("pages/given", 1);
    for method in methods {
        for target in [
            "/channels/pages/taken",
            "/channels/pages/given",
            "/channels/pages",
        ] {
            if target == "/channels/pages" && *method != "DELETE" {
                continue;
            }
            let reply = ask(server, &format!("{method} {target}"), fields);
            assert_eq!(reply.status, 403, "{method} {target}\n{fields}");
        }
    }
    producer.expect_nothing();
    consumer.expect_nothing();
    server.until_waiting(Side::Producer, 1);
    server.until_waiting(Side::Consumer, 1);
    assert_eq!(ask(server, "DELETE /channels/pages", "").status, 204);
    assert_eq!(producer.reply().status, 410);
    assert_eq!(consumer.reply().status, 410);
}

/// `fields` get a consumer its body.
#[track_caller]
fn check_served(server: &Server, fields: &str) {
    let mut producer = server.producer_waiting("pages/taken", b"data", 1);
    let reply = ask(server, "GET /channels/pages/taken", fields);
    assert_eq!(reply.text(), "data", "{fields}");
    producer.reply().assert_status(200);
}

const ALL: [&str; 4] = ["GET", "POST", "PUT", "DELETE"];

#[test]
fn a_page_of_another_origin_takes_and_changes_nothing() {
    let server = Server::start(&["--threads", "2"]);
    for site in ["cross-site", "same-site"] {
        let site = format!("Sec-Fetch-Site: {site}\r\n");
        for rest in [
            "",
            // An image, a form, a script that fetches, a frame.
            "Sec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: image\r\n",
            "Sec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\nOrigin: http://here.example\r\n",
            "Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n",
            "Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\nSec-Fetch-User: ?0\r\n",
            "Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: iframe\r\nSec-Fetch-User: ?1\r\n",
            "Sec-Fetch-Dest: document\r\nSec-Fetch-User: ?1\r\n",
        ] {
            check_refused(&server, &ALL, &format!("{site}{rest}"));
        }
        // A person may send a form, but the page has filled it.
        let navigation = format!("{site}{NAVIGATION}");
        check_refused(&server, &["POST", "PUT", "DELETE"], &navigation);
        check_served(&server, &navigation);
    }
}

#[test]
fn a_page_of_this_origin_and_a_person_are_served() {
    let server = Server::start(&["--threads", "2"]);
    for fields in [
        "Sec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: cors\r\nOrigin: http://behind.proxy\r\n",
        "Sec-Fetch-Site: none\r\n",
        // A site that no browser names says nothing (Fetch Metadata, section 2).
        "Sec-Fetch-Site: elsewhere\r\n",
        "Origin: http://there.example\r\n",
    ] {
        check_served(&server, fields);
        let mut consumer = server.consumer_waiting("pages/given", 1);
        let fields = fields.replace("http://there.example", "http://here.example");
        let reply = ask(&server, "POST /channels/pages/given", &fields);
        assert_eq!(reply.status, 200, "{fields}");
        consumer.reply().assert_status(200);
    }
}

#[test]
fn without_fetch_metadata_a_foreign_origin_changes_nothing() {
    let server = Server::start(&["--threads", "2"]);
    for origin in [
        "null",
        "",
        "http://there.example",
        "https://here.example.there.example",
        "http://here.example:81",
        "http://here.example:443",
        "https://here.example:80",
    ] {
        let fields = format!("Origin: {origin}\r\n");
        check_refused(&server, &["POST", "PUT", "DELETE"], &fields);
    }
    for origin in [
        "http://here.example",
        "https://HERE.example",
        "http://here.example:80",
    ] {
        let mut consumer = server.consumer_waiting("pages/given", 1);
        let fields = format!("Origin: {origin}\r\n");
        let reply = ask(&server, "PUT /channels/pages/given", &fields);
        assert_eq!(reply.status, 200, "{fields}");
        consumer.reply().assert_status(200);
        let reply = ask(&server, "DELETE /channels/pages/given", &fields);
        assert_eq!(reply.status, 404, "{fields}");
    }
}

#[test]
fn a_service_worker_and_a_prefetch_take_nothing() {
    let server = Server::start(&["--threads", "2"]);
    for fields in [
        "Service-Worker: script\r\nSec-Fetch-Site: same-origin\r\n",
        "service-worker: script\r\n",
        "Sec-Purpose: prefetch\r\nSec-Fetch-Site: same-origin\r\n",
        "Sec-Purpose: prefetch;prerender\r\nSec-Fetch-Site: none\r\n",
        "Sec-Purpose: prefetch;anonymous-client-ip\r\n",
    ] {
        check_refused(&server, &ALL, fields);
    }
    check_served(&server, "Sec-Purpose: preview\r\nService-Worker: none\r\n");
}

#[test]
fn documents_are_read_from_anywhere_but_not_in_advance() {
    let server = Server::start(&["--threads", "2"]);
    let documents = [
        "GET /",
        "HEAD /",
        "GET /state",
        "GET /metrics",
        "GET /channels/namespaces",
        "OPTIONS /channels/a/b",
    ];
    for start in documents {
        let status = ask(&server, start, CROSS_SITE).status;
        assert!(matches!(status, 200 | 204), "{start}: {status}");
        for fields in ["Service-Worker: script\r\n", "Sec-Purpose: prefetch\r\n"] {
            assert_eq!(ask(&server, start, fields).status, 403, "{start} {fields}");
        }
    }
}

#[test]
fn a_refused_page_is_told_why_and_counted() {
    let server = Server::start(&[]);
    for (fields, word) in [
        (CROSS_SITE, "another origin"),
        ("Service-Worker: script\r\n", "service worker"),
        ("Sec-Purpose: prefetch\r\n", "prefetch"),
    ] {
        let reply = ask(&server, "GET /channels/pages/why", fields);
        assert_eq!(reply.status, 403);
        assert!(reply.text().contains(word), "{}", reply.text());
    }
    server.until_metric("httpipe_refusals_total{kind=\"web_page\"}", 3);
    server.until_metric("httpipe_replies_total{status=\"403\"}", 3);
}

#[test]
fn the_body_of_a_refused_page_is_not_taken_for_a_request() {
    let server = Server::start(&[]);
    let hidden = "DELETE /channels/pages HTTP/1.1\r\nHost: here.example\r\n\r\n";
    let waiting = server.consumer_waiting("pages/given", 1);
    let head = |length: usize| {
        format!(
            "POST /channels/pages/given HTTP/1.1\r\nHost: here.example\r\n\
             {CROSS_SITE}Content-Length: {length}\r\n\r\n"
        )
    };
    let mut client = server.connect();
    client.send([head(hidden.len()).as_str(), hidden].concat());
    assert_eq!(client.reply().status, 403);
    // The body was in hand, so the connection goes on behind it.
    client.send(head(1_000_000));
    assert_eq!(client.last_reply().status, 403);
    server.until_waiting(Side::Consumer, 1);
    drop(waiting);
}
