//! `Range` on a `GET` of a channel: a request for a later part of a body is refused before it is
//! matched, because what a channel has next is never the rest of an earlier body. Raw sockets, then
//! the real clients that resume a download or split it.

use crate::support::Side;
use crate::support::connection::{Connection, Reply};
use crate::support::pattern::{assert_same_bytes, pattern};
use crate::support::program::{Running, run};
use crate::support::request::{post, post_head, post_head_with};
use crate::support::server::Server;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A consumer's request for `channel` with these field lines.
fn get_with(channel: &str, fields: &str) -> Vec<u8> {
    format!("GET /channels/{channel} HTTP/1.1\r\nHost: t\r\n{fields}\r\n").into_bytes()
}

/// Ranges of bytes whose first one does not begin at 0.
const LATER: &[&str] = &[
    "bytes=1-",
    "bytes=5-9",
    "BYTES=5-",
    "bytes=0005-",
    "bytes=99999999999999999999999999-",
    "bytes=-5",
    "bytes=-0",
    "bytes=5-,0-",
    "bytes=5-9, 0-4",
    "bytes=, ,5-",
    "bytes= 5-",
    "bytes=5- ",
];

/// Ranges that begin at 0, of other units, or malformed.
const IGNORED: &[&str] = &[
    "bytes=0-",
    "bytes=0-0",
    "bytes=000-5",
    "bytes=0-4,10-",
    "bytes=0-,-5",
    "bytes=,0-",
    "items=5-",
    "bytesx=5-",
    "bytes 5-",
    "bytes",
    "bytes=",
    "bytes=,",
    "bytes=-",
    "bytes=5",
    "bytes=x-",
    "bytes=+5-",
    "bytes=5-x",
    "bytes=9-5",
    "bytes=5--9",
    "bytes=5-,x",
    "bytes=5- 9",
    "bytes =5-",
    "5-",
    "",
];

/// A 412 that keeps the connection.
#[track_caller]
fn assert_refused(reply: &Reply, asked: &str) {
    assert_eq!(reply.status, 412, "{asked}: {}", reply.text());
    assert!(!reply.closes(), "{asked}");
}

#[test]
fn a_get_for_a_later_part_is_412_and_uses_no_body_up() {
    let server = Server::start(&["--threads", "2"]);
    let mut producer = server.producer_waiting("later/part", "whole", 1);
    let mut client = server.connect();
    for range in LATER {
        client.send(get_with("later/part", &format!("Range: {range}\r\n")));
        assert_refused(&client.reply(), range);
    }
    server.until_waiting(Side::Producer, 1);
    producer.expect_nothing();
    client.send(get_with("later/part", ""));
    assert_eq!(client.reply().text(), "whole");
    producer.reply().assert_status(200);
}

#[test]
fn a_get_for_a_later_part_takes_no_place_in_the_queue() {
    let server = Server::start(&["--threads", "2"]);
    let mut client = server.connect();
    client.send(get_with("later/place", "Range: bytes=5-\r\n"));
    assert_refused(&client.reply(), "nobody there");
    server.until_unused();
    assert_eq!(
        server
            .metrics()
            .value("httpipe_refusals_total{kind=\"range\"}"),
        1
    );
    // What follows on the connection is the next request, also behind a body that is dropped.
    let dropped = "Range: bytes=5-\r\nTransfer-Encoding: chunked\r\n";
    client.send(get_with("later/place", dropped));
    client.send(b"3\r\nabc\r\n0\r\n\r\n");
    client.send(get_with(
        "later/place",
        "range: bytes=5-\r\nRange: bytes=0-\r\n",
    ));
    client.send(b"GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n");
    assert_refused(&client.reply(), "with a body");
    assert_refused(&client.reply(), "two lines");
    assert_eq!(client.reply().text(), "ok\n");
}

#[test]
fn if_range_does_not_make_a_later_part_any_better() {
    let server = Server::start(&[]);
    let mut producer = server.producer_waiting("if/range", "whole", 1);
    let mut client = server.connect();
    for condition in ["\"tag\"", "W/\"tag\"", "Sat, 29 Oct 1994 19:43:31 GMT"] {
        let fields = format!("If-Range: {condition}\r\nRange: bytes=5-\r\n");
        client.send(get_with("if/range", &fields));
        assert_refused(&client.reply(), condition);
        let fields = format!("Range: bytes=5-\r\nIf-Range: {condition}\r\n");
        client.send(get_with("if/range", &fields));
        assert_refused(&client.reply(), condition);
    }
    client.send(get_with(
        "if/range",
        "If-Range: \"tag\"\r\nRange: bytes=0-\r\n",
    ));
    assert_eq!(client.reply().text(), "whole");
    producer.reply().assert_status(200);
}

#[test]
fn any_other_range_is_ignored() {
    let server = Server::start(&["--threads", "2"]);
    let (mut producer, mut consumer) = (server.connect(), server.connect());
    for range in IGNORED {
        consumer.send(get_with("range/ignored", &format!("Range: {range}\r\n")));
        server.until_waiting(Side::Consumer, 1);
        producer.send(post("range/ignored", "whole"));
        let reply = consumer.reply();
        assert_eq!(
            (reply.status, reply.text().as_str()),
            (200, "whole"),
            "{range}"
        );
        assert!(reply.values("Content-Range").is_empty());
        producer.reply().assert_status(200);
    }
}

#[test]
fn a_range_means_nothing_on_other_requests() {
    let server = Server::start(&["--threads", "2"]);
    let mut client = server.connect();
    for (line, status) in [
        ("GET /healthz", 200),
        ("GET /state", 200),
        ("GET /channels/range", 404),
        ("DELETE /channels/range/elsewhere", 404),
        ("OPTIONS /channels/range/elsewhere", 204),
    ] {
        client.send(format!(
            "{line} HTTP/1.1\r\nHost: t\r\nRange: bytes=5-\r\n\r\n"
        ));
        client.reply().assert_status(status);
    }
    // RFC 9110 §14.2: Range is for GET.
    let mut consumer = server.consumer_waiting("range/elsewhere", 1);
    let fields = "Range: bytes=5-\r\nContent-Length: 5\r\n";
    client.send([&post_head_with("range/elsewhere", fields)[..], b"whole"].concat());
    assert_eq!(consumer.reply().text(), "whole");
    client.reply().assert_status(200);
}

// ---------------------------------------------------------------- real clients

/// A client from another project that saves the channel `real/range` of `server` to `file`: `{url}` and
/// `{file}` stand for these in its command line. It finds no proxy and no settings of this machine.
fn saving(command: &str, server: &Server, file: &Path) -> Command {
    let url = server.url("/channels/real/range");
    let words = command.split(' ').map(|word| match word {
        "{url}" => url.clone(),
        "{file}" => file.display().to_string(),
        "{name}" => "saved".to_owned(),
        "{folder}" => file.parent().expect("a folder").display().to_string(),
        word => word.to_owned(),
    });
    let words = Vec::from_iter(words);
    let mut client = Command::new(&words[0]);
    client.args(&words[1..]);
    for name in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        client.env_remove(name);
    }
    client.env("HOME", file.parent().expect("a folder"));
    client
}

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("saved");
    (folder, file)
}

/// `next`, whose body is `pattern(2, BYTES)`, was not touched, and a plain `GET` gets that body whole.
#[track_caller]
fn assert_untouched(server: &Server, mut next: Connection) {
    server.until_waiting(Side::Producer, 1);
    server.barrier();
    next.expect_nothing();
    assert_same_bytes(
        &server.consume("real/range").reply().body,
        pattern(2, BYTES),
    );
    next.reply().assert_status(200);
    server.until_unused();
}

/// Length of each body: more than a line of text, less than a client splits by itself.
const BYTES: usize = 200_000;

#[test]
fn a_client_that_retries_after_a_cut_takes_no_other_body_for_the_rest() {
    let server = Server::start(&["--threads", "2"]);
    let (first, second) = (pattern(1, BYTES), pattern(2, BYTES));
    for (command, code) in [
        ("wget -q --no-config --waitretry=0 -O {file} {url}", 8),
        ("wget -q --no-config --waitretry=0 -c -O {file} {url}", 8),
        ("wget -q --no-config --waitretry=0 -P {folder} {url}", 8),
        (
            "aria2c -q --no-conf --retry-wait=0 -d {folder} -o {name} {url}",
            22,
        ),
    ] {
        let (folder, file) = folder();
        let client = Running::start(saving(command, &server, &file));
        server.until_waiting(Side::Consumer, 1);
        let mut cut = server.connect_and_send(&post_head("real/range", BYTES as u64));
        cut.send(&first[..BYTES / 2]);
        server.until_exchanging(1);
        let next = server.producer_waiting("real/range", second, 1);
        cut.close();
        client.finish().exited(code);
        let saved = match command.contains("-P") {
            true => folder.path().join("range"),
            false => file,
        };
        let saved = std::fs::read(saved).expect("the part that arrived");
        assert_same_bytes(&saved, &first[..saved.len()]);
        assert_untouched(&server, next);
    }
}

#[test]
fn a_client_that_resumes_an_earlier_download_ends_with_an_error_and_leaves_its_file_alone() {
    let server = Server::start(&["--threads", "2"]);
    let (first, second) = (pattern(1, BYTES), pattern(2, BYTES));
    for (command, code) in [
        ("wget -q --no-config -c -O {file} {url}", 8),
        ("curl -sS -C - -o {file} {url}", 33),
        ("curl -sS -f -C - -o {file} {url}", 22),
    ] {
        // The file is shorter than the body, and longer.
        for bytes in [1000, BYTES / 2, BYTES] {
            let (_folder, file) = folder();
            std::fs::write(&file, &first[..bytes]).expect("a temporary file");
            let next = server.producer_waiting("real/range", second, 1);
            run(saving(command, &server, &file)).exited(code);
            assert_same_bytes(
                &std::fs::read(&file).expect("it was there"),
                &first[..bytes],
            );
            assert_untouched(&server, next);
        }
    }
}

#[test]
fn a_client_that_splits_a_download_receives_one_body_whole() {
    // aria2c asks for parts of at least 1 MiB once it knows the length.
    const LARGE_BYTES: usize = 8 << 20;
    let server = Server::start(&["--threads", "2"]);
    let (large, next) = (pattern(3, LARGE_BYTES), pattern(2, BYTES));
    let (_folder, file) = folder();
    let command =
        "aria2c -q --no-conf -x4 -s4 -k1M --min-split-size=1M -d {folder} -o {name} {url}";
    let client = Running::start(saving(command, &server, &file));
    server.until_waiting(Side::Consumer, 1);
    let mut producer = server.connect_and_send(&post_head("real/range", LARGE_BYTES as u64));
    producer.send(&large[..1000]);
    server.until_exchanging(1);
    let next = server.producer_waiting("real/range", next, 1);
    // It has asked for all other parts, and goes on with the first.
    server.until_metric("httpipe_refusals_total{kind=\"range\"}", 3);
    producer.send(&large[1000..]);
    client.finish().succeeded();
    assert_same_bytes(&std::fs::read(&file).expect("it was saved"), large);
    producer.reply().assert_status(200);
    assert_untouched(&server, next);
}

/// axel first sends a `GET` with `Range: bytes=0-`, of whose reply it reads the head alone; then it asks
/// anew, for a body of the same length. So it uses up a body that it does not save: nothing tells that
/// `GET` from a media player's.
#[test]
fn axel_saves_one_body_and_mixes_none() {
    let server = Server::start(&["--threads", "2"]);
    let (probed, saved) = (pattern(1, 2000), pattern(2, 2000));
    let (_folder, file) = folder();
    let client = Running::start(saving("axel -q -n4 -o {file} {url}", &server, &file));
    for body in [probed, saved] {
        server.until_waiting(Side::Consumer, 1);
        server
            .produce("real/range", body)
            .reply()
            .assert_status(200);
    }
    client.finish().succeeded();
    assert_same_bytes(&std::fs::read(&file).expect("it was saved"), saved);
    server.until_unused();
}
