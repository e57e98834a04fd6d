//! Runs a row: all contestants take a turn in every round. Must never know what is measured.

pub mod arena;
mod entrant;
pub mod outcome;

use crate::contest::arena::Arena;
use crate::contest::entrant::Entrant;
use crate::contest::outcome::{Measured, Outcome, Place};
use crate::row::{Host, Row};
use crate::servers::nginx;
use crate::servers::running::Running;
use crate::system::{executable, machine};

/// Runs the row, from starting the servers to stopping them; not if a program is missing. A contestant
/// that fails is recorded in the outcome and takes no further turns; the others continue.
pub fn run(row: &'static Row, arena: &Arena) -> Outcome {
    eprintln!("{}: {}", row.name, row.work);
    let mut outcome = Outcome {
        row,
        measured: Vec::new(),
        failures: Vec::new(),
        missing: row.needs.filter(|name| executable::find(name).is_none()),
        notes: Vec::new(),
    };
    if outcome.missing.is_some() {
        return outcome;
    }
    let mut entrants = entrants(row, arena, &mut outcome.notes);
    for round in 0..arena.rounds {
        let turns: Vec<_> = entrants.iter_mut().collect();
        // Odd rounds run backwards, so that no contestant always follows the same one.
        let ordered: Box<dyn Iterator<Item = _>> = match round % 2 {
            0 => Box::new(turns.into_iter()),
            _ => Box::new(turns.into_iter().rev()),
        };
        for entrant in ordered.filter(|entrant| !entrant.failed) {
            if let Err(error) = entrant.take_turn(row, arena, round) {
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

fn entrants(row: &Row, arena: &Arena, notes: &mut Vec<String>) -> Vec<Entrant> {
    let mut entrants = Vec::new();
    for (index, contestant) in row.contestants.iter().enumerate() {
        match contestant.host {
            Host::Nginx if !nginx::is_installed() => {
                notes.push("nginx is not installed: nothing to compare with".to_owned());
            }
            Host::OwnAsOrdinaryUser(_) if !machine::is_root() => {
                notes.push(
                    "not root: the row before this one already runs as an ordinary user".to_owned(),
                );
            }
            Host::Own(_) | Host::OwnAsOrdinaryUser(_) if !arena.own => {}
            host => {
                let place = Place::Contestant(index);
                entrants.push(Entrant::started(place, contestant, &arena.executable));
                if let (Host::Own(_) | Host::OwnAsOrdinaryUser(_), Some(beside)) =
                    (host, &arena.beside)
                {
                    entrants.push(Entrant::started(Place::Beside(index), contestant, beside));
                }
            }
        }
    }
    if row.attachable {
        let first = &row.contestants[0];
        entrants.extend(
            arena
                .attached
                .iter()
                .map(|target| Entrant::attached(target, first)),
        );
    }
    entrants
}
