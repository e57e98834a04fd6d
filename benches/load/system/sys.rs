//! System calls for which no dependency has a safe wrapper. The only file of the harness with `unsafe`.
#![allow(unsafe_code)]

use std::io;
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::Duration;

use crate::error::Result;

/// socket(7), `SO_RCVLOWAT`: how many bytes must be there before the reader wakes up.
pub fn wake_at(socket: &TcpStream, bytes: u64) -> Result<()> {
    let value = libc::c_int::try_from(bytes)?;
    let size = libc::socklen_t::try_from(size_of::<libc::c_int>())?;
    // SAFETY: the descriptor is open for as long as `socket` is borrowed, and the kernel copies
    // `size` bytes out of `value`, which has that size.
    let result = unsafe {
        let value = (&raw const value).cast();
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVLOWAT,
            value,
            size,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error().into())
    }
}

/// sched(7), `SCHED_FIFO`: the calling thread runs before all ordinary threads. False without the
/// privilege for that.
pub fn run_before_others() -> bool {
    let lowest = libc::sched_param { sched_priority: 1 };
    // SAFETY: the kernel reads `lowest`, which lives until the call returns; 0 is this thread.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const lowest) == 0 }
}

/// sched(7), `SCHED_IDLE`: the calling thread runs only when no other thread wants its core, and the
/// scheduler treats that core as idle. False if the kernel refuses.
pub fn run_behind_others() -> bool {
    let none = libc::sched_param { sched_priority: 0 };
    // SAFETY: the kernel reads `none`, which lives until the call returns; 0 is this thread.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const none) == 0 }
}

/// clock_getcpuclockid(3): user plus system CPU time of all threads of `pid`, past and present.
pub fn cpu_time(pid: u32) -> Result<Duration> {
    let pid = libc::pid_t::try_from(pid)?;
    let mut clock = 0;
    // SAFETY: writes to `clock`, which lives until the call returns.
    let error = unsafe { libc::clock_getcpuclockid(pid, &raw mut clock) };
    if error != 0 {
        return Err(io::Error::from_raw_os_error(error).into());
    }
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: writes to `time`, which lives until the call returns.
    if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
        return Err(io::Error::last_os_error().into());
    }
    Ok(Duration::new(
        u64::try_from(time.tv_sec)?,
        u32::try_from(time.tv_nsec)?,
    ))
}
