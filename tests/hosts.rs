//! `--allow-host`: a request for another host is refused, whatever it asks for.

use crate::support::Side;
use crate::support::connection::{Connection, Reply};
use crate::support::server::Server;

fn ask_as(server: &Server, host: &str, target: &str) -> Reply {
    let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    server.connect_and_send(request.as_bytes()).reply()
}

/// The address is allowed too, because the tests' own questions name it.
const HOSTS: [&str; 8] = [
    "--allow-host",
    "one.example",
    "--allow-host",
    "Two.Example,[2001:DB8::1]",
    "--allow-host",
    "test",
    "--threads",
    "2",
];

#[test]
fn only_the_hosts_that_are_allowed_are_answered() {
    let server = Server::start(&HOSTS);
    for host in [
        "one.example",
        "ONE.example:80",
        "one.example:",
        "two.example:3000",
        "[2001:db8::1]",
        "[2001:db8::1]:3000",
    ] {
        assert_eq!(ask_as(&server, host, "/").status, 200, "{host}");
    }
    for host in [
        "",
        "127.0.0.1",
        "localhost:3000",
        "three.example",
        "one.example.",
        "xone.example",
        "one.example.three.example",
        "[2001:db8::2]",
        "[2001]",
    ] {
        for target in ["/", "/state", "/nowhere", "/channels/a/b", "/channels/a"] {
            let reply = ask_as(&server, host, target);
            assert_eq!(reply.status, 421, "{host} {target}");
            assert!(reply.text().contains("--allow-host"), "{}", reply.text());
        }
        // Whoever checks health may know an address alone.
        assert_eq!(ask_as(&server, host, "/healthz").status, 200, "{host}");
    }
    server.until_unused();
}

#[test]
fn a_request_without_a_host_is_refused_where_hosts_are_named() {
    let server = Server::start(&HOSTS);
    let reply = server.connect_and_send(b"GET / HTTP/1.0\r\n\r\n").reply();
    assert_eq!(reply.status, 421);
    let reply = server
        .connect_and_send(b"GET /healthz HTTP/1.0\r\n\r\n")
        .reply();
    assert_eq!(reply.status, 200);
}

#[test]
fn a_request_for_another_host_takes_nothing_and_its_connection_is_kept() {
    let server = Server::start(&HOSTS);
    let mut producer = server.producer_waiting("host/safe", b"data", 1);
    let mut client = server.connect();
    client.send("GET /channels/host/safe HTTP/1.1\r\nHost: rebound.example\r\n\r\n");
    assert_eq!(client.reply().status, 421);
    client.send("DELETE /channels/host HTTP/1.1\r\nHost: rebound.example\r\n\r\n");
    assert_eq!(client.reply().status, 421);
    producer.expect_nothing();
    server.until_waiting(Side::Producer, 1);
    client.send("GET /channels/host/safe HTTP/1.1\r\nHost: one.example\r\n\r\n");
    assert_eq!(client.reply().body, b"data");
    producer.reply().assert_status(200);
}

#[test]
fn every_host_is_answered_by_default() {
    let server = Server::start(&[]);
    for host in ["", "any.example", "[::1]:1"] {
        assert_eq!(ask_as(&server, host, "/").status, 200, "{host}");
    }
}

#[test]
fn operators_and_unix_sockets_answer_to_any_host() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("clients.sock");
    let unix = format!("unix:{}", path.display());
    let server = Server::start(&[
        "--listen",
        "127.0.0.1:0",
        "--listen",
        &unix,
        "--admin",
        "127.0.0.1:0",
        "--allow-host",
        "one.example",
    ]);
    server.ask_as_operator("GET", "/state").assert_status(200);
    let mut local = Connection::open_unix(&path);
    local.send("GET / HTTP/1.1\r\nHost: any.example\r\n\r\n");
    local.reply().assert_status(200);
    assert_eq!(ask_as(&server, "any.example", "/").status, 421);
}

#[test]
fn hosts_may_be_named_in_the_environment() {
    let server = Server::start_with(&[], &[("ALLOW_HOST", "one.example,test")]);
    assert_eq!(ask_as(&server, "one.example", "/").status, 200);
    assert_eq!(ask_as(&server, "two.example", "/").status, 421);
}
