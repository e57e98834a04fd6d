//! The io_uring runtime of a shard, and why a kernel may refuse one.

use std::{fmt, io};

use monoio::{IoUringDriver, Runtime, RuntimeBuilder};

/// Why there is no ring to be had here.
#[derive(Debug)]
pub struct RingRefused(io::Error);

impl fmt::Display for RingRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let advice = match self
            .0
            .raw_os_error()
            .map(rustix::io::Errno::from_raw_os_error)
        {
            Some(rustix::io::Errno::PERM | rustix::io::Errno::ACCESS) => {
                "allow it: sysctl kernel.io_uring_disabled=0, or a seccomp profile with io_uring_setup, \
                 io_uring_enter and io_uring_register (Docker's default has none)"
            }
            Some(rustix::io::Errno::NOSYS) => {
                "it needs Linux 5.11 or newer, and a sandbox that passes io_uring on"
            }
            Some(rustix::io::Errno::NOMEM) => "raise the limit of locked memory (ulimit -l)",
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

/// Builds the runtime of the calling thread.
///
/// Rings are set up to run completions on this thread when it asks for them, and on no other
/// (`SINGLE_ISSUER`, `DEFER_TASKRUN`; Linux 6.1); older kernels get what they know.
///
/// # Errors
/// The kernel refuses a ring of any kind.
pub fn build() -> io::Result<Runtime<IoUringDriver>> {
    let mut deferred = io_uring::IoUring::builder();
    deferred.setup_single_issuer().setup_defer_taskrun();
    let mut cooperative = io_uring::IoUring::builder();
    cooperative.setup_coop_taskrun();
    let plain = io_uring::IoUring::builder();
    let build = |rings| {
        RuntimeBuilder::<IoUringDriver>::new()
            .uring_builder(rings)
            .build()
    };
    build(deferred)
        .or_else(|_| build(cooperative))
        .or_else(|_| build(plain))
}
