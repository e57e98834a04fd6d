//! The resources of the process: cores, descriptors, CPU time.

use std::time::Duration;

use rustix::{
    param::page_size,
    process::{Resource, Rlimit, getrlimit, setrlimit},
    thread::sched_getaffinity,
    time::{ClockId, clock_gettime},
};

/// The cores that this process may run on (`sched_getaffinity(2)`), at least 1.
#[must_use]
pub fn allowed_cores() -> usize {
    sched_getaffinity(None).map_or(1, |set| set.count().max(1) as usize)
}

/// Raises the limit of open files to its hard limit (`getrlimit(2)`) and returns the limit in force.
#[must_use]
pub fn raise_open_files_limit() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let holds = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    holds.map_or(usize::MAX, |files| {
        usize::try_from(files).unwrap_or(usize::MAX)
    })
}

/// The limit of open files in force; `None` if there is none.
#[must_use]
pub fn open_files_limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// The names of the listening sockets that this process inherits (`sd_listen_fds(3)`). None if a
/// variable is invalid: [`crate::io::sys::inherited_sockets`] returns that error.
#[must_use]
pub fn inherited_names() -> Vec<String> {
    match sd_notify::listen_fds_with_names() {
        Ok(found) => found.map(|(_, name)| name).collect(),
        Err(_) => Vec::new(),
    }
}

/// User and system time of all threads of this process (`clock_gettime(2)`).
#[must_use]
pub fn cpu_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default()
}

/// The size of a page of memory, in bytes.
#[must_use]
pub fn page_bytes() -> u64 {
    page_size() as u64
}
