//! What a process has used: CPU time and resident memory, out of `/proc`. Reads only.

use std::fs;

use crate::error::Result;

/// The unit of time in `/proc/PID/stat`: what the kernel calls `USER_HZ`, 100 everywhere on Linux.
pub fn ticks_per_second() -> f64 {
    100.0
}

/// User plus system CPU seconds of all threads that `pid` has or had, to 10 ms.
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    ticks(&pid.to_string(), 2)
        .map_err(|error| format!("process {pid} cannot be measured: {error}").into())
}

/// The same for the harness and those of its children that have ended.
pub fn cpu_seconds_with_children() -> Result<f64> {
    ticks("self", 4)
}

/// proc_pid_stat(5): `utime`, `stime`, `cutime` and `cstime` are fields 14 to 17; the sum of the
/// first `count` of them in seconds. The name in field 2 may hold anything, so counting starts
/// behind its closing parenthesis.
fn ticks(pid: &str, count: usize) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').ok_or("no name in its stat")?;
    let fields = fields.split_whitespace().skip(11).take(count);
    let ticks: f64 = fields.filter_map(|field| field.parse::<f64>().ok()).sum();
    Ok(ticks / ticks_per_second())
}

/// The CPU that a process uses from now on.
pub struct CpuMeter {
    pid: u32,
    begin: f64,
}

impl CpuMeter {
    /// Begins to count for `pid`.
    pub fn start(pid: u32) -> Result<Self> {
        Ok(Self {
            pid,
            begin: cpu_seconds(pid)?,
        })
    }

    /// CPU seconds since the start.
    pub fn seconds(&self) -> Result<f64> {
        Ok(cpu_seconds(self.pid)? - self.begin)
    }
}

/// Resident KiB of `pid` now. `smaps_rollup` walks the page tables and is exact; the counters in
/// `status` may lag behind by some pages a thread, and serve where the other may not be read.
pub fn resident_kib(pid: u32) -> Result<f64> {
    kib_field(&format!("/proc/{pid}/smaps_rollup"), "Rss:")
        .or_else(|_| kib_field(&format!("/proc/{pid}/status"), "VmRSS:"))
}

/// The most KiB that were ever resident in `pid`.
pub fn peak_kib(pid: u32) -> Result<f64> {
    kib_field(&format!("/proc/{pid}/status"), "VmHWM:")
}

fn kib_field(path: &str, name: &str) -> Result<f64> {
    let text = fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let value = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    value.ok_or_else(|| format!("{path} has no {name}").into())
}

/// The children of `pid`, found by looking at every process (not every kernel lists them).
pub fn children(pid: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|&candidate| parent(candidate) == Some(pid))
        .collect()
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?
        .1
        .split_whitespace()
        .nth(1)?
        .parse()
        .ok()
}
