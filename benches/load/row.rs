//! What a row of the table is, and how it is run: every contestant in every round, next to each
//! other. It knows nothing of what is measured; `rows.rs` says that.

use std::fs::File;
use std::path::PathBuf;

use crate::error::Result;
use crate::machine::{Cores, on_cores};
use crate::options::Options;
use crate::scale::Scale;
use crate::server::{self, Running, User};
use crate::target::Target;
use crate::{body, nginx};

/// A figure that a row may yield.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "label() says it")]
pub enum Measure {
    CpuMicrosEach,
    PairsPerSecond,
    MedianMicros,
    P99Micros,
    QuietMedianMicros,
    CpuSecondsPerGib,
    GibPerSecond,
    ResidentKibEach,
    LongestPauseMillis,
    PipesMax,
    GrowthMib,
    LogLinesLost,
    Cuts,
}

impl Measure {
    /// Its name, its unit, and how many digits of it mean something.
    pub fn label(self) -> (&'static str, &'static str, usize) {
        match self {
            Self::CpuMicrosEach => ("CPU a pair", "µs", 2),
            Self::PairsPerSecond => ("pairs a second", "", 0),
            Self::MedianMicros => ("latency, median", "µs", 1),
            Self::P99Micros => ("latency, 99 %", "µs", 1),
            Self::QuietMedianMicros => ("median after 2 ms of silence", "µs", 1),
            Self::CpuSecondsPerGib => ("CPU a GiB", "s", 3),
            Self::GibPerSecond => ("throughput", "GiB/s", 2),
            Self::ResidentKibEach => ("resident for each", "KiB", 2),
            Self::LongestPauseMillis => ("longest pause of any", "ms", 0),
            Self::PipesMax => ("pipes at the most", "", 0),
            Self::Cuts => ("slow heads cut meanwhile", "", 0),
            Self::GrowthMib => ("memory grown at the most", "MiB", 1),
            Self::LogLinesLost => ("log lines lost", "", 0),
        }
    }
}

/// The figures of one contestant in one round.
pub type Sample = Vec<(Measure, f64)>;

/// What a goal compares a figure of the row's first contestant with.
#[derive(Clone, Copy, Debug)]
pub enum Bound {
    /// A number.
    AtMost(f64),
    /// A number.
    AtLeast(f64),
    /// So many times the same figure of the second contestant, round by round.
    RatioAtMost(f64),
    /// So many times the same figure of the second contestant, round by round.
    RatioAtLeast(f64),
}

/// A promise about a figure of the row's first contestant.
#[derive(Clone, Copy, Debug)]
pub struct Goal {
    /// Which figure.
    pub measure: Measure,
    /// What it must keep to.
    pub bound: Bound,
}

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

/// What all rows share.
pub struct Arena {
    /// The sizes.
    pub scale: Scale,
    /// True for a smoke run: figures then mean nothing and no goal is judged.
    pub smoke: bool,
    /// How often.
    pub rounds: u32,
    /// The server's executable.
    pub executable: PathBuf,
    /// Options for every server that the harness starts.
    pub server_options: Vec<String>,
    /// Other servers.
    pub attached: Vec<Target>,
    /// Whether httpipe itself is measured.
    pub own: bool,
    /// One period of counters, for zero-copy producers.
    pub file: File,
}

impl Arena {
    /// Everything that the options ask for; starts nothing.
    pub fn new(options: &Options) -> Result<Self> {
        let attached = options.attached()?;
        if options.only_attached && attached.is_empty() {
            return Err("--only-attached without --attach leaves nothing to measure".into());
        }
        let built = || PathBuf::from(env!("CARGO_BIN_EXE_httpipe"));
        Ok(Self {
            scale: if options.smoke {
                Scale::SMOKE
            } else {
                Scale::FULL
            },
            smoke: options.smoke,
            rounds: if options.smoke { 1 } else { options.rounds },
            executable: options.server.clone().unwrap_or_else(built),
            server_options: options.server_options.clone(),
            attached,
            own: !options.only_attached,
            file: body::file()?,
        })
    }
}

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
    row: &'static str,
}

impl Run<'_> {
    /// The name of this turn's channel number `index`. No other turn uses it, nor any other run of
    /// the harness: an attached server may remember what happened on a channel.
    pub fn channel(&self, index: usize) -> String {
        format!("{}-{}-{}-{index}", self.row, std::process::id(), self.round)
    }
}

/// What one contestant came to.
pub struct Measured {
    /// What the table calls it.
    pub label: String,
    /// Which of the row's contestants it is; `None` for an attached server.
    pub place: Option<usize>,
    /// One for each round; fewer if it failed.
    pub samples: Vec<Sample>,
}

/// What a row came to.
pub struct Outcome {
    /// Which row.
    pub row: &'static Row,
    /// In the order of the row, attached servers behind.
    pub measured: Vec<Measured>,
    /// What went wrong, if anything did.
    pub failures: Vec<String>,
    /// Why a contestant is missing without anything being wrong.
    pub notes: Vec<String>,
}

/// A contestant as it takes part.
struct Entrant {
    label: String,
    place: Option<usize>,
    kind: Kind,
    running: Option<Running>,
    drive: fn(&Run) -> Result<Sample>,
    clients: Cores,
    samples: Vec<Sample>,
    failed: bool,
}

enum Kind {
    Started { host: Host, cores: Cores },
    Attached(Target),
}

impl Row {
    /// Runs the row from starting the servers to stopping them. What fails is noted in the outcome
    /// and takes part no longer; the others go on.
    pub fn run(&'static self, arena: &Arena) -> Outcome {
        eprintln!("{}: {}", self.name, self.work);
        let mut outcome = Outcome {
            row: self,
            measured: Vec::new(),
            failures: Vec::new(),
            notes: Vec::new(),
        };
        let mut entrants = self.entrants(arena, &mut outcome.notes);
        for round in 0..arena.rounds {
            let turns: Vec<_> = entrants.iter_mut().collect();
            // Every other round backwards, so that nobody always comes after the same one.
            let ordered: Box<dyn Iterator<Item = _>> = match round % 2 {
                0 => Box::new(turns.into_iter()),
                _ => Box::new(turns.into_iter().rev()),
            };
            for entrant in ordered.filter(|entrant| !entrant.failed) {
                if let Err(error) = entrant.take_turn(self, arena, round) {
                    outcome.failures.push(entrant.give_up(&*error));
                }
            }
        }
        for entrant in entrants {
            let label = entrant.label;
            if let Some(Err(error)) = entrant.running.map(Running::stop) {
                outcome.failures.push(format!("{label}: {error}"));
            }
            outcome.measured.push(Measured {
                label,
                place: entrant.place,
                samples: entrant.samples,
            });
        }
        outcome
    }

    fn entrants(&self, arena: &Arena, notes: &mut Vec<String>) -> Vec<Entrant> {
        let mut entrants = Vec::new();
        for (place, contestant) in self.contestants.iter().enumerate() {
            match contestant.host {
                Host::Nginx if !nginx::is_installed() => {
                    notes.push("nginx is not installed: nothing to compare with".to_owned());
                }
                Host::OwnAsOrdinaryUser(_) if !crate::machine::is_root() => {
                    notes.push("already an ordinary user: see the row before".to_owned());
                }
                Host::Own(_) | Host::OwnAsOrdinaryUser(_) if !arena.own => {}
                _ => entrants.push(Entrant::started(place, contestant)),
            }
        }
        if self.attachable {
            let first = &self.contestants[0];
            entrants.extend(
                arena
                    .attached
                    .iter()
                    .map(|target| Entrant::attached(target, first)),
            );
        }
        entrants
    }
}

impl Entrant {
    fn started(place: usize, contestant: &Contestant) -> Self {
        let (server, clients) = match contestant.clients_apart {
            true => (Cores::ServerSide, Cores::ClientSide),
            false => (Cores::Any, Cores::Any),
        };
        let kind = Kind::Started {
            host: contestant.host,
            cores: server,
        };
        let entrant = Self::new(contestant.label, kind, contestant.drive, clients);
        Self {
            place: Some(place),
            ..entrant
        }
    }

    fn attached(target: &Target, first: &Contestant) -> Self {
        let clients = if first.clients_apart {
            Cores::ClientSide
        } else {
            Cores::Any
        };
        Self::new(
            &target.name,
            Kind::Attached(target.clone()),
            first.drive,
            clients,
        )
    }

    fn new(label: &str, kind: Kind, drive: fn(&Run) -> Result<Sample>, clients: Cores) -> Self {
        Self {
            label: label.to_owned(),
            place: None,
            kind,
            running: None,
            drive,
            clients,
            samples: Vec::new(),
            failed: false,
        }
    }

    fn take_turn(&mut self, row: &Row, arena: &Arena, round: u32) -> Result<()> {
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

    /// Takes part no longer; says why, and what its server said last.
    fn give_up(&mut self, error: &dyn std::error::Error) -> String {
        self.failed = true;
        let said = self.running.as_ref().map(Running::last_words);
        format!("{}: {error}{}", self.label, said.unwrap_or_default())
    }
}

fn start(label: &str, kind: &Kind, arena: &Arena) -> Result<Running> {
    let own = |options: &[&'static str], user, cores| {
        let more = arena.server_options.iter().map(String::as_str);
        let options: Vec<_> = options.iter().copied().chain(more).collect();
        server::start(label, &arena.executable, &options, user, cores)
    };
    match kind {
        Kind::Started { host, cores } => match host {
            Host::Own(options) => own(options, User::Same, *cores),
            Host::OwnAsOrdinaryUser(options) => own(options, User::Ordinary, *cores),
            Host::Nginx => nginx::start(label, *cores),
            Host::BareLoop => server::start_bare_loop(label, *cores),
        },
        Kind::Attached(target) => Ok(Running::attached(target.clone())),
    }
}
