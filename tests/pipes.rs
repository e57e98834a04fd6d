//! A shard's pipes: an exchange that stands still keeps none, so that others are spliced.

use crate::support::connection::Connection;
use crate::support::pattern::{assert_same_bytes, pattern};
use crate::support::request::{chunked, get, post, post_chunked_head, post_head};
use crate::support::server::Server;
use crate::support::{Side, until};

/// More than a shard has pipes.
const STILL: usize = 40;
/// More than the kernel takes for a consumer that reads nothing.
const BODY_BYTES: usize = 6 << 20;
const SPLICED: &str = "httpipe_bytes_total{path=\"spliced\"}";

/// Exchanges bodies until some in a row are spliced.
fn until_spliced(server: &Server) {
    let body = pattern(1, 4 << 20);
    let mut in_a_row = 0;
    until("bodies to be spliced", || {
        let before = server.metrics().value(SPLICED);
        let mut consumer = server.consumer_waiting("other/body", 1);
        let mut producer = server.connect();
        let received = producer.send_while(post("other/body", body), || consumer.reply());
        assert_same_bytes(&received.body, body);
        producer.reply().assert_status(200);
        let spliced = server.metrics().value(SPLICED) - before;
        in_a_row = if spliced > body.len() as u64 / 2 {
            in_a_row + 1
        } else {
            0
        };
        (in_a_row == 5).then_some(())
    });
}

fn channel(nth: usize) -> String {
    format!("still/{nth}")
}

fn consumers(server: &Server) -> Vec<Connection> {
    let consumers = Vec::from_iter((0..STILL).map(|nth| server.consume(&channel(nth))));
    server.until_waiting(Side::Consumer, STILL as u64);
    consumers
}

#[test]
fn consumers_that_take_nothing_keep_no_pipes_and_lose_no_byte() {
    let server = Server::start(&["--threads", "1"]);
    let mut consumers = consumers(&server);
    let body = pattern(2, BODY_BYTES);
    std::thread::scope(|scope| {
        for nth in 0..STILL {
            let server = &server;
            scope.spawn(move || {
                let bytes = match nth % 2 {
                    0 => post(&channel(nth), body),
                    _ => [post_chunked_head(&channel(nth)), chunked(body, 1 << 20)].concat(),
                };
                let mut producer = server.connect_and_send(&bytes);
                producer.reply().assert_status(200);
            });
        }
        for consumer in &mut consumers {
            consumer.head().assert_status(200);
        }
        until_spliced(&server);
        for consumer in &mut consumers {
            assert_same_bytes(&consumer.rest_of_body().expect("a whole body"), body);
        }
    });
    server.until_unused();
}

#[test]
fn producers_that_pause_keep_no_pipes() {
    const PAUSED_AT: usize = BODY_BYTES / 4;
    let server = Server::start(&["--threads", "1"]);
    let mut consumers = consumers(&server);
    let body = pattern(3, BODY_BYTES);
    let mut producers = Vec::from_iter((0..STILL).map(|nth| {
        let mut producer = server.connect_and_send(&post_head(&channel(nth), BODY_BYTES as u64));
        let consumer = &mut consumers[nth];
        let begun = producer.send_while(&body[..PAUSED_AT], || {
            consumer.head().assert_status(200);
            consumer.body_bytes(PAUSED_AT)
        });
        assert_same_bytes(&begun, &body[..PAUSED_AT]);
        producer
    }));
    until_spliced(&server);
    for (producer, consumer) in producers.iter_mut().zip(&mut consumers) {
        let rest = producer.send_while(&body[PAUSED_AT..], || consumer.rest_of_body());
        assert_same_bytes(&rest.expect("a whole body"), &body[PAUSED_AT..]);
        producer.reply().assert_status(200);
        // Its connection is as good as new.
        consumer.send(get("still/next"));
        server.until_waiting(Side::Consumer, 1);
        producer.send(post("still/next", "next"));
        assert_eq!(consumer.reply().body, b"next");
        producer.reply().assert_status(200);
    }
    server.until_unused();
}
