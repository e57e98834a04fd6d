//! Limits under attack, with channels on several shards: beyond a limit a new client receives 503
//! with `Retry-After`, and connected clients notice nothing.

use crate::support::connection::Connection;
use crate::support::metrics::Metrics;
use crate::support::request::{get, post, post_head, request};
use crate::support::server::Server;
use crate::support::{Side, until};

/// New clients at once: with random names, enough to fill each of four shards.
const CROWD: usize = 120;

/// A waiting request and an exchange from before the crowd.
struct Inside {
    waiting: Connection,
    producer: Connection,
    consumer: Connection,
    /// A connection for requests when the server accepts no others.
    looking: Connection,
}

impl Inside {
    fn enter(server: &Server) -> Self {
        let mut looking = server.connect_and_send(&request("GET", "/healthz"));
        looking.reply().assert_status(200);
        let mut consumer = server.consumer_waiting("inside/exchange", 1);
        let mut producer = server.connect_and_send(&post_head("inside/exchange", 4));
        server.until_exchanging(1);
        producer.send(b"da");
        consumer.head().assert_status(200);
        let mut inside = Self {
            waiting: server.consumer_waiting("inside/waiting", 1),
            producer,
            consumer,
            looking,
        };
        // Those that asked for metrics take no seat any more.
        inside.until_connections(4);
        inside
    }

    /// Asks on a connection from before the crowd.
    fn metrics(&mut self) -> Metrics {
        self.looking.send(request("GET", "/metrics"));
        Metrics::parse(&self.looking.reply().text())
    }

    /// Waits until the server has so many connections.
    #[track_caller]
    fn until_connections(&mut self, connections: u64) {
        until(&format!("{connections} connections"), || {
            (self.metrics().value("httpipe_connections") == connections).then_some(())
        });
    }

    /// Both go on as if there were no crowd.
    #[track_caller]
    fn go_on(&mut self) {
        self.producer.send(b"ta");
        assert_eq!(self.consumer.rest_of_body().expect("a whole body"), b"data");
        self.producer.reply().assert_status(200);
        self.producer.send(post("inside/waiting", b"more"));
        assert_eq!(self.waiting.reply().body, b"more");
        self.producer.reply().assert_status(200);
        self.looking.send(request("GET", "/healthz"));
        self.looking.reply().assert_status(200);
    }
}

/// Consumers that send requests at once, each for the channel that `name` returns: the admitted
/// ones, with their channels, and the refused ones.
fn crowd(
    server: &Server,
    inside: &mut Inside,
    name: fn(usize) -> String,
    waiting: usize,
) -> (Vec<(String, Connection)>, Vec<Connection>) {
    let mut all = Vec::from_iter((0..CROWD).map(|n| (name(n), server.consume(&name(n)))));
    until("every client to be admitted or refused", || {
        let answered = all.iter().filter(|(_, consumer)| consumer.has_bytes());
        let all_others_answered = answered.count() + waiting == CROWD;
        let seen = inside.metrics();
        // The consumer that waited before counts too.
        let let_in = seen.value("httpipe_waiting{side=\"consumer\"}") == waiting as u64 + 1;
        (let_in && all_others_answered).then_some(())
    });
    let turned_away = all.extract_if(.., |(_, consumer)| consumer.has_bytes());
    let turned_away = turned_away.map(|(_, mut consumer)| {
        consumer.reply().assert_turned_away();
        consumer
    });
    let turned_away = Vec::from_iter(turned_away);
    (all, turned_away)
}

/// The admitted consumers are served. The refused ones are served, on the same connections, as soon
/// as there is room.
fn serve_all(server: &Server, let_in: Vec<(String, Connection)>, turned_away: Vec<Connection>) {
    let mut producer = server.connect();
    // The server decides the order on each channel.
    for (channel, _) in &let_in {
        producer.send(post(channel, channel));
        producer.reply().assert_status(200);
    }
    for (channel, mut consumer) in let_in {
        assert_eq!(consumer.reply().text(), channel);
    }
    for mut consumer in turned_away {
        consumer.send(get("second/try"));
        producer.send(post("second/try", b"data"));
        assert_eq!(consumer.reply().body, b"data");
        producer.reply().assert_status(200);
    }
    server.until_unused();
}

#[test]
fn a_full_channel_refuses_new_requests_from_every_shard() {
    let server = Server::start(&["--threads", "4", "--max-waiting", "3"]);
    let mut inside = Inside::enter(&server);
    let (let_in, turned_away) = crowd(&server, &mut inside, |_| "full/channel".to_owned(), 3);
    assert_eq!(turned_away.len(), CROWD - 3);
    inside.go_on();
    serve_all(&server, let_in, turned_away);
}

#[test]
fn at_the_limit_of_waiting_requests_each_shard_refuses_new_ones() {
    // Four for each shard; one of them waits already.
    let server = Server::start(&["--threads", "4", "--max-waiting-total", "16"]);
    let mut inside = Inside::enter(&server);
    let (let_in, turned_away) = crowd(&server, &mut inside, |n| format!("full/server{n}"), 15);
    assert_eq!(turned_away.len(), CROWD - 15);
    inside.go_on();
    serve_all(&server, let_in, turned_away);
}

#[test]
fn at_the_limit_of_channels_each_shard_refuses_new_ones() {
    // Four for each shard; a waiting request and an exchange already use one channel each.
    let server = Server::start(&["--threads", "4", "--max-channels", "16"]);
    let mut inside = Inside::enter(&server);
    let (let_in, turned_away) = crowd(&server, &mut inside, |n| format!("many/channels{n}"), 14);
    assert_eq!(turned_away.len(), CROWD - 14);
    inside.go_on();
    serve_all(&server, let_in, turned_away);
}

#[test]
fn at_the_limit_of_connections_new_ones_are_refused_and_open_ones_served() {
    let server = Server::start(&["--threads", "4", "--max-connections", "24"]);
    let mut inside = Inside::enter(&server);
    let mut seated = Vec::new();
    let mut newcomer = loop {
        let mut newcomer = server.connect_and_send(&request("GET", "/healthz"));
        let reply = newcomer.reply();
        match reply.status {
            200 => seated.push(newcomer),
            _ => break newcomer,
        }
    };
    newcomer.expect_end();
    // Some new clients send nothing: they must not block connections of others.
    let silent = Vec::from_iter((0..20).map(|_| server.connect()));
    for n in 0..CROWD {
        let mut newcomer = server.consume(&format!("too/many{n}"));
        newcomer.last_reply().assert_turned_away();
    }
    inside.go_on();
    drop((seated, silent));
    inside.until_connections(4);
    server.ask("GET", "/healthz").assert_status(200);
    drop(inside);
    server.until_unused();
}

#[test]
fn incomplete_heads_hold_their_connections_no_longer_than_the_header_timeout() {
    // Enough time to take all seats before the first is free again.
    let seats = ["--max-connections", "24", "--header-timeout", "4"];
    let server = Server::start(&[&["--threads", "2"], &seats[..]].concat());
    let mut inside = Inside::enter(&server);
    let head = get("never/ends");
    let mut slow = Vec::from_iter((0..20).map(|_| server.connect_and_send(&head[..9])));
    inside.until_connections(24);
    server
        .connect_and_send(&request("GET", "/healthz"))
        .last_reply()
        .assert_turned_away();
    // A byte now and then gains no time.
    let ends = slow.iter_mut().map(|slow| {
        let mut rest = head[9..20].iter();
        until("the header timeout", || {
            if slow.has_bytes() {
                return Some(());
            }
            let _ = rest.next().map(|&byte| slow.try_send([byte]));
            None
        });
        slow.last_reply().assert_status(408);
    });
    assert_eq!(ends.count(), 20);
    inside.until_connections(4);
    server.ask("GET", "/healthz").assert_status(200);
    inside.go_on();
    server.until_waiting(Side::Consumer, 0);
}

#[test]
fn hundreds_of_timeouts_in_one_sweep_are_all_answered_and_other_requests_go_on() {
    let server = Server::start(&["--threads", "2", "--request-timeout", "4"]);
    let mut waiting = Vec::from_iter((0..400).map(|n| server.consume(&format!("in/vain{n}"))));
    server.until_waiting(Side::Consumer, 400);
    let (mut consumer, mut producer) = (server.connect(), server.connect());
    until("every time limit to be over", || {
        consumer.send(get("others/go-on"));
        producer.send(post("others/go-on", b"data"));
        assert_eq!(consumer.reply().body, b"data");
        producer.reply().assert_status(200);
        waiting.iter().all(Connection::has_bytes).then_some(())
    });
    for waiting in &mut waiting {
        waiting.reply().assert_status(408);
    }
    server.until_unused();
}
