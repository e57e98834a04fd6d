//! The failure table of `doc/protocol.md`, row by row: what happens, when in the life of a request,
//! and what each side receives. Names like `stalled` are names of rows.
//!
//! Every row runs with every kind of producer (`Content-Length`, chunked, HTTP/1.0, after a
//! `100 Continue`) and with a consumer of either version (1.1, 1.0). The first two kinds run with
//! connections that are on their channel's shard already and with connections that have to move
//! there; the counter of handovers proves which. Rows with a large body run once more with copied
//! instead of spliced bodies; the counters of bytes prove it.
//!
//! After every case: one more exchange with the row's outcome and none with another, the channel
//! in use exactly if one side waits on, and that side first in its queue.

use super::{HTTP_10, HTTP_11, Leaving, SEEN, check_retry_after, leave};
use crate::support::connection::{Connection, End, Framing};
use crate::support::metrics::Metrics;
use crate::support::pattern::{PATTERN_BYTES_MAX, assert_same_bytes, pattern};
use crate::support::request::{
    chunk, chunked, post_chunked_head, post_head, post_head_with, request,
};
use crate::support::server::Server;
use crate::support::{Side, until, within_bound};
use Befalls::*;
use Hears::*;
use Leaving::{Close, HalfClose, Reset};
use Point::*;
use Then::*;
use std::cell::Cell;
use std::io::Write;
use std::net::Shutdown;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Befalls {
    /// No counterpart arrives; or, after half a head, no rest of the head.
    NobodyComes,
    ChannelDeleted,
    NamespaceDeleted,
    ConsumerLeaves(Leaving),
    ProducerLeaves(Leaving),
    /// A chunk's head or end is broken. Chunked bodies only.
    FramingBreaks,
    /// For longer than `--idle-timeout`.
    NothingMoves,
    ShutsDown,
}

/// Where in the life of a request it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Point {
    /// Half of the producer's head was sent; there is no consumer.
    ProducersHead,
    ConsumersHead,
    /// The producer waits, and no byte of its body was sent; there is no consumer.
    ProducerWaits,
    /// The producer waits, and its whole body arrived with its head.
    WholeProducerWaits,
    ConsumerWaits,
    /// Both are matched; no byte of the body was sent.
    Matched,
    /// The consumer has the first byte of a body too small to be spliced.
    SmallMidway,
    /// The consumer has the first quarter of a megabyte.
    LargeMidway,
    /// The producer has sent its last byte; the consumer has read nothing, and the sockets hold less
    /// than the whole body.
    AllSent,
    /// The server has read the last byte of the payload, and still holds some of it, because the
    /// consumer does not read and its socket is full.
    AllRead,
}

/// What a side receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hears {
    /// It is not there, or has left.
    Gone,
    /// Nothing: it waits on, in front of later requests.
    WaitsOn,
    /// Nothing: it goes on with its head, and is served.
    HeadGoesOn,
    /// This status. After an HTTP/1.0 request the connection closes, whatever the row says.
    Status(u16, Then),
    /// The consumer: its whole body. The producer: 200, after it has sent the rest.
    Whole(Then),
    /// A body that ends before the end that its framing declares.
    Cut,
    /// The end of the stream, without a byte.
    End0,
}

/// What happens to the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// It serves the next request.
    Lives,
    /// It ends, as the reply has announced.
    Closes,
    /// It ends, and the reply has not announced it: the cause came after the head of the reply, or
    /// the client itself has half-closed.
    Ends,
}

/// What happens, when, what the producer and the consumer receive, and the outcome of the exchange.
type Row = (Befalls, Point, Hears, Hears, Option<&'static str>);

const NONE: Option<&str> = None;
const PRODUCER_LEFT: Option<&str> = Some("producer_left");
const CONSUMER_LEFT: Option<&str> = Some("consumer_left");
const DELETED: Option<&str> = Some("deleted");
const DELIVERED: Option<&str> = Some("delivered");
const IDLE: Option<&str> = Some("idle");

/// `wait-over`; and a head that is not complete in time (`header_timeout`).
#[rustfmt::skip]
const TIME_PASSES: &[Row] = &[
    (NobodyComes, ProducersHead,      Status(408, Closes), Gone,               NONE),
    (NobodyComes, ConsumersHead,      Gone,                Status(408, Closes), NONE),
    (NobodyComes, ProducerWaits,      Status(408, Closes), Gone,               NONE),
    (NobodyComes, WholeProducerWaits, Status(408, Lives),  Gone,               NONE),
    (NobodyComes, ConsumerWaits,      Gone,                Status(408, Lives), NONE),
];

/// `deleted-waiting`, `deleted-before`, `deleted-midway`.
#[rustfmt::skip]
const DELETIONS: &[Row] = &[
    (ChannelDeleted,   ProducersHead,      HeadGoesOn,          Gone,               NONE),
    (ChannelDeleted,   ConsumersHead,      Gone,                HeadGoesOn,         NONE),
    (ChannelDeleted,   ProducerWaits,      Status(410, Closes), Gone,               NONE),
    (ChannelDeleted,   WholeProducerWaits, Status(410, Lives),  Gone,               NONE),
    (ChannelDeleted,   ConsumerWaits,      Gone,                Status(410, Lives), NONE),
    (ChannelDeleted,   Matched,            Status(410, Closes), Status(410, Lives), DELETED),
    (ChannelDeleted,   SmallMidway,        Status(410, Closes), Cut,                DELETED),
    (ChannelDeleted,   LargeMidway,        Status(410, Closes), Cut,                DELETED),
    (ChannelDeleted,   AllSent,            Status(410, Closes), Cut,                DELETED),
    (ChannelDeleted,   AllRead,            Status(410, Closes), Cut,                DELETED),
    (NamespaceDeleted, ProducersHead,      HeadGoesOn,          Gone,               NONE),
    (NamespaceDeleted, ConsumersHead,      Gone,                HeadGoesOn,         NONE),
    (NamespaceDeleted, ProducerWaits,      Status(410, Closes), Gone,               NONE),
    (NamespaceDeleted, WholeProducerWaits, Status(410, Lives),  Gone,               NONE),
    (NamespaceDeleted, ConsumerWaits,      Gone,                Status(410, Lives), NONE),
    (NamespaceDeleted, Matched,            Status(410, Closes), Status(410, Lives), DELETED),
    (NamespaceDeleted, SmallMidway,        Status(410, Closes), Cut,                DELETED),
    (NamespaceDeleted, LargeMidway,        Status(410, Closes), Cut,                DELETED),
    (NamespaceDeleted, AllSent,            Status(410, Closes), Cut,                DELETED),
    (NamespaceDeleted, AllRead,            Status(410, Closes), Cut,                DELETED),
];

/// `left-waiting`, `consumer-left-before`, `consumer-left-midway`, `consumer-half-closed`. A
/// consumer that closes after reading everything looks like one that half-closes, until it is sent
/// more.
#[rustfmt::skip]
const CONSUMERS_LEAVE: &[Row] = &[
    (ConsumerLeaves(Close),     ConsumersHead, Gone,                Gone,                NONE),
    (ConsumerLeaves(Reset),     ConsumersHead, Gone,                Gone,                NONE),
    (ConsumerLeaves(HalfClose), ConsumersHead, Gone,                Status(400, Closes), NONE),
    (ConsumerLeaves(Close),     ConsumerWaits, Gone,                Gone,                NONE),
    (ConsumerLeaves(Reset),     ConsumerWaits, Gone,                Gone,                NONE),
    (ConsumerLeaves(HalfClose), ConsumerWaits, Gone,                End0,                NONE),
    (ConsumerLeaves(Close),     Matched,       WaitsOn,             Gone,                CONSUMER_LEFT),
    (ConsumerLeaves(Reset),     Matched,       WaitsOn,             Gone,                CONSUMER_LEFT),
    (ConsumerLeaves(HalfClose), Matched,       WaitsOn,             End0,                CONSUMER_LEFT),
    (ConsumerLeaves(Close),     SmallMidway,   Status(502, Closes), Gone,                CONSUMER_LEFT),
    (ConsumerLeaves(Reset),     SmallMidway,   Status(502, Closes), Gone,                CONSUMER_LEFT),
    (ConsumerLeaves(HalfClose), SmallMidway,   Whole(Lives),        Whole(Ends),         DELIVERED),
    (ConsumerLeaves(Close),     LargeMidway,   Status(502, Closes), Gone,                CONSUMER_LEFT),
    (ConsumerLeaves(Reset),     LargeMidway,   Status(502, Closes), Gone,                CONSUMER_LEFT),
    (ConsumerLeaves(HalfClose), LargeMidway,   Whole(Lives),        Whole(Ends),         DELIVERED),
    (ConsumerLeaves(Close),     AllSent,       Status(502, Closes), Gone,                CONSUMER_LEFT),
    (ConsumerLeaves(Reset),     AllSent,       Status(502, Closes), Gone,                CONSUMER_LEFT),
    (ConsumerLeaves(HalfClose), AllSent,       Whole(Lives),        Whole(Ends),         DELIVERED),
    (ConsumerLeaves(Close),     AllRead,       Status(502, Closes), Gone,                CONSUMER_LEFT),
    (ConsumerLeaves(Reset),     AllRead,       Status(502, Closes), Gone,                CONSUMER_LEFT),
    (ConsumerLeaves(HalfClose), AllRead,       Whole(Lives),        Whole(Ends),         DELIVERED),
];

/// `left-waiting`, `producer-left-before`, `producer-left-midway`. There is no row for a producer
/// that resets after its last byte, unless the server has read that byte: the kernel drops what is
/// unread, so the timing decides whether the body was whole.
#[rustfmt::skip]
const PRODUCERS_LEAVE: &[Row] = &[
    (ProducerLeaves(Close),     ProducersHead,      Gone,                Gone,         NONE),
    (ProducerLeaves(Reset),     ProducersHead,      Gone,                Gone,         NONE),
    (ProducerLeaves(HalfClose), ProducersHead,      Status(400, Closes), Gone,         NONE),
    (FramingBreaks,             ProducersHead,      Status(400, Closes), Gone,         NONE),
    (ProducerLeaves(Close),     ProducerWaits,      Gone,                Gone,         NONE),
    (ProducerLeaves(Reset),     ProducerWaits,      Gone,                Gone,         NONE),
    (ProducerLeaves(HalfClose), ProducerWaits,      End0,                Gone,         NONE),
    (ProducerLeaves(Close),     WholeProducerWaits, Gone,                Gone,         NONE),
    (ProducerLeaves(Reset),     WholeProducerWaits, Gone,                Gone,         NONE),
    (ProducerLeaves(HalfClose), WholeProducerWaits, End0,                Gone,         NONE),
    (ProducerLeaves(Close),     Matched,            Gone,                WaitsOn,      PRODUCER_LEFT),
    (ProducerLeaves(Reset),     Matched,            Gone,                WaitsOn,      PRODUCER_LEFT),
    (ProducerLeaves(HalfClose), Matched,            Status(400, Closes), WaitsOn,      PRODUCER_LEFT),
    (FramingBreaks,             Matched,            Status(400, Closes), WaitsOn,      PRODUCER_LEFT),
    (ProducerLeaves(Close),     SmallMidway,        Gone,                Cut,          PRODUCER_LEFT),
    (ProducerLeaves(Reset),     SmallMidway,        Gone,                Cut,          PRODUCER_LEFT),
    (ProducerLeaves(HalfClose), SmallMidway,        Status(400, Closes), Cut,          PRODUCER_LEFT),
    (FramingBreaks,             SmallMidway,        Status(400, Closes), Cut,          PRODUCER_LEFT),
    (ProducerLeaves(Close),     LargeMidway,        Gone,                Cut,          PRODUCER_LEFT),
    (ProducerLeaves(Reset),     LargeMidway,        Gone,                Cut,          PRODUCER_LEFT),
    (ProducerLeaves(HalfClose), LargeMidway,        Status(400, Closes), Cut,          PRODUCER_LEFT),
    (FramingBreaks,             LargeMidway,        Status(400, Closes), Cut,          PRODUCER_LEFT),
    (ProducerLeaves(Close),     AllSent,            Gone,                Whole(Lives), DELIVERED),
    (ProducerLeaves(HalfClose), AllSent,            Status(200, Ends),   Whole(Lives), DELIVERED),
    (ProducerLeaves(Close),     AllRead,            Gone,                Whole(Lives), DELIVERED),
    (ProducerLeaves(Reset),     AllRead,            Gone,                Whole(Lives), DELIVERED),
    (ProducerLeaves(HalfClose), AllRead,            Status(200, Ends),   Whole(Lives), DELIVERED),
];

/// `producer-stalled-before`, `stalled`.
#[rustfmt::skip]
const STANDSTILLS: &[Row] = &[
    (NothingMoves, Matched,       Status(504, Closes), WaitsOn, IDLE),
    (NothingMoves, SmallMidway,   Status(504, Closes), Cut,     IDLE),
    (NothingMoves, LargeMidway,   Status(504, Closes), Cut,     IDLE),
    (NothingMoves, AllSent,       Status(504, Closes), Cut,     IDLE),
    (NothingMoves, AllRead,       Status(504, Closes), Cut,     IDLE),
];

/// `drain-waiting`, `drain`.
#[rustfmt::skip]
const ENDS: &[Row] = &[
    (ShutsDown, ProducerWaits,      Status(503, Closes), Gone,                NONE),
    (ShutsDown, WholeProducerWaits, Status(503, Closes), Gone,                NONE),
    (ShutsDown, ConsumerWaits,      Gone,                Status(503, Closes), NONE),
    (ShutsDown, Matched,            Whole(Closes),       Whole(Closes),       DELIVERED),
    (ShutsDown, SmallMidway,        Whole(Closes),       Whole(Ends),         DELIVERED),
    (ShutsDown, LargeMidway,        Whole(Closes),       Whole(Ends),         DELIVERED),
    (ShutsDown, AllSent,            Whole(Closes),       Whole(Ends),         DELIVERED),
    (ShutsDown, AllRead,            Whole(Closes),       Whole(Ends),         DELIVERED),
];

const SHORT_WAIT: [&str; 4] = ["--request-timeout", SEEN, "--header-timeout", SEEN];
const SHORT_IDLENESS: [&str; 2] = ["--idle-timeout", SEEN];

#[test]
fn every_row_in_which_a_wait_is_over() {
    run(TIME_PASSES, &SHORT_WAIT);
}

#[test]
fn every_row_in_which_a_channel_is_deleted() {
    run(DELETIONS, &[]);
}

#[test]
fn every_row_in_which_a_consumer_leaves() {
    run(CONSUMERS_LEAVE, &[]);
}

#[test]
fn every_row_in_which_a_producer_leaves() {
    run(PRODUCERS_LEAVE, &[]);
}

#[test]
fn every_row_in_which_an_exchange_stalls() {
    run(STANDSTILLS, &SHORT_IDLENESS);
}

#[test]
fn every_row_in_which_the_server_drains() {
    run(ENDS, &[]);
}

#[test]
fn every_row_with_a_large_body_that_is_copied() {
    let large = |rows: &[Row]| {
        let is_large = |row: &&Row| matches!(row.1, LargeMidway | AllSent | AllRead);
        Vec::from_iter(rows.iter().filter(is_large).copied())
    };
    for rows in [DELETIONS, CONSUMERS_LEAVE, PRODUCERS_LEAVE, ENDS] {
        run(&large(rows), &[NO_SPLICE]);
    }
    let options = [&SHORT_IDLENESS[..], &[NO_SPLICE]].concat();
    run(&large(STANDSTILLS), &options);
}

const NO_SPLICE: &str = "--no-splice";

// ---------------------------------------------------------------- the cases of a row

/// The producer's version and framing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Length,
    Chunked,
    /// HTTP/1.0, which has no chunks.
    Old,
    /// Sends nothing of its body before the `100 Continue`.
    Expecting,
    ExpectingChunked,
}

/// The usual kinds, which run from either shard and with spliced and copied bodies.
fn is_usual(kind: Kind) -> bool {
    matches!(kind, Kind::Length | Kind::Chunked)
}

/// One combination.
#[derive(Clone, Copy, Debug)]
struct Case {
    row: Row,
    kind: Kind,
    version: &'static str,
    /// The clients' connections have to move to the channel's shard.
    elsewhere: bool,
    /// Large bodies are spliced.
    splices: bool,
}

/// Rows that run at once, each on a separate server: they mostly wait.
const ROWS_AT_ONCE: usize = 6;

fn run(rows: &[Row], options: &[&str]) {
    let options = [&["--threads", "2"], options].concat();
    let options = &options;
    let next = AtomicUsize::new(0);
    let one_after_the_other = || {
        while let Some(&row) = rows.get(next.fetch_add(1, Ordering::Relaxed)) {
            run_row(row, options);
        }
    };
    thread::scope(|scope| {
        for _ in 0..ROWS_AT_ONCE {
            scope.spawn(one_after_the_other);
        }
    });
}

/// Every possible combination of a row.
fn run_row(row: Row, options: &[&str]) {
    let mut server = Server::start(options);
    let mut names = Names::find(&server);
    for case in combinations(row, !options.contains(&NO_SPLICE)) {
        check(case, &server, &names);
        if row.0 == ShutsDown {
            assert_eq!(server.exit().code(), Some(0), "{case:?}");
            server = Server::start(options);
            names = Names::find(&server);
        }
    }
}

impl Case {
    fn is_chunked(&self) -> bool {
        matches!(self.kind, Kind::Chunked | Kind::ExpectingChunked)
    }

    fn expects(&self) -> bool {
        matches!(self.kind, Kind::Expecting | Kind::ExpectingChunked)
    }

    /// What happens to the connection of a side whose row says `then`: with HTTP/1.0 it closes.
    fn then(&self, side: Side, then: Then) -> Then {
        let is_old = match side {
            Side::Producer => self.kind == Kind::Old,
            Side::Consumer => self.version == HTTP_10,
        };
        if is_old { Closes } else { then }
    }
}

fn combinations(row: Row, splices: bool) -> impl Iterator<Item = Case> {
    let has_consumer = !matches!(row.1, ProducersHead | ProducerWaits | WholeProducerWaits);
    let has_producer = !matches!(row.1, ConsumersHead | ConsumerWaits);
    let kinds: &[Kind] = match (row.0, row.1) {
        _ if !has_producer => &[Kind::Length],
        (FramingBreaks, ProducersHead) => &[Kind::Chunked],
        (FramingBreaks, _) => &[Kind::Chunked, Kind::ExpectingChunked],
        (_, ProducersHead | WholeProducerWaits) => &[Kind::Length, Kind::Chunked, Kind::Old],
        // It depends on how the body moves whether the last chunk was read too.
        (ProducerLeaves(Reset), AllRead) => &[Kind::Length, Kind::Old, Kind::Expecting],
        _ => &[Kind::Length, Kind::Chunked, Kind::Old, Kind::Expecting],
    };
    let versions: &[&str] = if has_consumer {
        &[HTTP_11, HTTP_10]
    } else {
        &[HTTP_11]
    };
    // An incomplete head names no channel yet.
    let shards: &[bool] = match row.1 {
        ProducersHead | ConsumersHead => &[false],
        _ => &[false, true],
    };
    kinds.iter().flat_map(move |&kind| {
        versions.iter().flat_map(move |&version| {
            let cases = shards.iter().map(move |&elsewhere| Case {
                row,
                kind,
                version,
                elsewhere,
                splices,
            });
            // Shards and splicing make no difference for the other kinds.
            cases.filter(move |case| is_usual(kind) || splices && !case.elsewhere)
        })
    })
}

/// Channels on known shards, all in namespace `row`.
struct Names {
    /// On the shard that accepts the connections.
    home: String,
    /// Another one on that shard.
    here: String,
    /// One on the other shard.
    there: String,
    /// The length of a body for [`AllRead`], once it is known.
    all_read_bytes: Cell<Option<usize>>,
}

impl Names {
    fn find(server: &Server) -> Self {
        let home = "row/home".to_owned();
        let mut probe = put(server, &home);
        let (mut here, mut there) = (None, None);
        for nth in 0.. {
            let name = format!("row/{nth}");
            let before = handovers(server);
            visit(&mut probe, &name);
            if handovers(server) == before {
                here = here.or(Some(name));
            } else {
                there = there.or(Some(name));
                visit(&mut probe, &home);
            }
            if here.is_some() && there.is_some() {
                break;
            }
        }
        Self {
            home,
            here: here.expect("a name for each shard"),
            there: there.expect("a name for each shard"),
            all_read_bytes: Cell::new(None),
        }
    }
}

/// A connection on the shard of `channel`.
fn put(server: &Server, channel: &str) -> Connection {
    let mut connection = server.connect();
    visit(&mut connection, channel);
    connection
}

/// Moves a connection to the shard of `channel`, which is not in use.
fn visit(connection: &mut Connection, channel: &str) {
    connection.send(request("DELETE", &format!("/channels/{channel}")));
    connection.reply().assert_status(404);
}

fn handovers(server: &Server) -> u64 {
    server.metrics().value("httpipe_handovers_total")
}

/// A producer's request in pieces.
struct Message {
    head: Vec<u8>,
    /// The part of the body that is sent before the event, and its payload bytes.
    front: Vec<u8>,
    front_payload_bytes: usize,
    rest: Vec<u8>,
    payload: &'static [u8],
}

impl Message {
    fn new(case: &Case, channel: &str, large_bytes: usize) -> Self {
        let (bytes, front_bytes) = match case.row.1 {
            AllRead => (large_bytes, large_bytes),
            LargeMidway => (1 << 20, 1 << 18),
            AllSent => (ALL_SENT_BYTES + large_bytes, ALL_SENT_BYTES + large_bytes),
            WholeProducerWaits => (100, 100),
            SmallMidway => (1000, 1),
            _ => (1000, 0),
        };
        let payload = pattern(front_bytes, bytes);
        let head = match case.kind {
            Kind::Length => post_head(channel, bytes as u64),
            Kind::Chunked => post_chunked_head(channel),
            Kind::Old => {
                let request = format!("POST /channels/{channel} HTTP/1.0\r\n");
                format!("{request}Content-Length: {bytes}\r\n\r\n").into_bytes()
            }
            Kind::Expecting => {
                let fields = format!("Expect: 100-continue\r\nContent-Length: {bytes}\r\n");
                post_head_with(channel, &fields)
            }
            Kind::ExpectingChunked => {
                let fields = "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n";
                post_head_with(channel, fields)
            }
        };
        if !case.is_chunked() {
            return Self {
                head,
                front: payload[..front_bytes].to_vec(),
                front_payload_bytes: front_bytes,
                rest: payload[front_bytes..].to_vec(),
                payload,
            };
        }
        // Large payload in one chunk, small payload in chunks of one byte.
        let coded = chunked(payload, if bytes > 1000 { bytes } else { 1 });
        let chunk_head_bytes = format!("{bytes:x}\r\n").len();
        let cut = match front_bytes {
            0 => 0,
            1 => chunk(b"a").len(),
            all if all == bytes => coded.len(),
            part => chunk_head_bytes + part,
        };
        Self {
            head,
            front: coded[..cut].to_vec(),
            front_payload_bytes: front_bytes,
            rest: coded[cut..].to_vec(),
            payload,
        }
    }
}

/// Less than any large body, and less than the sockets on the consumer's side hold; more than
/// arrives with a head.
const LARGE_BYTES_MIN: u64 = 100_000;

/// More than the sockets on the consumer's side hold, and less than the sockets on both sides hold.
const ALL_SENT_BYTES: usize = 4 << 20;

/// Both sides, if they are there.
struct Stage {
    producer: Option<Connection>,
    consumer: Option<Connection>,
    /// A request that waits behind the one that is expected to wait on.
    rival: Option<Connection>,
}

fn check(case: Case, server: &Server, names: &Names) {
    let report = Report(case);
    until("sockets that do not take the rest after all", || {
        check_once(case, server, names).then_some(())
    });
    drop(report);
}

/// Returns false if the body was delivered before it could stall.
fn check_once(case: Case, server: &Server, names: &Names) -> bool {
    let (befalls, _, producer_hears, consumer_hears, outcome) = case.row;
    let channel = if case.elsewhere {
        &names.there
    } else {
        &names.here
    };
    let (message, before, mut stage) = set_the_stage(&case, server, names, channel);
    check_moves(&case, &stage, &before, &server.metrics());
    stage.rival = rival(&case, server, channel);
    befall(befalls, &case, &mut stage, server, channel, &message);
    if took_the_rest(&case, &mut stage, &before, server, &message) {
        drop(stage);
        server.until_unused();
        server.until_metric("httpipe_connections", 1);
        return false;
    }
    if let (Whole(_), Some(producer)) = (producer_hears, &mut stage.producer)
        && !matches!(case.row.1, AllSent | AllRead)
    {
        producer.send(&message.rest);
    }
    // In a stall, read the producer's reply first: a consumer that reads ends the stall.
    let first = if befalls == NothingMoves {
        Side::Producer
    } else {
        Side::Consumer
    };
    for side in [first, first.other()] {
        match (side, &mut stage) {
            (
                Side::Producer,
                Stage {
                    producer: Some(producer),
                    ..
                },
            ) => {
                hear_producer(&case, producer_hears, producer);
            }
            (
                Side::Consumer,
                Stage {
                    consumer: Some(consumer),
                    ..
                },
            ) => {
                hear_consumer(&case, consumer_hears, consumer, &message);
            }
            _ => {}
        }
    }
    if befalls != ShutsDown {
        check_counters(outcome, &before, server);
        check_channel(&case, &mut stage, server, channel, &message);
        drop(stage);
        server.until_unused();
        // Only the connection that asks is left, as before the case.
        server.until_metric("httpipe_connections", 1);
    }
    true
}

/// On a busy machine the consumer's sockets may take the rest of a body that stood still, before the
/// limit strikes. Then it is whole, and both sides know.
fn took_the_rest(
    case: &Case,
    stage: &mut Stage,
    before: &Metrics,
    server: &Server,
    message: &Message,
) -> bool {
    if case.row.0 != NothingMoves || !matches!(case.row.1, AllSent | AllRead) {
        return false;
    }
    server.until_exchanging(0);
    let delivered =
        |metrics: &Metrics| metrics.value("httpipe_exchanges_total{outcome=\"delivered\"}");
    if delivered(&server.metrics()) == delivered(before) {
        return false;
    }
    let producer = stage.producer.as_mut().expect("it is there");
    hear_producer(case, Whole(Lives), producer);
    let consumer = stage.consumer.as_mut().expect("it is there");
    hear_consumer(case, Whole(Lives), consumer, message);
    true
}

/// Prints the case if its test panics.
struct Report(Case);

impl Drop for Report {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the case: {:?}", self.0);
        }
    }
}

// ---------------------------------------------------------------- before the event

/// Brings both sides to the row's point; returns the counters from before.
fn set_the_stage(
    case: &Case,
    server: &Server,
    names: &Names,
    channel: &str,
) -> (Message, Metrics, Stage) {
    let set_once = |large_bytes| {
        let message = Message::new(case, channel, large_bytes);
        let connections = [put(server, &names.home), put(server, &names.home)];
        server.until_metric("httpipe_connections", 3);
        let before = server.metrics();
        let stage = set(case, server, connections, channel, &message);
        (message, before, stage)
    };
    if case.row.1 == AllSent {
        // On a busy machine the kernel lets the consumer's sockets hold more than usual. If they hold
        // the whole body, the next body is longer.
        let more = Cell::new(0);
        return until("a body that the consumer's sockets do not hold", || {
            let (message, before, mut stage) = set_once(more.replace(more.get() + (1 << 20)));
            // They may take the rest of it a little later.
            let (_, exchanging) = standstill(server);
            let producer = stage.producer.as_mut().expect("it is there");
            if exchanging && !producer.has_bytes() {
                return Some((message, before, stage));
            }
            drop(stage);
            server.until_unused();
            None
        });
    }
    if case.row.1 != AllRead {
        return set_once(0);
    }
    // The amount that the kernel's buffers hold differs from run to run.
    until("a body that the server has, and its consumer not", || {
        let known = names.all_read_bytes.get();
        let Some(bytes) = known.or_else(|| rehearse(server, channel)) else {
            server.until_unused();
            return None;
        };
        let (message, before, mut stage) = set_once(bytes);
        let producer = stage.producer.as_mut().expect("it is there");
        let (moved, exchanging) = standstill(server);
        let read = (moved - moved_bytes(&before)) as usize;
        // If it is less than the body, the next body is so long: how much a pipe holds depends on the
        // pieces that fill it.
        names.all_read_bytes.set(exchanging.then_some(read));
        if exchanging && read == bytes && !producer.has_bytes() {
            return Some((message, before, stage));
        }
        drop(stage);
        server.until_unused();
        None
    })
}

fn moved_bytes(metrics: &Metrics) -> u64 {
    metrics.sum("httpipe_bytes_total")
}

/// Waits until nothing moves; returns how much has moved, and whether there is still an exchange.
fn standstill(server: &Server) -> (u64, bool) {
    let mut last = None;
    let mut same = 0;
    until("nothing to move any more", || {
        let metrics = server.metrics();
        let seen = (
            moved_bytes(&metrics),
            metrics.value("httpipe_exchanging") == 1,
        );
        same = if last == Some(seen) { same + 1 } else { 0 };
        last = Some(seen);
        (same == 10).then_some(seen)
    })
}

/// How much of an endless body the server reads while its consumer reads nothing. None if that takes
/// longer than the server's time limit, on a busy machine.
fn rehearse(server: &Server, channel: &str) -> Option<usize> {
    let before = moved_bytes(&server.metrics());
    let consumer = server.consumer_waiting(channel, 1);
    let producer = server.connect_and_send(&post_head(channel, 1 << 40));
    server.until_exchanging(1);
    let mut sender = producer.sender();
    let body = pattern(0, PATTERN_BYTES_MAX);
    let read = thread::scope(|scope| {
        // More than all buffers hold; the write ends with the connection.
        scope.spawn(move || sender.write_all(body));
        let read = until("the buffers to be full", || {
            let (read, exchanging) = standstill(server);
            if !exchanging {
                return Some(None);
            }
            (read > before + LARGE_BYTES_MIN).then_some(Some(read))
        });
        let _ = producer.sender().shutdown(Shutdown::Both);
        read
    });
    drop((producer, consumer));
    server.until_unused();
    read.map(|read| (read - before) as usize)
}

/// Brings both sides to the row's point, on two connections that have not used its channel yet.
fn set(
    case: &Case,
    server: &Server,
    [mut producer, mut consumer]: [Connection; 2],
    channel: &str,
    message: &Message,
) -> Stage {
    let point = case.row.1;
    let consumer_request = format!("GET /channels/{channel} {}\r\n", case.version);
    let mut stage = Stage {
        producer: None,
        consumer: None,
        rival: None,
    };
    match point {
        ProducersHead => {
            producer.send(&message.head[..message.head.len() / 2]);
            stage.producer = Some(producer);
            server.barrier();
            return stage;
        }
        ConsumersHead => {
            consumer.send(&consumer_request[..consumer_request.len() / 2]);
            stage.consumer = Some(consumer);
            server.barrier();
            return stage;
        }
        ProducerWaits | WholeProducerWaits => {
            producer.send([&message.head[..], &message.front].concat());
            server.until_waiting(Side::Producer, 1);
            stage.producer = Some(producer);
            return stage;
        }
        _ => {}
    }
    consumer.send(&consumer_request);
    server.until_waiting(Side::Consumer, 1);
    if point == ConsumerWaits {
        stage.consumer = Some(consumer);
        return stage;
    }
    producer.send(&message.head);
    server.until_exchanging(1);
    if case.expects() {
        producer.expect_continue();
    }
    producer.send(&message.front);
    match point {
        Matched | AllRead => {}
        AllSent => server.barrier(),
        _ => {
            hear_head(case, Lives, &mut consumer);
            let front = consumer.body_bytes(message.front_payload_bytes);
            assert_same_bytes(&front, &message.payload[..message.front_payload_bytes]);
        }
    }
    stage.producer = Some(producer);
    stage.consumer = Some(consumer);
    stage
}

/// A later request on the side that will wait on; or a request whose refusal shows that the server
/// drains.
fn rival(case: &Case, server: &Server, channel: &str) -> Option<Connection> {
    match (case.row.2, case.row.3) {
        (Whole(_), _) if case.row.0 == ShutsDown => Some(server.consumer_waiting(channel, 1)),
        (WaitsOn, _) => Some(server.producer_waiting(channel, b"rival", 1)),
        (_, WaitsOn) => Some(server.consumer_waiting(channel, 1)),
        _ => None,
    }
}

/// Each side moved to the channel's shard once, or was there already; and the body was spliced if
/// it should be.
fn check_moves(case: &Case, stage: &Stage, before: &Metrics, after: &Metrics) {
    let risen = |name: &str| after.value(name) - before.value(name);
    let sides = stage.producer.iter().count() + stage.consumer.iter().count();
    let expected = if case.elsewhere { sides as u64 } else { 0 };
    assert_eq!(risen("httpipe_handovers_total"), expected, "handovers");
    let large = matches!(case.row.1, LargeMidway | AllSent | AllRead);
    let spliced = risen("httpipe_bytes_total{path=\"spliced\"}");
    assert_eq!(
        spliced > 0,
        large && case.splices,
        "{spliced} bytes spliced"
    );
    let copied = risen("httpipe_bytes_total{path=\"copied\"}");
    let fewest = if large && !case.splices {
        LARGE_BYTES_MIN
    } else {
        0
    };
    assert!(copied >= fewest, "{copied} bytes copied");
}

// ---------------------------------------------------------------- the event

fn befall(
    befalls: Befalls,
    case: &Case,
    stage: &mut Stage,
    server: &Server,
    channel: &str,
    message: &Message,
) {
    match befalls {
        NobodyComes | NothingMoves => {}
        ChannelDeleted => delete(case, server, &format!("/channels/{channel}")),
        NamespaceDeleted => delete(case, server, "/channels/row"),
        ConsumerLeaves(how) => {
            let consumer = stage.consumer.take().expect("it is there");
            stage.consumer = leave(consumer, how);
            if how == Close && matches!(case.row.1, SmallMidway | LargeMidway) {
                keep_sending(case, stage, server, message);
            }
        }
        ProducerLeaves(how) => {
            let producer = stage.producer.take().expect("it is there");
            stage.producer = leave(producer, how);
        }
        FramingBreaks => {
            let producer = stage.producer.as_mut().expect("it is there");
            producer.send(broken(case, message));
        }
        ShutsDown => {
            server.terminate();
            if let Some(rival) = &mut stage.rival {
                rival.last_reply().assert_status(503);
            }
        }
    }
}

fn delete(case: &Case, server: &Server, target: &str) {
    let in_use = !matches!(case.row.1, ProducersHead | ConsumersHead);
    let status = server.ask("DELETE", target).status;
    assert_eq!(status, if in_use { 204 } else { 404 });
}

/// Bytes that break the chunked coding at the producer's position.
fn broken(case: &Case, message: &Message) -> Vec<u8> {
    match case.row.1 {
        ProducersHead => [&message.head[message.head.len() / 2..], b"5g\r\n"].concat(),
        LargeMidway => {
            let chunk_end = message.rest.len() - b"\r\n0\r\n\r\n".len();
            [&message.rest[..chunk_end], b"no end"].concat()
        }
        _ => b"5g\r\n".to_vec(),
    }
}

/// A closed consumer is detected by sending to it: it answers the first bytes with a reset, and the
/// next ones fail.
fn keep_sending(case: &Case, stage: &mut Stage, server: &Server, message: &Message) {
    let producer = stage.producer.as_mut().expect("it is there");
    // Whole chunks of the small body, or any bytes of the large one.
    let piece_bytes = match (case.row.1, case.is_chunked()) {
        (SmallMidway, true) => chunk(b"a").len(),
        (SmallMidway, false) => 1,
        _ => 16 * 1024,
    };
    let mut pieces = message.rest.chunks(piece_bytes);
    let noticed = within_bound(|| {
        if server.metrics().value("httpipe_exchanging") == 0 {
            return Some(());
        }
        let _ = producer.try_send(pieces.next().expect("it is detected earlier"));
        None
    });
    assert!(
        noticed.is_some(),
        "the server did not detect that the consumer left"
    );
}

// ---------------------------------------------------------------- the replies

fn hear_producer(case: &Case, hears: Hears, producer: &mut Connection) {
    match hears {
        Gone | WaitsOn | HeadGoesOn => producer.expect_nothing(),
        Status(status, then) => {
            let reply = producer.reply();
            reply.assert_status(status);
            check_then(producer, case.then(Side::Producer, then), reply.closes());
            if status == 503 {
                check_retry_after(reply.value("Retry-After"));
            }
        }
        Whole(then) => {
            let reply = producer.reply();
            reply.assert_status(200);
            check_then(producer, case.then(Side::Producer, then), reply.closes());
        }
        End0 => producer.expect_end(),
        Cut => unreachable!("a producer is sent no body"),
    }
}

fn hear_consumer(case: &Case, hears: Hears, consumer: &mut Connection, message: &Message) {
    let is_old = case.version == HTTP_10;
    let head_is_read = matches!(case.row.1, SmallMidway | LargeMidway);
    let read = if head_is_read {
        message.front_payload_bytes
    } else {
        0
    };
    match hears {
        Gone | WaitsOn | HeadGoesOn => consumer.expect_nothing(),
        Status(status, then) => {
            let reply = consumer.reply();
            reply.assert_status(status);
            check_then(consumer, case.then(Side::Consumer, then), reply.closes());
            if status == 503 {
                check_retry_after(reply.value("Retry-After"));
            }
        }
        Whole(then) => {
            if !head_is_read {
                hear_head(case, then, consumer);
            }
            let rest = consumer.rest_of_body().expect("a whole body");
            assert_same_bytes(&rest, &message.payload[read..]);
            check_end(consumer, case.then(Side::Consumer, then));
        }
        Cut => {
            let shows = match head_is_read {
                // An HTTP/1.0 consumer of a chunked body can see a cut only by a reset.
                true if is_old && case.is_chunked() => End::Reset,
                true => End::Fin,
                false => match consumer.head().framing {
                    Framing::Close => End::Reset,
                    _ => End::Fin,
                },
            };
            let cut = consumer.expect_cut();
            assert_eq!(cut.end, shows);
            assert!(message.payload[read..].starts_with(&cut.received));
        }
        End0 => consumer.expect_end(),
    }
}

/// The head of the consumer's 200, which says whether the connection closes.
fn hear_head(case: &Case, then: Then, consumer: &mut Connection) {
    let head = consumer.head();
    head.assert_status(200);
    check_said(case.then(Side::Consumer, then), head.closes());
}

/// The connection does what the reply said.
fn check_then(connection: &mut Connection, then: Then, said: bool) {
    check_said(then, said);
    check_end(connection, then);
}

fn check_said(then: Then, said: bool) {
    assert_eq!(
        said,
        then == Closes,
        "whether the reply says that the connection closes"
    );
}

/// The connection ends with a FIN and nothing more, or serves the next request.
fn check_end(connection: &mut Connection, then: Then) {
    match then {
        Closes | Ends => connection.expect_end(),
        Lives => {
            connection.send(request("GET", "/healthz"));
            connection.reply().assert_status(200);
        }
    }
}

// ---------------------------------------------------------------- after the event

const OUTCOMES: [&str; 6] = [
    "delivered",
    "producer_left",
    "consumer_left",
    "deleted",
    "idle",
    "drained",
];

/// One more exchange with this outcome, and none with another.
fn check_counters(outcome: Option<&str>, before: &Metrics, server: &Server) {
    let named = |name| format!("httpipe_exchanges_total{{outcome=\"{name}\"}}");
    let ended = |metrics: &Metrics| OUTCOMES.map(|name| metrics.value(&named(name)));
    let expected = OUTCOMES.map(|name| {
        let more = u64::from(outcome == Some(name));
        before.value(&named(name)) + more
    });
    let mut last = ended(before);
    within_bound(|| {
        last = ended(&server.metrics());
        (last == expected).then_some(())
    });
    assert_eq!(last, expected, "{OUTCOMES:?}");
    assert_eq!(server.metrics().value("httpipe_panics_total"), 0);
}

/// The channel is in use exactly if one side waits on; that side is then served before the rival.
fn check_channel(
    case: &Case,
    stage: &mut Stage,
    server: &Server,
    channel: &str,
    message: &Message,
) {
    let Stage {
        producer,
        consumer,
        rival,
    } = stage;
    match (case.row.2, case.row.3) {
        (WaitsOn, _) => {
            let (producer, rival) = (
                producer.as_mut().expect("here"),
                rival.as_mut().expect("here"),
            );
            server.until_waiting(Side::Producer, 2);
            let mut next = server.consume(channel);
            producer.send(&message.rest);
            assert_same_bytes(&next.reply().body, message.payload);
            producer.reply().assert_status(200);
            assert_eq!(server.consume(channel).reply().body, b"rival");
            rival.reply().assert_status(200);
        }
        (_, WaitsOn) => {
            let (consumer, rival) = (
                consumer.as_mut().expect("here"),
                rival.as_mut().expect("here"),
            );
            server.until_waiting(Side::Consumer, 2);
            for (taker, body) in [(consumer, b"1st"), (rival, b"2nd")] {
                let mut next = server.produce(channel, body);
                assert_eq!(taker.reply().body, body);
                next.reply().assert_status(200);
            }
        }
        (HeadGoesOn, _) => {
            let producer = producer.as_mut().expect("here");
            producer.send(&message.head[message.head.len() / 2..]);
            producer.send(&message.rest);
            assert_same_bytes(&server.consume(channel).reply().body, message.payload);
            producer.reply().assert_status(200);
        }
        (_, HeadGoesOn) => {
            let consumer = consumer.as_mut().expect("here");
            let request = format!("GET /channels/{channel} {}\r\n", case.version);
            consumer.send(&request[request.len() / 2..]);
            let mut next = server.produce(channel, b"late");
            assert_eq!(consumer.reply().body, b"late");
            next.reply().assert_status(200);
        }
        _ => server.until_unused(),
    }
}
