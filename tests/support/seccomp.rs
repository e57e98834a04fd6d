//! A kernel that refuses system calls: what a container's seccomp profile (`seccomp(2)`) does to the
//! executable. Must never filter a thread that other tests run on.

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch, apply_filter};
use std::collections::BTreeMap;
use std::env::consts::ARCH;
use std::thread;

/// Runs `work` on a thread of its own to which the kernel gives out no ring, and returns what it
/// returns; what `work` starts inherits the refusal, for good. The three calls of `io_uring(7)` end
/// with `EPERM`, as Docker's default profile and Podman's have it.
///
/// The filter needs no privilege: it comes with `PR_SET_NO_NEW_PRIVS`.
#[track_caller]
pub fn without_io_uring<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let refused = [
        libc::SYS_io_uring_setup,
        libc::SYS_io_uring_enter,
        libc::SYS_io_uring_register,
    ];
    let filter = SeccompFilter::new(
        // No condition on the arguments: the call is refused whatever they are.
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
