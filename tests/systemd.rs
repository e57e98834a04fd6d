//! The messages between the server and a service manager, and restarts on an inherited socket that
//! refuse nobody. The tests act as the manager; systemd's own tools check the unit files.

use crate::support::connection::Connection;
use crate::support::program::{Running, run};
use crate::support::proxy::lasting_port;
use crate::support::request::{get, post_head, request};
use crate::support::server::{Server, executable};
use crate::support::{EndOnDrop, FAILURE_BOUND, Side, until};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tempfile::TempDir;

/// A service manager that receives notifications.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
    _folder: TempDir,
}

impl Manager {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("a free path");
        socket
            .set_read_timeout(Some(FAILURE_BOUND))
            .expect("a bound");
        Self {
            socket,
            path,
            _folder: folder,
        }
    }

    /// The next message, as its lines.
    fn told(&self) -> Vec<String> {
        let mut buffer = [0; 4096];
        let bytes = self.socket.recv(&mut buffer).expect("a message in time");
        let text = str::from_utf8(&buffer[..bytes]).expect("text");
        text.lines().map(str::to_owned).collect()
    }

    fn start(&self, options: &[&str], environment: &[(&str, &str)]) -> Server {
        let path = self.path.to_str().expect("a path that is text");
        Server::start_with(options, &[&[("NOTIFY_SOCKET", path)], environment].concat())
    }
}

/// A listening socket of the manager, and its address.
fn tcp_socket() -> (OwnedFd, SocketAddr) {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = socket.local_addr().expect("bound");
    (socket.into(), address)
}

fn ask(address: SocketAddr, target: &str) -> u16 {
    let mut client = Connection::open(address);
    client.send(request("GET", target));
    client.reply().status
}

#[test]
fn the_manager_is_notified_of_readiness_and_of_the_drain() {
    let manager = Manager::new();
    let mut server = manager.start(&["--threads", "2"], &[]);
    let status = format!("STATUS=listening on http://{}", server.address());
    assert_eq!(manager.told(), ["READY=1", &status]);
    let mut producer = server.connect_and_send(&post_head("systemd/drain", 2));
    producer.send("a");
    let mut consumer = server.consume("systemd/drain");
    consumer.head().assert_status(200);
    server.terminate();
    let stopping = manager.told();
    assert_eq!(stopping[0], "STOPPING=1");
    assert!(stopping[1].starts_with("STATUS="), "{stopping:?}");
    // The manager was notified when the drain began.
    producer.send("b");
    assert_eq!(consumer.rest_of_body().expect("whole"), b"ab");
    producer.reply().assert_status(200);
    assert_eq!(server.exit().code(), Some(0));
}

#[test]
fn the_watchdog_is_notified_repeatedly() {
    let manager = Manager::new();
    let server = manager.start(&["--threads", "2"], &[("WATCHDOG_USEC", "600000")]);
    assert_eq!(manager.told()[0], "READY=1");
    for _ in 0..3 {
        assert_eq!(manager.told(), ["WATCHDOG=1"]);
    }
    drop(server);
}

#[test]
fn a_server_whose_manager_does_not_listen_still_serves() {
    let server = Server::start_with(&[], &[("NOTIFY_SOCKET", "/nowhere/at/all")]);
    server.ask("GET", "/healthz").assert_status(200);
    until("a line in the log", || {
        let log = server.stderr();
        log.contains("cannot notify the service manager")
            .then_some(())
    });
}

#[test]
fn inherited_sockets_replace_the_default_and_are_served_by_their_names() {
    let (public, admin) = (tcp_socket(), tcp_socket());
    let sockets = [admin.0, public.0];
    let server = Server::start_inheriting(&sockets, "admin:web", &[]);
    assert_eq!(server.said_addresses(), [format!("http://{}", public.1)]);
    assert_eq!(
        (server.address(), server.admin_address()),
        (public.1, admin.1)
    );
    assert_eq!(
        (ask(public.1, "/healthz"), ask(public.1, "/metrics")),
        (200, 404)
    );
    assert_eq!(
        (ask(admin.1, "/healthz"), ask(admin.1, "/metrics")),
        (200, 200)
    );
    let mut consumer = server.consumer_waiting("inherited/channel", 1);
    server
        .produce("inherited/channel", "data")
        .reply()
        .assert_status(200);
    assert_eq!(consumer.reply().text(), "data");
}

#[test]
fn an_address_of_the_option_is_served_in_addition_to_an_inherited_one() {
    let (socket, address) = tcp_socket();
    let server = Server::start_inheriting(&[socket], "web", &["--listen", "127.0.0.1:0"]);
    let said = until("two lines", || {
        Some(server.said_addresses()).filter(|said| said.len() == 2)
    });
    assert_eq!(said[0], format!("http://{address}"));
    assert_eq!(ask(address, "/healthz"), 200);
    let other = said[1].strip_prefix("http://").expect("a URL");
    assert_eq!(ask(other.parse().expect("ADDRESS:PORT"), "/healthz"), 200);
}

#[test]
fn sockets_for_another_process_are_not_used() {
    let server = Server::start_with(&[], &[("LISTEN_PID", "1"), ("LISTEN_FDS", "1")]);
    server.ask("GET", "/healthz").assert_status(200);
}

#[test]
fn an_inherited_descriptor_that_does_not_listen_gives_one_line_and_exit_code_1() {
    let script = "LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=odd exec \"$@\" 3</dev/null";
    let mut command = Command::new("sh");
    command
        .args(["-c", script, "sh"])
        .arg(executable().get_program());
    let refused = run(command).exited(1);
    assert_eq!(
        refused.stderr.trim_end().lines().count(),
        1,
        "{}",
        refused.stderr
    );
    assert!(refused.stderr.contains("\"odd\""), "{}", refused.stderr);
}

#[test]
fn inherited_sockets_stay_open_after_the_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("s.sock");
    let unix = UnixListener::bind(&path).expect("a free path");
    let (tcp, address) = tcp_socket();
    let sockets = [tcp, unix.into()];
    let mut server = Server::start_inheriting(&sockets, "web:web", &[]);
    // The server waits on both kinds of socket, and ends all the same.
    let mut client = Connection::open_unix(&path);
    client.send(request("GET", "/healthz"));
    client.reply().assert_status(200);
    server.terminate();
    assert_eq!(server.exit().code(), Some(0));
    drop(client);
    // The sockets still listen, for the next process.
    assert!(TcpStream::connect(address).is_ok());
    assert!(UnixStream::connect(&path).is_ok());
    drop(sockets);
}

#[test]
fn a_restart_on_an_inherited_socket_loses_no_connection() {
    const RESTARTS: usize = 4;
    const CLIENTS: usize = 4;
    let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = socket.local_addr().expect("bound");
    let sockets = [OwnedFd::from(socket)];
    let (over, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let mut server = Server::start_inheriting(&sockets, "web", &[]);
        let ends = EndOnDrop(&over);
        let client = || {
            while !over.load(Ordering::Relaxed) {
                assert_eq!(ask(address, "/healthz"), 200);
                answered.fetch_add(1, Ordering::Relaxed);
            }
        };
        let clients = [(); CLIENTS].map(|()| scope.spawn(client));
        for _ in 0..RESTARTS {
            let before = answered.load(Ordering::Relaxed);
            until("clients to be served", || {
                (answered.load(Ordering::Relaxed) > before + 10 * CLIENTS).then_some(())
            });
            server.terminate();
            assert_eq!(server.exit().code(), Some(0));
            server = Server::start_inheriting(&sockets, "web", &[]);
        }
        drop(ends);
        for client in clients {
            client.join().expect("every connection was answered");
        }
        drop(server);
    });
}

#[test]
fn while_one_instance_drains_the_next_one_serves_the_same_socket() {
    let (socket, _) = tcp_socket();
    let sockets = [socket];
    // One shard, so that one refused request shows that the whole server drains.
    let mut first = Server::start_inheriting(&sockets, "web", &["--threads", "1"]);
    let mut producer = first.connect_and_send(&post_head("two/instances", 2));
    producer.send("a");
    let mut consumer = first.consume("two/instances");
    consumer.head().assert_status(200);
    let mut waiting = first.consumer_waiting("two/waits", 1);
    first.terminate();
    // From now on the first server accepts no connection.
    waiting.last_reply().assert_status(503);
    let second = Server::start_inheriting(&sockets, "web", &[]);
    let mut served = second.connect_and_send(&get("two/served"));
    second.until_waiting(Side::Consumer, 1);
    second
        .produce("two/served", "new")
        .reply()
        .assert_status(200);
    assert_eq!(served.reply().text(), "new");
    producer.send("b");
    assert_eq!(consumer.rest_of_body().expect("whole"), b"ab");
    producer.reply().assert_status(200);
    assert_eq!(first.exit().code(), Some(0));
}

#[test]
fn systemds_own_tool_starts_the_server_on_its_socket() {
    let address = SocketAddr::from(([127, 0, 0, 1], lasting_port()));
    let mut tool = Command::new("systemd-socket-activate");
    tool.args(["-l", &address.to_string()])
        .arg(executable().get_program());
    let _running = Running::start(tool);
    // The first connection starts the server, once the tool listens.
    until("the tool to listen", || TcpStream::connect(address).ok());
    assert_eq!(ask(address, "/healthz"), 200);
}

/// The unit files, with the executable under test in place of the installed one.
fn units() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/systemd");
    for name in ["httpipe.service", "httpipe.socket"] {
        let unit = std::fs::read_to_string(shipped.join(name)).expect("it is shipped");
        let unit = unit.replace(
            "ExecStart=/usr/bin/httpipe\n",
            &format!("ExecStart={}\n", env!("CARGO_BIN_EXE_httpipe")),
        );
        std::fs::write(folder.path().join(name), unit).expect("a new file");
    }
    folder
}

fn analyze(folder: &TempDir, arguments: &[&str]) -> String {
    let mut command = Command::new("systemd-analyze");
    command.args(arguments).current_dir(folder.path());
    let finished = run(command).succeeded();
    finished.stderr + &String::from_utf8_lossy(&finished.stdout)
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    let folder = units();
    let said = analyze(
        &folder,
        &[
            "verify",
            "--man=no",
            "./httpipe.service",
            "./httpipe.socket",
        ],
    );
    assert_eq!(said, "");
}

#[test]
fn systemd_gives_the_service_a_low_exposure() {
    let folder = units();
    // In tenths; the tool fails above this value. From 2.0 on systemd no longer says "OK".
    let arguments = [
        "security",
        "--offline=true",
        "--threshold=20",
        "./httpipe.service",
    ];
    let said = analyze(&folder, &arguments);
    assert!(said.contains("OK"), "{said}");
}

#[test]
fn the_service_has_more_time_to_stop_than_a_drain_takes() {
    let unit = std::fs::read_to_string(units().path().join("httpipe.service")).expect("written");
    let seconds = |name: &str| -> u64 {
        let value = unit.lines().find_map(|line| line.strip_prefix(name));
        value.expect(name).parse().expect("seconds")
    };
    const DRAIN_TIMEOUT_DEFAULT: u64 = 30;
    assert!(seconds("TimeoutStopSec=") > DRAIN_TIMEOUT_DEFAULT);
    // The watchdog is notified twice per period, and checks sweeps of 100 ms.
    assert!(seconds("WatchdogSec=") >= 1);
}
