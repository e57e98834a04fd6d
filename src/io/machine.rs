//! What this process may use of the machine: cores and descriptors.

use rustix::{
    process::{Resource, Rlimit, getrlimit, setrlimit},
    thread::sched_getaffinity,
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
