//! How large everything is: the sizes of the table of goals, or tiny ones for a smoke run.

use std::time::Duration;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Every size and length of time that a row may ask for. Bodies are multiples of 64 KiB.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Pairs run this long before anything is counted, so that queues and caches fill.
    pub warm_up: Duration,
    /// Pairs are counted for this long. CPU time comes in ticks of 10 ms.
    pub window: Duration,
    /// Pairs, one at a time, whose latency is taken.
    pub latency_pairs: u64,
    /// Pairs that each come after a silence.
    pub quiet_pairs: u64,
    /// A large body.
    pub bulk_bytes: u64,
    /// Large bodies in one round.
    pub bulk_bodies: u64,
    /// What the rows of middle-sized bodies move in one round.
    pub middle_bytes: u64,
    /// The pass in which bodies are compared moves about this much.
    pub verified_bytes: u64,
    /// Consumers that wait at once.
    pub waiting: usize,
    /// Connections that send slow heads, and as many that are idle.
    pub besiegers: usize,
    /// Exchanges at once.
    pub crowd: usize,
    /// The body of each of those.
    pub crowd_bytes: u64,
}

impl Scale {
    /// What the table of goals says.
    pub const FULL: Self = Self {
        warm_up: Duration::from_millis(400),
        window: Duration::from_millis(2500),
        latency_pairs: 20_000,
        quiet_pairs: 300,
        bulk_bytes: GIB,
        bulk_bodies: 4,
        middle_bytes: 2 * GIB,
        verified_bytes: 256 * MIB,
        waiting: 15_000,
        besiegers: 5_000,
        crowd: 1_000,
        crowd_bytes: 4 * MIB,
    };

    /// Just enough that every line of the harness runs.
    pub const SMOKE: Self = Self {
        warm_up: Duration::from_millis(20),
        window: Duration::from_millis(150),
        latency_pairs: 100,
        quiet_pairs: 5,
        bulk_bytes: 8 * MIB,
        bulk_bodies: 1,
        middle_bytes: 4 * MIB,
        verified_bytes: 4 * MIB,
        waiting: 100,
        besiegers: 50,
        crowd: 20,
        crowd_bytes: MIB,
    };

    /// A body of 64 KiB.
    pub const SMALL_BODY_BYTES: u64 = 64 * KIB;
    /// A body of 1 MiB.
    pub const MIDDLE_BODY_BYTES: u64 = MIB;
}
