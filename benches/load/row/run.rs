//! One turn of one contestant.

use std::fs::File;

use crate::client::target::Target;
use crate::row::scale::Scale;

/// One contestant's turn in one round: what its `drive` gets to see.
pub struct Run<'run> {
    /// The server.
    pub target: &'run Target,
    /// The sizes.
    pub scale: &'run Scale,
    /// One period of counters.
    pub file: &'run File,
    /// Counts from 0.
    pub round: u32,
    /// The name of the row.
    pub row: &'static str,
}

impl Run<'_> {
    /// The name of this turn's channel number `index`. No other turn uses it, nor any other run of
    /// the harness: an attached server may remember what happened on a channel.
    pub fn channel(&self, index: usize) -> String {
        format!("{}-{}-{}-{index}", self.row, std::process::id(), self.round)
    }
}
