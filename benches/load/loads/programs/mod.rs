//! Large bodies that real programs send, in the chunks that they make of them. The harness receives:
//! its consumer is cheap, and reads every size line and byte.
//!
//! Each body has a program of its own. The time begins with the first byte at the consumer, because
//! starting a program takes time of its own.
//!
//! In the timed pass the programs send zeros. A smaller pass before it compares every byte.

mod program;

use std::io::Read;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use crate::client::large_body;
use crate::error::{Error, Result};
use crate::loads::programs::program::{Program, Ready, Source};
use crate::loads::transfer;
use crate::loads::transfer::job::{Job, Moved, Sending, Taking};
use crate::row::measure::{Measure, Sample};
use crate::row::run::Run;
use crate::servers::daemon::Daemon;
use crate::system::process::CpuMeter;

/// How long a program may run on after the consumer has its body.
const END_MAX: Duration = Duration::from_secs(10);
/// Interval between two looks at whether the program has ended.
const LOOK_EVERY: Duration = Duration::from_millis(2);

pub fn curl(run: &Run) -> Result<Sample> {
    timed(run, Program::Curl)
}

pub fn node_file(run: &Run) -> Result<Sample> {
    timed(run, Program::NodeFile)
}

pub fn node_pieces(run: &Run) -> Result<Sample> {
    timed(run, Program::NodePieces)
}

pub fn python<const PIECE_BYTES: usize>(run: &Run) -> Result<Sample> {
    let piece_bytes = PIECE_BYTES;
    timed(run, Program::Python { piece_bytes })
}

pub fn go(run: &Run) -> Result<Sample> {
    timed(run, Program::Go)
}

/// Measures one body. In the first round a smaller verified one comes first.
fn timed(run: &Run, program: Program) -> Result<Sample> {
    let program = program.prepare()?;
    if run.round == 0 {
        let counters = format!("/proc/{}/fd/{}", std::process::id(), run.file.as_raw_fd());
        let source = Source {
            path: Path::new(&counters),
            bytes: run.scale.verified_bytes.min(large_body::PERIOD_BYTES),
        };
        exchange(run, &program, source, Taking::Verify)?;
    }
    let source = Source {
        path: Path::new("/dev/zero"),
        bytes: run.scale.bulk_bytes,
    };
    let cpu = CpuMeter::start(run.target.pid)?;
    let moved = exchange(run, &program, source, Taking::Read)?;
    Ok(vec![
        (Measure::CpuSecondsPerGib, cpu.seconds()? / moved.gib()),
        (Measure::GibPerSecond, moved.gib() / moved.seconds),
    ])
}

/// Moves one body. Fails unless all of it arrives and the program reports success.
fn exchange(run: &Run, program: &Ready, source: Source, taking: Taking) -> Result<Moved> {
    let given_up = AtomicBool::new(false);
    let job = Job {
        exchanges: 1,
        bodies: 1,
        bytes: source.bytes,
        // The program decides.
        sending: Sending::Writes,
        taking,
        socket_buffer_bytes: None,
        stop: Some(&given_up),
        gate: None,
    };
    let mut daemon = program.start(&run.target.url(&run.channel(0)), source)?;
    std::thread::scope(|scope| {
        let consuming = scope.spawn(|| transfer::one_consumer(run, job));
        let ended = await_end(&mut daemon, &consuming);
        if !matches!(&ended, Ok(Some(status)) if status.success()) {
            given_up.store(true, Ordering::Relaxed);
        }
        let moved = consuming
            .join()
            .map_err(|_| "the consumer's thread panicked")?;
        match ended? {
            Some(status) if status.success() => moved,
            Some(status) => Err(complaint(&mut daemon, status, moved.err()).into()),
            None => moved.and(Err("the program does not end after its body".into())),
        }
    })
}

/// Why a program failed, in its own words and in the consumer's.
fn complaint(daemon: &mut Daemon, status: ExitStatus, consumer: Option<Error>) -> String {
    let mut said = String::new();
    if let Some(mut stderr) = daemon.take_stderr() {
        // What cannot be read is left out.
        let _ = stderr.read_to_string(&mut said);
    }
    let said = said.trim();
    let consumer = consumer.map(|error| format!("; its consumer: {error}"));
    format!(
        "the program: {status}: {said}{}",
        consumer.unwrap_or_default()
    )
}

/// Waits until the program ends; `None` if it does not within [`END_MAX`] of the consumer's end, which
/// has a deadline of its own.
fn await_end<T>(
    daemon: &mut Daemon,
    consuming: &ScopedJoinHandle<'_, T>,
) -> Result<Option<ExitStatus>> {
    let mut deadline = None;
    loop {
        if let Some(status) = daemon.exited()? {
            return Ok(Some(status));
        }
        if consuming.is_finished() {
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + END_MAX);
            if Instant::now() > deadline {
                return Ok(None);
            }
        }
        std::thread::sleep(LOOK_EVERY);
    }
}
