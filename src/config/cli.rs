//! [`Cli`]: the options, their help and the syntax of their values. [`super::Config`] validates them
//! together.

use std::ffi::OsString;

use clap::{
    CommandFactory, FromArgMatches, Parser, ValueEnum, builder::BoolishValueParser,
    error::ErrorKind, parser::ValueSource,
};

use crate::{
    config::{
        address::Address,
        environment::{self, Variables},
        host::Host,
    },
    http::host::{is_host, split_port},
    limits,
};

/// HTTP clients pass data to each other over named channels.
///
/// What one client sends with `POST` or `PUT /channels/NAMESPACE/CHANNEL`, another receives with
/// `GET` on the same path; whoever comes first waits. Nothing is stored.
#[derive(Debug, Clone, Parser)]
#[command(name = "httpipe", version, about)]
pub struct Cli {
    /// TCP port to listen on; 0 lets the kernel choose one
    #[arg(short, long, env = "PORT", default_value = "3000", value_parser = port, allow_negative_numbers = true)]
    pub port: u16,

    /// How long a request may wait for its counterpart [default: no limit]
    #[arg(short, long, env = "REQUEST_TIMEOUT", value_name = "SECONDS", value_parser = seconds, allow_negative_numbers = true)]
    pub request_timeout: Option<f64>,

    /// Address to listen on, IPv4 or IPv6, or a name: then on every address of it
    #[arg(long, env = "HOST", value_name = "ADDRESS", default_value = "0.0.0.0", value_parser = Host::parse)]
    pub host: Host,

    /// Address to listen on, instead of --host and --port: ADDRESS:PORT or unix:/PATH. May be
    /// repeated, or list several, separated by commas. The IPv6 wildcard accepts IPv6 only
    #[arg(long, env = "LISTEN", value_name = "ADDRESS", value_delimiter = ',', value_parser = Address::parse)]
    pub listen: Vec<Address>,

    /// Permissions of the Unix sockets of --listen, in octal, like 660 [default: by umask]
    #[arg(long, env = "UNIX_MODE", value_name = "MODE", value_parser = mode)]
    pub unix_mode: Option<u32>,

    /// Admin listener, ADDRESS:PORT or unix:/PATH. Then only this listener serves /metrics, /readyz,
    /// /state and the listings
    #[arg(long, env = "ADMIN", value_name = "ADDRESS", value_parser = Address::parse)]
    pub admin: Option<Address>,

    /// Host name by which clients may ask, without a port: a request with any other Host is refused.
    /// May be repeated, or list several, separated by commas [default: any]. The admin listener, Unix
    /// sockets and /healthz answer to any name
    #[arg(long, env = "ALLOW_HOST", value_name = "NAME", value_delimiter = ',', value_parser = host_name)]
    pub allow_host: Vec<String>,

    /// Number of threads; each runs one shard [default: the cores that this process may use]
    #[arg(long, env = "THREADS", value_name = "N", value_parser = threads, allow_negative_numbers = true)]
    pub threads: Option<u16>,

    /// How long a client may take to send the head of a request
    #[arg(long, env = "HEADER_TIMEOUT", value_name = "SECONDS", default_value = "10", value_parser = seconds, allow_negative_numbers = true)]
    pub header_timeout: f64,

    /// How long a connection may be idle between requests, and how long it may take to send a listing
    #[arg(long, env = "KEEP_ALIVE_TIMEOUT", value_name = "SECONDS", default_value = "75", value_parser = seconds, allow_negative_numbers = true)]
    pub keep_alive_timeout: f64,

    /// How long an exchange may make no progress [default: no limit]
    #[arg(long, env = "IDLE_TIMEOUT", value_name = "SECONDS", value_parser = seconds, allow_negative_numbers = true)]
    pub idle_timeout: Option<f64>,

    /// How long a connection may be silent before TCP probes it; a client that vanished is detected
    /// after twice as long
    #[arg(long, env = "TCP_KEEPALIVE", value_name = "SECONDS", default_value_t = limits::KEEPALIVE_IDLE_SECONDS, value_parser = keepalive, allow_negative_numbers = true)]
    pub tcp_keepalive: u16,

    /// How long running exchanges may continue after SIGTERM or SIGINT
    #[arg(long, env = "DRAIN_TIMEOUT", value_name = "SECONDS", default_value = "30", value_parser = seconds, allow_negative_numbers = true)]
    pub drain_timeout: f64,

    /// Maximum number of connections [default: from the limit of open files]
    #[arg(long, env = "MAX_CONNECTIONS", value_name = "N", value_parser = count, allow_negative_numbers = true)]
    pub max_connections: Option<u32>,

    /// Maximum number of waiting requests on one channel [default: only --max-connections limits it]
    #[arg(long, env = "MAX_WAITING", value_name = "N", value_parser = count, allow_negative_numbers = true)]
    pub max_waiting: Option<u32>,

    /// Maximum number of waiting requests on all channels; each thread admits an equal share
    /// [default: only --max-connections limits it]
    #[arg(long, env = "MAX_WAITING_TOTAL", value_name = "N", value_parser = count, allow_negative_numbers = true)]
    pub max_waiting_total: Option<u32>,

    /// Maximum number of channels in use; each thread admits an equal share [default: only
    /// --max-connections limits it]
    #[arg(long, env = "MAX_CHANNELS", value_name = "N", value_parser = count, allow_negative_numbers = true)]
    pub max_channels: Option<u32>,

    /// How to wait for sockets; auto: io_uring, or epoll if the kernel refuses io_uring
    #[arg(long, env = "DRIVER", value_name = "DRIVER", default_value = "auto")]
    pub driver: DriverChoice,

    /// How long a thread polls for the next request before it sleeps; this lowers latency and uses
    /// a whole core meanwhile [default: it sleeps immediately]
    #[arg(long, env = "BUSY_POLL", value_name = "MICROSECONDS", value_parser = micros, allow_negative_numbers = true)]
    pub busy_poll: Option<u32>,

    /// Format of the log on standard error; RUST_LOG sets the level (default info)
    #[arg(long, env = "LOG_FORMAT", value_name = "FORM", default_value = "text")]
    pub log: Form,

    /// Log one line per request
    #[arg(long, env = "ACCESS_LOG", value_parser = BoolishValueParser::new())]
    pub access_log: bool,

    /// How the access log shows the names of namespaces and channels
    #[arg(long, env = "LOG_NAMES", value_name = "HOW", default_value = "hash")]
    pub log_names: Names,

    /// Copy all bodies instead of splicing large ones. For producers on this machine that send files
    /// with sendfile(2) and change them after their 200; costs 1.2 to 5 times the CPU for large bodies
    #[arg(long, env = "NO_SPLICE", value_parser = BoolishValueParser::new())]
    pub no_splice: bool,

    #[arg(skip)]
    pub variables: Variables,
}

/// The values of `--log`. The comments of the variants are help texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// No log
    Off,
    /// Plain text
    Text,
    /// One JSON object per line
    Json,
}

/// The values of `--log-names`. The comments of the variants are help texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Names {
    /// As a keyed hash; every start uses a new key
    Hash,
    /// Not at all
    None,
    /// In plain text
    Plain,
}

/// The values of `--driver`, which the option's help explains.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum DriverChoice {
    Auto,
    #[value(name = "io_uring")]
    IoUring,
    Epoll,
}

impl Cli {
    /// Parses the arguments and the environment of this process. An error is printed, with what is
    /// allowed, and exits with code 2.
    #[must_use]
    pub fn parse_or_exit() -> Self {
        let mut command = Self::command();
        let arguments = Vec::<OsString>::from_iter(std::env::args_os());
        let matches = environment::parse(command.clone(), &arguments);
        let matches = matches.unwrap_or_else(|error| error.exit());
        let mut cli = Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
        cli.variables = environment::variables(&command, &matches);
        let typed = |id| matches.value_source(id) == Some(ValueSource::CommandLine);
        let host_or_port = typed("host") || typed("port");
        if typed("listen") && host_or_port {
            let text = "--listen replaces --host and --port: use one or the other, not both";
            command.error(ErrorKind::ArgumentConflict, text).exit();
        }
        // Arguments override the environment, in which LISTEN overrides HOST and PORT.
        if host_or_port {
            cli.listen.clear();
        }
        cli
    }

    /// How the user wrote an option and its value: `--log off`, or `LOG_FORMAT=off` in the environment.
    #[must_use]
    pub fn as_written(&self, id: &str, value: &str) -> String {
        match self.variables.get(id) {
            Some(variable) => format!("{variable}={value}"),
            None => format!("--{} {value}", id.replace('_', "-")),
        }
    }
}

fn mode(text: &str) -> Result<u32, &'static str> {
    let mode = u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| (1..=0o777).contains(mode));
    mode.ok_or("must be an octal number from 1 to 777, like 660")
}

fn port(text: &str) -> Result<u16, &'static str> {
    text.parse().map_err(|_| "must be a number from 0 to 65535")
}

fn host_name(text: &str) -> Result<String, &'static str> {
    let name = text.as_bytes();
    if is_host(name) && split_port(name).0 == name && !name.is_empty() {
        return Ok(text.to_owned());
    }
    Err("must be a host name without a port, like localhost, 192.0.2.7 or [::1]")
}

fn threads(text: &str) -> Result<u16, &'static str> {
    let threads = text
        .parse()
        .ok()
        .filter(|threads| (1..=1024).contains(threads));
    threads.ok_or("must be a number from 1 to 1024")
}

fn count(text: &str) -> Result<u32, &'static str> {
    let count = text.parse().ok().filter(|&count| count > 0);
    count.ok_or("must be a number from 1 to 4294967295")
}

fn micros(text: &str) -> Result<u32, &'static str> {
    let micros = text
        .parse()
        .ok()
        .filter(|micros| (1..=1_000_000).contains(micros));
    micros.ok_or("must be microseconds, from 1 to 1000000")
}

fn keepalive(text: &str) -> Result<u16, &'static str> {
    let seconds = text.parse().ok();
    let seconds = seconds.filter(|idle| (1..=limits::KEEPALIVE_IDLE_SECONDS_MAX).contains(idle));
    seconds.ok_or("must be whole seconds, from 1 to 32767")
}

fn seconds(text: &str) -> Result<f64, &'static str> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.001..=31_536_000.0).contains(&seconds) => Ok(seconds),
        _ => Err("must be seconds, from 0.001 to 31536000"),
    }
}
