//! A running server, started by the harness or attached.

use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use tempfile::TempDir;

use crate::client::target::Target;
use crate::error::Result;
use crate::servers::daemon::Daemon;
use crate::servers::log::Log;
use crate::system::cores::Cores;

const START_MAX: Duration = Duration::from_secs(10);

pub struct Running {
    pub target: Target,
    daemon: Option<Daemon>,
    log: Log,
    _folder: Option<TempDir>,
}

impl Running {
    /// A server that the harness neither starts nor stops.
    pub fn attached(target: Target) -> Self {
        Self {
            target,
            daemon: None,
            log: Log::default(),
            _folder: None,
        }
    }

    /// A server that the harness started. `folder` is deleted when it stops.
    pub fn started(target: Target, daemon: Daemon, folder: Option<TempDir>) -> Self {
        Self {
            target,
            daemon: Some(daemon),
            log: Log::default(),
            _folder: folder,
        }
    }

    /// Starts `command` and waits until it logs its address. `target` gets the address and the process
    /// id.
    pub fn launch(
        mut command: Command,
        cores: Cores,
        folder: Option<TempDir>,
        target: impl FnOnce(SocketAddr, u32) -> Target,
    ) -> Result<Self> {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut daemon = Daemon::start(command, cores)?;
        let stderr = daemon.take_stderr().ok_or("no standard error")?;
        let log = Log::default();
        let (sender, listening) = channel();
        let lines = log.clone();
        // Reads as long as the server runs, so that it never blocks on a full pipe.
        std::thread::spawn(move || lines.read(stderr, &sender));
        match listening.recv_timeout(START_MAX) {
            Ok(address) => Ok(Self {
                target: target(address, daemon.pid()),
                daemon: Some(daemon),
                log,
                _folder: folder,
            }),
            Err(_) => Err(format!("did not start{}", log.last_lines()).into()),
        }
    }

    /// See [`Log::last_lines`].
    pub fn last_lines(&self) -> String {
        self.log.last_lines()
    }

    /// Stops the server. Fails if it must be killed or exits with another code than 0.
    pub fn stop(mut self) -> Result<()> {
        let Some(daemon) = self.daemon.take() else {
            return Ok(());
        };
        match daemon.stop()? {
            status if status.success() => Ok(()),
            // The bare loop handles no signal, so SIGTERM kills it.
            status if !self.target.has_metrics && status.signal().is_some() => Ok(()),
            status => Err(format!("exited with {status}{}", self.last_lines()).into()),
        }
    }
}
