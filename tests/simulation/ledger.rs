//! The naive model: every request in hand, where it stands and what it heard, and who meets whom. It
//! knows no queue: the order of arrival alone says who comes first.

use std::collections::{BTreeMap, BTreeSet};

use httpipe::testing::model::{
    registry::{ChannelId, Match, Registry, Side},
    verdict::{Cause, Stage},
};

use super::client::{Ticket, Unit, body};
use super::conn::{Conn, Id};
use super::{NAMES, hash};

/// The one way in which a request ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// A reply of the server's own.
    Reply(u16),
    /// A consumer: the whole body.
    Whole,
    /// A consumer: the start of a body, and the end of the connection too early.
    Cut,
    /// The end of the connection alone.
    Closed,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stands {
    Arriving,
    Waiting,
    /// It was matched.
    Met,
    /// Its channel was deleted, and it has yet to hear so.
    Evicted,
    Ended(End),
}

#[derive(Debug)]
struct Entry {
    ticket: Ticket,
    side: Side,
    name: usize,
    /// Pieces of the body.
    pieces: u32,
    stands: Stands,
    was_given_back: bool,
}

/// Two that have met, until both know what comes of it.
#[derive(Debug)]
pub struct Meeting {
    producer: Id,
    consumer: Id,
    /// How far it had come when the channel was deleted, if it was.
    pub deleted: Option<Stage>,
    /// Who waits on.
    waits_on: Option<Id>,
    end: Option<(Stage, Option<Cause>)>,
}

#[derive(Default)]
pub struct Ledger {
    /// By connection.
    entries: Vec<Option<Entry>>,
    /// Those under way, by channel.
    pub meetings: BTreeMap<usize, Meeting>,
    /// Those that ended in this step.
    ended: Vec<Meeting>,
    /// Connections that closed in this step.
    closed: Vec<Id>,
    tickets: Ticket,
}

impl Ledger {
    pub fn next_ticket(&mut self) -> Ticket {
        self.tickets += 1;
        self.tickets
    }

    pub fn arrives(&mut self, conn: &Conn, pieces: u32) {
        let request = conn.request.borrow();
        let entry = Entry {
            ticket: request.ticket,
            side: request.side,
            name: request.name,
            pieces,
            stands: Stands::Arriving,
            was_given_back: false,
        };
        let slot = conn.id as usize;
        if slot == self.entries.len() {
            self.entries.push(None);
        }
        if let Some(before) = self.entries[slot].replace(entry) {
            let ended = matches!(before.stands, Stands::Ended(_));
            assert!(ended, "a request behind one that heard nothing: {before:?}");
        }
    }

    pub fn waits(&mut self, id: Id) {
        self.goes(id, &[Stands::Arriving], Stands::Waiting);
    }

    /// The first of each side were taken out of their queues; one of them may just arrive. Returns
    /// whether one of them was matched before.
    pub fn matched(&mut self, name: usize, found: &Match<Id>) -> bool {
        assert!(
            !self.meetings.contains_key(&name),
            "a match on a busy channel"
        );
        assert_eq!(found.consumers.len(), 1);
        let pair = [
            (Side::Producer, found.producer),
            (Side::Consumer, found.consumers[0]),
        ];
        for (side, id) in pair {
            let first = self.in_order(name, side, &[Stands::Waiting, Stands::Arriving]);
            assert_eq!(first.first(), Some(&id), "not the first {side:?}");
        }
        for (_, id) in pair {
            self.goes(id, &[Stands::Waiting, Stands::Arriving], Stands::Met);
        }
        pair.iter().any(|(_, id)| self.entry(*id).was_given_back)
    }

    /// Its counterpart had left: it looks for another.
    pub fn arrives_again(&mut self, id: Id) {
        self.goes(id, &[Stands::Met], Stands::Arriving);
    }

    pub fn meets(&mut self, name: usize, producer: Id, consumer: Id) {
        let meeting = Meeting {
            producer,
            consumer,
            deleted: None,
            waits_on: None,
            end: None,
        };
        assert!(self.meetings.insert(name, meeting).is_none());
    }

    /// It was matched in vain and waits on.
    pub fn waits_on(&mut self, conn: &Conn) {
        let id = conn.id;
        assert!(conn.client.got.borrow().is_empty(), "it was sent something");
        self.goes(id, &[Stands::Met], Stands::Waiting);
        let entry = self.entry_mut(id);
        entry.was_given_back = true;
        let name = entry.name;
        if let Some(meeting) = self.meetings.get_mut(&name) {
            assert_eq!(meeting.deleted, None, "{id} waits on after a deletion");
            assert_eq!(meeting.waits_on, None, "both wait on");
            meeting.waits_on = Some(id);
        }
    }

    /// The consumer was gone when the producer's body was to leave.
    pub fn gone_at_start(&mut self, name: usize) {
        self.meetings.remove(&name).expect("they have met");
    }

    /// The exchange is over, or was within one turn; `cause`: why, unless the body is whole.
    pub fn parts(&mut self, name: usize, stage: Stage, cause: Option<Cause>) {
        let mut meeting = self.meetings.remove(&name).expect("they have met");
        meeting.end = Some((stage, cause));
        self.ended.push(meeting);
    }

    /// Everybody who waits on the channel is evicted, the exchange there has to stop. Returns who is
    /// evicted, as they have to be told. `started`: whether a consumer was sent something.
    pub fn deleted(&mut self, name: usize, started: impl Fn(Id) -> bool) -> Vec<Id> {
        let mut evicted = self.in_order(name, Side::Producer, &[Stands::Waiting]);
        evicted.extend(self.in_order(name, Side::Consumer, &[Stands::Waiting]));
        for id in &evicted {
            self.goes(*id, &[Stands::Waiting], Stands::Evicted);
        }
        if let Some(meeting) = self.meetings.get_mut(&name) {
            let stage = match started(meeting.consumer) {
                false => Stage::Matched,
                true => Stage::Moving,
            };
            meeting.deleted = meeting.deleted.or(Some(stage));
        }
        evicted
    }

    /// The request has ended; never a second time.
    pub fn ended(&mut self, conn: &Conn, end: End) {
        let entry = self.entry_mut(conn.id);
        let before = entry.stands;
        assert!(
            !matches!(before, Stands::Ended(_)),
            "{}: {end:?} after {before:?}",
            conn.id
        );
        if before == Stands::Evicted {
            assert!(matches!(end, End::Reply(410)), "{}: {end:?}", conn.id);
        }
        entry.stands = Stands::Ended(end);
        let (side, name) = (entry.side, entry.name);
        match side {
            Side::Producer => assert!(matches!(end, End::Reply(_) | End::Closed), "{end:?}"),
            Side::Consumer => self.check_got(name, &conn.client.got.borrow(), end),
        }
    }

    /// A consumer receives `end` and was sent `got`.
    fn check_got(&self, name: usize, got: &[Unit], end: End) {
        let expected = self.meetings.get(&name).map(|meeting| {
            let producer = self.entry(meeting.producer);
            let body = body(producer.ticket, producer.pieces);
            [vec![Unit::Head], body].concat()
        });
        let expected = expected.unwrap_or_default();
        match end {
            End::Whole => assert_eq!(got, expected),
            End::Cut => {
                assert!(!got.is_empty() && got.len() < expected.len(), "{got:?}");
                assert!(expected.starts_with(got), "{got:?} of {expected:?}");
            }
            End::Reply(status) => assert!(status >= 400 && got.is_empty(), "{status} and {got:?}"),
            End::Closed => assert!(got.is_empty(), "{got:?}"),
        }
    }

    pub fn has_ended(&self, id: Id) -> bool {
        matches!(self.entry(id).stands, Stands::Ended(_))
    }

    /// The connection is gone.
    pub fn closes(&mut self, id: Id) {
        assert!(self.has_ended(id), "{id} heard nothing");
        self.closed.push(id);
    }

    /// Judges what ended in this step, and whether the registry stands as the order of arrival says.
    pub fn check(&mut self, registry: &Registry<Id>, backlog: &BTreeSet<usize>) {
        for meeting in std::mem::take(&mut self.ended) {
            self.check_end(&meeting);
        }
        for id in std::mem::take(&mut self.closed) {
            self.entries[id as usize] = None;
        }
        let (mut channels, mut waiting) = (0, [0, 0]);
        for (name, queues) in self.queues().iter().enumerate() {
            let meeting = self.meetings.get(&name);
            let busy = meeting.is_some() || backlog.contains(&name);
            let both_wait = queues.iter().all(|queue| !queue.is_empty());
            assert!(busy || !both_wait, "both sides wait on {name}");
            let in_use = busy || queues.iter().any(|queue| !queue.is_empty());
            let found = registry.find(hash(name), NAMES[name].0, NAMES[name].1);
            assert_eq!(found.is_some(), in_use, "whether {name} is in use");
            if let Some(id) = found {
                channels += 1;
                let driver = meeting.map(|meeting| meeting.producer);
                assert_eq!(registry.driver(id), driver);
                check_queues(registry, id, queues);
            }
            waiting[0] += queues[0].len();
            waiting[1] += queues[1].len();
        }
        assert_eq!(registry.channels(), channels);
        assert_eq!(registry.exchanging(), self.meetings.len());
        assert_eq!(registry.waiting(Side::Producer), waiting[0]);
        assert_eq!(registry.waiting(Side::Consumer), waiting[1]);
    }

    /// Who waits on each channel, producers and consumers, first come first.
    fn queues(&self) -> [[Vec<(Ticket, Id)>; 2]; NAMES.len()] {
        let mut queues: [[Vec<(Ticket, Id)>; 2]; NAMES.len()] = Default::default();
        for (id, entry) in self.entries.iter().enumerate() {
            if let Some(entry) = entry
                && entry.stands == Stands::Waiting
            {
                queues[entry.name][entry.side as usize].push((entry.ticket, id as Id));
            }
        }
        queues
            .as_flattened_mut()
            .iter_mut()
            .for_each(|queue| queue.sort_unstable());
        queues
    }

    /// A 200 for the producer exactly when the consumer has the whole body, and both know their end
    /// unless they wait on.
    fn check_end(&self, meeting: &Meeting) {
        let (stage, cause) = meeting.end.expect("it has ended");
        let end = |id: Id| match self.entry(id).stands {
            _ if meeting.waits_on == Some(id) => None,
            Stands::Ended(end) => Some(end),
            stands => panic!("{id} stands {stands:?} after {meeting:?}"),
        };
        let ends = (end(meeting.producer), end(meeting.consumer));
        let whole = ends == (Some(End::Reply(200)), Some(End::Whole));
        let of_either = ends.0 == Some(End::Reply(200)) || ends.1 == Some(End::Whole);
        assert_eq!(whole, of_either, "{meeting:?}: {ends:?}");
        assert_eq!(whole, cause.is_none(), "{meeting:?}: {ends:?}");
        let gone = (Some(End::Reply(410)), Some(End::Reply(410)));
        let deleted = meeting.deleted == Some(Stage::Matched);
        let deleted = deleted && cause != Some(Cause::Panicked);
        assert_eq!(deleted, ends == gone, "{meeting:?}: {ends:?}");
        if stage == Stage::Matched {
            assert_ne!(ends.1, Some(End::Cut), "{meeting:?}");
        } else {
            assert_eq!(meeting.waits_on, None, "{meeting:?}");
            assert!(whole || ends.1 == Some(End::Cut), "{meeting:?}: {ends:?}");
        }
    }

    /// Who stands so on one side of a channel, first come first.
    fn in_order(&self, name: usize, side: Side, stands: &[Stands]) -> Vec<Id> {
        let mut found = Vec::new();
        for (id, entry) in self.entries.iter().enumerate() {
            if let Some(entry) = entry
                && (entry.name, entry.side) == (name, side)
                && stands.contains(&entry.stands)
            {
                found.push((entry.ticket, id as Id));
            }
        }
        found.sort_unstable();
        found.into_iter().map(|(_, id)| id).collect()
    }

    fn entry(&self, id: Id) -> &Entry {
        self.entries[id as usize].as_ref().expect("a request")
    }

    fn entry_mut(&mut self, id: Id) -> &mut Entry {
        self.entries[id as usize].as_mut().expect("a request")
    }

    fn goes(&mut self, id: Id, from: &[Stands], to: Stands) {
        let entry = self.entry_mut(id);
        assert!(
            from.contains(&entry.stands),
            "{id} goes to {to:?}: {entry:?}"
        );
        entry.stands = to;
    }
}

fn check_queues(registry: &Registry<Id>, id: ChannelId, queues: &[Vec<(Ticket, Id)>; 2]) {
    for (side, queue) in [Side::Producer, Side::Consumer].into_iter().zip(queues) {
        let expected = queue.iter().map(|(_, id)| *id);
        assert!(
            registry.waiters(id, side).eq(expected),
            "{side:?}: {queue:?}"
        );
    }
}
