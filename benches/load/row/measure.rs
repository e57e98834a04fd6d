//! The figures that rows yield.

/// What a figure measures.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "label() says it")]
pub enum Measure {
    CpuMicrosEach,
    PairsPerSecond,
    MedianMicros,
    P99Micros,
    QuietMedianMicros,
    CpuSecondsPerGib,
    GibPerSecond,
    ResidentKibEach,
    IdlePercent,
    LongestPauseMillis,
    PipesMax,
    GrowthMib,
    LogLinesLost,
    Cuts,
}

impl Measure {
    /// Name, unit, and number of significant decimals.
    pub fn label(self) -> (&'static str, &'static str, usize) {
        match self {
            Self::CpuMicrosEach => ("CPU a pair", "µs", 2),
            Self::PairsPerSecond => ("pairs a second", "", 0),
            Self::MedianMicros => ("latency, median", "µs", 1),
            Self::P99Micros => ("latency, 99 %", "µs", 1),
            Self::QuietMedianMicros => ("median after 2 ms of silence", "µs", 1),
            Self::CpuSecondsPerGib => ("CPU a GiB", "s", 3),
            Self::GibPerSecond => ("throughput", "GiB/s", 2),
            Self::ResidentKibEach => ("resident memory each", "KiB", 2),
            Self::IdlePercent => ("CPU of one core while idle", "%", 3),
            Self::LongestPauseMillis => ("longest pause", "ms", 0),
            Self::PipesMax => ("most pipes", "", 0),
            Self::Cuts => ("slow heads cut", "", 0),
            Self::GrowthMib => ("peak memory growth", "MiB", 1),
            Self::LogLinesLost => ("log lines lost", "", 0),
        }
    }
}

/// The figures of one contestant in one round.
pub type Sample = Vec<(Measure, f64)>;
