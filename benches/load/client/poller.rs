//! One thread's epoll: which of its sockets want attention. It owns no socket and knows no HTTP.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};
use rustix::io::Errno;

use crate::error::Result;

/// No row waits longer than this for any sign of life. More than a server's default header timeout,
/// which is the first that besiegers hear of it.
pub const SILENCE_MAX: Duration = Duration::from_secs(20);

const EVENTS_MAX: usize = 256;

/// An epoll set and the room for what it reports.
pub struct Poller {
    epoll: OwnedFd,
    ready: Vec<epoll::Event>,
    last_event: Instant,
}

/// When a socket is reported.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Interest {
    /// While there is something to be read.
    Read,
    /// While there is room to write.
    Write,
    /// Whenever something has newly come to be read: registered once, never changed.
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
    /// An empty set.
    pub fn new() -> Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let ready = Vec::with_capacity(EVENTS_MAX);
        Ok(Self {
            epoll,
            ready,
            last_event: Instant::now(),
        })
    }

    /// Watches `socket`, which is reported as `token`.
    pub fn add(&self, socket: impl AsFd, token: usize, interest: Interest) -> Result<()> {
        let data = epoll::EventData::new_u64(token as u64);
        Ok(epoll::add(&self.epoll, socket, data, interest.flags())?)
    }

    /// Watches `socket` for something else from now on.
    pub fn change(&self, socket: impl AsFd, token: usize, interest: Interest) -> Result<()> {
        let data = epoll::EventData::new_u64(token as u64);
        Ok(epoll::modify(&self.epoll, socket, data, interest.flags())?)
    }

    /// Watches `socket` no more.
    pub fn remove(&self, socket: impl AsFd) -> Result<()> {
        Ok(epoll::delete(&self.epoll, socket)?)
    }

    /// Waits up to `timeout` and puts the tokens that are ready into `tokens`.
    /// Fails if nothing at all has happened for [`SILENCE_MAX`]: then a row hangs.
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
        self.mind_the_silence(tokens.is_empty())
    }

    fn mind_the_silence(&mut self, silent: bool) -> Result<()> {
        if !silent {
            self.last_event = Instant::now();
        } else if self.last_event.elapsed() > SILENCE_MAX {
            return Err(format!("nothing has moved for {SILENCE_MAX:?}").into());
        }
        Ok(())
    }
}
