//! The command line as it is typed. What it means, and whether it makes sense, is `config`'s to say.

use std::net::IpAddr;

use clap::Parser;

/// HTTP clients pass data to each other over named channels.
///
/// What one client sends with `POST` or `PUT /channels/NAMESPACE/CHANNEL`, another receives with
/// `GET` on the same path; whoever comes first waits. Nothing is stored.
#[derive(Debug, Clone, Parser)]
#[command(name = "httpipe", version, about)]
pub struct Cli {
    /// The port to listen on; 0 lets the kernel choose one
    #[arg(short, long, env = "PORT", default_value_t = 3000)]
    pub port: u16,

    /// How long a request may wait for its counterpart; no limit unless given
    #[arg(short, long, env = "REQUEST_TIMEOUT", value_name = "SECONDS", value_parser = seconds)]
    pub request_timeout: Option<f64>,

    /// The address to listen on, IPv4 or IPv6
    #[arg(long, env = "HOST", value_name = "ADDRESS", default_value = "0.0.0.0")]
    pub host: IpAddr,

    /// Threads, each with a shard of its own [default: the cores this process may run on]
    #[arg(long, env = "THREADS", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,

    /// How long a client may take to send the whole head of a request
    #[arg(long, env = "HEADER_TIMEOUT", value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub header_timeout: f64,

    /// How long a connection is kept open without a request
    #[arg(long, env = "KEEP_ALIVE_TIMEOUT", value_name = "SECONDS", default_value = "75", value_parser = seconds)]
    pub keep_alive_timeout: f64,

    /// How long an exchange may stand still; no limit unless given
    #[arg(long, env = "IDLE_TIMEOUT", value_name = "SECONDS", value_parser = seconds)]
    pub idle_timeout: Option<f64>,

    /// How long exchanges under way may go on after SIGTERM or SIGINT
    #[arg(long, env = "DRAIN_TIMEOUT", value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    pub drain_timeout: f64,

    /// Connections at once [default: what the limit of open files allows]
    #[arg(long, env = "MAX_CONNECTIONS", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_connections: Option<u32>,

    /// Requests that may wait for a counterpart at once, in all [default: no limit of its own, connections bound it]
    #[arg(long, env = "MAX_WAITING", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_waiting: Option<u32>,

    /// Requests that may wait on one channel at once [default: as --max-waiting]
    #[arg(long, env = "MAX_WAITING_PER_CHANNEL", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_waiting_per_channel: Option<u32>,

    /// Channels in use at once [default: no limit of its own, connections bound it]
    #[arg(long, env = "MAX_CHANNELS", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_channels: Option<u32>,

    /// Move every body through a buffer instead of splicing large ones (to measure the difference)
    #[arg(long, hide = true)]
    pub no_splice: bool,
}

impl Cli {
    /// Parses the process's arguments and environment; on a mistake, prints what is wrong and what
    /// is allowed, and ends the process with code 2.
    #[must_use]
    pub fn parse_or_exit() -> Self {
        Self::parse()
    }
}

/// Seconds as a decimal number, at least a millisecond and at most a year.
fn seconds(text: &str) -> Result<f64, String> {
    const ALLOWED: &str = "a number of seconds from 0.001 to 31536000 is";
    match text.parse::<f64>() {
        Ok(seconds) if (0.001..=31_536_000.0).contains(&seconds) => Ok(seconds),
        _ => Err(format!("not allowed; {ALLOWED}")),
    }
}
