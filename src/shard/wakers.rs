//! Tasks of a shard that wait for something that happens to all of them at once.

use std::{
    cell::RefCell,
    future::poll_fn,
    mem,
    task::{Poll, Waker},
};

/// The waiting loops: each loop of a shard at most once.
#[derive(Debug, Default)]
pub struct Wakers(RefCell<Vec<Waker>>);

impl Wakers {
    /// Waits for the next [`Self::wake_all`].
    pub async fn next(&self) {
        let mut asked = false;
        poll_fn(|context| {
            if mem::replace(&mut asked, true) {
                return Poll::Ready(());
            }
            self.0.borrow_mut().push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Wakes all of them.
    pub fn wake_all(&self) {
        self.0.take().into_iter().for_each(Waker::wake);
    }
}
