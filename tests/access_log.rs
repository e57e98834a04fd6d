//! The log as an operator reads it: one line per finished request, names that cannot be guessed,
//! text that cannot forge a line, and a reader that stalls.

use crate::support::connection::Connection;
use crate::support::pattern::{assert_same_bytes, pattern};
use crate::support::proxy::lasting_port;
use crate::support::request::{get, post_head, request};
use crate::support::server::{Server, executable};
use crate::support::{until, within_bound};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::process::Stdio;

/// A server that logs every request as JSON.
fn logging(options: &[&str]) -> Server {
    Server::start(&[&["--access-log", "--log", "json"], options].concat())
}

/// The access log so far, without the tests' own requests for metrics.
fn lines(server: &Server) -> Vec<Value> {
    let log = server.stderr();
    let parsed = log.lines().map(|line| {
        serde_json::from_str(line).unwrap_or_else(|error| panic!("no JSON ({error}): {line}"))
    });
    parsed
        .filter(|line: &Value| line["target"] == "httpipe::access" && line["route"] != "metrics")
        .collect()
}

/// Waits until `count` requests are logged, and returns their lines.
#[track_caller]
fn until_lines(server: &Server, count: usize) -> Vec<Value> {
    let found = within_bound(|| Some(lines(server)).filter(|lines| lines.len() >= count));
    let found = found.unwrap_or_else(|| panic!("there are not {count} lines: {}", server.stderr()));
    assert_eq!(found.len(), count, "{found:?}");
    found
}

/// The only line of this side.
#[track_caller]
fn of_side<'a>(lines: &'a [Value], side: &str) -> &'a Value {
    let mut found = lines.iter().filter(|line| line["side"] == side);
    let line = found.next().expect("a line of this side");
    assert!(found.next().is_none(), "two lines of one request");
    line
}

/// Checks the named fields; `Null` means that the field is absent.
#[track_caller]
fn assert_fields(line: &Value, expected: Value) {
    for (name, value) in expected.as_object().expect("an object") {
        assert_eq!(&line[name], value, "{name} in {line}");
    }
}

fn address(connection: &Connection) -> String {
    let address = connection.sender().local_addr().expect("connected");
    address.to_string()
}

fn micros(line: &Value, field: &str) -> u64 {
    line[field]
        .as_u64()
        .unwrap_or_else(|| panic!("{field} in {line}"))
}

#[test]
fn an_exchange_is_one_line_for_each_side_with_all_fields() {
    let server = logging(&[]);
    let mut consumer = server.consumer_waiting("log/me", 1);
    let mut producer = server.produce("log/me", b"12345");
    producer.reply().assert_status(200);
    consumer.reply().assert_status(200);

    let lines = until_lines(&server, 2);
    let (sent, taken) = (of_side(&lines, "producer"), of_side(&lines, "consumer"));
    assert_fields(
        sent,
        serde_json::json!({
            "level": "INFO", "method": "POST", "route": "produce", "peer": address(&producer),
            "status": 200, "outcome": "delivered", "bytes": 5,
        }),
    );
    assert_fields(
        taken,
        serde_json::json!({
            "level": "INFO", "method": "GET", "route": "consume", "peer": address(&consumer),
            "status": 200, "outcome": "delivered", "bytes": 5,
        }),
    );
    for line in &lines {
        assert!(
            micros(line, "waited_us") <= micros(line, "took_us"),
            "{line}"
        );
        assert!(
            line["timestamp"]
                .as_str()
                .is_some_and(|time| time.ends_with('Z'))
        );
    }
    // The consumer came first.
    assert!(micros(taken, "waited_us") > micros(sent, "waited_us"));
}

#[test]
fn the_bytes_in_a_line_are_those_of_the_body_however_it_moves() {
    for options in [&[] as &[&str], &["--no-splice"]] {
        let server = logging(options);
        let body = pattern(1, 3 << 20);
        let mut consumer = server.consumer_waiting("log/large", 1);
        std::thread::scope(|scope| {
            let producer = scope.spawn(|| server.produce("log/large", body).reply().status);
            assert_same_bytes(&consumer.reply().body, body);
            assert_eq!(producer.join().expect("the producer is served"), 200);
        });
        for line in until_lines(&server, 2) {
            let expected = serde_json::json!({"outcome": "delivered", "bytes": body.len()});
            assert_fields(&line, expected);
        }
    }
}

#[test]
fn a_request_that_is_refused_is_logged_with_the_reason() {
    let server = logging(&[]);
    server.ask("GET", "/nothing").assert_status(404);
    server.ask("GET", "/channels/a%0A/b").assert_status(400);
    server.ask("PUT", "/state").assert_status(405);
    server.ask("DELETE", "/channels/no/body").assert_status(404);
    let mut broken = server.connect_and_send(b"no request\r\n\r\n");
    broken.last_reply().assert_status(400);
    let expected = [
        serde_json::json!({"method": "GET", "status": 404, "outcome": "no_such_path"}),
        serde_json::json!({"method": "GET", "status": 400, "outcome": "bad_name", "channel": null}),
        serde_json::json!({"method": "PUT", "status": 405, "outcome": "method_not_allowed"}),
        serde_json::json!({
            "method": "DELETE", "status": 404, "outcome": "not_in_use", "route": "delete_channel",
        }),
        serde_json::json!({
            "method": null, "status": 400, "outcome": "bad_head", "peer": address(&broken),
        }),
    ];
    let lines = until_lines(&server, expected.len());
    for (line, expected) in lines.iter().zip(expected) {
        assert_fields(line, expected);
        let no_exchange = serde_json::json!({"side": null, "waited_us": null, "bytes": 0});
        assert_fields(line, no_exchange);
    }
}

#[test]
fn a_request_that_timed_out_is_logged_with_the_whole_wait() {
    let server = logging(&["--request-timeout", "0.2"]);
    server.consume("log/late").reply().assert_status(408);
    server
        .produce("log/late", b"data")
        .reply()
        .assert_status(408);
    let lines = until_lines(&server, 2);
    for side in ["producer", "consumer"] {
        let line = of_side(&lines, side);
        let expected = serde_json::json!({
            "status": 408, "outcome": "request_timeout", "bytes": 0, "took_us": line["waited_us"],
        });
        assert_fields(line, expected);
        assert!(micros(line, "waited_us") >= 200_000, "{line}");
    }
}

#[test]
fn a_deletion_is_logged_and_so_is_every_request_that_it_ends() {
    let server = logging(&[]);
    let mut waiting = server.consumer_waiting("log/gone", 1);
    server
        .ask("DELETE", "/channels/log/gone")
        .assert_status(204);
    waiting.reply().assert_status(410);
    let lines = until_lines(&server, 2);
    let expected = serde_json::json!({"status": 410, "outcome": "deleted", "bytes": 0});
    assert_fields(of_side(&lines, "consumer"), expected);
    let deletion = lines.iter().find(|line| line["method"] == "DELETE");
    let expected = serde_json::json!({
        "route": "delete_channel", "status": 204, "outcome": "done",
        "channel": of_side(&lines, "consumer")["channel"],
    });
    assert_fields(deletion.expect("a line"), expected);
}

/// An exchange in which one byte of five has moved.
fn under_way(server: &Server) -> (Connection, Connection) {
    let mut consumer = server.consumer_waiting("log/cut", 1);
    let mut producer = server.connect_and_send(&post_head("log/cut", 5));
    producer.send(b"a");
    consumer.head();
    assert_eq!(consumer.body_bytes(1), b"a");
    (producer, consumer)
}

#[test]
fn a_cut_exchange_is_logged_with_its_cause() {
    let consumer_left = logging(&[]);
    let (mut producer, consumer) = under_way(&consumer_left);
    let gone = address(&consumer);
    consumer.reset();
    producer.reply().assert_status(502);
    let lines = until_lines(&consumer_left, 2);
    let expected = serde_json::json!({"status": 502, "outcome": "consumer_left", "bytes": 1});
    assert_fields(of_side(&lines, "producer"), expected);
    // TCP no longer knows the address of a client that has reset; the log still has it.
    let expected = serde_json::json!({
        "status": 200, "outcome": "consumer_left", "bytes": 1, "peer": gone,
    });
    assert_fields(of_side(&lines, "consumer"), expected);

    let producer_left = logging(&[]);
    let (producer, mut consumer) = under_way(&producer_left);
    producer.close();
    consumer.expect_cut();
    let lines = until_lines(&producer_left, 2);
    let expected = serde_json::json!({"status": 200, "outcome": "producer_left", "bytes": 1});
    assert_fields(of_side(&lines, "consumer"), expected);
    let expected = serde_json::json!({"outcome": "body_cut", "bytes": 1});
    assert_fields(of_side(&lines, "producer"), expected);

    let deleted = logging(&[]);
    let (mut producer, _consumer) = under_way(&deleted);
    deleted
        .ask("DELETE", "/channels/log/cut")
        .assert_status(204);
    producer.reply().assert_status(410);
    let lines = until_lines(&deleted, 3);
    let expected = serde_json::json!({"status": 410, "outcome": "deleted_midway", "bytes": 1});
    assert_fields(of_side(&lines, "producer"), expected);
    let expected = serde_json::json!({"status": 200, "outcome": "deleted", "bytes": 1});
    assert_fields(of_side(&lines, "consumer"), expected);
}

#[test]
fn a_client_that_left_while_it_waited_is_logged_without_a_status() {
    let server = logging(&[]);
    let consumer = server.consumer_waiting("log/left", 1);
    let gone = address(&consumer);
    consumer.close();
    let lines = until_lines(&server, 1);
    let expected = serde_json::json!({
        "side": "consumer", "status": null, "outcome": "left", "bytes": 0, "peer": gone,
        "took_us": lines[0]["waited_us"],
    });
    assert_fields(&lines[0], expected);
}

#[test]
fn a_producer_that_waits_again_is_logged_once_with_its_second_match() {
    let server = logging(&[]);
    let mut producer = server.connect_and_send(&post_head("log/again", 4));
    server.until_metric("httpipe_waiting{side=\"producer\"}", 1);
    let first = server.consume("log/again");
    server.until_exchanging(1);
    first.close();
    server.until_metric("httpipe_waiting{side=\"producer\"}", 1);
    let mut second = server.consume("log/again");
    server.until_exchanging(1);
    producer.send(b"data");
    assert_eq!(second.reply().body, b"data");
    producer.reply().assert_status(200);
    let lines = until_lines(&server, 3);
    let outcomes = Vec::from_iter(lines.iter().map(|line| line["outcome"].clone()));
    assert_eq!(outcomes, ["left", "delivered", "delivered"], "{lines:?}");
    let producer = of_side(&lines, "producer");
    assert!(
        micros(producer, "waited_us") > micros(&lines[0], "took_us"),
        "{lines:?}"
    );
}

#[test]
fn listings_are_logged_with_the_bytes_of_their_bodies() {
    let server = logging(&[]);
    let _waiting = server.consumer_waiting("log/seen", 1);
    let state = server.ask("GET", "/state");
    let names = server.ask("GET", "/channels/log");
    let expected = [
        serde_json::json!({"route": "state", "bytes": state.body.len(), "namespace": null}),
        serde_json::json!({"route": "list_channels", "bytes": names.body.len(), "channel": null}),
    ];
    let lines = until_lines(&server, 2);
    for (line, expected) in lines.iter().zip(expected) {
        assert_fields(line, expected);
        let common = serde_json::json!({"method": "GET", "status": 200, "outcome": "done"});
        assert_fields(line, common);
    }
    assert!(lines[1]["namespace"].is_string());
}

#[test]
fn each_request_of_a_connection_is_logged_whichever_shard_serves_it() {
    let server = logging(&["--threads", "2", "--request-timeout", "0.1"]);
    let channels = 16;
    let mut client = server.connect();
    for nth in 0..channels {
        client.send(get(&format!("log/{nth}")));
        client.reply().assert_status(408);
    }
    assert!(server.metrics().value("httpipe_handovers_total") > 0);
    let lines = until_lines(&server, channels);
    for line in &lines {
        assert_fields(
            line,
            serde_json::json!({"peer": address(&client), "status": 408}),
        );
    }
}

/// The names in the first line about a channel.
fn names(server: &Server) -> (Value, Value) {
    server
        .ask("DELETE", "/channels/secret/plan")
        .assert_status(404);
    let line = until_lines(server, 1).remove(0);
    (line["namespace"].clone(), line["channel"].clone())
}

#[test]
fn names_are_hashed_by_default_with_another_key_in_each_run() {
    let (first, second) = (logging(&[]), logging(&["--log-names", "hash"]));
    let (one, other) = (names(&first), names(&second));
    for name in [&one.0, &one.1, &other.0, &other.1] {
        let text = name.as_str().expect("a hash");
        assert!(text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
    assert_ne!(one, other);
    assert!(!first.stderr().contains("secret") && !first.stderr().contains("plan"));

    first.ask("GET", "/channels/secret").assert_status(404);
    first
        .ask("DELETE", "/channels/secret/other")
        .assert_status(404);
    let lines = until_lines(&first, 3);
    assert!(
        lines.iter().all(|line| line["namespace"] == one.0),
        "{lines:?}"
    );
    assert_ne!(lines[2]["channel"], one.1);
}

#[test]
fn names_can_be_left_out_or_written_as_they_are() {
    let none = logging(&["--log-names", "none"]);
    assert_eq!(names(&none), (Value::Null, Value::Null));
    let plain = Server::start_with(
        &["--access-log", "--log", "json"],
        &[("LOG_NAMES", "plain")],
    );
    assert_eq!(names(&plain), ("secret".into(), "plan".into()));
}

/// Names that would end a line or a string, reverse the reading order, or colour a terminal.
const NASTY: &str = "a\" outcome=\"forged\\ \u{2028}\u{202e}\u{85}é{}";
const NASTY_ENCODED: &str = "a%22%20outcome%3D%22forged%5C%20%E2%80%A8%E2%80%AE%C2%85%C3%A9%7B%7D";

/// Every character that a name may contain and a line of the log may not.
const UNSAFE: [char; 14] = [
    '\u{61c}', '\u{200e}', '\u{200f}', '\u{2028}', '\u{2029}', '\u{202a}', '\u{202b}', '\u{202c}',
    '\u{202d}', '\u{202e}', '\u{2066}', '\u{2067}', '\u{2068}', '\u{2069}',
];

/// The line about a request for the channel `name` of the namespace `name`.
fn line_with_plain(name: &str, form: &str) -> String {
    let server = Server::start(&["--access-log", "--log-names", "plain", "--log", form]);
    let encoded = String::from_iter(name.bytes().map(|byte| format!("%{byte:02X}")));
    let target = format!("/channels/{encoded}/{encoded}");
    server.ask("DELETE", &target).assert_status(404);
    until("the line", || {
        let log = server.stderr();
        log.lines()
            .find(|line| line.contains("DELETE"))
            .map(str::to_owned)
    })
}

#[test]
fn a_plain_name_cannot_break_or_reorder_a_line_in_a_viewer() {
    let name = String::from_iter(UNSAFE) + "é";
    let json = line_with_plain(&name, "json");
    assert!(!json.contains(UNSAFE), "{}", json.escape_unicode());
    assert!(
        json.contains(r"\u2028\u2029\u202a") && json.contains('é'),
        "{json}"
    );
    let parsed: Value = serde_json::from_str(&json).expect("JSON");
    assert_fields(
        &parsed,
        serde_json::json!({"namespace": name, "channel": name}),
    );
    let text = line_with_plain(&name, "text");
    assert!(!text.contains(UNSAFE), "{}", text.escape_unicode());
    assert!(
        text.contains(r"\u{2028}\u{2029}\u{202a}") && text.contains('é'),
        "{text}"
    );
}

#[test]
fn a_plain_name_cannot_forge_a_line_or_a_field() {
    let json = logging(&["--log-names", "plain"]);
    let text = Server::start(&["--access-log", "--log-names", "plain"]);
    // No name may contain U+0085, a control character.
    let name = NASTY.replace('\u{85}', "");
    let target = format!("/channels/{}/x", NASTY_ENCODED.replace("%C2%85", ""));
    json.ask("DELETE", &target).assert_status(404);
    text.ask("DELETE", &target).assert_status(404);
    json.ask("DELETE", &format!("/channels/{NASTY_ENCODED}/x"))
        .assert_status(400);
    assert_eq!(until_lines(&json, 2)[0]["namespace"], Value::String(name));

    let line = until("the line", || {
        let log = text.stderr();
        log.lines()
            .find(|line| line.contains("DELETE"))
            .map(str::to_owned)
    });
    assert!(
        line.contains(r#"namespace="a\" outcome=\"forged\\ \u{2028}\u{202e}é{}" channel="x" "#),
        "{line}"
    );
    assert_eq!(line.matches(" outcome=\"").count(), 1, "{line}");
}

#[test]
fn requests_are_not_logged_by_default() {
    for options in [&[] as &[&str], &["--log", "json"]] {
        let mut server = Server::start(options);
        let mut consumer = server.consumer_waiting("log/none", 1);
        server
            .produce("log/none", b"data")
            .reply()
            .assert_status(200);
        consumer.reply().assert_status(200);
        server.ask("GET", "/nothing").assert_status(404);
        drop(consumer);
        server.terminate();
        assert!(server.exit().success());
        let log = until("the last line", || {
            Some(server.stderr()).filter(|log| log.contains("shutting down"))
        });
        for sign_of_a_request in ["peer", "outcome", "127.0.0.1:"] {
            let lines = log.lines().filter(|line| line.contains(sign_of_a_request));
            let announced = lines.filter(|line| !line.contains("listening on"));
            assert_eq!(announced.count(), 0, "{log}");
        }
    }
}

#[test]
fn the_access_log_does_not_depend_on_the_level() {
    let server = Server::start_with(
        &["--log", "json"],
        &[("RUST_LOG", "httpipe::server=info"), ("ACCESS_LOG", "true")],
    );
    server.ask("GET", "/").assert_status(200);
    until_lines(&server, 1);
}

#[test]
fn the_variable_of_the_access_log_takes_every_usual_word() {
    for on in ["1", "yes", "on", "true"] {
        let server = Server::start_with(&["--log", "json"], &[("ACCESS_LOG", on)]);
        server.ask("GET", "/").assert_status(200);
        until_lines(&server, 1);
    }
    for off in ["0", "no", "off", "false"] {
        let server = Server::start_with(&["--log", "json"], &[("ACCESS_LOG", off)]);
        server.ask("GET", "/").assert_status(200);
    }
}

#[test]
fn a_log_that_is_off_is_empty() {
    // Without a log, a test cannot learn which port the kernel chose.
    let port = lasting_port();
    let mut command = executable();
    command.args([
        "--log",
        "off",
        "--host",
        "127.0.0.1",
        "--port",
        &port.to_string(),
    ]);
    let mut child = command.stderr(Stdio::piped()).spawn().expect("it starts");
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    until("the server to listen", || TcpStream::connect(address).ok());
    kill_process(Pid::from_child(&child), Signal::TERM).expect("it runs");
    let mut log = String::new();
    let stderr = child.stderr.take();
    stderr
        .expect("piped")
        .read_to_string(&mut log)
        .expect("text");
    assert!(child.wait().expect("our child").success());
    assert_eq!(log, "");
}

#[test]
fn an_access_log_without_a_log_is_refused() {
    let command = ["--access-log", "--log", "off"];
    let output = executable().args(command).output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("--access-log") && said.contains("--log off"),
        "{said}"
    );
}

/// Sends so many requests, many at a time; the server answers each at once.
fn flood(server: &Server, requests: usize) {
    const AT_ONCE: usize = 50;
    let mut client = server.connect();
    let batch = request("GET", "/healthz").repeat(AT_ONCE);
    for _ in 0..requests / AT_ONCE {
        client.send(&batch);
        for _ in 0..AT_ONCE {
            client.reply().assert_status(200);
        }
    }
}

/// More lines than standard error, the writer and the queue hold together.
const TOO_MANY: usize = 8000;

#[test]
fn a_stalled_reader_blocks_no_request_and_learns_how_many_lines_were_dropped() {
    let server = logging(&["--threads", "2"]);
    server.stall_stderr(true);
    flood(&server, TOO_MANY);
    let mut consumer = server.consumer_waiting("log/on", 1);
    server.produce("log/on", b"data").reply().assert_status(200);
    assert_eq!(consumer.reply().body, b"data");
    let dropped = server.metrics().value("httpipe_log_lines_dropped_total");
    assert!(dropped > 0);

    server.stall_stderr(false);
    let reported = |log: &str| -> u64 {
        let lines = log.lines().filter(|line| line.contains("\"WARN\""));
        let counts = lines.map(|line| {
            let line: Value = serde_json::from_str(line).expect("JSON");
            line["dropped"].as_u64().expect("a count")
        });
        counts.sum()
    };
    until("the warning", || {
        (reported(&server.stderr()) >= dropped).then_some(())
    });
    flood(&server, 50);
    let all = server.metrics().value("httpipe_log_lines_dropped_total");
    until("all lines", || {
        (reported(&server.stderr()) == all).then_some(())
    });
    let log = server.stderr();
    let logged = log
        .lines()
        .filter(|line| line.contains("\"route\":\"health\""));
    assert!(logged.count() < TOO_MANY + 50);
}

#[test]
fn a_stalled_reader_does_not_stop_the_server_from_ending() {
    let mut server = logging(&[]);
    server.stall_stderr(true);
    flood(&server, TOO_MANY);
    server.terminate();
    assert!(server.exit().success());
}

#[test]
fn lines_in_the_queue_are_written_before_the_process_ends() {
    let mut server = logging(&[]);
    flood(&server, 1000);
    server.terminate();
    assert!(server.exit().success());
    until_lines(&server, 1000);
}
