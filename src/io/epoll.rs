//! [`Epoll`]: one epoll instance that watches many sockets, each for one event (`epoll(7)`). A socket
//! without an event costs nothing.

use std::{io, os::fd::AsFd};

use rustix::{
    buffer::spare_capacity,
    event::{
        Timespec,
        epoll::{self, EventData, EventFlags},
    },
    io::Errno,
};

use crate::{io::fd::AsyncFd, limits};

/// The instance.
#[derive(Debug)]
pub struct Epoll(AsyncFd);

impl Epoll {
    /// # Errors
    /// No descriptor is free.
    pub fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self(AsyncFd::new(epoll)?))
    }

    /// Watches `socket` until one of `events` is reported, with `token`. A broken connection is always
    /// one of them. Replaces an earlier watch of the socket; closing the socket ends the watch.
    ///
    /// # Errors
    /// The kernel refuses (`fs.epoll.max_user_watches`).
    pub fn watch(&self, socket: &impl AsFd, token: u64, events: EventFlags) -> io::Result<()> {
        let data = EventData::new_u64(token);
        let events = events | EventFlags::ONESHOT;
        let watched = match epoll::add(&self.0, socket, data, events) {
            Err(Errno::EXIST) => epoll::modify(&self.0, socket, data, events),
            added => added,
        };
        Ok(watched?)
    }

    /// Waits for events, and returns the tokens of some; later calls return the rest.
    pub async fn reported(&self) -> Vec<u64> {
        loop {
            self.0.readable().await;
            let mut events = Vec::with_capacity(limits::EVENTS_AT_ONCE);
            let room = spare_capacity(&mut events);
            let found = epoll::wait(&self.0, room, Some(&Timespec::default()));
            if matches!(found, Ok(1..)) {
                return events.iter().map(|event| event.data.u64()).collect();
            }
        }
    }
}
