//! CPU time and memory of a process.

use std::fs;

use crate::error::Result;
use crate::system::sys;

/// `USER_HZ`, the unit of time in `/proc/PID/stat`: 100 on every Linux.
pub fn ticks_per_second() -> f64 {
    100.0
}

/// User plus system CPU seconds of all threads of `pid`, past and present. Exact: the times in
/// `/proc/PID/stat` have steps of 10 ms, which is half of what 15,000 idle consumers may cost in 10 s.
fn cpu_seconds(pid: u32) -> Result<f64> {
    match sys::cpu_time(pid) {
        Ok(time) => Ok(time.as_secs_f64()),
        Err(error) => Err(format!("process {pid} cannot be measured: {error}").into()),
    }
}

/// User plus system CPU seconds of the harness and those of its children that were reaped.
/// proc_pid_stat(5): `utime`, `stime`, `cutime` and `cstime` are fields 14 to 17. Field 2 is the name and
/// may contain anything, so counting starts after its closing parenthesis.
pub fn cpu_seconds_with_children() -> Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(')').ok_or("no name in its stat")?;
    let fields = fields.split_whitespace().skip(11).take(4);
    let ticks: f64 = fields.filter_map(|field| field.parse::<f64>().ok()).sum();
    Ok(ticks / ticks_per_second())
}

/// The CPU time that a process uses after `start`.
pub struct CpuMeter {
    pid: u32,
    begin: f64,
}

impl CpuMeter {
    pub fn start(pid: u32) -> Result<Self> {
        Ok(Self {
            pid,
            begin: cpu_seconds(pid)?,
        })
    }

    pub fn seconds(&self) -> Result<f64> {
        Ok(cpu_seconds(self.pid)? - self.begin)
    }
}

/// Resident KiB of `pid`. `smaps_rollup` walks the page tables and is exact. The counters in `status`
/// may lag by a few pages per thread; they are the fallback if `smaps_rollup` is not readable.
pub fn resident_kib(pid: u32) -> Result<f64> {
    kib_field(&format!("/proc/{pid}/smaps_rollup"), "Rss:")
        .or_else(|_| kib_field(&format!("/proc/{pid}/status"), "VmRSS:"))
}

/// Peak resident KiB of `pid`.
pub fn peak_kib(pid: u32) -> Result<f64> {
    kib_field(&format!("/proc/{pid}/status"), "VmHWM:")
}

fn kib_field(path: &str, name: &str) -> Result<f64> {
    let text = fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let value = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    value.ok_or_else(|| format!("{path} has no {name}").into())
}

/// The children of `pid`. Scans all processes, because not every kernel has `/proc/PID/task/*/children`.
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
