//! The signals of the process: those that it acts on and those that it ignores. All others keep the
//! kernel's action (`signal(7)`): SIGQUIT ends the process with a core dump.

use std::{io, sync::Arc, thread};

use signal_hook::{
    consts::{
        SIGALRM, SIGHUP, SIGINT, SIGIO, SIGPROF, SIGTERM, SIGUSR1, SIGUSR2, SIGVTALRM, SIGXFSZ,
    },
    iterator::Signals,
};

use crate::{
    io::sys,
    observe::log,
    server::{listener::Listener, systemd},
    shard::{mesh::Message, shared::Shared},
};

/// Their default is to end the process, and all of them may be sent to it by mistake: other servers
/// give SIGUSR1 and SIGUSR2 a meaning, timers send the next three, and SIGIO. SIGXFSZ comes with a write
/// beyond the limit of a file's size, which then fails: a line of the log is lost, and counted. (The
/// runtime of Rust ignores SIGPIPE.)
const IGNORED: [i32; 7] = [
    SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF, SIGIO, SIGXFSZ,
];

/// Catches the signals; [`act_on`] acts on those that arrived since. Call it before anything that a
/// process which is killed would leave behind.
///
/// # Errors
/// Those of `sigaction(2)`, and of the socket that wakes the thread.
pub fn catch() -> io::Result<Signals> {
    IGNORED.into_iter().for_each(sys::ignore_signal);
    Signals::new([SIGTERM, SIGINT, SIGHUP])
}

/// Starts the thread that acts on `signals`. The first SIGTERM or SIGINT begins the drain; the second
/// exits immediately. SIGHUP reloads.
///
/// # Errors
/// The thread could not be started.
pub fn act_on(
    mut signals: Signals,
    listeners: Arc<Vec<Listener>>,
    shared: &Arc<Shared>,
) -> io::Result<()> {
    let shared = Arc::clone(shared);
    let act = move || {
        let mut draining = false;
        for signal in signals.forever() {
            match (signal, draining) {
                (SIGHUP, _) => reload(),
                (_, false) => {
                    draining = true;
                    drain(&listeners, &shared);
                }
                (_, true) => exit(&listeners),
            }
        }
    };
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(act)?;
    Ok(())
}

/// The executable reads no file and writes none, so far.
fn reload() {
    tracing::info!(
        "SIGHUP: nothing to reload: the log goes to standard error, and options are read only at the start"
    );
}

fn drain(listeners: &[Listener], shared: &Shared) {
    tracing::info!("shutting down: waiting requests are refused, exchanges under way may finish");
    systemd::stopping();
    // Operators are served to the end.
    let public = |known: &&Listener| known.audience.has_clients();
    listeners.iter().filter(public).for_each(Listener::withdraw);
    for shard in 0..shared.config.shards {
        shared.mesh.send(shard, Message::Drain);
    }
}

fn exit(listeners: &[Listener]) -> ! {
    tracing::warn!("second signal: exiting immediately");
    listeners.iter().for_each(Listener::close);
    log::close();
    std::process::exit(1)
}
