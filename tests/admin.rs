//! The admin listener: the paths that only it serves, access to a full or draining server, and
//! large listings that arrive whole.

use crate::support::connection::Connection;
use crate::support::network::{SERVER, in_network_of_its_own};
use crate::support::process::resident_bytes;
use crate::support::proxy::lasting_port;
use crate::support::request::{get, post, post_head, request};
use crate::support::server::Server;
use crate::support::{EndOnDrop, Side, until};
use std::sync::atomic::{AtomicBool, Ordering};

const ADMIN: [&str; 2] = ["--admin", "127.0.0.1:0"];

/// Paths for operators only.
const OPERATORS_PATHS: [&str; 5] = [
    "/metrics",
    "/readyz",
    "/state",
    "/channels/namespaces",
    "/channels/used",
];

fn start(options: &[&str]) -> Server {
    Server::start(&[&ADMIN, options].concat())
}

#[test]
fn operators_and_clients_are_served_their_own_paths_only() {
    let server = start(&["--threads", "2"]);
    let mut waiting = server.consumer_waiting("used/channel", 1);
    for path in OPERATORS_PATHS {
        server.ask_as_operator("GET", path).assert_status(200);
        server.ask("GET", path).assert_status(404);
    }
    assert_eq!(server.state(), serde_json::json!({"used": ["channel"]}));
    server.ask_as_operator("GET", "/healthz").assert_status(200);
    server.ask("GET", "/healthz").assert_status(200);
    server.ask("GET", "/robots.txt").assert_status(200);
    for (method, path, status) in [
        ("GET", "/", 404),
        ("GET", "/robots.txt", 404),
        ("GET", "/channels/used/channel", 404),
        ("POST", "/channels/used/channel", 404),
        ("DELETE", "/channels/used/channel", 404),
        ("DELETE", "/channels/used", 405),
    ] {
        let reply = server.ask_as_operator(method, path);
        reply.assert_status(status);
        assert!(
            status != 404 || reply.text().contains("admin"),
            "{}",
            reply.text()
        );
    }
    // Every client that knows a name may delete it.
    server.ask("DELETE", "/channels/used").assert_status(204);
    waiting.reply().assert_status(410);
}

#[test]
fn without_an_admin_listener_the_only_listener_serves_everything() {
    let server = Server::start(&[]);
    let _waiting = server.consumer_waiting("used/channel", 1);
    for path in OPERATORS_PATHS {
        server.ask("GET", path).assert_status(200);
    }
}

#[test]
fn the_help_names_only_paths_that_the_listener_serves() {
    for (server, sent_to_state) in [(start(&[]), false), (Server::start(&[]), true)] {
        let help = server.ask("GET", "/").text();
        assert_eq!(help.contains("/state"), sent_to_state, "{help}");
    }
}

#[test]
fn the_body_of_a_request_to_the_admin_listener_is_not_taken_for_the_next_request() {
    let server = start(&[]);
    let mut operator = Connection::open(server.admin_address());
    operator.send(post("smuggled/in", request("GET", "/metrics")));
    operator.reply().assert_status(404);
    operator.send(request("GET", "/readyz"));
    assert_eq!(operator.reply().text(), "ok\n");
}

#[test]
fn operators_can_reach_a_full_server() {
    let server = start(&["--max-connections", "1", "--threads", "2"]);
    let _only = server.consumer_waiting("full/channel", 1);
    server.ask("GET", "/healthz").assert_status(503);
    server.until_metric("httpipe_connections", 1);
    assert_eq!(server.state(), serde_json::json!({"full": ["channel"]}));
}

#[test]
fn operators_beyond_the_limit_wait_until_one_leaves() {
    const ADMIN_CONNECTIONS_MAX: usize = 64;
    let server = start(&[]);
    let ready = |operator: &mut Connection| {
        operator.send(request("GET", "/readyz"));
        operator.reply().assert_status(200);
    };
    let mut operators = Vec::new();
    for _ in 0..ADMIN_CONNECTIONS_MAX {
        let mut operator = Connection::open(server.admin_address());
        ready(&mut operator);
        operators.push(operator);
    }
    let mut next = Connection::open(server.admin_address());
    next.send(request("GET", "/readyz"));
    // Clients are served meanwhile; by then an admitted operator would have been served too.
    for _ in 0..3 {
        server.ask("GET", "/healthz").assert_status(200);
    }
    next.expect_nothing();
    operators.pop().expect("many").close();
    next.reply().assert_status(200);
}

#[test]
fn operators_are_served_until_the_drain_has_ended() {
    // No other server listens there once this one does not.
    let port = lasting_port().to_string();
    let mut server = start(&["--threads", "2", "--port", &port]);
    let mut producer = server.connect_and_send(&post_head("admin/drain", 5));
    producer.send("a");
    let mut consumer = server.consume("admin/drain");
    consumer.head().assert_status(200);
    assert_eq!(consumer.body_bytes(1), b"a");
    let mut kept = Connection::open(server.admin_address());
    kept.send(request("GET", "/readyz"));
    kept.reply().assert_status(200);
    server.terminate();
    until("the server to be unready", || {
        (server.ask_as_operator("GET", "/readyz").status == 503).then_some(())
    });
    server.ask_as_operator("GET", "/healthz").assert_status(200);
    server.until_metric("httpipe_exchanging", 1);
    // A connection from before the drain stays open until its next reply.
    kept.send(request("GET", "/readyz"));
    kept.last_reply().assert_status(503);
    // Each shard stops listening when it learns of the drain.
    let address = server.address();
    until("connections to be refused", || {
        std::net::TcpStream::connect(address).err()
    });
    // An open and idle connection does not delay the end.
    let idle = Connection::open(server.admin_address());
    producer.send("bcde");
    assert_eq!(consumer.rest_of_body().expect("whole"), b"bcde");
    producer.reply().assert_status(200);
    assert_eq!(server.exit().code(), Some(0));
    drop(idle);
}

#[test]
fn the_admin_listener_may_be_a_unix_socket() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("admin.sock");
    let server = Server::start(&["--admin", &format!("unix:{}", path.display())]);
    let mut operator = Connection::open_unix(&path);
    operator.send(request("GET", "/metrics"));
    operator.reply().assert_status(200);
    drop((operator, server));
    assert!(!path.exists());
}

#[test]
fn a_listing_of_many_channels_is_whole_and_sorted_and_its_connection_is_kept() {
    const CHANNELS: usize = 900;
    let server = start(&["--threads", "2"]);
    let name = |nth: usize| format!("{nth:04}{}", "n".repeat(200));
    let waiting = Vec::from_iter((0..CHANNELS).map(|nth| {
        let mut consumer = server.connect();
        consumer.send(get(&format!("listed{}/{}", nth % 2, name(nth))));
        consumer
    }));
    server.until_waiting(Side::Consumer, CHANNELS as u64);
    let names = |remainder| Vec::from_iter((0..CHANNELS).filter(|n| n % 2 == remainder).map(name));
    let mut operator = Connection::open(server.admin_address());
    // Pipelined, so each reply must end where it says.
    for target in ["/state", "/channels/listed1", "/channels/namespaces"] {
        operator.send(request("GET", target));
    }
    let state = operator.reply();
    assert!(state.body.len() > 100_000, "more than one send takes");
    let expected = serde_json::json!({"listed0": names(0), "listed1": names(1)});
    assert_eq!(state.json(), expected);
    assert_eq!(operator.reply().json(), serde_json::json!(names(1)));
    assert_eq!(
        operator.reply().json(),
        serde_json::json!(["listed0", "listed1"])
    );
    drop(waiting);
}

#[test]
fn clients_that_do_not_read_listings_hold_a_few_of_them_however_many_ask() {
    const WAITING: usize = 1500;
    const UNREAD: usize = 32;
    in_network_of_its_own(|network| {
        network.set_send_buffer(16 << 10);
        let server = Server::start(&["--host", SERVER, "--threads", "2"]);
        let name = |n| format!("{}{n:0>245}/{n:0>250}", "n".repeat(5));
        let _waiting = Vec::from_iter((0..WAITING).map(|n| server.consume(&name(n))));
        server.until_waiting(Side::Consumer, WAITING as u64);
        let listing_bytes = server.ask("GET", "/state").body.len();
        let before = resident_bytes(server.pid());
        let ask = |_| {
            let mut client = server.connect();
            client.narrow();
            client.send(request("GET", "/state"));
            client
        };
        let answered = |client: &Connection| client.has_bytes();
        // Together, and one after another.
        let mut unread = Vec::from_iter((0..UNREAD / 2).map(ask));
        until("all to be answered", || {
            unread.iter().all(answered).then_some(())
        });
        for nth in UNREAD / 2..UNREAD {
            unread.push(ask(nth));
            let last = unread.last().expect("one");
            until("its answer", || answered(last).then_some(()));
        }
        let grown = resident_bytes(server.pid()).saturating_sub(before);
        let listings = grown as usize / listing_bytes;
        assert!(listings < 12, "{grown} bytes, as {listings} listings have");
        let statuses = Vec::from_iter(unread.iter_mut().map(|client| client.head().status));
        let listed = statuses.iter().filter(|&&status| status == 200).count();
        let refused = statuses.iter().filter(|&&status| status == 503).count();
        assert!(listed > 4 && listed + refused == UNREAD, "{statuses:?}");
        drop(unread);
        until("room", || {
            (server.ask("GET", "/state").status == 200).then_some(())
        });
    });
}

#[test]
fn a_listing_has_every_channel_that_was_in_use_before_it_was_asked_for() {
    const CHANNELS: usize = 60;
    const OTHERS: usize = 8;
    let server = Server::start(&["--threads", "2"]);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // A listing of each kind is being made at all times.
        for nth in 0..OTHERS {
            let (server, over) = (&server, &over);
            let target = ["/channels/busy", "/state", "/channels/namespaces"][nth % 3];
            scope.spawn(move || {
                let mut client = server.connect();
                while !over.load(Ordering::Relaxed) {
                    client.send(request("GET", target));
                    let status = client.reply().status;
                    assert!(matches!(status, 200 | 404), "{status}");
                }
            });
        }
        let _ends = EndOnDrop(&over);
        let mut waiting = Vec::new();
        for nth in 0..CHANNELS {
            let last = format!("{nth}");
            waiting.push(server.consumer_waiting(&format!("busy/{last}"), nth as u64 + 1));
            let all = server.ask("GET", "/channels/busy").json();
            assert_eq!(all.as_array().expect("names").len(), nth + 1);
            assert!(
                server.state()["busy"]
                    .as_array()
                    .expect("names")
                    .contains(&last.into())
            );
        }
    });
}
