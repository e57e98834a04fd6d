//! The load harness: `cargo bench --bench load`, with options after `--`.
//!
//! It starts the server's executable, drives every row of the table of goals (`rows.rs`),
//! verifies the bodies, and prints one table in which each goal is marked as met or not from this
//! very run. Goals that compare do so within a round: the two sides of a ratio are measured one
//! after the other, again and again, so that a slow minute of the machine hits both alike.
//!
//! ```text
//! cargo bench --bench load                              every row
//! cargo bench --bench load -- --list                    what the rows are
//! cargo bench --bench load -- --row pairs-1 --rounds 7  one of them, more carefully
//! cargo bench --bench load -- --smoke                   does it all still work? (seconds)
//! cargo bench --bench load -- --attach http://127.0.0.1:8080 --pid 4711 \
//!     --url-pattern '/queue/{channel}' --name other     another server beside it
//! ```
//!
//! How fast the loopback is depends on the congestion control (the table says which one is on): one
//! that paces, such as BBR, costs a timer for every few segments, on small replies little, on large
//! bodies four times as much as the bytes. To see the server and not the timers, give the run a
//! network of its own: `sudo unshare --net sh -c 'ip link set lo up; sysctl -w
//! net.ipv4.tcp_congestion_control=reno; cargo bench --bench load'`. The row of zero-copy bodies is accompanied
//! by a bare splice loop, which shows what the machine is capable of under whatever is on.
//!
//! "CPU" is always the server process's user plus system time. How the clients spend theirs must
//! not decide a figure, so they are cheap: few threads, non-blocking sockets, requests formatted
//! beforehand, and for large bodies `sendfile` in and `MSG_TRUNC` out. Nobody sees a body that is
//! thrown away unread, so rows that do so are preceded by a pass that reads and compares it all.
//!
//! `cargo test` runs this executable too (without `--bench`), which makes it a smoke run.
//!
//! Imports go one way, from a module to those behind it:
//! main, table, rows, contest and loads, options, servers, row, client, system, error.

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

/// Runs the rows that were asked for and prints the table; false if a row failed to yield its
/// figures. (A goal that is not met is a result, not a failure.)
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
