//! What took CPU from a run: other processes, and the hypervisor.

use std::fs;
use std::time::Instant;

use crate::system::{cores, process};

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
            // Interrupts belong to whoever they happen to interrupt, which is mostly us.
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
