//! Ten thousand consumers wait at once, on separate channels, and each receives its own body.

use crate::support::Side;
use crate::support::connection::Connection;
use crate::support::request::post;
use crate::support::server::Server;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::sync::Mutex;

const CONSUMERS: usize = 10_000;
/// Connections that produce, each an equal share.
const PRODUCERS: usize = 8;

/// One test at a time: together they need more descriptors than a process may have.
static TURN: Mutex<()> = Mutex::new(());

#[test]
fn ten_thousand_waiting_consumers_each_receive_their_own_body_on_one_shard() {
    serve_many("1");
}

#[test]
fn ten_thousand_waiting_consumers_each_receive_their_own_body_on_two_shards() {
    serve_many("2");
}

fn serve_many(threads: &str) {
    let _turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    raise_descriptor_limit();
    let server = Server::start(&["--threads", threads]);
    let mut consumers: Vec<Connection> = (0..CONSUMERS)
        .map(|n| server.consume(&channel(n)))
        .collect();
    server.until_waiting(Side::Consumer, CONSUMERS as u64);
    server.until_metric("httpipe_channels", CONSUMERS as u64);
    std::thread::scope(|scope| {
        for producer in 0..PRODUCERS {
            let server = &server;
            scope.spawn(move || produce_share(server, producer));
        }
        for (n, consumer) in consumers.iter_mut().enumerate() {
            assert_eq!(consumer.reply().text(), body(n));
        }
    });
    server.until_unused();
    drop(consumers);
    server.until_metric("httpipe_connections", 1);
}

/// Every eighth channel, over one connection.
fn produce_share(server: &Server, producer: usize) {
    let mut connection = server.connect();
    for n in (producer..CONSUMERS).step_by(PRODUCERS) {
        connection.send(post(&channel(n), body(n)));
        connection.reply().assert_status(200);
    }
}

fn channel(n: usize) -> String {
    format!("many{}/channel{n}", n % 7)
}

fn body(n: usize) -> String {
    format!("the body of channel {n}")
}

/// As the server does: the soft limit may be a tenth of the needed and allowed number.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let needed = CONSUMERS as u64 + 2000;
    assert!(
        limit.maximum.is_none_or(|maximum| maximum >= needed),
        "this test needs {needed} descriptors: raise the hard limit (ulimit -Hn)"
    );
    if limit.current.is_some_and(|current| current < needed) {
        let raised = Rlimit {
            current: Some(needed),
            maximum: limit.maximum,
        };
        setrlimit(Resource::Nofile, raised).expect("the soft limit may rise to the hard limit");
    }
}
