//! HAProxy and nginx in front of a server: starts one on a free port of 127.0.0.1 with a
//! configuration in a temporary folder, and reads what it says to a client. Must never leave a
//! process behind, and must never end one that it did not start.
//!
//! Both are set up as someone would who puts httpipe behind them: bodies pass as they come, and the
//! connections to httpipe are kept and shared by all clients. That sharing is what a smuggled
//! request would live on. Both forbid [`FORBIDDEN`], so that a request which the proxy sees never
//! does there what a request that it does not see would do.

use super::connection::Connection;
use super::request::{get, post};
use super::server::Server;
use super::{FAILURE_BOUND, until};
use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket, sockopt};
use std::fs::{File, read_to_string, write};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// What a path starts with to which the proxy answers 403 by itself.
pub const FORBIDDEN: &str = "/channels/guard";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Haproxy,
    Nginx,
}

pub const KINDS: [Kind; 2] = [Kind::Haproxy, Kind::Nginx];

impl Kind {
    fn configuration(
        self,
        folder: &Path,
        address: SocketAddr,
        server: SocketAddr,
        patience: Duration,
    ) -> String {
        let bound = FAILURE_BOUND.as_secs();
        let patience = patience.as_millis();
        match self {
            Self::Haproxy => format!(
                "global
                    nbthread 1
                    maxconn 500
                defaults
                    mode http
                    # Without it in frontend and backend, who leaves while it waits is not passed on.
                    option abortonclose
                    timeout connect {bound}s
                    timeout client {bound}s
                    timeout server {patience}ms
                frontend clients
                    bind {address}
                    http-request deny if {{ path_beg {FORBIDDEN} }}
                    default_backend httpipe
                backend httpipe
                    http-reuse always
                    server httpipe {server}
                "
            ),
            Self::Nginx => {
                let folder = folder.display();
                // One process: its pid is all that there is to end.
                format!(
                    "daemon off; master_process off; pid {folder}/pid; error_log stderr notice;
                    events {{ worker_connections 500; }}
                    http {{
                        access_log off;
                        client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
                        fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi;
                        scgi_temp_path {folder}/scgi;
                        client_max_body_size 0;
                        upstream httpipe {{ server {server}; keepalive 16; }}
                        server {{
                            listen {address} reuseport;
                            location {FORBIDDEN} {{ return 403; }}
                            location / {{
                                proxy_pass http://httpipe;
                                proxy_http_version 1.1;
                                proxy_set_header Connection \"\";
                                proxy_request_buffering off;
                                proxy_buffering off;
                                proxy_read_timeout {patience}ms;
                            }}
                        }}
                    }}
                    "
                )
            }
        }
    }

    /// The program in the foreground. An ordinary user's PATH does not look where Debian puts it.
    fn command(self, folder: &Path, configuration: &Path) -> Command {
        let mut command = match self {
            Self::Haproxy => Command::new("haproxy"),
            Self::Nginx => Command::new("nginx"),
        };
        match self {
            Self::Haproxy => command.args(["-db", "-f"]).arg(configuration),
            Self::Nginx => command
                .args(["-e", "stderr", "-p"])
                .arg(folder)
                .arg("-c")
                .arg(configuration),
        };
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
        command
    }
}

/// A running proxy in front of a server. Dropping it ends it.
pub struct Proxy {
    kind: Kind,
    child: Child,
    address: SocketAddr,
    folder: TempDir,
    _port: OwnedFd,
}

impl Proxy {
    /// Starts a proxy that gives a reply as long as any test may take.
    pub fn start(kind: Kind, server: &Server) -> Self {
        Self::start_with_patience(kind, server, FAILURE_BOUND * 2)
    }

    /// Starts a proxy that waits for a reply of the server no longer than `patience`.
    pub fn start_with_patience(kind: Kind, server: &Server, patience: Duration) -> Self {
        let (port, address) = reserve_port();
        let folder = TempDir::new().expect("a folder");
        let configuration = folder.path().join("configuration");
        let text = kind.configuration(folder.path(), address, server.address(), patience);
        write(&configuration, text.trim_end().to_owned() + "\n").expect("a file in our folder");
        let log = File::create(folder.path().join("log")).expect("a file in our folder");
        let mut command = kind.command(folder.path(), &configuration);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let child = match command.stderr(log).spawn() {
            Ok(child) => child,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                panic!("{kind:?} is not installed; ci/check installs it")
            }
            Err(error) => panic!("{kind:?} does not start: {error}"),
        };
        let mut proxy = Self {
            kind,
            child,
            address,
            folder,
            _port: port,
        };
        proxy.until_it_accepts();
        proxy
    }

    fn until_it_accepts(&mut self) {
        until("the proxy to accept", || {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                panic!("{:?} ended with {status}", self.kind);
            }
            TcpStream::connect(self.address).ok()
        });
    }

    /// A new connection to the proxy.
    pub fn connect(&self) -> Connection {
        Connection::open(self.address)
    }

    /// A new connection to the proxy over which these bytes went.
    pub fn connect_and_send(&self, bytes: &[u8]) -> Connection {
        let mut connection = self.connect();
        connection.send(bytes);
        connection
    }

    /// A new connection to the proxy that asked to consume `channel` (`namespace/channel`).
    pub fn consume(&self, channel: &str) -> Connection {
        self.connect_and_send(&get(channel))
    }

    /// A new connection to the proxy that sent a whole producer's request.
    pub fn produce(&self, channel: &str, body: impl AsRef<[u8]>) -> Connection {
        self.connect_and_send(&post(channel, body))
    }

    /// A new connection to the proxy, as a bare stream.
    pub fn stream(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("it accepts");
        stream.set_nodelay(true).expect("a TCP option");
        stream
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Both end at once, and neither has a process of its own to leave behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = read_to_string(self.folder.path().join("log")).unwrap_or_default();
            eprintln!("{:?} in front of it said:\n{log}---", self.kind);
        }
    }
}

/// A free port, kept free of others for as long as the socket lives: bound, never listening, and
/// shareable (`SO_REUSEPORT`, socket(7)) with a program of the same user that asks to share.
fn reserve_port() -> (OwnedFd, SocketAddr) {
    let holder = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    sockopt::set_socket_reuseport(&holder, true).expect("a socket option");
    bind(&holder, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = getsockname(&holder).expect("a bound socket");
    (holder, address.try_into().expect("an IPv4 address"))
}

/// A final reply as a proxy gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    pub status: u16,
    pub body: Vec<u8>,
}

/// The final replies that stand whole in `bytes`, to requests other than HEAD, and how many bytes
/// they take. Lenient, unlike [`Connection`]: a proxy words its own errors as it likes.
pub fn heard(bytes: &[u8]) -> (Vec<Heard>, usize) {
    let (mut replies, mut read) = (Vec::new(), 0);
    while let Some((reply, length)) = first_heard(&bytes[read..]) {
        read += length;
        if reply.status >= 200 {
            replies.push(reply);
        }
    }
    (replies, read)
}

fn first_heard(bytes: &[u8]) -> Option<(Heard, usize)> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Response::new(&mut fields);
    let parsed = head.parse(bytes);
    let parsed = parsed.unwrap_or_else(|error| panic!("{error}: {}", bytes.escape_ascii()));
    let httparse::Status::Complete(head_bytes) = parsed else {
        return None;
    };
    let field = |name: &str| {
        let named = head
            .headers
            .iter()
            .find(|f| f.name.eq_ignore_ascii_case(name));
        named.map(|f| std::str::from_utf8(f.value).expect("text"))
    };
    let status = head.code.expect("a status");
    let rest = &bytes[head_bytes..];
    let (body, body_bytes) = match (field("Transfer-Encoding"), field("Content-Length")) {
        _ if status < 200 || status == 204 => (Vec::new(), 0),
        (Some(_), _) => unchunked(rest)?,
        (None, Some(length)) => {
            let length = length.parse().expect("a length");
            (rest.get(..length)?.to_vec(), length)
        }
        // It ends with the connection.
        (None, None) => (rest.to_vec(), rest.len()),
    };
    Some((Heard { status, body }, head_bytes + body_bytes))
}

/// The payload of a whole chunked body without trailers, and how many bytes its coding takes.
fn unchunked(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut body, mut read) = (Vec::new(), 0);
    loop {
        let size = httparse::parse_chunk_size(&bytes[read..]).expect("a chunk");
        let httparse::Status::Complete((head_bytes, payload_bytes)) = size else {
            return None;
        };
        let payload = read + head_bytes;
        let end = payload + usize::try_from(payload_bytes).expect("a small chunk");
        body.extend_from_slice(bytes.get(payload..end)?);
        read = end + 2;
        bytes.get(..read)?;
        if payload_bytes == 0 {
            return Some((body, read));
        }
    }
}
