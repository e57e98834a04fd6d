//! The log: lines on standard error, written by a separate thread.
//!
//! Owns: the form of the lines, the queue to that thread, and the count of the lines that were lost:
//! dropped because the queue was full, or not written. `RUST_LOG` filters the lines (default `info`).
//!
//! Must never: block a thread that logs. If standard error is a pipe that is not read, the queue fills
//! and lines are dropped. A line with the count of the lost ones is written as soon as possible.

use std::{
    any::Any,
    backtrace::{Backtrace, BacktraceStatus},
    io::{self, IsTerminal, Write},
    panic::{self, PanicHookInfo},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Instant,
};

use tracing::Dispatch;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{EnvFilter, filter::LevelFilter, fmt::MakeWriter};

use crate::{
    config::Form,
    io::stderr::StandardError,
    limits,
    observe::{access, batch::Batch, escape},
};

/// Lines that found the queue full.
static DROPPED: OnceLock<ErrorCounter> = OnceLock::new();
/// Lines from the queue that could not be written.
static UNWRITTEN: AtomicU64 = AtomicU64::new(0);
static WRITER: Mutex<Option<WorkerGuard>> = Mutex::new(None);

/// Guard of the open log.
#[must_use = "the log closes when this is dropped"]
#[derive(Debug)]
pub struct Open(());

impl Drop for Open {
    fn drop(&mut self) {
        close();
    }
}

/// Opens the log, also for panics. Call it once, before the first line is logged.
/// `with_access`: the access log is written whatever `RUST_LOG` is.
///
/// The filter ignores an invalid `RUST_LOG` directive and warns on standard error.
pub fn open(form: Form, with_access: bool) -> Open {
    if form != Form::Off {
        let ansi = io::stderr().is_terminal();
        let (queue, writer) = NonBlockingBuilder::default()
            .lossy(true)
            .buffered_lines_limit(limits::LOG_LINES_MAX)
            .thread_name("log")
            .finish(Output::new(form, ansi));
        let _ = DROPPED.set(queue.error_counter());
        *WRITER.lock().unwrap_or_else(PoisonError::into_inner) = Some(writer);
        let subscriber = subscriber(form, filter(with_access), ansi, queue);
        // Fails only on a second call; the log of the first stays in use.
        let _ = tracing::dispatcher::set_global_default(subscriber);
        panic::set_hook(Box::new(log_panic));
    }
    Open(())
}

/// Writes the queued lines, for about a second at most, and closes the log. No-op if it is closed.
pub fn close() {
    let writer = WRITER.lock().unwrap_or_else(PoisonError::into_inner).take();
    drop(writer);
}

/// Lines lost: standard error was read too slowly, or could not be written.
#[must_use]
pub fn lines_lost() -> u64 {
    let dropped = DROPPED.get().map_or(0, ErrorCounter::dropped_lines);
    dropped as u64 + UNWRITTEN.load(Ordering::Relaxed)
}

fn filter(with_access: bool) -> EnvFilter {
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .from_env_lossy();
    if with_access {
        let directive = format!("{}=info", access::TARGET);
        filter.add_directive(directive.parse().expect("a target and a level"))
    } else {
        filter
    }
}

fn subscriber<W>(form: Form, filter: EnvFilter, ansi: bool, writer: W) -> Dispatch
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer);
    match form {
        Form::Off | Form::Text => lines.with_ansi(ansi).with_target(false).finish().into(),
        Form::Json => lines.json().flatten_event(true).finish().into(),
    }
}

/// Logs a panic in one line. Rust's default hook writes several lines to standard error and blocks.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let thread = thread::current();
    let name = thread.name().unwrap_or("unnamed");
    let place = panic.location().map(ToString::to_string);
    let place = place.as_deref().unwrap_or("an unknown place");
    let reason = reason(panic.payload());
    let backtrace = Backtrace::capture();
    let backtrace =
        (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    tracing::error!(reason, backtrace, "thread '{name}' panicked at {place}");
}

/// The message of a panic.
#[must_use]
pub fn reason(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no reason given")
}

/// Standard error, as written by the log's thread.
struct Output {
    form: Form,
    ansi: bool,
    batch: Batch<StandardError>,
    /// Lost lines that were reported.
    reported: u64,
    last_report: Instant,
}

impl Output {
    fn new(form: Form, ansi: bool) -> Self {
        Self {
            form,
            ansi,
            batch: Batch::new(StandardError),
            reported: 0,
            last_report: Instant::now(),
        }
    }

    fn write_batch(&mut self) {
        UNWRITTEN.fetch_add(self.batch.write(), Ordering::Relaxed);
    }

    /// Reports the lines lost since the last report, if any. The batch is empty. A report that cannot be
    /// written is no line of the log and not counted; the next one includes its number.
    fn report_lost(&mut self) {
        let lost = lines_lost();
        if lost > self.reported {
            self.last_report = Instant::now();
            self.batch.add(&warning(self.form, lost - self.reported));
            if self.batch.write() == 0 {
                self.reported = lost;
            }
        }
    }
}

impl Write for Output {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // If lines arrive faster than they are read, the queue may never be empty, and `flush` is not
        // called.
        if self.last_report.elapsed() >= limits::LOG_REPORT_PERIOD && lines_lost() > self.reported {
            self.write_batch();
            self.report_lost();
        }
        let safe = escape::line(line, self.form, self.ansi);
        UNWRITTEN.fetch_add(self.batch.add(&safe), Ordering::Relaxed);
        Ok(line.len())
    }

    /// Called when the queue is empty. Sleeps for a moment: logging a line to a thread that waits costs
    /// the sender a system call to wake it.
    fn flush(&mut self) -> io::Result<()> {
        self.write_batch();
        self.report_lost();
        thread::sleep(limits::LOG_REST);
        Ok(())
    }
}

/// The line about lost lines. It bypasses the queue, which may be full.
fn warning(form: Form, lost: u64) -> Vec<u8> {
    lines(form, || {
        tracing::warn!(
            dropped = lost,
            "lines of the log were lost: it is read too slowly, or cannot be written"
        );
    })
}

/// The lines that `log` logs, in this form.
fn lines(form: Form, log: impl FnOnce()) -> Vec<u8> {
    let kept = Arc::new(Mutex::new(Vec::new()));
    let subscriber = subscriber(form, EnvFilter::new("warn"), false, Kept(Arc::clone(&kept)));
    tracing::dispatcher::with_default(&subscriber, log);
    std::mem::take(&mut *kept.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Collects lines in memory.
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for &Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Kept {
    type Writer = &'a Kept;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_warning_is_one_line_in_the_form_of_the_log() {
        let text = String::from_utf8(warning(Form::Text, 7)).expect("text");
        assert!(
            text.contains(" WARN ") && text.contains("dropped=7"),
            "{text}"
        );
        assert_eq!(text.matches('\n').count(), 1);
        let json = warning(Form::Json, 8);
        let json: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
        assert_eq!(
            (&json["level"], &json["dropped"]),
            (&"WARN".into(), &8.into())
        );
    }

    #[test]
    fn a_panic_is_one_line_with_place_and_reason() {
        for form in [Form::Text, Form::Json] {
            let line = lines(form, || {
                let before = panic::take_hook();
                panic::set_hook(Box::new(log_panic));
                let caught = panic::catch_unwind(|| panic!("for a \"reason\"\nof its own"));
                panic::set_hook(before);
                assert!(caught.is_err());
            });
            let line = String::from_utf8(line).expect("text");
            assert_eq!(line.matches('\n').count(), 1, "{line}");
            let place = format!("panicked at {}:", file!());
            assert!(line.contains(&place), "{line}");
            let reason = r#"for a \"reason\"\nof its own"#;
            assert!(line.contains(reason), "{line}");
        }
    }
}
