//! Any bytes over two whole connections to a server in this process, so that the server's coverage
//! guides the fuzzer, and a panic ends the run (the executable catches and counts it).
#![no_main]

use httpipe::{
    Config,
    testing::config::{
        Form, HostAndPort, Keepalive, Timeouts, descriptors::Descriptors, host::Host,
    },
};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

static SERVER: LazyLock<SocketAddr> = LazyLock::new(start);

libfuzzer_sys::fuzz_target!(|data: &[u8]| httpipe_fuzz::connection::check(*SERVER, data));

/// Starts a server that lives as long as this process; returns its address.
fn start() -> SocketAddr {
    let listen = free_address();
    let millis = Duration::from_millis;
    let config = Config {
        listen: Vec::new(),
        listen_default: HostAndPort {
            host: Host::Address(listen.ip()),
            port: listen.port(),
            host_as_written: String::new(),
        },
        unix_mode: None,
        admin: None,
        allowed_hosts: Vec::new(),
        // One: on two shards the order of events differs from run to run, which misleads the fuzzer.
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
            "the server does not listen"
        );
        thread::sleep(millis(5));
    }
    listen
}

/// A free port. The library does not report a port that the kernel chose, so the server gets a fixed
/// one.
fn free_address() -> SocketAddr {
    let any = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    any.local_addr().expect("a bound address")
}
