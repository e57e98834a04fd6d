//! The time limits of a shard's connections, in order. The cost depends on how many are due, not on how
//! many there are.
//!
//! A connection has at most one entry. Every request and every body byte postpones its deadline, but
//! not the entry, which is never later than the deadline: an entry that comes up too early moves to the
//! deadline. Only a deadline that is earlier than its entry moves the entry at once.
//!
//! A new entry comes up at the next look, whatever its deadline is, and is put in order then: most
//! connections that serve one request have ended by that time.
//!
//! Must never: hold a connection, or read a clock.

use std::{cell::RefCell, collections::BTreeSet};

use crate::{
    conn::{
        ConnId,
        deadline::{Deadline, Due},
    },
    io::clock::Moment,
    limits,
};

/// The entry of a connection that comes up at the next look.
const NEXT_LOOK: Moment = Moment::BEGINNING;

/// The entries.
#[derive(Debug, Default)]
pub struct Deadlines {
    /// Those that come up at the next look; some of these connections may have ended since.
    new: RefCell<Vec<ConnId>>,
    /// The others, earliest first.
    ordered: RefCell<BTreeSet<(Moment, ConnId)>>,
}

impl Deadlines {
    /// Puts connection `id`, which owns `deadline`, under a time limit that ends `at`, in place of the
    /// one before. O(1), or O(log n) if that moves an ordered entry or too many entries are new.
    pub fn set(&self, id: ConnId, deadline: &Deadline, due: Due, at: Moment) {
        if deadline.set(due, at) {
            self.enter(id, deadline, at);
        }
    }

    #[cold]
    fn enter(&self, id: ConnId, deadline: &Deadline, at: Moment) {
        let mut new = self.new.borrow_mut();
        if deadline.entry() == Moment::NEVER && new.len() < limits::NEW_DEADLINES_MAX {
            new.push(id);
            deadline.set_entry(NEXT_LOOK);
        } else {
            self.look_again(id, deadline, at);
        }
    }

    /// Forgets a connection that ends. O(1) if its entry is new, O(log n) otherwise.
    pub fn remove(&self, id: ConnId, deadline: &Deadline) {
        match deadline.entry() {
            Moment::NEVER => {}
            NEXT_LOOK => {
                // Among connections that come and go one by one, it is the last.
                self.new.borrow_mut().pop_if(|last| *last == id);
            }
            at => {
                self.ordered.borrow_mut().remove(&(at, id));
            }
        }
        deadline.set_entry(Moment::NEVER);
    }

    /// When the first of the ordered entries comes up; [`Moment::NEVER`] if there is none.
    #[must_use]
    pub fn next(&self) -> Moment {
        let ordered = self.ordered.borrow();
        ordered.first().map_or(Moment::NEVER, |&(at, _)| at)
    }

    /// Whether [`Self::take_due`] would return a connection.
    #[must_use]
    pub fn may_be_due(&self, now: Moment) -> bool {
        self.next() <= now || !self.new.borrow().is_empty()
    }

    /// A connection to look at, because its entry is new or has come up by `now`. If its deadline is
    /// later, or if it is put off, the caller calls [`Self::look_again`]. The connection may have ended:
    /// if another one has its id and an entry later than `now`, the caller skips it.
    #[must_use]
    pub fn take_due(&self, now: Moment) -> Option<ConnId> {
        if let Some(id) = self.new.borrow_mut().pop() {
            return Some(id);
        }
        let mut ordered = self.ordered.borrow_mut();
        let &(at, id) = ordered.first().filter(|&&(at, _)| at <= now)?;
        ordered.remove(&(at, id));
        Some(id)
    }

    /// Moves the entry of connection `id` to `at`; removes it if that is never. O(log n).
    pub fn look_again(&self, id: ConnId, deadline: &Deadline, at: Moment) {
        self.remove(id, deadline);
        if at < Moment::NEVER {
            self.ordered.borrow_mut().insert((at, id));
            deadline.set_entry(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, ops::Range, time::Duration};

    use fastrand::Rng;

    use super::*;

    const SEEDS: Range<u64> = 0..20;
    const STEPS: usize = 4_000;
    const CONNECTIONS: u32 = 12;

    fn at(millis: u64) -> Moment {
        Moment::BEGINNING.after(Duration::from_millis(millis))
    }

    /// A shard's deadlines, and what must come of them: `expected` has each deadline that is still to
    /// come, and nothing else.
    #[derive(Default)]
    struct Simulation {
        deadlines: Deadlines,
        connections: BTreeMap<ConnId, Deadline>,
        expected: BTreeMap<ConnId, (Due, Moment)>,
        /// Connections whose entry came up while their task was about to do something else: they are
        /// due, but not before this moment.
        put_off: BTreeMap<ConnId, Moment>,
        millis: u64,
        seen: Seen,
    }

    /// How often each case occurred that the test is about.
    #[derive(Debug, Default)]
    struct Seen {
        expired: usize,
        entry_was_early: usize,
        moved_earlier: usize,
        lifted: usize,
        put_off: usize,
        removed_with_entry: usize,
        ended_when_new: usize,
        id_of_another: usize,
    }

    impl Simulation {
        fn now(&self) -> Moment {
            at(self.millis)
        }

        fn step(&mut self, rng: &mut Rng) {
            let id = rng.u32(..CONNECTIONS);
            match rng.u32(..20) {
                0..9 => self.set(id, rng),
                9..11 => self.lift(id),
                11..13 if rng.bool() => self.remove(id),
                11..13 => self.forget(id),
                13..16 => self.millis += rng.u64(..40),
                _ => self.look(rng),
            }
        }

        /// Earlier or later than before, now and then never.
        fn set(&mut self, id: ConnId, rng: &mut Rng) {
            let due = if rng.bool() { Due::Idle } else { Due::Wait };
            let moment = match rng.u32(..8) {
                0 => Moment::NEVER,
                1 => self.now(),
                _ => at(self.millis + rng.u64(..200)),
            };
            let deadline = self.connections.entry(id).or_insert_with(Deadline::new);
            if moment < deadline.entry() && deadline.entry() < Moment::NEVER {
                self.seen.moved_earlier += 1;
            }
            self.deadlines.set(id, deadline, due, moment);
            assert_eq!((deadline.due(), deadline.at()), (due, moment));
            self.put_off.remove(&id);
            if moment < Moment::NEVER {
                self.expected.insert(id, (due, moment));
            } else {
                self.expected.remove(&id);
            }
        }

        fn lift(&mut self, id: ConnId) {
            if let Some(deadline) = self.connections.get(&id) {
                deadline.lift();
                self.put_off.remove(&id);
                self.seen.lifted += usize::from(self.expected.remove(&id).is_some());
            }
        }

        /// The connection stays, without a time limit and without an entry.
        fn forget(&mut self, id: ConnId) {
            if let Some(deadline) = self.connections.get(&id) {
                deadline.lift();
                self.deadlines.remove(id, deadline);
                self.expected.remove(&id);
                self.put_off.remove(&id);
            }
        }

        /// The next connection may have the same id.
        fn remove(&mut self, id: ConnId) {
            if let Some(deadline) = self.connections.remove(&id) {
                self.seen.removed_with_entry += usize::from(deadline.entry() < Moment::NEVER);
                self.deadlines.remove(id, &deadline);
                self.expected.remove(&id);
                self.put_off.remove(&id);
            }
        }

        /// As the sweep looks: `worker/sweep.rs`.
        fn look(&mut self, rng: &mut Rng) {
            let now = self.now();
            let is_due = self.deadlines.may_be_due(now);
            let mut looked_at = 0;
            while let Some(id) = self.deadlines.take_due(now) {
                looked_at += 1;
                let Some(deadline) = self.connections.get(&id) else {
                    self.seen.ended_when_new += 1;
                    continue;
                };
                if deadline.entry() > now {
                    self.seen.id_of_another += 1;
                    continue;
                }
                if deadline.at() > now {
                    self.seen.entry_was_early += 1;
                    self.deadlines.look_again(id, deadline, deadline.at());
                } else if rng.u32(..5) == 0 {
                    self.seen.put_off += 1;
                    let soon = at(self.millis + 1 + rng.u64(..30));
                    self.deadlines.look_again(id, deadline, soon);
                    self.put_off.insert(id, soon);
                } else {
                    self.seen.expired += 1;
                    self.deadlines.look_again(id, deadline, Moment::NEVER);
                    let expected = self.expected.remove(&id).expect("it has a deadline");
                    assert_eq!(expected, (deadline.due(), deadline.at()));
                    assert!(expected.1 <= now, "early");
                    self.put_off.remove(&id);
                    deadline.lift();
                }
            }
            assert_eq!(is_due, looked_at > 0);
            for (id, (_, moment)) in &self.expected {
                let put_off = self.put_off.get(id).is_some_and(|soon| *soon > now);
                assert!(*moment > now || put_off, "connection {id} was overlooked");
            }
        }

        fn check(&self) {
            let (new, ordered) = (self.deadlines.new.borrow(), self.deadlines.ordered.borrow());
            let mut ids = BTreeMap::from_iter(ordered.iter().map(|&(at, id)| (id, at)));
            assert_eq!(ids.len(), ordered.len(), "two entries of one connection");
            let first = ids.values().min().copied();
            assert_eq!(self.deadlines.next(), first.unwrap_or(Moment::NEVER));
            for (id, deadline) in &self.connections {
                if deadline.entry() == NEXT_LOOK {
                    assert!(new.contains(id), "connection {id} is not looked at");
                    assert_eq!(ids.insert(*id, NEXT_LOOK), None, "two entries of {id}");
                }
            }
            for (id, deadline) in &self.connections {
                let entry = ids.get(id).copied().unwrap_or(Moment::NEVER);
                assert_eq!(entry, deadline.entry(), "connection {id}");
            }
            let comes = |at: &Moment| *at < Moment::NEVER;
            assert!(ids.values().all(comes), "an entry that never comes up");
            let known = |id| self.connections.contains_key(id);
            assert!(
                ids.keys().all(known),
                "the entry of a connection that ended"
            );
            for (id, (_, moment)) in &self.expected {
                let looked_at = (*moment).max(self.put_off.get(id).copied().unwrap_or(*moment));
                assert!(
                    ids[id] <= looked_at,
                    "connection {id} would be looked at late"
                );
            }
        }
    }

    #[test]
    fn nothing_comes_up_before_its_deadline_and_everything_at_the_first_look_after_it() {
        let mut seen = Seen::default();
        for seed in SEEDS {
            println!("seed {seed}");
            let mut rng = Rng::with_seed(seed);
            let mut simulation = Simulation {
                seen,
                millis: 1,
                ..Simulation::default()
            };
            for _ in 0..STEPS {
                simulation.step(&mut rng);
                simulation.check();
            }
            for id in 0..CONNECTIONS {
                simulation.remove(id);
                simulation.check();
            }
            assert!(simulation.deadlines.ordered.borrow().is_empty());
            seen = simulation.seen;
        }
        let Seen {
            expired,
            entry_was_early,
            moved_earlier,
            lifted,
            put_off,
            removed_with_entry,
            ended_when_new,
            id_of_another,
        } = seen;
        for times in [
            expired,
            entry_was_early,
            moved_earlier,
            lifted,
            put_off,
            removed_with_entry,
            ended_when_new,
            id_of_another,
        ] {
            assert!(times > 100, "{seen:?}");
        }
    }

    #[test]
    fn a_deadline_that_moves_on_costs_one_entry_and_no_other_look() {
        let (deadlines, deadline) = (Deadlines::default(), Deadline::new());
        for millis in 10..1000 {
            deadlines.set(7, &deadline, Due::Idle, at(millis));
        }
        assert_eq!(deadlines.take_due(at(1)), Some(7));
        deadlines.look_again(7, &deadline, deadline.at());
        assert_eq!(deadlines.take_due(at(1)), None);
        for millis in 1000..2000 {
            deadlines.set(7, &deadline, Due::Idle, at(millis));
            assert_eq!((deadlines.next(), deadline.entry()), (at(999), at(999)));
        }
        assert_eq!(deadlines.take_due(at(998)), None);
        assert_eq!(deadlines.take_due(at(999)), Some(7));
        deadlines.look_again(7, &deadline, deadline.at());
        assert_eq!(deadlines.take_due(at(1998)), None);
        assert_eq!(deadlines.take_due(at(1999)), Some(7));
        assert_eq!(deadlines.next(), Moment::NEVER);
    }

    #[test]
    fn beyond_so_many_new_ones_a_deadline_is_put_in_order_at_once() {
        let deadlines = Deadlines::default();
        let ids = 0..limits::NEW_DEADLINES_MAX as ConnId + 1;
        let connections: Vec<_> = ids.clone().map(|_| Deadline::new()).collect();
        for (id, deadline) in ids.clone().zip(&connections) {
            deadlines.set(id, deadline, Due::Head, at(5));
        }
        assert_eq!(
            (deadlines.next(), connections[ids.len() - 1].entry()),
            (at(5), at(5))
        );
        let looked_at = std::iter::from_fn(|| deadlines.take_due(at(4))).count();
        assert_eq!(looked_at, limits::NEW_DEADLINES_MAX);
        assert_eq!(deadlines.take_due(at(5)), Some(ids.end - 1));
    }
}
