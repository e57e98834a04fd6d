//! Waits until a socket takes more bytes, also when its peer has half-closed.
//!
//! Then the ring cannot wait: the kernel adds `POLLRDHUP` to every poll on it (`IO_POLL_UNMASK` in
//! `io_uring/poll.c`), so on a half-closed connection the wait ends at once, and would again. One epoll
//! instance watches those sockets for the whole shard: a client must not cost a descriptor more because
//! it has half-closed. A peer that takes nothing costs nothing meanwhile.

use std::{
    cell::RefCell,
    future::Future,
    io,
    os::fd::AsFd,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use rustix::event::epoll::EventFlags;
use slab::Slab;

use crate::io::{epoll::Epoll, socket::Transport};

/// The watch of one shard.
#[derive(Debug)]
pub struct WriteWatch {
    epoll: Epoll,
    /// The waits for sockets that are watched, by token; `None`: over.
    waits: RefCell<Slab<Option<Waker>>>,
    /// Tokens of sockets that the kernel refused to watch.
    refused: RefCell<Vec<usize>>,
}

/// A wait under way. Dropping it forgets it.
struct Wait<'a> {
    watch: &'a WriteWatch,
    token: usize,
}

impl WriteWatch {
    /// # Errors
    /// No descriptor is free.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            epoll: Epoll::new()?,
            waits: RefCell::default(),
            refused: RefCell::default(),
        })
    }

    /// Waits until a send would not block, or is worth a try. Cancel-safe. Other tasks run before it
    /// returns.
    pub async fn writable(&self, socket: &Transport) {
        socket.writable_or_half_closed().await;
        if !socket.is_writable() {
            self.watch(socket).await;
        }
    }

    fn watch(&self, socket: &impl AsFd) -> Wait<'_> {
        let token = self.waits.borrow_mut().insert(Some(Waker::noop().clone()));
        let watched = self.epoll.watch(socket, token as u64, EventFlags::OUT);
        if watched.is_err() {
            self.refused.borrow_mut().push(token);
        }
        Wait { watch: self, token }
    }

    /// Ends waits as their sockets become writable. Never returns.
    pub async fn run(&self) {
        loop {
            for token in self.epoll.reported().await {
                self.end(token as usize);
            }
        }
    }

    /// Ends the waits for sockets that the kernel refused to watch (`fs.epoll.max_user_watches`): the
    /// tasks try to send, and wait again. Called once per sweep.
    pub fn retry_refused(&self) {
        for token in self.refused.take() {
            self.end(token);
        }
    }

    /// Ends the wait with this token. If it is over and another has its token, that one ends early.
    fn end(&self, token: usize) {
        let waker = self
            .waits
            .borrow_mut()
            .get_mut(token)
            .and_then(Option::take);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Future for Wait<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        match &mut self.watch.waits.borrow_mut()[self.token] {
            Some(waker) => {
                waker.clone_from(context.waker());
                Poll::Pending
            }
            None => Poll::Ready(()),
        }
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.watch.waits.borrow_mut().remove(self.token);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        io::Read,
        net::{Shutdown, TcpListener, TcpStream},
        os::fd::OwnedFd,
        pin::pin,
    };

    use futures_util::{FutureExt, future};

    use super::*;
    use crate::io::{
        runtime::{self, Driver, Pool, Runtime},
        socket::{Kind, Sent},
    };

    /// Runs `test` with every driver that the kernel allows.
    fn on_every_driver<F: Future<Output = ()>>(test: impl Fn(WriteWatch) -> F) {
        let ring = runtime::probe().is_ok().then_some(Driver::IoUring);
        for driver in ring.into_iter().chain([Driver::Epoll]) {
            let runtime = Runtime::new(driver, &Pool::start());
            runtime
                .expect("the kernel gives what it said it would")
                .run(async {
                    test(WriteWatch::new().expect("a descriptor")).await;
                });
        }
    }

    /// A socket that takes no more bytes, and its peer, which has half-closed.
    fn full() -> (Transport, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let peer = TcpStream::connect(listener.local_addr().expect("bound")).expect("accepted");
        let (accepted, _) = listener.accept().expect("it has connected");
        accepted.set_nonblocking(true).expect("a socket option");
        let socket = Transport::new(OwnedFd::from(accepted), Kind::Tcp).expect("a socket");
        peer.shutdown(Shutdown::Write).expect("it is connected");
        while socket.is_writable() {
            assert!(matches!(socket.send(&[0; 1 << 16], false), Sent::Bytes(_)));
        }
        (socket, peer)
    }

    /// Takes bytes until `socket` takes more.
    fn take(peer: &mut TcpStream, socket: &Transport) {
        while !socket.is_writable() {
            assert!(peer.read(&mut [0; 1 << 16]).expect("bytes") > 0);
        }
    }

    /// Runs the watch until `wait` is over.
    async fn run_until(watch: &WriteWatch, wait: impl Future<Output = ()>) {
        future::select(pin!(wait), pin!(watch.run())).await;
    }

    #[test]
    fn a_wait_ends_when_the_half_closed_peer_takes_bytes_or_leaves_and_not_before() {
        on_every_driver(|watch| async move {
            let (socket, mut peer) = full();
            let mut wait = pin!(watch.watch(&socket));
            assert!(wait.as_mut().now_or_never().is_none());
            take(&mut peer, &socket);
            run_until(&watch, wait).await;
            run_until(&watch, watch.writable(&socket)).await;

            let (socket, peer) = full();
            let wait = watch.watch(&socket);
            drop(peer);
            run_until(&watch, wait).await;
        });
    }

    #[test]
    fn waits_that_are_dropped_leave_nothing_behind_and_end_no_other() {
        on_every_driver(|watch| async move {
            let (socket, mut peer) = full();
            let (other, mut other_peer) = full();
            drop(watch.watch(&socket));
            assert!(watch.waits.borrow().is_empty());
            // The kernel still reports the first event.
            take(&mut peer, &socket);
            let mut wait = pin!(watch.writable(&other));
            take(&mut other_peer, &other);
            run_until(&watch, wait.as_mut()).await;
            assert!(other.is_writable());
            run_until(&watch, watch.watch(&socket)).await;
        });
    }

    #[test]
    fn a_wait_that_the_kernel_refuses_to_watch_ends_at_the_next_sweep() {
        on_every_driver(|watch| async move {
            // epoll refuses regular files.
            let file = File::open(file!()).expect("this file");
            let mut wait = pin!(watch.watch(&file));
            assert!(wait.as_mut().now_or_never().is_none());
            watch.retry_refused();
            assert!(wait.as_mut().now_or_never().is_some());
        });
    }
}
