//! A client that receives a body: to its end, or with a fault of its own.

use super::client::{Client, Leaving};
use super::ledger::{Oddity, Wanted, channel_name, number_of};
use crate::support::connection::{Connection, End, Framing, Reply};
use crate::support::request::chunked;

/// Requests one body of `channel`.
pub fn consume(
    client: &mut Client<'_>,
    mut connection: Connection,
    channel: usize,
) -> Option<Connection> {
    let (head, body, is_old) = any_request(client, channel);
    let wanted = Wanted::begin(channel, is_old);
    if client.rng.u8(..30) == 0 {
        client.begin("asking slowly");
        client.send_slowly(&mut connection, &head);
        connection.send(&body);
    } else {
        client.begin("consuming");
        connection.send([head, body].concat());
    }
    match client.rng.u8(..100) {
        0..7 => leave_waiting(client, connection, wanted),
        7..17 => leave_receiving(client, connection, wanted),
        17..22 => half_close_receiving(client, connection, wanted),
        22..29 => stall(client, connection, wanted),
        _ => hear_body(client, &mut connection, wanted).then_some(connection),
    }
}

/// A head, a body that will be dropped, and whether it is HTTP/1.0.
fn any_request(client: &mut Client<'_>, channel: usize) -> (Vec<u8>, Vec<u8>, bool) {
    let (version, fields) = match client.rng.u8(..10) {
        0 => ("1.0", ""),
        1 => ("1.0", "Connection: keep-alive\r\n"),
        _ => ("1.1", ""),
    };
    if version == "1.0" {
        client.note(Oddity::Http10);
    }
    let mut unwanted = Vec::new();
    let mut framing = String::new();
    if client.rng.u8(..20) == 0 {
        client.note(Oddity::BodyOnGet);
        unwanted = vec![b'u'; client.rng.usize(..20_000)];
        framing = format!("Content-Length: {}\r\n", unwanted.len());
        if version == "1.1" && client.rng.bool() {
            "Transfer-Encoding: chunked\r\n".clone_into(&mut framing);
            unwanted = chunked(&unwanted, 3000);
        }
    }
    let name = channel_name(channel);
    let head = format!("GET /channels/{name} HTTP/{version}\r\nHost: t\r\n{fields}{framing}\r\n");
    (head.into_bytes(), unwanted, version == "1.0")
}

/// Replies without a body that a consumer may receive.
fn check_refusal(head: &Reply) {
    match head.status {
        408 | 410 => {}
        503 => drop(head.assert_turned_away()),
        status => panic!("a consumer received {status}"),
    }
}

/// Reads a whole reply, or a cut body; returns whether the connection is kept.
pub fn hear_body(client: &mut Client<'_>, connection: &mut Connection, wanted: Wanted) -> bool {
    match hear_head(client, connection, wanted) {
        Ok(head) => hear_rest(client, connection, wanted, &head) && !head.closes(),
        Err(goes_on) => goes_on,
    }
}

/// The head of a reply with a body; for any other reply, whether the connection is kept. A body
/// that ends with its connection is cut by a reset, which may destroy the whole reply.
fn hear_head(
    client: &mut Client<'_>,
    connection: &mut Connection,
    wanted: Wanted,
) -> Result<Reply, bool> {
    if wanted.is_old && connection.end_before_byte() == Some(End::Reset) {
        client.ledger.cut_headless(wanted);
        return Err(false);
    }
    let head = connection.head();
    if head.status == 200 {
        return Ok(head);
    }
    check_refusal(&head);
    connection.rest_of_body().expect("an error is whole");
    client.ledger.refused(wanted, head.status);
    Err(!head.closes())
}

/// Reads the body after its head; returns whether it was whole.
fn hear_rest(
    client: &mut Client<'_>,
    connection: &mut Connection,
    wanted: Wanted,
    head: &Reply,
) -> bool {
    match connection.rest_of_body() {
        Ok(body) => client.ledger.taken(wanted, number_of(head), &body),
        Err(cut) => {
            client.ledger.cut(wanted, number_of(head), &cut.received);
            return false;
        }
    }
    true
}

fn leave_waiting(
    client: &mut Client<'_>,
    mut connection: Connection,
    wanted: Wanted,
) -> Option<Connection> {
    client.begin("leaving before a body");
    match client.any_leaving() {
        Leaving::Close => connection.close(),
        Leaving::Reset => connection.reset(),
        Leaving::HalfClose => {
            connection.half_close();
            // The body may have been faster: then the client receives it as if it had stayed.
            if connection.end_before_byte().is_none() {
                hear_body(client, &mut connection, wanted.half_closed());
                return None;
            }
        }
    }
    client.ledger.consumer_left(wanted.channel);
    None
}

fn leave_receiving(
    client: &mut Client<'_>,
    mut connection: Connection,
    wanted: Wanted,
) -> Option<Connection> {
    let head = match hear_head(client, &mut connection, wanted) {
        Ok(head) => head,
        Err(goes_on) => return goes_on.then_some(connection),
    };
    client.begin("leaving within a body");
    let mut received = Vec::new();
    if matches!(head.framing, Framing::Length(bytes) if bytes > 0) && client.rng.bool() {
        // Cut or not, at least one byte has arrived with the head.
        received = connection.body_bytes(1);
    }
    if client.rng.bool() {
        client.note(Oddity::Close);
        connection.close();
    } else {
        client.note(Oddity::Reset);
        connection.reset();
    }
    client.ledger.left_body(wanted, number_of(&head), &received);
    None
}

/// Its own direction ends; the body goes on.
fn half_close_receiving(
    client: &mut Client<'_>,
    mut connection: Connection,
    wanted: Wanted,
) -> Option<Connection> {
    let head = match hear_head(client, &mut connection, wanted) {
        Ok(head) => head,
        Err(goes_on) => return goes_on.then_some(connection),
    };
    client.begin("receiving, half-closed");
    client.note(Oddity::HalfClose);
    connection.half_close();
    if hear_rest(client, &mut connection, wanted, &head) {
        let (more, _) = connection.until_end();
        assert!(more.is_empty(), "bytes after the last reply");
    }
    None
}

fn stall(
    client: &mut Client<'_>,
    mut connection: Connection,
    wanted: Wanted,
) -> Option<Connection> {
    client.begin("receiving with stalls");
    connection.narrow();
    client.stall();
    hear_body(client, &mut connection, wanted);
    client.stall();
    // The window stays small, so the connection is not used again.
    None
}
