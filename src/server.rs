//! The server as a whole: binds, starts and joins the shards, and heeds signals.

use std::{
    fmt, io,
    net::SocketAddr,
    os::fd::OwnedFd,
    process,
    sync::{Arc, atomic::AtomicUsize, mpsc},
    thread,
    time::Duration,
};

use rustix::net::{
    AddressFamily, Shutdown, SocketFlags, SocketType, bind, getsockname, listen, shutdown,
    socket_with, sockopt,
};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};

use crate::{
    access::AccessLog,
    config::Config,
    limits, log,
    mesh::{Mesh, Message},
    runtime::{self, Driver, RingRefused},
    shard::Shared,
    sys, worker,
};

/// Why the server cannot run: one line that says what to do.
#[derive(Debug)]
pub enum ServerError {
    /// The address cannot be listened on.
    Listen(SocketAddr, io::Error),
    /// No io_uring here.
    Ring(RingRefused),
    /// A thread, a descriptor or a signal handler could not be had.
    Start(io::Error),
    /// A shard ended on its own account.
    Shard(String),
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen(address, error) if error.kind() == io::ErrorKind::AddrInUse => {
                write!(
                    f,
                    "port {} on {} is in use; stop who uses it or choose another with --port",
                    address.port(),
                    address.ip()
                )
            }
            Self::Listen(address, error) if error.kind() == io::ErrorKind::PermissionDenied => {
                write!(
                    f,
                    "port {} needs a privilege that this user lacks; choose one from 1024 on with --port",
                    address.port()
                )
            }
            Self::Listen(address, error) => {
                write!(
                    f,
                    "cannot listen on {address}: {error}; choose other values for --host and --port"
                )
            }
            Self::Ring(refused) => refused.fmt(f),
            Self::Start(error) => write!(f, "cannot start: {error}"),
            Self::Shard(reason) => write!(f, "a shard ended: {reason}; please report this"),
        }
    }
}

/// Runs the server until it is told to end, and everything under way has ended.
///
/// # Errors
/// It could not start, or a shard failed.
pub fn run(config: Config) -> Result<(), ServerError> {
    let driver = choose_driver(config.driver)?;
    let address = config.listen;
    let listener = open_listener(address, config.timeouts.idle)
        .map_err(|error| ServerError::Listen(address, error))?;
    let address = bound_address(&listener).unwrap_or(address);
    let shared = Arc::new(Shared {
        mesh: Mesh::new(config.shards).map_err(ServerError::Start)?,
        connections: AtomicUsize::new(0),
        access: config.access.map(AccessLog::new),
        config,
    });
    let signals = Signals::new([SIGTERM, SIGINT]).map_err(ServerError::Start)?;

    let (ended, ends) = mpsc::channel();
    let (ready, readies) = mpsc::channel();
    let shards = shared.config.shards;
    for index in 0..shards {
        start_shard(
            index,
            driver,
            &shared,
            &listener,
            ready.clone(),
            ended.clone(),
        )
        .map_err(ServerError::Start)?;
    }
    drop((ready, ended));
    if readies.iter().take(shards).count() == shards {
        tracing::info!(
            "httpipe {} listening on http://{address} ({shards} shards, {driver})",
            env!("CARGO_PKG_VERSION")
        );
        heed_signals(signals, listener, &shared).map_err(ServerError::Start)?;
    }
    for end in ends.iter().take(shards) {
        end.map_err(|reason: String| ServerError::Shard(reason))?;
    }
    Ok(())
}

/// What the shards run on: what was asked for, or what the kernel gives.
fn choose_driver(asked: Option<Driver>) -> Result<Driver, ServerError> {
    if asked == Some(Driver::Epoll) {
        return Ok(Driver::Epoll);
    }
    match (runtime::probe(), asked) {
        (Ok(()), _) => Ok(Driver::IoUring),
        (Err(refused), Some(_)) => Err(ServerError::Ring(refused)),
        (Err(refused), None) => {
            tracing::warn!(
                "{refused}. Running on epoll, which costs more CPU for small requests; \
                 --driver epoll says so without this warning"
            );
            Ok(Driver::Epoll)
        }
    }
}

/// Binds and listens. Without `SO_REUSEPORT`, so that a taken port is an error; with `SO_REUSEADDR`,
/// so that a restart need not wait for old connections to time out (`socket(7)`).
fn open_listener(address: SocketAddr, idle: Option<Duration>) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let listener = socket_with(
        family,
        SocketType::STREAM,
        SocketFlags::NONBLOCK | SocketFlags::CLOEXEC,
        None,
    )?;
    sockopt::set_socket_reuseaddr(&listener, true)?;
    prepare(&listener, idle)?;
    bind(&listener, &address)?;
    listen(&listener, limits::LISTEN_BACKLOG)?;
    Ok(listener)
}

/// Options that accepted connections take over from their listener (`tcp(7)`): no delay for small
/// segments, because replies go out whole; and the kernel's watch for peers that vanish without a
/// word.
///
/// How long sent bytes may stay unacknowledged is bounded with a limit for idle exchanges only: the
/// kernel does not tell a vanished peer from one that keeps its window closed.
fn prepare(listener: &OwnedFd, idle: Option<Duration>) -> io::Result<()> {
    sockopt::set_tcp_nodelay(listener, true)?;
    sockopt::set_socket_keepalive(listener, true)?;
    sockopt::set_tcp_keepidle(listener, limits::KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(listener, limits::KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(listener, limits::KEEPALIVE_PROBES)?;
    if let Some(idle) = idle {
        let millis = u32::try_from(idle.as_millis()).unwrap_or(u32::MAX);
        sockopt::set_tcp_user_timeout(listener, millis)?;
    }
    Ok(())
}

fn bound_address(listener: &OwnedFd) -> Option<SocketAddr> {
    getsockname(listener).ok()?.try_into().ok()
}

/// Starts the thread of shard `index`. It says on `ready` that it takes connections, and on `ended`
/// how it ended.
fn start_shard(
    index: usize,
    driver: Driver,
    shared: &Arc<Shared>,
    listener: &OwnedFd,
    ready: mpsc::Sender<()>,
    ended: mpsc::Sender<Result<(), String>>,
) -> io::Result<()> {
    let listener = listener.try_clone()?;
    let shared = Arc::clone(shared);
    let run = move || {
        if shared.config.shards == sys::allowed_cores() {
            sys::pin_to_core(index);
        }
        let ready = move || {
            let _ = ready.send(());
        };
        // Returning drops the runtime only after every connection is closed and its loops, which
        // own nothing that the kernel writes to, are all that is left.
        runtime::run(driver, worker::run(index, shared, listener, ready))
            .and_then(|ended| ended)
            .map_err(|error| error.to_string())
    };
    thread::Builder::new()
        .name(format!("shard-{index}"))
        .spawn(move || {
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
            let _ = ended.send(outcome.unwrap_or_else(|_| Err("it panicked".to_owned())));
        })?;
    Ok(())
}

/// The first SIGTERM or SIGINT ends the server once everything under way has ended; the second ends
/// it at once.
fn heed_signals(mut signals: Signals, listener: OwnedFd, shared: &Arc<Shared>) -> io::Result<()> {
    let shared = Arc::clone(shared);
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            let mut received = signals.forever();
            if received.next().is_some() {
                tracing::info!(
                    "shutting down: waiting requests are turned away, exchanges may end"
                );
                // Newcomers are refused by the kernel from here on, and every shard's wait on the
                // listener ends.
                let _ = shutdown(&listener, Shutdown::Both);
                for shard in 0..shared.config.shards {
                    shared.mesh.send(shard, Message::Drain);
                }
            }
            if received.next().is_some() {
                tracing::warn!("told twice to end: ending at once");
                log::close();
                process::exit(1);
            }
        })?;
    Ok(())
}
