//! Starts and stops the servers that the harness owns. A server is told to stop when its row is
//! over, and killed if it does not, or if the harness fails: none is left behind.

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::error::Result;
use crate::machine::{Cores, on_cores};
use crate::target::Target;

const START_MAX: Duration = Duration::from_secs(10);
const STOP_MAX: Duration = Duration::from_secs(10);
const LAST_LINES: usize = 10;
/// The user that owns nothing, by convention.
const NOBODY: u32 = 65534;

/// Who runs a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum User {
    /// Whoever runs the harness.
    Same,
    /// Somebody without privileges (the harness must be root).
    Ordinary,
}

/// A server that runs, and what is needed to stop it.
pub struct Running {
    /// How to drive it.
    pub target: Target,
    daemon: Option<Daemon>,
    said: Lines,
    _folder: Option<TempDir>,
}

type Lines = Arc<Mutex<VecDeque<String>>>;

impl Running {
    /// A server that somebody else started and will stop.
    pub fn attached(target: Target) -> Self {
        Self {
            target,
            daemon: None,
            said: Lines::default(),
            _folder: None,
        }
    }

    /// A server that the harness started, with the folder it needs.
    pub fn started(target: Target, daemon: Daemon, folder: Option<TempDir>) -> Self {
        Self {
            target,
            daemon: Some(daemon),
            said: Lines::default(),
            _folder: folder,
        }
    }

    /// The last lines it logged, each on a line of its own; empty if there are none.
    pub fn last_words(&self) -> String {
        last_words(&self.said)
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

fn last_words(lines: &Lines) -> String {
    let lines = lines
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    lines.iter().map(|line| format!("\n    | {line}")).collect()
}

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

    /// Asks it to end, and waits.
    fn stop(mut self) -> Result<ExitStatus> {
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

/// Starts httpipe on a free port of the loopback and waits until it says where it listens.
pub fn start(
    label: &str,
    executable: &Path,
    options: &[&str],
    user: User,
    cores: Cores,
) -> Result<Running> {
    let (command, folder) = command(executable, options, user)?;
    let (daemon, said, address) = launch(command, cores)?;
    Ok(Running {
        target: Target::own(label, address, daemon.pid()),
        daemon: Some(daemon),
        said,
        _folder: folder,
    })
}

/// Starts the bare splice loop: this very executable.
pub fn start_bare_loop(label: &str, cores: Cores) -> Result<Running> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--bare-loop");
    let (daemon, said, address) = launch(command, cores)?;
    Ok(Running {
        target: Target::attached(label, address, "/{channel}", daemon.pid()),
        daemon: Some(daemon),
        said,
        _folder: None,
    })
}

/// Starts `command` and waits until it logs where it listens.
fn launch(mut command: Command, cores: Cores) -> Result<(Daemon, Lines, SocketAddr)> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut daemon = Daemon::start(command, cores)?;
    let stderr = daemon.child.stderr.take().ok_or("no standard error")?;
    let said = Lines::default();
    let (sender, listening) = channel();
    let lines = Arc::clone(&said);
    // Reads on for as long as the server lives, so that it never blocks on what it logs.
    std::thread::spawn(move || read_log(stderr, &lines, &sender));
    match listening.recv_timeout(START_MAX) {
        Ok(address) => Ok((daemon, said, address)),
        Err(_) => Err(format!("did not start{}", last_words(&said)).into()),
    }
}

fn command(executable: &Path, options: &[&str], user: User) -> Result<(Command, Option<TempDir>)> {
    let (mut command, folder) = match user {
        User::Same => (Command::new(executable), None),
        User::Ordinary => {
            // Where it was built, an ordinary user may have no business.
            let folder = TempDir::new()?;
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
            let copy = folder.path().join("httpipe");
            fs::copy(executable, &copy)?;
            let mut command = Command::new(copy);
            command.uid(NOBODY).gid(NOBODY);
            (command, Some(folder))
        }
    };
    command
        .env_clear()
        .args(["--host", "127.0.0.1", "--port", "0"])
        .args(options)
        .current_dir("/");
    Ok((command, folder))
}

fn read_log(stderr: ChildStderr, lines: &Lines, listening: &Sender<SocketAddr>) {
    for line in BufReader::new(stderr)
        .lines()
        .map_while(std::result::Result::ok)
    {
        if let Some(address) = listening_address(&line) {
            // Nobody waits for a second one.
            let _ = listening.send(address);
        }
        let mut lines = lines
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        lines.push_back(line);
        if lines.len() > LAST_LINES {
            lines.pop_front();
        }
    }
}

fn listening_address(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("listening on http://")?;
    rest.split_whitespace().next()?.parse().ok()
}
