//! The socket of a connection: send, receive, and the state of its peer.
//!
//! Owns the differences between kinds of sockets: callers ask [`Transport`] for its capabilities. Must
//! never block; [`AsyncFd`] does the waiting.

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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `tcp(7)`.
    Tcp,
    /// A stream socket (`unix(7)`).
    Unix,
}

#[derive(Debug)]
pub struct Transport {
    fd: AsyncFd,
    kind: Kind,
}

/// A transport without its thread's runtime, to be sent to another thread.
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

/// How much a peer has taken of what was sent: acknowledged by its TCP, or read from a Unix socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// Another one than before: the peer has taken bytes in between. Only comparable as long as nothing
    /// is sent. On a Unix socket it changes when the peer has emptied one of the kernel's buffers, of
    /// 32 KiB or so.
    pub mark: u64,
    /// It took the last of them at least so long ago.
    pub ago: Duration,
}

/// The state of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// Connected, as far as the kernel knows.
    There,
    /// It sends nothing more. It may still read.
    HalfClosed,
    /// The connection is broken.
    Gone,
}

impl Peer {
    /// `events`: the result of a `poll(2)` for `POLLRDHUP`.
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
    /// Takes `fd`, a connected, non-blocking stream socket of this kind.
    ///
    /// # Errors
    /// The runtime refuses the descriptor.
    pub fn new(fd: OwnedFd, kind: Kind) -> io::Result<Self> {
        let fd = AsyncFd::new(fd)?;
        Ok(Self { fd, kind })
    }

    /// The inverse of [`Self::into_parts`].
    ///
    /// # Errors
    /// The runtime refuses the descriptor.
    pub fn from_parts(parts: Parts) -> io::Result<Self> {
        Self::new(parts.fd, parts.kind)
    }

    /// Detaches the socket from this thread's runtime. `duplicate`: see
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

    /// Whether `splice(2)` works from and to this socket.
    #[must_use]
    pub const fn can_splice(&self) -> bool {
        match self.kind {
            Kind::Tcp | Kind::Unix => true,
        }
    }

    /// Whether the connection can end with a reset, which a peer cannot mistake for the end of a body. A
    /// Unix socket cannot be made to reset.
    #[must_use]
    pub const fn can_reset(&self) -> bool {
        match self.kind {
            Kind::Tcp => true,
            Kind::Unix => false,
        }
    }

    /// Whether only this machine's processes with permission for the socket's file can connect.
    #[must_use]
    pub const fn is_local(&self) -> bool {
        match self.kind {
            Kind::Tcp => false,
            Kind::Unix => true,
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

    /// Waits until a receive would not block. Cancel-safe.
    pub fn readable(&self) -> impl Future<Output = ()> {
        self.fd.readable()
    }

    /// See [`AsyncFd::writable_or_half_closed`].
    pub fn writable_or_half_closed(&self) -> impl Future<Output = ()> {
        self.fd.writable_or_half_closed()
    }

    /// Whether a send would not block.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.fd.is_writable()
    }

    /// Whether a receive would return bytes or the end of the stream.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        self.fd.is_readable()
    }

    /// Receives the available bytes into `buffer`.
    pub fn receive(&self, buffer: &mut [u8]) -> Received {
        self.receive_as(buffer, RecvFlags::DONTWAIT)
    }

    /// Drops the available bytes, at most as many as `scratch` has room for. On TCP the kernel drops them
    /// without a copy (`MSG_TRUNC`, `tcp(7)`); a Unix socket does not know the flag and fills `scratch`.
    pub fn discard(&self, scratch: &mut [u8]) -> Received {
        self.receive_as(scratch, RecvFlags::DONTWAIT | RecvFlags::TRUNC)
    }

    fn receive_as(&self, buffer: &mut [u8], flags: RecvFlags) -> Received {
        loop {
            return match rustix::net::recv(self, &mut *buffer, flags) {
                Ok((_, 0)) => Received::End,
                Ok((_, bytes)) => Received::Bytes(bytes),
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => Received::Nothing,
                Err(_) => Received::PeerGone,
            };
        }
    }

    /// Sends as much of `bytes` as the kernel takes. `more`: further bytes follow immediately, so the
    /// kernel may delay a short segment (`MSG_MORE`).
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

    /// As [`Self::send`], for several parts in sequence.
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

    /// Sends a segment delayed by `more` (`tcp(7)`: setting `TCP_NODELAY` forces pending output out). A
    /// Unix socket delays nothing.
    pub fn flush(&self) {
        // Fails on a broken connection, and on a Unix socket.
        let _ = sockopt::set_tcp_nodelay(self, true);
    }

    /// The state of the peer, even if unread bytes hide it from a receive (`POLLRDHUP`, `poll(2)`).
    #[must_use]
    pub fn peer(&self) -> Peer {
        let mut fds = [PollFd::new(self, PollFlags::RDHUP)];
        match poll(&mut fds, Some(&Timespec::default())) {
            Ok(1..) => Peer::of(fds[0].revents()),
            _ => Peer::There,
        }
    }

    /// The peer's address and port; `unix` for a socket without one, `unknown` if the peer has reset the
    /// connection already.
    #[must_use]
    pub fn peer_name(&self) -> String {
        match getpeername(self).map(|name| name.map(SocketAddr::try_from)) {
            Ok(Some(Ok(address))) => address.to_string(),
            Ok(_) => "unix".to_owned(),
            Err(_) => "unknown".to_owned(),
        }
    }

    /// Whether a TCP peer has been silent for `long` and does not acknowledge retransmitted bytes or
    /// zero-window probes. A reachable host acknowledges both, whatever its process does.
    #[must_use]
    pub fn is_lost(&self, long: Duration) -> bool {
        let peer = sys::tcp_peer(self);
        peer.silent >= long && peer.unanswered >= limits::UNANSWERED_MIN
    }

    /// How much the peer has taken of what was sent.
    #[must_use]
    pub fn taken(&self) -> Taken {
        match self.kind {
            Kind::Tcp => {
                let peer = sys::tcp_peer(self);
                Taken {
                    mark: peer.acked,
                    ago: peer.acked_ago,
                }
            }
            Kind::Unix => Taken {
                mark: sys::unread_by_peer(self),
                ago: Duration::ZERO,
            },
        }
    }

    /// Whether the congestion control sends at a pace of its own, as BBR does (`TCP_CONGESTION`, `tcp(7)`).
    #[must_use]
    pub fn is_paced(&self) -> bool {
        match self.kind {
            Kind::Tcp => sockopt::tcp_congestion(self).is_ok_and(|name| name.starts_with("bbr")),
            Kind::Unix => false,
        }
    }

    /// Sets how many unsent bytes the kernel queues; a Unix socket queues what its buffer holds.
    pub fn limit_unsent(&self, bytes_max: usize) {
        match self.kind {
            // Fails only on a broken connection.
            Kind::Tcp => drop(sys::set_unsent_max(self, bytes_max as i32)),
            Kind::Unix => {}
        }
    }

    /// How many bytes the kernel takes at once, or a few more, if it queues `unsent_max` unsent ones.
    #[must_use]
    pub fn room(&self, unsent_max: usize) -> usize {
        let free = sys::send_buffer_free(self);
        match self.kind {
            Kind::Tcp => {
                let unsent = sys::tcp_peer(self).unsent;
                free.min(unsent_max.saturating_sub(unsent))
            }
            Kind::Unix => free,
        }
    }

    /// Half-closes: the peer reads everything sent, then the end of the stream.
    pub fn end_sending(&self) {
        // Fails only on a broken connection, which the next receive reports.
        let _ = shutdown(self, Shutdown::Write);
    }

    /// Chooses whether closing the socket resets the connection, so that the peer cannot mistake a cut
    /// for an end. This holds even if the process dies (`SO_LINGER`, `socket(7)`).
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
