//! Channels whose waiting producers and consumers go on to be matched in a later turn, so that a long
//! backlog does not keep the shard from its other work.
//!
//! Bounded: each channel is in it at most once, and stays open in the registry meanwhile.

use std::{
    cell::RefCell,
    collections::VecDeque,
    future::poll_fn,
    task::{Poll, Waker},
};

use crate::model::registry::ChannelId;

/// The channels, first come first served.
#[derive(Debug, Default)]
pub struct Backlog {
    channels: RefCell<VecDeque<ChannelId>>,
    waker: RefCell<Option<Waker>>,
}

impl Backlog {
    /// Puts `channel` behind the others.
    pub fn put(&self, channel: ChannelId) {
        self.channels.borrow_mut().push_back(channel);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Waits for a channel and takes it out.
    pub async fn next(&self) -> ChannelId {
        poll_fn(|context| match self.channels.borrow_mut().pop_front() {
            Some(channel) => Poll::Ready(channel),
            None => {
                *self.waker.borrow_mut() = Some(context.waker().clone());
                Poll::Pending
            }
        })
        .await
    }
}
