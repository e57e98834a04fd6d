//! What the command line means: validated, in units of its own, nothing optional left that has a
//! default. Pure but for the look at this process's own limits (cores, open files).

use std::{fmt, time::Duration};

use crate::{
    access::Names,
    address::Address,
    cli::{Cli, DriverChoice},
    limits,
    log::Form,
    runtime::Driver,
    sys,
};

/// How the server runs.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen for clients, beside the sockets that are inherited.
    pub listen: Vec<Address>,
    /// Where to listen for them if there is neither.
    pub listen_default: Address,
    /// Permissions of the socket files that are made for clients; `None`: by umask.
    pub unix_mode: Option<u32>,
    /// Where to listen for operators, beside the sockets that are inherited for that.
    pub admin: Option<Address>,
    /// How many shards, each on a thread of its own; at least 1.
    pub shards: usize,
    /// What the shards run on; `None`: io_uring, or epoll if the kernel refuses it.
    pub driver: Option<Driver>,
    /// Time limits.
    pub timeouts: Timeouts,
    /// Most connections at once, in all shards together.
    pub connections_max: usize,
    /// Most requests that wait at once, in all; each shard takes an equal share.
    pub waiting_max: usize,
    /// Most requests that wait on one channel at once.
    pub waiting_per_channel_max: usize,
    /// Most channels in use at once, in all; each shard takes an equal share.
    pub channels_max: usize,
    /// For how long a shard looks for news after a request before it sleeps; `None`: not at all.
    pub busy_poll: Option<Duration>,
    /// The form of the log.
    pub log: Form,
    /// How names stand in the access log; `None`: there is no such log.
    pub access: Option<Names>,
    /// Whether large bodies are spliced.
    pub splice: bool,
}

/// How long things may take. `None`: as long as they like.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// For a request to find its counterpart.
    pub request: Option<Duration>,
    /// For the whole head of a request, from its first byte or from the connection's start.
    pub header: Duration,
    /// Between two requests on a connection.
    pub keep_alive: Duration,
    /// For an exchange in which nothing moves.
    pub idle: Option<Duration>,
    /// For exchanges under way when the server is told to end.
    pub drain: Duration,
}

/// Why the options cannot be used together or on this machine.
#[derive(Debug)]
pub struct ConfigError(String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Config {
    /// Validates `cli` and fills in what depends on the machine. Raises the limit of open files to
    /// its hard limit (`getrlimit(2)`), because the default for `connections_max` follows from it.
    ///
    /// # Errors
    /// A limit that this process cannot keep, with the option, the value and what is allowed.
    pub fn from_cli(cli: Cli) -> Result<Self, ConfigError> {
        if cli.access_log && cli.log == Form::Off {
            return Err(ConfigError(
                "--access-log needs a log to write to: leave out --log off, or use text or json"
                    .to_owned(),
            ));
        }
        let shards = cli.threads.map_or_else(sys::allowed_cores, usize::from);
        let open_files = sys::raise_open_files_limit();
        let allowed = open_files
            .saturating_sub(reserved_files(&cli, shards))
            .max(1);
        let connections_max = match cli.max_connections {
            Some(wanted) if wanted as usize > allowed => {
                return Err(ConfigError(format!(
                    "--max-connections {wanted}: at most {allowed} are possible with a limit of \
                     {open_files} open files; raise it (ulimit -n, LimitNOFILE=) or ask for less"
                )));
            }
            Some(wanted) => wanted as usize,
            None => allowed,
        };
        let bound = |given: Option<u32>| given.map_or(usize::MAX, |n| n as usize);
        Ok(Self {
            listen: cli.listen,
            listen_default: Address::of_host(cli.host, cli.port),
            unix_mode: cli.unix_mode,
            admin: cli.admin,
            shards,
            driver: match cli.driver {
                DriverChoice::Auto => None,
                DriverChoice::IoUring => Some(Driver::IoUring),
                DriverChoice::Epoll => Some(Driver::Epoll),
            },
            timeouts: Timeouts {
                request: cli.request_timeout.map(Duration::from_secs_f64),
                header: Duration::from_secs_f64(cli.header_timeout),
                keep_alive: Duration::from_secs_f64(cli.keep_alive_timeout),
                idle: cli.idle_timeout.map(Duration::from_secs_f64),
                drain: Duration::from_secs_f64(cli.drain_timeout),
            },
            connections_max,
            waiting_max: bound(cli.max_waiting_total),
            waiting_per_channel_max: bound(cli.max_waiting),
            channels_max: bound(cli.max_channels),
            busy_poll: cli
                .busy_poll
                .map(|micros| Duration::from_micros(micros.into())),
            log: cli.log,
            access: cli.access_log.then_some(cli.log_names),
            splice: !cli.no_splice,
        })
    }
}

/// Descriptors that are not for connections of clients.
fn reserved_files(cli: &Cli, shards: usize) -> usize {
    let operators = match cli.admin {
        Some(_) => 1 + limits::ADMIN_CONNECTIONS_MAX,
        None => 0,
    };
    // The server has one of each, and so has every shard.
    let listeners = cli.listen.len();
    let per_shard = limits::RESERVED_FILES_PER_SHARD + listeners;
    limits::RESERVED_FILES + operators + listeners + per_shard * shards
}
