//! A connection's socket: what can be sent, received and known about its peer.
//!
//! Owns the differences between kinds of sockets: whoever moves bytes asks [`Transport`] what it can
//! do. Must never wait: that is [`AsyncFd`]'s.

use std::{
    future::Future,
    io::{self, IoSlice},
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{
        RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, getpeername, sendmsg, shutdown,
        sockopt,
    },
};

use crate::{
    io::{fd::AsyncFd, sys},
    limits,
};

/// What kind of socket it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// TCP (`tcp(7)`).
    Tcp,
    /// A Unix stream socket (`unix(7)`).
    Unix,
}

/// The socket of a connection.
#[derive(Debug)]
pub struct Transport {
    fd: AsyncFd,
    kind: Kind,
}

/// A transport on its way to another thread.
#[derive(Debug)]
pub struct Parts {
    fd: OwnedFd,
    kind: Kind,
}

/// Result of a send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// The kernel took this many bytes: none, some or all.
    Bytes(usize),
    /// The connection is broken.
    PeerGone,
}

/// Result of a receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// This many bytes, at least one.
    Bytes(usize),
    /// Nothing yet.
    Nothing,
    /// The peer has sent its last byte.
    End,
    /// The connection is broken.
    PeerGone,
}

/// What the kernel knows of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// Connected, as far as the kernel knows.
    There,
    /// It sends nothing more; whether it still reads cannot be known.
    HalfClosed,
    /// The connection is broken.
    Gone,
}

impl Peer {
    /// Reads the result of a `poll(2)` that asked for `POLLRDHUP`.
    #[must_use]
    pub fn of(events: PollFlags) -> Self {
        if events.intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL) {
            Self::Gone
        } else if events.contains(PollFlags::RDHUP) {
            Self::HalfClosed
        } else {
            Self::There
        }
    }
}

impl Transport {
    /// Takes over `fd`, a connected non-blocking stream socket of this kind.
    ///
    /// # Errors
    /// The runtime refuses the descriptor.
    pub fn new(fd: OwnedFd, kind: Kind) -> io::Result<Self> {
        let fd = AsyncFd::new(fd)?;
        Ok(Self { fd, kind })
    }

    /// The transport that another thread took apart.
    ///
    /// # Errors
    /// The runtime refuses the descriptor.
    pub fn from_parts(parts: Parts) -> io::Result<Self> {
        Self::new(parts.fd, parts.kind)
    }

    /// Takes the transport apart for another thread. `duplicate`: see
    /// [`AsyncFd::duplicate_if_held`].
    #[must_use]
    pub fn into_parts(self, duplicate: Option<OwnedFd>) -> Parts {
        Parts {
            fd: self.fd.into_fd(duplicate),
            kind: self.kind,
        }
    }

    /// See [`AsyncFd::duplicate_if_held`].
    ///
    /// # Errors
    /// A duplicate is needed and no descriptor is free.
    pub fn duplicate_if_held(&self) -> io::Result<Option<OwnedFd>> {
        self.fd.duplicate_if_held()
    }

    /// Whether bodies can be spliced from and to this socket.
    #[must_use]
    pub const fn can_splice(&self) -> bool {
        match self.kind {
            Kind::Tcp | Kind::Unix => true,
        }
    }

    /// Whether the connection can end with a reset, which a peer cannot take for the end of a body. A
    /// Unix socket ends the same way whatever was sent before.
    #[must_use]
    pub const fn can_reset(&self) -> bool {
        match self.kind {
            Kind::Tcp => true,
            Kind::Unix => false,
        }
    }

    /// Whether a wait for readability respects the low-water mark (`unix_poll` in the kernel does
    /// not look at it).
    #[must_use]
    pub const fn has_low_water(&self) -> bool {
        match self.kind {
            Kind::Tcp => true,
            Kind::Unix => false,
        }
    }

    /// Waits until a receive would not block. May be dropped at any time.
    pub fn readable(&self) -> impl Future<Output = ()> {
        self.fd.readable()
    }

    /// Waits until a send would not block. May be dropped at any time.
    pub fn writable(&self) -> impl Future<Output = ()> {
        self.fd.writable()
    }

    /// Whether a receive would return bytes or the end of the stream.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        self.fd.is_readable()
    }

    /// Receives into `buffer` what is there.
    pub fn receive(&self, buffer: &mut [u8]) -> Received {
        loop {
            return match rustix::net::recv(self, &mut *buffer, RecvFlags::DONTWAIT) {
                Ok((_, 0)) => Received::End,
                Ok((_, bytes)) => Received::Bytes(bytes),
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => Received::Nothing,
                Err(_) => Received::PeerGone,
            };
        }
    }

    /// Sends as much of `bytes` as the kernel takes. `more`: further bytes follow at once, so the
    /// kernel may hold a short segment back for them (`MSG_MORE`).
    pub fn send(&self, bytes: &[u8], more: bool) -> Sent {
        loop {
            return match rustix::net::send(self, bytes, send_flags(more)) {
                Ok(sent) => Sent::Bytes(sent),
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM) => Sent::Bytes(0),
                Err(_) => Sent::PeerGone,
            };
        }
    }

    /// As [`Self::send`], for several parts, one behind the other.
    pub fn send_parts(&self, parts: &[IoSlice<'_>], more: bool) -> Sent {
        let flags = send_flags(more);
        loop {
            return match sendmsg(self, parts, &mut SendAncillaryBuffer::default(), flags) {
                Ok(sent) => Sent::Bytes(sent),
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM) => Sent::Bytes(0),
                Err(_) => Sent::PeerGone,
            };
        }
    }

    /// Sends what the kernel holds back because `more` was to follow (`tcp(7)`: `TCP_NODELAY` forces
    /// pending output out). A Unix socket holds nothing back.
    pub fn flush(&self) {
        // On a broken connection there is nothing left to send.
        let _ = sockopt::set_tcp_nodelay(self, true);
    }

    /// What the kernel knows of the peer, even behind bytes that lie unread (`POLLRDHUP`, `poll(2)`).
    #[must_use]
    pub fn peer(&self) -> Peer {
        let mut fds = [PollFd::new(self, PollFlags::RDHUP)];
        match poll(&mut fds, Some(&Timespec::default())) {
            Ok(1..) => Peer::of(fds[0].revents()),
            _ => Peer::There,
        }
    }

    /// The peer's address and port; `unix` for a socket that has none, `unknown` if the peer has reset
    /// the connection already and TCP has forgotten it.
    #[must_use]
    pub fn peer_name(&self) -> String {
        match getpeername(self).map(|name| name.map(SocketAddr::try_from)) {
            Ok(Some(Ok(address))) => address.to_string(),
            Ok(_) => "unix".to_owned(),
            Err(_) => "unknown".to_owned(),
        }
    }

    /// Whether a TCP peer has been silent for `long` although the kernel kept asking: retransmitted
    /// bytes or probes of a closed window went unanswered. A reachable host answers both, whatever its
    /// process does.
    #[must_use]
    pub fn is_lost(&self, long: Duration) -> bool {
        let unheard = sys::unheard(self);
        unheard.since >= long && unheard.unanswered >= limits::UNANSWERED_MIN
    }

    /// Ends the sending direction: the peer reads the end of the stream behind what was sent.
    pub fn end_sending(&self) {
        // Fails only if the connection is gone, which the next receive reports.
        let _ = shutdown(self, Shutdown::Write);
    }

    /// Whether the close that follows is a reset, so that the peer cannot take a cut for an end. This
    /// holds even if the kernel closes the socket because the process ends (`SO_LINGER`,
    /// `socket(7)`).
    ///
    /// # Errors
    /// The kernel refused: a cut would look like an end.
    pub fn reset_on_close(&self, resets: bool) -> io::Result<()> {
        let linger = resets.then_some(Duration::ZERO);
        Ok(sockopt::set_socket_linger(self, linger)?)
    }
}

fn send_flags(more: bool) -> SendFlags {
    let always = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    if more {
        always | SendFlags::MORE
    } else {
        always
    }
}

impl AsFd for Transport {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
