//! Rules for whatever two clients send to a server over whole connections. Has its own reader of
//! replies, because a client that sends noise does not know which request a reply answers.

use httpipe::testing::http::{
    decode::BodyDecoder,
    head::{Parsed, parse},
    method::Method,
};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// Ends a piece of a script; the next piece is the other client's.
pub const TURN: &[u8] = b"\xff\xfe";

/// The most time for the server to end a connection after a FIN: far above the time limits that it
/// should be started with (at most a second).
const STUCK: Duration = Duration::from_secs(15);

/// The silence of the server after which patient clients go on.
const MOMENT: Duration = Duration::from_millis(2);

/// One request of a client, as a server must read it.
struct Sent {
    /// The body that a consumer may receive; none for another method, or for an incomplete body.
    produced: Option<Vec<u8>>,
    head_only: bool,
}

/// A reply; `cut` if the stream ended before its body did.
struct Reply {
    status: u16,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
    cut: bool,
}

/// Two clients send the pieces of `script` in turns, half-close, and read to the end. After an even
/// number of pieces there is a pause before the FINs, in which an exchange can end; after an odd
/// number there is none, so the server may read the FIN directly after the bytes.
///
/// The server ends both connections, sends only well-formed HTTP, sends no reply without a
/// request, and a body that looks whole is one that was sent whole.
///
/// # Panics
/// If one of the rules does not hold.
pub fn check(address: SocketAddr, script: &[u8]) {
    let pieces = split(script);
    let sent = [0, 1].map(|who| pieces.iter().skip(who).step_by(2).copied().flatten());
    let sent = sent.map(|bytes| bytes.copied().collect::<Vec<u8>>());
    let received = play(address, &pieces);
    let requests = sent.each_ref().map(|sent| requests(sent));
    for (who, received) in received.iter().enumerate() {
        let replies = replies(received, requests[who].iter().any(|sent| sent.head_only));
        // A head that is refused or incomplete is answered too.
        let answers = replies.len();
        assert!(
            answers <= requests[who].len() + 1,
            "{}",
            received.escape_ascii()
        );
        for reply in &replies {
            check_reply(reply, &requests, received);
        }
    }
}

fn split(script: &[u8]) -> Vec<&[u8]> {
    let (mut pieces, mut left) = (Vec::new(), script);
    while let Some(end) = left.windows(TURN.len()).position(|two| two == TURN) {
        pieces.push(&left[..end]);
        left = &left[end + TURN.len()..];
    }
    pieces.push(left);
    pieces
}

/// The bytes that each client received. The server may close while its client still sends.
fn play(address: SocketAddr, pieces: &[&[u8]]) -> [Vec<u8>; 2] {
    let mut clients = [0, 1].map(|_| {
        let client = TcpStream::connect_timeout(&address, STUCK).expect("the server accepts");
        client.set_nodelay(true).expect("a TCP option");
        client.set_read_timeout(Some(STUCK)).expect("a bound");
        client.set_write_timeout(Some(STUCK)).expect("a bound");
        client
    });
    for (turn, piece) in pieces.iter().enumerate() {
        if let Err(error) = clients[turn % 2].write_all(piece) {
            assert!(is_closed(&error), "cannot send: {error}");
        }
    }
    let mut received = [Vec::new(), Vec::new()];
    if pieces.len().is_multiple_of(2) {
        for (client, received) in clients.iter_mut().zip(&mut received) {
            read_for_a_moment(client, received);
        }
    }
    for client in &clients {
        // Fails if the server has already reset the connection.
        let _ = client.shutdown(Shutdown::Write);
    }
    for (client, received) in clients.iter_mut().zip(&mut received) {
        read_to_end(client, received);
    }
    received
}

fn is_closed(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
    )
}

fn read_for_a_moment(client: &mut TcpStream, received: &mut Vec<u8>) {
    client.set_read_timeout(Some(MOMENT)).expect("a bound");
    // If it ends, fails or times out, the read to the end finds that again.
    let _ = client.read_to_end(received);
    client.set_read_timeout(Some(STUCK)).expect("a bound");
}

fn read_to_end(client: &mut TcpStream, received: &mut Vec<u8>) {
    if let Err(error) = client.read_to_end(received) {
        assert!(
            is_closed(&error),
            "the server did not end a connection after its client's FIN: {error}; it sent {}",
            received.escape_ascii()
        );
    }
}

/// The requests in a client's bytes, up to the first one that is broken or incomplete.
fn requests(mut sent: &[u8]) -> Vec<Sent> {
    let mut requests = Vec::new();
    while let Ok(Parsed::Complete(head)) = parse(sent) {
        let mut body = sent[usize::from(head.head_bytes)..].to_vec();
        let mut decoder = BodyDecoder::new(head.body);
        let stripped = decoder.strip(&mut body);
        let produces = matches!(head.method, Method::Post | Method::Put);
        let head_only = head.method == Method::Head;
        let end = match stripped {
            Ok(stripped) if decoder.is_end() => stripped,
            _ => {
                requests.push(Sent {
                    produced: None,
                    head_only,
                });
                break;
            }
        };
        let produced = produces.then(|| body[..end.payload].to_vec());
        requests.push(Sent {
            produced,
            head_only,
        });
        sent = &sent[usize::from(head.head_bytes) + end.rest..];
    }
    if sent.trim_ascii_start().starts_with(b"HEAD ") {
        // The refusal of this broken head has no body either.
        requests.push(Sent {
            produced: None,
            head_only: true,
        });
    }
    requests
}

/// Reads final replies to the end, and fails at anything else. `head_only`: some replies may lack
/// the body that they declare.
fn replies(received: &[u8], head_only: bool) -> Vec<Reply> {
    let (mut replies, mut left) = (Vec::new(), received);
    while !left.is_empty() {
        if let Some(rest) = left.strip_prefix(b"HTTP/1.1 100 Continue\r\n\r\n") {
            left = rest;
            continue;
        }
        let end = left.windows(4).position(|four| four == b"\r\n\r\n");
        let (head, rest) = left.split_at(end.expect("a reply's head is whole") + 4);
        let mut reply = reply_head(head);
        left = rest;
        if !(head_only && (left.is_empty() || left.starts_with(b"HTTP/1."))) {
            left = take_body(&mut reply, left);
        }
        replies.push(reply);
    }
    replies
}

fn reply_head(head: &[u8]) -> Reply {
    // A producer's field values may have bytes outside ASCII (RFC 9110 §5.5, `obs-text`) in any
    // encoding; each byte becomes one character.
    let text: String = head.iter().map(|&byte| char::from(byte)).collect();
    let mut lines = text.trim_end_matches("\r\n").split("\r\n");
    let first = lines.next().expect("a line");
    let status = first
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..4));
    let status = status.and_then(|status| status.strip_suffix(' ')?.parse().ok());
    let status = status.unwrap_or_else(|| panic!("not a status line: {first}"));
    assert!((200..600).contains(&status), "not a final reply: {first}");
    let fields = lines.map(|line| {
        assert!(line.chars().all(|c| c == '\t' || c >= ' ' && c != '\x7f'));
        let (name, value) = line.split_once(':').expect("a field line has a colon");
        assert!(!name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic()));
        (
            name.to_ascii_lowercase(),
            value.trim_matches([' ', '\t']).to_owned(),
        )
    });
    Reply {
        status,
        fields: fields.collect(),
        body: Vec::new(),
        cut: false,
    }
}

impl Reply {
    fn value(&self, name: &str) -> Option<&str> {
        let mut values = self.fields.iter().filter(|field| field.0 == name);
        let value = values.next().map(|field| field.1.as_str());
        assert!(values.next().is_none(), "{name} comes twice");
        value
    }
}

/// Takes a reply's body from the beginning of `left`; returns what follows it (RFC 9112 §6.3).
fn take_body<'a>(reply: &mut Reply, left: &'a [u8]) -> &'a [u8] {
    let length = reply.value("content-length").map(str::to_owned);
    let coding = reply.value("transfer-encoding").map(str::to_owned);
    match (length, coding) {
        (None, None) if reply.status == 204 => left,
        (Some(length), None) if reply.status != 204 => {
            let bytes: usize = length.parse().expect("a length");
            reply.cut = left.len() < bytes;
            let (body, rest) = left.split_at(bytes.min(left.len()));
            reply.body = body.to_vec();
            rest
        }
        (None, Some(coding)) if reply.status != 204 => {
            assert_eq!(coding, "chunked");
            take_chunked(reply, left)
        }
        (None, None) => {
            // Ends with the connection. This reader does not distinguish a reset from a FIN, so the
            // end proves nothing.
            assert_eq!(reply.value("connection"), Some("close"));
            reply.body = left.to_vec();
            reply.cut = true;
            &[]
        }
        framing => panic!("a {} with {framing:?}", reply.status),
    }
}

fn take_chunked<'a>(reply: &mut Reply, mut left: &'a [u8]) -> &'a [u8] {
    while let Some(end) = left.windows(2).position(|two| two == b"\r\n") {
        let size = std::str::from_utf8(&left[..end]).expect("a size in hex");
        let size = usize::from_str_radix(size, 16).expect("a size in hex");
        left = &left[end + 2..];
        let there = size.min(left.len());
        reply.body.extend_from_slice(&left[..there]);
        left = &left[there..];
        if left.len() < 2 {
            break;
        }
        left = left.strip_prefix(b"\r\n").expect("CRLF after a chunk");
        if size == 0 {
            return left;
        }
    }
    reply.cut = true;
    &[]
}

fn check_reply(reply: &Reply, requests: &[Vec<Sent>; 2], received: &[u8]) {
    assert!(reply.value("date").is_some(), "{}", received.escape_ascii());
    match reply.status {
        // Only a consumer's reply has this field.
        200 if reply.value("x-accel-buffering").is_some() && !reply.cut => {
            let mut produced = requests.iter().flatten().flat_map(|sent| &sent.produced);
            let known = produced.any(|body| *body == reply.body);
            assert!(
                known,
                "no client sent this body: {}",
                received.escape_ascii()
            );
        }
        200 | 204 => {}
        400 | 404 | 405 | 408 | 410 | 411 | 412 | 413 | 414 | 417 | 431 | 501 | 502 | 504 | 505 => {
            assert!(!reply.cut, "{}", received.escape_ascii());
        }
        status => panic!("{status}: {}", received.escape_ascii()),
    }
}
