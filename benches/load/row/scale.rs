//! The sizes of all loads: those of the table of goals, or tiny ones for a smoke run.

use std::time::Duration;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Large bodies are multiples of 1 MiB, the largest chunk; the other bodies of 64 KiB.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Pairs run this long before counting begins, so that queues and caches fill.
    pub warm_up: Duration,
    /// Pairs are counted for this long.
    pub window: Duration,
    /// Pairs whose latency is measured, one at a time.
    pub latency_pairs: u64,
    /// Pairs that each follow a silence.
    pub quiet_pairs: u64,
    /// Size of a large body.
    pub bulk_bytes: u64,
    /// Large bodies per round.
    pub bulk_bodies: u64,
    /// Total size per round of the rows with 64 KiB and 1 MiB bodies.
    pub middle_bytes: u64,
    /// Approximate size of the pass that compares the bodies.
    pub verified_bytes: u64,
    /// Consumers that wait at the same time.
    pub waiting: usize,
    /// Time for a server to finish its work on them before the quiet window begins.
    pub settle: Duration,
    /// Nothing happens for this long while the server's CPU is measured.
    pub quiet_window: Duration,
    /// Connections that send slow heads, and as many idle ones.
    pub besiegers: usize,
    /// Producers, and as many consumers, that queue on one channel.
    pub backlog: usize,
    /// Concurrent exchanges.
    pub crowd: usize,
    /// Body size of each of those.
    pub crowd_bytes: u64,
}

impl Scale {
    /// The sizes that the goals are stated for.
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
        settle: Duration::from_secs(2),
        quiet_window: Duration::from_secs(10),
        besiegers: 5_000,
        backlog: 2_000,
        crowd: 1_000,
        crowd_bytes: 4 * MIB,
    };

    /// Just large enough to run every line of the harness.
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
        settle: Duration::from_millis(50),
        quiet_window: Duration::from_millis(300),
        besiegers: 50,
        backlog: 20,
        crowd: 20,
        crowd_bytes: MIB,
    };

    pub const SMALL_BODY_BYTES: u64 = 64 * KIB;
    pub const MIDDLE_BODY_BYTES: u64 = MIB;
}
