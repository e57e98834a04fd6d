//! The load harness: `cargo bench --bench load`, with options after `--`.
//!
//! It starts the server, runs every row of the table of goals (`rows.rs`), verifies the bodies and
//! prints one table. A goal is judged by the figures of this run only. Where a goal compares two
//! contestants, both take a turn in every round, so that a slow minute of the machine affects both.
//!
//! ```text
//! cargo bench --bench load                              every row
//! cargo bench --bench load -- --list                    list the rows
//! cargo bench --bench load -- --row pairs-1 --rounds 7  one row, with more rounds
//! cargo bench --bench load -- --smoke                   everything tiny, a few seconds
//! cargo bench --bench load -- --beside OLD_HTTPIPE      compared with an older build
//! cargo bench --bench load -- --attach http://127.0.0.1:8080 --pid 4711 \
//!     --url-pattern '/queue/{channel}' --name other     another server beside it
//! ```
//!
//! The congestion control of the loopback decides the figures of large bodies (the table prints which
//! one is on). One that paces, such as BBR, sets a timer every few segments: it costs little for small
//! replies, but four times as much as the bytes for large bodies. To measure the server instead, run
//! in a network namespace: `sudo unshare --net sh -c 'ip link set lo up; sysctl -w
//! net.ipv4.tcp_congestion_control=reno; cargo bench --bench load'`. The zero-copy row also runs a bare
//! splice loop, which shows what the machine can do with the congestion control that is on.
//!
//! "CPU" is the user plus system time of the server process. The clients must not decide a figure,
//! so they are cheap: few threads, non-blocking sockets, requests formatted in advance; for large
//! bodies `sendfile` to send and `MSG_TRUNC` to receive. `MSG_TRUNC` discards the body unseen, so such
//! a row first runs a pass that reads and compares every byte.
//! The rows `sent-*` are the exception: there curl, Node, Python or Go sends, as its users know it.
//!
//! `cargo test` runs this executable too, without `--bench`: that is a smoke run.
//!
//! Layers: each imports only from those to its right, and inside a folder imports form no circle.
//!
//! main → table → rows → contest, loads → options → servers → row → client → system → error

mod client;
mod contest;
mod error;
mod loads;
mod options;
mod row;
mod rows;
mod servers;
mod system;
mod table;

use std::process::ExitCode;

use crate::contest::arena::Arena;
use crate::error::Result;
use crate::servers::bare_loop;
use crate::system::disturbance::Quiet;
use crate::system::machine;

fn main() -> ExitCode {
    let Some(options) = options::from_command_line() else {
        return ExitCode::SUCCESS;
    };
    if options.list {
        rows::list();
        return ExitCode::SUCCESS;
    }
    if options.bare_loop {
        return match bare_loop::serve() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&*error),
        };
    }
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => fail(&*error),
    }
}

fn fail(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("load harness: {error}");
    ExitCode::FAILURE
}

/// Runs the selected rows and prints the table. False if a row failed to produce its figures; a goal
/// that is not met is a result, not a failure.
fn run(options: &options::Options) -> Result<bool> {
    machine::raise_open_files()?;
    let wanted = rows::select(&options.rows)?;
    let arena = Arena::new(options)?;
    table::print_preface(&arena);
    let quiet = Quiet::begin();
    let results: Vec<_> = wanted.iter().map(|row| contest::run(row, &arena)).collect();
    table::print(&arena, &results);
    table::print_footer(&quiet.end());
    Ok(results.iter().all(|result| result.failures.is_empty()))
}
