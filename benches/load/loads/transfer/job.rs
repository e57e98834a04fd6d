//! What a transfer moves, and its results.

use std::net::TcpStream;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::client::connection;
use crate::client::target::Target;
use crate::error::Result;

/// Buffer of an ordinary client.
pub const BLOCK_BYTES: usize = 256 << 10;
/// Longest head of a reply.
pub const HEAD_BYTES_MAX: usize = 1024;
/// System calls of one client before the others get their turn.
pub const CALLS_MAX: usize = 8;

/// How the producers send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sending {
    /// `sendfile`, with Content-Length.
    File,
    /// Writes of 256 KiB, with Content-Length.
    Writes,
    Chunks(Chunking),
}

/// Whole chunks of one size: a body is a multiple of `bytes`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Chunking {
    /// Payload of a chunk.
    pub bytes: usize,
    /// Chunks in one write, each with its size line and its line break.
    pub per_write: usize,
}

/// What the consumers do with the bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Taking {
    /// Discarded in the kernel.
    Discard,
    /// Read and forgotten.
    Read,
    /// Read and compared.
    Verify,
}

/// `bodies` bodies of `bytes` bytes on each of `exchanges` channels.
#[derive(Clone, Copy)]
pub struct Job<'job> {
    /// Channels, each with one persistent connection per side.
    pub exchanges: usize,
    /// Bodies per channel, one after the other.
    pub bodies: u64,
    pub bytes: u64,
    pub sending: Sending,
    pub taking: Taking,
    /// Size of the send and receive buffers; `None` for the kernel's default.
    pub socket_buffer_bytes: Option<usize>,
    /// When set, all clients disconnect at once.
    pub stop: Option<&'job AtomicBool>,
    /// Called with the server and the number of exchanges when every producer has sent the first
    /// 64 KiB of its first body. The producers continue when it returns. Only for
    /// [`two_threads`](super::two_threads).
    pub gate: Option<Gate>,
}

/// See [`Job::gate`].
pub type Gate = fn(&Target, usize) -> Result<()>;

#[derive(Clone, Copy, Debug)]
pub struct Moved {
    /// From the first request to the last reply.
    pub seconds: f64,
    /// Received bytes of bodies.
    pub bytes: u64,
    /// The longest time without a new byte at any consumer, after the gate opened.
    pub longest_pause: Duration,
}

impl Job<'_> {
    pub fn connect(&self, target: &Target) -> Result<TcpStream> {
        let socket = connection::connect_nonblocking(target.address)?;
        if let Some(bytes) = self.socket_buffer_bytes {
            rustix::net::sockopt::set_socket_recv_buffer_size(&socket, bytes)?;
            rustix::net::sockopt::set_socket_send_buffer_size(&socket, bytes)?;
        }
        Ok(socket)
    }
}

impl Moved {
    pub fn gib(&self) -> f64 {
        self.bytes as f64 / f64::from(1 << 30)
    }
}

/// What a client waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    Room,
    Data,
    Nothing,
}
