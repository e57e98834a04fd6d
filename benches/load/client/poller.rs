//! An epoll set of one thread. It owns no socket.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};
use rustix::io::Errno;

use crate::error::Result;

/// A row fails after this long without any event. Longer than the server's default header timeout:
/// slow heads get no reply before it.
pub const SILENCE_MAX: Duration = Duration::from_secs(20);

const EVENTS_MAX: usize = 256;

pub struct Poller {
    epoll: OwnedFd,
    ready: Vec<epoll::Event>,
    last_event: Instant,
}

/// When the poller reports a socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Interest {
    /// While it is readable.
    Read,
    /// While it is writable.
    Write,
    /// When new data arrives (edge-triggered), so the registration never changes.
    NewData,
}

impl Interest {
    fn flags(self) -> epoll::EventFlags {
        match self {
            Self::Read => epoll::EventFlags::IN,
            Self::Write => epoll::EventFlags::OUT,
            Self::NewData => epoll::EventFlags::IN | epoll::EventFlags::ET,
        }
    }
}

impl Poller {
    pub fn new() -> Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let ready = Vec::with_capacity(EVENTS_MAX);
        Ok(Self {
            epoll,
            ready,
            last_event: Instant::now(),
        })
    }

    pub fn add(&self, socket: impl AsFd, token: usize, interest: Interest) -> Result<()> {
        let data = epoll::EventData::new_u64(token as u64);
        Ok(epoll::add(&self.epoll, socket, data, interest.flags())?)
    }

    pub fn change(&self, socket: impl AsFd, token: usize, interest: Interest) -> Result<()> {
        let data = epoll::EventData::new_u64(token as u64);
        Ok(epoll::modify(&self.epoll, socket, data, interest.flags())?)
    }

    pub fn remove(&self, socket: impl AsFd) -> Result<()> {
        Ok(epoll::delete(&self.epoll, socket)?)
    }

    /// Waits up to `timeout` and replaces `tokens` with those that are ready.
    /// Fails after [`SILENCE_MAX`] without any event, because then the row hangs.
    pub fn wait(&mut self, timeout: Duration, tokens: &mut Vec<usize>) -> Result<()> {
        tokens.clear();
        self.ready.clear();
        let timeout = Timespec::try_from(timeout)?;
        let room = rustix::buffer::spare_capacity(&mut self.ready);
        match epoll::wait(&self.epoll, room, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        tokens.extend(self.ready.iter().map(|event| event.data.u64() as usize));
        self.check_silence(tokens.is_empty())
    }

    fn check_silence(&mut self, silent: bool) -> Result<()> {
        if !silent {
            self.last_event = Instant::now();
        } else if self.last_event.elapsed() > SILENCE_MAX {
            return Err(format!("nothing has moved for {SILENCE_MAX:?}").into());
        }
        Ok(())
    }
}
