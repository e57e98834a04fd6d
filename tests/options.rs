//! The command line and the environment: what is accepted, what is refused and how, and that each
//! option has an effect.

use crate::support::connection::Connection;
use crate::support::program::{Finished, run};
use crate::support::proxy::lasting_port;
use crate::support::request::request;
use crate::support::seccomp::without_io_uring;
use crate::support::server::{Server, executable};
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};

/// Every option with a value, and its name in the environment.
const OPTIONS: [(&str, &str); 21] = [
    ("--port", "PORT"),
    ("--request-timeout", "REQUEST_TIMEOUT"),
    ("--host", "HOST"),
    ("--listen", "LISTEN"),
    ("--unix-mode", "UNIX_MODE"),
    ("--admin", "ADMIN"),
    ("--allow-host", "ALLOW_HOST"),
    ("--threads", "THREADS"),
    ("--header-timeout", "HEADER_TIMEOUT"),
    ("--keep-alive-timeout", "KEEP_ALIVE_TIMEOUT"),
    ("--idle-timeout", "IDLE_TIMEOUT"),
    ("--tcp-keepalive", "TCP_KEEPALIVE"),
    ("--drain-timeout", "DRAIN_TIMEOUT"),
    ("--max-connections", "MAX_CONNECTIONS"),
    ("--max-waiting", "MAX_WAITING"),
    ("--max-waiting-total", "MAX_WAITING_TOTAL"),
    ("--max-channels", "MAX_CHANNELS"),
    ("--driver", "DRIVER"),
    ("--busy-poll", "BUSY_POLL"),
    ("--log", "LOG_FORMAT"),
    ("--log-names", "LOG_NAMES"),
];

/// Runs the executable with options that make it end at once.
fn run_with(options: &[&str], environment: &[(&str, &str)]) -> Finished {
    let mut command = executable();
    command.args(options).envs(environment.iter().copied());
    run(command)
}

#[test]
fn the_help_names_every_option_and_its_environment() {
    for option in ["--help", "-h"] {
        let help = run_with(&[option], &[]).succeeded();
        let text = String::from_utf8(help.stdout).expect("text");
        // Lines are wrapped anywhere between words.
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for (option, name) in OPTIONS {
            assert!(text.contains(option), "{option} is missing:\n{text}");
            assert!(
                text.contains(&format!("[env: {name}=")),
                "{name} is missing:\n{text}"
            );
        }
        assert!(
            text.contains("-p, ") && text.contains("-r, ") && text.contains("3000"),
            "{text}"
        );
        assert_eq!(help.stderr, "");
    }
}

#[test]
fn the_version_is_that_of_the_package() {
    for option in ["--version", "-V"] {
        let version = run_with(&[option], &[]).succeeded();
        let expected = format!("httpipe {}\n", env!("CARGO_PKG_VERSION"));
        assert_eq!(String::from_utf8(version.stdout).expect("text"), expected);
    }
}

#[test]
fn a_bad_value_is_refused_with_the_option_the_value_and_what_is_allowed() {
    // Option, value, and a part of the expected message.
    let bad = [
        ("--port", "65536", "65535"),
        ("--port", "http", "65535"),
        ("--port", "-1", "65535"),
        ("--threads", "0", "1"),
        ("--threads", "many", "1"),
        ("--threads", "100000", "1"),
        ("--request-timeout", "soon", "seconds"),
        ("--request-timeout", "-5", "seconds"),
        ("--request-timeout", "99999999999999999999999", "seconds"),
        ("--header-timeout", "x", "seconds"),
        ("--keep-alive-timeout", "x", "seconds"),
        ("--idle-timeout", "x", "seconds"),
        ("--drain-timeout", "x", "seconds"),
        ("--tcp-keepalive", "0", "1 to 32767"),
        ("--tcp-keepalive", "1.5", "whole seconds"),
        ("--tcp-keepalive", "32768", "1 to 32767"),
        ("--log", "xml", "json"),
        ("--log-names", "some", "plain"),
        ("--max-connections", "few", "1"),
        ("--max-connections", "0", "1"),
        ("--max-waiting", "-3", "1"),
        ("--max-waiting-total", "x", "1"),
        ("--max-channels", "0", "1"),
        ("--driver", "select", "io_uring"),
        ("--busy-poll", "0", "1000000"),
        ("--busy-poll", "long", "microseconds"),
        ("--host", "not an address", "address"),
        ("--host", "300.1.1.1", "address"),
        ("--listen", "3000", "ADDRESS:PORT"),
        ("--listen", "localhost:3000", "ADDRESS:PORT"),
        ("--listen", "unix:here.sock", "absolute"),
        ("--admin", "9000", "ADDRESS:PORT"),
        ("--admin", "unix:", "absolute"),
        ("--allow-host", "name:3000", "port"),
        ("--allow-host", "http://name", "host name"),
        ("--allow-host", "::1", "[::1]"),
        ("--allow-host", "a b", "host name"),
        ("--unix-mode", "rw", "octal"),
        ("--unix-mode", "1000", "777"),
    ];
    let mut faults = String::new();
    for (option, value, allowed) in bad {
        let given = format!("{option}={value}");
        let (_, name) = OPTIONS
            .iter()
            .find(|(known, _)| *known == option)
            .expect("known");
        for (refused, named) in [
            (run_with(&[&given], &[]), option),
            (run_with(&[], &[(name, value)]), *name),
        ] {
            let refused = refused.exited(2);
            let said = &refused.stderr;
            assert!(
                refused.stdout.is_empty() && !said.contains("panicked"),
                "{said}"
            );
            for part in [named, value, allowed]
                .iter()
                .filter(|part| !said.contains(**part))
            {
                faults.push_str(&format!("{given}: {part:?} is missing: {said}"));
            }
            // Nobody typed the option.
            if named != option && said.contains(option) {
                faults.push_str(&format!("{name}={value}: names {option}: {said}"));
            }
        }
    }
    assert!(faults.is_empty(), "{faults}");
}

#[test]
fn an_empty_variable_counts_as_unset() {
    let names = OPTIONS.map(|(_, name)| name);
    let empty = Vec::from_iter(
        names
            .iter()
            .chain(&["ACCESS_LOG", "NO_SPLICE"])
            .map(|name| (*name, "")),
    );
    let server = Server::start_with(&["--listen", "127.0.0.1:0"], &empty);
    server.ask("GET", "/healthz").assert_status(200);
    // The defaults hold. No machine has this address (RFC 5737).
    let refused = run_with(&[], &[("PORT", ""), ("HOST", "192.0.2.1")]).exited(1);
    assert!(
        refused.stderr.contains("192.0.2.1:3000"),
        "{}",
        refused.stderr
    );
    let server = Server::start_with(&["--port", "0"], &[("HOST", "")]);
    assert!(server.address().ip().is_unspecified());
    // An empty value that was typed is an error.
    run_with(&["--host", ""], &[]).exited(2);
}

#[test]
fn options_that_contradict_each_other_are_named_as_they_were_written() {
    let variables = [("ACCESS_LOG", "1"), ("LOG_FORMAT", "off")];
    let said = run_with(&[], &variables).exited(2).stderr;
    assert!(
        said.contains("ACCESS_LOG") && said.contains("LOG_FORMAT=off"),
        "{said}"
    );
    assert!(!said.contains("--"), "{said}");
    let said = run_with(&["--access-log", "--log", "off"], &[])
        .exited(2)
        .stderr;
    assert!(
        said.contains("--access-log ") && said.contains("--log off"),
        "{said}"
    );
    let said = run_with(&[], &[("MAX_CONNECTIONS", "4294967295")])
        .exited(2)
        .stderr;
    assert!(said.contains("MAX_CONNECTIONS=4294967295"), "{said}");
    assert!(!said.contains("--max-connections"), "{said}");
}

#[test]
fn the_host_may_be_a_name_and_all_its_addresses_are_served() {
    let here = |at: &SocketAddr| TcpListener::bind(at).is_ok();
    let named = ("localhost", 0)
        .to_socket_addrs()
        .expect("a name that every machine has");
    let mut expected = Vec::from_iter(named.filter(here).map(|at| at.ip()));
    expected.sort();
    expected.dedup();
    for server in [
        Server::start(&["--host", "localhost"]),
        Server::start_with(&[], &[("HOST", "localhost")]),
    ] {
        let served = server.said_addresses().into_iter().map(|url| {
            let address = url.strip_prefix("http://").expect("TCP");
            address.parse::<SocketAddr>().expect("an address")
        });
        let served = Vec::from_iter(served);
        for at in &served {
            assert_eq!(at.port(), server.address().port());
            let mut client = Connection::open(*at);
            client.send(request("GET", "/healthz"));
            client.reply().assert_status(200);
        }
        let mut ips = Vec::from_iter(served.iter().map(SocketAddr::ip));
        ips.sort();
        assert_eq!(ips, expected);
    }
}

#[test]
fn a_host_that_does_not_resolve_gives_one_line_and_exit_code_1() {
    // RFC 6761 §6.4: no name ends in `.invalid`.
    // Where no name server answers, glibc gives up early.
    let hurry = ("RES_OPTIONS", "timeout:1 attempts:1");
    let typed = run_with(&["--host", "nowhere.invalid", "--port", "0"], &[hurry]);
    let conda = ("HOST", "x86_64-conda-linux-gnu");
    let set = run_with(&["--port", "0"], &[hurry, conda]);
    for (refused, named) in [
        (typed, "--host nowhere.invalid"),
        (set, "HOST=x86_64-conda-linux-gnu"),
    ] {
        let said = refused.exited(1).stderr;
        assert_eq!(said.trim_end().lines().count(), 1, "{said}");
        assert!(said.contains(named), "{said}");
        assert!(
            named.starts_with("--") || !said.contains("--host"),
            "{said}"
        );
    }
    // Where HOST is not used, it does not matter.
    for options in [["--listen", "127.0.0.1:0"], ["--host", "127.0.0.1"]] {
        let server = Server::start_with(&options, &[conda]);
        server.ask("GET", "/healthz").assert_status(200);
    }
}

#[test]
fn an_unknown_option_is_refused() {
    for options in [
        &["--prot", "1"][..],
        &["3000"],
        &["--threads"],
        &["--threads", ""],
    ] {
        let refused = run_with(options, &[]).exited(2);
        assert!(refused.stderr.contains(options[0]), "{}", refused.stderr);
    }
}

#[test]
fn a_port_in_use_gives_one_line_and_exit_code_1() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("bound").port().to_string();
    check_port_taken(&port);
    // A second server must not share the port of the first one either.
    let first = Server::start(&["--threads", "2"]);
    check_port_taken(&first.address().port().to_string());
    assert_eq!(first.ask("GET", "/healthz").status, 200);
}

#[track_caller]
fn check_port_taken(port: &str) {
    let options = ["--host", "127.0.0.1", "--threads", "2", "--port", port];
    let refused = run_with(&options, &[]).exited(1);
    assert_eq!(
        refused.stderr.trim_end().lines().count(),
        1,
        "{}",
        refused.stderr
    );
    assert!(refused.stderr.contains(port), "{}", refused.stderr);
}

#[test]
fn an_address_of_another_machine_gives_one_line_and_exit_code_1() {
    let refused = run_with(&["--host", "192.0.2.1", "--port", "0"], &[]).exited(1);
    assert_eq!(
        refused.stderr.trim_end().lines().count(),
        1,
        "{}",
        refused.stderr
    );
    assert!(refused.stderr.contains("192.0.2.1"), "{}", refused.stderr);
}

#[test]
fn a_kernel_that_refuses_io_uring_gives_one_line_and_exit_code_1() {
    let options = ["--host", "127.0.0.1", "--port", "0", "--driver", "io_uring"];
    let refused = without_io_uring(|| run_with(&options, &[])).exited(1);
    let said = refused.stderr.trim_end();
    assert_eq!(said.lines().count(), 1, "{said}");
    for part in ["io_uring", "not permitted", "seccomp"] {
        assert!(said.contains(part), "{part} is missing: {said}");
    }
    assert!(refused.stdout.is_empty());
}

#[test]
fn the_host_may_be_an_ipv6_address() {
    if TcpListener::bind("[::1]:0").is_err() {
        eprintln!("this machine has no IPv6 loopback");
        return;
    }
    let server = Server::start(&["--host", "::1"]);
    assert!(server.address().is_ipv6());
    assert_eq!(server.ask("GET", "/healthz").status, 200);
}

#[test]
fn the_environment_is_read_and_the_command_line_overrides_it() {
    let server = Server::start_with(
        &["--threads", "2"],
        &[
            ("HOST", "127.0.0.1"),
            ("PORT", "0"),
            ("REQUEST_TIMEOUT", "1"),
            ("THREADS", "bad"),
        ],
    );
    assert_eq!(server.consume("from/environment").reply().status, 408);
}

#[test]
fn the_port_and_the_request_timeout_have_short_names() {
    let port = lasting_port().to_string();
    let server = Server::start_with(&["-p", &port, "-r", "1"], &[("PORT", "1")]);
    assert_eq!(server.address().port().to_string(), port);
    assert_eq!(server.consume("short/names").reply().status, 408);
}

#[test]
fn a_server_with_many_options_at_once_serves() {
    let server = Server::start(&[
        "--request-timeout",
        "60",
        "--threads",
        "3",
        "--header-timeout",
        "20",
        "--keep-alive-timeout",
        "30",
        "--idle-timeout",
        "40",
        "--drain-timeout",
        "5",
        "--max-connections",
        "100",
        "--max-waiting",
        "10",
    ]);
    let mut consumer = server.consumer_waiting("all/options", 1);
    let mut producer = server.produce("all/options", b"data");
    assert_eq!(consumer.reply().body, b"data");
    producer.reply().assert_status(200);
    let mut client = server.connect_and_send(&request("GET", "/healthz"));
    client.reply().assert_status(200);
}

#[test]
fn the_number_of_shards_is_the_number_of_threads() {
    for threads in ["1", "2", "4"] {
        let server = Server::start(&["--threads", threads]);
        let tasks = std::fs::read_dir(format!("/proc/{}/task", server.pid())).expect("it runs");
        assert!(tasks.count() >= threads.parse().expect("a number"));
        assert!(
            server
                .stderr()
                .lines()
                .any(|line| line.contains("listening"))
        );
    }
}

#[test]
fn the_log_has_no_colours_if_standard_error_is_no_terminal() {
    let server = Server::start(&[]);
    assert_eq!(server.ask("GET", "/healthz").status, 200);
    assert!(!server.stderr().contains('\u{1b}'), "{}", server.stderr());
}
