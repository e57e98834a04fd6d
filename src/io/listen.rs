//! [`ListenSocket`]: one shard's descriptor of a listening socket.

use std::{future::Future, io, os::fd::OwnedFd};

use rustix::{
    io::Errno,
    net::{SocketFlags, accept_with},
};

use crate::io::{
    bind,
    fd::AsyncFd,
    socket::{Kind, Transport},
};

/// Several shards may accept on the same socket.
#[derive(Debug)]
pub struct ListenSocket {
    fd: AsyncFd,
    /// The kind of the accepted connections.
    kind: Kind,
}

/// The result of [`ListenSocket::accept`].
#[derive(Debug)]
pub enum Accepted {
    Connection(Transport),
    /// The backlog is empty.
    Nobody,
    /// The listener is shut down. A Unix listener never reports that (`unix(7)`): it stays readable, and
    /// its backlog empty.
    Ended,
    /// No descriptor or memory is free. The client stays in the backlog.
    Failed(io::Error),
}

impl ListenSocket {
    /// Takes `fd`, which must be listening and non-blocking.
    ///
    /// # Errors
    /// The runtime refuses the descriptor.
    pub fn new(fd: OwnedFd, kind: Kind) -> io::Result<Self> {
        let fd = AsyncFd::new(fd)?;
        Ok(Self { fd, kind })
    }

    /// Waits until [`Self::accept`] may succeed. Cancel-safe.
    pub fn readable(&self) -> impl Future<Output = ()> {
        self.fd.readable()
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
                // The client disconnected while it was in the backlog.
                Err(Errno::INTR | Errno::CONNABORTED | Errno::PROTO) => continue,
                Err(Errno::AGAIN) => Accepted::Nobody,
                Err(Errno::INVAL) => Accepted::Ended,
                Err(error) => Accepted::Failed(error.into()),
            };
        }
    }

    /// Shuts the listener down for all its descriptors: the kernel refuses new connections.
    pub fn end(&self) {
        bind::shut_down(&self.fd);
    }
}
