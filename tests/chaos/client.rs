//! One client: one action after the other, on a connection as long as that lives. Owns the actions
//! that are neither producing nor consuming. A client reads every reply to its end, or records that
//! it left.

use super::ledger::{
    self, CHANNELS, DELETED_CHANNELS, Ledger, Limits, Oddity, Wanted, channel_name, disposition,
};
use super::{consumer, producer};
use crate::support::connection::Connection;
use crate::support::metrics::Metrics;
use crate::support::request::{chunked, get, post_head_with, request};
use crate::support::server::Server;
use fastrand::Rng;
use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// The parameters of a run.
#[derive(Clone, Copy)]
pub struct Weather {
    /// Pairs of clients on channels of their own.
    pub calm_pairs: usize,
    /// The length of a long stall; the server may have a shorter `--idle-timeout`.
    pub long_stall: Duration,
    /// One stall in this many is a long one.
    pub one_in: u8,
    pub limits: Limits,
}

pub struct Client<'a> {
    pub server: &'a Server,
    pub ledger: &'a Ledger,
    pub weather: Weather,
    pub rng: Rng,
    pub number: usize,
}

/// Three ways to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaving {
    Close,
    Reset,
    HalfClose,
}

/// Stops all clients when its thread panics.
pub struct FailAll<'a>(pub &'a Ledger);

impl Drop for FailAll<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail();
        }
    }
}

impl Client<'_> {
    /// One action after the other until the run is stopped.
    pub fn run(mut self) {
        let _fail_all = FailAll(self.ledger);
        let mut kept = None;
        while !self.ledger.is_stopped() {
            let connection = kept.take().unwrap_or_else(|| self.server.connect());
            kept = self.turn(connection);
        }
        self.ledger.begin(self.number, "ended");
    }

    /// Does one action; returns the connection if it is kept.
    fn turn(&mut self, connection: Connection) -> Option<Connection> {
        let channel = self.any_channel();
        match self.rng.u16(..1000) {
            0..16 => self.delete(connection, channel % DELETED_CHANNELS),
            16..40 => self.look(connection),
            40..65 => self.garbage(connection),
            65..130 => self.pipeline(connection),
            _ if self.produces(channel) => self.on_channel(channel, 1, |client| {
                producer::produce(client, connection, channel)
            }),
            _ => self.on_channel(channel, -1, |client| {
                consumer::consume(client, connection, channel)
            }),
        }
    }

    /// Prefers a channel that lacks one side.
    fn any_channel(&mut self) -> usize {
        let (one, other) = (self.rng.usize(..CHANNELS), self.rng.usize(..CHANNELS));
        let lacks = |channel| self.ledger.balance(channel).load(Relaxed).abs();
        if lacks(one) > lacks(other) {
            one
        } else {
            other
        }
    }

    /// Mostly the side that the channel lacks, so that few requests time out.
    fn produces(&mut self, channel: usize) -> bool {
        let balance = self.ledger.balance(channel).load(Relaxed);
        match self.rng.u8(..8) {
            0..7 if balance > 0 => false,
            0..7 if balance < 0 => true,
            _ => self.rng.bool(),
        }
    }

    fn on_channel(
        &mut self,
        channel: usize,
        side: i64,
        act: impl FnOnce(&mut Self) -> Option<Connection>,
    ) -> Option<Connection> {
        let ledger = self.ledger;
        ledger.balance(channel).fetch_add(side, Relaxed);
        let kept = act(self);
        ledger.balance(channel).fetch_sub(side, Relaxed);
        kept
    }

    pub fn begin(&self, doing: &'static str) {
        self.ledger.begin(self.number, doing);
    }

    pub fn note(&self, oddity: Oddity) {
        self.ledger.note(oddity);
    }

    /// Pauses for a bounded time; rarely for longer than `--idle-timeout`.
    pub fn stall(&mut self) {
        // Not at the end of a run, which would have to wait.
        let long = !self.ledger.is_nearly_over() && self.rng.u8(..self.weather.one_in) == 0;
        self.note(if long {
            Oddity::LongStall
        } else {
            Oddity::Stall
        });
        std::thread::sleep(if long {
            self.weather.long_stall
        } else {
            Duration::from_micros(self.rng.u64(..40_000))
        });
    }

    pub fn any_leaving(&mut self) -> Leaving {
        let (how, oddity) = match self.rng.u8(..3) {
            0 => (Leaving::Close, Oddity::Close),
            1 => (Leaving::Reset, Oddity::Reset),
            _ => (Leaving::HalfClose, Oddity::HalfClose),
        };
        self.note(oddity);
        how
    }

    /// Sends a head byte by byte.
    pub fn send_slowly(&mut self, connection: &mut Connection, head: &[u8]) {
        self.note(Oddity::SlowHead);
        for byte in head {
            let _ = connection.try_send([*byte]);
            if self.rng.u8(..30) == 0 {
                std::thread::yield_now();
            }
        }
    }

    fn delete(&mut self, mut connection: Connection, channel: usize) -> Option<Connection> {
        self.begin("deleting");
        let (target, channels) = if self.rng.u8(..3) == 0 {
            self.note(Oddity::DeleteNamespace);
            let mut namespaces = ledger::namespaces();
            let of_channel = namespaces.find(|(_, channels)| channels.contains(&channel));
            of_channel.expect("a namespace")
        } else {
            self.note(Oddity::DeleteChannel);
            (channel_name(channel), only(channel))
        };
        self.ledger.begin_deletion(channels.clone());
        connection.send(request("DELETE", &format!("/channels/{target}")));
        let goes_on = self.hear_one_of(&mut connection, &[204, 404]);
        self.ledger.end_deletion(channels);
        goes_on.then_some(connection)
    }

    /// A request that affects no other client.
    fn look(&mut self, mut connection: Connection) -> Option<Connection> {
        self.begin("looking");
        let target = *self
            .rng
            .choice(&[
                "/state",
                "/channels/namespaces",
                "/channels/chaos0",
                "/metrics",
                "/healthz",
                "/nowhere",
            ])
            .expect("some");
        connection.send(request("GET", target));
        let reply = connection.reply();
        let allowed: &[u16] = match target {
            "/channels/chaos0" => &[200, 404, 503],
            "/nowhere" => &[404],
            "/healthz" => &[200],
            _ => &[200, 503],
        };
        assert!(
            allowed.contains(&reply.status),
            "{target}: {}",
            reply.status
        );
        self.ledger.replied(reply.status);
        match (target, reply.status) {
            ("/metrics", 200) => drop(Metrics::parse(&reply.text())),
            ("/state", 200) => assert!(reply.json().is_object()),
            ("/channels/namespaces" | "/channels/chaos0", 200) => {
                assert!(reply.json().is_array());
            }
            _ => {}
        }
        (!reply.closes()).then_some(connection)
    }

    /// Bytes that are not a request: refused, and nothing after them is taken for a request.
    fn garbage(&mut self, mut connection: Connection) -> Option<Connection> {
        self.begin("sending garbage");
        self.note(Oddity::Garbage);
        let mut noise = vec![0; self.rng.usize(1..2000)];
        self.rng.fill(&mut noise);
        // A method begins with a letter, and an empty line before a request is skipped.
        noise[0] = 0;
        let noise = [&noise[..], b"\r\n\r\n"].concat();
        let channel = channel_name(self.rng.usize(..CHANNELS));
        let bad: [&[u8]; 6] = [
            &noise,
            b"GET  HTTP/1.1\r\nHost: t\r\n\r\n",
            b"GET / HTTP/3.0\r\nHost: t\r\n\r\n",
            b"POST /channels/a/b HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
            b"POST /channels/a/b HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"BREW / HTTP/1.1\r\nHost: t\r\n\r\n",
        ];
        let bad = *self.rng.choice(&bad).expect("some");
        // If this request were served, it would show.
        let _ = connection.try_send([bad, &get(&channel)].concat());
        let reply = connection.reply();
        assert!(
            matches!(reply.status, 400 | 501 | 505) && reply.closes(),
            "{} for garbage",
            reply.status
        );
        self.ledger.replied(reply.status);
        let (more, _) = connection.until_end();
        assert!(more.is_empty(), "a reply after the refusal of garbage");
        None
    }
}

// ---------------------------------------------------------------- pipelines

/// A request in a pipeline, and what it is about.
enum Asked {
    Body(Wanted),
    Parcel { number: usize },
    Deletion { channel: usize },
    Other,
}

impl Client<'_> {
    /// Several requests in one send; the replies come in their order. After a reply that closes, or
    /// a cut body, the rest has no answer.
    fn pipeline(&mut self, mut connection: Connection) -> Option<Connection> {
        self.begin("reading the replies to a pipeline");
        self.note(Oddity::Pipelined);
        let requests = self.rng.usize(2..6);
        let leaves_after = match self.rng.u8(..5) {
            0 => self.rng.usize(..requests),
            _ => usize::MAX,
        };
        let mut bytes = Vec::new();
        let mut asked = Vec::new();
        for nth in 0..requests {
            let (request, what) = self.any_small_request(nth < leaves_after);
            bytes.extend_from_slice(&request);
            asked.push(what);
        }
        let _ = connection.try_send(&bytes);
        let mut asked = asked.into_iter().enumerate();
        while let Some((nth, what)) = asked.next() {
            let goes_on = nth < leaves_after && self.hear(&mut connection, &what);
            if nth >= leaves_after {
                self.give_up(&what);
            }
            if !goes_on {
                asked.for_each(|(_, what)| self.give_up(&what));
                return None;
            }
        }
        Some(connection)
    }

    /// `is_heard`: the client reads the reply. A deletion needs that, to know when it ends.
    fn any_small_request(&mut self, is_heard: bool) -> (Vec<u8>, Asked) {
        let channel = self.rng.usize(..CHANNELS);
        let name = channel_name(channel);
        match self.rng.u8(..20) {
            0..8 => {
                let parcel = self.ledger.new_parcel(channel, &mut self.rng, 3000);
                let (number, body) = (parcel.number, &parcel.body);
                let (framing, coded) = match self.rng.bool() {
                    true => (producer::length(body.len()), body.clone()),
                    false => (producer::CHUNKED.to_owned(), chunked(body, 700)),
                };
                let head = post_head_with(&name, &(disposition(number) + &framing));
                ([head, coded].concat(), Asked::Parcel { number })
            }
            8..16 => (get(&name), Asked::Body(Wanted::begin(channel, false))),
            16 if is_heard => self.any_deletion(),
            _ => (request("GET", "/healthz"), Asked::Other),
        }
    }

    fn any_deletion(&mut self) -> (Vec<u8>, Asked) {
        let channel = self.rng.usize(..DELETED_CHANNELS);
        self.ledger.begin_deletion(only(channel));
        let target = format!("/channels/{}", channel_name(channel));
        (request("DELETE", &target), Asked::Deletion { channel })
    }

    /// Reads one reply; returns whether the connection is kept.
    fn hear(&mut self, connection: &mut Connection, what: &Asked) -> bool {
        match *what {
            Asked::Body(wanted) => consumer::hear_body(self, connection, wanted),
            Asked::Parcel { number } => {
                let reply = connection.reply();
                producer::check_status(&reply);
                self.ledger.producer_heard(number, reply.status);
                !reply.closes()
            }
            Asked::Deletion { channel } => {
                let goes_on = self.hear_one_of(connection, &[204, 404]);
                self.ledger.end_deletion(only(channel));
                goes_on
            }
            Asked::Other => self.hear_one_of(connection, &[200]),
        }
    }

    fn hear_one_of(&self, connection: &mut Connection, statuses: &[u16]) -> bool {
        let reply = connection.reply();
        assert!(statuses.contains(&reply.status), "{}", reply.status);
        self.ledger.replied(reply.status);
        !reply.closes()
    }

    /// The client does not read this reply: it leaves, or the server has closed and takes none of
    /// the following bytes for a request.
    fn give_up(&self, what: &Asked) {
        match *what {
            Asked::Body(wanted) => self.ledger.consumer_left(wanted.channel),
            Asked::Parcel { number } => self.ledger.producer_left(number),
            Asked::Deletion { channel } => {
                self.ledger.end_deletion(only(channel));
                self.ledger.unanswered();
            }
            Asked::Other => self.ledger.unanswered(),
        }
    }
}

fn only(channel: usize) -> Range<usize> {
    channel..channel + 1
}

/// The status of the last final reply in these bytes, if its head is whole.
pub fn final_status(bytes: &[u8]) -> Option<u16> {
    let text = String::from_utf8_lossy(bytes);
    let starts = text.match_indices("HTTP/1.1 ");
    let statuses = starts.filter_map(|(at, _)| text.get(at + 9..at + 12)?.parse().ok());
    statuses.filter(|status| *status >= 200).last()
}

/// Two undisturbed clients on their own channel: every exchange of theirs succeeds, whatever
/// happens on other channels. One thread runs both, and never has more under way than the sockets'
/// buffers hold.
pub fn calm_pair(server: &Server, ledger: &Ledger, number: usize, mut rng: Rng) {
    const PIECE_BYTES: usize = 32 * 1024;
    let _fail_all = FailAll(ledger);
    let channel = format!("calm{number}/pair");
    let (mut consumer, mut producer) = (server.connect(), server.connect());
    let mut round = 0;
    while !ledger.is_stopped() {
        round += 1;
        let bytes = *rng.choice(&[1, 100, 5000, 60_000, 400_000]).expect("some");
        let body = crate::support::pattern::pattern(round, rng.usize(1..=bytes));
        let is_chunked = rng.bool();
        let head = match is_chunked {
            true => crate::support::request::post_chunked_head(&channel),
            false => crate::support::request::post_head(&channel, body.len() as u64),
        };
        if rng.bool() {
            consumer.send(get(&channel));
            producer.send(head);
        } else {
            producer.send(head);
            consumer.send(get(&channel));
        }
        let mut begun = false;
        for piece in body.chunks(PIECE_BYTES) {
            match is_chunked {
                true => producer.send(crate::support::request::chunk(piece)),
                false => producer.send(piece),
            }
            if !std::mem::replace(&mut begun, true) {
                consumer.head().assert_status(200);
            }
            assert!(
                consumer.body_bytes(piece.len()) == piece,
                "a calm body changed"
            );
        }
        if is_chunked {
            producer.send(b"0\r\n\r\n");
        }
        let rest = consumer.rest_of_body().expect("a calm body arrives whole");
        assert!(rest.is_empty(), "a calm body grew");
        producer.reply().assert_status(200);
        ledger.calm_exchange(body.len());
        // So that these are only a small part of the run's exchanges.
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Ends all waiting on the shared channels.
pub fn end_all_waits(server: &Server, ledger: &Ledger) {
    for (namespace, channels) in ledger::namespaces() {
        ledger.begin_deletion(channels.clone());
        server.ask("DELETE", &format!("/channels/{namespace}"));
        ledger.end_deletion(channels);
    }
}
