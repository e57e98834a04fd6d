//! The executable under test: starts it, finds its address, reads its state from outside, and
//! checks that it ends by itself with code 0. Must never leave a process behind.

use super::connection::{Connection, Reply};
use super::metrics::Metrics;
use super::process::descriptor_targets;
use super::request::{get, post, request};
use super::{FAILURE_BOUND, Side, pattern, until, within_bound};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;

/// The variables of the options, removed so that the environment of the tests does not affect the
/// server.
pub const ENVIRONMENT: [&str; 29] = [
    "PORT",
    "LISTEN",
    "UNIX_MODE",
    "ADMIN",
    "ALLOW_HOST",
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
    "REQUEST_TIMEOUT",
    "HOST",
    "THREADS",
    "HEADER_TIMEOUT",
    "KEEP_ALIVE_TIMEOUT",
    "IDLE_TIMEOUT",
    "DRAIN_TIMEOUT",
    "TCP_KEEPALIVE",
    "MAX_CONNECTIONS",
    "MAX_WAITING",
    "MAX_WAITING_TOTAL",
    "MAX_CHANNELS",
    "BUSY_POLL",
    "NO_SPLICE",
    "RUST_LOG",
    "LOG_FORMAT",
    "ACCESS_LOG",
    "LOG_NAMES",
];

/// The executable with a clean environment, except for `DRIVER`: `DRIVER=epoll cargo test` runs
/// every test on epoll.
pub fn executable() -> Command {
    in_clean_environment(Command::new(env!("CARGO_BIN_EXE_httpipe")))
}

/// The executable with a clean environment and at most this many file descriptors.
pub fn executable_with_descriptors(descriptors: &str) -> Command {
    executable_with_soft_descriptors(descriptors, descriptors)
}

/// The executable with a clean environment and these soft and hard limits of file descriptors: it
/// may raise the soft limit to the hard one.
fn executable_with_soft_descriptors(soft: &str, hard: &str) -> Command {
    // The shell replaces itself, so signals and the exit code are those of the server.
    let mut limited = in_clean_environment(Command::new("sh"));
    limited.args([
        "-ec",
        "ulimit -Sn \"$1\"; ulimit -Hn \"$2\"; shift 2; exec \"$@\"",
        "sh",
        soft,
        hard,
    ]);
    limited.arg(executable().get_program());
    limited
}

/// The executable with a clean environment, for which no file may grow over this many bytes, a
/// multiple of 512.
pub fn executable_with_file_bytes(bytes: usize) -> Command {
    let mut limited = in_clean_environment(Command::new("sh"));
    let blocks = (bytes / 512).to_string();
    limited.args(["-ec", "ulimit -f \"$1\"; shift; exec \"$@\"", "sh", &blocks]);
    limited.arg(executable().get_program());
    limited
}

fn in_clean_environment(mut command: Command) -> Command {
    for name in ENVIRONMENT {
        command.env_remove(name);
    }
    command
}

/// A running server. Dropping it sends SIGTERM and checks that it drains and exits with code 0.
pub struct Server {
    child: Child,
    command: String,
    address: SocketAddr,
    /// The admin listener, if there is one.
    admin: Option<SocketAddr>,
    stderr: Arc<Mutex<String>>,
    stderr_reader: Option<JoinHandle<()>>,
    stall: Arc<Stall>,
    ended: bool,
}

/// Whether reading of the server's standard error is stopped.
#[derive(Default)]
struct Stall {
    stalled: Mutex<bool>,
    changed: Condvar,
}

impl Stall {
    fn set(&self, stalled: bool) {
        *self.stalled.lock().expect("no reader panicked") = stalled;
        self.changed.notify_all();
    }

    fn pass(&self) {
        let stalled = self.stalled.lock().expect("no reader panicked");
        let passed = self.changed.wait_while(stalled, |stalled| *stalled);
        drop(passed.expect("no reader panicked"));
    }
}

impl Server {
    /// Starts a server with these options on a free port of 127.0.0.1, with one shard unless the
    /// options say otherwise, and waits until it accepts connections.
    pub fn start(options: &[&str]) -> Self {
        Self::start_with(options, &[])
    }

    /// As [`Self::start`], with these variables in its environment.
    pub fn start_with(options: &[&str], environment: &[(&str, &str)]) -> Self {
        Self::spawn(executable(), options, environment)
    }

    /// As [`Self::start`], with at most this many file descriptors.
    pub fn start_with_descriptors(descriptors: &str, options: &[&str]) -> Self {
        Self::spawn(executable_with_descriptors(descriptors), options, &[])
    }

    /// As [`Self::start`], with these soft and hard limits of file descriptors.
    pub fn start_with_soft_descriptors(soft: &str, hard: &str, options: &[&str]) -> Self {
        Self::spawn(executable_with_soft_descriptors(soft, hard), options, &[])
    }

    /// As [`Self::start`], with sockets inherited from a service manager (`sd_listen_fds(3)`): at
    /// most two, with their names as in `LISTEN_FDNAMES`. Two shards unless the options say
    /// otherwise.
    pub fn start_inheriting(sockets: &[OwnedFd], names: &str, options: &[&str]) -> Self {
        Self::start_inheriting_with_descriptors("", sockets, names, options)
    }

    /// As [`Self::start_inheriting`], with at most this many file descriptors, if any.
    pub fn start_inheriting_with_descriptors(
        descriptors: &str,
        sockets: &[OwnedFd],
        names: &str,
        options: &[&str],
    ) -> Self {
        // The shell becomes the server, so `LISTEN_PID` is right. It receives the sockets as its
        // standard streams, which a child can inherit without a hand-written fork.
        let script = "[ -z \"$1\" ] || ulimit -n \"$1\"; shift; \
            LISTEN_PID=$$ exec \"$@\" 3<&0 4>&1 </dev/null >/dev/null";
        let mut shell = in_clean_environment(Command::new("sh"));
        shell.args(["-ec", script, "sh", descriptors]);
        shell.arg(executable().get_program());
        shell.env("LISTEN_FDS", sockets.len().to_string());
        shell.env("LISTEN_FDNAMES", names);
        let stream = |nth: usize| match sockets.get(nth) {
            Some(socket) => Stdio::from(socket.try_clone().expect("a descriptor")),
            None => Stdio::null(),
        };
        shell.stdin(stream(0)).stdout(stream(1));
        if !options.contains(&"--threads") {
            shell.args(["--threads", "2"]);
        }
        let admin = names.split(':').any(|name| name == "admin");
        Self::run(shell.args(options), admin)
    }

    fn spawn(mut command: Command, options: &[&str], environment: &[(&str, &str)]) -> Self {
        let listens =
            options.contains(&"--listen") || environment.iter().any(|(name, _)| *name == "LISTEN");
        for (option, name, value) in [
            ("--host", "HOST", "127.0.0.1"),
            ("--port", "PORT", "0"),
            ("--threads", "THREADS", "1"),
        ] {
            let short = option == "--port" && options.contains(&"-p");
            let in_environment = environment.iter().any(|(n, _)| *n == name);
            if listens && option != "--threads" && !options.contains(&option) {
                continue;
            }
            if !options.contains(&option) && !short && !in_environment {
                command.args([option, value]);
            }
        }
        command.args(options).envs(environment.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::null());
        Self::run(&mut command, options.contains(&"--admin"))
    }

    /// Runs `command` and waits until it accepts connections, at least on TCP; with `admin`,
    /// operators' connections too.
    fn run(command: &mut Command, admin: bool) -> Self {
        pattern::prepare();
        command.stderr(Stdio::piped());
        let mut child = command.spawn().expect("the executable starts");
        let stderr = Arc::new(Mutex::new(String::new()));
        let (found, address) = channel();
        let pipe = child.stderr.take().expect("stderr is piped");
        let log = Arc::clone(&stderr);
        let stall = Arc::new(Stall::default());
        let gate = Arc::clone(&stall);
        let stderr_reader = std::thread::spawn(move || keep_lines(pipe, &log, &found, &gate));
        let mut server = Self {
            child,
            command: format!("{command:?}"),
            address: SocketAddr::from(([0; 4], 0)),
            admin: None,
            stderr,
            stderr_reader: Some(stderr_reader),
            stall,
            ended: false,
        };
        match address.recv_timeout(FAILURE_BOUND) {
            Ok(address) => server.address = address,
            Err(_) => server.give_up("its log has no `listening on http://ADDRESS:PORT`"),
        }
        if admin {
            let said = || server.said_address("serving operators on ");
            match within_bound(said) {
                Some(said) => server.admin = said.strip_prefix("http://").map(parse_address),
                None => server.give_up("its log has no `serving operators on`"),
            }
        }
        server
    }

    /// Ends a server that is in a wrong state, and fails the test.
    fn give_up(&mut self, why: &str) -> ! {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.ended = true;
        panic!("{}: {why}", self.command);
    }

    /// The first TCP address for clients.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address of the admin listener.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin.unwrap_or(self.address)
    }

    /// The address after the first `words` in the log.
    pub fn said_address(&self, words: &str) -> Option<String> {
        let log = self.stderr();
        let mut behind = log.lines().filter_map(|line| line.split_once(words));
        Some(behind.next()?.1.split_whitespace().next()?.to_owned())
    }

    /// Every address for clients in the log, in order.
    pub fn said_addresses(&self) -> Vec<String> {
        let log = self.stderr();
        let behind = log
            .lines()
            .filter_map(|line| line.split_once("listening on "));
        let word = |(_, rest): (&str, &str)| rest.split_whitespace().next().map(str::to_owned);
        behind.filter_map(word).collect()
    }

    /// The URL of a target on this server.
    pub fn url(&self, target: &str) -> String {
        format!("http://{}{target}", self.address)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The numbers of the process's open descriptors, in order.
    pub fn descriptors(&self) -> Vec<u64> {
        let folder = std::fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("it runs");
        let name =
            |entry: std::io::Result<std::fs::DirEntry>| entry.ok()?.file_name().into_string().ok();
        let mut numbers = Vec::from_iter(folder.filter_map(|entry| name(entry)?.parse().ok()));
        numbers.sort_unstable();
        numbers
    }

    /// The soft and the hard limit of open files of the running process; `None` if there is no hard
    /// limit.
    pub fn descriptor_limits(&self) -> (u64, Option<u64>) {
        let stat =
            std::fs::read_to_string(format!("/proc/{}/limits", self.pid())).expect("it runs");
        let line = stat.lines().find(|line| line.starts_with("Max open files"));
        let mut words = line.expect("a limit").split_whitespace().skip(3);
        let (soft, hard) = (words.next().expect("soft"), words.next().expect("hard"));
        (soft.parse().expect("a number"), hard.parse().ok())
    }

    /// Sets the limit of open files of the running process (`prlimit(2)`), and returns the old one.
    pub fn set_descriptor_limit(&self, descriptors: u64) -> u64 {
        let (before, hard) = self.descriptor_limits();
        let new = Rlimit {
            current: Some(descriptors),
            maximum: hard,
        };
        let pid = Some(Pid::from_child(&self.child));
        prlimit(pid, Resource::Nofile, new).expect("our own child");
        before
    }

    /// Leaves the running process no descriptor to open; returns the old limit.
    pub fn exhaust_descriptors(&self) -> u64 {
        let numbers = self.descriptors();
        // A gap in the numbers is a free descriptor: the limit is set below it; higher ones stay
        // open.
        let gap = (0..).zip(&numbers).find(|(nth, number)| nth != *number);
        self.set_descriptor_limit(gap.map_or(numbers.len() as u64, |(nth, _)| nth))
    }

    /// CPU time of the process, in ticks of 10 ms (`proc_pid_stat(5)`: utime and stime).
    pub fn cpu_ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("it runs");
        let (_, behind_name) = stat.rsplit_once(") ").expect("a name in brackets");
        let ticks = behind_name.split(' ').skip(11).take(2);
        ticks
            .map(|ticks| ticks.parse::<u64>().expect("ticks"))
            .sum()
    }

    /// The server's standard error so far.
    pub fn stderr(&self) -> String {
        self.stderr.lock().expect("no reader panicked").clone()
    }

    /// Stops or resumes reading standard error, except for what the reader has already read.
    pub fn stall_stderr(&self, stalled: bool) {
        self.stall.set(stalled);
    }

    /// A new connection.
    pub fn connect(&self) -> Connection {
        Connection::open(self.address)
    }

    /// A new connection with a consumer's request for `channel` (`namespace/channel`).
    pub fn consume(&self, channel: &str) -> Connection {
        self.connect_and_send(&get(channel))
    }

    /// A new connection with a producer's whole request with a `Content-Length`.
    pub fn produce(&self, channel: &str, body: impl AsRef<[u8]>) -> Connection {
        self.connect_and_send(&post(channel, body))
    }

    /// A new connection on which these bytes were sent.
    pub fn connect_and_send(&self, bytes: &[u8]) -> Connection {
        let mut connection = self.connect();
        connection.send(bytes);
        connection
    }

    /// A consumer that waits on `channel`; `nth` is the number of all waiting consumers, including
    /// this one.
    pub fn consumer_waiting(&self, channel: &str, nth: u64) -> Connection {
        let consumer = self.consume(channel);
        self.until_waiting(Side::Consumer, nth);
        consumer
    }

    /// A producer that waits on `channel`; `nth` is the number of all waiting producers, including
    /// this one.
    pub fn producer_waiting(&self, channel: &str, body: impl AsRef<[u8]>, nth: u64) -> Connection {
        let producer = self.produce(channel, body);
        self.until_waiting(Side::Producer, nth);
        producer
    }

    /// The reply to a request without a body, on a new connection.
    pub fn ask(&self, method: &str, target: &str) -> Reply {
        self.connect_and_send(&request(method, target)).reply()
    }

    /// As [`Self::ask`], on the admin listener.
    pub fn ask_as_operator(&self, method: &str, target: &str) -> Reply {
        let mut connection = Connection::open(self.admin_address());
        connection.send(request(method, target));
        connection.reply()
    }

    /// `GET /state`, parsed.
    pub fn state(&self) -> serde_json::Value {
        let reply = self.ask_as_operator("GET", "/state");
        assert_eq!(reply.status, 200);
        reply.json()
    }

    pub fn metrics(&self) -> Metrics {
        let reply = self.ask_as_operator("GET", "/metrics");
        assert_eq!(reply.status, 200);
        Metrics::parse(&reply.text())
    }

    /// Waits until this sample of `/metrics` has this value.
    #[track_caller]
    pub fn until_metric(&self, name: &str, value: u64) {
        let mut last = 0;
        let reached = within_bound(|| {
            last = self.metrics().value(name);
            (last == value).then_some(())
        });
        assert!(
            reached.is_some(),
            "{name} should become {value}, but is {last}"
        );
    }

    /// Waits until this many requests of a side wait for a counterpart.
    #[track_caller]
    pub fn until_waiting(&self, side: Side, requests: u64) {
        self.until_metric(
            &format!("httpipe_waiting{{side=\"{}\"}}", side.label()),
            requests,
        );
    }

    /// Waits until this many exchanges are under way.
    #[track_caller]
    pub fn until_exchanging(&self, exchanges: u64) {
        self.until_metric("httpipe_exchanging", exchanges);
    }

    /// Waits until no channel is in use.
    #[track_caller]
    pub fn until_unused(&self) {
        self.until_metric("httpipe_channels", 0);
        self.until_waiting(Side::Producer, 0);
        self.until_waiting(Side::Consumer, 0);
        self.until_exchanging(0);
    }

    /// Lets the server finish its current work: every shard has answered two requests that were
    /// sent after the caller's last event, so it has sent what it could send at once.
    pub fn barrier(&self) {
        for _ in 0..2 {
            self.metrics();
        }
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the server runs");
        if signal == Signal::STOP {
            until("every thread to stand still", || {
                self.stands_still().then_some(())
            });
        }
    }

    /// `kill(2)` returns before the threads have stopped.
    fn stands_still(&self) -> bool {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.pid()));
        threads.expect("it runs").all(|thread| {
            let stat = std::fs::read_to_string(thread.expect("it runs").path().join("stat"));
            let stat = stat.expect("a stopped thread does not end");
            let (_, behind_name) = stat.rsplit_once(") ").expect("a name in brackets");
            behind_name.starts_with('T')
        })
    }

    /// Whether the process has yet to end.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("it is our child").is_none()
    }

    /// Waits until the process has ended and its standard error is read to the end.
    pub fn exit(&mut self) -> ExitStatus {
        let child = &mut self.child;
        let status = until("the server to exit", || {
            child.try_wait().expect("it is our child")
        });
        self.ended = true;
        self.read_to_end();
        status
    }

    fn read_to_end(&mut self) {
        self.stall.set(false);
        if let Some(reader) = self.stderr_reader.take() {
            let _ = reader.join();
        }
    }

    fn end(&mut self) -> Result<(), String> {
        self.terminate();
        let child = &mut self.child;
        let Some(status) = within_bound(|| child.try_wait().expect("it is our child")) else {
            let open = descriptor_targets(child.id());
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!(
                "it did not end after SIGTERM and had to be killed, with these open: {open:?}"
            ));
        };
        match status.code() {
            Some(0) => Ok(()),
            _ => Err(format!("it ended with {status}")),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let failing = std::thread::panicking();
        let mut end = match (self.ended, failing) {
            (true, _) => Ok(()),
            (false, false) => self.end(),
            // After a failed test, open clients may delay the drain; the failure's own report is
            // more important.
            (false, true) => {
                let _ = self.child.kill();
                let _ = self.child.wait();
                Ok(())
            }
        };
        self.read_to_end();
        let stderr = self.stderr();
        if stderr.contains("panicked at") {
            end = Err("a task of it panicked".to_owned());
        }
        if failing || end.is_err() {
            eprintln!(
                "server: {}\n--- its standard error:\n{stderr}---",
                self.command
            );
        }
        if let (Err(why), false) = (end, failing) {
            panic!("the server did not end well: {why}");
        }
    }
}

/// Collects the server's lines, and sends the address as soon as a line has it.
fn keep_lines(pipe: ChildStderr, log: &Mutex<String>, found: &Sender<SocketAddr>, stall: &Stall) {
    let mut lines = BufReader::new(pipe).lines();
    loop {
        stall.pass();
        let Some(Ok(line)) = lines.next() else { return };
        let mut log = log.lock().expect("no reader panicked");
        log.push_str(&line);
        log.push('\n');
        if let Some((_, rest)) = line.split_once("listening on http://") {
            let address = rest.split_whitespace().next().unwrap_or_default();
            let _ = found.send(parse_address(address));
        }
    }
}

fn parse_address(text: &str) -> SocketAddr {
    text.trim_end_matches('/').parse().expect("ADDRESS:PORT")
}
