//! A server that is running and can be driven: where it listens, how its channels are addressed,
//! whose CPU and memory to read. It does not own the process (`server.rs` and `nginx.rs` do).

use std::net::SocketAddr;

/// One server under load.
#[derive(Clone, Debug)]
pub struct Target {
    /// What the table calls it.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// The process to be measured.
    pub pid: u32,
    /// Whether it tells how it is doing under `/metrics`, as httpipe does.
    pub has_metrics: bool,
    pattern: String,
}

impl Target {
    /// An httpipe that the harness started.
    pub fn own(name: &str, address: SocketAddr, pid: u32) -> Self {
        let pattern = "/channels/bench/{channel}".to_owned();
        Self {
            name: name.to_owned(),
            address,
            pid,
            has_metrics: true,
            pattern,
        }
    }

    /// Any other server; `pattern` is a path in which `{channel}` stands for the channel.
    pub fn attached(name: &str, address: SocketAddr, pattern: &str, pid: u32) -> Self {
        let pattern = pattern.to_owned();
        Self {
            name: name.to_owned(),
            address,
            pid,
            has_metrics: false,
            pattern,
        }
    }

    /// The path of `channel`, which must need no percent-encoding.
    pub fn path(&self, channel: &str) -> String {
        self.pattern.replace("{channel}", channel)
    }

    /// A whole consumer's request on `channel`.
    pub fn get(&self, channel: &str) -> Vec<u8> {
        format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\n\r\n",
            self.path(channel),
            self.address
        )
        .into_bytes()
    }

    /// The head of a producer's request on `channel`, `framing` being its one field about the body.
    pub fn post(&self, channel: &str, framing: &str) -> Vec<u8> {
        let (path, host) = (self.path(channel), self.address);
        format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\n\
             Content-Type: application/octet-stream\r\n{framing}\r\n\r\n"
        )
        .into_bytes()
    }
}
