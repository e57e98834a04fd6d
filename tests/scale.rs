//! Several nodes: three of them behind the real HAProxy and the real nginx, with the files that
//! operators copy from `deploy/`. A namespace is always on the same node, for every client and in
//! every spelling; an event on one node does not affect the others; and behind a proxy clients can
//! rely on the same rules.
//!
//! `proxies` checks that no request is smuggled past these files.

use crate::support::cluster::{Cluster, names, start_node};
use crate::support::connection::Connection;
use crate::support::pattern::{PATTERN_BYTES_MAX, assert_same_bytes, pattern};
use crate::support::proxy::{PROGRAMS, Program, Proxy, lasting_port};
use crate::support::request::{
    chunk, get, post, post_chunked_head, post_head, post_head_with, request,
};
use crate::support::server::Server;
use crate::support::shipped::{HAPROXY, NGINX};
use crate::support::{FAILURE_BOUND, Side, until};
use rustix::process::Signal;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const DELIVERED: &str = "httpipe_exchanges_total{outcome=\"delivered\"}";

/// More than HAProxy, nginx and the sockets on the way hold.
const STUCK_BYTES: usize = 24 << 20;

fn each(test: impl Fn(&Cluster)) {
    for program in PROGRAMS {
        test(&Cluster::start(program));
    }
}

// ---------------------------------------------------------------- one namespace, one node

#[test]
fn clients_of_a_channel_always_meet_and_every_node_has_its_share_of_the_namespaces() {
    each(|cluster| {
        let open = || (cluster.proxy.connect(), cluster.proxy.connect());
        let mut clients: Vec<_> = (0..4).map(|_| open()).collect();
        let namespaces = names(60);
        for (nth, namespace) in namespaces.iter().enumerate() {
            let (consumer, producer) = &mut clients[nth % 4];
            let channel = format!("{namespace}/{nth}");
            let body = pattern(nth, 2000);
            // In turn, the producer or the consumer is first.
            if nth % 2 == 0 {
                consumer.send(get(&channel));
                cluster.until_waiting(Side::Consumer, 1);
                producer.send(post(&channel, body));
            } else {
                producer.send(post(&channel, body));
                cluster.until_waiting(Side::Producer, 1);
                consumer.send(get(&channel));
            }
            assert_same_bytes(&consumer.reply().body, body);
            producer.reply().assert_status(200);
        }
        assert_eq!(cluster.sum(DELIVERED), 60);
        for node in cluster.nodes() {
            let share = node.metrics().value(DELIVERED);
            assert!(share >= 5, "a node has {share} of 60");
        }
    });
}

#[test]
fn every_spelling_of_a_namespace_is_on_the_same_node() {
    let spellings: [&[&str]; 6] = [
        &["ab", "a%62", "%61b", "%61%62"],
        &["a/b", "a%2Fb", "a%2fb", "%61%2F%62"],
        &["wow!", "wow%21", "%77ow!"],
        &["a+b", "a%2Bb", "a%2bb"],
        &["a b", "a%20b", "%61%20b"],
        &["ré", "r%C3%A9", "%72%c3%a9"],
    ];
    each(|cluster| {
        for spelled in spellings {
            let (plain, spelled) = (spelled[0], &spelled[1..]);
            for (nth, one) in spelled.iter().enumerate() {
                let other = spelled[(nth + 1) % spelled.len()];
                let mut consumer = cluster.proxy.consume(&format!("{one}/x"));
                cluster.until_waiting(Side::Consumer, 1);
                let mut producer = cluster.proxy.produce(&format!("{other}/%78"), plain);
                assert_eq!(consumer.reply().text(), plain, "{one} and {other}");
                producer.reply().assert_status(200);
            }
        }
    });
}

#[test]
fn two_proxies_with_the_same_file_send_a_namespace_to_the_same_node() {
    each(|cluster| {
        let second = Proxy::start_shipped(cluster.program, &cluster.numbered());
        let nodes: Vec<_> = cluster.nodes().collect();
        let namespaces = names(60);
        assert_eq!(
            cluster.owners_by(&second, &nodes, &namespaces),
            cluster.owners(&namespaces)
        );
    });
}

#[test]
fn removing_a_node_moves_only_its_namespaces_and_adding_one_only_those_it_takes() {
    each(|cluster| {
        let namespaces = names(100);
        let before = cluster.owners(&namespaces);
        let numbered = cluster.numbered();

        let fewer = Proxy::start_shipped(cluster.program, &[numbered[0], numbered[2]]);
        let left = [cluster.node(0), cluster.node(2)];
        for (namespace, owner) in cluster.owners_by(&fewer, &left, &namespaces) {
            let owner = [0, 2][owner];
            let was = before[&namespace];
            assert!(was == owner || was == 1, "{namespace}: {was} to {owner}");
        }

        let fourth = start_node(lasting_port());
        let numbered = [numbered, vec![(4, fourth.address())]].concat();
        let more = Proxy::start_shipped(cluster.program, &numbered);
        let nodes: Vec<_> = cluster.nodes().chain([&fourth]).collect();
        let after = cluster.owners_by(&more, &nodes, &namespaces);
        let moved: Vec<_> = after
            .iter()
            .filter(|(n, owner)| before[*n] != **owner)
            .collect();
        assert!(moved.iter().all(|(_, owner)| **owner == 3), "{moved:?}");
        let share = moved.len();
        assert!(
            (8..=50).contains(&share),
            "{share} of 100 moved to a fourth node"
        );
    });
}

#[test]
fn a_whole_namespace_is_listed_and_deleted_through_the_proxy() {
    each(|cluster| {
        let proxy = &cluster.proxy;
        let spelled = ["team/a", "t%65am/b", "team/c%2Fd"];
        let mut consumers: Vec<_> = spelled.iter().map(|name| proxy.consume(name)).collect();
        let mut others: Vec<_> = names(20)
            .iter()
            .map(|n| proxy.consume(&format!("{n}/x")))
            .collect();
        cluster.until_waiting(Side::Consumer, 23);

        let mut asking = proxy.connect();
        asking.send(request("GET", "/channels/te%61m"));
        let mut listed: Vec<String> = serde_json::from_value(asking.reply().json()).expect("names");
        listed.sort();
        assert_eq!(listed, ["a", "b", "c/d"]);

        assert_eq!(proxy.ask("DELETE", "/channels/team").status, 204);
        for consumer in &mut consumers {
            consumer.reply().assert_status(410);
        }
        assert_eq!(proxy.ask("DELETE", "/channels/team").status, 404);
        assert_eq!(proxy.ask("GET", "/channels/team").status, 404);
        cluster.until_waiting(Side::Consumer, 20);
        for (namespace, consumer) in names(20).iter().zip(&mut others) {
            let mut producer = proxy.produce(&format!("{namespace}/x"), namespace);
            assert_eq!(consumer.reply().text(), *namespace);
            producer.reply().assert_status(200);
        }
    });
}

#[test]
fn paths_that_show_one_node_only_are_not_forwarded() {
    each(|cluster| {
        let _waiting = cluster.proxy.consume("namespaces/x");
        cluster.until_waiting(Side::Consumer, 1);
        for target in [
            "/state",
            "/state/",
            "/metrics",
            "/readyz",
            "/channels/namespaces",
            "/channels/namespaces/",
            "/channels/namespaces?x",
            "/nowhere",
        ] {
            let refused = cluster.proxy.ask("GET", target);
            let said = refused.body.escape_ascii().to_string();
            assert_eq!(refused.status, 404, "{target}: {said}");
            assert!(said.starts_with("not here: "), "{target}: {said}");
        }
        for target in ["/", "/healthz"] {
            assert_eq!(cluster.proxy.ask("GET", target).status, 200, "{target}");
        }
        assert_eq!(
            cluster.proxy.ask("DELETE", "/channels/namespaces").status,
            204
        );
    });
}

// ---------------------------------------------------------------- bodies

#[test]
fn single_bytes_stream_without_delay() {
    const BYTES: u32 = 40;
    // In a proxy that waits for a packet to fill, each byte takes 400 ms (measured).
    const BOUND: Duration = Duration::from_millis(200 * BYTES as u64);
    each(|cluster| {
        for coded in [false, true] {
            let (mut consumer, mut producer) =
                (cluster.proxy.consume("slow/bytes"), cluster.proxy.connect());
            producer.send(match coded {
                true => post_chunked_head("slow/bytes"),
                false => post_head("slow/bytes", BYTES.into()),
            });
            let started = Instant::now();
            for nth in 0..BYTES {
                let byte = b'a' + (nth % 26) as u8;
                producer.send(if coded { chunk([byte]) } else { vec![byte] });
                if nth == 0 {
                    consumer.head().assert_status(200);
                }
                assert_eq!(consumer.body_bytes(1), [byte], "chunked: {coded}");
            }
            let took = started.elapsed();
            producer.send(if coded { &b"0\r\n\r\n"[..] } else { b"" });
            assert_eq!(consumer.rest_of_body().expect("the end"), b"");
            producer.reply().assert_status(200);
            assert!(
                took < BOUND,
                "{BYTES} bytes took {took:?}, chunked: {coded}"
            );
        }
    });
}

#[test]
fn a_body_of_64_mib_arrives_as_it_was_sent() {
    const HALF: usize = PATTERN_BYTES_MAX;
    each(|cluster| {
        for coded in [false, true] {
            let (mut consumer, mut producer) =
                (cluster.proxy.consume("large/body"), cluster.proxy.connect());
            producer.send(match coded {
                true => post_chunked_head("large/body"),
                false => post_head("large/body", 2 * HALF as u64),
            });
            let mut sender = producer.sender();
            std::thread::scope(|scope| {
                scope.spawn(move || {
                    for half in [pattern(1, HALF), pattern(2, HALF)] {
                        for piece in half.chunks(1 << 20) {
                            let piece = if coded { chunk(piece) } else { piece.to_vec() };
                            sender.write_all(&piece).expect("it is taken");
                        }
                    }
                    sender
                        .write_all(if coded { b"0\r\n\r\n" } else { b"" })
                        .expect("taken");
                });
                consumer.head().assert_status(200);
                assert_same_bytes(&consumer.body_bytes(HALF), pattern(1, HALF));
                let rest = consumer.rest_of_body().expect("whole");
                assert_same_bytes(&rest, pattern(2, HALF));
            });
            producer.reply().assert_status(200);
        }
    });
}

#[test]
fn haproxy_forwards_100_continue_at_the_match_and_nginx_sends_it_at_once() {
    each(|cluster| {
        let mut producer = cluster.proxy.connect();
        let fields = "Expect: 100-continue\r\nContent-Length: 4\r\n";
        producer.send(post_head_with("ask/first", fields));
        cluster.until_waiting(Side::Producer, 1);
        match cluster.program {
            Program::Haproxy => producer.expect_nothing(),
            Program::Nginx => producer.expect_continue(),
        }
        let mut consumer = cluster.proxy.consume("ask/first");
        if cluster.program == Program::Haproxy {
            producer.expect_continue();
        }
        producer.send("body");
        assert_eq!(consumer.reply().body, b"body");
        producer.reply().assert_status(200);
    });
}

// ---------------------------------------------------------------- waiting

/// The value of a setting, with its unit.
fn setting<'a>(text: &'a str, name: &str) -> &'a str {
    let mut lines = text
        .lines()
        .map(str::trim)
        .filter_map(|line| line.strip_prefix(name));
    let value = lines.next().unwrap_or_else(|| panic!("no {name}"));
    assert_eq!(lines.next(), None, "{name} occurs twice");
    value.trim().trim_end_matches(';')
}

/// The time limits that could cut a wait or an exchange.
/// [`waits_and_pauses_of_75_seconds_are_not_cut`] checks their effect; it is too slow to run every
/// time.
#[test]
fn no_time_limit_of_the_proxies_ends_a_wait_within_three_weeks() {
    let limits = [
        (HAPROXY, "timeout client "),
        (HAPROXY, "timeout server "),
        (NGINX, "client_body_timeout "),
        (NGINX, "send_timeout "),
        (NGINX, "proxy_read_timeout "),
        (NGINX, "proxy_send_timeout "),
    ];
    for (text, name) in limits {
        let days = setting(text, name).strip_suffix('d').expect("days");
        assert!(
            days.parse::<u32>().expect("a number") >= 21,
            "{name} {days}"
        );
    }
}

#[test]
#[ignore = "waits for 75 seconds, longer than the default time limits of both proxies; run it with `cargo test -- --ignored 75_seconds`"]
fn waits_and_pauses_of_75_seconds_are_not_cut() {
    std::thread::scope(|scope| {
        for program in PROGRAMS {
            scope.spawn(move || wait_and_pause(&Cluster::start(program), Duration::from_secs(75)));
        }
    });
}

/// For `time`: a consumer waits, a producer waits with more bytes than the way to the node holds, a
/// producer pauses in its body, and a consumer does not read its body.
fn wait_and_pause(cluster: &Cluster, time: Duration) {
    let proxy = &cluster.proxy;
    let body = pattern(1, STUCK_BYTES);
    let mut waiting_consumer = proxy.consume("wait/consumer");
    let mut waiting_producer = proxy.connect();
    waiting_producer.send(post_head("wait/producer", STUCK_BYTES as u64));
    let mut pausing = proxy.connect_and_send(&[&post_head("pause/body", 2)[..], b"1"].concat());
    let mut paused = proxy.consume("pause/body");
    paused.head().assert_status(200);
    assert_eq!(paused.body_bytes(1), b"1");
    let mut slow = proxy.consume("slow/consumer");
    let mut held_up = proxy.connect();
    held_up.send(post_head("slow/consumer", STUCK_BYTES as u64));
    let senders = [waiting_producer.sender(), held_up.sender()];
    std::thread::scope(|scope| {
        for mut sender in senders {
            let bound = time + FAILURE_BOUND;
            sender
                .set_write_timeout(Some(bound))
                .expect("a socket option");
            scope.spawn(move || sender.write_all(body).expect("it is taken in the end"));
        }
        slow.head().assert_status(200);
        std::thread::sleep(time);
        cluster.until_waiting(Side::Consumer, 1);
        cluster.until_waiting(Side::Producer, 1);
        cluster.until_sum("httpipe_exchanging", 2);

        assert_same_bytes(&proxy.consume("wait/producer").reply().body, body);
        assert_same_bytes(&slow.rest_of_body().expect("whole"), body);
    });
    waiting_producer.reply().assert_status(200);
    held_up.reply().assert_status(200);
    pausing.send("2");
    assert_eq!(paused.rest_of_body().expect("whole"), b"2");
    pausing.reply().assert_status(200);
    proxy
        .produce("wait/consumer", "late")
        .reply()
        .assert_status(200);
    assert_eq!(waiting_consumer.reply().body, b"late");
}

// ---------------------------------------------------------------- leaving

#[test]
fn a_node_detects_that_a_client_behind_the_proxy_left() {
    each(|cluster| {
        let proxy = &cluster.proxy;
        for leave in [Connection::close as fn(Connection), Connection::reset] {
            let consumer = proxy.consume("leave/early");
            cluster.until_waiting(Side::Consumer, 1);
            leave(consumer);
            cluster.until_unused();
            for bytes in [10, 100_000] {
                let producer = proxy.produce("leave/early", pattern(0, bytes));
                cluster.until_waiting(Side::Producer, 1);
                leave(producer);
                cluster.until_unused();
            }
        }
    });
}

#[test]
fn a_client_that_leaves_during_an_exchange_ends_it_for_the_other_side_too() {
    each(|cluster| {
        let proxy = &cluster.proxy;
        let mut consumer = proxy.consume("leave/late");
        let mut producer =
            proxy.connect_and_send(&[&post_head("leave/late", 9)[..], b"part"].concat());
        consumer.head().assert_status(200);
        assert_eq!(consumer.body_bytes(4), b"part");
        producer.close();
        consumer.expect_cut();
        cluster.until_unused();

        let mut consumer = proxy.consume("leave/late");
        producer = proxy.connect_and_send(&[&post_head("leave/late", 9)[..], b"part"].concat());
        consumer.head().assert_status(200);
        consumer.reset();
        // nginx checks for a consumer that left only when it has more to send to it.
        if cluster.program == Program::Nginx {
            producer.send("m");
        }
        producer.reply().assert_status(502);
        cluster.until_unused();
    });
}

/// Sends until nothing is taken any more, although the proxy and the nodes have done all that they can do
/// at once.
fn fill_the_way(cluster: &Cluster, producer: &mut TcpStream) {
    producer.set_nonblocking(true).expect("a socket option");
    let mut refused = 0;
    until("the way to be full", || {
        refused = match producer.write(pattern(0, 1 << 20)) {
            Ok(_) => 0,
            Err(_) => refused + 1,
        };
        // Round trips through all of them.
        cluster.proxy.ask("GET", "/");
        cluster.nodes().for_each(Server::barrier);
        (refused == 10).then_some(())
    });
}

/// Neither proxy watches a client while it cannot forward its bytes. The node is then matched with
/// the bytes that were on the way.
#[test]
fn a_producer_that_left_with_its_body_stuck_gives_one_consumer_a_cut_body() {
    each(|cluster| {
        let mut producer = cluster.proxy.stream();
        // Never sent to its end, however much the kernel lets the sockets hold.
        producer
            .write_all(&post_head("stuck/body", 1 << 40))
            .expect("taken");
        cluster.until_waiting(Side::Producer, 1);
        fill_the_way(cluster, &mut producer);
        drop(producer);
        let mut consumer = cluster.proxy.consume("stuck/body");
        consumer.head().assert_status(200);
        consumer.expect_cut();
        cluster.until_unused();
        let mut consumer = cluster.proxy.consume("stuck/body");
        cluster
            .proxy
            .produce("stuck/body", "next")
            .reply()
            .assert_status(200);
        assert_eq!(consumer.reply().body, b"next");
    });
}

// ---------------------------------------------------------------- a node that ends

/// The status that a client receives if its node refuses connections.
fn unreachable(program: Program) -> u16 {
    match program {
        Program::Haproxy => 503,
        Program::Nginx => 502,
    }
}

/// In one namespace, a consumer that waits, and an exchange under way.
struct Busy {
    namespace: String,
    waiting: Connection,
    producer: Connection,
    consumer: Connection,
}

impl Busy {
    fn start(proxy: &Proxy, namespace: &str) -> Self {
        let channel = format!("{namespace}/exchange");
        let waiting = proxy.consume(&format!("{namespace}/waiting"));
        let mut consumer = proxy.consume(&channel);
        let producer = proxy.connect_and_send(&[&post_head(&channel, 8)[..], b"half"].concat());
        consumer.head().assert_status(200);
        assert_eq!(consumer.body_bytes(4), b"half");
        Self {
            namespace: namespace.to_owned(),
            waiting,
            producer,
            consumer,
        }
    }

    fn finish_exchange(&mut self) {
        self.producer.send("rest");
        assert_eq!(self.consumer.rest_of_body().expect("whole"), b"rest");
        self.producer.reply().assert_status(200);
    }

    fn finish_waiting(&mut self, proxy: &Proxy) {
        let channel = format!("{}/waiting", self.namespace);
        proxy.produce(&channel, "met").reply().assert_status(200);
        assert_eq!(self.waiting.reply().body, b"met");
    }
}

/// Ends the first node with `end`, which checks what its clients receive, and starts it again.
/// Checks that clients of other nodes notice nothing and that the node's namespaces are still on
/// it.
fn restart_first(program: Program, end: impl Fn(&mut Server, &mut Busy)) {
    let mut cluster = Cluster::start(program);
    let namespaces = cluster.one_of_each();
    let mut busy: Vec<_> = namespaces
        .iter()
        .map(|namespace| Busy::start(&cluster.proxy, namespace))
        .collect();
    cluster.until_waiting(Side::Consumer, 3);
    let mut first = cluster.take(0);
    end(&mut first, &mut busy[0]);
    first.exit();
    // On io_uring the kernel holds the port for some ms longer than the process lives.
    until("the node's port to be closed", || {
        TcpStream::connect(first.address()).err()
    });

    let target = format!("/channels/{}/waiting", namespaces[0]);
    for _ in 0..3 {
        let away = cluster.proxy.ask("GET", &target);
        assert_eq!(away.status, unreachable(program));
    }
    cluster.until_waiting(Side::Consumer, 2);
    busy[1].finish_exchange();
    busy[1].finish_waiting(&cluster.proxy);

    cluster.start_again(0);
    let again = Busy::start(&cluster.proxy, &namespaces[0]);
    assert_eq!(cluster.node(0).metrics().value("httpipe_exchanging"), 1);
    for mut busy in [again, busy.pop().expect("the third")] {
        busy.finish_exchange();
        busy.finish_waiting(&cluster.proxy);
    }
    cluster.until_unused();
}

#[test]
fn the_drain_of_a_node_affects_only_its_namespaces_and_they_work_after_its_restart() {
    for program in PROGRAMS {
        restart_first(program, |node, busy| {
            node.terminate();
            let turned_away = busy.waiting.reply();
            turned_away.assert_status(503);
            assert!(turned_away.value("Retry-After").is_some());
            busy.finish_exchange();
        });
    }
}

#[test]
fn the_death_of_a_node_affects_only_its_namespaces_and_they_work_after_its_restart() {
    for program in PROGRAMS {
        restart_first(program, |node, busy| {
            node.signal(Signal::KILL);
            busy.consumer.expect_cut();
            let heard = busy.waiting.one_receive().escape_ascii().to_string();
            assert!(heard.starts_with("HTTP/1.1 502 "), "{heard}");
        });
    }
}

// ---------------------------------------------------------------- no second time

/// A fake node: it accepts connections and closes each one after reading a request.
struct Dying {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
}

impl Dying {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let requests = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&requests);
        // The thread ends with the process.
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let seen = Arc::clone(&seen);
                std::thread::spawn(move || take_and_die(&mut stream, &seen));
            }
        });
        Self { address, requests }
    }
}

/// Reads a whole request on a channel and counts it; answers HAProxy's checks.
fn take_and_die(stream: &mut TcpStream, seen: &AtomicUsize) {
    let mut received = Vec::new();
    let mut buffer = [0; 4096];
    let whole = |received: &[u8]| received.ends_with(b"\r\n\r\n") || received.ends_with(b"body");
    while !whole(&received) {
        match stream.read(&mut buffer) {
            Ok(bytes @ 1..) => received.extend_from_slice(&buffer[..bytes]),
            _ => return,
        }
    }
    if received.starts_with(b"GET /readyz") {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    } else {
        seen.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_request_whose_node_dies_is_not_retried_by_the_proxy() {
    for program in PROGRAMS {
        let nodes = [Dying::start(), Dying::start(), Dying::start()];
        let numbered: Vec<_> = (1..).zip(nodes.iter().map(|node| node.address)).collect();
        let proxy = Proxy::start_shipped(program, &numbered);
        let seen = || {
            nodes
                .iter()
                .map(|n| n.requests.load(Ordering::SeqCst))
                .sum::<usize>()
        };
        // A proxy may retry a GET or a PUT, which are idempotent by RFC 9110. Not here.
        let requests = [
            get("once/only"),
            post("once/only", "body"),
            String::from_utf8(post("once/only", "body"))
                .expect("text")
                .replace("POST", "PUT")
                .into_bytes(),
        ];
        for (nth, request) in requests.iter().enumerate() {
            assert_eq!(proxy.hear(request).status, 502);
            assert_eq!(seen(), nth + 1, "{}", request.escape_ascii());
        }
    }
}

// ---------------------------------------------------------------- the PROXY protocol

#[test]
fn a_proxy_protocol_header_is_refused() {
    let server = Server::start(&[]);
    let line = "PROXY TCP4 127.0.0.1 127.0.0.1 40000 3000\r\n";
    let mut connection = server.connect_and_send(&[line.as_bytes(), &get("a/b")].concat());
    connection.last_reply().assert_status(400);
    server.until_unused();
}
