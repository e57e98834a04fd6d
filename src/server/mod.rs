//! The server as a whole: listens, starts and joins the shards, and heeds signals.

pub mod listener;
pub mod systemd;

use std::{
    fmt, io, process,
    sync::{Arc, mpsc},
    thread,
};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};

use crate::{
    config::Config,
    io::runtime::{self, Driver, RingRefused},
    observe::log,
    server::listener::{Door, ListenError, Listener, Role},
    shard::{Shared, mesh::Message},
    worker,
};

/// Why the server cannot run: one line that says what to do.
#[derive(Debug)]
pub enum ServerError {
    /// An address cannot be listened on.
    Listen(ListenError),
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
            Self::Listen(error) => error.fmt(f),
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
    // Before there is a socket's file that a signal would leave behind.
    let signals = Signals::new([SIGTERM, SIGINT]).map_err(ServerError::Start)?;
    let listeners = Arc::new(listener::open_all(&config).map_err(ServerError::Listen)?);
    let shared = Shared::new(config, &listeners).map_err(ServerError::Start)?;
    let ended = run_shards(driver, &Arc::new(shared), &listeners, signals);
    // The thread that heeds signals has them too, and goes on.
    listeners.iter().for_each(Listener::close);
    ended
}

fn run_shards(
    driver: Driver,
    shared: &Arc<Shared>,
    listeners: &Arc<Vec<Listener>>,
    signals: Signals,
) -> Result<(), ServerError> {
    let (ended, ends) = mpsc::channel();
    let (ready, readies) = mpsc::channel();
    let shards = shared.config.shards;
    for index in 0..shards {
        let doors = doors(listeners, index).map_err(ServerError::Start)?;
        start_shard(index, driver, shared, doors, ready.clone(), ended.clone())
            .map_err(ServerError::Start)?;
    }
    drop((ready, ended));
    if readies.iter().take(shards).count() == shards {
        tell_ready(listeners, shards, driver);
        systemd::start_watchdog(shared).map_err(ServerError::Start)?;
        heed_signals(signals, Arc::clone(listeners), shared).map_err(ServerError::Start)?;
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

/// What shard `index` accepts on: all that is for clients. The first shard alone serves operators,
/// who are few.
fn doors(listeners: &[Listener], index: usize) -> io::Result<Vec<Door>> {
    let of_this_shard = |known: &&Listener| known.role == Role::Public || index == 0;
    listeners
        .iter()
        .filter(of_this_shard)
        .map(Listener::door)
        .collect()
}

/// Says where it listens, a line an address, in the log and to the service manager.
fn tell_ready(listeners: &[Listener], shards: usize, driver: Driver) {
    let version = env!("CARGO_PKG_VERSION");
    for Listener { address, role, .. } in listeners {
        match role {
            Role::Public => {
                let s = if shards == 1 { "" } else { "s" };
                tracing::info!(
                    "httpipe {version} listening on {address} ({shards} shard{s}, {driver})"
                );
            }
            Role::Admin => tracing::info!("httpipe {version} serving operators on {address}"),
        }
    }
    systemd::ready(listeners);
}

/// Starts the thread of shard `index`, on whatever core the scheduler finds for it: pinned to cores
/// that clients and interrupts share, pairs on random channels cost 38 µs of CPU each instead of 28
/// (medians of 3 runs, 2 shards on 2 cores). It says on `ready` that it takes connections, and on
/// `ended` how it ended.
fn start_shard(
    index: usize,
    driver: Driver,
    shared: &Arc<Shared>,
    doors: Vec<Door>,
    ready: mpsc::Sender<()>,
    ended: mpsc::Sender<Result<(), String>>,
) -> io::Result<()> {
    let shared = Arc::clone(shared);
    let run = move || {
        let ready = move || {
            let _ = ready.send(());
        };
        // Returning drops the runtime only after every connection is closed and its loops, which
        // own nothing that the kernel writes to, are all that is left.
        runtime::run(driver, worker::run(index, shared, doors, ready))
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
fn heed_signals(
    mut signals: Signals,
    listeners: Arc<Vec<Listener>>,
    shared: &Arc<Shared>,
) -> io::Result<()> {
    let shared = Arc::clone(shared);
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            let mut received = signals.forever();
            if received.next().is_some() {
                tracing::info!(
                    "shutting down: waiting requests are turned away, exchanges may end"
                );
                systemd::stopping();
                // Operators are served to the end.
                let public = |known: &&Listener| known.role == Role::Public;
                listeners.iter().filter(public).for_each(Listener::withdraw);
                for shard in 0..shared.config.shards {
                    shared.mesh.send(shard, Message::Drain);
                }
            }
            if received.next().is_some() {
                tracing::warn!("told twice to end: ending at once");
                listeners.iter().for_each(Listener::close);
                log::close();
                process::exit(1);
            }
        })?;
    Ok(())
}
