//! The shard's pipes, through which bodies are spliced: get, put, kill.
//!
//! A pipe that is empty goes back to the pool; one that still holds bytes of a body that was cut is
//! closed, so that no consumer ever reads another's bytes.

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
    /// Pooled and in use, at most.
    pipes_max: usize,
    /// The kernel had no pipe worth having; not asked again for a while.
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

/// What became of a splice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spliced {
    /// So many bytes were moved, at least one.
    Bytes(usize),
    /// The socket has nothing, or the pipe or socket is full.
    Nothing,
    /// The socket's peer has sent its last byte.
    End,
    /// The connection is broken.
    PeerGone,
}

impl Pipes {
    /// No pipes yet, and never more than `pipes_max`.
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

    /// How many pipes there are, pooled and in use.
    #[must_use]
    pub fn count(&self) -> usize {
        self.pool.count.get()
    }

    /// How many bytes one exchange may splice before others get their turn: all that are under way
    /// together move about a pipe's worth.
    #[must_use]
    pub fn budget_bytes(&self) -> usize {
        let in_use = self.count() - self.pool.idle.borrow().len();
        (limits::PIPE_BYTES / in_use.max(1)).max(limits::SPLICE_BUDGET_BYTES_MIN)
    }

    /// A pipe worth splicing through. `None` if as many are in use as may be, if no descriptor is
    /// free, or if the kernel gives this user only pipes too small to pay (`pipe(7)`,
    /// `pipe-user-pages-soft`): then the body is copied.
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

    /// The kernel may have room for pipes again: called once a sweep.
    pub fn try_again(&self) {
        self.pool.refused.set(false);
    }
}

/// A new pipe, if it is big enough to pay.
fn make() -> Option<Ends> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
    // Refused to users who have many pages in pipes already: then it stays as it is.
    let _ = fcntl_setpipe_size(&write, limits::PIPE_BYTES);
    let holds = fcntl_getpipe_size(&write).ok()?;
    (holds >= limits::PIPE_BYTES_MIN).then_some(Ends { read, write })
}

impl Pool {
    /// Keeps an empty pipe for the next body.
    fn put(&self, ends: Ends) {
        self.idle.borrow_mut().push(ends);
    }

    /// Closes a pipe with what is in it.
    fn kill(&self, ends: Ends) {
        self.count.set(self.count.get() - 1);
        drop(ends);
    }
}

impl Pipe {
    /// Bytes that are in the pipe.
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

    /// Moves what is in the pipe to `consumer`, as far as its socket takes it. `more`: further bytes
    /// follow at once, so the kernel may hold a short segment back for them (`SPLICE_F_MORE`).
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

/// `NONBLOCK` is for the pipe; the sockets are non-blocking themselves (`splice(2)`).
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
