//! What a row of the table is: its contestants, and what must hold. `rows.rs` says which rows there
//! are, `contest` runs them.

pub mod goal;
pub mod measure;
pub mod run;
pub mod scale;

use crate::error::Result;
use crate::row::goal::Goal;
use crate::row::measure::Sample;
use crate::row::run::Run;

/// What kind of server a contestant is.
#[derive(Clone, Copy, Debug)]
pub enum Host {
    /// httpipe with these options.
    Own(&'static [&'static str]),
    /// httpipe with these options, run by somebody without privileges.
    OwnAsOrdinaryUser(&'static [&'static str]),
    /// nginx with one worker, answering by itself.
    Nginx,
    /// The least that can move a body here.
    BareLoop,
}

/// One side of a row.
pub struct Contestant {
    /// What the table calls it.
    pub label: &'static str,
    /// What it is.
    pub host: Host,
    /// Whether the last core belongs to the clients alone (rows with a single server thread).
    pub clients_apart: bool,
    /// What is done to it.
    pub drive: fn(&Run) -> Result<Sample>,
}

/// A row of the table of goals.
pub struct Row {
    /// What `--row` calls it.
    pub name: &'static str,
    /// What it is about.
    pub work: &'static str,
    /// The first is the one that the goals speak about, the second what it is compared with.
    pub contestants: &'static [Contestant],
    /// What must hold.
    pub goals: &'static [Goal],
    /// Whether every round needs a server that has done nothing before.
    pub fresh: bool,
    /// Whether it makes sense for other servers.
    pub attachable: bool,
}
