//! Rules that hold for any input, checked on seeded input: noise, sequences of fragments that are
//! hard for parsers, and valid inputs with one thing broken. `fuzz/` runs the same checks
//! (`properties/`) with a fuzzer, which finds its inputs itself and runs longer.
//!
//! Seeded: a failure prints its seed and its input. `HTTPIPE_SEED` runs only that seed.

mod chunked;
mod connection;
mod head;
mod input;
mod request;
mod route;

use crate::support::server::Server;
use fastrand::Rng;

/// Inputs per pure check; about a second each in a debug build.
const INPUTS: u64 = 4_000;
/// Scripts of two whole connections. Some end only when the server checks for clients that have
/// left with bytes unread, every 100 ms: eight seconds in total.
const CONNECTIONS: u64 = 200;

const METHOD: &[&str] = &[
    "GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "BREW", "get", "",
];

#[rustfmt::skip]
const PATH: &[&str] = &[
    "/channels/p/q", "/channels/p/%71", "/state", "/channels/p", "/", "http://h/channels/p/q", "/%zz",
];

#[rustfmt::skip]
const END_OF_LINE: &[&str] = &[
    " HTTP/1.1\r\n", " HTTP/1.0\r\n", " HTTP/1.2\r\n", " HTTP/2.0\r\n", " HTTP/1.1\n", "\r\n",
    "\r\n\r\n", "\n", "\r", " ", "\t", "\u{0}", "\u{fc}",
];

#[rustfmt::skip]
const FIELD: &[&str] = &[
    "Host: h\r\n", "Host: h:1\r\n", "Host: a, b\r\n", "host:\r\n", "Content-Length: 5\r\n",
    "Content-Length: +5\r\n", "Content-Length: 5, 5\r\n", "Content-Length:\t0 \r\n",
    "Content-Length: 9223372036854775808\r\n", "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: gzip, chunked\r\n", "Transfer-Encoding : chunked\r\n",
    "Transfer-Encoding:\u{b}chunked\r\n", "Connection: close\r\n", "Connection: x,keep-alive\r\n",
    "Expect: 100-continue\r\n", "Expect: x\r\n", "Expect: , 100-continue\r\n", "Content-Type: a/b\r\n", "Content-Type:\r\n",
    "Range: bytes=5-\r\n", "Range: bytes=0-\r\n", "Content-Language: \t\r\n", " folded\r\n", ": x\r\n", "X: \u{0}\r\n", "X: \u{fc}\r\n", "X: y\r\n",
];

#[rustfmt::skip]
const BODY: &[&str] = &[
    "0\r\n", "0\r\n\r\n", "1\r\na\r\n", "3\r\nabc\r\n", "00c;x=\"y\"\r\n0123456789ab\r\n", "1", "f",
    "F", "7fffffffffffffff\r\n", "8000000000000000\r\n", "00000000000000001\r\n", ";", ";a=b", " ",
    "\t", "\r\n", "\r", "\n", "X: y\r\n", "X : y\r\n", ":", "a", "hello", "\u{0}", "\u{7f}", "\u{fc}",
    "GET /state HTTP/1.1\r\nHost: h\r\n\r\n",
];

#[rustfmt::skip]
const TARGET: &[&str] = &[
    "/", "/channels", "/channels/", "namespaces", "/state", "/metrics", "http://", "HTTPS://", "h:1",
    "*", "a", "p", "%61", "%2F", "%2f", "%25", "%00", "%7f", "%C2%80", "%c3%bc", "%FF", "%", "%4", "?",
    "#", "..", "\u{fc}", "\u{80}", "\u{0}", " ", "\t", ";x", "%E2%82%AC",
];

/// Valid requests of producers.
const PRODUCE: &[&str] = &[
    "POST /channels/p/q HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Type: a/b\r\n\r\nhello",
    "PUT /channels/p/q HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
    "POST /channels/p/q HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "POST /channels/p/q HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\
     Expect: 100-continue\r\n\r\n1;x=y\r\na\r\n00A\r\n0123456789\r\n0\r\nX: y\r\n\r\n",
    "POST /channels/p/q HTTP/1.0\r\nContent-Length: 3\r\n\r\nxyz",
];

/// Valid requests of consumers.
const CONSUME: &[&str] = &[
    "GET /channels/p/q HTTP/1.1\r\nHost: h\r\n\r\n",
    "GET /channels/p/q HTTP/1.0\r\n\r\n",
    "GET /channels/p/q HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
];

/// Other valid requests.
const OTHER: &[&str] = &[
    "DELETE /channels/p/q HTTP/1.1\r\nHost: h\r\n\r\n",
    "DELETE /channels/p HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nok",
    "GET /state HTTP/1.1\r\nHost: h\r\n\r\n",
    "HEAD /channels/p/q HTTP/1.1\r\nHost: h\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
];

#[test]
fn a_head_parses_the_same_in_any_pieces_and_by_a_simple_reader() {
    each_seed("head", INPUTS, |rng| {
        let fragments = [METHOD, PATH, END_OF_LINE, FIELD].concat();
        let mut head = noise_or(rng, &fragments);
        if rng.u8(..4) > 0 {
            head = [request_of(rng).into_bytes(), head].concat();
        }
        disturb(rng, &mut head, &fragments);
        told(&head, head::check);
    });
}

#[test]
fn a_chunked_body_decodes_the_same_in_any_pieces_and_by_a_simple_reader() {
    each_seed("chunked", INPUTS, |rng| {
        // One mistake in a valid body gets further than noise does.
        let noise = if rng.bool() {
            noise_or(rng, BODY)
        } else {
            Vec::new()
        };
        let mut body = [b"3\r\nabc\r\n", &noise[..], b"0\r\n\r\n"].concat();
        disturb(rng, &mut body, BODY);
        told(&cut(rng, &body), chunked::check);
    });
}

#[test]
fn targets_mean_the_same_in_any_form_and_their_names_are_valid() {
    each_seed("route", INPUTS, |rng| {
        let mut target = noise_or(rng, TARGET);
        if rng.bool() {
            target = [b"/channels/", &target[..]].concat();
        }
        told(&target, route::check);
    });
}

#[test]
fn a_waiting_request_is_the_same_in_any_pieces() {
    each_seed("request", INPUTS, |rng| {
        let mut request = request_of(rng).into_bytes();
        request.extend(noise_or(rng, BODY));
        if rng.u8(..4) == 0 {
            disturb(rng, &mut request, BODY);
        }
        told(&cut(rng, &request), request::check);
    });
}

#[test]
fn whatever_two_clients_send_the_server_sends_well_formed_replies_and_does_not_panic() {
    let server = Server::start(&[
        "--header-timeout=1",
        "--keep-alive-timeout=1",
        "--request-timeout=0.2",
        "--idle-timeout=0.5",
    ]);
    let ran = each_seed("connection", CONNECTIONS, |rng| {
        told(&script(rng), |script| {
            connection::check(server.address(), script);
        });
    });
    server.until_unused();
    let metrics = server.metrics();
    assert_eq!(metrics.value("httpipe_panics_total"), 0);
    let delivered = metrics.value("httpipe_exchanges_total{outcome=\"delivered\"}");
    // About half of the scripts lead to an exchange, but a single seed may not.
    assert!(delivered > 0 || ran == 1, "nothing was ever delivered");
}

/// Runs `check` with each seed, or with `HTTPIPE_SEED` only; returns the number of runs.
fn each_seed(what: &str, seeds: u64, mut check: impl FnMut(&mut Rng)) -> usize {
    let seeds = match std::env::var("HTTPIPE_SEED") {
        Ok(seed) => {
            let seed = seed.parse().expect("HTTPIPE_SEED is a number");
            seed..seed + 1
        }
        Err(_) => 0..seeds,
    };
    for seed in seeds.clone() {
        let _told = Told(|| eprintln!("{what}: HTTPIPE_SEED={seed}"));
        check(&mut Rng::with_seed(seed));
    }
    seeds.count()
}

/// Runs `check` on `input`; a failure prints the input.
fn told(input: &[u8], check: impl FnOnce(&[u8])) {
    let _told = Told(|| eprintln!("the input was \"{}\"", input.escape_ascii()));
    check(input);
}

/// Prints something if a panic drops it.
struct Told<F: Fn()>(F);

impl<F: Fn()> Drop for Told<F> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0();
        }
    }
}

fn one_of<'a>(rng: &mut Rng, fragments: &[&'a str]) -> &'a str {
    fragments[rng.usize(..fragments.len())]
}

/// A valid request, or one built line by line.
fn request_of(rng: &mut Rng) -> String {
    let good = match rng.u8(..8) {
        0..2 => PRODUCE,
        2..4 => CONSUME,
        4 => OTHER,
        _ => return lines_of(rng),
    };
    one_of(rng, good).to_owned()
}

fn lines_of(rng: &mut Rng) -> String {
    let fields: String = (0..rng.usize(..6)).map(|_| one_of(rng, FIELD)).collect();
    let (method, path) = (one_of(rng, METHOD), one_of(rng, PATH));
    format!("{method} {path} HTTP/1.1\r\nHost: h\r\n{fields}\r\n")
}

/// A sequence of fragments; rarely pure noise, or one fragment many times.
fn noise_or(rng: &mut Rng, fragments: &[&str]) -> Vec<u8> {
    match rng.u8(..16) {
        0 => (0..rng.usize(..60)).map(|_| rng.u8(..)).collect(),
        1 => one_of(rng, fragments)
            .repeat(rng.usize(..2_000))
            .into_bytes(),
        _ => {
            let row = (0..rng.usize(..14)).map(|_| one_of(rng, fragments));
            row.collect::<String>().into_bytes()
        }
    }
}

/// Removes or replaces up to three bytes, or inserts fragments.
fn disturb(rng: &mut Rng, bytes: &mut Vec<u8>, fragments: &[&str]) {
    for _ in 0..rng.usize(..4) {
        let at = rng.usize(..=bytes.len());
        let removed = at..(at + rng.usize(..2)).min(bytes.len());
        let put = match rng.u8(..3) {
            0 => vec![rng.u8(..)],
            1 => one_of(rng, fragments).as_bytes().to_vec(),
            _ => Vec::new(),
        };
        bytes.splice(removed, put);
    }
}

/// `bytes` as an [`input::Input`]: mostly short pieces, some long ones.
fn cut(rng: &mut Rng, bytes: &[u8]) -> Vec<u8> {
    let size_max = if rng.bool() { 4 } else { u8::MAX };
    let sizes: [u8; input::SIZES] = std::array::from_fn(|_| rng.u8(..=size_max));
    [&sizes, bytes].concat()
}

/// What two clients send in turns, cut anywhere.
fn script(rng: &mut Rng) -> Vec<u8> {
    let mut clients = if rng.bool() {
        let requests = rng.usize(1..4);
        [PRODUCE, CONSUME]
            .map(|good| requests_of(rng, requests, |rng| one_of(rng, good).to_owned()))
    } else {
        [(); 2].map(|()| {
            let requests = rng.usize(1..4);
            requests_of(rng, requests, request_of)
        })
    };
    if rng.bool() {
        clients.reverse();
    }
    let mut script = Vec::new();
    for _ in 0..rng.usize(..8) {
        for client in &mut clients {
            let rest = client.split_off(rng.usize(..=client.len()));
            script.extend_from_slice(&std::mem::replace(client, rest));
            script.extend_from_slice(connection::TURN);
        }
    }
    let [first, second] = clients;
    [&script[..], &first, connection::TURN, &second].concat()
}

/// What one client sends; sometimes with something broken, or with noise after it.
fn requests_of(rng: &mut Rng, requests: usize, mut one: impl FnMut(&mut Rng) -> String) -> Vec<u8> {
    let sent: String = (0..requests).map(|_| one(rng)).collect();
    let mut sent = sent.into_bytes();
    match rng.u8(..6) {
        0 => disturb(rng, &mut sent, END_OF_LINE),
        1 => sent.extend(noise_or(rng, BODY)),
        _ => {}
    }
    sent
}
