//! HAProxy and nginx in front of a server: starts one on a free port of 127.0.0.1 with a
//! configuration in a temporary folder, and reads its replies. Must never leave a process behind,
//! and must never end one that it did not start.
//!
//! Each has two configurations. One is the tests' own: minimal, and all clients share the
//! connections to httpipe as early as possible, because a smuggled request needs that. The other is
//! the operators' files ([`super::shipped`]). Both forbid [`FORBIDDEN`], so that a smuggled request
//! has an effect that a request seen by the proxy never has.

use super::connection::Connection;
use super::request::{get, post, request};
use super::server::Server;
use super::{FAILURE_BOUND, shipped, until};
use std::fs::{File, read_to_string, write};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;
use tempfile::TempDir;

/// Paths with this prefix get 403 from the proxy.
pub const FORBIDDEN: &str = "/channels/guard";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    Haproxy,
    Nginx,
}

pub const PROGRAMS: [Program; 2] = [Program::Haproxy, Program::Nginx];

/// The source of a proxy's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Setup {
    Own,
    Shipped,
}

/// A proxy, and the source of its configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind(Program, Setup);

pub const KINDS: [Kind; 4] = [
    Kind(Program::Haproxy, Setup::Own),
    Kind(Program::Nginx, Setup::Own),
    Kind(Program::Haproxy, Setup::Shipped),
    Kind(Program::Nginx, Setup::Shipped),
];

impl Kind {
    fn configuration(
        self,
        folder: &Path,
        address: SocketAddr,
        server: SocketAddr,
        patience: Duration,
    ) -> String {
        match self {
            Self(program, Setup::Shipped) => {
                let text = shipped::configuration(program, folder, address, &[(1, server)]);
                shipped::forbidding(program, &shipped::with_patience(program, &text, patience))
            }
            Self(Program::Haproxy, Setup::Own) => own_haproxy(address, server, patience),
            Self(Program::Nginx, Setup::Own) => own_nginx(folder, address, server, patience),
        }
    }
}

fn own_haproxy(address: SocketAddr, server: SocketAddr, patience: Duration) -> String {
    let (bound, patience) = (FAILURE_BOUND.as_secs(), patience.as_millis());
    format!(
        "global
            nbthread 1
            maxconn 500
        defaults
            mode http
            # Without it, HAProxy keeps the request of a client that leaves while it waits.
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
    )
}

fn own_nginx(folder: &Path, address: SocketAddr, server: SocketAddr, patience: Duration) -> String {
    let (folders, patience) = (nginx_folders(folder), patience.as_millis());
    format!(
        "events {{ worker_connections 500; }}
        http {{
            access_log off;
            {folders}
            client_max_body_size 0;
            upstream httpipe {{ server {server}; keepalive 16; }}
            server {{
                listen {address};
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

/// Folders for nginx that an ordinary user may write, in place of Debian's.
pub fn nginx_folders(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; \
         fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; \
         scgi_temp_path {folder}/scgi;"
    )
}

impl Program {
    /// The program in the foreground, as one process, so that its pid is all there is to end.
    /// Debian's folder for it is not in an ordinary user's PATH.
    fn command(self, folder: &Path, configuration: &Path) -> Command {
        let mut command = match self {
            Self::Haproxy => Command::new("haproxy"),
            Self::Nginx => Command::new("nginx"),
        };
        match self {
            Self::Haproxy => command.args(["-db", "-f"]).arg(configuration),
            Self::Nginx => {
                let pid = folder.join("pid");
                let globals = format!("daemon off; master_process off; pid {};", pid.display());
                command
                    .args(["-e", "stderr", "-g", &globals, "-p"])
                    .arg(folder)
                    .arg("-c")
                    .arg(configuration)
            }
        };
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
        command
    }
}

/// A running proxy in front of one or several servers. Dropping it ends it.
pub struct Proxy {
    program: Program,
    child: Child,
    address: SocketAddr,
    folder: TempDir,
}

impl Proxy {
    /// Starts a proxy whose time limit for a reply is as long as any test may take.
    pub fn start(kind: Kind, server: &Server) -> Self {
        Self::start_with_patience(kind, server, FAILURE_BOUND * 2)
    }

    /// Starts a proxy whose time limit for the server's reply is `patience`.
    pub fn start_with_patience(kind: Kind, server: &Server, patience: Duration) -> Self {
        Self::start_configured(kind.0, |folder, address| {
            kind.configuration(folder, address, server.address(), patience)
        })
    }

    /// Starts a proxy with only the shipped files, in front of these nodes, each with its number (1
    /// to 3 are in the files).
    pub fn start_shipped(program: Program, nodes: &[(usize, SocketAddr)]) -> Self {
        Self::start_configured(program, |folder, address| {
            shipped::configuration(program, folder, address, nodes)
        })
    }

    /// Starts a proxy with the text that `configuration` returns for a folder and an address to
    /// listen on.
    fn start_configured(
        program: Program,
        configuration: impl FnOnce(&Path, SocketAddr) -> String,
    ) -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, lasting_port()));
        let folder = TempDir::new().expect("a folder");
        let file = folder.path().join("configuration");
        let text = configuration(folder.path(), address);
        write(&file, text.trim_end().to_owned() + "\n").expect("a file in our folder");
        let log = File::create(folder.path().join("log")).expect("a file in our folder");
        let mut command = program.command(folder.path(), &file);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let child = match command.stderr(log).spawn() {
            Ok(child) => child,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                panic!("{program:?} is not installed; ci/check installs it")
            }
            Err(error) => panic!("{program:?} does not start: {error}"),
        };
        let mut proxy = Self {
            program,
            child,
            address,
            folder,
        };
        proxy.until_it_accepts();
        proxy
    }

    fn until_it_accepts(&mut self) {
        until("the proxy to accept", || {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                panic!("{:?} ended with {status}", self.program);
            }
            TcpStream::connect(self.address).ok()
        });
    }

    /// A new connection to the proxy.
    pub fn connect(&self) -> Connection {
        Connection::open(self.address)
    }

    /// A new connection to the proxy on which these bytes were sent.
    pub fn connect_and_send(&self, bytes: &[u8]) -> Connection {
        let mut connection = self.connect();
        connection.send(bytes);
        connection
    }

    /// A new connection to the proxy with a consumer's request for `channel` (`namespace/channel`).
    pub fn consume(&self, channel: &str) -> Connection {
        self.connect_and_send(&get(channel))
    }

    /// A new connection to the proxy with a producer's whole request.
    pub fn produce(&self, channel: &str, body: impl AsRef<[u8]>) -> Connection {
        self.connect_and_send(&post(channel, body))
    }

    /// A new connection to the proxy, as a plain stream.
    pub fn stream(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("it accepts");
        stream.set_nodelay(true).expect("a TCP option");
        stream
    }

    /// The final reply to a request without a body, on a new connection; from the proxy or from a
    /// server.
    pub fn ask(&self, method: &str, target: &str) -> Heard {
        self.hear(&request(method, target))
    }

    /// The first final reply to these bytes, on a new connection.
    #[track_caller]
    pub fn hear(&self, bytes: &[u8]) -> Heard {
        let mut stream = self.stream();
        stream
            .set_read_timeout(Some(FAILURE_BOUND))
            .expect("a bound");
        stream.write_all(bytes).expect("it takes a request");
        let (mut received, mut buffer) = (Vec::new(), [0; 16 * 1024]);
        loop {
            if let Some(first) = heard(&received).0.first() {
                return first.clone();
            }
            let bytes = stream.read(&mut buffer).expect("a reply in time");
            assert!(bytes > 0, "the end instead of a reply");
            received.extend_from_slice(&buffer[..bytes]);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Both end at once, and neither has a child process.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = read_to_string(self.folder.path().join("log")).unwrap_or_default();
            eprintln!("{:?} in front of it logged:\n{log}---", self.program);
        }
    }
}

/// A free port of 127.0.0.1, below the range that the kernel uses for connections
/// (`ip_local_port_range`, 32768 and up by default): it stays free until the caller listens, and
/// when a server ends and listens there again. No two tests get the same port.
pub fn lasting_port() -> u16 {
    const PORTS: std::ops::Range<u16> = 10_000..32_000;
    static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| AtomicU16::new(fastrand::u16(..)));
    until("a free port", || {
        let nth = NEXT.fetch_add(1, Ordering::Relaxed) % (PORTS.end - PORTS.start);
        let port = PORTS.start + nth;
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()?;
        Some(port)
    })
}

/// A final reply from a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    pub status: u16,
    pub body: Vec<u8>,
}

/// The final replies that are whole in `bytes`, to requests other than HEAD, and their total
/// length. Lenient, unlike [`Connection`]: proxies format their own errors in many ways.
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
        // The body ends with the connection.
        (None, None) => (rest.to_vec(), rest.len()),
    };
    Some((Heard { status, body }, head_bytes + body_bytes))
}

/// The payload of a whole chunked body without trailers, and the length of its coding.
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
