//! What the tests share: the server under test, a strict HTTP client over a raw socket, and other
//! people's clients. Must never hold an expectation that belongs to one test alone.

pub mod cluster;
pub mod connection;
pub mod metrics;
pub mod network;
pub mod pattern;
pub mod process;
pub mod program;
pub mod proxy;
pub mod request;
pub mod seccomp;
pub mod server;
pub mod shipped;
pub mod transcript;

use std::io::{Write, stderr};
use std::time::{Duration, Instant};

/// How long anything may take before a test fails. Generous, because it is never waited for when
/// all goes well: the machine may be slow, the build unoptimized and the other tests busy.
pub const FAILURE_BOUND: Duration = Duration::from_secs(20);

/// The two sides of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Producer,
    Consumer,
}

impl Side {
    /// The counterpart's side.
    pub fn other(self) -> Self {
        match self {
            Self::Producer => Self::Consumer,
            Self::Consumer => Self::Producer,
        }
    }

    /// The side's name as the label `side` of the server's gauges has it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Producer => "producer",
            Self::Consumer => "consumer",
        }
    }
}

/// Asks `look` again and again until it gives a value; `None` after [`FAILURE_BOUND`].
pub fn within_bound<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let started = Instant::now();
    loop {
        let value = look();
        if value.is_some() || started.elapsed() > FAILURE_BOUND {
            return value;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Asks `look` again and again until it gives a value; fails after [`FAILURE_BOUND`] with `what`
/// it was waiting for.
#[track_caller]
pub fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    match within_bound(look) {
        Some(value) => value,
        None => panic!("waited {FAILURE_BOUND:?} in vain for {what}"),
    }
}

/// To be called, before returning, by a test that cannot run here. Says why, loudly; and fails where
/// `HTTPIPE_REQUIRE_ALL` is set, as `ci/check` does where it can provide what the tests need: a test
/// that is always skipped proves nothing.
#[track_caller]
pub fn skip(why: &str) {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or_default();
    let required = std::env::var_os("HTTPIPE_REQUIRE_ALL").is_some_and(|value| !value.is_empty());
    assert!(
        !required,
        "{name} would be SKIPPED, and HTTPIPE_REQUIRE_ALL is set: {why}"
    );
    // Not by a macro, whose output the test harness would keep to itself.
    let _ = writeln!(stderr(), "SKIPPED {name}: {why}");
}
