//! What is to be moved, and what it came to.

use std::net::TcpStream;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::client::connection;
use crate::client::target::Target;
use crate::error::Result;

/// An ordinary client's buffer, and four chunks of a chunked body.
pub const BLOCK_BYTES: usize = 256 << 10;
/// The longest head of a reply to expect.
pub const HEAD_BYTES_MAX: usize = 1024;
/// A socket that always has more to do gives way to the others after this many calls.
pub const CALLS_MAX: usize = 8;

/// How producers send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sending {
    /// `sendfile`, with Content-Length.
    File,
    /// Writes of 256 KiB, with Content-Length.
    Writes,
    /// Writes of four chunks of 64 KiB.
    Chunks,
}

/// What consumers do with what they receive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Taking {
    /// Discarded in the kernel.
    Discard,
    /// Read and forgotten.
    Read,
    /// Read and compared.
    Verify,
}

/// What is to be moved: `bodies` bodies of `bytes` bytes on each of `exchanges` channels.
#[derive(Clone, Copy)]
pub struct Job<'job> {
    /// How many channels, with one keep-alive connection for each side.
    pub exchanges: usize,
    /// How many bodies on each, one after the other.
    pub bodies: u64,
    /// A body.
    pub bytes: u64,
    /// The producers.
    pub sending: Sending,
    /// The consumers.
    pub taking: Taking,
    /// Sockets' buffers, both ways; `None` leaves them to the kernel.
    pub socket_buffer_bytes: Option<usize>,
    /// Once set, all clients hang up, wherever they are.
    pub stop: Option<&'job AtomicBool>,
    /// Called with the server and the number of exchanges when every producer has sent the first
    /// 64 KiB of its first body; none goes on before it returns. Only for [`two_threads`].
    pub gate: Option<Gate>,
}

/// See [`Job::gate`].
pub type Gate = fn(&Target, usize) -> Result<()>;

/// What a transfer came to.
#[derive(Clone, Copy, Debug)]
pub struct Moved {
    /// From the first request to the last reply.
    pub seconds: f64,
    /// Bytes of bodies received.
    pub bytes: u64,
    /// The longest that any consumer was without a new byte of its body, once the gate was open.
    pub longest_pause: Duration,
}

impl Job<'_> {
    /// A connection with the job's socket buffers.
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
    /// Bytes received, in GiB.
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
