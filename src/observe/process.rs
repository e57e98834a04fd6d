//! Metrics of the process as a whole: CPU time, memory, open descriptors.
//!
//! Collected only when the metrics are read. Must never take long: a shard collects them, and its
//! connections wait meanwhile.

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

/// Records the start time of the process. No-op on later calls.
pub fn begin() {
    BEGAN.get_or_init(SystemTime::now);
}

/// The current values. `None`: the kernel does not provide the value.
#[derive(Clone, Copy, Debug)]
pub struct Process {
    /// Start time, since the Unix epoch.
    pub began: Duration,
    /// User and system time of all threads.
    pub cpu: Duration,
    pub resident_bytes: Option<u64>,
    pub virtual_bytes: Option<u64>,
    /// Open descriptors. Needs Linux 6.2: counting them one by one takes milliseconds with many
    /// connections.
    pub open_files: Option<u64>,
    /// The limit of open descriptors; `None` also without a limit.
    pub open_files_max: Option<u64>,
    pub log_lines_lost: u64,
}

impl Process {
    /// Reads `/proc/self` (`proc(5)`), in a few microseconds.
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
            log_lines_lost: log::lines_lost(),
        }
    }
}

/// The first two numbers of `/proc/self/statm`, in bytes: virtual and resident memory.
fn memory() -> [Option<u64>; 2] {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let mut pages = statm.split(' ');
    [(); 2].map(|()| Some(pages.next()?.parse::<u64>().ok()? * machine::page_bytes()))
}

/// The number of entries of `/proc/self/fd`: its size since Linux 6.2, 0 on older kernels.
fn open_files() -> Option<u64> {
    let entries = fs::metadata("/proc/self/fd").ok()?.len();
    (entries > 0).then_some(entries)
}

/// The names are those of the official Prometheus clients.
impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let to = &mut encoder;
        counter(
            to,
            "httpipe_log_lines_dropped",
            "Log lines lost because standard error was not read fast enough or could not be written",
            self.log_lines_lost,
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
            "Start time of the process, in seconds since the Unix epoch",
            self.began.as_secs_f64(),
        )?;
        for (name, help, value) in [
            (
                "process_resident_memory_bytes",
                "Resident memory, in bytes",
                self.resident_bytes,
            ),
            (
                "process_virtual_memory_bytes",
                "Virtual memory, in bytes",
                self.virtual_bytes,
            ),
            ("process_open_fds", "Open file descriptors", self.open_files),
            (
                "process_max_fds",
                "Limit of open file descriptors",
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
    fn a_running_process_uses_memory_and_started_in_the_past() {
        begin();
        let process = Process::look();
        assert!(process.resident_bytes > Some(0));
        assert!(process.virtual_bytes >= process.resident_bytes);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        assert!(process.began <= now.expect("it is later than 1970"));
        assert_eq!(process.began, Process::look().began);
    }
}
