//! [`Config`]: the validated command line, with defaults applied.
//!
//! Reads how many cores this process may use, and raises its limit of open files.

pub mod address;
pub mod cli;
pub mod descriptors;
mod environment;
pub mod host;

use std::{fmt, time::Duration};

pub use crate::config::cli::{Form, Names};
use crate::{
    config::{
        address::Address,
        cli::{Cli, DriverChoice},
        descriptors::{Descriptors, TooFew},
        host::Host,
    },
    io::{machine, runtime::Driver},
    limits,
};

/// The name of an inherited admin listener (`LISTEN_FDNAMES`, `FileDescriptorName=`). All other
/// inherited sockets are for clients.
pub const ADMIN_NAME: &str = "admin";

/// The configuration of a server.
#[derive(Debug, Clone)]
pub struct Config {
    /// Client listeners, in addition to inherited ones.
    pub listen: Vec<Address>,
    /// Where to listen for clients if there is no other listener for them.
    pub listen_default: HostAndPort,
    /// Permissions of the files of client sockets; `None`: by umask.
    pub unix_mode: Option<u32>,
    /// The admin listener, in addition to inherited ones.
    pub admin: Option<Address>,
    /// Host names that clients may use, without a port; empty: any.
    pub allowed_hosts: Vec<String>,
    /// At least 1; each has its own thread.
    pub shards: usize,
    /// `None`: io_uring, or epoll if the kernel refuses it.
    pub driver: Option<Driver>,
    pub timeouts: Timeouts,
    pub descriptors: Descriptors,
    pub keepalive: Keepalive,
    /// Waiting requests of all shards; each shard admits an equal share.
    pub waiting_max: usize,
    pub waiting_per_channel_max: usize,
    /// Channels of all shards; each shard admits an equal share.
    pub channels_max: usize,
    /// How long a shard polls after a request before it sleeps; `None`: not at all.
    pub busy_poll: Option<Duration>,
    pub log: Form,
    /// `None`: no access log.
    pub access: Option<Names>,
    /// Whether large bodies are spliced.
    pub splice: bool,
}

/// `--host` and `--port`, or `HOST` and `PORT`.
#[derive(Debug, Clone)]
pub struct HostAndPort {
    pub host: Host,
    /// 0 lets the kernel choose one.
    pub port: u16,
    /// How the user wrote the host, for an error.
    pub host_as_written: String,
}

/// Time limits. `None`: unlimited.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// A request waits for its counterpart.
    pub request: Option<Duration>,
    /// A head arrives, from its first byte on; the first head of a connection: from accept on.
    pub header: Duration,
    /// A connection is idle between two requests.
    pub keep_alive: Duration,
    /// An exchange makes no progress.
    pub idle: Option<Duration>,
    /// Running exchanges continue after the drain has begun.
    pub drain: Duration,
}

impl Timeouts {
    /// `keep_alive` as a client is told it: in whole seconds, so that it stops using the connection
    /// earlier rather than later. At least 1: 0 reads as "not kept", or as "for ever".
    #[must_use]
    pub fn keep_alive_seconds(&self) -> u64 {
        self.keep_alive.as_secs().max(1)
    }
}

/// When TCP probes a silent peer (`tcp(7)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keepalive {
    /// Silence before the first probe; whole seconds.
    pub idle: Duration,
    /// The time between two of the [`limits::KEEPALIVE_PROBES`] probes; whole seconds.
    pub interval: Duration,
}

impl Keepalive {
    /// The first probe after `idle_seconds`; the peer counts as gone after about twice that.
    #[must_use]
    pub fn after(idle_seconds: u16) -> Self {
        let interval = u32::from(idle_seconds).div_ceil(limits::KEEPALIVE_PROBES);
        Self {
            idle: Duration::from_secs(idle_seconds.into()),
            interval: Duration::from_secs(interval.max(1).into()),
        }
    }

    /// How long a peer must be silent to count as gone.
    #[must_use]
    pub fn gone_after(self) -> Duration {
        self.idle + self.interval * limits::KEEPALIVE_PROBES
    }

    /// How long sent bytes may stay unacknowledged (`TCP_USER_TIMEOUT`). `None`: as long as the kernel
    /// retransmits, about 15 minutes (`tcp_retries2`), unless the sweep detects the lost peer earlier
    /// ([`crate::io::socket::Transport::is_lost`]).
    ///
    /// Set only together with the idle timeout of exchanges, `idle`: the kernel counts bytes that wait
    /// for a closed window as unacknowledged, so a consumer that pauses would look like one that
    /// vanished. At least [`Self::gone_after`], because it also overrides the number of keepalive probes:
    /// a shorter one would drop a waiting client after one lost packet.
    #[must_use]
    pub fn user_timeout(self, idle: Option<Duration>) -> Option<Duration> {
        idle.map(|idle| idle.max(self.gone_after()))
    }
}

/// Why the options cannot be used together, or on this machine.
#[derive(Debug)]
pub struct ConfigError(String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Config {
    /// Validates `cli` and applies the defaults that depend on the machine. Raises the soft limit of
    /// open files to the hard limit (`getrlimit(2)`), which decides how many connections and pipes are
    /// possible.
    ///
    /// # Errors
    /// The options contradict each other, or the limit of open files is too low for them.
    pub fn from_cli(cli: Cli) -> Result<Self, ConfigError> {
        check_log(&cli)?;
        let shards = cli.threads.map_or_else(machine::allowed_cores, usize::from);
        let open_files = machine::raise_open_files_limit();
        let wanted = cli.max_connections.map(|wanted| wanted as usize);
        let extra = extra_descriptors(&cli, &machine::inherited_names(), shards);
        let descriptors =
            Descriptors::share_out(open_files, shards, extra, wanted).map_err(|few| {
                let described = few.describe(open_files, shards);
                ConfigError(match (few, wanted) {
                    (TooFew::ForWanted { .. }, Some(wanted)) => {
                        let written = cli.as_written("max_connections", &wanted.to_string());
                        format!("{written}: {described}")
                    }
                    _ => described,
                })
            })?;
        let bound = |given: Option<u32>| given.map_or(usize::MAX, |n| n as usize);
        Ok(Self {
            listen_default: HostAndPort {
                host_as_written: cli.as_written("host", &cli.host.to_string()),
                host: cli.host,
                port: cli.port,
            },
            listen: cli.listen,
            unix_mode: cli.unix_mode,
            admin: cli.admin,
            allowed_hosts: cli.allow_host,
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

/// The access log is part of the log.
fn check_log(cli: &Cli) -> Result<(), ConfigError> {
    if cli.access_log && cli.log == Form::Off {
        let access_log = cli.as_written("access_log", "true");
        let access_log = access_log.trim_end_matches(" true");
        let log_off = cli.as_written("log", "off");
        return Err(ConfigError(format!(
            "{access_log} needs a log: remove {log_off}, or write text or json instead of off"
        )));
    }
    Ok(())
}

/// Descriptors of the listeners that are configured or inherited, and of operators' connections. A
/// listener has one in the server; one for clients has one in every shard, one for operators in the first.
fn extra_descriptors(cli: &Cli, inherited: &[String], shards: usize) -> usize {
    let inherited_admin = inherited.iter().filter(|name| *name == ADMIN_NAME).count();
    let admin = inherited_admin + usize::from(cli.admin.is_some());
    let clients = inherited.len() - inherited_admin + cli.listen.len();
    let operators = match admin {
        0 => 0,
        _ => limits::ADMIN_CONNECTIONS_MAX,
    };
    operators + admin * 2 + clients * (1 + shards)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

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

    #[test]
    fn listeners_and_operators_connections_have_their_descriptors_however_they_are_set() {
        const OPERATORS: usize = limits::ADMIN_CONNECTIONS_MAX;
        for (options, inherited, expected) in [
            (&[][..], &[][..], 0),
            (&[], &["web"], 5),
            (&["--listen=127.0.0.1:1"], &["web", "other"], 15),
            (&["--admin=127.0.0.1:1"], &[], 2 + OPERATORS),
            (&[], &["admin"], 2 + OPERATORS),
            (&["--admin=unix:/x"], &["web", "admin"], 9 + OPERATORS),
        ] {
            let cli = Cli::parse_from([&["httpipe"], options].concat());
            let inherited = Vec::from_iter(inherited.iter().map(|&name| name.to_owned()));
            let extra = extra_descriptors(&cli, &inherited, 4);
            assert_eq!(extra, expected, "{options:?}, {inherited:?}");
        }
    }
}
