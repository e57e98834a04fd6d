//! A shard's pool of pipes for splicing: get, put, kill.
//!
//! An empty pipe returns to the pool. A pipe with bytes of a cut body is closed, so that no consumer
//! receives bytes of another's body. A pipe whose body stands still is emptied into memory
//! ([`Pipe::empty`]), so that others have it.

use std::{
    cell::{Cell, RefCell},
    os::fd::OwnedFd,
    rc::Rc,
};

use bytes::Bytes;
use rustix::{
    io::{Errno, read},
    pipe::{PipeFlags, SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with, splice},
};

use crate::{io::socket::Transport, limits};

/// The pipes of one shard.
#[derive(Debug, Clone)]
pub struct Pipes {
    pool: Rc<Pool>,
}

#[derive(Debug)]
struct Pool {
    /// The limit of `count`.
    pipes_max: usize,
    /// The kernel refused a large enough pipe. Reset by each sweep.
    refused: Cell<bool>,
    idle: RefCell<Vec<Ends>>,
    /// Pooled and in use.
    count: Cell<usize>,
    /// Bytes that pipes were emptied of, as long as they are kept.
    kept: Cell<usize>,
}

#[derive(Debug)]
struct Ends {
    read: OwnedFd,
    write: OwnedFd,
}

/// A pipe in use.
#[derive(Debug)]
pub struct Pipe {
    pool: Rc<Pool>,
    /// `Some` until it is dropped.
    ends: Option<Ends>,
    held: usize,
}

/// What a pipe was emptied of. Counts as kept by the shard until it is dropped.
#[derive(Debug)]
pub struct Emptied {
    pool: Rc<Pool>,
    bytes: Bytes,
}

/// The result of a splice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spliced {
    /// This many bytes were moved, at least one.
    Bytes(usize),
    /// The source is empty, or the destination is full.
    Nothing,
    /// The peer has sent its last byte.
    End,
    /// The connection is broken.
    PeerGone,
}

impl Pipes {
    /// An empty pool of at most `pipes_max` pipes, pooled and in use.
    #[must_use]
    pub fn new(pipes_max: usize) -> Self {
        let pool = Pool {
            pipes_max,
            refused: Cell::new(false),
            idle: RefCell::default(),
            count: Cell::new(0),
            kept: Cell::new(0),
        };
        Self {
            pool: Rc::new(pool),
        }
    }

    /// Pipes pooled and in use.
    #[must_use]
    pub fn count(&self) -> usize {
        self.pool.count.get()
    }

    /// How many bytes one exchange may splice before it yields: all exchanges together move about the
    /// capacity of one pipe.
    #[must_use]
    pub fn budget_bytes(&self) -> usize {
        let in_use = self.count() - self.pool.idle.borrow().len();
        (limits::PIPE_BYTES / in_use.max(1)).max(limits::SPLICE_BUDGET_BYTES_MIN)
    }

    /// Whether [`Self::get`] may give one, as far as is known.
    #[must_use]
    pub fn may_give(&self) -> bool {
        !self.pool.idle.borrow().is_empty() || self.may_open()
    }

    /// `None` if the limit is reached, if no descriptor is free, or if the kernel gives this user only
    /// pipes that are too small to be faster than a copy (`pipe(7)`, `pipe-user-pages-soft`). The
    /// caller then copies the body.
    #[must_use]
    pub fn get(&self) -> Option<Pipe> {
        let idle = self.pool.idle.borrow_mut().pop();
        let ends = match idle {
            Some(ends) => ends,
            None => self.open()?,
        };
        Some(Pipe {
            pool: Rc::clone(&self.pool),
            ends: Some(ends),
            held: 0,
        })
    }

    fn may_open(&self) -> bool {
        !self.pool.refused.get() && self.count() < self.pool.pipes_max
    }

    fn open(&self) -> Option<Ends> {
        if !self.may_open() {
            return None;
        }
        let ends = make();
        self.pool.refused.set(ends.is_none());
        self.pool
            .count
            .set(self.count() + usize::from(ends.is_some()));
        ends
    }

    /// Allows new pipes after a refusal. Called once per sweep.
    pub fn try_again(&self) {
        self.pool.refused.set(false);
    }
}

/// A new pipe, if it is large enough to be faster than a copy.
fn make() -> Option<Ends> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
    // Refused if the user has too many pages in pipes. The pipe keeps its size then.
    let _ = fcntl_setpipe_size(&write, limits::PIPE_BYTES);
    let holds = fcntl_getpipe_size(&write).ok()?;
    (holds >= limits::PIPE_BYTES_MIN).then_some(Ends { read, write })
}

impl Pool {
    fn put(&self, ends: Ends) {
        self.idle.borrow_mut().push(ends);
    }

    fn kill(&self, ends: Ends) {
        self.count.set(self.count.get() - 1);
        drop(ends);
    }
}

impl Pipe {
    /// Bytes in the pipe.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held
    }

    /// Moves at most `bytes_max` bytes from `producer` into the pipe.
    pub fn fill(&mut self, producer: &Transport, bytes_max: usize) -> Spliced {
        let ends = self.ends.as_ref().expect("taken in drop alone");
        let spliced = outcome(splice(producer, None, &ends.write, None, bytes_max, FLAGS));
        if let Spliced::Bytes(bytes) = spliced {
            self.held += bytes;
        }
        spliced
    }

    /// Moves bytes from the pipe to `consumer`, as many as its socket takes. `more`: further bytes follow
    /// immediately, so the kernel may delay a short segment (`SPLICE_F_MORE`).
    pub fn drain(&mut self, consumer: &Transport, more: bool) -> Spliced {
        let ends = self.ends.as_ref().expect("taken in drop alone");
        let flags = if more {
            FLAGS | SpliceFlags::MORE
        } else {
            FLAGS
        };
        let spliced = outcome(splice(&ends.read, None, consumer, None, self.held, flags));
        if let Spliced::Bytes(bytes) = spliced {
            self.held -= bytes;
        }
        spliced
    }

    /// Reads what is in the pipe into memory. `None` if the shard keeps so much already that these bytes
    /// would exceed [`limits::EMPTIED_BYTES_MAX`]; they stay in the pipe then.
    ///
    /// # Panics
    /// The kernel gives less than was spliced into the pipe.
    pub fn empty(&mut self) -> Option<Emptied> {
        let kept = self.pool.kept.get() + self.held;
        if kept > limits::EMPTIED_BYTES_MAX {
            return None;
        }
        let ends = self.ends.as_ref().expect("taken in drop alone");
        let mut bytes = vec![0; self.held];
        while self.held > 0 {
            let from = bytes.len() - self.held;
            match read(&ends.read, &mut bytes[from..]) {
                Ok(0) => unreachable!("the pipe holds more"),
                Ok(read) => self.held -= read,
                Err(Errno::INTR) => {}
                Err(error) => panic!("could not read a pipe that is not empty: {error}"),
            }
        }
        self.pool.kept.set(kept);
        Some(Emptied {
            pool: Rc::clone(&self.pool),
            bytes: bytes.into(),
        })
    }
}

impl Emptied {
    /// The bytes, in their order.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

impl Drop for Emptied {
    fn drop(&mut self) {
        self.pool.kept.set(self.pool.kept.get() - self.bytes.len());
    }
}

/// `NONBLOCK` applies to the pipe; the sockets are non-blocking anyway (`splice(2)`).
const FLAGS: SpliceFlags = SpliceFlags::MOVE.union(SpliceFlags::NONBLOCK);

fn outcome(result: Result<usize, Errno>) -> Spliced {
    match result {
        Ok(0) => Spliced::End,
        Ok(bytes) => Spliced::Bytes(bytes),
        Err(Errno::AGAIN | Errno::INTR | Errno::NOMEM) => Spliced::Nothing,
        Err(_) => Spliced::PeerGone,
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        match self.ends.take() {
            Some(ends) if self.held == 0 => self.pool.put(ends),
            Some(ends) => self.pool.kill(ends),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::write;

    use super::*;

    const HELD: usize = 40_000;

    /// A pipe with bytes in it.
    fn held(pipes: &Pipes) -> Pipe {
        let mut pipe = pipes.get().expect("descriptors are free");
        let ends = pipe.ends.as_ref().expect("in use");
        pipe.held = write(&ends.write, &[7; HELD]).expect("a pipe has room");
        pipe
    }

    #[test]
    fn an_emptied_pipe_goes_back_to_the_pool_and_its_bytes_are_kept() {
        let pipes = Pipes::new(1);
        let mut pipe = held(&pipes);
        assert!(!pipes.may_give() && pipes.get().is_none());
        let emptied = pipe.empty().expect("nothing is kept yet");
        assert_eq!((&emptied.bytes()[..], pipe.held()), (&[7; HELD][..], 0));
        drop(pipe);
        assert!(pipes.may_give());
        assert_eq!((pipes.count(), pipes.pool.kept.get()), (1, HELD));
        drop(emptied);
        assert_eq!(pipes.pool.kept.get(), 0);
    }

    #[test]
    fn a_pipe_is_not_emptied_beyond_what_a_shard_may_keep() {
        let pipes = Pipes::new(1);
        let mut pipe = held(&pipes);
        pipes.pool.kept.set(limits::EMPTIED_BYTES_MAX - HELD + 1);
        assert!(pipe.empty().is_none());
        assert_eq!(pipe.held(), HELD);
        pipes.pool.kept.set(limits::EMPTIED_BYTES_MAX - HELD);
        assert!(pipe.empty().is_some());
    }
}
