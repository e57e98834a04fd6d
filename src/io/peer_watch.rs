//! Peers whose leaving readability does not show, because unread bytes lie on their sockets: one epoll
//! instance watches all of them (`epoll(7)`), for nothing but the end of their stream and broken
//! connections. A peer that stays costs nothing.

use std::{cell::RefCell, io, os::fd::AsFd};

use rustix::{
    buffer::spare_capacity,
    event::{
        Timespec,
        epoll::{self, EventData, EventFlags},
    },
    io::Errno,
};

use crate::{io::fd::AsyncFd, limits};

/// The watch of one shard.
#[derive(Debug)]
pub struct PeerWatch {
    epoll: AsyncFd,
    /// Those that the kernel had no room to watch.
    refused: RefCell<Vec<u32>>,
}

impl PeerWatch {
    /// Watches nobody.
    ///
    /// # Errors
    /// No descriptor is free.
    pub fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self {
            epoll: AsyncFd::new(epoll)?,
            refused: RefCell::default(),
        })
    }

    /// Watches `socket` until one event is reported, which goes by `id`. `half_close`: also for the end
    /// of the peer's stream. Replaces an earlier watch of the same socket; closing the socket ends it.
    pub fn watch(&self, socket: &impl AsFd, id: u32, half_close: bool) {
        // A broken connection is always reported.
        let mut events = EventFlags::ONESHOT;
        if half_close {
            events |= EventFlags::RDHUP;
        }
        let data = EventData::new_u64(id.into());
        let watched = match epoll::add(&self.epoll, socket, data, events) {
            Err(Errno::EXIST) => epoll::modify(&self.epoll, socket, data, events),
            added => added,
        };
        if watched.is_err() {
            self.refused.borrow_mut().push(id);
        }
    }

    /// The ids of sockets that the kernel had no room to watch (`fs.epoll.max_user_watches`): the
    /// caller looks at them itself and tries again.
    #[must_use]
    pub fn take_refused(&self) -> Vec<u32> {
        self.refused.take()
    }

    /// Waits until peers leave; returns some of their ids.
    pub async fn left(&self) -> Vec<u32> {
        loop {
            self.epoll.readable().await;
            let mut events = Vec::with_capacity(limits::PEERS_AT_ONCE);
            let room = spare_capacity(&mut events);
            let found = epoll::wait(&self.epoll, room, Some(&Timespec::default()));
            if matches!(found, Ok(1..)) {
                return events.iter().map(|event| event.data.u64() as u32).collect();
            }
        }
    }
}
