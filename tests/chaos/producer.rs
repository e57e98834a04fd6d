//! A client that sends a body: whole and correctly, or with a fault of its own.

use super::client::{Client, Leaving, final_status};
use super::ledger::{Oddity, Parcel, channel_name, disposition};
use crate::support::connection::{Connection, Reply};
use crate::support::request::{chunked, chunks, post_head_with};

/// A producer's request as sent.
struct Message {
    number: usize,
    channel: usize,
    head: Vec<u8>,
    coded: Vec<u8>,
    is_chunked: bool,
    expects: bool,
}

impl Message {
    fn whole(&self) -> Vec<u8> {
        [&self.head[..], &self.coded].concat()
    }
}

/// Sends one request with a body to `channel`.
pub fn produce(
    client: &mut Client<'_>,
    connection: Connection,
    channel: usize,
) -> Option<Connection> {
    let bytes_max = any_size(client);
    let parcel = client
        .ledger
        .new_parcel(channel, &mut client.rng, bytes_max);
    let message = any_message(client, channel, &parcel);
    match client.rng.u8(..100) {
        0..9 => leave_early(client, connection, &message),
        9..13 => leave_unheard(client, connection, &message),
        13..25 => stall(client, connection, &message),
        25..28 => slow_head(client, connection, &message),
        28..33 => break_framing(client, connection, &message, &parcel),
        33..36 => send_too_much(client, connection, &message),
        _ => in_good_order(client, connection, &message),
    }
}

/// Sizes at which a body leaves with the head, is copied, or is spliced.
fn any_size(client: &mut Client<'_>) -> usize {
    match client.rng.u16(..1000) {
        0..80 => {
            client.note(Oddity::EmptyBody);
            0
        }
        80..600 => 2000,
        600..850 => 60_000,
        850..970 => 400_000,
        970..995 => {
            client.note(Oddity::LargeBody);
            2 << 20
        }
        _ => {
            client.note(Oddity::LargeBody);
            6 << 20
        }
    }
}

fn any_message(client: &mut Client<'_>, channel: usize, parcel: &Parcel) -> Message {
    let rng = &mut client.rng;
    let (is_chunked, expects) = (rng.bool(), rng.u8(..6) == 0);
    let body = &parcel.body;
    let (fields, coded) = if is_chunked {
        let chunk_bytes = body.len() / 200 + 1 + rng.usize(..100_000);
        let coded = chunked(body, chunk_bytes);
        (CHUNKED.to_owned(), coded)
    } else {
        (length(body.len()), body.clone())
    };
    let expectation = if expects {
        "Expect: 100-continue\r\n"
    } else {
        ""
    };
    let fields = format!("{expectation}{}{fields}", disposition(parcel.number));
    let head = post_head_with(&channel_name(channel), &fields);
    Message {
        number: parcel.number,
        channel,
        head,
        coded,
        is_chunked,
        expects,
    }
}

pub const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";

pub fn length(bytes: usize) -> String {
    format!("Content-Length: {bytes}\r\n")
}

/// Replies that the producer of an intact body may receive.
pub fn check_status(reply: &Reply) {
    match reply.status {
        200 | 408 | 410 | 502 | 504 => {}
        503 => drop(reply.assert_turned_away()),
        status => panic!("a producer received {status}"),
    }
}

fn in_good_order(
    client: &mut Client<'_>,
    mut connection: Connection,
    message: &Message,
) -> Option<Connection> {
    client.begin("producing");
    if message.expects && client.rng.bool() {
        client.note(Oddity::Expectation);
        connection.send(&message.head);
        if !connection.is_continue_next() {
            return hear_final(client, connection, message, false);
        }
        connection.expect_continue();
        let sent = connection.try_send(&message.coded).is_ok();
        return hear_final(client, connection, message, sent);
    }
    if message.expects {
        client.note(Oddity::ImpatientExpectation);
    }
    let whole = message.whole();
    let (front, back) = whole.split_at(client.rng.usize(..=whole.len()));
    let sent = connection
        .try_send(front)
        .and_then(|()| connection.try_send(back));
    hear_final(client, connection, message, sent.is_ok())
}

/// Reads the reply to a body that was sent whole, unless the server stopped reading (`sent`).
fn hear_final(
    client: &mut Client<'_>,
    mut connection: Connection,
    message: &Message,
    sent: bool,
) -> Option<Connection> {
    let reply = connection.reply_after_continue();
    check_status(&reply);
    let empty = message.coded.is_empty();
    assert!(
        sent || empty || reply.status != 200,
        "200 for a body that was not sent whole"
    );
    client.ledger.producer_heard(message.number, reply.status);
    let goes_on = !reply.closes() && (sent || empty);
    assert!(
        goes_on || reply.closes(),
        "{} and a body unread",
        reply.status
    );
    goes_on.then_some(connection)
}

/// Leaves in the head or in the body.
fn leave_early(
    client: &mut Client<'_>,
    mut connection: Connection,
    message: &Message,
) -> Option<Connection> {
    client.begin("leaving a body behind");
    client.ledger.spoil(message.number);
    let whole = message.whole();
    let within = match client.rng.u8(..4) {
        0 => ..message.head.len(),
        _ => ..whole.len(),
    };
    let cut = client.rng.usize(within);
    let _ = connection.try_send(&whole[..cut]);
    leave(client, connection, message);
    None
}

/// Sends everything and leaves before the reply.
fn leave_unheard(
    client: &mut Client<'_>,
    mut connection: Connection,
    message: &Message,
) -> Option<Connection> {
    client.begin("leaving without a reply");
    client.note(Oddity::ReplyUnheard);
    let _ = connection.try_send(message.whole());
    leave(client, connection, message);
    None
}

/// A producer that half-closes still reads what the server sends, if anything.
fn leave(client: &mut Client<'_>, mut connection: Connection, message: &Message) {
    match client.any_leaving() {
        Leaving::Close => connection.close(),
        Leaving::Reset => connection.reset(),
        Leaving::HalfClose => {
            connection.half_close();
            let (said, _) = connection.until_end();
            if let Some(status) = final_status(&said) {
                return client.ledger.producer_heard(message.number, status);
            }
        }
    }
    client.ledger.producer_left(message.number);
}

fn stall(
    client: &mut Client<'_>,
    mut connection: Connection,
    message: &Message,
) -> Option<Connection> {
    client.begin("producing with a stall");
    let whole = message.whole();
    let cut = client.rng.usize(message.head.len()..=whole.len());
    let front = connection.try_send(&whole[..cut]);
    client.stall();
    let sent = front.and_then(|()| connection.try_send(&whole[cut..]));
    hear_final(client, connection, message, sent.is_ok())
}

fn slow_head(
    client: &mut Client<'_>,
    mut connection: Connection,
    message: &Message,
) -> Option<Connection> {
    client.begin("producing slowly");
    client.send_slowly(&mut connection, &message.head);
    let sent = connection.try_send(&message.coded);
    hear_final(client, connection, message, sent.is_ok())
}

/// Breaks the chunked coding, or sends less than the declared length: never 200, and the connection
/// ends.
fn break_framing(
    client: &mut Client<'_>,
    mut connection: Connection,
    message: &Message,
    parcel: &Parcel,
) -> Option<Connection> {
    client.begin("breaking its framing");
    client.ledger.spoil(message.number);
    let front = &parcel.body[..client.rng.usize(..=parcel.body.len())];
    if !message.is_chunked {
        client.note(Oddity::TooShort);
        let declared = message.coded.len() + 1;
        let fields = disposition(message.number) + &length(declared);
        let head = post_head_with(&channel_name(message.channel), &fields);
        let _ = connection.try_send([&head, &message.coded[..]].concat());
        leave(client, connection, message);
        return None;
    }
    let mut coded = chunks(front, 50_000);
    if coded.is_empty() || client.rng.bool() {
        client.note(Oddity::BadChunkSize);
        coded.extend_from_slice(b"5g\r\nabcde\r\n0\r\n\r\n");
    } else {
        client.note(Oddity::NoChunkEnd);
        coded.truncate(coded.len() - b"\r\n".len());
        coded.extend_from_slice(b"fg\r\n0\r\n\r\n");
    }
    let _ = connection.try_send([&message.head, &coded[..]].concat());
    let reply = connection.reply_after_continue();
    assert!(
        matches!(reply.status, 400 | 408 | 410 | 502 | 503 | 504) && reply.closes(),
        "{} for broken framing",
        reply.status
    );
    client.ledger.producer_heard(message.number, reply.status);
    let (more, _) = connection.until_end();
    assert!(more.is_empty(), "a reply after broken framing");
    None
}

/// Sends bytes after the end of the body: they are the next request, and an invalid one.
fn send_too_much(
    client: &mut Client<'_>,
    mut connection: Connection,
    message: &Message,
) -> Option<Connection> {
    client.begin("sending too much");
    client.note(Oddity::TooLong);
    let bytes = [&message.head, &message.coded[..], b"\0too much\r\n\r\n"].concat();
    let _ = connection.try_send(bytes);
    let reply = connection.reply_after_continue();
    check_status(&reply);
    client.ledger.producer_heard(message.number, reply.status);
    if reply.closes() {
        let (more, _) = connection.until_end();
        assert!(more.is_empty(), "a reply after the last one");
        return None;
    }
    let refusal = connection.last_reply();
    assert_eq!(refusal.status, 400);
    client.ledger.replied(400);
    None
}
