//! The README's examples about other programs, pasted as they are: encryption, ssh, Python. And what it
//! says about Python and cut bodies.

use crate::support::program::{Finished, Running, run};
use crate::support::request::{chunk, post_chunked_head, post_head};
use crate::support::server::Server;
use crate::support::{Side, until};
use std::fs::read;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use tempfile::{TempDir, tempdir};

const README: &str = include_str!("../README.md");

/// The two terminals of the first example after `words`, for this server.
#[track_caller]
fn terminals(words: &str, server: &Server) -> [String; 2] {
    let (_, rest) = README.split_once(words).expect(words);
    let (_, rest) = rest.split_once("```sh\n# terminal 1").expect("an example");
    let (example, _) = rest.split_once("```").expect("its end");
    let (first, second) = example
        .split_once("# terminal 2")
        .expect("a second terminal");
    // Without the comment of each.
    [first, second].map(|lines| {
        let (_, lines) = lines.split_once('\n').expect("lines");
        let here = lines.replace("http://localhost:3000", &server.url(""));
        assert_ne!(here, lines, "nothing passes through the server");
        here
    })
}

fn bash(lines: &str, folder: &Path) -> Command {
    let mut bash = Command::new("bash");
    bash.args(["-o", "pipefail", "-c", lines])
        .current_dir(folder);
    bash
}

/// Pastes the example after `words` into two terminals in one folder, the producer's first. Returns
/// how the consumer's ended.
#[track_caller]
fn paste(words: &str) -> (Finished, TempDir) {
    let server = Server::start(&["--threads", "2"]);
    let folder = tempdir().expect("a folder");
    let [first, second] = terminals(words, &server);
    let producer = Running::start(bash(&first, folder.path()));
    server.until_waiting(Side::Producer, 1);
    let consumer = run(bash(&second, folder.path())).succeeded();
    producer.finish().succeeded();
    (consumer, folder)
}

#[test]
fn the_lines_for_age_and_for_openssl_encrypt_and_decrypt() {
    assert_eq!(
        paste("**Encrypt what passes.**").0.stdout,
        b"only for you\n"
    );
    assert_eq!(paste("openssl does it with").0.stdout, b"between us\n");
}

#[test]
fn the_line_for_python_receives_a_file() {
    let (_, folder) = paste("**Receive with Python**");
    let received = read(folder.path().join("numbers")).expect("a file");
    let numbers = String::from_iter((1..=1_000_000).map(|number| format!("{number}\n")));
    assert!(received == numbers.as_bytes());
}

/// In place of an ssh server: greets first, then answers each line, and closes at the end.
fn greet_and_answer(listener: &TcpListener) {
    let (stream, _) = listener.accept().expect("nc connects");
    let mut lines = BufReader::new(stream.try_clone().expect("a descriptor")).lines();
    let say = |line: &str| (&stream).write_all(line.as_bytes()).expect("it listens");
    say("SSH-2.0-test\n");
    while let Some(Ok(line)) = lines.next() {
        say(&format!("{line} heard\n"));
        if line == "bye" {
            return;
        }
    }
}

#[test]
fn the_lines_for_ssh_carry_a_dialogue_in_both_directions() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let server = Server::start(&["--threads", "2"]);
    let folder = tempdir().expect("a folder");
    let [first, second] = terminals("**ssh to a machine", &server);
    let first = first.replace("nc localhost 22 ", &format!("nc 127.0.0.1 {port} "));
    let (_, command) = second.split_once("ProxyCommand='").expect("an option");
    let (command, _) = command.split_once('\'').expect("its end");
    std::thread::scope(|scope| {
        scope.spawn(|| greet_and_answer(&listener));
        let serving = Running::start(bash(&first, folder.path()));
        // As ssh runs it (`ssh_config(5)`, ProxyCommand).
        let mut sh = Command::new("sh");
        sh.args(["-c", &format!("exec {command}")]);
        let mut proxy = Running::start(sh);
        let mut stdin = proxy.stdin();
        let mut expected = b"SSH-2.0-test\n".to_vec();
        for line in ["SSH-2.0-client", "more", "bye"] {
            writeln!(stdin, "{line}").expect("it reads");
            writeln!(&mut expected, "{line} heard").expect("memory");
        }
        drop(stdin);
        serving.finish().succeeded();
        assert_eq!(proxy.finish().stdout, expected);
    });
    server.until_unused();
}

/// A Python program that receives a body that is cut: its `Content-Length` or the last chunk is missed.
#[track_caller]
fn receive_cut(receive: &str, chunked: bool) -> Finished {
    let server = Server::start(&[]);
    let url = server.url("/channels/cut/short");
    let script = format!(
        "import http.client, io, shutil, urllib.request as request\nurl = {url:?}\n{receive}\n"
    );
    let mut python = Command::new("python3");
    python.args(["-c", &script]).env("no_proxy", "*");
    let consumer = Running::start(python);
    server.until_waiting(Side::Consumer, 1);
    let mut producer = server.connect_and_send(&if chunked {
        [post_chunked_head("cut/short"), chunk("part")].concat()
    } else {
        [&post_head("cut/short", 9)[..], b"part"].concat()
    });
    let moved = "httpipe_bytes_total{path=\"copied\"}";
    until("the first bytes", || {
        let metrics = server.metrics();
        let with_head = metrics.value("httpipe_bytes_total{path=\"with_head\"}");
        (metrics.value(moved) + with_head > 0).then_some(())
    });
    producer.half_close();
    let finished = consumer.finish();
    drop(producer);
    finished
}

#[test]
fn python_notices_a_cut_body_where_the_readme_says_so_and_only_there() {
    let copy = "shutil.copyfileobj(request.urlopen(url), io.BytesIO())";
    receive_cut(copy, false).succeeded();
    for (receive, chunked, error) in [
        ("request.urlretrieve(url)", false, "ContentTooShortError"),
        ("request.urlretrieve(url)", true, "IncompleteRead"),
        ("request.urlopen(url).read()", false, "IncompleteRead"),
        ("request.urlopen(url).read()", true, "IncompleteRead"),
        (copy, true, "IncompleteRead"),
    ] {
        let noticed = receive_cut(receive, chunked).exited(1);
        assert!(noticed.stderr.contains(error), "{}", noticed.stderr);
    }
}
