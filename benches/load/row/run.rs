//! One turn of one contestant, as its load sees it.

use std::fs::File;

use crate::client::target::Target;
use crate::row::scale::Scale;

pub struct Run<'run> {
    pub target: &'run Target,
    pub scale: &'run Scale,
    /// One period of counters, which zero-copy producers send.
    pub file: &'run File,
    /// Counts from 0.
    pub round: u32,
    pub row: &'static str,
}

impl Run<'_> {
    /// Name of this turn's channel number `index`. It is unique among all turns and runs of the
    /// harness, because an attached server may remember what happened on a channel.
    pub fn channel(&self, index: usize) -> String {
        format!("{}-{}-{}-{index}", self.row, std::process::id(), self.round)
    }
}
