//! Lines of the log that cannot be written: each is counted once, none is written in part without
//! being counted, and the server goes on serving.

use crate::support::connection::Connection;
use crate::support::metrics::Metrics;
use crate::support::proxy::lasting_port;
use crate::support::request::{get, post, request};
use crate::support::server::{executable, executable_with_file_bytes};
use crate::support::{FAILURE_BOUND, until, within_bound};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs::{File, read_to_string};
use std::io::{BufRead, BufReader, PipeReader, Read, pipe};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

const REQUESTS: usize = 1000;

/// A server whose standard error is for the test to choose. It logs the access log alone, as JSON.
struct Unread {
    child: Child,
    address: SocketAddr,
}

impl Unread {
    fn start(stderr: impl Into<Stdio>) -> Self {
        Self::run(executable(), stderr)
    }

    fn run(mut command: Command, stderr: impl Into<Stdio>) -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, lasting_port()));
        let port = address.port().to_string();
        command.args(["--host", "127.0.0.1", "--port", &port, "--threads", "1"]);
        command.args(["--access-log", "--log", "json"]);
        command.env("RUST_LOG", "off").stdin(Stdio::null());
        let child = command.stderr(stderr).spawn().expect("it starts");
        until("the server to listen", || TcpStream::connect(address).ok());
        Self { child, address }
    }

    fn flood(&self, requests: usize) {
        let mut client = Connection::open(self.address);
        for _ in 0..requests {
            client.send(request("GET", "/healthz"));
            client.reply().assert_status(200);
        }
    }

    fn lost(&self) -> u64 {
        let mut client = Connection::open(self.address);
        client.send(request("GET", "/metrics"));
        Metrics::parse(&client.reply().text()).value("httpipe_log_lines_dropped_total")
    }

    /// Waits until as many lines are lost as requests were made: `before` this call, and those of
    /// the call itself.
    #[track_caller]
    fn until_all_lost(&self, before: usize) {
        let (mut asked, mut lost) = (0, 0);
        let counted = within_bound(|| {
            lost = self.lost();
            let expected = (before + asked) as u64;
            assert!(lost <= expected, "{lost} of {expected} lines are lost");
            asked += 1;
            // The line of this request is lost soon.
            std::thread::sleep(Duration::from_millis(10));
            (lost == expected).then_some(())
        });
        counted.unwrap_or_else(|| panic!("{before} lines are lost, and {lost} are counted"));
    }

    #[track_caller]
    fn assert_serving(&self) {
        let mut consumer = Connection::open(self.address);
        consumer.send(get("still/on"));
        let mut producer = Connection::open(self.address);
        producer.send(post("still/on", b"data"));
        assert_eq!(consumer.reply().body, b"data");
        producer.reply().assert_status(200);
    }

    #[track_caller]
    fn end(mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("it runs");
        let ended = until("the server to exit", || {
            self.child.try_wait().expect("our child")
        });
        assert!(ended.success(), "{ended}");
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads `count` lines, and closes the pipe.
#[track_caller]
fn read_lines(from: PipeReader, count: usize) -> Vec<String> {
    let (sender, received) = channel();
    std::thread::spawn(move || {
        let lines = BufReader::new(from).lines().take(count);
        let lines = Vec::from_iter(lines.map(|line| line.expect("text")));
        let _ = sender.send(lines);
    });
    received.recv_timeout(FAILURE_BOUND).expect("all lines")
}

#[test]
fn every_line_for_a_full_disk_is_counted_and_the_server_goes_on() {
    let full = File::options().write(true).open("/dev/full");
    let server = Unread::start(full.expect("a device"));
    server.flood(REQUESTS);
    server.until_all_lost(REQUESTS);
    server.assert_serving();
    server.end();
}

#[test]
fn every_line_behind_a_closed_pipe_is_counted_and_the_server_goes_on() {
    let (reader, writer) = pipe().expect("a pipe");
    let server = Unread::start(writer.try_clone().expect("a descriptor"));
    server.flood(REQUESTS);
    read_lines(reader, REQUESTS);
    // A program that another test is about to start may have the reader until its `exec`.
    until("the pipe to be closed", || {
        let mut fds = [PollFd::new(&writer, PollFlags::empty())];
        poll(&mut fds, Some(&Timespec::default())).expect("a poll");
        fds[0].revents().contains(PollFlags::ERR).then_some(())
    });
    server.flood(REQUESTS);
    server.until_all_lost(REQUESTS);
    server.assert_serving();
    server.end();
}

#[test]
fn every_line_beyond_the_limit_of_the_files_size_is_counted_and_the_server_goes_on() {
    const FILE_BYTES: usize = 64 * 512;
    let log = tempfile::NamedTempFile::new().expect("a file");
    let stderr = log.reopen().expect("a descriptor");
    let server = Unread::run(executable_with_file_bytes(FILE_BYTES), stderr);
    server.flood(REQUESTS);
    let text = until("a full file", || {
        let text = read_to_string(log.path()).expect("text");
        (text.len() == FILE_BYTES).then_some(text)
    });
    server.until_all_lost(REQUESTS - text.matches('\n').count());
    server.assert_serving();
    server.end();
}

#[test]
fn a_pipe_that_another_process_made_non_blocking_loses_no_line() {
    let (reader, writer) = pipe().expect("a pipe");
    let flags = fcntl_getfl(&writer).expect("its flags");
    fcntl_setfl(&writer, flags | OFlags::NONBLOCK).expect("a flag of a pipe");
    let server = Unread::start(writer);
    // More than the pipe holds, less than the queue.
    server.flood(REQUESTS);
    assert_eq!(server.lost(), 0);
    let lines = read_lines(reader, REQUESTS + 1);
    for line in &lines {
        let line: Value = serde_json::from_str(line).expect(line);
        assert_eq!(line["target"], "httpipe::access");
    }
    assert_eq!(lines.len(), REQUESTS + 1);
    server.end();
}

#[test]
fn a_reader_that_leaves_in_the_middle_of_a_batch_loses_no_line_without_a_count() {
    let (mut reader, writer) = pipe().expect("a pipe");
    let server = Unread::start(writer);
    // The pipe is full, and the log's thread waits in a write of which a part is done.
    server.flood(REQUESTS);
    let mut read = [0; 1000];
    reader.read_exact(&mut read).expect("lines");
    drop(reader);
    server.flood(REQUESTS);
    // What the pipe held counts as written: at most its size (`pipe(7)`) and what was read.
    let held = (64 * 1024 + read.len()) / 200;
    let fewest = (2 * REQUESTS - held) as u64;
    until("the count", || (server.lost() >= fewest).then_some(()));
    server.assert_serving();
    server.end();
}
