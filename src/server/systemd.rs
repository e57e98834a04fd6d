//! Notifications to the service manager (`sd_notify(3)`): ready, stopping, watchdog.
//!
//! Does nothing without `NOTIFY_SOCKET`. A notification that fails is logged, and the server goes on.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use sd_notify::NotifyState;

use crate::{server::listener::Listener, shard::shared::Shared};

/// Reports that the server accepts connections on `listeners`.
pub fn ready(listeners: &[Listener]) {
    let addresses = Vec::from_iter(listeners.iter().map(|known| known.address.to_string()));
    let status = format!("listening on {}", addresses.join(", "));
    notify(&[NotifyState::Ready, NotifyState::Status(&status)]);
}

/// Reports that the server drains.
pub fn stopping() {
    let status = NotifyState::Status("draining: waiting for running exchanges");
    notify(&[NotifyState::Stopping, status]);
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!("cannot notify the service manager: {error}");
    }
}

/// Starts the thread that notifies the watchdog (`WatchdogSec=`), if one is configured: twice in each
/// watchdog period, as long as every shard has swept since the last notification. One hung shard lets the
/// watchdog expire. The period must be longer than a few sweeps ([`crate::limits::SWEEP_PERIOD`]).
///
/// # Errors
/// The thread cannot be started.
pub fn start_watchdog(shared: &Arc<Shared>) -> io::Result<()> {
    let Some(period) = sd_notify::watchdog_enabled() else {
        return Ok(());
    };
    let shared = Arc::clone(shared);
    let watch = move || {
        let mut last = SweepCounts::of(&shared.heartbeats);
        loop {
            thread::sleep(period / 2);
            if last.all_advanced(&shared.heartbeats) {
                notify(&[NotifyState::Watchdog]);
            } else {
                tracing::error!("a shard hangs: the watchdog is not notified");
            }
        }
    };
    thread::Builder::new()
        .name("watchdog".to_owned())
        .spawn(watch)?;
    Ok(())
}

/// The number of sweeps of each shard at the last check.
struct SweepCounts(Vec<u64>);

impl SweepCounts {
    fn of(heartbeats: &[AtomicU64]) -> Self {
        let counts = heartbeats.iter();
        Self(counts.map(|count| count.load(Ordering::Relaxed)).collect())
    }

    /// Whether every shard has swept since the last check.
    fn all_advanced(&mut self, heartbeats: &[AtomicU64]) -> bool {
        let now = Self::of(heartbeats);
        let advanced = self.0.iter().zip(&now.0).all(|(last, now)| last != now);
        *self = now;
        advanced
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_is_notified_only_while_every_shard_sweeps() {
        let sweeps = [0, 7].map(AtomicU64::new);
        let sweep = |shard: usize| sweeps[shard].fetch_add(1, Ordering::Relaxed);
        let mut last = SweepCounts::of(&sweeps);
        assert!(!last.all_advanced(&sweeps), "none has swept");
        sweep(0);
        assert!(!last.all_advanced(&sweeps), "the second has not");
        sweep(0);
        sweep(1);
        assert!(last.all_advanced(&sweeps));
        assert!(!last.all_advanced(&sweeps), "none has swept since");
    }
}
