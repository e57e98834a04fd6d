//! A seeded simulation of matching, verdict and signal together: clients arrive on both sides of a few
//! channels, send, read, half-close, leave, break their framing and stall; channels are deleted, time
//! limits end, tasks panic, the server drains. The registry, the rulings, the signals and the noting of
//! what a consumer was sent are the real ones; what `exchange`, `shard` and `worker` do with them on
//! sockets is followed here step by step. After every step all must be as a naive model says, which
//! knows the order of arrival and what the wire contract (`doc/protocol.md`) promises.
//!
//! A failure prints its seed. `HTTPIPE_SEED` runs that one alone, `HTTPIPE_SIM_STEPS` sets the steps
//! of a seed.

mod client;
mod conn;
mod exchange;
mod ledger;
mod matching;
mod mood;
mod seen;
mod server;

use std::ops::Range;
use std::rc::Rc;

use fastrand::Rng;
use httpipe::testing::model::{admission::Limits, registry::Side};

use super::sim::{TellOnPanic, from_env};

use self::client::{Client, Peer};
use self::conn::{Conn, Id, Next, Request, State};
use self::mood::Mood;
use self::seen::{Event, Seen};
use self::server::Server;

const SEEDS: Range<u64> = 1..25;
const STEPS: u64 = 4_000;

/// How long the odds stay as they are: long enough for a crowd to gather behind one exchange.
const STEPS_A_MOOD: u64 = 250;

/// Rounds in which everything must have come to its end.
const ROUNDS_MAX: usize = 1_000;

/// Below what the arrivals come to, with room for several turns of a channel with a backlog.
const LIMITS: Limits = Limits {
    channels_max: 5,
    waiting_max: 110,
    waiting_per_channel_max: 90,
};

const NAMES: [(&str, &str); 6] = [
    ("a", "a"),
    ("a", "b"),
    ("a", "c"),
    ("b", "a"),
    ("b", "b"),
    ("c", "a"),
];

/// The real hash differs from run to run, which no seed could repeat.
fn hash(name: usize) -> u64 {
    (name % 4) as u64
}

#[test]
fn everybody_receives_one_end_and_the_right_one_whatever_happens_meanwhile() {
    let steps = from_env("HTTPIPE_SIM_STEPS").unwrap_or(STEPS);
    let seeds = from_env("HTTPIPE_SEED").map_or(SEEDS, |seed| seed..seed + 1);
    // A server drains once a seed, whatever the steps: these are known to show everything.
    let enough_for_everything = steps == STEPS && seeds == SEEDS;
    let seen = Rc::new(Seen::default());
    for seed in seeds {
        let _told = TellOnPanic { seed, steps };
        let mut simulation = Simulation::new(seed, &seen);
        for step in 0..steps {
            simulation.step(step, steps);
            simulation.server.check();
        }
        simulation.end();
    }
    seen.print();
    if enough_for_everything {
        seen.check_complete();
    }
}

struct Simulation {
    rng: Rng,
    mood: Mood,
    server: Server,
    /// This server drains: how many steps before its end that begins, and its timeout is over.
    drain: Option<(u64, u64)>,
}

impl Simulation {
    fn new(seed: u64, seen: &Rc<Seen>) -> Self {
        let rng = Rng::with_seed(seed);
        Self {
            mood: Mood::RELEASE,
            rng,
            server: Server::new(seen),
            drain: [None, Some((700, 300)), None, Some((40, 30))][seed as usize % 4],
        }
    }

    fn step(&mut self, step: u64, steps: u64) {
        if step.is_multiple_of(STEPS_A_MOOD) {
            if self.rng.bool() {
                self.settle();
            }
            self.mood = Mood::after(&self.mood, &mut self.rng);
        }
        if let Some((begins, over)) = self.drain {
            self.server.draining = steps - step <= begins;
            self.server.drained = steps - step <= over;
        }
        if self.chance(self.mood.turn) {
            self.turn();
        } else if self.chance(self.mood.arrive) {
            self.arrive();
        } else {
            self.happen();
        }
    }

    /// A task has its turn: one that was woken, the one that tells the evicted, or the one that goes on
    /// with a backlog.
    fn turn(&mut self) {
        match self.rng.u32(..10) {
            0 => self.server.go_on_with_backlog(),
            1..3 => self.server.tell_evicted(),
            _ => {
                if let Some(conn) = self.any(Conn::is_awake) {
                    self.server.turn(&conn);
                }
            }
        }
    }

    fn happen(&mut self) {
        match self.rng.u32(..40) {
            0..11 if self.chance(self.mood.flow) => self.send(),
            11..20 if self.chance(self.mood.flow) => self.read(),
            20..28 if self.chance(self.mood.harm) => self.leave(),
            28..30 if self.chance(self.mood.harm) => self.break_framing(),
            30..34 if self.chance(self.mood.harm) => self.expire(),
            34..37 if self.chance(self.mood.harm) => self.delete(),
            37 if self.chance(self.mood.harm) => self.panic(),
            38.. if self.server.draining => self.server.sweep(),
            _ => self.turn(),
        }
    }

    /// A request arrives, on a new connection or on one that was kept.
    fn arrive(&mut self) {
        let mut request = self.request();
        let pieces = self.rng.u32(..4);
        let mut body = match request.side {
            Side::Producer => client::body(request.ticket, pieces),
            Side::Consumer => Vec::new(),
        };
        let with_head = match self.chance(self.mood.whole) {
            true => body.len(),
            false => self.rng.usize(..=body.len()),
        };
        let unsent = body.split_off(with_head);
        request.is_whole = unsent.is_empty();
        request.in_hand = body.into();
        let room = match self.rng.u32(..16) {
            0..5 if self.mood.crowd.is_none() => self.rng.usize(..5),
            _ => 10,
        };
        let conn = self.connection();
        conn.request.replace(request);
        conn.client.begin(unsent, room);
        self.server.arrive(&conn, pieces);
    }

    fn request(&mut self) -> Request {
        let crowd = self.mood.crowd.filter(|_| self.rng.u32(..20) > 0);
        Request {
            ticket: self.server.ledger.next_ticket(),
            side: match self.chance(self.mood.produce) {
                true => Side::Producer,
                false => Side::Consumer,
            },
            name: crowd.unwrap_or_else(|| self.rng.usize(..NAMES.len())),
            chunked: self.rng.bool(),
            ..Request::NONE
        }
    }

    fn connection(&mut self) -> Rc<Conn> {
        let may = |conn: &Conn| conn.is_reading() && !conn.client.has_left() && !conn.is_awake();
        let kept = match self.rng.u32(..5) {
            0 => None,
            _ => self.any(may),
        };
        if let Some(conn) = kept {
            self.server.seen.saw(Event::Kept);
            return conn;
        }
        let client = Client::any(&mut self.rng);
        let conns = &mut self.server.conns;
        let entry = conns.vacant_entry();
        let conn = Conn::new(entry.key() as Id, client, &self.server.seen);
        Rc::clone(entry.insert(conn))
    }

    fn send(&mut self) {
        let drives = self.rng.u32(..4) > 0;
        let may = |conn: &Conn| {
            !conn.client.unsent.borrow().is_empty() && (!drives || conn.work.borrow().is_some())
        };
        if let Some(conn) = self.any(may) {
            conn.client.send();
            conn.client_acted();
        }
    }

    fn read(&mut self) {
        let units = self.rng.usize(1..8);
        if let Some(conn) = self.any(Conn::is_driven) {
            conn.client.read(units);
            conn.client_acted();
        }
    }

    fn leave(&mut self) {
        let (how, resets) = (self.rng.u32(..5), self.rng.bool());
        let exchanges = self.rng.bool();
        let may = |conn: &Conn| {
            conn.client.peer.get() != Peer::Gone
                && (!exchanges || conn.is_driven() || conn.work.borrow().is_some())
        };
        let Some(conn) = self.any(may) else { return };
        let half_closed = conn.client.peer.get() == Peer::HalfClosed;
        match how {
            0 if !half_closed => return conn.client.is_lost.set(true),
            1..3 if !half_closed => conn.client.leave(Peer::HalfClosed, false),
            _ => conn.client.leave(Peer::Gone, resets),
        }
        conn.client_acted();
    }

    fn break_framing(&mut self) {
        let may =
            |conn: &Conn| conn.request.borrow().chunked && !conn.client.unsent.borrow().is_empty();
        if let Some(conn) = self.any(may) {
            conn.client.send_broken();
            conn.client_acted();
        }
    }

    /// The time limit of somebody who waits or drives is over.
    fn expire(&mut self) {
        let driving = self.rng.u32(..4) > 0;
        let may = |conn: &Conn| match driving {
            true => conn.work.borrow().is_some(),
            false => conn.is_waiting(),
        };
        if let Some(conn) = self.any(may) {
            self.server.expire(&conn);
        }
    }

    fn delete(&mut self) {
        let name = match (self.rng.u32(..4), self.server.backlog.front()) {
            (0..2, Some((name, _))) => *name,
            (0, _) => self.rng.usize(..NAMES.len()),
            _ => self.any(Conn::is_driven).map_or(0, |conn| conn.name()),
        };
        let whole_namespace = self.rng.u32(..4) == 0;
        let mut channels = Vec::new();
        let end = self
            .server
            .registry
            .list_from(0, usize::MAX, |id, namespace, channel| {
                let found = NAMES
                    .iter()
                    .position(|known| *known == (namespace, channel));
                let found = found.expect("only names that were opened are listed");
                if found == name || whole_namespace && namespace == NAMES[name].0 {
                    channels.push((found, id));
                }
            });
        assert_eq!(end, None);
        if channels.len() > 1 {
            self.server.seen.saw(Event::DeletedNamespace);
        }
        self.server.destroy(&channels);
    }

    /// The task of somebody who drives or waits panics at its next turn.
    fn panic(&mut self) {
        let drives = |conn: &Conn| {
            conn.work.borrow().is_some()
                || matches!(*conn.state.borrow(), State::Handed(Next::Work(_)))
        };
        let waits = self.rng.u32(..4) == 0;
        let may = |conn: &Conn| {
            if waits {
                conn.is_waiting()
            } else {
                drives(conn)
            }
        };
        if let Some(conn) = self.any(may) {
            conn.faulty.set(true);
            conn.wake();
        }
    }

    /// A connection for which `may` is true.
    fn any(&mut self, may: impl Fn(&Conn) -> bool) -> Option<Rc<Conn>> {
        let conns = self
            .server
            .conns
            .iter()
            .map(|(_, conn)| conn)
            .filter(|conn| may(conn));
        let conns = Vec::from_iter(conns);
        let nth = self.rng.usize(..conns.len().max(1));
        conns.get(nth).map(|conn| Rc::clone(conn))
    }

    fn chance(&mut self, odds: f64) -> bool {
        self.rng.f64() < odds
    }

    /// Everybody has come to an end: in a drain by itself, else when everybody has left.
    fn end(&mut self) {
        self.settle();
        if self.drain.is_some() {
            let mut rounds = 0;
            while !self.server.conns.is_empty() {
                self.server.sweep();
                self.settle();
                rounds += 1;
                assert!(rounds < ROUNDS_MAX, "the drain never ends");
            }
        } else {
            for (_, conn) in &self.server.conns {
                conn.client.leave(Peer::Gone, false);
                conn.client_acted();
            }
            self.settle();
        }
        assert!(self.server.conns.is_empty(), "{}", self.server.conns.len());
        assert_eq!(self.server.registry.channels(), 0);
        assert_eq!(self.server.registry.exchanging(), 0);
    }

    /// No client does anything until nobody has anything to do. Nobody who left is kept then, and
    /// nobody sleeps over what is there.
    fn settle(&mut self) {
        for _ in 0..100 * ROUNDS_MAX {
            let awake = self.any(Conn::is_awake);
            let server = &mut self.server;
            if awake.is_none() && server.evicted.is_empty() && server.backlog.is_empty() {
                let conns = server.conns.iter();
                return conns.for_each(|(_, conn)| check_at_rest(conn));
            }
            if let Some(conn) = awake {
                server.turn(&conn);
            } else {
                server.tell_evicted();
            }
            server.go_on_with_backlog();
            server.check();
        }
        panic!("it never comes to rest");
    }
}

fn check_at_rest(conn: &Conn) {
    let id = conn.id;
    let client = &conn.client;
    if conn.is_waiting() || conn.is_reading() {
        assert!(!client.has_left(), "{id} left and is kept");
    } else if conn.is_driven() {
        // Who half-closes before the first byte has left.
        let half_closed = client.peer.get() == Peer::HalfClosed && !client.got.borrow().is_empty();
        assert!(half_closed || !client.has_left(), "{id} left and is kept");
    } else {
        let work = conn.work.borrow();
        let flow = &work.as_ref().expect("it drives an exchange").flow;
        let stalls = !flow.consumer.client.is_writable();
        assert!(
            stalls || !client.is_readable(),
            "{id} sleeps over what is there"
        );
    }
}
