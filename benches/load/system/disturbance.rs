//! CPU time that a run lost to other processes and to the hypervisor.

use std::fs;
use std::time::Instant;

use crate::system::{cores, process};

/// Measures the disturbance of a run.
pub struct Quiet {
    begin: Instant,
    spent: Spent,
}

/// CPU seconds of all cores, since boot.
#[derive(Clone, Copy, Debug)]
struct Spent {
    by_all: f64,
    by_us: f64,
    stolen: f64,
}

/// In CPU seconds.
#[derive(Clone, Copy, Debug)]
pub struct Disturbance {
    /// The run's duration times the number of cores.
    pub available: f64,
    /// Used by processes other than the harness and its servers.
    pub others: f64,
    /// Given to other machines by the hypervisor.
    pub stolen: f64,
}

impl Quiet {
    pub fn begin() -> Self {
        Self {
            begin: Instant::now(),
            spent: Spent::so_far(),
        }
    }

    /// Call it after all servers have exited: the kernel counts the CPU of a child when it is reaped.
    pub fn end(&self) -> Disturbance {
        let now = Spent::so_far();
        let (all, us) = (now.by_all - self.spent.by_all, now.by_us - self.spent.by_us);
        Disturbance {
            available: self.begin.elapsed().as_secs_f64() * cores::allowed().len() as f64,
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
        let per_second = process::ticks_per_second();
        Self {
            // Interrupts are charged to whatever they interrupt, which is mostly this run.
            by_all: [0, 1, 2, 5, 6]
                .iter()
                .filter_map(|&index| ticks.get::<usize>(index))
                .sum::<f64>()
                / per_second,
            by_us: process::cpu_seconds_with_children().unwrap_or(0.0),
            stolen: ticks.get(7).copied().unwrap_or(0.0) / per_second,
        }
    }
}
