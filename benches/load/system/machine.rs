//! The machine, the commit, and the limits of this process.

use std::fs;
use std::process::Command;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::error::Result;
use crate::system::cores;

/// Raises the limit of open files to the hard limit, which the rows with thousands of connections need.
/// Child processes inherit it.
pub fn raise_open_files() -> Result<()> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    )?;
    Ok(())
}

/// Descriptors that the harness and the server need for other purposes than connections.
const FILES_SPARE: usize = 500;

/// Connections that the harness, and a server with the same limit of open files, can have.
pub fn connections_max() -> usize {
    open_files_max().saturating_sub(FILES_SPARE)
}

pub fn check_connections(wanted: usize) -> Result<()> {
    match connections_max() {
        max if wanted > max => {
            Err(format!("open files suffice for {max} connections, not for {wanted}").into())
        }
        _ => Ok(()),
    }
}

fn open_files_max() -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    limit.map_or(usize::MAX, |limit| {
        usize::try_from(limit).unwrap_or(usize::MAX)
    })
}

pub fn description() -> String {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processors
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown processor", |(_, model)| model);
    let cores = cores::allowed().len();
    format!("Linux {}, {cores} cores ({model})", kernel.trim())
}

/// The default of this process's network namespace.
pub fn congestion_control() -> String {
    let name = fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control");
    name.map_or_else(|_| "unknown".to_owned(), |name| name.trim().to_owned())
}

/// The commit, with `+` if the work tree differs from it; "unknown" outside git.
pub fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(arguments)
            .output();
        output
            .ok()
            .filter(|output| output.status.success())
            .map(|output| output.stdout)
    };
    let Some(hash) = git(&["rev-parse", "--short=12", "HEAD"]) else {
        return "unknown".to_owned();
    };
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]);
    let mark = if changed.is_some_and(|lines| !lines.is_empty()) {
        "+"
    } else {
        ""
    };
    format!("{}{mark}", String::from_utf8_lossy(&hash).trim())
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
