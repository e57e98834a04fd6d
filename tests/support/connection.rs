//! A client on a raw socket: sends exactly the given bytes, and reads replies strictly, so that
//! anything but well-formed HTTP fails the test at once. Owns the reading of heads and of all three
//! framings of a body (RFC 9112 §6). Must never be lenient.

use super::FAILURE_BOUND;
use super::transcript::Transcript;
use rustix::net::{self, AddressFamily, RecvFlags, SocketType, recv, sockopt};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// The most bytes of one read from the socket.
const READ_BYTES_MAX: usize = 64 * 1024;

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Fin,
    Reset,
}

/// A body that ended before the end that its framing declares.
#[derive(Debug)]
pub struct Cut {
    pub received: Vec<u8>,
    pub end: End,
}

/// How a reply says where its body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// No body: 1xx, 204, or the reply to a HEAD.
    None,
    Length(u64),
    Chunked,
    Close,
}

/// A reply; `body` is empty if only its head was read.
#[derive(Debug)]
pub struct Reply {
    pub version: String,
    pub status: u16,
    pub fields: Vec<(String, String)>,
    pub framing: Framing,
    pub body: Vec<u8>,
}

impl Reply {
    /// The values of a field, in order, in any case of its name.
    pub fn values(&self, name: &str) -> Vec<&str> {
        let named = self
            .fields
            .iter()
            .filter(|(n, _)| n.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str()).collect()
    }

    /// The value of a field that occurs at most once.
    #[track_caller]
    pub fn value(&self, name: &str) -> Option<&str> {
        let values = self.values(name);
        assert!(
            values.len() <= 1,
            "{name} occurs more than once: {:?}",
            self.fields
        );
        values.first().copied()
    }

    /// Whether a list field contains this element.
    pub fn lists(&self, name: &str, element: &str) -> bool {
        let values = self.values(name);
        let mut elements = values.iter().flat_map(|value| value.split(','));
        elements.any(|listed| listed.trim().eq_ignore_ascii_case(element))
    }

    /// Whether the server says that the connection closes after this reply.
    pub fn closes(&self) -> bool {
        self.lists("Connection", "close")
    }

    /// A 503 with `Retry-After` in seconds (RFC 9110 §10.2.3).
    #[track_caller]
    pub fn assert_turned_away(&self) -> &Self {
        let seconds = self.assert_status(503).value("Retry-After");
        let seconds = seconds.expect("a Retry-After");
        assert!(seconds.parse::<u32>().is_ok(), "{seconds}");
        self
    }

    /// The body as text.
    #[track_caller]
    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("the body is text")
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("the body is JSON")
    }

    /// Checks the status: the most common check in tests.
    #[track_caller]
    pub fn assert_status(&self, status: u16) -> &Self {
        let body = self.body.escape_ascii();
        assert_eq!(
            self.status, status,
            "the reply was {} with the body {body}",
            self.status
        );
        self
    }
}

/// The reader's position in a reply's body.
#[derive(Clone, Copy, Debug)]
enum Reading {
    Between,
    Length { left: u64 },
    Chunked { left: u64, first: bool },
    Close,
}

/// An open connection. A failing test prints what was sent and received on it.
pub struct Connection {
    stream: TcpStream,
    unread: Vec<u8>,
    reading: Reading,
    transcript: Transcript,
    name: String,
}

impl Connection {
    pub fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, FAILURE_BOUND).expect("it accepts");
        Self::over_tcp(stream, address)
    }

    /// As [`Self::open`], from this address.
    pub fn open_from(source: Ipv4Addr, address: SocketAddr) -> Self {
        let socket = net::socket(AddressFamily::INET, SocketType::STREAM, None);
        let socket = socket.expect("a socket");
        net::bind(&socket, &SocketAddr::from((source, 0))).expect("an address of this machine");
        net::connect(&socket, &address).expect("it accepts");
        Self::over_tcp(socket.into(), address)
    }

    fn over_tcp(stream: TcpStream, address: SocketAddr) -> Self {
        stream.set_nodelay(true).expect("a TCP option");
        let local = stream.local_addr().expect("connected");
        Self::over(stream, format!("connection {local} to {address}"))
    }

    /// As [`Self::open`], to a Unix socket. std's TCP type works for any stream socket: it uses
    /// only the descriptor.
    pub fn open_unix(path: &Path) -> Self {
        let stream = UnixStream::connect(path).expect("it accepts");
        let name = format!("connection to unix:{}", path.display());
        Self::over(TcpStream::from(OwnedFd::from(stream)), name)
    }

    fn over(stream: TcpStream, name: String) -> Self {
        stream
            .set_read_timeout(Some(FAILURE_BOUND))
            .expect("a bound");
        stream
            .set_write_timeout(Some(FAILURE_BOUND))
            .expect("a bound");
        Self {
            stream,
            unread: Vec::new(),
            reading: Reading::Between,
            transcript: Transcript::default(),
            name,
        }
    }

    /// Sends all of `bytes`.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        if let Err(error) = self.try_send(bytes) {
            panic!("could not send: {error}");
        }
    }

    /// Sends `bytes`; the server may stop reading.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.transcript.sent(bytes.as_ref());
        self.stream.write_all(bytes.as_ref())
    }

    /// Sends bytes while `read` reads at the other end of the exchange: they may be more than the kernel
    /// holds on the way.
    #[track_caller]
    pub fn send_while<T>(&mut self, bytes: impl AsRef<[u8]> + Send, read: impl FnOnce() -> T) -> T {
        std::thread::scope(|scope| {
            let sending = scope.spawn(|| self.send(bytes));
            let outcome = read();
            sending.join().expect("it is sent");
            outcome
        })
    }

    /// A second handle on the same socket, to send from one thread while another reads.
    pub fn sender(&self) -> TcpStream {
        self.stream.try_clone().expect("a second descriptor")
    }

    /// Sends a FIN and goes on reading; has no effect on a connection that the server has reset.
    pub fn half_close(&mut self) {
        self.transcript.sent(b"(FIN)");
        if let Err(error) = self.stream.shutdown(Shutdown::Write) {
            assert_eq!(error.kind(), ErrorKind::NotConnected, "{error}");
        }
    }

    /// Leaves with a FIN, or with a reset if bytes are unread; as a process that ends does.
    pub fn close(self) {
        drop(self);
    }

    /// Leaves with a reset.
    pub fn reset(self) {
        let linger = sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO));
        linger.expect("a socket option");
    }

    /// Keeps the receive window small, so that little of a body is on its way here.
    pub fn narrow(&self) {
        sockopt::set_socket_recv_buffer_size(&self.stream, 16 * 1024).expect("a socket option");
    }

    /// Keeps the send buffer small, so that the server has taken nearly all sent bytes.
    pub fn narrow_sending(&self) {
        sockopt::set_socket_send_buffer_size(&self.stream, 64 * 1024).expect("a socket option");
    }

    /// A final reply, to a request other than HEAD, with its whole body. No interim reply may
    /// precede it.
    #[track_caller]
    pub fn reply(&mut self) -> Reply {
        let mut reply = self.head();
        reply.body = match self.rest_of_body() {
            Ok(body) => body,
            Err(cut) => panic!(
                "the body was cut by {:?} after {}",
                cut.end,
                cut.received.len()
            ),
        };
        check_error_body(&reply);
        reply
    }

    /// As [`Self::reply`], after any number of `100 Continue`.
    #[track_caller]
    pub fn reply_after_continue(&mut self) -> Reply {
        while self.is_continue_next() {
            self.expect_continue();
        }
        self.reply()
    }

    /// The final reply after which the server closes the connection, which the reply must announce.
    #[track_caller]
    pub fn last_reply(&mut self) -> Reply {
        let reply = self.reply();
        assert!(reply.closes(), "no `Connection: close`: {:?}", reply.fields);
        self.expect_end();
        reply
    }

    /// The reply to a HEAD request: it has no body whatever its fields say (RFC 9110 §9.3.2).
    #[track_caller]
    pub fn reply_to_head(&mut self) -> Reply {
        let reply = self.head();
        self.reading = Reading::Between;
        reply
    }

    /// A `100 Continue`.
    #[track_caller]
    pub fn expect_continue(&mut self) {
        let (version, status, fields) = self.status_and_fields();
        assert_eq!(
            (version.as_str(), status),
            ("HTTP/1.1", 100),
            "no 100 Continue"
        );
        assert!(
            fields.is_empty(),
            "a 100 Continue needs no fields: {fields:?}"
        );
    }

    /// Whether a `100 Continue` is next, and not a final reply.
    #[track_caller]
    pub fn is_continue_next(&mut self) -> bool {
        const START: &[u8] = b"HTTP/1.1 100";
        while self.unread.len() < START.len() {
            if let Err(end) = self.fill() {
                panic!("the connection ended ({end:?}) instead of a reply");
            }
        }
        self.unread.starts_with(START)
    }

    /// The head of a final reply. [`Self::body_bytes`] and [`Self::rest_of_body`] read its body.
    #[track_caller]
    pub fn head(&mut self) -> Reply {
        assert!(
            matches!(self.reading, Reading::Between),
            "a body is still to be read"
        );
        let (version, status, fields) = self.status_and_fields();
        assert!(
            (200..600).contains(&status),
            "a final reply was expected, not {status}"
        );
        let mut reply = Reply {
            version,
            status,
            fields,
            framing: Framing::None,
            body: Vec::new(),
        };
        reply.framing = framing(&reply);
        self.reading = match reply.framing {
            Framing::None => Reading::Between,
            Framing::Length(left) => Reading::Length { left },
            Framing::Chunked => Reading::Chunked {
                left: 0,
                first: true,
            },
            Framing::Close => Reading::Close,
        };
        check_date(&reply);
        reply
    }

    #[track_caller]
    fn status_and_fields(&mut self) -> (String, u16, Vec<(String, String)>) {
        let first = self.line();
        let (version, status) = status_line(&first);
        let mut fields = Vec::new();
        loop {
            let line = self.line();
            if line.is_empty() {
                return (version, status, fields);
            }
            fields.push(field(&line));
        }
    }

    /// A line that ends with CRLF, without it.
    #[track_caller]
    fn line(&mut self) -> String {
        let end = loop {
            if let Some(at) = self.unread.iter().position(|&byte| byte == b'\n') {
                break at;
            }
            if let Err(end) = self.fill() {
                panic!("the connection ended ({end:?}) where a line was expected");
            }
        };
        let line: Vec<u8> = self.unread.drain(..=end).collect();
        let line = line.strip_suffix(b"\r\n").expect("a line ends with CRLF");
        assert!(
            line.iter()
                .all(|&b| b == b'\t' || (b' '..0x7f).contains(&b)),
            "a line with odd bytes: {}",
            line.escape_ascii()
        );
        String::from_utf8(line.to_vec()).expect("ASCII")
    }

    /// Exactly `bytes` more of the body that [`Self::head`] began.
    #[track_caller]
    pub fn body_bytes(&mut self, bytes: usize) -> Vec<u8> {
        let mut body = Vec::with_capacity(bytes);
        while body.len() < bytes {
            match self.piece() {
                Ok(true) => {
                    let piece = self.take_piece(bytes - body.len());
                    body.extend_from_slice(&piece);
                }
                Ok(false) => panic!("the body ended after {} of {bytes} bytes", body.len()),
                Err(end) => panic!("{end:?} after {} of {bytes} bytes of a body", body.len()),
            }
        }
        body
    }

    /// The line end behind the chunk whose payload was read. It is not consumed.
    #[track_caller]
    pub fn expect_chunk_end(&mut self) {
        assert!(
            matches!(self.reading, Reading::Chunked { left: 0, .. }),
            "a chunk is still to be read"
        );
        while self.unread.len() < 2 {
            self.fill().expect("the end of a chunk");
        }
        assert!(self.unread.starts_with(b"\r\n"), "the end of a chunk");
    }

    /// The body that [`Self::head`] began, to its end: whole, or cut by the end of the stream.
    #[track_caller]
    pub fn rest_of_body(&mut self) -> Result<Vec<u8>, Cut> {
        let mut body = Vec::new();
        loop {
            match self.piece() {
                Ok(true) => body.extend_from_slice(&self.take_piece(usize::MAX)),
                Ok(false) => return Ok(body),
                Err(end) => {
                    return Err(Cut {
                        received: body,
                        end,
                    });
                }
            }
        }
    }

    /// The rest of a body that must not look whole: the received part, and how it was cut.
    #[track_caller]
    pub fn expect_cut(&mut self) -> Cut {
        match self.rest_of_body() {
            Err(cut) => cut,
            Ok(body) => panic!("the body looks whole after {} more bytes", body.len()),
        }
    }

    /// Reads until there is some payload: `Ok(false)` at the end of a whole body, `Err` if the
    /// stream ends in the middle of the body.
    #[track_caller]
    fn piece(&mut self) -> Result<bool, End> {
        if let Reading::Chunked { left: 0, first } = self.reading
            && !self.chunk_head(first)?
        {
            self.reading = Reading::Between;
        }
        match self.reading {
            Reading::Between => return Ok(false),
            Reading::Length { left: 0 } => {
                self.reading = Reading::Between;
                return Ok(false);
            }
            _ => {}
        }
        if self.unread.is_empty()
            && let Err(end) = self.fill()
        {
            return match (self.reading, end) {
                (Reading::Close, End::Fin) => {
                    self.reading = Reading::Between;
                    Ok(false)
                }
                _ => Err(end),
            };
        }
        Ok(true)
    }

    /// Payload that [`Self::piece`] found, at most `bytes_max`.
    fn take_piece(&mut self, bytes_max: usize) -> Vec<u8> {
        let left = match self.reading {
            Reading::Between => 0,
            Reading::Length { left } | Reading::Chunked { left, .. } => left,
            Reading::Close => u64::MAX,
        };
        let bytes = self
            .unread
            .len()
            .min(bytes_max)
            .min(left.try_into().unwrap_or(usize::MAX));
        match &mut self.reading {
            Reading::Length { left } | Reading::Chunked { left, .. } => *left -= bytes as u64,
            Reading::Between | Reading::Close => {}
        }
        let rest = self.unread.split_off(bytes);
        std::mem::replace(&mut self.unread, rest)
    }

    /// Reads the head of the next chunk, and the CRLF after the one before; `false` if it was the
    /// last one (RFC 9112 §7.1).
    #[track_caller]
    fn chunk_head(&mut self, first: bool) -> Result<bool, End> {
        let framing_bytes = if first { 0 } else { 2 };
        let end = loop {
            let searched = self.unread.get(framing_bytes..).unwrap_or_default();
            if let Some(at) = searched.iter().position(|&byte| byte == b'\n') {
                break framing_bytes + at;
            }
            self.fill()?;
        };
        let head: Vec<u8> = self.unread.drain(..=end).collect();
        assert!(first || head.starts_with(b"\r\n"), "no CRLF after a chunk");
        let size = head[framing_bytes..]
            .strip_suffix(b"\r\n")
            .expect("a chunk's head ends with CRLF");
        let size = std::str::from_utf8(size).expect("ASCII");
        let left = u64::from_str_radix(size, 16)
            .unwrap_or_else(|_| panic!("not a chunk size: {}", size.escape_debug()));
        if left > 0 {
            self.reading = Reading::Chunked { left, first: false };
            return Ok(true);
        }
        while self.unread.len() < 2 {
            self.fill()?;
        }
        assert!(
            self.unread.starts_with(b"\r\n"),
            "an empty line ends a chunked body"
        );
        self.unread.drain(..2);
        Ok(false)
    }

    /// The bytes of a single receive: all that arrived together.
    #[track_caller]
    pub fn one_receive(&mut self) -> Vec<u8> {
        assert!(self.unread.is_empty(), "bytes were left over");
        if let Err(end) = self.fill() {
            panic!("{end:?} instead of bytes");
        }
        std::mem::take(&mut self.unread)
    }

    /// The server ended the stream with a FIN and sent no more bytes.
    #[track_caller]
    pub fn expect_end(&mut self) {
        assert_eq!(
            self.until_end(),
            (Vec::new(), End::Fin),
            "bytes and end of the stream"
        );
    }

    /// All bytes until the stream ends, and how it ends.
    #[track_caller]
    pub fn until_end(&mut self) -> (Vec<u8>, End) {
        loop {
            if let Err(end) = self.fill() {
                return (std::mem::take(&mut self.unread), end);
            }
        }
    }

    /// How the stream ended, if it ends before the next byte.
    #[track_caller]
    pub fn end_before_byte(&mut self) -> Option<End> {
        match self.unread.is_empty() {
            true => self.fill().err(),
            false => None,
        }
    }

    /// Nothing can be read: no byte, no end. Call it after a barrier.
    #[track_caller]
    pub fn expect_nothing(&mut self) {
        assert!(
            self.unread.is_empty(),
            "unread: {}",
            self.unread.escape_ascii()
        );
        let mut buffer = [0; 512];
        match recv(
            &self.stream,
            &mut buffer[..],
            RecvFlags::DONTWAIT | RecvFlags::PEEK,
        ) {
            Err(rustix::io::Errno::AGAIN) => {}
            Ok((bytes, _)) => panic!("bytes too early: {}", buffer[..bytes].escape_ascii()),
            Err(error) => panic!("end of stream too early: {error}"),
        }
    }

    /// Whether bytes, or the end of the stream, can be read.
    pub fn has_bytes(&self) -> bool {
        let flags = RecvFlags::DONTWAIT | RecvFlags::PEEK;
        let peeked = recv(&self.stream, &mut [0; 1][..], flags);
        !self.unread.is_empty() || peeked != Err(rustix::io::Errno::AGAIN)
    }

    /// Reads more, or returns how the stream ended.
    #[track_caller]
    fn fill(&mut self) -> Result<(), End> {
        let mut buffer = vec![0; READ_BYTES_MAX];
        let read = loop {
            match self.stream.read(&mut buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        match read {
            Ok(0) => {
                self.transcript.ended("end of stream (FIN)");
                Err(End::Fin)
            }
            Ok(bytes) => {
                self.transcript.received(&buffer[..bytes]);
                self.unread.extend_from_slice(&buffer[..bytes]);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                self.transcript.ended("reset");
                Err(End::Reset)
            }
            Err(error) => panic!("nothing arrived within {FAILURE_BOUND:?}: {error}"),
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprint!("{}:\n{}", self.name, self.transcript);
        }
    }
}

/// `HTTP/1.x NNN reason` (RFC 9112 §4).
#[track_caller]
fn status_line(line: &str) -> (String, u16) {
    let mut parts = line.splitn(3, ' ');
    let (version, status, reason) = (parts.next(), parts.next(), parts.next());
    let version = version.expect("a version");
    assert!(
        matches!(version, "HTTP/1.1" | "HTTP/1.0"),
        "not a status line: {line}"
    );
    let status = status.expect("a status");
    assert!(
        status.len() == 3 && reason.is_some(),
        "not a status line: {line}"
    );
    (version.to_owned(), status.parse().expect("three digits"))
}

/// `name: value` (RFC 9112 §5).
#[track_caller]
fn field(line: &str) -> (String, String) {
    let (name, value) = line.split_once(':').expect("a field line has a colon");
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    assert!(
        !name.is_empty() && name.bytes().all(is_token),
        "not a field name: {line}"
    );
    (name.to_owned(), value.trim_matches([' ', '\t']).to_owned())
}

/// Where the body ends (RFC 9112 §6.3); fails if the fields contradict each other.
#[track_caller]
fn framing(reply: &Reply) -> Framing {
    let length = reply.value("Content-Length");
    let coding = reply.value("Transfer-Encoding");
    assert!(
        length.is_none() || coding.is_none(),
        "both framings: {:?}",
        reply.fields
    );
    if reply.status == 204 {
        assert!(
            length.is_none() && coding.is_none(),
            "a 204 has no body: {:?}",
            reply.fields
        );
        return Framing::None;
    }
    match (length, coding) {
        (Some(length), None) => {
            assert!(
                !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit()),
                "{length}"
            );
            Framing::Length(length.parse().expect("a length in 64 bits"))
        }
        (None, Some(coding)) => {
            assert_eq!(coding, "chunked");
            Framing::Chunked
        }
        _ => {
            assert!(
                reply.closes(),
                "nothing says where the body ends: {:?}",
                reply.fields
            );
            Framing::Close
        }
    }
}

/// A server with a clock dates its replies (RFC 9110 §6.6.1).
#[track_caller]
fn check_date(reply: &Reply) {
    let date = reply.value("Date").expect("a Date");
    let parsed = httpdate::parse_http_date(date).expect("an HTTP date");
    assert_eq!(
        httpdate::fmt_http_date(parsed),
        date,
        "the preferred form of a date"
    );
    let age = parsed.elapsed().unwrap_or_default();
    assert!(age < FAILURE_BOUND * 3, "an old date: {date}");
}

/// Every error response says in one line of plain text what was wrong.
#[track_caller]
fn check_error_body(reply: &Reply) {
    if reply.status < 400 {
        return;
    }
    let kind = reply.value("Content-Type").unwrap_or_default();
    assert!(kind.starts_with("text/plain"), "an error in {kind:?}");
    let text = reply.text();
    let line = text.strip_suffix('\n').unwrap_or(&text);
    assert!(
        !line.trim().is_empty() && !line.contains(['\n', '\r']),
        "not one line: {text:?}"
    );
}
