//! A server that runs, whoever started it.

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

/// A server that runs, and what is needed to stop it.
pub struct Running {
    /// How to drive it.
    pub target: Target,
    daemon: Option<Daemon>,
    log: Log,
    _folder: Option<TempDir>,
}

impl Running {
    /// A server that somebody else started and will stop.
    pub fn attached(target: Target) -> Self {
        Self {
            target,
            daemon: None,
            log: Log::default(),
            _folder: None,
        }
    }

    /// A server that the harness started, with the folder it needs.
    pub fn started(target: Target, daemon: Daemon, folder: Option<TempDir>) -> Self {
        Self {
            target,
            daemon: Some(daemon),
            log: Log::default(),
            _folder: folder,
        }
    }

    /// Starts `command` and waits until it logs where it listens. `target` turns that address and the
    /// process id into what is driven.
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
        // Reads on for as long as the server lives, so that it never blocks on what it logs.
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

    /// The last lines it logged, each on a line of its own; empty if there are none.
    pub fn last_words(&self) -> String {
        self.log.last_lines()
    }

    /// Tells it to stop and waits; an error if it has to be killed or does not exit with 0.
    pub fn stop(mut self) -> Result<()> {
        let Some(daemon) = self.daemon.take() else {
            return Ok(());
        };
        match daemon.stop()? {
            status if status.success() => Ok(()),
            // What has no graceful end (the bare loop) ends by the signal that asked for it.
            status if !self.target.has_metrics && status.signal().is_some() => Ok(()),
            status => Err(format!("did not end well: {status}{}", self.last_words()).into()),
        }
    }
}
