//! A kernel that refuses system calls, as a container's seccomp profile (`seccomp(2)`) makes it do.
//! Must never filter a thread that other tests run on.

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch, apply_filter};
use std::collections::BTreeMap;
use std::env::consts::ARCH;
use std::thread;

/// Runs `work` on a new thread on which the kernel refuses io_uring, and returns its result;
/// processes that `work` starts inherit the filter for ever. The three calls of `io_uring(7)` fail
/// with `EPERM`, as with the default profiles of Docker and Podman.
///
/// The filter needs no privilege: it sets `PR_SET_NO_NEW_PRIVS`.
#[track_caller]
pub fn without_io_uring<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let refused = [
        libc::SYS_io_uring_setup,
        libc::SYS_io_uring_enter,
        libc::SYS_io_uring_register,
    ];
    let filter = SeccompFilter::new(
        // No condition on the arguments: the call is always refused.
        BTreeMap::from(refused.map(|call| (call, Vec::new()))),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::EPERM as u32),
        TargetArch::try_from(ARCH).expect("an architecture that the filter knows"),
    );
    let program = filter.and_then(BpfProgram::try_from);
    let program = program.expect("the list above makes a filter");
    let filtered = move || {
        apply_filter(&program).expect("the kernel has seccomp filters");
        work()
    };
    let done = thread::scope(|scope| scope.spawn(filtered).join());
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
