//! A row of the table: contestants and goals. `rows.rs` lists the rows, `contest` runs them.

pub mod goal;
pub mod measure;
pub mod run;
pub mod scale;

use crate::error::Result;
use crate::row::goal::Goal;
use crate::row::measure::Sample;
use crate::row::run::Run;

#[derive(Clone, Copy, Debug)]
pub enum Host {
    /// httpipe with these options.
    Own(&'static [&'static str]),
    /// httpipe with these options, run by a user without privileges.
    OwnAsOrdinaryUser(&'static [&'static str]),
    /// nginx with one worker and a static reply.
    Nginx,
    /// The bare splice loop: the least that can move a body.
    BareLoop,
}

/// One of the servers that a row measures, and the load it gets.
pub struct Contestant {
    /// Name in the table.
    pub label: &'static str,
    pub host: Host,
    /// Reserves the last core for the clients (rows with a single server thread).
    pub clients_apart: bool,
    /// The load of one turn.
    pub drive: fn(&Run) -> Result<Sample>,
}

pub struct Row {
    /// Name for `--row`.
    pub name: &'static str,
    /// Description for `--list`.
    pub work: &'static str,
    /// Goals apply to the first contestant; goals that compare do so with the second.
    pub contestants: &'static [Contestant],
    pub goals: &'static [Goal],
    /// Starts a new server for every round.
    pub fresh: bool,
    /// Whether other servers can run this load.
    pub attachable: bool,
    /// The program that the load starts. Where it is not installed, the row is skipped.
    pub needs: Option<&'static str>,
}
