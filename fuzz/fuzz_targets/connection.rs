//! Any bytes over two whole connections to a server in this process, so that what they reach in it
//! guides the fuzzer, and a panic that the server would catch and count ends the run instead.
#![no_main]

use httpipe::{
    Config,
    testing::config::{Form, Keepalive, Timeouts, address::Address, descriptors::Descriptors},
};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

static SERVER: LazyLock<SocketAddr> = LazyLock::new(start);

libfuzzer_sys::fuzz_target!(|data: &[u8]| httpipe_fuzz::connection::check(*SERVER, data));

/// Starts a server that lives as long as this process; returns where it listens.
fn start() -> SocketAddr {
    let listen = free_address();
    let millis = Duration::from_millis;
    let config = Config {
        listen: Vec::new(),
        listen_default: Address::of_host(listen.ip(), listen.port()),
        unix_mode: None,
        admin: None,
        // One, because what runs on two comes in another order each time, which misleads the fuzzer.
        shards: 1,
        driver: None,
        timeouts: Timeouts {
            request: Some(millis(200)),
            header: millis(1000),
            keep_alive: millis(1000),
            idle: Some(millis(500)),
            drain: millis(1000),
        },
        descriptors: Descriptors::share_out(1024, 1, 0, Some(100)).expect("enough descriptors"),
        keepalive: Keepalive::after(60),
        waiting_max: 100,
        waiting_per_channel_max: 100,
        channels_max: 100,
        busy_poll: None,
        log: Form::Off,
        access: None,
        splice: true,
    };
    thread::spawn(move || {
        let ended = httpipe::run(config);
        eprintln!("the server ended: {ended:?}");
        std::process::abort();
    });
    let began = Instant::now();
    while TcpStream::connect(listen).is_err() {
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "it never listens"
        );
        thread::sleep(millis(5));
    }
    listen
}

/// A port that nobody uses: the server is told its port, and does not tell a library's user which one
/// it was given.
fn free_address() -> SocketAddr {
    let any = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    any.local_addr().expect("a bound address")
}
