//! Child processes. They get SIGTERM, then SIGKILL if they do not exit; none outlives the harness.

use std::process::{Child, ChildStderr, ChildStdin, Command, ExitStatus};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::error::Result;
use crate::system::cores::{Cores, on_cores};

const STOP_MAX: Duration = Duration::from_secs(10);

/// Stops the process on drop.
pub struct Daemon {
    child: Child,
}

impl Daemon {
    pub fn start(mut command: Command, cores: Cores) -> Result<Self> {
        let child = on_cores(cores, move || Ok(command.spawn()?))?;
        Ok(Self { child })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Standard error if it is piped; `None` after the first call.
    pub fn take_stderr(&mut self) -> Option<ChildStderr> {
        self.child.stderr.take()
    }

    /// Standard input if it is piped; `None` after the first call.
    pub fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// The status of a process that has ended by itself.
    pub fn exited(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Sends SIGTERM and waits. Fails if the process does not exit in time.
    pub fn stop(mut self) -> Result<ExitStatus> {
        self.terminate()?
            .ok_or_else(|| format!("did not end within {STOP_MAX:?} of SIGTERM").into())
    }

    fn terminate(&mut self) -> Result<Option<ExitStatus>> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(Some(status));
        }
        if let Some(pid) = i32::try_from(self.pid()).ok().and_then(Pid::from_raw) {
            kill_process(pid, Signal::TERM)?;
        }
        let deadline = Instant::now() + STOP_MAX;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Some(status));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(None)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // SIGTERM first: nginx's worker would survive a killed master. A process that was reaped already
        // gets no signal, because its id may have a new owner.
        if !matches!(self.terminate(), Ok(Some(_))) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
