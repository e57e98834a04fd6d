//! The log of a server: where it listens, and its last lines for error messages.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::ChildStderr;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const LAST_LINES: usize = 10;

/// Shared with the thread that reads the log.
#[derive(Clone, Default)]
pub struct Log {
    lines: Arc<Mutex<VecDeque<String>>>,
}

impl Log {
    /// Each line starts with a line break; empty if nothing was logged.
    pub fn last_lines(&self) -> String {
        let lines = self.lines();
        lines.iter().map(|line| format!("\n    | {line}")).collect()
    }

    /// Reads `stderr` to its end and sends the address at which the server listens.
    pub fn read(&self, stderr: ChildStderr, listening: &Sender<SocketAddr>) {
        for line in BufReader::new(stderr)
            .lines()
            .map_while(std::result::Result::ok)
        {
            if let Some(address) = listening_address(&line) {
                // Only the first address has a receiver.
                let _ = listening.send(address);
            }
            let mut lines = self.lines();
            lines.push_back(line);
            if lines.len() > LAST_LINES {
                lines.pop_front();
            }
        }
    }

    fn lines(&self) -> MutexGuard<'_, VecDeque<String>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn listening_address(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("listening on http://")?;
    rest.split_whitespace().next()?.parse().ok()
}
