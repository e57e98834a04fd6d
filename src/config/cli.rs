//! The command line as it is typed. What it means, and whether it makes sense, is `config`'s to say.

use std::net::IpAddr;

use clap::{
    CommandFactory, FromArgMatches, Parser, ValueEnum, builder::BoolishValueParser,
    error::ErrorKind, parser::ValueSource,
};

use crate::{config::address::Address, limits};

/// HTTP clients pass data to each other over named channels.
///
/// What one client sends with `POST` or `PUT /channels/NAMESPACE/CHANNEL`, another receives with
/// `GET` on the same path; whoever comes first waits. Nothing is stored.
#[derive(Debug, Clone, Parser)]
#[command(name = "httpipe", version, about)]
pub struct Cli {
    /// The port to listen on; 0 lets the kernel choose one
    #[arg(short, long, env = "PORT", default_value = "3000", value_parser = port, allow_negative_numbers = true)]
    pub port: u16,

    /// How long a request may wait for its counterpart; no limit unless given
    #[arg(short, long, env = "REQUEST_TIMEOUT", value_name = "SECONDS", value_parser = seconds, allow_negative_numbers = true)]
    pub request_timeout: Option<f64>,

    /// The address to listen on, IPv4 or IPv6
    #[arg(long, env = "HOST", value_name = "ADDRESS", default_value = "0.0.0.0", value_parser = address)]
    pub host: IpAddr,

    /// Where to listen, in place of --host and --port: ADDRESS:PORT or unix:/PATH; may be given
    /// several times, or several with commas. The IPv6 wildcard is IPv6 alone
    #[arg(long, env = "LISTEN", value_name = "ADDRESS", value_delimiter = ',', value_parser = Address::parse)]
    pub listen: Vec<Address>,

    /// Permissions of the socket files that --listen makes, in octal, like 660 [default: by umask]
    #[arg(long, env = "UNIX_MODE", value_name = "MODE", value_parser = mode)]
    pub unix_mode: Option<u32>,

    /// A listener for operators, ADDRESS:PORT or unix:/PATH: /metrics, /readyz, /state and the
    /// listings are there then, and on no other
    #[arg(long, env = "ADMIN", value_name = "ADDRESS", value_parser = Address::parse)]
    pub admin: Option<Address>,

    /// Threads, each with a shard of its own [default: the cores this process may run on]
    #[arg(long, env = "THREADS", value_name = "N", value_parser = threads, allow_negative_numbers = true)]
    pub threads: Option<u16>,

    /// How long a client may take to send the whole head of a request
    #[arg(long, env = "HEADER_TIMEOUT", value_name = "SECONDS", default_value = "10", value_parser = seconds, allow_negative_numbers = true)]
    pub header_timeout: f64,

    /// How long a connection is kept open without a request
    #[arg(long, env = "KEEP_ALIVE_TIMEOUT", value_name = "SECONDS", default_value = "75", value_parser = seconds, allow_negative_numbers = true)]
    pub keep_alive_timeout: f64,

    /// How long an exchange may stand still; no limit unless given
    #[arg(long, env = "IDLE_TIMEOUT", value_name = "SECONDS", value_parser = seconds, allow_negative_numbers = true)]
    pub idle_timeout: Option<f64>,

    /// How long a connection is silent before TCP asks whether the client is still there; one that
    /// vanished is found after twice as long
    #[arg(long, env = "TCP_KEEPALIVE", value_name = "SECONDS", default_value_t = limits::KEEPALIVE_IDLE_SECONDS, value_parser = keepalive, allow_negative_numbers = true)]
    pub tcp_keepalive: u16,

    /// How long exchanges under way may go on after SIGTERM or SIGINT
    #[arg(long, env = "DRAIN_TIMEOUT", value_name = "SECONDS", default_value = "30", value_parser = seconds, allow_negative_numbers = true)]
    pub drain_timeout: f64,

    /// Connections at once [default: what the limit of open files allows]
    #[arg(long, env = "MAX_CONNECTIONS", value_name = "N", value_parser = count, allow_negative_numbers = true)]
    pub max_connections: Option<u32>,

    /// Requests that may wait on one channel at once [default: no limit but --max-connections]
    #[arg(long, env = "MAX_WAITING", value_name = "N", value_parser = count, allow_negative_numbers = true)]
    pub max_waiting: Option<u32>,

    /// Requests that may wait at once in all, shared out equally among the threads [default: no
    /// limit but --max-connections]
    #[arg(long, env = "MAX_WAITING_TOTAL", value_name = "N", value_parser = count, allow_negative_numbers = true)]
    pub max_waiting_total: Option<u32>,

    /// Channels in use at once, shared out equally among the threads [default: no limit but
    /// --max-connections]
    #[arg(long, env = "MAX_CHANNELS", value_name = "N", value_parser = count, allow_negative_numbers = true)]
    pub max_channels: Option<u32>,

    /// How the kernel tells which sockets are ready; auto: io_uring, or epoll where it is refused
    #[arg(long, env = "DRIVER", value_name = "DRIVER", default_value = "auto")]
    pub driver: DriverChoice,

    /// How long a thread looks for the next request before it sleeps: answers sooner, for a core's
    /// whole time meanwhile [default: it sleeps at once]
    #[arg(long, env = "BUSY_POLL", value_name = "MICROSECONDS", value_parser = micros, allow_negative_numbers = true)]
    pub busy_poll: Option<u32>,

    /// The form of the log on standard error; RUST_LOG chooses its level (default info)
    #[arg(long, env = "LOG_FORMAT", value_name = "FORM", default_value = "text")]
    pub log: Form,

    /// Log a line for every request
    #[arg(long, env = "ACCESS_LOG", value_parser = BoolishValueParser::new())]
    pub access_log: bool,

    /// How names of namespaces and channels stand in the access log
    #[arg(long, env = "LOG_NAMES", value_name = "HOW", default_value = "hash")]
    pub log_names: Names,

    /// Move every body through a buffer instead of splicing large ones (to measure the difference)
    #[arg(long, hide = true)]
    pub no_splice: bool,
}

/// The form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// No log.
    Off,
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// How the names of namespaces and channels are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Names {
    /// As a hash under a key that is drawn at each start.
    Hash,
    /// Not at all.
    None,
    /// As they are.
    Plain,
}

/// The values of `--driver`.
#[derive(Debug, Clone, Copy, ValueEnum)]
#[allow(missing_docs, reason = "the option's help says it")]
pub enum DriverChoice {
    Auto,
    #[value(name = "io_uring")]
    IoUring,
    Epoll,
}

impl Cli {
    /// Parses the process's arguments and environment; on a mistake, prints what is wrong and what
    /// is allowed, and ends the process with code 2.
    #[must_use]
    pub fn parse_or_exit() -> Self {
        let mut command = Self::command();
        let matches = command.get_matches_mut();
        let mut cli = Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
        let typed = |id| matches.value_source(id) == Some(ValueSource::CommandLine);
        let host_or_port = typed("host") || typed("port");
        if typed("listen") && host_or_port {
            let text = "--listen stands in place of --host and --port: give either, not both";
            command.error(ErrorKind::ArgumentConflict, text).exit();
        }
        // What is typed wins over the environment, where LISTEN wins over HOST and PORT.
        if host_or_port {
            cli.listen.clear();
        }
        cli
    }
}

fn mode(text: &str) -> Result<u32, &'static str> {
    let mode = u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| (1..=0o777).contains(mode));
    mode.ok_or("a mode is an octal number from 1 to 777, like 660")
}

fn port(text: &str) -> Result<u16, &'static str> {
    text.parse()
        .map_err(|_| "a port is a number from 0 to 65535")
}

fn threads(text: &str) -> Result<u16, &'static str> {
    let threads = text
        .parse()
        .ok()
        .filter(|threads| (1..=1024).contains(threads));
    threads.ok_or("threads are a number from 1 to 1024")
}

fn count(text: &str) -> Result<u32, &'static str> {
    let count = text.parse().ok().filter(|&count| count > 0);
    count.ok_or("a limit is a number from 1 to 4294967295")
}

fn micros(text: &str) -> Result<u32, &'static str> {
    let micros = text
        .parse()
        .ok()
        .filter(|micros| (1..=1_000_000).contains(micros));
    micros.ok_or("microseconds are a number from 1 to 1000000")
}

fn address(text: &str) -> Result<IpAddr, &'static str> {
    text.parse()
        .map_err(|_| "an address is numeric, like 0.0.0.0, 127.0.0.1, :: or ::1")
}

fn keepalive(text: &str) -> Result<u16, &'static str> {
    let seconds = text.parse().ok();
    let seconds = seconds.filter(|idle| (1..=limits::KEEPALIVE_IDLE_SECONDS_MAX).contains(idle));
    seconds.ok_or("TCP counts whole seconds, from 1 to 32767")
}

fn seconds(text: &str) -> Result<f64, &'static str> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.001..=31_536_000.0).contains(&seconds) => Ok(seconds),
        _ => Err("seconds are a number from 0.001 to 31536000"),
    }
}
