//! The server under load: its address, its paths, its process. It does not own the process; `servers`
//! does.

use std::net::SocketAddr;

#[derive(Clone, Debug)]
pub struct Target {
    /// Name in the table.
    pub name: String,
    pub address: SocketAddr,
    /// The process whose CPU and memory are measured.
    pub pid: u32,
    /// Whether it serves httpipe's `/metrics`.
    pub has_metrics: bool,
    pattern: String,
}

impl Target {
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

    /// `pattern` is a path in which `{channel}` stands for the channel.
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

    /// `channel` must need no percent-encoding.
    pub fn path(&self, channel: &str) -> String {
        self.pattern.replace("{channel}", channel)
    }

    /// See [`Target::path`].
    pub fn url(&self, channel: &str) -> String {
        format!("http://{}{}", self.address, self.path(channel))
    }

    /// A complete consumer's request.
    pub fn get(&self, channel: &str) -> Vec<u8> {
        format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\n\r\n",
            self.path(channel),
            self.address
        )
        .into_bytes()
    }

    /// The head of a producer's request; `framing` is its field line about the body.
    pub fn post(&self, channel: &str, framing: &str) -> Vec<u8> {
        let (path, host) = (self.path(channel), self.address);
        format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\n\
             Content-Type: application/octet-stream\r\n{framing}\r\n\r\n"
        )
        .into_bytes()
    }
}
