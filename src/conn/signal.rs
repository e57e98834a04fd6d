//! How other tasks of the shard reach the task of a connection: they change the connection's state and
//! poke, or leave a cause to stop. They never wait for it.

use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll, Waker},
};

use crate::model::verdict::Cause;

/// The way to one task.
#[derive(Default)]
pub struct Signal {
    /// Why the task must stop what it does.
    stop: Cell<Option<Cause>>,
    poked: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// [`Signal::poked_or`]. A type of its own, so that its poll is inlined into the task.
pub struct PokedOr<'a, F> {
    signal: &'a Signal,
    future: Pin<&'a mut F>,
}

impl<F: Future> Future for PokedOr<'_, F> {
    type Output = Option<F::Output>;

    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.signal.poll_poked(context).is_ready() {
            return Poll::Ready(None);
        }
        self.future.as_mut().poll(context).map(Some)
    }
}

impl Signal {
    /// Ends the task's current wait, or its next one.
    pub fn poke(&self) {
        self.poked.set(true);
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Tells the task to stop what it does. The first cause counts, but a deletion overrides it: the
    /// client that deleted the channel is told that no request waits on it any more.
    pub fn stop(&self, cause: Cause) {
        if self.stop.get().is_none() || cause == Cause::Deleted {
            self.stop.set(Some(cause));
        }
        self.poke();
    }

    /// Why the task must stop; returned once.
    pub fn take_stop(&self) -> Option<Cause> {
        self.stop.take()
    }

    /// Forgets a cause that concerned an earlier request.
    pub fn clear_stop(&self) {
        self.stop.set(None);
    }

    /// Waits for a poke.
    pub async fn poked(&self) {
        poll_fn(|context| self.poll_poked(context)).await;
    }

    /// Waits for `future` unless a poke comes first: `None` then. Takes a pinned reference, because an
    /// `async fn` that takes a future keeps room for it twice.
    pub fn poked_or<'a, F: Future>(&'a self, future: Pin<&'a mut F>) -> PokedOr<'a, F> {
        PokedOr {
            signal: self,
            future,
        }
    }

    #[inline(always)]
    fn poll_poked(&self, context: &Context<'_>) -> Poll<()> {
        if self.poked.take() {
            return Poll::Ready(());
        }
        let mut waker = self.waker.borrow_mut();
        if !waker
            .as_ref()
            .is_some_and(|known| known.will_wake(context.waker()))
        {
            *waker = Some(context.waker().clone());
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        task::Wake,
    };

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn the_first_cause_counts_and_a_deletion_counts_more() {
        let signal = Signal::default();
        signal.stop(Cause::ConsumerLeft);
        signal.stop(Cause::Expired);
        assert_eq!(signal.take_stop(), Some(Cause::ConsumerLeft));
        signal.stop(Cause::ConsumerLeft);
        signal.stop(Cause::Deleted);
        signal.stop(Cause::Drained);
        assert_eq!(signal.take_stop(), Some(Cause::Deleted));
        assert_eq!(signal.take_stop(), None);
    }

    #[test]
    fn a_poke_wakes_the_waiting_task_and_one_before_the_wait_is_not_lost() {
        let (signal, woken) = (Signal::default(), Arc::new(Count::default()));
        let waker = Waker::from(Arc::clone(&woken));
        let mut context = Context::from_waker(&waker);
        {
            let mut wait = pin!(signal.poked());
            assert!(wait.as_mut().poll(&mut context).is_pending());
            signal.poke();
            assert_eq!(woken.0.load(Ordering::Relaxed), 1);
            assert!(wait.as_mut().poll(&mut context).is_ready());
        }
        signal.poke();
        assert!(pin!(signal.poked()).poll(&mut context).is_ready());
        assert!(pin!(signal.poked()).poll(&mut context).is_pending());
    }

    #[test]
    fn a_poke_comes_before_what_is_waited_for() {
        let signal = Signal::default();
        let mut context = Context::from_waker(Waker::noop());
        signal.poke();
        let mut ready = pin!(std::future::ready(7));
        let mut poll = || pin!(signal.poked_or(ready.as_mut())).poll(&mut context);
        assert_eq!(poll(), Poll::Ready(None));
        assert_eq!(poll(), Poll::Ready(Some(7)));
    }
}
