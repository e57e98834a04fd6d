//! What a shard's tasks run on: io_uring, or epoll where the kernel refuses a ring.

use std::{fmt, future::Future, io};

use monoio::{IoUringDriver, LegacyDriver, RuntimeBuilder, blocking::DefaultThreadPool};
use rustix::io::Errno;

/// How the kernel tells a shard which of its sockets are ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// Through a ring (`io_uring(7)`).
    IoUring,
    /// By `epoll(7)`.
    Epoll,
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::IoUring => "io_uring",
            Self::Epoll => "epoll",
        })
    }
}

/// Why there is no ring to be had here.
#[derive(Debug)]
pub struct RingRefused(io::Error);

impl fmt::Display for RingRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let advice = match self.0.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::PERM | Errno::ACCESS) => {
                "allow it: sysctl kernel.io_uring_disabled=0, or a seccomp profile with io_uring_setup, \
                 io_uring_enter and io_uring_register (Docker's default has none)"
            }
            Some(Errno::NOSYS) => {
                "it needs Linux 5.11 or newer, and a sandbox that passes io_uring on"
            }
            Some(Errno::NOMEM) => "raise the limit of locked memory (ulimit -l)",
            _ => "it needs Linux 5.11 or newer",
        };
        write!(f, "this kernel refuses io_uring ({}); {advice}", self.0)
    }
}

/// Checks that the kernel gives out rings.
///
/// # Errors
/// It does not, with what to do about it.
pub fn probe() -> Result<(), RingRefused> {
    match io_uring::IoUring::new(8) {
        Ok(_ring) => Ok(()),
        Err(error) => Err(RingRefused(error)),
    }
}

/// Threads for what takes too long for a shard. One for all shards, so that it takes no more than one
/// core's share however much there is.
#[derive(Clone)]
pub struct Pool(DefaultThreadPool);

impl Pool {
    /// Starts the thread.
    #[must_use]
    pub fn start() -> Self {
        Self(DefaultThreadPool::new(1))
    }
}

/// Runs `future`, and the tasks it spawns, on the calling thread until it ends.
///
/// # Errors
/// The kernel gives out no ring of any kind, or no epoll descriptor.
pub fn run<F: Future>(driver: Driver, pool: Pool, future: F) -> io::Result<F::Output> {
    match driver {
        Driver::IoUring => Ok(ring(&pool)?.block_on(future)),
        Driver::Epoll => {
            let mut runtime = RuntimeBuilder::<LegacyDriver>::new()
                .attach_thread_pool(Box::new(pool.0))
                .build()?;
            Ok(runtime.block_on(future))
        }
    }
}

/// Runs `work` on a thread of the pool and waits for what it returns.
///
/// # Panics
/// If `work` panics.
pub async fn run_blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let done = monoio::spawn_blocking(work).await;
    done.unwrap_or_else(|error| panic!("the work of another thread did not end: {error:?}"))
}

/// Runs `task` beside the others of the calling thread's runtime. A panic in it ends the thread.
pub fn spawn(task: impl Future<Output = ()> + 'static) {
    monoio::spawn(task);
}

/// A runtime whose ring runs completions on this thread when it asks for them, and on no other
/// (`SINGLE_ISSUER`, `DEFER_TASKRUN`; Linux 6.1); older kernels get what they know.
fn ring(pool: &Pool) -> io::Result<monoio::Runtime<IoUringDriver>> {
    let mut deferred = io_uring::IoUring::builder();
    deferred.setup_single_issuer().setup_defer_taskrun();
    let mut cooperative = io_uring::IoUring::builder();
    cooperative.setup_coop_taskrun();
    let plain = io_uring::IoUring::builder();
    let build = |rings| {
        RuntimeBuilder::<IoUringDriver>::new()
            .uring_builder(rings)
            .attach_thread_pool(Box::new(pool.0.clone()))
            .build()
    };
    build(deferred)
        .or_else(|_| build(cooperative))
        .or_else(|_| build(plain))
}
