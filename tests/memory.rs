//! What the server and the kernel hold: for a crowd that has gone, and for exchanges that stand still.

use crate::support::connection::Connection;
use crate::support::process::resident_bytes;
use crate::support::request::{chunks, get, post, post_chunked_head, post_head};
use crate::support::server::Server;
use crate::support::{Side, until, within_bound};
use rustix::process::Signal;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};

const CROWD: usize = 2000;

/// What each client of the crowd makes the server hold: nearly as much as it holds for any.
const HELD_BYTES: usize = 16_000;

/// What may stay: pages that are used in part, and what the allocator keeps for each thread.
const LEFT_BYTES_MAX: u64 = 6 << 20;

/// What the server holds for a connection without a request.
const CONNECTION_BYTES_MAX: usize = 2 * 1024;

/// Two shards, warmed up.
fn start() -> (Server, u64) {
    let server = Server::start(&["--threads", "2"]);
    server.barrier();
    let before = resident_bytes(server.pid());
    (server, before)
}

/// A crowd of clients that have sent what `bytes` says for each.
fn crowd(server: &Server, bytes: impl Fn(usize) -> Vec<u8>) -> Vec<Connection> {
    Vec::from_iter((0..CROWD).map(|nth| server.connect_and_send(&bytes(nth))))
}

#[track_caller]
fn until_held(server: &Server, before: u64) {
    let held = before + (CROWD * HELD_BYTES) as u64;
    until("the crowd's bytes", || {
        (resident_bytes(server.pid()) > held).then_some(())
    });
}

/// `staying`: connections that are still open.
#[track_caller]
fn until_given_back(server: &Server, before: u64, staying: usize) {
    let max = LEFT_BYTES_MAX + (staying * CONNECTION_BYTES_MAX) as u64;
    let mut left = 0;
    let given_back = within_bound(|| {
        left = resident_bytes(server.pid()).saturating_sub(before);
        (left < max).then_some(())
    });
    assert!(given_back.is_some(), "{left} bytes stay resident");
}

#[test]
fn producers_that_leave_with_a_part_of_their_bodies_leave_no_memory_behind() {
    let (server, before) = start();
    for _ in 0..2 {
        let producers = crowd(&server, |nth| {
            let head = post_head(&format!("crowd/{nth}"), 1 << 20);
            [head, vec![b'x'; HELD_BYTES]].concat()
        });
        server.until_waiting(Side::Producer, CROWD as u64);
        until_held(&server, before);
        producers.into_iter().for_each(Connection::close);
        until_given_back(&server, before, 0);
    }
    server.until_unused();
}

#[test]
fn clients_that_leave_in_the_middle_of_a_head_leave_no_memory_behind() {
    let (server, before) = start();
    let mut head = get("crowd/head");
    head.truncate(head.len() - 2);
    head.extend_from_slice(b"X: ");
    head.resize(head.len() + HELD_BYTES, b'x');
    let clients = crowd(&server, |_| head.clone());
    until_held(&server, before);
    clients.into_iter().for_each(Connection::close);
    until_given_back(&server, before, 0);
}

#[test]
fn producers_that_stay_after_their_exchanges_leave_no_memory_behind() {
    let (server, before) = start();
    let mut producers = crowd(&server, |nth| {
        post(&format!("crowd/{nth}"), [b'x'; HELD_BYTES])
    });
    server.until_waiting(Side::Producer, CROWD as u64);
    until_held(&server, before);
    let mut consumer = server.connect();
    for nth in 0..CROWD {
        consumer.send(get(&format!("crowd/{nth}")));
        assert_eq!(consumer.reply().body.len(), HELD_BYTES);
    }
    for producer in &mut producers {
        producer.reply().assert_status(200);
    }
    until_given_back(&server, before, CROWD);
}

#[test]
fn a_stalled_exchange_that_is_copied_holds_one_piece_however_fast_it_was() {
    const EXCHANGES: usize = 64;
    /// A piece ([`limits::COPY_BYTES`] in the server) and what belongs to two connections.
    const EACH_BYTES_MAX: u64 = (64 + 24) << 10;
    /// A shard's buffer, which is touched for the first time.
    const BUFFER_BYTES: u64 = 512 << 10;
    let server = Server::start(&["--threads", "1"]);
    server.barrier();
    let before = resident_bytes(server.pid());
    let (producers, consumers) = stalled(&server, EXCHANGES, 16 << 10);
    let held = resident_bytes(server.pid()).saturating_sub(before + BUFFER_BYTES);
    let each = held / EXCHANGES as u64;
    assert!(each < EACH_BYTES_MAX, "{each} bytes for each exchange");
    drop((producers, consumers));
    server.until_unused();
}

#[test]
fn a_consumer_that_takes_nothing_has_a_bounded_part_of_its_body_in_the_kernel() {
    /// `limits::UNSENT_BYTES_MAX` in the server, and what it sends before the kernel looks again.
    const QUEUED_BYTES_MAX: u64 = (512 + 128) << 10;
    let server = Server::start(&["--threads", "1"]);
    // Copied, and spliced.
    for chunk_bytes in [16 << 10, 1 << 20] {
        let (producers, consumers) = stalled(&server, 4, chunk_bytes);
        for consumer in &consumers {
            let queued = queued_bytes(&server, consumer);
            assert!(queued < QUEUED_BYTES_MAX, "{queued} bytes, {chunk_bytes}");
            assert!(queued > 64 << 10, "{queued} bytes: it does not stall");
        }
        drop((producers, consumers));
        server.until_unused();
    }
}

/// What the kernel has for this client of what the server has sent: not yet on its way, or not yet
/// acknowledged (`tx_queue` in `/proc/net/tcp`, `proc_net_tcp.txt` of the kernel's documentation).
fn queued_bytes(server: &Server, client: &Connection) -> u64 {
    let of = |address: SocketAddr| format!(":{:04X}", address.port());
    let client = client.sender().local_addr().expect("connected");
    let (from, to) = (of(server.address()), of(client));
    let table = std::fs::read_to_string("/proc/net/tcp").expect("the kernel's table");
    let mut lines = table
        .lines()
        .map(|line| Vec::from_iter(line.split_whitespace()));
    let line = lines.find(|line| line[1].ends_with(&from) && line[2].ends_with(&to));
    let line = line.expect("the server's end of the connection");
    let (queued, _) = line[4].split_once(':').expect("two queues");
    u64::from_str_radix(queued, 16).expect("a number")
}

/// Exchanges of bodies in such chunks, whose consumers take nothing and whose producers can send no
/// more.
fn stalled(
    server: &Server,
    exchanges: usize,
    chunk_bytes: usize,
) -> (Vec<Connection>, Vec<Connection>) {
    let channel = |nth| format!("stalled/{nth}");
    let consumers = Vec::from_iter((0..exchanges).map(|nth| {
        let mut consumer = server.connect();
        consumer.narrow();
        consumer.send(get(&channel(nth)));
        consumer
    }));
    server.until_waiting(Side::Consumer, exchanges as u64);
    let producers = Vec::from_iter(
        (0..exchanges).map(|nth| server.connect_and_send(&post_chunked_head(&channel(nth)))),
    );
    let chunks = chunks(&vec![b'x'; 1 << 20], chunk_bytes);
    let mut senders = Vec::from_iter(
        producers
            .iter()
            .map(|producer| Sender::new(producer, &chunks)),
    );
    // So much has arrived when the server looks that it reads as fast as it can.
    server.signal(Signal::STOP);
    senders
        .iter_mut()
        .for_each(|sender| assert!(sender.sends()));
    server.signal(Signal::CONT);
    let mut quiet_rounds = 0;
    until("all producers stall", || {
        server.barrier();
        let moved = senders
            .iter_mut()
            .fold(false, |moved, sender| moved | sender.sends());
        quiet_rounds = if moved { 0 } else { quiet_rounds + 1 };
        (quiet_rounds == 20).then_some(())
    });
    (producers, consumers)
}

/// Sends chunks again and again.
struct Sender<'a> {
    stream: TcpStream,
    chunks: &'a [u8],
    /// Of `chunks`.
    sent: usize,
}

impl<'a> Sender<'a> {
    fn new(producer: &Connection, chunks: &'a [u8]) -> Self {
        let stream = producer.sender();
        stream.set_nonblocking(true).expect("a socket option");
        Self {
            stream,
            chunks,
            sent: 0,
        }
    }

    /// Sends as much as the kernel takes; whether it took something.
    fn sends(&mut self) -> bool {
        let mut sends = false;
        while let Ok(bytes) = self.stream.write(&self.chunks[self.sent..]) {
            self.sent = (self.sent + bytes) % self.chunks.len();
            sends = true;
        }
        sends
    }
}
