//! Where the server listens: several addresses at once, TCP and Unix sockets, and the files of Unix
//! sockets. Clients on Unix sockets are served like those on TCP.

use crate::support::connection::{Connection, End};
use crate::support::pattern::{assert_same_bytes, pattern};
use crate::support::program::{curl, run};
use crate::support::proxy::lasting_port;
use crate::support::request::{chunk, chunked, get, post, post_chunked_head, post_head, request};
use crate::support::server::{Server, executable};
use crate::support::{Side, until};
use rustix::process::Signal;
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use tempfile::TempDir;

/// A body that is spliced, in many rounds.
const LARGE_BYTES: usize = 8 << 20;

/// A server on one TCP address and one Unix socket.
struct Mixed {
    server: Server,
    path: PathBuf,
    _folder: TempDir,
}

/// The two kinds of connection.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Tcp,
    Unix,
}

const KINDS: [Kind; 2] = [Kind::Tcp, Kind::Unix];

impl Mixed {
    fn start(options: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("httpipe.sock");
        let unix = unix(&path);
        let listen = ["--listen", "127.0.0.1:0", "--listen", &unix];
        Self {
            server: Server::start(&[&listen, options].concat()),
            path,
            _folder: folder,
        }
    }

    fn connect(&self, kind: Kind) -> Connection {
        match kind {
            Kind::Tcp => self.server.connect(),
            Kind::Unix => Connection::open_unix(&self.path),
        }
    }

    fn connect_and_send(&self, kind: Kind, bytes: &[u8]) -> Connection {
        let mut connection = self.connect(kind);
        connection.send(bytes);
        connection
    }

    /// A producer and a consumer in an exchange: the consumer has the first byte, `x`, of a body of
    /// `bytes`.
    fn under_way(&self, producer: Kind, consumer: Kind, bytes: u64) -> (Connection, Connection) {
        let mut producer = self.connect_and_send(producer, &post_head("mixed/way", bytes));
        producer.send("x");
        let mut consumer = self.connect_and_send(consumer, &get("mixed/way"));
        consumer.head().assert_status(200);
        assert_eq!(consumer.body_bytes(1), b"x");
        (producer, consumer)
    }
}

fn unix(path: &std::path::Path) -> String {
    format!("unix:{}", path.display())
}

fn has_ipv6() -> bool {
    let found = TcpListener::bind("[::1]:0").is_ok();
    if !found {
        eprintln!("this machine has no IPv6 loopback");
    }
    found
}

#[test]
fn every_address_is_served_and_logged_on_its_own_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("s.sock");
    let mut options = vec!["--listen", "127.0.0.1:0", "--listen", "127.0.0.2:0"];
    if has_ipv6() {
        options.extend(["--listen", "[::1]:0"]);
    }
    let unix = unix(&path);
    options.extend(["--listen", &unix]);
    let server = Server::start(&options);
    let listeners = options.len() / 2;
    let said = until("a line for each address", || {
        Some(server.said_addresses()).filter(|said| said.len() == listeners)
    });
    assert_eq!(said.last(), Some(&unix));
    for address in &said[..listeners - 1] {
        let address = address.strip_prefix("http://").expect("a URL");
        let address: SocketAddr = address.parse().expect("ADDRESS:PORT");
        assert_ne!(address.port(), 0, "the port that the kernel chose");
        let mut client = Connection::open(address);
        client.send(request("GET", "/healthz"));
        client.reply().assert_status(200);
    }
    let mut client = Connection::open_unix(&path);
    client.send(request("GET", "/healthz"));
    client.reply().assert_status(200);
}

#[test]
fn listen_in_the_environment_has_commas_and_overrides_host_and_port() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = taken.local_addr().expect("bound").port().to_string();
    let environment = [
        ("LISTEN", "127.0.0.1:0, 127.0.0.2:0"),
        ("PORT", &*taken),
        ("HOST", "192.0.2.1"),
    ];
    let server = Server::start_with(&[], &environment);
    let said = until("two lines", || {
        Some(server.said_addresses()).filter(|said| said.len() == 2)
    });
    assert!(said[0].starts_with("http://127.0.0.1:"), "{said:?}");
    assert!(said[1].starts_with("http://127.0.0.2:"), "{said:?}");
}

#[test]
fn the_port_option_overrides_addresses_in_the_environment() {
    let environment = [("LISTEN", "192.0.2.1:1")];
    let server = Server::start_with(&["--host", "127.0.0.1", "--port", "0"], &environment);
    server.ask("GET", "/healthz").assert_status(200);
}

#[test]
fn addresses_together_with_a_host_or_port_are_refused() {
    for other in [
        &["--port", "0"][..],
        &["-p", "3000"],
        &["--host", "127.0.0.1"],
    ] {
        let mut command = executable();
        command.args(["--listen", "127.0.0.1:0"]).args(other);
        let refused = run(command).exited(2);
        let said = &refused.stderr;
        assert!(
            ["--listen", "--host", "--port", "not both"]
                .iter()
                .all(|part| said.contains(part)),
            "{said}"
        );
    }
}

#[test]
fn an_ipv6_wildcard_is_ipv6_only_and_works_together_with_the_ipv4_wildcard() {
    if !has_ipv6() {
        return;
    }
    let port = lasting_port();
    let both = [format!("[::]:{port}"), format!("0.0.0.0:{port}")];
    let server = Server::start(&["--listen", &both[0], "--listen", &both[1]]);
    for host in ["[::1]", "127.0.0.1"] {
        let mut client = Connection::open(format!("{host}:{port}").parse().expect("an address"));
        client.send(request("GET", "/healthz"));
        client.reply().assert_status(200);
    }
    drop(server);
    // The kernel could choose one that another test's server has on IPv4.
    let port = lasting_port();
    let _alone = Server::start(&["--listen", &format!("[::]:{port}")]);
    assert!(TcpStream::connect(("::1", port)).is_ok());
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}

#[test]
fn the_host_option_accepts_ipv4_clients_on_the_ipv6_wildcard() {
    if !has_ipv6() {
        return;
    }
    let server = Server::start(&["--host", "::"]);
    for host in ["::1", "127.0.0.1"] {
        assert!(TcpStream::connect((host, server.address().port())).is_ok());
    }
}

#[test]
fn an_address_in_use_gives_one_line_and_closes_the_other_addresses() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("s.sock");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("bound").port();
    let mut command = executable();
    command.args([
        "--listen",
        &unix(&path),
        "--listen",
        &format!("127.0.0.1:{port}"),
    ]);
    let refused = run(command).exited(1);
    assert_eq!(
        refused.stderr.trim_end().lines().count(),
        1,
        "{}",
        refused.stderr
    );
    assert!(
        refused.stderr.contains(&port.to_string()),
        "{}",
        refused.stderr
    );
    assert!(!path.exists());
}

#[test]
fn too_many_addresses_are_refused() {
    let mut command = executable();
    command.args(["--listen", "127.0.0.1:0"].repeat(17));
    let refused = run(command).exited(1);
    assert!(refused.stderr.contains("at most 16"), "{}", refused.stderr);
}

#[test]
fn the_file_of_a_unix_socket_is_removed_at_the_end() {
    for (signals, code) in [(1, 0), (2, 1)] {
        let mut mixed = Mixed::start(&["--drain-timeout", "60"]);
        let file = fs::symlink_metadata(&mixed.path).expect("it listens");
        assert!(file.file_type().is_socket());
        // An exchange that a second signal does not wait for.
        let held = (signals == 2).then(|| mixed.under_way(Kind::Tcp, Kind::Tcp, 10));
        mixed.server.terminate();
        until("the server to act on the first signal", || {
            mixed
                .server
                .stderr()
                .contains("shutting down")
                .then_some(())
        });
        if signals == 2 {
            mixed.server.signal(Signal::INT);
        }
        assert_eq!(mixed.server.exit().code(), Some(code));
        assert!(!mixed.path.exists());
        drop(held);
    }
}

#[test]
fn a_socket_that_a_killed_server_left_behind_is_replaced() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("s.sock");
    let options = ["--listen", "127.0.0.1:0", "--listen", &unix(&path)];
    let mut first = Server::start(&options);
    first.signal(Signal::KILL);
    first.exit();
    assert!(path.exists());
    let _second = Server::start(&options);
    let mut client = Connection::open_unix(&path);
    client.send(request("GET", "/healthz"));
    client.reply().assert_status(200);
}

#[test]
fn a_path_that_is_in_use_or_not_a_socket_or_too_long_is_refused_and_unchanged() {
    let folder = tempfile::tempdir().expect("a folder");
    let (used, file) = (folder.path().join("used.sock"), folder.path().join("file"));
    let _listener = UnixListener::bind(&used).expect("a free path");
    fs::write(&file, "kept").expect("a free path");
    let nowhere = folder.path().join("none/s.sock");
    let long = PathBuf::from(format!("/{}", "x".repeat(107)));
    for (path, code, said) in [
        (&used, 1, "in use"),
        (&file, 1, "not a socket"),
        (&nowhere, 1, "folder"),
        (&long, 2, "107 bytes"),
    ] {
        let mut command = executable();
        command.args(["--listen", &unix(path)]);
        let refused = run(command).exited(code);
        assert!(refused.stderr.contains(said), "{}", refused.stderr);
        let lines = refused.stderr.trim_end().lines().count();
        assert!(code == 2 || lines == 1, "{}", refused.stderr);
    }
    assert!(UnixStream::connect(&used).is_ok());
    assert_eq!(fs::read_to_string(&file).expect("it is there"), "kept");
}

#[test]
fn the_permissions_of_a_socket_file_can_be_chosen() {
    let mixed = Mixed::start(&["--unix-mode", "660"]);
    let mode = fs::metadata(&mixed.path)
        .expect("it listens")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o660);
}

#[test]
fn bodies_of_all_sizes_and_framings_pass_between_both_kinds_of_socket() {
    // Two shards, so that connections of both kinds are handed over.
    let mixed = Mixed::start(&["--threads", "2"]);
    let mut nth = 0;
    for (producer, consumer) in KINDS.iter().flat_map(|p| KINDS.map(|c| (*p, c))) {
        for bytes in [0, 1, 20_000, LARGE_BYTES] {
            for coded in [false, true] {
                nth += 1;
                let name = format!("mixed/{nth}");
                let body = pattern(nth, bytes);
                let mut consumer = mixed.connect_and_send(consumer, &get(&name));
                let mut producer = mixed.connect(producer);
                let sending = match coded {
                    false => post(&name, body),
                    true => [post_chunked_head(&name), chunked(body, 1 << 20)].concat(),
                };
                std::thread::scope(|scope| {
                    scope.spawn(|| {
                        producer.send(sending);
                        producer.reply().assert_status(200);
                    });
                    assert_same_bytes(&consumer.reply().body, body);
                });
            }
        }
    }
    let metrics = mixed.server.metrics();
    assert!(metrics.value("httpipe_handovers_total") > 0);
    let spliced = metrics.value("httpipe_bytes_total{path=\"spliced\"}");
    assert!(spliced > 7 * LARGE_BYTES as u64, "{spliced}");
}

#[test]
fn a_refusal_reaches_a_client_that_reads_it_behind_a_long_body_on_any_kind_of_socket() {
    let mixed = Mixed::start(&[]);
    let body = vec![b'x'; 64 << 20];
    for kind in KINDS {
        for head in [post_head("", body.len() as u64), post_chunked_head("")] {
            let mut client = mixed.connect_and_send(kind, &head);
            if head == post_chunked_head("") {
                client.send(chunked(&body, 100_000));
            } else {
                client.send(&body);
            }
            client.last_reply().assert_status(404);
        }
    }
}

/// Connections of a server with `--max-connections 1`: one, and those that receive 503.
const SEATS: usize = 1 + 64;

#[test]
fn new_clients_on_every_address_are_accepted_when_a_full_server_has_room_again() {
    let full = ["--max-connections", "1", "--header-timeout", "2"];
    let mixed = Mixed::start(&[&full[..], &["--admin", "127.0.0.1:0"]].concat());
    // They send nothing, so after two seconds their slots are free: many checks for room later.
    let silent = Vec::from_iter((0..SEATS).map(|_| mixed.connect(Kind::Tcp)));
    let seats = SEATS.try_into().expect("a few");
    mixed.server.until_metric("httpipe_connections", seats);
    let newcomers = KINDS.map(|kind| mixed.connect_and_send(kind, &request("GET", "/healthz")));
    for mut newcomer in newcomers {
        // The first of them may take the one connection that is not refused.
        let status = newcomer.reply().status;
        assert!([200, 503].contains(&status), "{status}");
    }
    drop(silent);
}

#[test]
fn many_requests_on_one_unix_connection_visit_every_shard() {
    let mixed = Mixed::start(&["--threads", "4"]);
    let (mut producer, mut consumer) = (mixed.connect(Kind::Unix), mixed.connect(Kind::Unix));
    for nth in 0..100 {
        let name = format!("visits/{nth}");
        consumer.send(get(&name));
        producer.send(post(&name, name.as_bytes()));
        assert_eq!(consumer.reply().text(), name);
        producer.reply().assert_status(200);
    }
}

#[test]
fn single_bytes_after_a_fast_flow_are_not_delayed_on_any_kind_of_socket() {
    let mixed = Mixed::start(&[]);
    for (producer, consumer) in KINDS.iter().flat_map(|p| KINDS.map(|c| (*p, c))) {
        let body = pattern(3, LARGE_BYTES);
        let more = 4 << 20;
        let declared = (LARGE_BYTES + more) as u64;
        let mut consumer = mixed.connect_and_send(consumer, &get("mixed/flow"));
        let mut producer = mixed.connect_and_send(producer, &post_head("mixed/flow", declared));
        let mut sender = producer.sender();
        std::thread::scope(|scope| {
            let fast = scope.spawn(move || std::io::Write::write_all(&mut sender, body));
            consumer.head().assert_status(200);
            assert_same_bytes(&consumer.body_bytes(LARGE_BYTES), body);
            fast.join().expect("no panic").expect("it is read");
        });
        // Far more is declared than the low-water mark, so single bytes arrive only if the mark is
        // reset or has no effect.
        for byte in b"slow" {
            producer.send([*byte]);
            assert_eq!(consumer.body_bytes(1), [*byte]);
        }
    }
}

#[test]
fn a_client_that_leaves_a_unix_socket_while_it_waits_is_removed() {
    let mixed = Mixed::start(&[]);
    for bytes in [
        get("mixed/gone"),
        post_head("mixed/gone", 10),
        post("mixed/gone", "whole"),
    ] {
        for half in [false, true] {
            let mut client = mixed.connect_and_send(Kind::Unix, &bytes);
            mixed.server.until_metric("httpipe_channels", 1);
            if half {
                client.half_close();
                client.expect_end();
            }
            client.close();
            mixed.server.until_unused();
        }
    }
}

#[test]
fn a_consumer_that_leaves_before_its_first_byte_leaves_the_producer_waiting() {
    let mixed = Mixed::start(&[]);
    let mut producer = mixed.connect_and_send(Kind::Unix, &post_head("mixed/early", 4));
    mixed.server.until_waiting(Side::Producer, 1);
    let consumer = mixed.connect_and_send(Kind::Unix, &get("mixed/early"));
    mixed.server.until_exchanging(1);
    consumer.close();
    mixed.server.until_waiting(Side::Producer, 1);
    producer.send("data");
    let mut next = mixed.connect_and_send(Kind::Tcp, &get("mixed/early"));
    assert_eq!(next.reply().body, b"data");
    producer.reply().assert_status(200);
}

#[test]
fn leaving_midway_is_reported_to_the_other_side_on_both_kinds_of_socket() {
    for (producer_kind, consumer_kind) in KINDS.iter().flat_map(|p| KINDS.map(|c| (*p, c))) {
        let mixed = Mixed::start(&[]);
        let (mut producer, consumer) = mixed.under_way(producer_kind, consumer_kind, 1000);
        // On a Unix socket this is an ordinary close.
        consumer.reset();
        producer.last_reply().assert_status(502);

        let (mut producer, mut consumer) = mixed.under_way(producer_kind, consumer_kind, 1000);
        producer.half_close();
        producer.last_reply().assert_status(400);
        assert_eq!(consumer.expect_cut().end, End::Fin);

        let (mut producer, mut consumer) = mixed.under_way(producer_kind, consumer_kind, 1000);
        mixed
            .server
            .ask("DELETE", "/channels/mixed/way")
            .assert_status(204);
        producer.last_reply().assert_status(410);
        consumer.expect_cut();
        mixed.server.until_unused();
    }
}

#[test]
fn a_consumer_that_could_not_see_a_cut_is_refused_and_the_producer_waits_on() {
    const HTTP_10: &[u8] = b"GET /channels/mixed/old HTTP/1.0\r\n\r\n";
    let mixed = Mixed::start(&[]);
    // A Unix socket has no reset, so a body that ends with the connection may be cut or whole.
    let mut producer = mixed.connect_and_send(Kind::Tcp, &post_chunked_head("mixed/old"));
    producer.send(chunk("first "));
    mixed.server.until_waiting(Side::Producer, 1);
    mixed
        .connect_and_send(Kind::Unix, HTTP_10)
        .last_reply()
        .assert_status(505);
    mixed.server.until_waiting(Side::Producer, 1);
    producer.send(chunked(b"second", 10));
    mixed.server.barrier();
    mixed
        .connect_and_send(Kind::Unix, HTTP_10)
        .last_reply()
        .assert_status(505);
    // It is served on TCP, or with a length.
    let mut consumer = mixed.connect_and_send(Kind::Tcp, HTTP_10);
    assert_eq!(consumer.last_reply().text(), "first second");
    producer.reply().assert_status(200);
    let mut consumer = mixed.connect_and_send(Kind::Unix, HTTP_10);
    mixed.server.until_waiting(Side::Consumer, 1);
    mixed
        .connect_and_send(Kind::Unix, &post("mixed/old", "sized"))
        .reply()
        .assert_status(200);
    assert_eq!(consumer.last_reply().text(), "sized");
    // A refused consumer that waited first makes room for the next in its queue.
    let mut refused = mixed.connect_and_send(Kind::Unix, HTTP_10);
    mixed.server.until_waiting(Side::Consumer, 1);
    let mut next = mixed.connect_and_send(Kind::Unix, &get("mixed/old"));
    mixed.server.until_waiting(Side::Consumer, 2);
    let coded = [post_chunked_head("mixed/old"), chunked(b"for the next", 5)].concat();
    let mut producer = mixed.connect_and_send(Kind::Unix, &coded);
    refused.last_reply().assert_status(505);
    assert_eq!(next.reply().text(), "for the next");
    producer.reply().assert_status(200);
}

#[test]
fn a_draining_server_refuses_or_serves_clients_on_a_unix_socket() {
    let mut mixed = Mixed::start(&["--threads", "2"]);
    let (mut producer, mut consumer) = mixed.under_way(Kind::Unix, Kind::Unix, 5);
    let mut waiting = mixed.connect_and_send(Kind::Unix, &get("mixed/waits"));
    mixed.server.until_waiting(Side::Consumer, 1);
    mixed.server.terminate();
    let refused = waiting.last_reply();
    refused.assert_status(503);
    assert!(refused.value("Retry-After").is_some());
    until("new clients to be refused", || {
        UnixStream::connect(&mixed.path).err()
    });
    producer.send("yyyy");
    assert_eq!(consumer.rest_of_body().expect("whole"), b"yyyy");
    producer.reply().assert_status(200);
    assert_eq!(mixed.server.exit().code(), Some(0));
}

#[test]
fn a_client_that_connected_before_the_drain_and_asks_later_receives_a_reply() {
    let mut mixed = Mixed::start(&["--threads", "2"]);
    let mut fresh = KINDS.map(|kind| mixed.connect(kind));
    mixed.server.until_metric("httpipe_connections", 3);
    mixed.server.terminate();
    until("the server to act on the signal", || {
        mixed
            .server
            .stderr()
            .contains("shutting down")
            .then_some(())
    });
    for client in &mut fresh {
        client.send(get("mixed/late"));
        client.last_reply().assert_status(503);
    }
    assert_eq!(mixed.server.exit().code(), Some(0));
}

#[test]
fn curl_speaks_to_a_unix_socket() {
    let mixed = Mixed::start(&[]);
    let mut consumer = mixed.connect_and_send(Kind::Tcp, &get("mixed/curl"));
    let socket = mixed.path.to_str().expect("a path that is text");
    let url = "http://localhost/channels/mixed/curl";
    run(curl(&["--unix-socket", socket, "-d", "from curl", url])).succeeded();
    assert_eq!(consumer.reply().text(), "from curl");
}
