//! [`SocketFile`]: the file of a Unix socket that this process bound.
//!
//! Must never remove a file that is not its own: another instance may listen there by now.

use std::{
    fs, io,
    os::unix::{
        fs::{FileTypeExt, MetadataExt, PermissionsExt},
        net::UnixStream,
    },
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

/// The file of a Unix socket that this process bound.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    identity: Identity,
    removed: AtomicBool,
}

/// Device and inode: another instance may have replaced the file.
type Identity = (u64, u64);

/// Why the file at a path cannot be replaced by a socket.
#[derive(Debug)]
pub enum Occupied {
    NotASocket,
    /// A server listens on it.
    InUse,
    /// This user may not connect, so whether a server listens on it is unknown.
    Unknown,
    /// It is stale, and removing it failed.
    Remove(io::Error),
}

impl SocketFile {
    /// The file at `path`, which this process has just bound.
    ///
    /// # Errors
    /// Those of `lstat(2)`.
    pub fn of(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            identity: identity(path)?,
            removed: AtomicBool::new(false),
        })
    }

    /// Sets the permissions. Before the socket listens, nobody can connect.
    ///
    /// # Errors
    /// Those of `chmod(2)`.
    pub fn set_mode(&self, mode: u32) -> io::Result<()> {
        fs::set_permissions(&self.path, fs::Permissions::from_mode(mode))
    }

    /// Removes the file, unless another has replaced it. Later calls do nothing.
    pub fn remove(&self) {
        if !self.removed.swap(true, Ordering::Relaxed)
            && identity(&self.path).is_ok_and(|found| found == self.identity)
        {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<Identity> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

/// Removes a stale socket file: a server that crashed or was killed has left it behind, and nobody
/// listens on it.
///
/// # Errors
/// It is no socket, it may be in use, or it cannot be removed.
pub fn remove_stale(path: &Path) -> Result<(), Occupied> {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    if !is_socket {
        return Err(Occupied::NotASocket);
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(Occupied::Remove)
        }
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(Occupied::Unknown),
        _ => Err(Occupied::InUse),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    fn path_in(folder: &tempfile::TempDir) -> PathBuf {
        folder.path().join("s.sock")
    }

    #[test]
    fn a_file_is_removed_once_and_another_in_its_place_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = path_in(&folder);
        let first = UnixListener::bind(&path).expect("a free path");
        let file = SocketFile::of(&path).expect("it is there");
        file.remove();
        assert!(!path.exists());
        drop(first);

        let _second = UnixListener::bind(&path).expect("a free path");
        let file = SocketFile::of(&path).expect("it is there");
        // Both exist for a moment, so that the third cannot get the inode of the second.
        let third = folder.path().join("third.sock");
        let _third = UnixListener::bind(&third).expect("a free path");
        fs::rename(&third, &path).expect("the same folder");
        file.remove();
        assert!(UnixStream::connect(&path).is_ok());
    }

    #[test]
    fn only_a_socket_that_nobody_listens_on_is_stale() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = path_in(&folder);
        let server = UnixListener::bind(&path).expect("a free path");
        assert!(matches!(remove_stale(&path), Err(Occupied::InUse)));
        drop(server);
        assert!(path.exists(), "std leaves the file");
        remove_stale(&path).expect("nobody listens");
        assert!(!path.exists());

        fs::write(&path, "kept").expect("a free path");
        assert!(matches!(remove_stale(&path), Err(Occupied::NotASocket)));
        assert_eq!(fs::read_to_string(&path).expect("it is there"), "kept");
    }
}
