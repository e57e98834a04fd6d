//! What is said to the service manager that started this process, if one did (`sd_notify(3)`).
//!
//! Without `NOTIFY_SOCKET` nothing is said. A message that cannot be sent is logged and forgotten:
//! the server serves whether it is heard or not.

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

/// The server accepts connections on `listeners`.
pub fn ready(listeners: &[Listener]) {
    let addresses = Vec::from_iter(listeners.iter().map(|known| known.address.to_string()));
    let status = format!("listening on {}", addresses.join(", "));
    notify(&[NotifyState::Ready, NotifyState::Status(&status)]);
}

/// The server was told to end.
pub fn stopping() {
    let status = NotifyState::Status("draining: exchanges under way may end");
    notify(&[NotifyState::Stopping, status]);
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!("cannot tell the service manager: {error}");
    }
}

/// If a watchdog is asked for (`WatchdogSec=`), tells it twice in each of its periods that the server
/// lives, unless a shard has not swept since the last time: a shard that hangs is a server that
/// hangs. The period has to be longer than a few sweeps ([`crate::limits::SWEEP_PERIOD`]).
///
/// # Errors
/// The thread could not be started.
pub fn start_watchdog(shared: &Arc<Shared>) -> io::Result<()> {
    let Some(period) = sd_notify::watchdog_enabled() else {
        return Ok(());
    };
    let shared = Arc::clone(shared);
    let watch = move || {
        let mut pulse = Pulse::of(&shared.heartbeats);
        loop {
            thread::sleep(period / 2);
            if pulse.is_felt(&shared.heartbeats) {
                notify(&[NotifyState::Watchdog]);
            } else {
                tracing::error!("a shard hangs: the watchdog is not told that the server lives");
            }
        }
    };
    thread::Builder::new()
        .name("watchdog".to_owned())
        .spawn(watch)?;
    Ok(())
}

/// How often each shard had swept when it was last looked at.
struct Pulse(Vec<u64>);

impl Pulse {
    fn of(pulses: &[AtomicU64]) -> Self {
        Self(Vec::from_iter(
            pulses.iter().map(|shard| shard.load(Ordering::Relaxed)),
        ))
    }

    /// Whether every shard has swept since the last look.
    fn is_felt(&mut self, pulses: &[AtomicU64]) -> bool {
        let now = Self::of(pulses);
        let felt = self.0.iter().zip(&now.0).all(|(last, now)| last != now);
        *self = now;
        felt
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pulse_is_felt_only_while_every_shard_sweeps() {
        let sweeps = [0, 7].map(AtomicU64::new);
        let sweep = |shard: usize| sweeps[shard].fetch_add(1, Ordering::Relaxed);
        let mut pulse = Pulse::of(&sweeps);
        assert!(!pulse.is_felt(&sweeps), "none has swept");
        sweep(0);
        assert!(!pulse.is_felt(&sweeps), "the second has not");
        sweep(0);
        sweep(1);
        assert!(pulse.is_felt(&sweeps));
        assert!(!pulse.is_felt(&sweeps), "none has swept since");
    }
}
