//! A seeded simulation of a shard's registry: requests arrive, match, give up, return to the front
//! of their queue, finish and are deleted at random, and after every step the registry must agree
//! with a naive model. No sockets and no clock: waiting requests are numbers.
//!
//! A failure prints its seed. `HTTPIPE_SEED` runs only that seed, `HTTPIPE_SIM_STEPS` sets the
//! steps per seed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Display;
use std::ops::Range;
use std::str::FromStr;

use fastrand::Rng;
use httpipe::testing::model::{
    admission::{Full, Limits},
    queue::Place,
    registry::{Arrival, ChannelId, Match, Registry, Side},
};

const SEEDS: Range<u64> = 1..8;
const STEPS: u64 = 30_000;

/// Steps until the probabilities change: enough for queues to fill and to empty again.
const STEPS_A_MOOD: u64 = 400;

/// Lower than the number of arrivals, so that every limit is reached. A power of two of channels
/// fills the slab to its last slot, where a listing could stop too early.
const LIMITS: Limits = Limits {
    channels_max: 8,
    waiting_max: 30,
    waiting_per_channel_max: 9,
};

/// Some pairs are equal when joined without a separator.
const NAMES: [(&str, &str); 12] = [
    ("a", "bc"),
    ("ab", "c"),
    ("a", "b"),
    ("a", "c"),
    ("a", "a"),
    ("ab", "a"),
    ("ab", "b"),
    ("abc", "a"),
    ("abc", "b"),
    ("abc", "ab"),
    ("abc", "c"),
    ("abc", "abc"),
];

/// The real hash differs from run to run, so a seed could not repeat it. This one collides often.
fn hash(name: usize) -> u64 {
    (name % 4) as u64
}

#[test]
fn the_registry_agrees_with_a_naive_model() {
    let steps = from_env("HTTPIPE_SIM_STEPS").unwrap_or(STEPS);
    let seeds = from_env("HTTPIPE_SEED").map_or(SEEDS, |seed| seed..seed + 1);
    let enough_for_everything = steps >= STEPS && seeds == SEEDS;
    let mut seen = BTreeSet::new();
    for seed in seeds {
        let _told = TellOnPanic { seed, steps };
        let mut simulation = Simulation::new(seed);
        for step in 0..steps {
            simulation.step(step);
            simulation.check();
        }
        simulation.empty();
        seen.append(&mut simulation.seen);
    }
    if enough_for_everything {
        let missed: Vec<_> = Event::ALL
            .iter()
            .filter(|event| !seen.contains(event))
            .collect();
        assert!(missed.is_empty(), "these events never happened: {missed:?}");
    }
}

pub(crate) fn from_env<T: FromStr<Err: Display>>(name: &str) -> Option<T> {
    let value = std::env::var(name).ok()?;
    Some(
        value
            .parse()
            .unwrap_or_else(|error| panic!("{name}={value}: {error}")),
    )
}

pub(crate) struct TellOnPanic {
    pub(crate) seed: u64,
    pub(crate) steps: u64,
}

impl Drop for TellOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "to repeat: HTTPIPE_SEED={} HTTPIPE_SIM_STEPS={}",
                self.seed, self.steps
            );
        }
    }
}

struct Simulation {
    rng: Rng,
    mood: Mood,
    registry: Registry<u32>,
    model: [Channel; NAMES.len()],
    listing: Option<Listing>,
    listing_of_one: Option<ListingOfOne>,
    waiters: u32,
    seen: BTreeSet<Event>,
}

/// The probabilities for some time.
struct Mood {
    /// An arriving request is a producer.
    produce: f64,
    /// A step is an arrival.
    arrive: f64,
    /// An exchange ends when a step looks at it.
    end: f64,
}

/// A channel in the model. It has an id exactly while it is in use.
#[derive(Default)]
struct Channel {
    id: Option<ChannelId>,
    producers: VecDeque<Waiter>,
    consumers: VecDeque<Waiter>,
    exchange: Option<Exchange>,
    /// A later step continues the matching.
    backlog: bool,
}

#[derive(Clone, Copy)]
struct Waiter {
    number: u32,
    place: Place,
}

#[derive(Clone, Copy)]
struct Exchange {
    producer: u32,
    consumer: u32,
    driver: u32,
}

/// A listing under way; other steps run between its steps.
struct Listing {
    cursor: usize,
    /// The channels that have been in use, with the same id, since the listing began.
    stayed: Vec<(usize, ChannelId)>,
    shown: Vec<usize>,
}

/// A listing of one namespace under way.
struct ListingOfOne {
    namespace: &'static str,
    cursor: usize,
    /// The channels of the namespace that have been in use, with the same id, since the listing began.
    stayed: Vec<(usize, ChannelId)>,
    shown: BTreeSet<usize>,
    /// The channels that the namespace had then: no more are visited.
    visits_left: usize,
}

/// Events that must happen at least once: a simulation proves nothing about events that never
/// happen.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Event {
    MatchedOnArrival,
    FinishedAtOnce,
    Waited,
    RefusedChannel,
    RefusedWaiting,
    RefusedWaitingOnChannel,
    RefusedAndClosed,
    Left,
    LeftAndClosed,
    ReturnedPastLimit,
    EndedAndClosed,
    MatchedNext,
    DeliveredNext,
    LeftBacklog,
    GoneAtMatch,
    BothGoneAtMatch,
    Drained,
    DrainedDuringExchange,
    DrainedInPart,
    ListedThroughChanges,
    ListedOneThroughChanges,
}

impl Event {
    const ALL: [Event; 21] = [
        Event::MatchedOnArrival,
        Event::FinishedAtOnce,
        Event::Waited,
        Event::RefusedChannel,
        Event::RefusedWaiting,
        Event::RefusedWaitingOnChannel,
        Event::RefusedAndClosed,
        Event::Left,
        Event::LeftAndClosed,
        Event::ReturnedPastLimit,
        Event::EndedAndClosed,
        Event::MatchedNext,
        Event::DeliveredNext,
        Event::LeftBacklog,
        Event::GoneAtMatch,
        Event::BothGoneAtMatch,
        Event::Drained,
        Event::DrainedDuringExchange,
        Event::DrainedInPart,
        Event::ListedThroughChanges,
        Event::ListedOneThroughChanges,
    ];
}

impl Channel {
    fn waiting(&self) -> usize {
        self.producers.len() + self.consumers.len()
    }

    fn in_use(&self) -> bool {
        self.is_busy() || self.waiting() > 0
    }

    fn is_busy(&self) -> bool {
        self.exchange.is_some() || self.backlog
    }

    fn queue(&self, side: Side) -> &VecDeque<Waiter> {
        match side {
            Side::Producer => &self.producers,
            Side::Consumer => &self.consumers,
        }
    }

    fn queue_mut(&mut self, side: Side) -> &mut VecDeque<Waiter> {
        match side {
            Side::Producer => &mut self.producers,
            Side::Consumer => &mut self.consumers,
        }
    }

    fn id(&self) -> ChannelId {
        self.id.expect("the model has this channel in use")
    }
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        Simulation {
            mood: Mood::any(&mut rng),
            rng,
            registry: Registry::new(LIMITS),
            model: Default::default(),
            listing: None,
            listing_of_one: None,
            waiters: 0,
            seen: BTreeSet::new(),
        }
    }

    fn step(&mut self, step: u64) {
        if step.is_multiple_of(STEPS_A_MOOD) {
            self.mood = Mood::any(&mut self.rng);
        }
        let name = self.rng.usize(..NAMES.len());
        if self.chance(self.mood.arrive) {
            return self.arrive(name);
        }
        match self.rng.u32(..20) {
            0..8 => self.give_up(name),
            8..16 if self.chance(self.mood.end) => self.finish(name),
            16 if self.chance(0.2) => self.delete_in_part(name),
            16 => self.delete(name),
            17 if self.chance(0.2) => self.delete_namespace(NAMES[name].0),
            18 => self.list_one(NAMES[name].0),
            19 if self.chance(0.1) => self.check_namespaces(),
            _ => self.list(),
        }
    }

    /// A request arrives: it matches, waits or is refused.
    fn arrive(&mut self, name: usize) {
        let side = self.side(self.mood.produce);
        let number = self.new_waiter();
        let Some(id) = self.open(name) else { return };
        let first = self.model_take_first(name, side.other());
        let arrived = self.registry.arrive(id, side, number);
        let Some(first) = first else {
            return self.wait(name, id, side, number, arrived);
        };
        let (producer, consumer) = match side {
            Side::Producer => (number, first),
            Side::Consumer => (first, number),
        };
        let expected = Match::pair(producer, consumer);
        assert_eq!(arrived, Ok(Arrival::Matches(expected)));
        self.matched(name, id, producer, consumer);
    }

    /// `None` if there are too many channels.
    fn open(&mut self, name: usize) -> Option<ChannelId> {
        let (namespace, channel) = NAMES[name];
        let opened = self.registry.open(hash(name), namespace, channel);
        match self.model[name].id {
            Some(id) => assert_eq!(opened, Ok(id)),
            None if self.channels_in_use() >= LIMITS.channels_max => {
                assert_eq!(opened, Err(Full::Channels));
                self.saw(Event::RefusedChannel);
                return None;
            }
            None => assert!(opened.is_ok()),
        }
        opened.ok()
    }

    fn model_take_first(&mut self, name: usize, side: Side) -> Option<u32> {
        let channel = &mut self.model[name];
        if channel.is_busy() {
            return None;
        }
        channel
            .queue_mut(side)
            .pop_front()
            .map(|waiter| waiter.number)
    }

    fn wait(
        &mut self,
        name: usize,
        id: ChannelId,
        side: Side,
        number: u32,
        arrived: Result<Arrival<u32>, Full>,
    ) {
        let refusal = if self.model[name].waiting() >= LIMITS.waiting_per_channel_max {
            Some((Full::WaitingOnChannel, Event::RefusedWaitingOnChannel))
        } else if self.waiting_in_all() >= LIMITS.waiting_max {
            Some((Full::Waiting, Event::RefusedWaiting))
        } else {
            None
        };
        match (arrived, refusal) {
            (Ok(Arrival::Waits(place)), None) => {
                self.model[name].id = Some(id);
                self.model[name]
                    .queue_mut(side)
                    .push_back(Waiter { number, place });
                self.saw(Event::Waited);
            }
            (Err(full), Some((expected, event))) => {
                assert_eq!(full, expected);
                self.saw(event);
                if !self.model[name].in_use() {
                    self.saw(Event::RefusedAndClosed);
                }
            }
            (arrived, _) => {
                panic!("the registry returned {arrived:?}, the model expected {refusal:?}")
            }
        }
    }

    /// A match on arrival. Sometimes so little moves that the exchange ends before it is marked.
    fn matched(&mut self, name: usize, id: ChannelId, producer: u32, consumer: u32) {
        if self.chance(0.3) {
            self.registry.close_if_unused(id);
            self.close_in_model_if_unused(name);
            self.saw(Event::FinishedAtOnce);
        } else {
            self.saw(Event::MatchedOnArrival);
            self.begin(name, id, producer, consumer);
        }
    }

    fn begin(&mut self, name: usize, id: ChannelId, producer: u32, consumer: u32) {
        let driver = if self.rng.bool() { producer } else { consumer };
        self.registry.begin_exchange(id, driver);
        self.model[name].id = Some(id);
        self.model[name].exchange = Some(Exchange {
            producer,
            consumer,
            driver,
        });
    }

    /// A waiting request, anywhere in the queue, leaves.
    fn give_up(&mut self, name: usize) {
        let side = self.side(0.5);
        if self.model[name].queue(side).is_empty() {
            return;
        }
        let id = self.model[name].id();
        let nth = self.rng.usize(..self.model[name].queue(side).len());
        let waiter = self.model[name]
            .queue_mut(side)
            .remove(nth)
            .expect("one of the queue");
        assert_eq!(self.registry.leave(id, side, waiter.place), waiter.number);
        self.close_in_model_if_unused(name);
        let closed = self.model[name].id.is_none();
        self.saw(if closed {
            Event::LeftAndClosed
        } else {
            Event::Left
        });
    }

    /// The exchange ends: whole, or because one side or both left. If no byte has moved, a side
    /// that did not leave waits on.
    fn finish(&mut self, name: usize) {
        if self.model[name].backlog {
            let id = self.model[name].id();
            self.registry.end_backlog(id);
            self.model[name].backlog = false;
            return self.match_next(name, id);
        }
        let Some(ended) = self.model[name].exchange else {
            return;
        };
        let id = self.model[name].id();
        match self.rng.u32(..4) {
            0 => self.go_back(name, Side::Producer, ended.producer),
            1 => self.go_back(name, Side::Consumer, ended.consumer),
            _ => {}
        }
        self.registry.end_exchange(id);
        self.model[name].exchange = None;
        self.close_in_model_if_unused(name);
        self.check_counts();
        if self.model[name].id.is_none() {
            self.saw(Event::EndedAndClosed);
        }
        self.match_next(name, id);
    }

    fn go_back(&mut self, name: usize, side: Side, number: u32) {
        let full = self.model[name].waiting() >= LIMITS.waiting_per_channel_max
            || self.waiting_in_all() >= LIMITS.waiting_max;
        if full {
            self.saw(Event::ReturnedPastLimit);
        }
        let id = self.model[name].id();
        let place = self.registry.give_back(id, side, number);
        self.model[name]
            .queue_mut(side)
            .push_front(Waiter { number, place });
    }

    /// After an exchange: the next match, unless a side has left. Sometimes so little moves that
    /// there are more matches, and a later step does the rest.
    fn match_next(&mut self, name: usize, id: ChannelId) {
        loop {
            if self.registry.has_match(id) && self.chance(0.2) {
                self.registry.begin_backlog(id);
                self.model[name].backlog = true;
                return self.saw(Event::LeftBacklog);
            }
            let next = self.registry.next_match(id);
            let expected = self.model_next_match(name);
            let pair = |(producer, consumer)| Match::pair(producer, consumer);
            assert_eq!(next, expected.map(pair));
            let Some((producer, consumer)) = expected else {
                break;
            };
            match self.rng.u32(..10) {
                0 => self.go_back(name, Side::Consumer, consumer),
                1 => self.go_back(name, Side::Producer, producer),
                2 => {
                    self.saw(Event::BothGoneAtMatch);
                    continue;
                }
                3 => {
                    self.saw(Event::DeliveredNext);
                    continue;
                }
                _ => {
                    self.saw(Event::MatchedNext);
                    return self.begin(name, id, producer, consumer);
                }
            }
            self.saw(Event::GoneAtMatch);
        }
        self.registry.close_if_unused(id);
        self.close_in_model_if_unused(name);
    }

    fn model_next_match(&mut self, name: usize) -> Option<(u32, u32)> {
        let channel = &mut self.model[name];
        if channel.producers.is_empty() || channel.consumers.is_empty() {
            return None;
        }
        let (producer, consumer) = (
            channel.producers.pop_front()?,
            channel.consumers.pop_front()?,
        );
        Some((producer.number, consumer.number))
    }

    fn delete(&mut self, name: usize) {
        let Some(id) = self.model[name].id else {
            return;
        };
        let channel = &mut self.model[name];
        let waited = channel
            .producers
            .drain(..)
            .chain(channel.consumers.drain(..));
        let waited: Vec<u32> = waited.map(|waiter| waiter.number).collect();
        let all = [usize::MAX; 2];
        assert_eq!(self.registry.drain_waiting(id, all), waited);
        let exchanging = self.model[name].exchange.is_some();
        self.saw(if exchanging {
            Event::DrainedDuringExchange
        } else {
            Event::Drained
        });
        self.close_in_model_if_unused(name);
    }

    /// Some waiters of each side leave, first come first served.
    fn delete_in_part(&mut self, name: usize) {
        let Some(id) = self.model[name].id else {
            return;
        };
        let at_most = [self.rng.usize(..4), self.rng.usize(..4)];
        let channel = &mut self.model[name];
        let (producers, consumers) = (&mut channel.producers, &mut channel.consumers);
        let producers = producers.drain(..at_most[0].min(producers.len()));
        let consumers = consumers.drain(..at_most[1].min(consumers.len()));
        let left = Vec::from_iter(producers.chain(consumers).map(|waiter| waiter.number));
        assert_eq!(self.registry.drain_waiting(id, at_most), left);
        self.close_in_model_if_unused(name);
        self.saw(Event::DrainedInPart);
    }

    /// As the server does: lists a few channels, deletes them, and goes on.
    fn delete_namespace(&mut self, namespace: &str) {
        let mut cursor = Some(usize::MAX);
        while let Some(from) = cursor {
            let at_most = self.rng.usize(1..4);
            let mut ids = Vec::new();
            cursor = self
                .registry
                .list_namespace(namespace, from, at_most, |id, _| ids.push(id));
            assert!(ids.len() <= at_most);
            for id in ids {
                let name = self.model.iter().position(|channel| channel.id == Some(id));
                self.delete(name.expect("a channel that is listed is in use"));
            }
        }
        let left = |name: &usize| NAMES[*name].0 == namespace && self.model[*name].id.is_some();
        let mut left = (0..NAMES.len()).filter(left);
        assert!(left.all(|name| self.model[name].is_busy()));
    }

    /// One step of a listing; begins one if none is under way.
    fn list(&mut self) {
        let mut listing = self.listing.take().unwrap_or_else(|| Listing {
            cursor: 0,
            stayed: self.in_use().collect(),
            shown: Vec::new(),
        });
        let at_most = self.rng.usize(1..5);
        let mut shown_now = 0;
        let next = self
            .registry
            .list_from(listing.cursor, at_most, |id, namespace, channel| {
                let name = NAMES.iter().position(|name| *name == (namespace, channel));
                let name = name.expect("only names that were opened are listed");
                assert_eq!(self.model[name].id, Some(id), "listed, but not in use");
                listing.shown.push(name);
                shown_now += 1;
            });
        assert!(shown_now <= at_most);
        match next {
            Some(cursor) => self.listing = Some(Listing { cursor, ..listing }),
            None => self.listed(&listing),
        }
    }

    /// One step of a listing of a namespace; begins one, of `namespace`, if none is under way.
    fn list_one(&mut self, namespace: &'static str) {
        let mut listing = self.listing_of_one.take().unwrap_or_else(|| {
            let of = |(name, _): &(usize, ChannelId)| NAMES[*name].0 == namespace;
            let stayed = Vec::from_iter(self.in_use().filter(of));
            ListingOfOne {
                namespace,
                cursor: usize::MAX,
                visits_left: stayed.len(),
                stayed,
                shown: BTreeSet::new(),
            }
        });
        let at_most = self.rng.usize(1..4);
        let (namespace, mut visits) = (listing.namespace, 0);
        let (model, shown) = (&self.model, &mut listing.shown);
        let visit = |id, channel: &str| {
            let name = NAMES.iter().position(|name| *name == (namespace, channel));
            let name = name.expect("only names that were opened are listed");
            assert_eq!(model[name].id, Some(id), "listed, but not in use");
            shown.insert(name);
            visits += 1;
        };
        let next = self
            .registry
            .list_namespace(namespace, listing.cursor, at_most, visit);
        assert!(visits <= at_most);
        listing.visits_left = listing
            .visits_left
            .checked_sub(visits)
            .expect("no more channels are visited than there were");
        if let Some(cursor) = next {
            self.listing_of_one = Some(ListingOfOne { cursor, ..listing });
            return;
        }
        for (name, _) in &listing.stayed {
            assert!(
                listing.shown.contains(name),
                "{:?} was in use during the whole listing",
                NAMES[*name]
            );
        }
        if listing.shown.len() != listing.stayed.len() {
            self.saw(Event::ListedOneThroughChanges);
        }
    }

    /// Each namespace has the channels that the model has, and no other is listed.
    fn check_namespaces(&mut self) {
        let mut expected = BTreeMap::<&str, BTreeSet<&str>>::new();
        for (name, _) in self.in_use() {
            let (namespace, channel) = NAMES[name];
            expected.entry(namespace).or_default().insert(channel);
        }
        let mut listed = Vec::new();
        let end = self
            .registry
            .list_namespaces(0, usize::MAX, |name| listed.push(name.to_owned()));
        assert_eq!(end, None);
        listed.sort();
        assert!(listed.iter().eq(expected.keys()), "{listed:?}");
        for (namespace, channels) in expected {
            let mut listed = Vec::new();
            let push = |_, name: &str| listed.push(name.to_owned());
            let end = self
                .registry
                .list_namespace(namespace, usize::MAX, usize::MAX, push);
            assert_eq!(end, None);
            listed.sort();
            assert!(listed.iter().eq(&channels), "{namespace}: {listed:?}");
        }
    }

    fn listed(&mut self, listing: &Listing) {
        for (name, _) in &listing.stayed {
            let times = listing.shown.iter().filter(|shown| *shown == name).count();
            assert_eq!(
                times, 1,
                "{:?} was in use during the whole listing",
                NAMES[*name]
            );
        }
        if listing.stayed.len() != self.channels_in_use() {
            self.saw(Event::ListedThroughChanges);
        }
    }

    /// Compares every result of the registry with the model, and checks the model's own rules.
    fn check(&mut self) {
        for (name, channel) in self.model.iter().enumerate() {
            let (namespace, of) = NAMES[name];
            assert_eq!(self.registry.find(hash(name), namespace, of), channel.id);
            assert_eq!(channel.id.is_some(), channel.in_use());
            assert!(
                channel.is_busy() || channel.producers.is_empty() || channel.consumers.is_empty(),
                "both sides wait on {:?} and nothing moves",
                NAMES[name]
            );
            let Some(id) = channel.id else { continue };
            assert_eq!(self.registry.next_match(id), None, "a match is left");
            assert_eq!(
                self.registry.driver(id),
                channel.exchange.map(|now| now.driver)
            );
            for side in [Side::Producer, Side::Consumer] {
                let expected = channel.queue(side).iter().map(|waiter| waiter.number);
                assert!(
                    self.registry.waiters(id, side).eq(expected),
                    "{side:?} of {namespace}/{of}"
                );
            }
        }
        self.check_counts();
        if let Some(listing) = &mut self.listing {
            listing
                .stayed
                .retain(|(name, id)| self.model[*name].id == Some(*id));
        }
        if let Some(listing) = &mut self.listing_of_one {
            let stays = |(name, id): &(usize, ChannelId)| self.model[*name].id == Some(*id);
            listing.stayed.retain(stays);
        }
    }

    fn check_counts(&self) {
        let exchanging = self
            .model
            .iter()
            .filter(|channel| channel.exchange.is_some())
            .count();
        assert_eq!(self.registry.channels(), self.channels_in_use());
        assert_eq!(self.registry.exchanging(), exchanging);
        for side in [Side::Producer, Side::Consumer] {
            let waiting: usize = self
                .model
                .iter()
                .map(|channel| channel.queue(side).len())
                .sum();
            assert_eq!(self.registry.waiting(side), waiting);
        }
    }

    /// Deletes and finishes everything; then nothing is left.
    fn empty(&mut self) {
        for name in 0..NAMES.len() {
            self.delete(name);
            while self.model[name].is_busy() {
                self.finish(name);
            }
            self.delete(name);
        }
        self.check();
        self.check_namespaces();
        assert_eq!(self.registry.channels(), 0);
    }

    fn close_in_model_if_unused(&mut self, name: usize) {
        if !self.model[name].in_use() {
            self.model[name].id = None;
        }
    }

    fn in_use(&self) -> impl Iterator<Item = (usize, ChannelId)> {
        self.model
            .iter()
            .enumerate()
            .filter_map(|(name, channel)| Some((name, channel.id?)))
    }

    fn channels_in_use(&self) -> usize {
        self.in_use().count()
    }

    fn waiting_in_all(&self) -> usize {
        self.model.iter().map(Channel::waiting).sum()
    }

    fn new_waiter(&mut self) -> u32 {
        self.waiters += 1;
        self.waiters
    }

    fn side(&mut self, produce: f64) -> Side {
        match self.chance(produce) {
            true => Side::Producer,
            false => Side::Consumer,
        }
    }

    fn chance(&mut self, odds: f64) -> bool {
        self.rng.f64() < odds
    }

    fn saw(&mut self, event: Event) {
        self.seen.insert(event);
    }
}

impl Mood {
    fn any(rng: &mut Rng) -> Self {
        let pick = |rng: &mut Rng, odds: [f64; 3]| odds[rng.usize(..odds.len())];
        Mood {
            produce: pick(rng, [0.1, 0.5, 0.9]),
            arrive: pick(rng, [0.2, 0.5, 0.8]),
            end: pick(rng, [0.05, 0.5, 1.0]),
        }
    }
}
