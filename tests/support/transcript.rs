//! What was sent and received on a connection, kept for the report of a failing test. Bounded: the
//! beginning of each run of bytes shows enough.

use std::fmt;

/// Bytes kept of each run in one direction.
const RUN_BYTES_MAX: usize = 600;
/// Runs kept; after that, the newest one is overwritten.
const RUNS_MAX: usize = 60;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Sent,
    Received,
}

struct Run {
    direction: Direction,
    front: Vec<u8>,
    bytes: usize,
}

/// The runs of bytes in both directions, and notes in between.
#[derive(Default)]
pub struct Transcript {
    runs: Vec<Run>,
    end: Option<&'static str>,
}

impl Transcript {
    pub fn sent(&mut self, bytes: &[u8]) {
        self.add(Direction::Sent, bytes);
    }

    pub fn received(&mut self, bytes: &[u8]) {
        self.add(Direction::Received, bytes);
    }

    /// How the server ended the stream, in words.
    pub fn ended(&mut self, how: &'static str) {
        self.end = Some(how);
    }

    fn add(&mut self, direction: Direction, bytes: &[u8]) {
        if self
            .runs
            .last()
            .is_none_or(|run| run.direction != direction)
        {
            self.runs.truncate(RUNS_MAX);
            self.runs.push(Run {
                direction,
                front: Vec::new(),
                bytes: 0,
            });
        }
        let run = self.runs.last_mut().expect("a run was just pushed");
        let room = RUN_BYTES_MAX
            .saturating_sub(run.front.len())
            .min(bytes.len());
        run.front.extend_from_slice(&bytes[..room]);
        run.bytes += bytes.len();
    }
}

impl fmt::Display for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for run in &self.runs {
            let verb = match run.direction {
                Direction::Sent => "sent",
                Direction::Received => "received",
            };
            let cut = if run.bytes > run.front.len() {
                " …"
            } else {
                ""
            };
            writeln!(
                f,
                "  {verb} {} bytes: {}{cut}",
                run.bytes,
                run.front.escape_ascii()
            )?;
        }
        match self.end {
            Some(how) => writeln!(f, "  then: {how}"),
            None => Ok(()),
        }
    }
}
