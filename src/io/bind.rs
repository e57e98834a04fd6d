//! Listening sockets: how they are bound, and what an inherited descriptor is.
//!
//! Knows no configuration: takes addresses, paths and durations.

use std::{
    io,
    net::{SocketAddr, ToSocketAddrs},
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::{
    io::{Errno, ioctl_fionbio},
    net::{
        self, AddressFamily, Shutdown, SocketAddrAny, SocketAddrUnix, SocketFlags, SocketType,
        getsockname, socket_with, sockopt,
    },
};

use crate::{io::sys, limits};

/// The address that a socket is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BoundTo {
    Tcp {
        at: SocketAddr,
        /// IPv4 clients reach it too.
        dual_stack: bool,
    },
    /// A path. The name of an abstract socket follows an `@`.
    Unix(PathBuf),
}

/// How TCP detects that a peer has vanished (`tcp(7)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerDetection {
    /// Idle time before the first keepalive probe; whole seconds.
    pub idle: Duration,
    /// The time between two probes; whole seconds.
    pub interval: Duration,
    /// How long sent bytes may stay unacknowledged; `None`: as long as the kernel retransmits.
    pub user_timeout: Option<Duration>,
}

/// Binds a TCP socket; it does not listen yet.
///
/// Without `SO_REUSEPORT`, so that a port in use is an error. With `SO_REUSEADDR`, so that a restart
/// does not wait for connections in TIME_WAIT (`socket(7)`).
///
/// # Errors
/// Those of `socket(2)`, `setsockopt(2)` and `bind(2)`.
pub fn tcp(at: SocketAddr, dual_stack: bool) -> io::Result<OwnedFd> {
    let family = if at.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let fd = stream_socket(family)?;
    sockopt::set_socket_reuseaddr(&fd, true)?;
    if at.is_ipv6() {
        sockopt::set_ipv6_v6only(&fd, !dual_stack)?;
    }
    net::bind(&fd, &at)?;
    Ok(fd)
}

/// The addresses of a name, each once, in the order of preference (`getaddrinfo(3)`).
///
/// # Errors
/// The name has none, or nobody who knows could be asked.
pub fn resolve(name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let mut distinct = Vec::new();
    for address in (name, port).to_socket_addrs()? {
        if !distinct.contains(&address) {
            distinct.push(address);
        }
    }
    Ok(distinct)
}

/// Whether an address could not be bound because this machine does not have it (`ip(7)`), or has no
/// address of its family.
#[must_use]
pub fn is_absent(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT))
}

/// Binds a Unix stream socket to `path`, which must not exist; it does not listen yet.
///
/// # Errors
/// Those of `socket(2)` and `bind(2)`; the path is too long.
pub fn unix(path: &Path) -> io::Result<OwnedFd> {
    let fd = stream_socket(AddressFamily::UNIX)?;
    net::bind(&fd, &SocketAddrUnix::new(path)?)?;
    Ok(fd)
}

fn stream_socket(family: AddressFamily) -> io::Result<OwnedFd> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    Ok(socket_with(family, SocketType::STREAM, flags, None)?)
}

/// Sets the options that accepted connections inherit from their TCP listener (`tcp(7)`).
///
/// # Errors
/// Those of `setsockopt(2)`.
pub fn set_tcp_options(fd: &OwnedFd, detection: PeerDetection) -> io::Result<()> {
    // A response leaves in one send, so there is nothing to coalesce.
    sockopt::set_tcp_nodelay(fd, true)?;
    // Otherwise the kernel removes a byte sent as urgent from the stream (RFC 6093 §5).
    sockopt::set_socket_oobinline(fd, true)?;
    sockopt::set_socket_keepalive(fd, true)?;
    sockopt::set_tcp_keepidle(fd, detection.idle)?;
    sockopt::set_tcp_keepintvl(fd, detection.interval)?;
    sockopt::set_tcp_keepcnt(fd, limits::KEEPALIVE_PROBES)?;
    // Otherwise a consumer that takes nothing lets megabytes gather in the kernel.
    sys::set_unsent_max(fd, limits::UNSENT_BYTES_MAX as i32)?;
    if let Some(limit) = detection.user_timeout {
        let millis = u32::try_from(limit.as_millis()).unwrap_or(u32::MAX);
        sockopt::set_tcp_user_timeout(fd, millis)?;
    }
    Ok(())
}

/// Makes a bound socket listen (`listen(2)`).
///
/// # Errors
/// Another socket listens on the address.
pub fn listen(fd: &OwnedFd) -> io::Result<()> {
    Ok(net::listen(fd, limits::LISTEN_BACKLOG)?)
}

/// Shuts a listener down, for every descriptor of it in every process: the kernel refuses new
/// connections, and every wait on it ends.
pub fn shut_down(fd: &impl AsFd) {
    // Fails only if it is shut down already.
    let _ = net::shutdown(fd, Shutdown::Both);
}

#[must_use]
pub fn is_listening(fd: &OwnedFd) -> bool {
    sockopt::socket_type(fd) == Ok(SocketType::STREAM) && sockopt::socket_acceptconn(fd) == Ok(true)
}

/// Makes an inherited socket non-blocking.
///
/// # Errors
/// Those of `ioctl(2)`.
pub fn set_nonblocking(fd: &OwnedFd) -> io::Result<()> {
    Ok(ioctl_fionbio(fd, true)?)
}

/// Where `fd` is bound; `None` if it is neither a TCP nor a Unix socket.
#[must_use]
pub fn bound_to(fd: &OwnedFd) -> Option<BoundTo> {
    let name = getsockname(fd).ok()?;
    if name.address_family() == AddressFamily::UNIX {
        let name = SocketAddrUnix::try_from(name).ok()?;
        return Some(BoundTo::Unix(unix_path(&name)));
    }
    Some(BoundTo::Tcp {
        dual_stack: sockopt::ipv6_v6only(fd) == Ok(false),
        at: SocketAddrAny::try_into(name).ok()?,
    })
}

fn unix_path(name: &SocketAddrUnix) -> PathBuf {
    let abstract_name = || Some(format!("@{}", name.abstract_name()?.escape_ascii()));
    let path = match name.path_bytes() {
        Some(path) => String::from_utf8_lossy(path).into_owned(),
        None => abstract_name().unwrap_or_default(),
    };
    path.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn an_ipv6_wildcard_takes_ipv4_clients_only_if_dual_stack() {
        for dual_stack in [false, true] {
            let at = "[::]:0".parse().expect("an address");
            let Ok(fd) = tcp(at, dual_stack) else {
                eprintln!("this machine has no IPv6");
                return;
            };
            assert_eq!(sockopt::ipv6_v6only(&fd), Ok(!dual_stack));
            let Some(BoundTo::Tcp { at, dual_stack: d }) = bound_to(&fd) else {
                panic!("{:?}", bound_to(&fd));
            };
            assert!(at.port() != 0 && d == dual_stack, "{at}");
        }
    }

    #[test]
    fn a_socket_listens_only_after_listen() {
        let fd = tcp("127.0.0.1:0".parse().expect("an address"), false).expect("a free port");
        assert!(!is_listening(&fd));
        listen(&fd).expect("the address is free");
        assert!(is_listening(&fd));
        let (one, _other) = UnixStream::pair().expect("sockets");
        assert!(!is_listening(&one.into()));
    }

    #[test]
    fn an_abstract_socket_is_shown_with_an_at_sign() {
        let name = format!("httpipe-bind-{}", std::process::id());
        let fd = stream_socket(AddressFamily::UNIX).expect("a descriptor");
        let address = SocketAddrUnix::new_abstract_name(name.as_bytes()).expect("short");
        net::bind(&fd, &address).expect("a free name");
        let shown = PathBuf::from(format!("@{name}"));
        assert_eq!(bound_to(&fd), Some(BoundTo::Unix(shown)));
    }
}
