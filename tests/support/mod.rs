//! What the tests share: the server under test, a strict HTTP client on a raw socket, and clients
//! from other projects. Must never contain an expectation of one single test.

pub mod chromium;
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
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The most time for anything before a test fails. It is generous, because a passing test never
/// waits for it: the machine may be slow, the build unoptimized and other tests busy.
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

    /// The value of the label `side` in the server's gauges.
    pub fn label(self) -> &'static str {
        match self {
            Self::Producer => "producer",
            Self::Consumer => "consumer",
        }
    }
}

/// Calls `look` again and again until it returns a value; `None` after [`FAILURE_BOUND`].
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

/// Calls `look` again and again until it returns a value; after [`FAILURE_BOUND`] fails with `what`
/// it was waiting for.
#[track_caller]
pub fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    match within_bound(look) {
        Some(value) => value,
        None => panic!("waited {FAILURE_BOUND:?} for {what}"),
    }
}

/// Tells other threads of a test that it is over, also if it fails.
pub struct EndOnDrop<'a>(pub &'a AtomicBool);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// For a test that cannot run here: prints why; the test then returns. Fails if
/// `HTTPIPE_REQUIRE_ALL` is set, as `ci/check` does where it can provide what the tests need: a
/// test that is always skipped proves nothing.
#[track_caller]
pub fn skip(why: &str) {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or_default();
    let required = std::env::var_os("HTTPIPE_REQUIRE_ALL").is_some_and(|value| !value.is_empty());
    assert!(
        !required,
        "{name} would be SKIPPED, and HTTPIPE_REQUIRE_ALL is set: {why}"
    );
    // Not `eprintln!`, whose output the test harness would capture.
    let _ = writeln!(stderr(), "SKIPPED {name}: {why}");
}
