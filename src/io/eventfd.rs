//! A wake-up between threads (`eventfd(2)`).

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::event::{EventfdFlags, eventfd};

/// A descriptor that is readable from a notification until it is cleared.
#[derive(Debug)]
pub struct EventFd(OwnedFd);

impl EventFd {
    /// An eventfd that has not been notified.
    ///
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

    /// A second descriptor for the same eventfd.
    ///
    /// # Errors
    /// No descriptor is free.
    pub fn duplicate(&self) -> io::Result<OwnedFd> {
        self.0.try_clone()
    }
}

/// Takes the count out of an eventfd or a timer, so that it is readable again only after the next
/// notification or expiry.
pub fn clear(fd: &impl AsFd) {
    // Nothing to take is no error: somebody else has cleared it.
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
