//! Detects peers that leave while their sockets have unread bytes, when readability does not show it.
//! One epoll instance watches all of them, only for half-closes and broken connections. A peer that
//! stays costs nothing.

use std::{cell::RefCell, io, os::fd::AsFd};

use rustix::event::epoll::EventFlags;

use crate::io::epoll::Epoll;

/// The watch of one shard.
#[derive(Debug)]
pub struct PeerWatch {
    epoll: Epoll,
    /// The ids of sockets that the kernel refused to watch.
    refused: RefCell<Vec<u32>>,
}

impl PeerWatch {
    /// # Errors
    /// No descriptor is free.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            epoll: Epoll::new()?,
            refused: RefCell::default(),
        })
    }

    /// Watches `socket` until one event is reported, under `id`. `half_close`: a half-close is an event
    /// too. Replaces an earlier watch of the socket; closing the socket ends the watch.
    pub fn watch(&self, socket: &impl AsFd, id: u32, half_close: bool) {
        // epoll always reports a broken connection.
        let events = if half_close {
            EventFlags::RDHUP
        } else {
            EventFlags::empty()
        };
        if self.epoll.watch(socket, id.into(), events).is_err() {
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
        let reported = self.epoll.reported().await;
        reported.into_iter().map(|id| id as u32).collect()
    }
}
