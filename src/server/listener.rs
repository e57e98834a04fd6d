//! [`Listener`]: a listening socket, bound here or inherited.
//!
//! A drain removes the file of a Unix socket that was bound here; the shards then accept what is in the
//! backlog and shut the socket down, so that the kernel refuses new connections. An inherited socket
//! belongs to the service manager, and the next instance listens on it too: it must never be shut down,
//! and its file must never be removed. This process only stops accepting.

use std::{fmt, io, net::SocketAddr, os::fd::OwnedFd, path::Path, thread, time::Instant};

use crate::{
    config::{ADMIN_NAME, Config, HostAndPort, address::Address, host::Host},
    io::{
        bind::{self, BoundTo, PeerDetection},
        socket::Kind,
        sys,
    },
    limits,
    model::audience::Audience,
    server::socket_file::{Occupied, SocketFile, remove_stale},
    worker::accept::ListenerHandle,
};

/// A listening socket.
#[derive(Debug)]
pub struct Listener {
    fd: OwnedFd,
    /// With the port that the kernel chose, if it was 0.
    pub address: Address,
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
    /// The address is in use; the server there may be about to exit.
    InUse(String),
    /// This machine does not have the address.
    Absent(String),
    Other(String),
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::InUse(text) | Self::Absent(text) | Self::Other(text)) = self;
        f.write_str(text)
    }
}

/// Opens every listener of `config` and adopts the inherited ones. Returns at least one for clients;
/// those for clients come first.
///
/// # Errors
/// The first that fails; the listeners before it are closed and their files removed.
pub fn open_all(config: &Config) -> Result<Vec<Listener>, ListenError> {
    let mut listeners = inherited(config)?;
    let wanted = listeners.len() + config.listen.len() + usize::from(config.admin.is_some());
    if wanted > limits::LISTENERS_MAX {
        return Err(ListenError::Other(format!(
            "{wanted} listeners; at most {} are possible",
            limits::LISTENERS_MAX
        )));
    }
    for address in &config.listen {
        listeners.push(open(address, Audience::Everyone, config)?);
    }
    if !listeners.iter().any(|known| known.audience.has_clients()) {
        listeners.extend(open_default(&config.listen_default, config)?);
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

/// Opens the listeners of `--host` and `--port`.
fn open_default(at: &HostAndPort, config: &Config) -> Result<Vec<Listener>, ListenError> {
    let name = match &at.host {
        Host::Address(address) => {
            let address = Address::of_host(*address, at.port);
            return Ok(vec![open(&address, Audience::Everyone, config)?]);
        }
        Host::Name(name) => name,
    };
    let written = &at.host_as_written;
    let addresses = bind::resolve(name, at.port).map_err(|error| {
        ListenError::Other(format!(
            "{written} is no address, and the name cannot be resolved: {error}; use an address or \
             a name of this machine, or leave it out"
        ))
    })?;
    if addresses.len() > limits::HOST_ADDRESSES_MAX {
        return Err(ListenError::Other(format!(
            "{written} has {} addresses; at most {} are possible: choose some with --listen",
            addresses.len(),
            limits::HOST_ADDRESSES_MAX
        )));
    }
    let mut tries = 1..limits::PORT_TRIES;
    loop {
        match open_each(&addresses, config) {
            // The kernel chose a port that is free on the first address alone.
            Err(ListenError::InUse(_)) if at.port == 0 && tries.next().is_some() => {}
            opened => return opened,
        }
    }
}

/// Opens a listener on each address of a name, all with one port. Skips those that this machine does not
/// have, but not all: `localhost` is `::1` too in the hosts file of many containers without IPv6.
fn open_each(addresses: &[SocketAddr], config: &Config) -> Result<Vec<Listener>, ListenError> {
    let mut opened: Vec<Listener> = Vec::new();
    let mut absent = None;
    for &(mut at) in addresses {
        let chosen = opened.first().and_then(|first| first.address.port());
        at.set_port(chosen.unwrap_or(at.port()));
        let dual_stack = false;
        match open(&Address::Tcp { at, dual_stack }, Audience::Everyone, config) {
            Ok(listener) => opened.push(listener),
            Err(ListenError::Absent(text)) => {
                tracing::debug!("skipped an address of the name: {text}");
                absent = Some(ListenError::Absent(text));
            }
            Err(error) => return Err(error),
        }
    }
    match absent {
        Some(absent) if opened.is_empty() => Err(absent),
        _ => Ok(opened),
    }
}

impl Listener {
    /// A handle for a shard.
    ///
    /// # Errors
    /// No descriptor is free.
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

    /// Removes its file, if it has one: new clients cannot find it. The shards then accept what is in
    /// the backlog and shut it down.
    pub fn withdraw(&self) {
        if let Origin::File(file) = &self.origin {
            file.remove();
        }
    }

    /// Removes its file and shuts it down; an inherited one stays open. Idempotent.
    pub fn close(&self) {
        self.withdraw();
        if !matches!(self.origin, Origin::Inherited) {
            bind::shut_down(&self.fd);
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.close();
    }
}

/// Opens a listener; retries for [`limits::BIND_PATIENCE`] while the address is in use.
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
    // `unix_mode` is for clients; the umask decides who may connect as an operator.
    let unix_mode = config.unix_mode.filter(|_| audience.has_clients());
    let (fd, origin) = match address {
        Address::Tcp { at, dual_stack } => {
            let fd = bind::tcp(*at, *dual_stack).map_err(|error| refused(address, &error))?;
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
    let listening = prepare(&listener, config).and_then(|()| bind::listen(&listener.fd));
    listening.map_err(|error| refused(address, &error))?;
    Ok(listener)
}

/// Binds to `path`; replaces a stale socket file.
fn open_unix(path: &Path, mode: Option<u32>) -> Result<(OwnedFd, SocketFile), ListenError> {
    let refused = |error: io::Error| refused(&Address::Unix(path.to_owned()), &error);
    let fd = match bind::unix(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            remove_stale(path).map_err(|why| occupied(path, why))?;
            bind::unix(path)
        }
        bound => bound,
    };
    let fd = fd.map_err(refused)?;
    let file = SocketFile::of(path).map_err(refused)?;
    if let Some(error) = mode.and_then(|mode| file.set_mode(mode).err()) {
        file.remove();
        return Err(refused(error));
    }
    Ok((fd, file))
}

fn occupied(path: &Path, why: Occupied) -> ListenError {
    let shown = path.display();
    ListenError::Other(match why {
        Occupied::InUse => {
            return ListenError::InUse(format!(
                "{shown} is in use; stop the process that listens there, or choose another path"
            ));
        }
        Occupied::NotASocket => {
            format!("{shown} exists and is not a socket; remove it or choose another path")
        }
        Occupied::Unknown => format!(
            "{shown} exists, and this user may not connect to see whether it is in use; remove it or \
             choose another path"
        ),
        Occupied::Remove(error) => return refused(&Address::Unix(path.to_owned()), &error),
    })
}

/// Sets the options that accepted connections inherit. A Unix socket needs none.
fn prepare(listener: &Listener, config: &Config) -> io::Result<()> {
    if matches!(listener.address, Address::Unix(_)) {
        return Ok(());
    }
    let keepalive = config.keepalive;
    bind::set_tcp_options(
        &listener.fd,
        PeerDetection {
            idle: keepalive.idle,
            interval: keepalive.interval,
            user_timeout: keepalive.user_timeout(config.timeouts.idle),
        },
    )
}

fn refused(address: &Address, error: &io::Error) -> ListenError {
    let text = match (address, error.kind()) {
        (Address::Tcp { at, .. }, io::ErrorKind::AddrInUse) => {
            return ListenError::InUse(format!(
                "port {} on {} is in use; stop the process that uses it, or choose another with --port or \
                 --listen",
                at.port(),
                at.ip()
            ));
        }
        (Address::Tcp { at, .. }, io::ErrorKind::PermissionDenied) => format!(
            "this user may not listen on port {}; choose a port from 1024 on with --port or --listen",
            at.port()
        ),
        (Address::Tcp { at, .. }, _) => {
            let text = format!(
                "cannot listen on {at}: {error}; choose another address with --host and --port, or \
                 --listen"
            );
            if bind::is_absent(error) {
                return ListenError::Absent(text);
            }
            text
        }
        (Address::Unix(path), _) => format!(
            "cannot listen on {}: {error}; choose a path in a folder that this user can write to",
            path.display()
        ),
    };
    ListenError::Other(text)
}

fn inherited(config: &Config) -> Result<Vec<Listener>, ListenError> {
    let found = sys::inherited_sockets().map_err(|error| {
        ListenError::Other(format!(
            "cannot inherit sockets: {error}; correct or unset LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES"
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

/// Adopts an inherited listening socket, which other processes may share.
fn adopt((fd, name): (OwnedFd, String)) -> Result<Listener, ListenError> {
    let listens = bind::is_listening(&fd);
    let address = bound_address(&fd).filter(|_| listens).ok_or_else(|| {
        ListenError::Other(format!(
            "the inherited descriptor {name:?} is not a listening stream socket; use ListenStream= \
             and Accept=no"
        ))
    })?;
    bind::set_nonblocking(&fd).map_err(|error| refused(&address, &error))?;
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

/// The address that `fd` is bound to, with the port that the kernel chose.
fn bound_address(fd: &OwnedFd) -> Option<Address> {
    Some(match bind::bound_to(fd)? {
        BoundTo::Tcp { at, dual_stack } => Address::Tcp { at, dual_stack },
        BoundTo::Unix(path) => Address::Unix(path),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::cli::Cli;
    use clap::Parser;
    use std::{
        fs,
        os::unix::{
            fs::PermissionsExt,
            net::{UnixListener, UnixStream},
        },
        path::PathBuf,
    };

    fn default_config() -> Config {
        Config::from_cli(Cli::parse_from(["httpipe"])).expect("valid options")
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
    fn a_file_that_is_not_a_socket_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = path_in(&folder);
        fs::write(&path, "kept").expect("a free path");
        let refused = open(
            &Address::Unix(path.clone()),
            Audience::Everyone,
            &default_config(),
        );
        let refused = refused.expect_err("it is not a socket").to_string();
        assert!(refused.contains("not a socket"), "{refused}");
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

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        let parsed = texts.iter().map(|text| text.parse().expect("an address"));
        parsed.collect()
    }

    #[test]
    fn every_address_of_a_name_is_listened_on_with_one_port() {
        let named = addresses(&["127.0.0.1:0", "127.0.0.2:0", "127.0.0.3:0"]);
        let opened = open_each(&named, &default_config()).expect("free addresses");
        let port = opened[0].address.port().expect("TCP");
        assert_ne!(port, 0);
        for (listener, at) in opened.iter().zip(&named) {
            let at = SocketAddr::new(at.ip(), port);
            let dual_stack = false;
            assert_eq!(listener.address, Address::Tcp { at, dual_stack });
        }
        assert_eq!(opened.len(), named.len());
    }

    #[test]
    fn an_address_that_this_machine_does_not_have_is_skipped_unless_the_name_has_no_other() {
        // RFC 5737: no machine has it.
        let one = addresses(&["198.51.100.1:0", "127.0.0.1:0"]);
        let opened = open_each(&one, &default_config()).expect("a free address");
        assert_eq!(opened.len(), 1);
        let none = addresses(&["198.51.100.1:0", "203.0.113.1:0"]);
        let refused = open_each(&none, &default_config()).expect_err("no address");
        assert!(matches!(refused, ListenError::Absent(_)), "{refused}");
    }

    #[test]
    fn an_address_in_use_is_an_error_also_if_the_name_has_another() {
        let taken = std::net::TcpListener::bind("127.0.0.2:0").expect("a free port");
        let port = taken.local_addr().expect("bound").port();
        let named = [format!("127.0.0.1:{port}"), format!("127.0.0.2:{port}")];
        let named = addresses(&[&named[0], &named[1]]);
        let refused = open_each(&named, &default_config()).expect_err("in use");
        assert!(matches!(refused, ListenError::InUse(_)), "{refused}");
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
