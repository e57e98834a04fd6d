//! Real clients, each producing for and consuming from every other: curl, Rust's ureq, Python's
//! http.client, Node's fetch. Every byte is read from a file, written to a file and compared.

use crate::support::Side;
use crate::support::pattern::{assert_same_bytes, pattern};
use crate::support::program::{Finished, Running, curl, run, run_with_input};
use crate::support::request::post_head_with;
use crate::support::server::Server;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

#[derive(Clone, Copy, Debug)]
enum Client {
    Curl,
    Ureq,
    Python,
    Node,
}

const CLIENTS: [Client; 4] = [Client::Curl, Client::Ureq, Client::Python, Client::Node];

const PYTHON_PRODUCE: &str = r#"
import http.client, sys
host, target, path, chunked = sys.argv[1:]
connection = http.client.HTTPConnection(host, timeout=20)
with open(path, "rb") as body:
    if chunked == "chunked":
        pieces = iter(lambda: body.read(50000), b"")
        connection.request("PUT", target, body=pieces, encode_chunked=True,
                           headers={"Transfer-Encoding": "chunked"})
    else:
        connection.request("POST", target, body=body.read())
reply = connection.getresponse()
assert (reply.status, reply.read()) == (200, b""), reply.status
connection.request("GET", "/healthz")
assert connection.getresponse().status == 200
"#;

const PYTHON_CONSUME: &str = r#"
import http.client, shutil, sys
host, target, path = sys.argv[1:]
connection = http.client.HTTPConnection(host, timeout=20)
connection.request("GET", target)
reply = connection.getresponse()
assert reply.status == 200, reply.status
with open(path, "wb") as file:
    shutil.copyfileobj(reply, file)
connection.request("GET", "/healthz")
assert connection.getresponse().status == 200
"#;

const NODE_PRODUCE: &str = r#"
const fs = require("node:fs");
const [url, path, chunked] = process.argv.slice(1);
(async () => {
  const body = chunked === "chunked"
    ? { body: require("node:stream").Readable.toWeb(fs.createReadStream(path)), duplex: "half" }
    : { body: fs.readFileSync(path) };
  const reply = await fetch(url, { method: "POST", ...body });
  if (reply.status !== 200 || (await reply.text()) !== "") throw new Error(`${reply.status}`);
})();
"#;

const NODE_CONSUME: &str = r#"
const [url, path] = process.argv.slice(1);
(async () => {
  const reply = await fetch(url);
  if (reply.status !== 200) throw new Error(`${reply.status}`);
  require("node:fs").writeFileSync(path, Buffer.from(await reply.arrayBuffer()));
})();
"#;

impl Client {
    /// Sends the file to the channel, with a declared length or in chunks; returns after the
    /// server's 200.
    fn produce(self, server: &Server, target: &str, file: &Path, chunked: bool) {
        let url = server.url(target);
        let framing = if chunked { "chunked" } else { "length" };
        match self {
            Self::Curl if chunked => {
                let body = std::fs::read(file).expect("the test wrote it");
                run_with_input(curl(&["--fail", "-T", "-", &url]), &body).succeeded();
            }
            Self::Curl => {
                run(curl(&["--fail", "-T", text(file), &url])).succeeded();
            }
            Self::Ureq => ureq_produce(&url, file, chunked),
            Self::Python => {
                let host = server.address().to_string();
                python(PYTHON_PRODUCE, &[&host, target, text(file), framing]);
            }
            Self::Node => node(NODE_PRODUCE, &[&url, text(file), framing]),
        }
    }

    /// Receives the channel's body into the file.
    fn consume(self, server: &Server, target: &str, file: &Path) {
        let url = server.url(target);
        match self {
            Self::Curl => {
                run(curl(&["--fail", "-o", text(file), &url])).succeeded();
            }
            Self::Ureq => {
                let mut reply = ureq::get(&url).call().expect("a 200");
                let mut file = std::fs::File::create(file).expect("a temporary file");
                std::io::copy(&mut reply.body_mut().as_reader(), &mut file).expect("a whole body");
            }
            Self::Python => {
                python(
                    PYTHON_CONSUME,
                    &[&server.address().to_string(), target, text(file)],
                );
            }
            Self::Node => node(NODE_CONSUME, &[&url, text(file)]),
        }
    }
}

fn ureq_produce(url: &str, file: &Path, chunked: bool) {
    let file = std::fs::File::open(file).expect("the test wrote it");
    let reply = match chunked {
        // ureq sends a reader of unknown length in chunks.
        true => ureq::post(url).send(ureq::SendBody::from_owned_reader(file)),
        false => ureq::post(url).send(file),
    };
    assert_eq!(reply.expect("a reply").status(), 200);
}

fn python(script: &str, arguments: &[&str]) {
    let mut command = Command::new("python3");
    command.args(["-c", script]).args(arguments);
    run(command).succeeded();
}

fn node(script: &str, arguments: &[&str]) {
    let mut command = Command::new("node");
    command.args(["-e", script]).args(arguments);
    run(command).succeeded();
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are text")
}

/// A folder with a file of `bytes` to send.
fn folder(bytes: usize) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("sent");
    std::fs::write(&file, pattern(bytes, bytes)).expect("a temporary file");
    (folder, file)
}

/// Every client consumes what `producer` sends.
fn produce_for_all(producer: Client) {
    let server = Server::start(&["--threads", "2"]);
    let (folder, sent) = folder(3_000_001);
    for consumer in CLIENTS {
        for chunked in [false, true] {
            let target = format!("/channels/real/{consumer:?}-{chunked}");
            let received = folder.path().join("received");
            std::thread::scope(|scope| {
                scope.spawn(|| consumer.consume(&server, &target, &received));
                producer.produce(&server, &target, &sent, chunked);
            });
            let received = std::fs::read(&received).expect("the consumer wrote it");
            assert_same_bytes(&received, pattern(3_000_001, 3_000_001));
        }
    }
}

#[test]
fn curl_produces_for_every_client() {
    produce_for_all(Client::Curl);
}

#[test]
fn ureq_produces_for_every_client() {
    produce_for_all(Client::Ureq);
}

#[test]
fn python_produces_for_every_client() {
    produce_for_all(Client::Python);
}

#[test]
fn node_produces_for_every_client() {
    produce_for_all(Client::Node);
}

/// Sends so many MiB, reads the reply only then, and prints its status.
const PYTHON_UPLOAD: &str = r#"
import http.client, sys
host, target, size = sys.argv[1:]
connection = http.client.HTTPConnection(host, timeout=20)
connection.request("POST", target, body=b"x" * (int(size) << 20))
print(connection.getresponse().status, end="")
"#;

fn python_upload(server: &Server, target: &str, size: &str) -> Command {
    let mut command = Command::new("python3");
    command.args([
        "-c",
        PYTHON_UPLOAD,
        &server.address().to_string(),
        target,
        size,
    ]);
    command
}

#[test]
fn python_hears_why_a_long_upload_is_refused() {
    let server = Server::start(&["--threads", "2", "--max-waiting", "1"]);
    for size in ["1", "20", "64"] {
        let refused = run(python_upload(&server, "/nosuch/x", size)).succeeded();
        assert_eq!(refused.stdout, b"404", "{size} MiB");
        let waiting = Running::start(python_upload(&server, "/channels/real/gone", size));
        server.until_waiting(Side::Producer, 1);
        let refused = run(python_upload(&server, "/channels/real/gone", size)).succeeded();
        assert_eq!(refused.stdout, b"503", "{size} MiB");
        server.ask("DELETE", "/channels/real/gone");
        assert_eq!(waiting.finish().succeeded().stdout, b"410", "{size} MiB");
    }
}

// ---------------------------------------------------------------- curl, as in its manual

#[test]
fn curl_sends_form_data_and_the_consumer_receives_it_unchanged() {
    let server = Server::start(&[]);
    let url = server.url("/channels/curl/data");
    let producer = Running::start(curl(&["--fail", "-d", "a=b&c=d e", &url]));
    server.until_waiting(Side::Producer, 1);
    let consumer = run(curl(&["--fail", "--include", &url])).succeeded();
    producer.finish().succeeded();
    let said = String::from_utf8(consumer.stdout).expect("text");
    assert!(said.ends_with("\r\n\r\na=b&c=d e"), "{said}");
    assert!(
        said.to_lowercase()
            .contains("content-type: application/octet-stream"),
        "{said}"
    );
}

#[test]
fn curl_shows_each_line_as_it_is_typed() {
    let server = Server::start(&["--threads", "2"]);
    let url = server.url("/channels/curl/lines");
    let mut producer = Running::start(curl(&["--fail", "-N", "-T", "-", &url]));
    let mut typed = producer.stdin();
    let mut consumer = curl(&["--fail", "-N", &url])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("curl is installed");
    let mut shown = BufReader::new(consumer.stdout.take().expect("piped")).lines();
    for line in ["one", "two", "three"] {
        writeln!(typed, "{line}").expect("curl reads it");
        assert_eq!(shown.next().expect("a line").expect("text"), line);
    }
    drop(typed);
    assert!(shown.next().is_none());
    assert!(consumer.wait().expect("our child").success());
    producer.finish().succeeded();
}

#[test]
fn curl_speaks_http_1_0_on_both_sides() {
    let server = Server::start(&["--threads", "2"]);
    let (folder, sent) = folder(500_000);
    let received = folder.path().join("received");
    let url = server.url("/channels/curl/old");
    for (producing, consuming) in [("--http1.0", "--http1.1"), ("--http1.1", "--http1.0")] {
        let consumer = Running::start(curl(&["--fail", consuming, "-o", text(&received), &url]));
        run(curl(&["--fail", producing, "-T", text(&sent), &url])).succeeded();
        consumer.finish().succeeded();
        let received = std::fs::read(&received).expect("curl wrote it");
        assert_same_bytes(&received, pattern(500_000, 500_000));
    }
}

#[test]
fn an_http_1_0_curl_receives_a_chunked_body_whole() {
    let server = Server::start(&[]);
    let body = pattern(1, 500_000);
    let url = server.url("/channels/curl/old-chunked");
    let consumer = Running::start(curl(&["--fail", "--http1.0", &url]));
    run_with_input(curl(&["--fail", "-T", "-", &url]), body).succeeded();
    assert_same_bytes(&consumer.finish().succeeded().stdout, body);
}

#[test]
fn curl_waits_for_the_100_or_sends_without_it() {
    let server = Server::start(&[]);
    let (_folder, sent) = folder(2 << 20);
    let url = server.url("/channels/curl/expect");
    let expect = [
        "--fail",
        "-v",
        "-H",
        "Expect: 100-continue",
        "-T",
        text(&sent),
        &url,
    ];
    // A consumer waits, so the 100 is sent at once.
    let consumer = Running::start(curl(&["--fail", &url]));
    server.until_waiting(Side::Consumer, 1);
    let patient = [&expect[..], &["--expect100-timeout", "60"]].concat();
    let producer = run(curl(&patient)).succeeded();
    assert!(
        producer.stderr.contains("100 Continue"),
        "{}",
        producer.stderr
    );
    assert_same_bytes(
        &consumer.finish().succeeded().stdout,
        pattern(2 << 20, 2 << 20),
    );
    // No consumer waits: curl stops waiting for the 100 and sends.
    let impatient = [&expect[..], &["--expect100-timeout", "0.05"]].concat();
    let mut producer = curl(&impatient)
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("curl is installed");
    let mut said = BufReader::new(producer.stderr.take().expect("piped"));
    let mut line = String::new();
    while !line.contains("Done waiting for 100-continue") {
        line.clear();
        assert!(
            said.read_line(&mut line).expect("text") > 0,
            "curl never gave up waiting"
        );
    }
    let consumer = Running::start(curl(&["--fail", &url]));
    let mut rest = String::new();
    said.read_to_string(&mut rest).expect("text");
    assert!(producer.wait().expect("our child").success(), "{rest}");
    assert_same_bytes(
        &consumer.finish().succeeded().stdout,
        pattern(2 << 20, 2 << 20),
    );
}

#[test]
fn curl_detects_a_cut_body() {
    let server = Server::start(&[]);
    // curl's exit codes: 18 is a cut body, 56 a failure to receive.
    for (head, version, code) in [
        ("Content-Length: 10\r\n", "--http1.1", 18),
        ("Content-Length: 10\r\n", "--http1.0", 18),
        ("Transfer-Encoding: chunked\r\n", "--http1.1", 18),
        ("Transfer-Encoding: chunked\r\n", "--http1.0", 56),
    ] {
        let url = server.url("/channels/curl/cut");
        let consumer = Running::start(curl(&[version, "-N", &url]));
        server.until_waiting(Side::Consumer, 1);
        let mut producer = server.connect_and_send(&post_head_with("curl/cut", head));
        producer.send(b"4\r\ndata");
        server.until_exchanging(1);
        producer.close();
        let finished: Finished = consumer.finish();
        finished.exited(code);
        server.until_unused();
    }
}

#[test]
fn curl_and_wget_ask_with_head() {
    let server = Server::start(&["--threads", "2"]);
    let used = server.consumer_waiting("head/used", 1);
    for target in [
        "/",
        "/healthz",
        "/readyz",
        "/metrics",
        "/state",
        "/channels/head",
    ] {
        let url = server.url(target);
        let said = run(curl(&["--fail", "--head", &url])).succeeded();
        let said = String::from_utf8(said.stdout).expect("text");
        assert!(said.starts_with("HTTP/1.1 200 OK\r\n"), "{said}");
        assert!(said.ends_with("\r\n\r\n"), "{said}");
        let mut wget = Command::new("wget");
        wget.args(["--no-config", "--no-proxy", "--tries=1", "--spider", &url]);
        run(wget).succeeded();
    }
    // A channel never answers HEAD, so neither can take a body by it.
    let url = server.url("/channels/head/used");
    run(curl(&["--fail", "--head", &url])).exited(22);
    server.until_waiting(Side::Consumer, 1);
    drop(used);
}

#[test]
fn curl_posts_many_files_over_one_connection() {
    let server = Server::start(&["--threads", "4"]);
    let (_folder, sent) = folder(10_000);
    let arguments: Vec<String> = (0..20)
        .flat_map(|n| {
            [
                "-T".to_owned(),
                text(&sent).to_owned(),
                server.url(&format!("/channels/many/{n}")),
            ]
        })
        .collect();
    let producer = Running::start(curl(&[vec!["--fail".to_owned()], arguments].concat()));
    let urls: Vec<String> = (0..20)
        .map(|n| server.url(&format!("/channels/many/{n}")))
        .collect();
    let consumer = run(curl(&[vec!["--fail".to_owned()], urls].concat())).succeeded();
    assert_same_bytes(&consumer.stdout, &pattern(10_000, 10_000).repeat(20));
    producer.finish().succeeded();
}

#[test]
fn the_curl_lines_of_the_help_work_when_pasted() {
    let server = Server::start(&[]);
    let help = run(curl(&["--fail", &server.url("/")])).succeeded();
    let help = String::from_utf8(help.stdout).expect("text");
    let lines = help
        .lines()
        .map(|line| line.trim().trim_start_matches("$ "));
    let (moving, others): (Vec<_>, Vec<_>) = lines
        .filter(|line| line.contains("curl "))
        .partition(|line| line.contains("/channels/") && !line.contains("DELETE"));
    assert!(
        moving.len() >= 2 && moving.len().is_multiple_of(2),
        "{help}"
    );
    // Two terminals; the reader's file is in the first one.
    let terminals = [(); 2].map(|()| tempfile::tempdir().expect("a temporary folder"));
    std::fs::write(terminals[0].path().join("FILE"), "content").expect("a temporary file");
    let pasted: Vec<_> = moving
        .iter()
        .map(|line| {
            let produces = line.contains(" -d ") || line.contains(" -T ");
            Running::start(shell(line, terminals[usize::from(!produces)].path()))
        })
        .collect();
    pasted
        .into_iter()
        .for_each(|line| drop(line.finish().succeeded()));
    for line in others {
        run(shell(line, terminals[0].path())).succeeded();
    }
    let received = std::fs::read(terminals[1].path().join("FILE"));
    assert!(received.is_err() || received.is_ok_and(|file| file == b"content"));
    server.until_unused();
}

fn shell(line: &str, folder: &Path) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", line]).current_dir(folder);
    shell
}
