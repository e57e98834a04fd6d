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
                "it needs Linux 5.10 or newer, and a sandbox that passes io_uring on"
            }
            Some(Errno::NOMEM) => "raise the limit of locked memory (ulimit -l)",
            _ => "it needs Linux 5.10 or newer",
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

/// A shard's runtime. Build it on the thread that runs it.
pub struct Runtime(Kind);

enum Kind {
    IoUring(monoio::Runtime<IoUringDriver>, Ring),
    Epoll(monoio::Runtime<LegacyDriver>),
}

impl Runtime {
    /// # Errors
    /// The kernel refuses every kind of ring, or an epoll descriptor.
    pub fn new(driver: Driver, pool: &Pool) -> io::Result<Self> {
        let pool = || Box::new(pool.0.clone());
        let kind = match driver {
            Driver::IoUring => {
                let (ring, runtime) = Ring::best(|ring| {
                    RuntimeBuilder::<IoUringDriver>::new()
                        .uring_builder(ring.builder())
                        .attach_thread_pool(pool())
                        .build()
                })?;
                Kind::IoUring(runtime, ring)
            }
            Driver::Epoll => Kind::Epoll(
                RuntimeBuilder::<LegacyDriver>::new()
                    .attach_thread_pool(pool())
                    .build()?,
            ),
        };
        Ok(Self(kind))
    }

    /// Runs `future`, and the tasks it spawns, on the calling thread until it ends.
    pub fn run<F: Future>(self, future: F) -> F::Output {
        match self.0 {
            Kind::IoUring(mut runtime, _) => runtime.block_on(future),
            Kind::Epoll(mut runtime) => runtime.block_on(future),
        }
    }
}

/// The driver, and the flags of its ring.
impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::IoUring(_, ring) => write!(f, "{} ({})", Driver::IoUring, ring.flags()),
            Kind::Epoll(_) => Driver::Epoll.fmt(f),
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

/// The flags that a ring is set up with (`io_uring_setup(2)`). A kernel refuses flags that it does not
/// know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ring {
    /// Completions are processed only on the shard's thread, and only when it waits for them: Linux 6.1.
    Deferred,
    /// The kernel does not interrupt the shard's thread to process completions: Linux 5.19.
    Cooperative,
    Plain,
}

impl Ring {
    /// The best ring that `build` accepts, and what it built.
    ///
    /// # Errors
    /// It refuses every ring; this is why it refuses the plain one.
    fn best<T>(mut build: impl FnMut(Self) -> io::Result<T>) -> io::Result<(Self, T)> {
        for ring in [Self::Deferred, Self::Cooperative] {
            if let Ok(built) = build(ring) {
                return Ok((ring, built));
            }
        }
        Ok((Self::Plain, build(Self::Plain)?))
    }

    fn builder(self) -> io_uring::Builder {
        let mut builder = io_uring::IoUring::builder();
        match self {
            Self::Deferred => builder.setup_single_issuer().setup_defer_taskrun(),
            Self::Cooperative => builder.setup_coop_taskrun(),
            Self::Plain => &mut builder,
        };
        builder
    }

    const fn flags(self) -> &'static str {
        match self {
            Self::Deferred => "IORING_SETUP_SINGLE_ISSUER, IORING_SETUP_DEFER_TASKRUN",
            Self::Cooperative => "IORING_SETUP_COOP_TASKRUN",
            Self::Plain => "no setup flags",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A kernel that knows the flags of these rings only.
    fn kernel_with(known: &[Ring]) -> impl FnMut(Ring) -> io::Result<&'static str> {
        move |ring| match known.contains(&ring) {
            true => Ok(ring.flags()),
            false => Err(Errno::INVAL.into()),
        }
    }

    #[test]
    fn each_kernel_gets_the_best_ring_that_it_knows() {
        use Ring::{Cooperative, Deferred, Plain};
        let kernels: [(&str, &[Ring], Ring); 3] = [
            ("6.1", &[Deferred, Cooperative, Plain], Deferred),
            ("5.19", &[Cooperative, Plain], Cooperative),
            ("5.10", &[Plain], Plain),
        ];
        for (kernel, known, expected) in kernels {
            let (ring, built) = Ring::best(kernel_with(known)).expect("a plain ring");
            assert_eq!(
                (ring, built),
                (expected, expected.flags()),
                "Linux {kernel}"
            );
        }
    }

    #[test]
    fn a_kernel_that_refuses_every_ring_says_why() {
        let refused = Ring::best(|_| Err::<(), _>(Errno::NOMEM.into()));
        let error = refused.expect_err("none was built");
        assert_eq!(Errno::from_io_error(&error), Some(Errno::NOMEM));
    }

    #[test]
    fn a_ring_has_the_flags_that_it_names() {
        for ring in [Ring::Deferred, Ring::Cooperative, Ring::Plain] {
            let built: io::Result<io_uring::IoUring> = ring.builder().build(8);
            // The kernel may not know the flags, or refuse io_uring.
            if let Ok(built) = built {
                let single_issuer = ring.flags().contains("SINGLE_ISSUER");
                assert_eq!(built.params().is_setup_single_issuer(), single_issuer);
            }
        }
    }
}
