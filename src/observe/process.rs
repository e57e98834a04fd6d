//! What the kernel and this process know of the process as a whole: CPU, memory, open files.
//!
//! Looked at when somebody asks for the metrics, and at no other time. Must never take long: a shard
//! looks, and its connections wait meanwhile.

use std::{
    fmt, fs,
    sync::OnceLock,
    time::{Duration, SystemTime},
};

use crate::io::machine;
use crate::observe::{
    counters::{counter, gauge},
    log,
};
use prometheus_client::{collector::Collector, encoding::DescriptorEncoder};

static BEGAN: OnceLock<SystemTime> = OnceLock::new();

/// Says that the process begins now; later calls change nothing.
pub fn begin() {
    BEGAN.get_or_init(SystemTime::now);
}

/// The process at one moment. What the kernel does not tell is `None`.
#[derive(Clone, Copy, Debug)]
pub struct Process {
    /// When it began, since the Unix epoch.
    pub began: Duration,
    /// User and system time of all its threads.
    pub cpu: Duration,
    /// Bytes of it that are in memory.
    pub resident_bytes: Option<u64>,
    /// Bytes that it has reserved addresses for.
    pub virtual_bytes: Option<u64>,
    /// Open descriptors. The kernel tells since Linux 6.2; to count them one by one would take
    /// milliseconds where there are many connections.
    pub open_files: Option<u64>,
    /// How many it may open; `None` also if there is no limit.
    pub open_files_max: Option<u64>,
    /// Lines that the log lost because whoever reads it was too slow.
    pub log_lines_dropped: u64,
}

impl Process {
    /// Looks at `/proc/self` (`proc(5)`), in a few microseconds.
    #[must_use]
    pub fn look() -> Self {
        let began = *BEGAN.get_or_init(SystemTime::now);
        let [virtual_bytes, resident_bytes] = memory();
        Self {
            began: began
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap_or_default(),
            cpu: machine::cpu_time(),
            resident_bytes,
            virtual_bytes,
            open_files: open_files(),
            open_files_max: machine::open_files_limit(),
            log_lines_dropped: log::lines_dropped(),
        }
    }
}

/// The first two numbers of `/proc/self/statm`, in bytes: all, and what is in memory.
fn memory() -> [Option<u64>; 2] {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let mut pages = statm.split(' ');
    [(); 2].map(|()| Some(pages.next()?.parse::<u64>().ok()? * machine::page_bytes()))
}

/// How many entries `/proc/self/fd` has; the kernel says so in its size since Linux 6.2, and 0 before.
fn open_files() -> Option<u64> {
    let entries = fs::metadata("/proc/self/fd").ok()?.len();
    (entries > 0).then_some(entries)
}

/// Under the names that Prometheus's own clients use.
impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let to = &mut encoder;
        counter(
            to,
            "httpipe_log_lines_dropped",
            "Log lines lost because whoever reads the log was too slow",
            self.log_lines_dropped,
        )?;
        counter(
            to,
            "process_cpu_seconds",
            "User and system CPU time, in seconds",
            self.cpu.as_secs_f64(),
        )?;
        gauge(
            to,
            "process_start_time_seconds",
            "When the process began, in seconds since the Unix epoch",
            self.began.as_secs_f64(),
        )?;
        for (name, help, value) in [
            (
                "process_resident_memory_bytes",
                "Memory in use, in bytes",
                self.resident_bytes,
            ),
            (
                "process_virtual_memory_bytes",
                "Addresses reserved, in bytes",
                self.virtual_bytes,
            ),
            ("process_open_fds", "Open file descriptors", self.open_files),
            (
                "process_max_fds",
                "How many file descriptors may be open",
                self.open_files_max,
            ),
        ] {
            if let Some(value) = value {
                gauge(to, name, help, value)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_living_process_has_used_memory_and_began_before_now() {
        begin();
        let process = Process::look();
        assert!(process.resident_bytes > Some(0));
        assert!(process.virtual_bytes >= process.resident_bytes);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        assert!(process.began <= now.expect("it is later than 1970"));
        assert_eq!(process.began, Process::look().began);
    }
}
