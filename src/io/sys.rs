//! System calls that no safe crate offers in the form needed here. The only file with `unsafe`.
#![allow(unsafe_code)]

use std::{
    io,
    mem::MaybeUninit,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
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
    // SAFETY: the parent process says that these descriptors are ours to own, and the crate found
    // each of them open; nobody else takes them, because `TAKEN` lets only one call come here.
    let owned = |(fd, name)| (unsafe { OwnedFd::from_raw_fd(fd) }, name);
    Ok(found.map(owned).collect())
}

/// Lets a wait for readability of `socket` end only when `bytes` are there, or the end of the stream
/// (`SO_RCVLOWAT`, `socket(7)`). Lowering it wakes a wait that has become ready by that.
pub fn set_low_water(socket: &impl AsFd, bytes: i32) {
    let value = std::ptr::from_ref(&bytes);
    // SAFETY: the descriptor is open for as long as it is borrowed, and the kernel reads `size_of`
    // bytes of an `i32` that lives through the call.
    let refused = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVLOWAT,
            value.cast(),
            size_of::<i32>() as libc::socklen_t,
        )
    };
    debug_assert_eq!(refused, 0, "every stream socket takes a low-water mark");
}

/// How long a peer has not been heard of (`tcp(7)`, `TCP_INFO`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unheard {
    /// Since its last bytes or its last acknowledgement.
    pub since: Duration,
    /// How many segments in a row, or probes of a closed window, went unanswered.
    pub unanswered: u8,
}

/// What TCP knows of the peer of `socket`; zero where the socket is not TCP.
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
