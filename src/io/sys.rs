//! System calls that no safe crate offers in the required form. The only file with `unsafe`.
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
    // SAFETY: `owner` owns an open descriptor, as all monoio streams do (they implement `AsRawFd` but not
    // `AsFd`), and the borrow keeps `owner` alive.
    unsafe { BorrowedFd::borrow_raw(owner.as_raw_fd()) }
}

/// Takes the descriptor out of `owner`.
pub fn take_fd<T: IntoRawFd>(owner: T) -> OwnedFd {
    // SAFETY: `into_raw_fd` transfers ownership of an open descriptor to this function.
    unsafe { OwnedFd::from_raw_fd(owner.into_raw_fd()) }
}

/// The inherited listening sockets with their names, in order (`sd_listen_fds(3)`): none unless
/// `LISTEN_PID` is this process. Only the first call in a process returns them.
///
/// # Errors
/// `LISTEN_PID`, `LISTEN_FDS` or `LISTEN_FDNAMES` is invalid, or a descriptor is not open.
pub fn inherited_sockets() -> io::Result<Vec<(OwnedFd, String)>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Ok(Vec::new());
    }
    let found = sd_notify::listen_fds_with_names()?;
    // SAFETY: the parent process passed these descriptors to this process, the crate checked that each
    // is open, and `TAKEN` admits only one call, so each has one owner.
    let owned = |(fd, name)| (unsafe { OwnedFd::from_raw_fd(fd) }, name);
    Ok(found.map(owned).collect())
}

/// Ignores `signal` from here on, in the whole process (`signal(2)`).
pub fn ignore_signal(signal: i32) {
    // SAFETY: no code runs when the signal arrives, and nothing here depends on its former action.
    let former = unsafe { libc::signal(signal, libc::SIG_IGN) };
    debug_assert_ne!(former, libc::SIG_ERR, "signal {signal} can be ignored");
}

/// Gives the free memory of the heap back to the kernel (`malloc_trim(3)`). Other allocators than glibc's
/// do so by themselves.
pub fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the function is MT-Safe (attributes(7)) and touches only memory that is not allocated.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Sets how many received bytes, or the end of the stream, make `socket` readable (`SO_RCVLOWAT`,
/// `socket(7)`). Lowering it wakes a wait that is ready then.
pub fn set_low_water(socket: &impl AsFd, bytes: i32) {
    let set = set_option(socket, libc::SOL_SOCKET, libc::SO_RCVLOWAT, bytes);
    debug_assert!(set.is_ok(), "every stream socket takes a low-water mark");
}

/// Sets how many bytes that were not sent yet fill the send buffer of a TCP socket, and of those that are
/// accepted from it (`TCP_NOTSENT_LOWAT`, `tcp(7)`).
///
/// # Errors
/// Those of `setsockopt(2)`.
pub fn set_unsent_max(socket: &impl AsFd, bytes: i32) -> io::Result<()> {
    set_option(socket, libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT, bytes)
}

fn set_option(socket: &impl AsFd, level: i32, name: i32, value: i32) -> io::Result<()> {
    let from = std::ptr::from_ref(&value).cast();
    let size = size_of::<i32>() as libc::socklen_t;
    // SAFETY: the borrow keeps the descriptor open, and the kernel reads `size` bytes of an `i32` that
    // lives through the call.
    let result = unsafe { libc::setsockopt(socket.as_fd().as_raw_fd(), level, name, from, size) };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// What TCP knows about a peer (`tcp(7)`, `TCP_INFO`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpPeer {
    /// Time since its last bytes or acknowledgement.
    pub silent: Duration,
    /// Consecutive retransmissions or zero-window probes without an answer.
    pub unanswered: u8,
    /// Bytes that it has acknowledged.
    pub acked: u64,
    /// The last of them was acknowledged at least so long ago.
    pub acked_ago: Duration,
    /// Bytes in the send buffer that were not sent yet.
    pub unsent: usize,
}

/// What TCP knows about the peer of `socket`; zeroes if the socket is not TCP.
pub fn tcp_peer(socket: &impl AsFd) -> TcpPeer {
    let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
    let mut size = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: the borrow keeps the descriptor open; the kernel writes at most `size` bytes, the size of
    // `info`; and every bit pattern, also all zeroes, is a valid `tcp_info`.
    let info = unsafe {
        let fd = socket.as_fd().as_raw_fd();
        let to = info.as_mut_ptr().cast();
        libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, to, &raw mut size);
        info.assume_init()
    };
    let millis = |millis: u32| Duration::from_millis(millis.into());
    let acked = millis(info.tcpi_last_ack_recv);
    // A peer that takes nothing still acknowledges the probes of its window, which carry no data. What
    // was sent before that is acknowledged, or sent again, within the retransmission timeout.
    let timeout = Duration::from_micros(info.tcpi_rto.into());
    let sent = millis(info.tcpi_last_data_sent).saturating_sub(timeout);
    TcpPeer {
        silent: acked.min(millis(info.tcpi_last_data_recv)),
        unanswered: info.tcpi_retransmits.max(info.tcpi_probes),
        acked: info.tcpi_bytes_acked,
        acked_ago: acked.max(sent),
        unsent: info.tcpi_notsent_bytes as usize,
    }
}

/// The memory that holds what was sent on `socket` and not read by its peer, in bytes (`TIOCOUTQ`,
/// `unix(7)`); 0 if the socket is broken.
pub fn unread_by_peer(socket: &impl AsFd) -> u64 {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the borrow keeps the descriptor open, and the kernel writes one `int`, which lives through
    // the call.
    unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    u64::try_from(bytes).unwrap_or(0)
}

/// How much of the send buffer of `socket` is free, in bytes (`SO_MEMINFO`, `socket(7)`); 0 if the kernel
/// does not tell.
pub fn send_buffer_free(socket: &impl AsFd) -> usize {
    let mut memory = [0_u32; SEND_BUFFER_FIELDS];
    let mut size = size_of_val(&memory) as libc::socklen_t;
    // SAFETY: the borrow keeps the descriptor open, and the kernel writes at most `size` bytes, the size
    // of `memory`, which lives through the call.
    unsafe {
        let fd = socket.as_fd().as_raw_fd();
        let to = memory.as_mut_ptr().cast();
        libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_MEMINFO, to, &raw mut size);
    }
    let field = |index: libc::c_int| memory[index as usize] as usize;
    // A Unix socket has no queue of its own: what was sent is allocated until it is read.
    let used = field(libc::SK_MEMINFO_WMEM_QUEUED).max(field(libc::SK_MEMINFO_WMEM_ALLOC));
    field(libc::SK_MEMINFO_SNDBUF).saturating_sub(used)
}

/// As many fields of `SO_MEMINFO` as are looked at.
const SEND_BUFFER_FIELDS: usize = libc::SK_MEMINFO_WMEM_QUEUED as usize + 1;
