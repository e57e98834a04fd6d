//! The runtime of a shard: io_uring, or epoll if the kernel refuses io_uring.

use std::{fmt, future::Future, io};

use monoio::{IoUringDriver, LegacyDriver, RuntimeBuilder, blocking::DefaultThreadPool};
use rustix::io::Errno;

/// How the kernel reports readiness to a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// `io_uring(7)`.
    IoUring,
    /// `epoll(7)`.
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

/// Why the kernel refuses io_uring.
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

/// Checks that the kernel allows io_uring.
///
/// # Errors
/// It does not. The text tells what to do.
pub fn probe() -> Result<(), RingRefused> {
    match io_uring::IoUring::new(8) {
        Ok(_ring) => Ok(()),
        Err(error) => Err(RingRefused(error)),
    }
}

/// The thread for work that would block a shard. One for all shards, so that such work uses at most one
/// core.
#[derive(Clone)]
pub struct Pool(DefaultThreadPool);

impl Pool {
    #[must_use]
    pub fn start() -> Self {
        Self(DefaultThreadPool::new(1))
    }
}

/// Runs `future`, and the tasks it spawns, on the calling thread until it ends.
///
/// # Errors
/// The kernel refuses every kind of ring, or an epoll descriptor.
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

/// Runs `work` on the pool and waits for its result.
///
/// # Panics
/// If `work` panics.
pub async fn run_blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let done = monoio::spawn_blocking(work).await;
    done.unwrap_or_else(|error| panic!("blocking work did not finish: {error:?}"))
}

/// Spawns `task` on the calling thread's runtime. A panic in it ends the thread.
pub fn spawn(task: impl Future<Output = ()> + 'static) {
    monoio::spawn(task);
}

/// A runtime whose ring processes completions only on this thread, and only when it waits for them
/// (`SINGLE_ISSUER`, `DEFER_TASKRUN`; Linux 6.1). Older kernels get the flags that they support.
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
