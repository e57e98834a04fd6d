//! A contestant during the run of its row. Its server starts at its first turn.

use std::path::{Path, PathBuf};

use crate::client::target::Target;
use crate::contest::arena::Arena;
use crate::contest::outcome::Place;
use crate::error::Result;
use crate::row::measure::Sample;
use crate::row::run::Run;
use crate::row::{Contestant, Host, Row};
use crate::servers::httpipe::{self, User};
use crate::servers::running::Running;
use crate::servers::{bare_loop, nginx};
use crate::system::cores::{Cores, on_cores};

pub struct Entrant {
    pub label: String,
    pub place: Place,
    kind: Kind,
    pub running: Option<Running>,
    drive: fn(&Run) -> Result<Sample>,
    clients: Cores,
    pub samples: Vec<Sample>,
    pub failed: bool,
}

enum Kind {
    Started {
        host: Host,
        /// Of httpipe; the other hosts have their own.
        executable: PathBuf,
        cores: Cores,
    },
    Attached(Target),
}

impl Entrant {
    pub fn started(place: Place, contestant: &Contestant, executable: &Path) -> Self {
        let (server, clients) = match contestant.clients_apart {
            true => (Cores::ServerSide, Cores::ClientSide),
            false => (Cores::Any, Cores::Any),
        };
        let kind = Kind::Started {
            host: contestant.host,
            executable: executable.to_owned(),
            cores: server,
        };
        let label = match place {
            Place::Beside(_) => format!("{}, beside", contestant.label),
            Place::Contestant(_) | Place::Attached => contestant.label.to_owned(),
        };
        Self::new(label, place, kind, contestant.drive, clients)
    }

    pub fn attached(target: &Target, first: &Contestant) -> Self {
        let clients = if first.clients_apart {
            Cores::ClientSide
        } else {
            Cores::Any
        };
        Self::new(
            target.name.clone(),
            Place::Attached,
            Kind::Attached(target.clone()),
            first.drive,
            clients,
        )
    }

    fn new(
        label: String,
        place: Place,
        kind: Kind,
        drive: fn(&Run) -> Result<Sample>,
        clients: Cores,
    ) -> Self {
        Self {
            label,
            place,
            kind,
            running: None,
            drive,
            clients,
            samples: Vec::new(),
            failed: false,
        }
    }

    pub fn take_turn(&mut self, row: &Row, arena: &Arena, round: u32) -> Result<()> {
        if let Some(running) = self.running.take_if(|_| row.fresh) {
            running.stop()?;
        }
        let running = match &mut self.running {
            Some(running) => running,
            none => none.insert(start(&self.label, &self.kind, arena)?),
        };
        let (target, drive) = (&running.target, self.drive);
        let run = Run {
            target,
            scale: &arena.scale,
            file: &arena.file,
            round,
            row: row.name,
        };
        let sample = on_cores(self.clients, || drive(&run))?;
        if let Some((measure, value)) = sample.iter().find(|(_, value)| !value.is_finite()) {
            return Err(format!("{measure:?} came out as {value}").into());
        }
        self.samples.push(sample);
        Ok(())
    }

    /// Marks the contestant as failed. Returns the error with the last lines of its server's log.
    pub fn give_up(&mut self, error: &dyn std::error::Error) -> String {
        self.failed = true;
        let said = self.running.as_ref().map(Running::last_lines);
        format!("{}: {error}{}", self.label, said.unwrap_or_default())
    }
}

fn start(label: &str, kind: &Kind, arena: &Arena) -> Result<Running> {
    let (host, executable, cores) = match kind {
        Kind::Started {
            host,
            executable,
            cores,
        } => (host, executable, *cores),
        Kind::Attached(target) => return Ok(Running::attached(target.clone())),
    };
    let own = |options: &[&'static str], user| {
        let more = arena.server_options.iter().map(String::as_str);
        let options: Vec<_> = options.iter().copied().chain(more).collect();
        httpipe::start(label, executable, &options, user, cores)
    };
    match host {
        Host::Own(options) => own(options, User::Same),
        Host::OwnAsOrdinaryUser(options) => own(options, User::Ordinary),
        Host::Nginx => nginx::start(label, cores),
        Host::BareLoop => bare_loop::start(label, cores),
    }
}
