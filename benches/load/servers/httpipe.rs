//! Starts httpipe.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::client::target::Target;
use crate::error::Result;
use crate::servers::running::Running;
use crate::system::cores::Cores;

/// By convention the user that owns nothing.
const NOBODY: u32 = 65534;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum User {
    /// The user who runs the harness.
    Same,
    /// A user without privileges; the harness must be root.
    Ordinary,
}

/// Starts httpipe on a free port of the loopback and waits until it listens.
pub fn start(
    label: &str,
    executable: &Path,
    options: &[&str],
    user: User,
    cores: Cores,
) -> Result<Running> {
    let (command, folder) = command(executable, options, user)?;
    Running::launch(command, cores, folder, |address, pid| {
        Target::own(label, address, pid)
    })
}

fn command(executable: &Path, options: &[&str], user: User) -> Result<(Command, Option<TempDir>)> {
    let (mut command, folder) = match user {
        User::Same => (Command::new(executable), None),
        User::Ordinary => {
            // An ordinary user may have no access to the build folder.
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
