//! Detects peers that leave while their sockets have unread bytes, when readability does not show it.
//! One epoll instance watches all of them (`epoll(7)`), only for half-closes and broken connections.
//! A peer that stays costs nothing.

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
    /// The ids of sockets that the kernel refused to watch.
    refused: RefCell<Vec<u32>>,
}

impl PeerWatch {
    /// # Errors
    /// No descriptor is free.
    pub fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self {
            epoll: AsyncFd::new(epoll)?,
            refused: RefCell::default(),
        })
    }

    /// Watches `socket` until one event is reported, under `id`. `half_close`: a half-close is an event
    /// too. Replaces an earlier watch of the socket; closing the socket ends the watch.
    pub fn watch(&self, socket: &impl AsFd, id: u32, half_close: bool) {
        // epoll always reports a broken connection.
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

    /// The ids of sockets that the kernel refused to watch (`fs.epoll.max_user_watches`). The caller
    /// must check them itself and try again.
    #[must_use]
    pub fn take_refused(&self) -> Vec<u32> {
        self.refused.take()
    }

    /// Waits until peers leave, and returns some of their ids; later calls return the rest.
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
