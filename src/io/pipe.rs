//! A shard's pool of pipes for splicing: get, put, kill.
//!
//! An empty pipe returns to the pool. A pipe with bytes of a cut body is closed, so that no consumer
//! receives bytes of another's body.

use std::{
    cell::{Cell, RefCell},
    os::fd::OwnedFd,
    rc::Rc,
};

use rustix::{
    io::Errno,
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

    fn open(&self) -> Option<Ends> {
        let refused = &self.pool.refused;
        if refused.get() || self.count() >= self.pool.pipes_max {
            return None;
        }
        let ends = make();
        refused.set(ends.is_none());
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
