//! The process: opens the log and the listeners, starts and joins the shards.

mod listener;
mod signals;
mod socket_file;
mod systemd;

use std::{
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, mpsc},
    thread,
};

use signal_hook::iterator::Signals;

use crate::{
    config::Config,
    io::runtime::{self, Driver, Pool, RingRefused, Runtime},
    model::audience::Audience,
    observe::{log, process},
    shard::shared::Shared,
    worker::{self, accept::ListenerHandle},
};

use self::listener::{ListenError, Listener};

/// Why the server cannot run. Its text is one line, with advice if there is any.
#[derive(Debug)]
pub enum ServerError {
    /// An address cannot be listened on.
    Listen(ListenError),
    /// `--driver io_uring`, and the kernel refuses io_uring.
    Ring(RingRefused),
    /// A thread, a descriptor or a signal handler could not be created.
    Start(io::Error),
    /// A shard ended without a drain.
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

/// Runs the server until a signal arrives and all exchanges have ended.
///
/// # Errors
/// It could not start, or a shard failed.
pub fn run(config: Config) -> Result<(), ServerError> {
    process::begin();
    let signals = signals::catch().map_err(ServerError::Start)?;
    let _open = log::open(config.log, config.access.is_some());
    if config.descriptors.are_few() {
        tracing::warn!("{}", config.descriptors);
    }
    let driver = choose_driver(config.driver)?;
    let listeners = Arc::new(listener::open_all(&config).map_err(ServerError::Listen)?);
    let clients = || {
        listeners
            .iter()
            .filter(|known| known.audience.has_clients())
    };
    let port = clients().find_map(|known| known.address.port());
    let shared = Shared::new(config, clients().count(), port).map_err(ServerError::Start)?;
    let ended = run_shards(driver, &Arc::new(shared), &listeners, signals);
    // Dropping them is not enough: the signal thread also holds them.
    listeners.iter().for_each(Listener::close);
    ended
}

fn run_shards(
    driver: Driver,
    shared: &Arc<Shared>,
    listeners: &Arc<Vec<Listener>>,
    signals: Signals,
) -> Result<(), ServerError> {
    let shards = shared.config.shards;
    let (ended, ends) = mpsc::channel();
    let (ready, readies) = mpsc::channel();
    let pool = Pool::start();
    for index in 0..shards {
        let start = ShardStart {
            index,
            driver,
            pool: pool.clone(),
            shared: Arc::clone(shared),
            listeners: handles(listeners, index).map_err(ServerError::Start)?,
            ready: ready.clone(),
        };
        start.spawn(ended.clone()).map_err(ServerError::Start)?;
    }
    drop((ready, ended));
    if readies.iter().take(shards).count() == shards {
        tell_ready(listeners, shards, driver);
        systemd::start_watchdog(shared).map_err(ServerError::Start)?;
        signals::act_on(signals, Arc::clone(listeners), shared).map_err(ServerError::Start)?;
    }
    for end in ends.iter().take(shards) {
        end.map_err(|reason: String| ServerError::Shard(reason))?;
    }
    Ok(())
}

/// The configured driver; without one, io_uring if the kernel allows it.
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
                 --driver epoll does the same without this warning"
            );
            Ok(Driver::Epoll)
        }
    }
}

/// The listeners of shard `index`: all those for clients. Operators are few, so only the first shard
/// serves them.
fn handles(listeners: &[Listener], index: usize) -> io::Result<Vec<ListenerHandle>> {
    let of_this_shard = |known: &&Listener| known.audience.has_clients() || index == 0;
    listeners
        .iter()
        .filter(of_this_shard)
        .map(Listener::handle)
        .collect()
}

/// Reports each address in a log line of its own, and readiness to the service manager.
fn tell_ready(listeners: &[Listener], shards: usize, driver: Driver) {
    let version = env!("CARGO_PKG_VERSION");
    for Listener {
        address, audience, ..
    } in listeners
    {
        match audience {
            Audience::Everyone | Audience::Clients => {
                let s = if shards == 1 { "" } else { "s" };
                tracing::info!(
                    "httpipe {version} listening on {address} ({shards} shard{s}, {driver})"
                );
            }
            Audience::Operators => {
                tracing::info!("httpipe {version} serving operators on {address}")
            }
        }
    }
    systemd::ready(listeners);
}

/// The arguments of a shard's thread.
struct ShardStart {
    index: usize,
    driver: Driver,
    pool: Pool,
    shared: Arc<Shared>,
    listeners: Vec<ListenerHandle>,
    /// Receives one message when the shard accepts connections.
    ready: mpsc::Sender<()>,
}

impl ShardStart {
    /// Starts the thread. It sends the shard's result on `ended`. The thread is not pinned to a core: on
    /// cores shared with clients and interrupts, pinning raised the CPU time of a pair on random
    /// channels from 28 to 38 µs (medians of 3 runs, 2 shards on 2 cores).
    fn spawn(self, ended: mpsc::Sender<Result<(), String>>) -> io::Result<()> {
        let name = format!("shard-{}", self.index);
        thread::Builder::new().name(name).spawn(move || {
            let outcome = catch_unwind(AssertUnwindSafe(|| self.run()));
            // Fails only if the main thread is exiting after an error.
            let _ = ended.send(outcome.unwrap_or_else(|_| Err("it panicked".to_owned())));
        })?;
        Ok(())
    }

    fn run(self) -> Result<(), String> {
        let ready = move || {
            // As in `spawn`.
            let _ = self.ready.send(());
        };
        let runtime = Runtime::new(self.driver, &self.pool).map_err(|error| error.to_string())?;
        tracing::debug!("shard {} runs on {runtime}", self.index);
        let shard = worker::run(self.index, self.shared, self.listeners, ready);
        // When this returns and drops the runtime, all connections are closed. Only the shard's loops
        // are left, and they have lent no memory to the kernel.
        runtime.run(shard).map_err(|error| error.to_string())
    }
}
