//! The figures that rows yield.

/// A figure that a row may yield.
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
    LongestPauseMillis,
    PipesMax,
    GrowthMib,
    LogLinesLost,
    Cuts,
}

impl Measure {
    /// Its name, its unit, and how many digits of it mean something.
    pub fn label(self) -> (&'static str, &'static str, usize) {
        match self {
            Self::CpuMicrosEach => ("CPU a pair", "µs", 2),
            Self::PairsPerSecond => ("pairs a second", "", 0),
            Self::MedianMicros => ("latency, median", "µs", 1),
            Self::P99Micros => ("latency, 99 %", "µs", 1),
            Self::QuietMedianMicros => ("median after 2 ms of silence", "µs", 1),
            Self::CpuSecondsPerGib => ("CPU a GiB", "s", 3),
            Self::GibPerSecond => ("throughput", "GiB/s", 2),
            Self::ResidentKibEach => ("resident for each", "KiB", 2),
            Self::LongestPauseMillis => ("longest pause of any", "ms", 0),
            Self::PipesMax => ("pipes at the most", "", 0),
            Self::Cuts => ("slow heads cut meanwhile", "", 0),
            Self::GrowthMib => ("memory grown at the most", "MiB", 1),
            Self::LogLinesLost => ("log lines lost", "", 0),
        }
    }
}

/// The figures of one contestant in one round.
pub type Sample = Vec<(Measure, f64)>;
