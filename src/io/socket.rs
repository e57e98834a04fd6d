//! A descriptor whose readiness the runtime reports, with the non-blocking calls that follow.
//!
//! Every wait of the server is a wait for readiness, and every byte moves by a direct call on a
//! non-blocking descriptor. A wait that is dropped loses nothing, no buffer is lent to the kernel,
//! and a socket that waits holds no memory. On a bare request/response server this costs the same
//! CPU as receiving and sending through the ring (10.4 to 10.6 µs a request against 9.8 to 10.8,
//! lowest to highest of three rounds; nginx 11.5 to 14.7).

use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    io::{self, IoSlice},
    mem,
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    pin::{Pin, pin},
    task::{Poll, Waker},
    time::Duration,
};

use monoio::net::TcpStream;
use rustix::{
    event::{PollFd, PollFlags, Timespec, epoll, poll},
    io::{Errno, fcntl_dupfd_cloexec},
    net::{
        AddressFamily, RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, getpeername, sendmsg,
        sockopt,
    },
};

use crate::{io::sys, limits};

/// The descriptor. monoio offers readiness on its stream types alone and looks at nothing but the
/// descriptor in them, so this one carries any: a socket, a listener, an eventfd.
#[derive(Debug)]
pub struct Socket {
    stream: TcpStream,
    /// Waits under way, and waits that were dropped before their end.
    unsettled: Cell<u32>,
}

/// What became of bytes that were to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// The kernel took so many, perhaps none, perhaps all.
    Bytes(usize),
    /// The peer is gone.
    PeerGone,
}

/// What became of an attempt to receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// So many bytes, at least one.
    Bytes(usize),
    /// Nothing yet.
    Nothing,
    /// The peer has sent its last byte.
    End,
    /// The connection is broken.
    PeerGone,
}

/// What TCP knows of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// As far as TCP knows, there.
    There,
    /// It has said that it sends nothing more; whether it still reads cannot be known.
    HalfClosed,
    /// The connection is broken.
    Gone,
}

impl Peer {
    /// What `poll(2)` reported, asked for `POLLRDHUP`.
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

impl Socket {
    /// Takes over `fd`, which must be non-blocking.
    ///
    /// # Errors
    /// The runtime refuses the descriptor.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            stream: TcpStream::from_std(std::net::TcpStream::from(fd))?,
            unsettled: Cell::new(0),
        })
    }

    /// What [`Self::into_fd`] needs to give the descriptor away; to be called just before it.
    ///
    /// monoio does not part with a descriptor while it holds an operation on it, be it one whose wait
    /// was dropped and that the kernel has yet to report as cancelled. Then a duplicate is given
    /// away and the original is closed when monoio lets go of it.
    ///
    /// # Errors
    /// A duplicate was needed and no descriptor was free.
    pub fn duplicate_if_held(&self) -> io::Result<Option<OwnedFd>> {
        if self.unsettled.get() == 0 {
            return Ok(None);
        }
        Ok(Some(fcntl_dupfd_cloexec(self, 0)?))
    }

    /// Gives the descriptor away, or its `duplicate` if there had to be one.
    #[must_use]
    pub fn into_fd(self, duplicate: Option<OwnedFd>) -> OwnedFd {
        duplicate.unwrap_or_else(|| sys::take_fd(self.stream))
    }

    /// Waits until a receive would not block. May be dropped at any time. Other tasks get their turn
    /// also if nothing has to be waited for.
    pub async fn readable(&self) {
        self.unsettled.set(self.unsettled.get() + 1);
        // An error of the wait itself shows in the call that follows.
        let readable = pin!(self.stream.readable(false));
        in_turn(readable).await;
        self.unsettled.set(self.unsettled.get() - 1);
    }

    /// As `readable`, until a send would not block.
    pub async fn writable(&self) {
        self.unsettled.set(self.unsettled.get() + 1);
        let writable = pin!(self.stream.writable(false));
        in_turn(writable).await;
        self.unsettled.set(self.unsettled.get() - 1);
        // The ring also reports a peer that has half-closed, each time anew (`POLLRDHUP` is in
        // every poll): waiting for that one alone would not be waiting at all.
        if self.is_writable() {
            return;
        }
        match self.watch_writable() {
            Ok(watch) => watch.readable().await,
            // No descriptor was free. To return now would be to spin.
            Err(_) => next_look().await,
        }
    }

    /// Whether bytes, or the end of the stream, lie there to be received.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        let mut fds = [PollFd::new(self, PollFlags::IN)];
        matches!(poll(&mut fds, Some(&Timespec::default())), Ok(1..))
    }

    /// Whether the cut of a body that ends with the connection can be shown: TCP has resets, a Unix
    /// socket ends the same way whatever comes before.
    #[must_use]
    pub fn can_reset(&self) -> bool {
        sockopt::socket_domain(self) != Ok(AddressFamily::UNIX)
    }

    fn is_writable(&self) -> bool {
        let mut fds = [PollFd::new(self, PollFlags::OUT)];
        matches!(poll(&mut fds, Some(&Timespec::default())), Ok(1..))
    }

    /// A descriptor that is readable when this socket is writable or broken, and not when its peer
    /// has merely half-closed (`epoll(7)`).
    fn watch_writable(&self) -> io::Result<Self> {
        let watch = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(
            &watch,
            self,
            epoll::EventData::new_u64(0),
            epoll::EventFlags::OUT,
        )?;
        Self::new(watch)
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
    /// kernel may hold a short segment back for them.
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

    /// Sends as much of the parts, one behind the other, as the kernel takes; as `send` otherwise.
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

    /// Sends what the kernel holds back for bytes that were to follow (`tcp(7)`: `TCP_NODELAY` forces
    /// pending output out). Other kinds of sockets hold nothing back.
    pub fn flush(&self) {
        let _ = sockopt::set_tcp_nodelay(self, true);
    }

    /// What TCP knows of the peer, even behind bytes that lie unread (`poll(2)`, `POLLRDHUP`).
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

    /// Whether the peer of a TCP connection has not been heard of for `long`, though the kernel kept asking:
    /// bytes that it sent again, or its probes of a closed window, had no answer. A peer that is there
    /// answers both, whatever its process does.
    #[must_use]
    pub fn is_lost(&self, long: Duration) -> bool {
        let unheard = sys::unheard(self);
        unheard.since >= long && unheard.unanswered >= limits::UNANSWERED_MIN
    }

    /// Ends the sending direction: the peer reads the end of the stream behind what was sent.
    pub fn end_sending(&self) {
        let _ = rustix::net::shutdown(self, Shutdown::Write);
    }

    /// Whether the close that follows is a reset, so that the peer cannot take a cut for an end. That
    /// holds also if it is the kernel that closes, because the process ends.
    pub fn reset_on_close(&self, resets: bool) {
        let _ = sockopt::set_socket_linger(self, resets.then_some(Duration::ZERO));
    }

    /// Ends the listening of this socket, for every descriptor of it.
    pub fn end_listening(&self) {
        let _ = rustix::net::shutdown(self, Shutdown::Both);
    }
}

/// Waits for `ready`. The ring reports every readiness in a later turn; epoll's is remembered, and a
/// task that finds it at once goes behind the others (monoio puts a task that wakes itself in front
/// of them, but one that another task wakes behind).
async fn in_turn<F: Future>(mut ready: Pin<&mut F>) {
    let mut waited = false;
    poll_fn(|context| {
        let poll = ready.as_mut().poll(context).map(drop);
        waited |= poll.is_pending();
        poll
    })
    .await;
    if !waited {
        monoio::spawn(async {}).await;
    }
}

thread_local! {
    /// The waits of this thread's shard that nothing but [`look_again`] ends. As many as there are
    /// connections at most, and forgotten with every sweep.
    static BLIND: RefCell<Vec<Waker>> = const { RefCell::new(Vec::new()) };
}

/// Lets waits that had no descriptor to wait with look again: called once a sweep.
pub fn look_again() {
    for waiting in BLIND.with_borrow_mut(mem::take) {
        waiting.wake();
    }
}

/// Waits for [`look_again`]. May be dropped at any time.
async fn next_look() {
    let mut asked = false;
    poll_fn(|context| {
        if mem::replace(&mut asked, true) {
            return Poll::Ready(());
        }
        BLIND.with_borrow_mut(|waiting| waiting.push(context.waker().clone()));
        Poll::Pending
    })
    .await;
}

fn send_flags(more: bool) -> SendFlags {
    let always = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    if more {
        always | SendFlags::MORE
    } else {
        always
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        sys::borrow_fd(&self.stream)
    }
}
