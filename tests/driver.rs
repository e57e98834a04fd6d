//! What the shards run on: io_uring, or epoll where the kernel refuses io_uring; and busy polling.

use crate::support::pattern::{assert_same_bytes, pattern};
use crate::support::request::{post, post_head};
use crate::support::seccomp::without_io_uring;
use crate::support::server::Server;
use rustix::net::{SendFlags, send};
use std::io::{Read, Write};
use std::net::Shutdown;

const LARGE_BYTES: usize = 8 << 20;

#[test]
fn io_uring_is_used_where_the_kernel_allows_it() {
    let server = Server::start(&["--driver", "auto"]);
    assert!(server.stderr().contains("io_uring"), "{}", server.stderr());
    assert!(!server.stderr().contains("WARN"), "{}", server.stderr());
}

#[test]
fn each_shard_logs_its_driver_and_the_flags_of_its_ring_at_debug_level() {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("proc(5)");
    let ring = format!("io_uring ({})", ring_flags(&release));
    for (driver, on) in [("auto", &*ring), ("epoll", "epoll")] {
        let options = ["--threads", "2", "--driver", driver];
        let server = Server::start_with(&options, &[("RUST_LOG", "httpipe=debug")]);
        let said = server.stderr();
        for shard in 0..2 {
            let line = format!("DEBUG shard {shard} runs on {on}");
            assert!(
                said.lines().any(|said| said.ends_with(&line)),
                "{line}: {said}"
            );
        }
        let quiet = Server::start(&options).stderr();
        assert!(!quiet.contains("runs on"), "{quiet}");
    }
}

/// The flags of a shard's ring on this kernel (`io_uring_setup(2)` names the version of each).
fn ring_flags(release: &str) -> &'static str {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut number = || numbers.next().and_then(|number| number.parse::<u32>().ok());
    match (number(), number()) {
        version if version >= (Some(6), Some(1)) => {
            "IORING_SETUP_SINGLE_ISSUER, IORING_SETUP_DEFER_TASKRUN"
        }
        version if version >= (Some(5), Some(19)) => "IORING_SETUP_COOP_TASKRUN",
        _ => "no setup flags",
    }
}

#[test]
fn if_the_kernel_refuses_io_uring_one_warning_says_what_that_costs_and_how_to_allow_it() {
    let server = without_io_uring(|| Server::start(&["--driver", "auto"]));
    let said = server.stderr();
    let warnings = Vec::from_iter(said.lines().filter(|line| line.contains("WARN")));
    assert_eq!(warnings.len(), 1, "{said}");
    for part in ["io_uring", "seccomp", "epoll", "CPU"] {
        assert!(warnings[0].contains(part), "{part} is missing: {said}");
    }
    check_exchanges(&server);
}

#[test]
fn the_option_for_epoll_uses_no_io_uring_and_gives_no_warning() {
    let server = without_io_uring(|| Server::start(&["--driver", "epoll"]));
    let said = server.stderr();
    assert!(
        said.contains("epoll") && !said.contains("io_uring"),
        "{said}"
    );
    check_exchanges(&server);
}

#[test]
fn busy_polling_changes_no_exchange() {
    for driver in ["auto", "epoll"] {
        let options = ["--busy-poll", "1000000", "--driver", driver];
        check_exchanges(&Server::start(
            &[&options[..], &["--threads", "2"]].concat(),
        ));
    }
}

/// A small body and one that is spliced.
#[track_caller]
fn check_exchanges(server: &Server) {
    for body in [pattern(1, 100), pattern(2, LARGE_BYTES)] {
        let mut consumer = server.consumer_waiting("any/driver", 1);
        let mut producer = server.connect();
        let received = producer.send_while(post("any/driver", body), || consumer.reply());
        assert_same_bytes(&received.body, body);
        producer.reply().assert_status(200);
    }
    assert!(
        server
            .metrics()
            .value("httpipe_bytes_total{path=\"spliced\"}")
            > 0
    );
    server.until_unused();
}

#[test]
fn an_endless_body_does_not_block_other_exchanges_on_its_shard() {
    for driver in ["auto", "epoll"] {
        let server = Server::start(&["--threads", "1", "--driver", driver]);
        let consumer = server.consume("no/end");
        let producer = server.connect_and_send(&post_head("no/end", 1 << 50));
        let (mut source, mut sink) = (producer.sender(), consumer.sender());
        std::thread::scope(|scope| {
            // They end when their connections are shut down.
            scope.spawn(move || while source.write_all(&[7; 1 << 16]).is_ok() {});
            scope.spawn(move || {
                let mut buffer = vec![0; 1 << 16];
                while sink.read(&mut buffer).is_ok_and(|bytes| bytes > 0) {}
            });
            for _ in 0..100 {
                let mut consumer = server.consume("small/pairs");
                let mut producer = server.produce("small/pairs", b"small");
                assert_eq!(consumer.reply().body, b"small");
                producer.reply().assert_status(200);
            }
            server.until_exchanging(1);
            let _ = producer.sender().shutdown(Shutdown::Both);
        });
        server.until_unused();
    }
}

#[test]
fn urgent_bytes_are_ordinary_bytes_of_the_body() {
    let body = pattern(3, LARGE_BYTES);
    let (before, rest) = body.split_at(LARGE_BYTES / 2);
    for driver in ["auto", "epoll"] {
        let server = Server::start(&["--driver", driver]);
        let mut consumer = server.consumer_waiting("urgent/byte", 1);
        let mut producer = server.connect_and_send(&post_head("urgent/byte", body.len() as u64));
        let received = producer.send_while(before, || {
            consumer.head().assert_status(200);
            consumer.body_bytes(before.len())
        });
        assert_same_bytes(&received, before);
        let sent = send(producer.sender(), &rest[..1], SendFlags::OOB);
        assert_eq!(sent, Ok(1));
        // The end of the stream follows the body directly: the unread rest is a whole body.
        let mut sender = producer.sender();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                sender.write_all(&rest[1..]).expect("it is read");
                producer.half_close();
            });
            assert_same_bytes(&consumer.rest_of_body().expect("a whole body"), rest);
        });
        producer.reply().assert_status(200);
        server.until_unused();
    }
}
