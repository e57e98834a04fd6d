//! CPU affinity of the harness, which its servers inherit.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::error::Result;

pub fn allowed() -> Vec<usize> {
    let set = sched_getaffinity(None).unwrap_or_else(|_| CpuSet::new());
    (0..CpuSet::MAX_CPU)
        .filter(|&core| set.is_set(core))
        .collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cores {
    /// No restriction.
    Any,
    /// All but the last core, for the server of a row with `clients_apart`.
    ServerSide,
    /// Only the last core, for its clients.
    ClientSide,
}

/// Runs `work` on a new thread that is bound to `cores`; threads and processes that it spawns inherit
/// this. A machine with a single core has no restriction.
pub fn on_cores<T: Send>(cores: Cores, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let bound = move || {
        if let Some(set) = core_set(cores) {
            sched_setaffinity(None, &set)?;
        }
        work()
    };
    std::thread::scope(|scope| scope.spawn(bound).join())
        .unwrap_or_else(|_| Err("a client thread panicked".into()))
}

fn core_set(cores: Cores) -> Option<CpuSet> {
    let allowed = allowed();
    let (&last, others) = allowed.split_last()?;
    let chosen = match cores {
        Cores::Any => return None,
        _ if others.is_empty() => return None,
        Cores::ServerSide => others,
        Cores::ClientSide => &[last],
    };
    let mut set = CpuSet::new();
    chosen.iter().for_each(|&core| set.set(core));
    Some(set)
}
