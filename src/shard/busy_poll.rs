//! Busy polling: a shard that has just had a request looks for the next one for a while before it
//! sleeps, so that one which comes soon need not wake its core first.
//!
//! Owns: when a shard looks on. What it costs is its core's whole time meanwhile, so it is off unless
//! `--busy-poll` asks for it.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    task::{Poll, Waker},
    time::{Duration, Instant},
};

use crate::io::fd::AsyncFd;

/// When a shard looks for news without sleeping.
#[derive(Debug, Default)]
pub struct BusyPoll {
    asked: Cell<bool>,
    asleep: RefCell<Option<Waker>>,
}

impl BusyPoll {
    /// A request came: looks on, or begins to. No-op unless [`BusyPoll::run`] runs.
    pub fn request_came(&self) {
        self.asked.set(true);
        if let Some(waker) = self.asleep.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Keeps the calling thread's runtime awake for `window` after each request, by waiting for a
    /// descriptor that is `always_ready`: every such wait takes in what else has become ready.
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
