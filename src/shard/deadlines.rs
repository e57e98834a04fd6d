//! The time limits of a shard's connections, in order. Costs what is due, not what is there.
//!
//! A connection has at most one entry. Its deadline moves on with every request and every body byte,
//! so the entry does not follow: it is no later than the deadline, and when it comes up too early it is
//! put where the deadline is then. Only a deadline that is earlier than its entry moves the entry.
//!
//! Must never: hold a connection, or read a clock.

use std::{cell::RefCell, collections::BTreeSet};

use crate::{
    conn::{
        ConnId,
        deadline::{Deadline, Due},
    },
    io::clock::Moment,
};

/// The entries, earliest first.
#[derive(Debug, Default)]
pub struct Deadlines(RefCell<BTreeSet<(Moment, ConnId)>>);

impl Deadlines {
    /// Puts connection `id`, whose deadline this is, under a time limit that ends `at`; the one before
    /// is forgotten. O(1) unless it is earlier than what is looked at anyway, O(log n) then.
    pub fn set(&self, id: ConnId, deadline: &Deadline, due: Due, at: Moment) {
        if deadline.set(due, at) {
            self.enter(id, deadline, at);
        }
    }

    /// Forgets a connection that ends, or that is under no limit for long. O(log n).
    pub fn remove(&self, id: ConnId, deadline: &Deadline) {
        self.0.borrow_mut().remove(&(deadline.entry(), id));
        deadline.set_entry(Moment::NEVER);
    }

    /// When the next entry comes up; [`Moment::NEVER`] if there is none.
    #[must_use]
    pub fn next(&self) -> Moment {
        let entries = self.0.borrow();
        entries.first().map_or(Moment::NEVER, |&(at, _)| at)
    }

    /// Takes the first entry out if it has come up by `now`. The caller looks at the connection's
    /// deadline and, if that is later, calls [`Self::look_again`].
    #[must_use]
    pub fn take_due(&self, now: Moment) -> Option<ConnId> {
        let mut entries = self.0.borrow_mut();
        let &(at, id) = entries.first().filter(|&&(at, _)| at <= now)?;
        entries.remove(&(at, id));
        Some(id)
    }

    /// Looks at connection `id` again `at` that moment. Its entry was taken.
    pub fn look_again(&self, id: ConnId, deadline: &Deadline, at: Moment) {
        deadline.set_entry(Moment::NEVER);
        if at < Moment::NEVER {
            self.enter(id, deadline, at);
        }
    }

    fn enter(&self, id: ConnId, deadline: &Deadline, at: Moment) {
        let mut entries = self.0.borrow_mut();
        entries.remove(&(deadline.entry(), id));
        entries.insert((at, id));
        deadline.set_entry(at);
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, ops::Range, time::Duration};

    use fastrand::Rng;

    use super::*;

    const SEEDS: Range<u64> = 0..20;
    const STEPS: usize = 3_000;
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

    /// How often something came up that the test is about.
    #[derive(Debug, Default)]
    struct Seen {
        expired: usize,
        entry_was_early: usize,
        moved_earlier: usize,
        lifted: usize,
        put_off: usize,
        removed_with_entry: usize,
    }

    impl Simulation {
        fn now(&self) -> Moment {
            at(self.millis)
        }

        fn step(&mut self, rng: &mut Rng) {
            let id = rng.u32(..CONNECTIONS);
            match rng.u32(..20) {
                0..10 => self.set(id, rng),
                10..12 => self.lift(id),
                12 if rng.bool() => self.remove(id),
                12 => self.forget(id),
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

        /// The connection stays, under no limit for long.
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
            while let Some(id) = self.deadlines.take_due(now) {
                let deadline = &self.connections[&id];
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
            for (id, (_, moment)) in &self.expected {
                let put_off = self.put_off.get(id).is_some_and(|soon| *soon > now);
                assert!(*moment > now || put_off, "connection {id} was overlooked");
            }
        }

        fn check(&self) {
            let entries = self.deadlines.0.borrow();
            let ids = BTreeMap::from_iter(entries.iter().map(|&(at, id)| (id, at)));
            assert_eq!(ids.len(), entries.len(), "two entries of one connection");
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
            let first = ids.values().min().copied();
            assert_eq!(self.deadlines.next(), first.unwrap_or(Moment::NEVER));
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
            assert!(simulation.deadlines.0.borrow().is_empty());
            seen = simulation.seen;
        }
        let Seen {
            expired,
            entry_was_early,
            moved_earlier,
            lifted,
            put_off,
            removed_with_entry,
        } = seen;
        for times in [
            expired,
            entry_was_early,
            moved_earlier,
            lifted,
            put_off,
            removed_with_entry,
        ] {
            assert!(times > 100, "{seen:?}");
        }
    }

    #[test]
    fn a_deadline_that_moves_on_costs_one_entry_and_no_other_look() {
        let (deadlines, deadline) = (Deadlines::default(), Deadline::new());
        for millis in 10..1000 {
            deadlines.set(7, &deadline, Due::Idle, at(millis));
            assert_eq!((deadlines.next(), deadline.entry()), (at(10), at(10)));
        }
        assert_eq!(deadlines.take_due(at(9)), None);
        assert_eq!(deadlines.take_due(at(10)), Some(7));
        deadlines.look_again(7, &deadline, deadline.at());
        assert_eq!(deadlines.take_due(at(998)), None);
        assert_eq!(deadlines.take_due(at(999)), Some(7));
        assert_eq!(deadlines.next(), Moment::NEVER);
    }
}
