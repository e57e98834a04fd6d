//! A wake-up between threads (`eventfd(2)`).

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::event::{EventfdFlags, eventfd};

/// Readable from a notification until it is cleared.
#[derive(Debug)]
pub struct EventFd(OwnedFd);

impl EventFd {
    /// # Errors
    /// No descriptor is free.
    pub fn new() -> io::Result<Self> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        Ok(Self(eventfd(0, flags)?))
    }

    /// Makes it readable. Cannot overflow: that needs 2^64 uncleared notifications.
    pub fn notify(&self) {
        let written = rustix::io::write(&self.0, &1u64.to_ne_bytes());
        debug_assert_eq!(written, Ok(8), "an eventfd of our own");
    }

    /// A second descriptor of the same eventfd.
    ///
    /// # Errors
    /// No descriptor is free.
    pub fn duplicate(&self) -> io::Result<OwnedFd> {
        self.0.try_clone()
    }
}

/// Resets an eventfd or a timer: it is readable again after the next notification or expiry.
pub fn clear(fd: &impl AsFd) {
    // Fails only if it is clear already.
    let _ = rustix::io::read(fd, &mut [0u8; 8]);
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<EventFd> for OwnedFd {
    fn from(eventfd: EventFd) -> Self {
        eventfd.0
    }
}
