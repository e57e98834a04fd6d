//! Few descriptors, or none: what the server logs, which clients it refuses, and that it neither
//! spins nor hangs nor drops connected clients.

use crate::support::connection::Connection;
use crate::support::metrics::Metrics;
use crate::support::pattern::{PATTERN_BYTES_MAX, assert_same_bytes, pattern};
use crate::support::program::run;
use crate::support::request::{get, post, post_head, request};
use crate::support::server::{Server, executable_with_descriptors};
use crate::support::{Side, until};
use std::io::Write;
use std::net::TcpListener;
use std::time::Instant;

/// The most that [`Server::cpu_ticks`] may grow while a request of [`PATIENCE`] times out. A loop
/// that spins uses up to 200 per shard; sweeps and tests use about 5.
const CALM_TICKS: u64 = 60;
/// In seconds; one second is ten sweeps.
const PATIENCE: &str = "2";

/// `GET target` on an open connection.
fn ask(inside: &mut Connection, target: &str) -> String {
    inside.send(request("GET", target));
    inside.reply().assert_status(200).text()
}

fn metrics(inside: &mut Connection) -> Metrics {
    Metrics::parse(&ask(inside, "/metrics"))
}

/// A new connection that has been served once.
fn inside(server: &Server) -> Connection {
    let mut connection = server.connect();
    ask(&mut connection, "/healthz");
    connection
}

/// Leaves the server no descriptor, once it has this many connections and has closed all others:
/// one that closed later would free a descriptor. Returns the limit from before.
fn exhaust(server: &Server, inside: &mut Connection, connections: u64) -> u64 {
    let (mut last, mut same) = (None, 0);
    until("the others to be closed", || {
        let counted = metrics(inside).value("httpipe_connections") == connections;
        // A shard closes a descriptor in the turn after it has counted the connection out.
        let seen = counted.then(|| server.descriptors());
        same = if seen == last && counted { same + 1 } else { 0 };
        last = seen;
        (same == 10).then_some(())
    });
    server.exhaust_descriptors()
}

/// Waits for [`PATIENCE`], measured by a server with that `--request-timeout`; returns the CPU time
/// that the server used.
fn ticks_of_patience(server: &Server, inside: &mut Connection) -> u64 {
    let before = server.cpu_ticks();
    inside.send(get("in/vain"));
    inside.reply().assert_status(408);
    server.cpu_ticks() - before
}

/// The number of log lines that contain `part`.
fn lines(server: &Server, part: &str) -> usize {
    let said = server.stderr();
    said.lines().filter(|line| line.contains(part)).count()
}

// ---------------------------------------------------------------- few at the start

#[test]
fn few_descriptors_are_logged_at_the_start_with_figures_and_advice() {
    for (descriptors, threads) in [("256", "1"), ("256", "4"), ("1024", "16")] {
        let server = Server::start_with_descriptors(descriptors, &["--threads", threads]);
        assert_eq!(lines(&server, "few descriptors"), 1, "{}", server.stderr());
        for part in [
            descriptors,
            "connections",
            "pipes",
            "LimitNOFILE",
            "ulimit -n",
        ] {
            assert!(
                server.stderr().contains(part),
                "{part}: {}",
                server.stderr()
            );
        }
    }
    let server = Server::start_with_descriptors("4096", &["--threads", "2"]);
    assert_eq!(lines(&server, "few descriptors"), 0, "{}", server.stderr());
}

#[test]
fn every_announced_connection_is_served_and_the_next_one_receives_503() {
    for (descriptors, threads) in [("256", "4"), ("1024", "16")] {
        let server = Server::start_with_descriptors(descriptors, &["--threads", threads]);
        let promised = promised(&server);
        assert!(promised >= descriptors.parse::<usize>().expect("a number") / 4);
        let mut crowd = Vec::from_iter((0..promised).map(|_| inside(&server)));
        let mut one_too_many = server.connect_and_send(&request("GET", "/healthz"));
        one_too_many.last_reply().assert_turned_away();
        // With all connections in use, the pipes still have their descriptors.
        let body = pattern(3, 4 << 20);
        let (producer, consumer) = crowd.split_at_mut(1);
        deliver(&mut producer[0], &mut consumer[0], body);
        assert!(server.descriptors().len() <= descriptors.parse().expect("a number"));
        assert_eq!(lines(&server, "cannot"), 0, "{}", server.stderr());
        let spliced = metrics(&mut crowd[2]).value("httpipe_bytes_total{path=\"spliced\"}");
        assert!(spliced > 0, "with few pipes, some bodies are spliced");
    }
}

#[test]
fn with_an_inherited_admin_listener_every_announced_connection_is_served_while_operators_ask() {
    const DESCRIPTORS: &str = "256";
    let socket = || {
        TcpListener::bind("127.0.0.1:0")
            .expect("a free port")
            .into()
    };
    let sockets = [socket(), socket()];
    let threads = ["--threads", "2"];
    let server =
        Server::start_inheriting_with_descriptors(DESCRIPTORS, &sockets, "admin:web", &threads);
    drop(sockets);
    let mut crowd = Vec::from_iter((0..promised(&server)).map(|_| inside(&server)));
    let newcomers = turn_newcomers_away(&server);
    let operator = || Connection::open(server.admin_address());
    let mut operators = Vec::from_iter((0..OPERATORS).map(|_| operator()));
    operators.iter_mut().for_each(|operator| {
        metrics(operator);
    });
    // The pipes that are not open yet have their descriptors.
    let pipes = 2 * pipes_of_each_shard(&server);
    let descriptors = server.descriptors().len() + 2 * pipes;
    let limit = DESCRIPTORS.parse().expect("a number");
    assert!(descriptors <= limit, "{descriptors} of {limit}");
    assert_eq!(lines(&server, "cannot"), 0, "{}", server.stderr());
    crowd.iter_mut().for_each(|connection| {
        ask(connection, "/healthz");
    });
    drop(newcomers);
}

/// How many connections the server says that it can serve.
fn promised(server: &Server) -> usize {
    figure_before(server, " connections and")
}

/// How many pipes the server says that each shard has.
fn pipes_of_each_shard(server: &Server) -> usize {
    figure_before(server, " of 32 pipes")
}

/// The number before these words in the log.
fn figure_before(server: &Server, words: &str) -> usize {
    let said = server.stderr();
    let (before, _) = said.split_once(words).expect("a figure");
    let (_, figure) = before.rsplit_once(' ').expect("a figure");
    figure.parse().expect("a figure")
}

/// Waits until what `look` returns does not change any more.
fn standstill(mut look: impl FnMut() -> u64) {
    let (mut last, mut same) = (0, 0);
    until("nothing to move any more", || {
        let seen = look();
        same = if last == seen { same + 1 } else { 0 };
        last = seen;
        (same == 10).then_some(())
    });
}

/// Passes `body` from one open connection to another.
#[track_caller]
fn deliver(producer: &mut Connection, consumer: &mut Connection, body: &'static [u8]) {
    consumer.send(get("few/descriptors"));
    let received = producer.send_while(post("few/descriptors", body), || consumer.reply());
    assert_same_bytes(&received.body, body);
    producer.reply().assert_status(200);
}

/// The connections beyond the limit that are answered, at the limits of descriptors below.
const OVER_LIMIT: usize = 12;

/// Connections of operators at once.
const OPERATORS: usize = 64;

/// Newcomers to a full server, all at once: each hears 503.
fn turn_newcomers_away(server: &Server) -> Vec<Connection> {
    let connect = || server.connect_and_send(&request("GET", "/healthz"));
    let mut newcomers = Vec::from_iter((0..OVER_LIMIT).map(|_| connect()));
    for newcomer in &mut newcomers {
        newcomer.last_reply().assert_turned_away();
    }
    newcomers
}

#[test]
fn half_closed_consumers_that_take_nothing_need_one_descriptor_each() {
    let server = Server::start_with_descriptors("256", &["--admin", "127.0.0.1:0"]);
    let own = server.descriptors().len();
    let pairs = promised(&server) / 2;
    let operator = || Connection::open(server.admin_address());
    let mut looking = operator();
    std::thread::scope(|scope| {
        let mut crowd = Vec::new();
        for n in 0..pairs {
            let channel = format!("half/{n}");
            let producer = server.connect_and_send(&post_head(&channel, 1 << 40));
            let mut consumer = server.connect();
            consumer.narrow();
            let mut sender = producer.sender();
            // Ends with the connection.
            scope.spawn(move || sender.write_all(pattern(n, PATTERN_BYTES_MAX)));
            consumer.send(get(&channel));
            consumer.head().assert_status(200);
            consumer.half_close();
            crowd.push((producer, consumer));
        }
        standstill(|| metrics(&mut looking).sum("httpipe_bytes_total"));
        let rest = promised(&server) - 2 * pairs;
        let mut rest = Vec::from_iter((0..rest).map(|_| inside(&server)));
        let newcomers = turn_newcomers_away(&server);
        let mut operators = Vec::from_iter((1..OPERATORS).map(|_| operator()));
        for operator in &mut operators {
            ask(operator, "/healthz");
            metrics(operator);
        }
        let seen = metrics(&mut looking);
        assert_eq!(seen.value("httpipe_exchanging"), pairs as u64);
        let connections = 2 * pairs + rest.len() + newcomers.len() + OPERATORS;
        let reckoned = own + connections + 2 * seen.value("httpipe_pipes") as usize;
        let descriptors = server.descriptors().len();
        assert!(descriptors <= reckoned, "{descriptors} and not {reckoned}");
        assert_eq!(lines(&server, "cannot"), 0, "{}", server.stderr());
        rest.iter_mut().for_each(|connection| {
            ask(connection, "/healthz");
        });
        drop((rest, newcomers, operators));
        for (producer, consumer) in crowd {
            consumer.reset();
            producer.reset();
        }
        until("the descriptors to be free", || {
            let pipes = metrics(&mut looking).value("httpipe_pipes") as usize;
            (server.descriptors().len() == own + 2 * pipes + 1).then_some(())
        });
    });
    server.ask("GET", "/healthz").assert_status(200);
}

#[test]
fn half_closed_clients_that_take_no_replies_need_one_descriptor_each() {
    let options = ["--request-timeout", PATIENCE];
    let server = Server::start_with_descriptors("150", &options);
    let own = server.descriptors().len();
    let mut looking = inside(&server);
    // More replies than the buffers of a connection hold.
    let requests = request("GET", "/metrics").repeat(600);
    let crowd = Vec::from_iter((1..promised(&server)).map(|_| {
        let mut client = server.connect();
        client.narrow();
        client.send(&requests);
        client.half_close();
        client
    }));
    let mut asked = 0;
    standstill(|| {
        asked += 1;
        metrics(&mut looking).value("httpipe_requests_total") - asked
    });
    let newcomers = turn_newcomers_away(&server);
    let descriptors = server.descriptors().len();
    let reckoned = own + 1 + crowd.len() + newcomers.len();
    assert!(descriptors <= reckoned, "{descriptors} and not {reckoned}");
    assert_eq!(lines(&server, "cannot"), 0, "{}", server.stderr());
    drop(newcomers);
    let ticks = ticks_of_patience(&server, &mut looking);
    assert!(ticks < CALM_TICKS, "{ticks} ticks of CPU");
    crowd.into_iter().for_each(Connection::reset);
    until("the descriptors to be free", || {
        (server.descriptors().len() == own + 1).then_some(())
    });
    server.ask("GET", "/healthz").assert_status(200);
}

#[test]
fn connections_set_by_the_option_come_before_pipes() {
    let options = ["--threads", "2", "--max-connections", "160"];
    let server = Server::start_with_descriptors("256", &options);
    let mut crowd = Vec::from_iter((0..160).map(|_| inside(&server)));
    let (producer, consumer) = crowd.split_at_mut(1);
    deliver(&mut producer[0], &mut consumer[0], pattern(4, 1 << 20));
    assert_eq!(lines(&server, "cannot"), 0, "{}", server.stderr());
}

#[test]
fn the_soft_limit_is_raised_to_the_hard_one_at_the_start() {
    let server = Server::start_with_soft_descriptors("256", "4096", &["--threads", "2"]);
    assert_eq!(server.descriptor_limits(), (4096, Some(4096)));
    assert_eq!(lines(&server, "few descriptors"), 0, "{}", server.stderr());
    let mut crowd = Vec::from_iter((0..320).map(|_| inside(&server)));
    assert!(server.descriptors().len() > 320);
    for connection in &mut crowd {
        ask(connection, "/healthz");
    }
}

#[test]
fn too_few_descriptors_give_one_line_and_exit_code_2() {
    for (options, part) in [
        (&["--threads", "8"][..], "8 shards"),
        (
            &["--threads", "1", "--max-connections", "150"],
            "--max-connections 150: at most ",
        ),
    ] {
        let mut command = executable_with_descriptors("128");
        command
            .args(["--host", "127.0.0.1", "--port", "0"])
            .args(options);
        let refused = run(command).exited(2);
        let said = refused.stderr.trim_end();
        assert_eq!(said.lines().count(), 1, "{said}");
        for part in [part, "128", "LimitNOFILE", "ulimit -n"] {
            assert!(said.contains(part), "{part} is missing: {said}");
        }
    }
}

// ---------------------------------------------------------------- gone at run time

#[test]
fn without_descriptors_new_clients_wait_and_connected_ones_are_served() {
    let began = Instant::now();
    let server = Server::start(&["--threads", "2", "--request-timeout", PATIENCE]);
    let [mut first, mut second, mut third] = [(); 3].map(|()| inside(&server));
    let (mut consumer, mut producer) = (inside(&server), inside(&server));
    consumer.send(get("under/way"));
    producer.send(post_head("under/way", 3));
    producer.send(b"a");
    consumer.head().assert_status(200);
    assert_eq!(consumer.body_bytes(1), b"a");

    let limit = exhaust(&server, &mut first, 5);
    let mut newcomers =
        Vec::from_iter((0..20).map(|_| server.connect_and_send(&request("GET", "/healthz"))));
    until("a line in the log", || {
        (lines(&server, "cannot accept") > 0).then_some(())
    });
    let ticks = ticks_of_patience(&server, &mut first);
    assert!(ticks < CALM_TICKS, "{ticks} ticks of CPU");
    let said = lines(&server, "cannot accept");
    let said_max = 2 * (1 + began.elapsed().as_secs() as usize / 10);
    assert!(said <= said_max, "said {said} times:\n{}", server.stderr());

    // Connected clients: small bodies, and the exchange under way.
    for _ in 0..50 {
        first.send(get("from/inside"));
        second.send(post("from/inside", b"data"));
        assert_eq!(first.reply().body, b"data");
        second.reply().assert_status(200);
    }
    producer.send(b"bc");
    assert_eq!(consumer.rest_of_body().expect("whole"), b"bc");
    producer.reply().assert_status(200);
    newcomers.iter_mut().for_each(Connection::expect_nothing);

    // One client leaves and one is accepted, in order.
    third.send(request("GET", "/healthz"));
    third.reply().assert_status(200);
    third.close();
    for mut newcomer in newcomers.drain(..10) {
        newcomer.reply().assert_status(200);
        newcomer.close();
    }
    server.set_descriptor_limit(limit);
    for newcomer in &mut newcomers {
        newcomer.reply().assert_status(200);
    }
    assert_eq!(server.ask("GET", "/healthz").status, 200);
}

#[test]
fn without_descriptors_for_pipes_bodies_are_copied_and_later_spliced_again() {
    let server = Server::start(&[]);
    let (mut producer, mut consumer) = (inside(&server), inside(&server));
    let mut looking = inside(&server);
    let limit = exhaust(&server, &mut looking, 3);
    deliver(&mut producer, &mut consumer, pattern(5, 4 << 20));
    let seen = metrics(&mut looking);
    assert_eq!(seen.value("httpipe_bytes_total{path=\"spliced\"}"), 0);
    assert!(seen.value("httpipe_bytes_total{path=\"copied\"}") > 1 << 20);
    server.set_descriptor_limit(limit);
    until("a body to be spliced", || {
        deliver(&mut producer, &mut consumer, pattern(6, 4 << 20));
        let seen = metrics(&mut looking);
        (seen.value("httpipe_bytes_total{path=\"spliced\"}") > 0).then_some(())
    });
}

#[test]
fn a_connection_that_cannot_move_to_its_channels_shard_receives_503_and_is_kept() {
    let server = Server::start(&["--threads", "2"]);
    // A match leaves an operation on the socket, so a handover needs a duplicate descriptor.
    let mut connection = server.connect_and_send(&post_head("first/of-all", 4));
    server.until_waiting(Side::Producer, 1);
    let mut consumer = server.consume("first/of-all");
    server.until_exchanging(1);
    connection.send(b"data");
    assert_eq!(consumer.reply().body, b"data");
    connection.reply().assert_status(200);
    // Each name has one of two owners; the connection is on one of the two shards.
    let delete = |connection: &mut Connection, n: u32| {
        connection.send(request("DELETE", &format!("/channels/some/{n}")));
        connection.reply()
    };
    let limit = exhaust(&server, &mut consumer, 2);
    let mut turned_away = Vec::new();
    for n in 0..64 {
        let reply = delete(&mut connection, n);
        match reply.status {
            404 => {}
            _ => {
                reply.assert_turned_away();
                assert!(!reply.closes() && reply.text().contains("descriptor"));
                turned_away.push(n);
            }
        }
    }
    assert!(!turned_away.is_empty(), "all 64 names have the same owner");
    server.set_descriptor_limit(limit);
    for n in turned_away {
        delete(&mut connection, n).assert_status(404);
    }
    // The line follows the reply: a thread of its own writes the log.
    until("a line in the log", || {
        (lines(&server, "cannot hand") > 0).then_some(())
    });
    assert_eq!(lines(&server, "cannot hand"), 1, "{}", server.stderr());
}

#[test]
fn waiting_for_a_half_closed_consumer_takes_little_cpu_without_descriptors() {
    let server = Server::start(&["--request-timeout", PATIENCE]);
    let mut waiting = inside(&server);
    let (producer, mut consumer) = (inside(&server), inside(&server));
    consumer.narrow();
    let body = pattern(7, 16 << 20);
    consumer.send(get("half/closed"));
    std::thread::scope(|scope| {
        let mut sender = producer.sender();
        scope.spawn(move || {
            sender
                .write_all(&post("half/closed", body))
                .expect("it is read")
        });
        consumer.head().assert_status(200);
        let limit = exhaust(&server, &mut waiting, 3);
        consumer.half_close();
        let ticks = ticks_of_patience(&server, &mut waiting);
        assert!(ticks < CALM_TICKS, "{ticks} ticks of CPU");
        assert_same_bytes(&consumer.rest_of_body().expect("whole"), body);
        server.set_descriptor_limit(limit);
    });
    server.until_waiting(Side::Producer, 0);
}
