//! The listening sockets: bound here, or inherited from who started the process; and their end.
//!
//! When the server is told to end, the file of a socket that is bound here is removed, if it has one,
//! and the shards take in who waits on it and shut it down, so that the kernel refuses newcomers from
//! then on. An inherited socket belongs
//! to others: the next instance listens on it too. It must never be shut down, which would end it for
//! all of them, nor its file removed; who wants no more connections from it stops accepting.

use std::{
    fmt, fs, io,
    os::{
        fd::OwnedFd,
        unix::{
            fs::{FileTypeExt, MetadataExt, PermissionsExt},
            net::UnixStream,
        },
    },
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Instant,
};

use rustix::{
    io::ioctl_fionbio,
    net::{
        AddressFamily, Shutdown, SocketAddrAny, SocketAddrUnix, SocketFlags, SocketType, bind,
        getsockname, listen, shutdown, socket_with, sockopt,
    },
};

use crate::{
    config::{Config, address::Address},
    io::{socket::Kind, sys},
    limits,
    model::audience::Audience,
    worker::accept::ListenerHandle,
};

/// The name of an inherited socket that is for operators (`LISTEN_FDNAMES`,
/// `FileDescriptorName=`). All others are for clients.
const ADMIN_NAME: &str = "admin";

/// A listening socket.
#[derive(Debug)]
pub struct Listener {
    fd: OwnedFd,
    /// Where it listens, with the port that the kernel chose.
    pub address: Address,
    /// Whom it serves.
    pub audience: Audience,
    origin: Origin,
}

/// Where a listener comes from, which decides how it ends.
#[derive(Debug)]
enum Origin {
    Bound,
    File(SocketFile),
    Inherited,
}

/// Why an address cannot be listened on, and what to do: one line.
#[derive(Debug)]
pub enum ListenError {
    /// Somebody listens there, or did a moment ago.
    InUse(String),
    /// Anything else.
    Other(String),
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::InUse(text) | Self::Other(text)) = self;
        f.write_str(text)
    }
}

/// Opens every listener that `config` names, and takes over those that the process inherited. There
/// is at least one for clients, and those come first.
///
/// # Errors
/// The first that cannot be had; files of those before it are removed again.
pub fn open_all(config: &Config) -> Result<Vec<Listener>, ListenError> {
    let mut listeners = inherited(config)?;
    let wanted = listeners.len() + config.listen.len() + usize::from(config.admin.is_some());
    if wanted > limits::LISTENERS_MAX {
        return Err(ListenError::Other(format!(
            "{wanted} addresses to listen on; at most {} are possible",
            limits::LISTENERS_MAX
        )));
    }
    for address in &config.listen {
        listeners.push(open(address, Audience::Everyone, config)?);
    }
    if !listeners.iter().any(|known| known.audience.has_clients()) {
        let address = &config.listen_default;
        listeners.push(open(address, Audience::Everyone, config)?);
    }
    if let Some(address) = &config.admin {
        listeners.push(open(address, Audience::Operators, config)?);
    }
    listeners.sort_by_key(|listener| listener.audience == Audience::Operators);
    if listeners.iter().any(|known| !known.audience.has_clients()) {
        for listener in listeners
            .iter_mut()
            .filter(|known| known.audience.has_clients())
        {
            listener.audience = Audience::Clients;
        }
    }
    Ok(listeners)
}

impl Listener {
    /// A handle for a shard.
    ///
    /// # Errors
    /// No descriptor was free.
    pub fn handle(&self) -> io::Result<ListenerHandle> {
        Ok(ListenerHandle {
            fd: self.fd.try_clone()?,
            kind: match self.address {
                Address::Tcp { .. } => Kind::Tcp,
                Address::Unix(_) => Kind::Unix,
            },
            audience: self.audience,
            inherited: matches!(self.origin, Origin::Inherited),
        })
    }

    /// Newcomers do not find it any more, where it has a file to be found by. The shards take in who
    /// waits already, and end the listening.
    pub fn withdraw(&self) {
        if let Origin::File(file) = &self.origin {
            file.remove();
        }
    }

    /// Ends it for this process: newcomers are refused by the kernel, and every wait on it ends. An
    /// inherited one stays as it is. May be called again.
    pub fn close(&self) {
        self.withdraw();
        if !matches!(self.origin, Origin::Inherited) {
            let _ = shutdown(&self.fd, Shutdown::Both);
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.close();
    }
}

/// Opens a listener; tries again for [`limits::BIND_PATIENCE`] while the address is in use.
fn open(address: &Address, audience: Audience, config: &Config) -> Result<Listener, ListenError> {
    let began = Instant::now();
    loop {
        match open_once(address, audience, config) {
            Err(ListenError::InUse(_)) if began.elapsed() < limits::BIND_PATIENCE => {
                thread::sleep(limits::BIND_PERIOD);
            }
            opened => return opened,
        }
    }
}

fn open_once(
    address: &Address,
    audience: Audience,
    config: &Config,
) -> Result<Listener, ListenError> {
    // Operators' sockets go by umask.
    let unix_mode = config.unix_mode.filter(|_| audience.has_clients());
    let (fd, origin) = match address {
        Address::Tcp { at, dual_stack } => {
            let fd = open_tcp(*at, *dual_stack).map_err(|error| refused(address, &error))?;
            (fd, Origin::Bound)
        }
        Address::Unix(path) => {
            let (fd, file) = open_unix(path, unix_mode)?;
            (fd, Origin::File(file))
        }
    };
    let listener = Listener {
        address: bound_address(&fd).unwrap_or_else(|| address.clone()),
        fd,
        audience,
        origin,
    };
    let begun =
        prepare(&listener, config).and_then(|()| Ok(listen(&listener.fd, limits::LISTEN_BACKLOG)?));
    begun.map_err(|error| refused(address, &error))?;
    Ok(listener)
}

fn stream_socket(family: AddressFamily) -> io::Result<OwnedFd> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    Ok(socket_with(family, SocketType::STREAM, flags, None)?)
}

/// Binds. Without `SO_REUSEPORT`, so that a taken port is an error; with `SO_REUSEADDR`, so that a
/// restart need not wait for old connections to time out (`socket(7)`).
fn open_tcp(at: std::net::SocketAddr, dual_stack: bool) -> io::Result<OwnedFd> {
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
    bind(&fd, &at)?;
    Ok(fd)
}

/// Options that accepted connections take over from their listener (`tcp(7)`): no delay for small
/// segments, because replies go out whole; no byte taken out of the stream because its sender marked
/// it as urgent (RFC 6093 §5); and the kernel's watch for peers that vanish without a word. A Unix
/// socket has no use for any of them.
fn prepare(listener: &Listener, config: &Config) -> io::Result<()> {
    if matches!(listener.address, Address::Unix(_)) {
        return Ok(());
    }
    let (fd, keepalive) = (&listener.fd, config.keepalive);
    sockopt::set_tcp_nodelay(fd, true)?;
    sockopt::set_socket_oobinline(fd, true)?;
    sockopt::set_socket_keepalive(fd, true)?;
    sockopt::set_tcp_keepidle(fd, keepalive.idle)?;
    sockopt::set_tcp_keepintvl(fd, keepalive.interval)?;
    sockopt::set_tcp_keepcnt(fd, limits::KEEPALIVE_PROBES)?;
    if let Some(limit) = keepalive.user_timeout(config.timeouts.idle) {
        let millis = u32::try_from(limit.as_millis()).unwrap_or(u32::MAX);
        sockopt::set_tcp_user_timeout(fd, millis)?;
    }
    Ok(())
}

fn refused(address: &Address, error: &io::Error) -> ListenError {
    let text = match (address, error.kind()) {
        (Address::Tcp { at, .. }, io::ErrorKind::AddrInUse) => {
            return ListenError::InUse(format!(
                "port {} on {} is in use; stop who uses it or choose another with --port or --listen",
                at.port(),
                at.ip()
            ));
        }
        (Address::Tcp { at, .. }, io::ErrorKind::PermissionDenied) => format!(
            "port {} needs a privilege that this user lacks; choose one from 1024 on with --port or \
             --listen",
            at.port()
        ),
        (Address::Tcp { at, .. }, _) => format!(
            "cannot listen on {at}: {error}; choose another address with --host and --port, or \
             --listen"
        ),
        (Address::Unix(path), _) => format!(
            "cannot listen on {}: {error}; choose a path in a folder that this user may write to",
            path.display()
        ),
    };
    ListenError::Other(text)
}

/// The file of a Unix socket that was bound here.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    /// Device and inode: another instance may have put its own in this place.
    identity: (u64, u64),
    removed: AtomicBool,
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            identity: identity(path)?,
            removed: AtomicBool::new(false),
        })
    }

    /// Removes the file if it is still this one.
    fn remove(&self) {
        if !self.removed.swap(true, Ordering::Relaxed)
            && identity(&self.path).is_ok_and(|found| found == self.identity)
        {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

/// Binds to `path`, in place of a socket that nobody listens on any more. `mode` holds before the
/// first client can connect, because that takes `listen`.
fn open_unix(path: &Path, mode: Option<u32>) -> Result<(OwnedFd, SocketFile), ListenError> {
    let refused = |error: io::Error| refused(&Address::Unix(path.to_owned()), &error);
    let fd = stream_socket(AddressFamily::UNIX).map_err(refused)?;
    let address = SocketAddrUnix::new(path).map_err(|error| refused(error.into()))?;
    if let Err(error) = bind(&fd, &address) {
        if error != rustix::io::Errno::ADDRINUSE {
            return Err(refused(error.into()));
        }
        remove_stale(path)?;
        bind(&fd, &address).map_err(|error| refused(error.into()))?;
    }
    let file = SocketFile::of(path).map_err(refused)?;
    let permit = |mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
    if let Some(error) = mode.map(permit).and_then(Result::err) {
        file.remove();
        return Err(refused(error));
    }
    Ok((fd, file))
}

/// Removes the socket that a server left behind which did not end by itself.
fn remove_stale(path: &Path) -> Result<(), ListenError> {
    let shown = path.display();
    let is_socket = fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    if !is_socket {
        return Err(ListenError::Other(format!(
            "{shown} exists and is no socket; remove it or choose another path"
        )));
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            let removed = fs::remove_file(path);
            removed.map_err(|error| refused(&Address::Unix(path.to_owned()), &error))
        }
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Err(ListenError::Other(format!(
                "{shown} exists, and this user may not see whether it is in use; remove it or choose \
                 another path"
            )))
        }
        _ => Err(ListenError::InUse(format!(
            "{shown} is in use; stop who listens there or choose another path"
        ))),
    }
}

fn inherited(config: &Config) -> Result<Vec<Listener>, ListenError> {
    let found = sys::inherited_sockets().map_err(|error| {
        ListenError::Other(format!(
            "the sockets that this process is to inherit make no sense ({error}); see to LISTEN_FDS, \
             LISTEN_PID and LISTEN_FDNAMES, or start it without them"
        ))
    })?;
    let adopted = found
        .into_iter()
        .map(adopt)
        .collect::<Result<Vec<_>, _>>()?;
    for listener in &adopted {
        let prepared = prepare(listener, config);
        prepared.map_err(|error| refused(&listener.address, &error))?;
    }
    Ok(adopted)
}

/// Takes over a socket that is bound already and that others have too.
fn adopt((fd, name): (OwnedFd, String)) -> Result<Listener, ListenError> {
    let listens = sockopt::socket_type(&fd) == Ok(SocketType::STREAM)
        && sockopt::socket_acceptconn(&fd) == Ok(true);
    let address = bound_address(&fd).filter(|_| listens).ok_or_else(|| {
        ListenError::Other(format!(
            "the inherited descriptor {name:?} is no listening stream socket; use ListenStream= and \
             Accept=no"
        ))
    })?;
    let nonblocking = ioctl_fionbio(&fd, true);
    nonblocking.map_err(|error| refused(&address, &error.into()))?;
    Ok(Listener {
        fd,
        address,
        audience: if name == ADMIN_NAME {
            Audience::Operators
        } else {
            Audience::Everyone
        },
        origin: Origin::Inherited,
    })
}

/// Where a socket is bound to; `None` if that is neither TCP nor Unix.
fn bound_address(fd: &OwnedFd) -> Option<Address> {
    let name = getsockname(fd).ok()?;
    if name.address_family() == AddressFamily::UNIX {
        return SocketAddrUnix::try_from(name).ok().map(unix_address);
    }
    Some(Address::Tcp {
        dual_stack: sockopt::ipv6_v6only(fd) == Ok(false),
        at: SocketAddrAny::try_into(name).ok()?,
    })
}

fn unix_address(name: SocketAddrUnix) -> Address {
    let abstract_name = || Some(format!("@{}", name.abstract_name()?.escape_ascii()));
    let path = match name.path_bytes() {
        Some(path) => String::from_utf8_lossy(path).into_owned(),
        None => abstract_name().unwrap_or_default(),
    };
    Address::Unix(path.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::cli::Cli;
    use clap::Parser;
    use std::os::unix::net::UnixListener;

    fn default_config() -> Config {
        Config::from_cli(Cli::parse_from(["httpipe"])).expect("options that can be kept")
    }

    fn path_in(folder: &tempfile::TempDir) -> PathBuf {
        folder.path().join("s.sock")
    }

    #[test]
    fn the_file_of_a_socket_goes_with_its_listener_and_another_in_its_place_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = path_in(&folder);
        let address = Address::Unix(path.clone());
        let first = open(&address, Audience::Everyone, &default_config()).expect("a free path");
        drop(first);
        assert!(!path.exists());

        let first = open(&address, Audience::Everyone, &default_config()).expect("a free path");
        fs::remove_file(&path).expect("it is there");
        let second = open(&address, Audience::Everyone, &default_config()).expect("a free path");
        drop(first);
        assert!(UnixStream::connect(&path).is_ok());
        drop(second);
        assert!(!path.exists());
    }

    #[test]
    fn a_socket_that_nobody_listens_on_is_replaced_and_a_living_one_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = path_in(&folder);
        let address = Address::Unix(path.clone());
        let other = UnixListener::bind(&path).expect("a free path");
        let refused =
            open(&address, Audience::Everyone, &default_config()).expect_err("it is in use");
        assert!(refused.to_string().contains("in use"), "{refused}");
        drop(other);
        assert!(path.exists(), "std leaves the file");
        assert!(open(&address, Audience::Everyone, &default_config()).is_ok());
    }

    #[test]
    fn a_file_that_is_no_socket_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = path_in(&folder);
        fs::write(&path, "kept").expect("a free path");
        let refused = open(
            &Address::Unix(path.clone()),
            Audience::Everyone,
            &default_config(),
        );
        let refused = refused.expect_err("it is no socket").to_string();
        assert!(refused.contains("no socket"), "{refused}");
        assert_eq!(fs::read_to_string(&path).expect("it is there"), "kept");
    }

    #[test]
    fn the_permissions_of_a_socket_are_those_that_were_asked_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = path_in(&folder);
        let address = Address::Unix(path.clone());
        let config = Config {
            unix_mode: Some(0o620),
            ..default_config()
        };
        let _listener = open(&address, Audience::Everyone, &config).expect("a free path");
        let mode = fs::metadata(&path).expect("it is there").permissions();
        assert_eq!(mode.mode() & 0o777, 0o620);
    }

    #[test]
    fn an_ipv6_wildcard_takes_ipv4_clients_only_where_it_is_to() {
        for dual_stack in [false, true] {
            let at = "[::]:0".parse().expect("an address");
            let Ok(fd) = open_tcp(at, dual_stack) else {
                eprintln!("this machine has no IPv6");
                return;
            };
            assert_eq!(sockopt::ipv6_v6only(&fd), Ok(!dual_stack));
        }
    }

    #[test]
    fn what_is_inherited_has_to_listen() {
        let (one, _other) = UnixStream::pair().expect("sockets");
        let refused = adopt((one.into(), "web".to_owned())).expect_err("it does not listen");
        assert!(refused.to_string().contains("\"web\""), "{refused}");
    }

    #[test]
    fn an_inherited_socket_outlives_its_listener() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = path_in(&folder);
        let owner = UnixListener::bind(&path).expect("a free path");
        let fd = OwnedFd::from(owner.try_clone().expect("a descriptor"));
        let listener = adopt((fd, ADMIN_NAME.to_owned())).expect("it listens");
        assert_eq!(
            (listener.audience, &listener.address),
            (Audience::Operators, &Address::Unix(path.clone()))
        );
        drop(listener);
        assert!(path.exists() && UnixStream::connect(&path).is_ok());
    }
}
