//! Child processes. One is told to stop, and killed if it does not, or if the harness fails: none is
//! left behind.

use std::process::{Child, ChildStderr, Command, ExitStatus};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::error::Result;
use crate::system::cores::{Cores, on_cores};

const STOP_MAX: Duration = Duration::from_secs(10);

/// A child process that does not outlive its owner.
pub struct Daemon {
    child: Child,
}

impl Daemon {
    /// Starts `command` on `cores`, which its threads inherit.
    pub fn start(mut command: Command, cores: Cores) -> Result<Self> {
        let child = on_cores(cores, move || Ok(command.spawn()?))?;
        Ok(Self { child })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its standard error, if that is piped; only once.
    pub fn take_stderr(&mut self) -> Option<ChildStderr> {
        self.child.stderr.take()
    }

    /// Asks it to end, and waits.
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
        // Politely first: nginx's worker would survive a master that is killed. What has been
        // waited for already is neither told nor killed again.
        if !matches!(self.terminate(), Ok(Some(_))) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
