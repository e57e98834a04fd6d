//! Busy polling: after a request, a shard polls for a while before it sleeps, so that a request that
//! arrives soon does not have to wake the core.
//!
//! Polling uses the whole core, so it is off unless `--busy-poll` enables it.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    task::{Poll, Waker},
    time::{Duration, Instant},
};

use crate::io::fd::AsyncFd;

/// Decides when a shard polls instead of sleeping.
#[derive(Debug, Default)]
pub struct BusyPoll {
    asked: Cell<bool>,
    asleep: RefCell<Option<Waker>>,
}

impl BusyPoll {
    /// Begins or prolongs polling. No effect unless [`BusyPoll::run`] runs.
    pub fn request_came(&self) {
        self.asked.set(true);
        if let Some(waker) = self.asleep.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Keeps the calling thread's runtime awake for `window` after each request, by waiting for a
    /// descriptor that is `always_ready`: each wait also collects all other events.
    pub async fn run(&self, window: Duration, always_ready: &AsyncFd) {
        loop {
            self.request().await;
            let mut until = Instant::now() + window;
            while Instant::now() < until {
                always_ready.readable().await;
                if self.asked.take() {
                    until = Instant::now() + window;
                }
            }
        }
    }

    async fn request(&self) {
        poll_fn(|context| {
            if self.asked.take() {
                return Poll::Ready(());
            }
            *self.asleep.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}
