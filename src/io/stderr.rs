//! [`StandardError`]: writes to descriptor 2, with every error reported.

use std::io::{self, Write};

use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
};

/// Standard error without std's leniency: `io::stderr()` takes `EBADF` for success.
pub struct StandardError;

impl Write for StandardError {
    /// Waits for room also if another process has made the pipe non-blocking (`O_NONBLOCK` belongs to
    /// the open file, which processes share; `fcntl(2)`).
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let stderr = io::stderr();
        loop {
            match rustix::io::write(&stderr, bytes) {
                Err(Errno::AGAIN) => {
                    poll(&mut [PollFd::new(&stderr, PollFlags::OUT)], None)?;
                }
                written => return Ok(written?),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
