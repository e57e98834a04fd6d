//! The machine and this process: which kernel and cores, which commit, whose turn it is on which
//! core, how many files may be open. Reads; changes only this process's own limits and affinity.

use std::fs;
use std::process::Command;
use std::time::Instant;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::error::Result;

/// Raises the limit of open files to the hard limit, because the rows with many waiting or
/// exchanging clients need every descriptor there is. Children inherit it.
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

/// How many descriptors this process may have open.
pub fn open_files_max() -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    limit.map_or(usize::MAX, |limit| {
        usize::try_from(limit).unwrap_or(usize::MAX)
    })
}

/// Kernel, processor and cores in one line.
pub fn description() -> String {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processors
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown processor", |(_, model)| model);
    let cores = allowed_cores().len();
    format!("Linux {}, {cores} cores ({model})", kernel.trim())
}

/// The congestion control of new sockets, from the network namespace of this process.
pub fn congestion_control() -> String {
    let name = fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control");
    name.map_or_else(|_| "unknown".to_owned(), |name| name.trim().to_owned())
}

/// The commit that was built, with `+` when the work tree differs from it; "unknown" outside git.
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

/// True if this process may do what an ordinary user may not.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Watches for what disturbs a run: others that want the same cores.
pub struct Quiet {
    begin: Instant,
    spent: Spent,
}

/// CPU seconds, summed over all cores, since some time in the past.
#[derive(Clone, Copy, Debug)]
struct Spent {
    by_all: f64,
    by_us: f64,
    stolen: f64,
}

/// What disturbed a run, in CPU seconds.
#[derive(Clone, Copy, Debug)]
pub struct Disturbance {
    /// What there was: the run's length times the cores.
    pub available: f64,
    /// What processes took that are neither the harness nor its servers.
    pub others: f64,
    /// What the hypervisor gave to other machines.
    pub stolen: f64,
}

impl Quiet {
    /// Begins to watch.
    pub fn begin() -> Self {
        Self {
            begin: Instant::now(),
            spent: Spent::so_far(),
        }
    }

    /// What it saw. All servers must have ended: only then is known what they took.
    pub fn end(&self) -> Disturbance {
        let now = Spent::so_far();
        let (all, us) = (now.by_all - self.spent.by_all, now.by_us - self.spent.by_us);
        Disturbance {
            available: self.begin.elapsed().as_secs_f64() * allowed_cores().len() as f64,
            others: (all - us).max(0.0),
            stolen: now.stolen - self.spent.stolen,
        }
    }
}

impl Spent {
    fn so_far() -> Self {
        // proc_stat(5): "cpu user nice system idle iowait irq softirq steal ...", in ticks.
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let ticks: Vec<f64> = stat
            .split_whitespace()
            .skip(1)
            .map_while(|field| field.parse().ok())
            .collect();
        let per_second = crate::process::ticks_per_second();
        Self {
            // Interrupts belong to whoever they happen to interrupt, which is mostly us.
            by_all: [0, 1, 2, 5, 6]
                .iter()
                .filter_map(|&index| ticks.get::<usize>(index))
                .sum::<f64>()
                / per_second,
            by_us: crate::process::cpu_seconds_with_children().unwrap_or(0.0),
            stolen: ticks.get(7).copied().unwrap_or(0.0) / per_second,
        }
    }
}

fn allowed_cores() -> Vec<usize> {
    let set = sched_getaffinity(None).unwrap_or_else(|_| CpuSet::new());
    (0..CpuSet::MAX_CPU)
        .filter(|&core| set.is_set(core))
        .collect()
}

/// Which cores something runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cores {
    /// Wherever the scheduler likes.
    Any,
    /// All but the last one: the server of a row that keeps clients apart.
    ServerSide,
    /// The last one alone: its clients.
    ClientSide,
}

/// Runs `work` on a thread of its own that is bound to `cores`; what it spawns inherits that.
/// On a machine with a single core everything shares it.
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
    let allowed = allowed_cores();
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
