//! The kernel's data about a process: its memory and its descriptors (`proc(5)`).

use std::fs;

/// The number of open descriptors of the process.
pub fn descriptors(pid: u32) -> usize {
    let listed = fs::read_dir(format!("/proc/{pid}/fd")).expect("our child's descriptors");
    listed.count()
}

/// What each descriptor is, for the report of a failing test.
pub fn descriptor_targets(pid: u32) -> Vec<String> {
    let listed = fs::read_dir(format!("/proc/{pid}/fd")).expect("our child's descriptors");
    let targets = listed.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    targets.map(|path| path.display().to_string()).collect()
}

/// The resident memory of the process in bytes (`VmRSS`).
pub fn resident_bytes(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("our child's status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kib: u64 = kib.and_then(|kib| kib.parse().ok()).expect("VmRSS in kB");
    kib * 1024
}
