//! Limits under attack, with the channels on several shards: at a limit the newcomer hears 503 and
//! when to come again, and those inside notice nothing.

use crate::support::connection::Connection;
use crate::support::metrics::Metrics;
use crate::support::request::{get, post, post_head, request};
use crate::support::server::Server;
use crate::support::{Side, until};

/// Newcomers that come at once: with names at random, enough to fill every one of four shards.
const CROWD: usize = 120;

/// A wait and an exchange that were there before the crowd came.
struct Inside {
    waiting: Connection,
    producer: Connection,
    consumer: Connection,
    /// A connection to look into the server with, when it takes no other.
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
        Self {
            waiting: server.consumer_waiting("inside/waiting", 1),
            producer,
            consumer,
            looking,
        }
    }

    /// Everything goes on as if nobody had come.
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

/// Consumers that ask at once, each for a channel that `name` gives it: those that were let in to
/// wait, with their channels, and those that were turned away.
fn crowd(
    server: &Server,
    inside: &mut Inside,
    name: fn(usize) -> String,
    waiting: usize,
) -> (Vec<(String, Connection)>, Vec<Connection>) {
    let mut all = Vec::from_iter((0..CROWD).map(|n| (name(n), server.consume(&name(n)))));
    until("everybody to be let in or turned away", || {
        let answered = all.iter().filter(|(_, consumer)| consumer.has_bytes());
        let all_others_answered = answered.count() + waiting == CROWD;
        inside.looking.send(request("GET", "/metrics"));
        let seen = Metrics::parse(&inside.looking.reply().text());
        // The one that waited before counts too.
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

/// Those who were let in are served, and so are, on the connections that they have, those who were
/// turned away, as soon as there is room.
fn serve_all(server: &Server, let_in: Vec<(String, Connection)>, turned_away: Vec<Connection>) {
    let mut producer = server.connect();
    // Which of those on one channel is the first is the server's to say.
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
fn a_full_channel_turns_newcomers_away_whichever_shard_they_came_to() {
    let server = Server::start(&["--threads", "4", "--max-waiting", "3"]);
    let mut inside = Inside::enter(&server);
    let (let_in, turned_away) = crowd(&server, &mut inside, |_| "full/channel".to_owned(), 3);
    assert_eq!(turned_away.len(), CROWD - 3);
    inside.go_on();
    serve_all(&server, let_in, turned_away);
}

#[test]
fn with_as_many_waiting_as_may_be_each_shard_turns_newcomers_away() {
    // Four for each shard, one of which is inside already.
    let server = Server::start(&["--threads", "4", "--max-waiting-total", "16"]);
    let mut inside = Inside::enter(&server);
    let (let_in, turned_away) = crowd(&server, &mut inside, |n| format!("full/server{n}"), 15);
    assert_eq!(turned_away.len(), CROWD - 15);
    inside.go_on();
    serve_all(&server, let_in, turned_away);
}

#[test]
fn with_as_many_channels_as_may_be_each_shard_turns_newcomers_away() {
    // Four for each shard; a wait and an exchange are inside already, on a channel each.
    let server = Server::start(&["--threads", "4", "--max-channels", "16"]);
    let mut inside = Inside::enter(&server);
    let (let_in, turned_away) = crowd(&server, &mut inside, |n| format!("many/channels{n}"), 14);
    assert_eq!(turned_away.len(), CROWD - 14);
    inside.go_on();
    serve_all(&server, let_in, turned_away);
}

#[test]
fn with_as_many_connections_as_may_be_newcomers_are_turned_away_and_those_inside_served() {
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
    // Among the newcomers are some who say nothing: they hold no seat that others could have.
    let silent = Vec::from_iter((0..20).map(|_| server.connect()));
    for n in 0..CROWD {
        let mut newcomer = server.consume(&format!("too/many{n}"));
        newcomer.last_reply().assert_turned_away();
    }
    inside.go_on();
    drop((inside, seated, silent));
    until("a seat", || {
        (server.ask("GET", "/healthz").status == 200).then_some(())
    });
    server.until_unused();
}

#[test]
fn heads_that_never_end_hold_their_seats_no_longer_than_the_header_timeout() {
    let seats = ["--max-connections", "24", "--header-timeout", "1"];
    let server = Server::start(&[&["--threads", "2"], &seats[..]].concat());
    let mut inside = Inside::enter(&server);
    let head = get("never/ends");
    let mut slow = Vec::from_iter((0..20).map(|_| server.connect_and_send(&head[..9])));
    server
        .connect_and_send(&request("GET", "/healthz"))
        .last_reply()
        .assert_turned_away();
    // A byte now and then gains them nothing.
    let ends = slow.iter_mut().map(|slow| {
        let mut rest = head[9..20].iter();
        until("the end of its patience", || {
            if slow.has_bytes() {
                return Some(());
            }
            let _ = rest.next().map(|&byte| slow.try_send([byte]));
            None
        });
        slow.last_reply().assert_status(408);
    });
    assert_eq!(ends.count(), 20);
    until("a seat", || {
        (server.ask("GET", "/healthz").status == 200).then_some(())
    });
    inside.go_on();
    server.until_waiting(Side::Consumer, 0);
}

#[test]
fn hundreds_whose_time_is_over_in_one_sweep_all_hear_so_and_the_others_go_on() {
    let server = Server::start(&["--threads", "2", "--request-timeout", "2"]);
    let mut waiting = Vec::from_iter((0..400).map(|n| server.consume(&format!("in/vain{n}"))));
    server.until_waiting(Side::Consumer, 400);
    let (mut consumer, mut producer) = (server.connect(), server.connect());
    until("the end of everybody's time", || {
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
