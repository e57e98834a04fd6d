//! What httpipe asks of the kernel beyond sockets: limits, cores, marks, wake-ups, timers, inherited
//! descriptors, what TCP knows of a peer. The only file with `unsafe`.
#![allow(unsafe_code)]

use std::{
    io,
    mem::MaybeUninit,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use rustix::{
    event::{EventfdFlags, eventfd},
    process::{Resource, Rlimit, getrlimit, setrlimit},
    thread::sched_getaffinity,
    time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    },
};

/// The descriptor inside `owner`, borrowed for as long as `owner` is.
pub fn borrow_fd<T: AsRawFd>(owner: &T) -> BorrowedFd<'_> {
    // SAFETY: `owner` owns an open descriptor (that is what its `AsRawFd` promises of monoio's
    // stream types, which do not implement `AsFd`), and the borrow keeps it from being dropped.
    unsafe { BorrowedFd::borrow_raw(owner.as_raw_fd()) }
}

/// Takes the descriptor out of `owner`.
pub fn take_fd<T: IntoRawFd>(owner: T) -> OwnedFd {
    // SAFETY: `into_raw_fd` gave up ownership of an open descriptor; nobody else closes it.
    unsafe { OwnedFd::from_raw_fd(owner.into_raw_fd()) }
}

/// The listening sockets that this process was started with, each with its name, in their order
/// (`sd_listen_fds(3)`): none unless `LISTEN_PID` is this process. Only the first call in a process
/// gets them.
///
/// # Errors
/// `LISTEN_PID`, `LISTEN_FDS` and `LISTEN_FDNAMES` make no sense, or a descriptor is not open.
pub fn inherited_sockets() -> io::Result<Vec<(OwnedFd, String)>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Ok(Vec::new());
    }
    let found = sd_notify::listen_fds_with_names()?;
    // SAFETY: who started this process says that these descriptors are for it to own, and the crate
    // found each of them open; nobody else takes them, because `TAKEN` lets only one call come here.
    let owned = |(fd, name)| (unsafe { OwnedFd::from_raw_fd(fd) }, name);
    Ok(found.map(owned).collect())
}

/// The cores that this process may run on (`sched_getaffinity(2)`), at least 1.
#[must_use]
pub fn allowed_cores() -> usize {
    sched_getaffinity(None).map_or(1, |set| set.count().max(1) as usize)
}

/// Raises the limit of open files to its hard limit and returns what holds then.
#[must_use]
pub fn raise_open_files_limit() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let holds = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    holds.map_or(usize::MAX, |files| {
        usize::try_from(files).unwrap_or(usize::MAX)
    })
}

/// A descriptor that other threads write to in order to wake its reader (`eventfd(2)`).
///
/// # Errors
/// No descriptor was free.
pub fn bell() -> io::Result<OwnedFd> {
    Ok(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)
}

/// Rings a [`bell`]. Cannot fail for want of room: that would take 2^64 rings unheard.
pub fn ring(bell: &OwnedFd) {
    let _ = rustix::io::write(bell, &1u64.to_ne_bytes());
}

/// Takes the count out of a [`bell`] or a [`timer`], so that it is readable again at the next one.
pub fn silence(fd: &impl AsFd) {
    let _ = rustix::io::read(fd, &mut [0u8; 8]);
}

/// A descriptor that becomes readable when its time is up, and stands still until it is armed
/// (`timerfd_create(2)`).
///
/// # Errors
/// No descriptor was free.
pub fn timer() -> io::Result<OwnedFd> {
    let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
    Ok(timerfd_create(TimerfdClockId::Monotonic, flags)?)
}

/// Lets a wait for readability of `socket` end only when `bytes` are there, or the end of the stream
/// (`SO_RCVLOWAT`, `socket(7)`). Lowering it wakes a wait that has become ready by that.
pub fn set_receive_mark(socket: &impl AsFd, bytes: i32) {
    let value = std::ptr::from_ref(&bytes);
    // SAFETY: the descriptor is open for as long as it is borrowed, and the kernel reads `size_of`
    // bytes of an `i32` that lives through the call.
    unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVLOWAT,
            value.cast(),
            size_of::<i32>() as libc::socklen_t,
        );
    }
}

/// How long a peer has not been heard of (`tcp(7)`, `TCP_INFO`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unheard {
    /// Since its last bytes or its last acknowledgement.
    pub since: Duration,
    /// How many segments in a row, or probes of a window that is closed, went unanswered.
    pub unanswered: u8,
}

/// What TCP knows of the peer of `socket`; nothing is unheard where that is not TCP.
pub fn unheard(socket: &impl AsFd) -> Unheard {
    let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
    let mut size = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: the descriptor is open for as long as it is borrowed; the kernel writes at most `size`
    // bytes to `info`, which has that many, and any bytes, zeroes among them, are a `tcp_info`.
    let info = unsafe {
        let fd = socket.as_fd().as_raw_fd();
        let to = info.as_mut_ptr().cast();
        libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, to, &raw mut size);
        info.assume_init()
    };
    let last = info.tcpi_last_ack_recv.min(info.tcpi_last_data_recv);
    Unheard {
        since: Duration::from_millis(last.into()),
        unanswered: info.tcpi_retransmits.max(info.tcpi_probes),
    }
}

/// Lets a [`timer`] that stands still fire once, after `delay`.
pub fn arm(timer: &impl AsFd, delay: Duration) {
    let once = Itimerspec {
        it_interval: Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        },
        it_value: timespec(delay),
    };
    let _ = timerfd_settime(timer, TimerfdTimerFlags::empty(), &once);
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: duration.as_secs() as _,
        tv_nsec: i64::from(duration.subsec_nanos()) as _,
    }
}
