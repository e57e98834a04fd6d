//! The bare splice loop: the least that moves a body from one connection to another. It shows what the
//! machine can do at the moment. It is no server: it trusts its two clients, has one thread, one channel
//! and one exchange at a time, and supports Content-Length only.
//!
//! The harness starts its own executable with `--bare-loop`, so that the loop has a process whose CPU
//! can be measured.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::Command;

use memchr::memmem;
use rustix::pipe::{SpliceFlags, fcntl_setpipe_size, pipe, splice};

use crate::client::target::Target;
use crate::error::Result;
use crate::servers::running::Running;
use crate::system::cores::Cores;
use crate::system::sys::wake_at;

const PIPE_BYTES: usize = 1 << 20;
/// With fewer bytes than this the producer's socket does not wake the loop.
const WAKE_BYTES: u64 = 128 << 10;
const REPLY: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

pub fn start(label: &str, cores: Cores) -> Result<Running> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--bare-loop");
    Running::launch(command, cores, None, |address, pid| {
        Target::attached(label, address, "/{channel}", pid)
    })
}

/// Logs its address and serves one pair of connections after the other until it is killed.
pub fn serve() -> Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    eprintln!("listening on http://{}", listener.local_addr()?);
    let (out, into) = pipe()?;
    fcntl_setpipe_size(&into, PIPE_BYTES)?;
    loop {
        let clients = [accept(&listener)?, accept(&listener)?];
        let ended = serve_pair(clients, &into, &out);
        if let Err(error) = ended {
            return Err(format!("the bare loop's clients: {error}").into());
        }
    }
}

fn accept(listener: &TcpListener) -> Result<Client> {
    let (socket, _) = listener.accept()?;
    socket.set_nodelay(true)?;
    Ok(Client {
        socket,
        received: Vec::new(),
    })
}

struct Client {
    socket: TcpStream,
    /// A head and the bytes that arrived with it.
    received: Vec<u8>,
}

impl Client {
    /// Reads a complete head and returns its length; `None` if the client has left.
    fn read_head(&mut self) -> Result<Option<usize>> {
        loop {
            if let Some(end) = memmem::find(&self.received, b"\r\n\r\n") {
                return Ok(Some(end + 4));
            }
            let mut buffer = [0; 4096];
            match self.socket.read(&mut buffer)? {
                0 => return Ok(None),
                count => self.received.extend_from_slice(&buffer[..count]),
            }
        }
    }
}

/// Serves exchanges until a client leaves.
fn serve_pair(mut clients: [Client; 2], into: &OwnedFd, out: &OwnedFd) -> Result<()> {
    loop {
        let [first, second] = &mut clients;
        let (Some(first_head), Some(second_head)) = (first.read_head()?, second.read_head()?)
        else {
            return Ok(());
        };
        let (producer, head, consumer) = if first.received.starts_with(b"POST") {
            (first, first_head, second)
        } else {
            (second, second_head, first)
        };
        consumer.received.clear();
        let length = content_length(&producer.received[..head])?;
        write!(
            consumer.socket,
            "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"
        )?;
        consumer.socket.write_all(&producer.received[head..])?;
        let left = length - (producer.received.len() - head) as u64;
        producer.received.clear();
        transfer(&producer.socket, &consumer.socket, left, into, out)?;
        producer.socket.write_all(REPLY)?;
    }
}

fn content_length(head: &[u8]) -> Result<u64> {
    let text = std::str::from_utf8(head)?;
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix("Content-Length: "));
    Ok(value.ok_or("a producer without Content-Length")?.parse()?)
}

fn transfer(
    producer: &TcpStream,
    consumer: &TcpStream,
    mut left: u64,
    into: &OwnedFd,
    out: &OwnedFd,
) -> Result<()> {
    wake_at(producer, WAKE_BYTES)?;
    while left > 0 {
        if left < 2 * WAKE_BYTES {
            wake_at(producer, 1)?;
        }
        let wanted = usize::try_from(left)?.min(PIPE_BYTES);
        // NONBLOCK is about the pipe: a full pipe ends the call. The socket still blocks.
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        let mut held = splice(producer, None, into, None, wanted, flags)?;
        if held == 0 {
            return Err("a producer left before the end of its body".into());
        }
        left -= held as u64;
        while held > 0 {
            held -= splice(out, None, consumer, None, held, SpliceFlags::MOVE)?;
        }
    }
    wake_at(producer, 1)
}
