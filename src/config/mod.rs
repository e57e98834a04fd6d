//! What the command line means: validated, in units of its own, nothing optional left that has a
//! default. Reads how many cores this process may use, and raises its limit of open files.

pub mod address;
pub mod cli;
pub mod descriptors;

use std::{fmt, time::Duration};

pub use crate::config::cli::{Form, Names};
use crate::{
    config::{
        address::Address,
        cli::{Cli, DriverChoice},
        descriptors::{Descriptors, TooFew},
    },
    io::{machine, runtime::Driver},
    limits,
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
    /// Most connections at once in all shards together, and pipes of each.
    pub descriptors: Descriptors,
    /// The kernel's watch for peers that vanish without a word.
    pub keepalive: Keepalive,
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

/// When the kernel asks a silent peer whether it is still there (`tcp(7)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keepalive {
    /// The silence before the first question; whole seconds.
    pub idle: Duration,
    /// The time between two of the [`limits::KEEPALIVE_PROBES`]; whole seconds.
    pub interval: Duration,
}

impl Keepalive {
    /// The first question after `idle_seconds` of silence, the last one as long after that again.
    #[must_use]
    pub fn after(idle_seconds: u16) -> Self {
        let interval = u32::from(idle_seconds).div_ceil(limits::KEEPALIVE_PROBES);
        Self {
            idle: Duration::from_secs(idle_seconds.into()),
            interval: Duration::from_secs(interval.max(1).into()),
        }
    }

    /// How long a peer has been silent when it counts as gone.
    #[must_use]
    pub fn gone_after(self) -> Duration {
        self.idle + self.interval * limits::KEEPALIVE_PROBES
    }

    /// How long sent bytes may stay unacknowledged (`TCP_USER_TIMEOUT`); `None`: as long as the
    /// kernel retransmits, about a quarter of an hour (`tcp_retries2`), unless the sweep finds before
    /// that the peer is silent ([`crate::io::socket::Transport::is_lost`]).
    ///
    /// It goes along with `idle`, the limit for exchanges in which nothing moves, and is never without
    /// it, because the kernel counts bytes that wait for a closed window among the unacknowledged: a
    /// consumer that reads nothing for a while would be taken for one that vanished. Never shorter
    /// than [`Self::gone_after`], because it also overrides how many questions may go unanswered:
    /// shorter, and one lost packet would end a wait.
    #[must_use]
    pub fn user_timeout(self, idle: Option<Duration>) -> Option<Duration> {
        idle.map(|idle| idle.max(self.gone_after()))
    }
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
    /// its hard limit (`getrlimit(2)`), because how many connections and pipes there are follows
    /// from it.
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
        let shards = cli.threads.map_or_else(machine::allowed_cores, usize::from);
        let open_files = machine::raise_open_files_limit();
        let wanted = cli.max_connections.map(|wanted| wanted as usize);
        let extra = extra_descriptors(&cli, shards);
        let descriptors =
            Descriptors::share_out(open_files, shards, extra, wanted).map_err(|few| {
                let described = few.describe(open_files, shards);
                ConfigError(match (few, wanted) {
                    (TooFew::ForWanted { .. }, Some(wanted)) => {
                        format!("--max-connections {wanted}: {described}")
                    }
                    _ => described,
                })
            })?;
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
            descriptors,
            keepalive: Keepalive::after(cli.tcp_keepalive),
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

/// Descriptors that the addresses take which are listened on: the server has one of each, and so has
/// every shard; and operators' connections, if there is an address for them.
fn extra_descriptors(cli: &Cli, shards: usize) -> usize {
    let operators = match cli.admin {
        Some(_) => 2 + limits::ADMIN_CONNECTIONS_MAX,
        None => 0,
    };
    operators + cli.listen.len() * (1 + shards)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_vanished_peer_is_gone_after_twice_the_silence_and_never_after_a_single_question() {
        let default = Keepalive::after(limits::KEEPALIVE_IDLE_SECONDS);
        assert_eq!((default.idle, default.interval), (seconds(60), seconds(10)));
        assert_eq!(default.gone_after(), seconds(120));
        for idle in [1, 5, 6, 7, 350, limits::KEEPALIVE_IDLE_SECONDS_MAX] {
            let keepalive = Keepalive::after(idle);
            let twice = seconds(2 * u64::from(idle));
            assert!(keepalive.gone_after() >= twice, "{keepalive:?}");
            assert!(
                keepalive.gone_after() <= twice + seconds(6),
                "{keepalive:?}"
            );
            assert!(keepalive.interval >= seconds(1), "{keepalive:?}");
        }
    }

    #[test]
    fn unacknowledged_bytes_are_given_as_long_as_unanswered_questions() {
        let keepalive = Keepalive::after(60);
        assert_eq!(keepalive.user_timeout(None), None);
        assert_eq!(keepalive.user_timeout(Some(seconds(5))), Some(seconds(120)));
        assert_eq!(
            keepalive.user_timeout(Some(seconds(900))),
            Some(seconds(900))
        );
    }
}
