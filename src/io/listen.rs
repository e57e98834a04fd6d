//! A listening socket as one shard accepts on it.

use std::{io, os::fd::OwnedFd};

use rustix::{
    io::Errno,
    net::{SocketFlags, accept_with},
};

use crate::io::{
    bind,
    fd::AsyncFd,
    socket::{Kind, Transport},
};

/// The socket. Several shards may accept on the same one, each with a descriptor of its own.
#[derive(Debug)]
pub struct ListenSocket {
    fd: AsyncFd,
    /// What connections accepted on it are.
    kind: Kind,
}

/// Result of an accept.
#[derive(Debug)]
pub enum Accepted {
    /// A client has connected.
    Connection(Transport),
    /// Nobody waits in the backlog.
    Nobody,
    /// The socket was shut down. A Unix socket never says so (`unix(7)`): it stays readable, and
    /// nobody waits.
    Ended,
    /// No descriptor or no memory is free. The client stays in the backlog.
    Failed(io::Error),
}

impl ListenSocket {
    /// Takes over `fd`, which listens and is non-blocking.
    ///
    /// # Errors
    /// The runtime refuses the descriptor.
    pub fn new(fd: OwnedFd, kind: Kind) -> io::Result<Self> {
        let fd = AsyncFd::new(fd)?;
        Ok(Self { fd, kind })
    }

    /// Waits until somebody may be accepted. May be dropped at any time.
    pub async fn readable(&self) {
        self.fd.readable().await;
    }

    /// Accepts one connection (`accept(2)`).
    pub fn accept(&self) -> Accepted {
        loop {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            return match accept_with(&self.fd, flags) {
                Ok(fd) => match Transport::new(fd, self.kind) {
                    Ok(transport) => Accepted::Connection(transport),
                    Err(error) => Accepted::Failed(error),
                },
                // The client gave up while it was in the backlog.
                Err(Errno::INTR | Errno::CONNABORTED | Errno::PROTO) => continue,
                Err(Errno::AGAIN) => Accepted::Nobody,
                Err(Errno::INVAL) => Accepted::Ended,
                Err(error) => Accepted::Failed(error.into()),
            };
        }
    }

    /// Ends the listening, for every descriptor of this socket: the kernel refuses newcomers.
    pub fn end(&self) {
        bind::shut_down(&self.fd);
    }
}
