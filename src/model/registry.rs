//! The channels that one shard owns: made on use, gone when unused. Pure.
//!
//! Owns: the index from namespace and name to channel; each channel's two queues and whether it is
//! busy; the counts of all that. Every request passes here, so [`Registry::open`],
//! [`Registry::arrive`], [`Registry::leave`] and [`Registry::next_match`] take the same time however
//! many channels and waiters there are, and once its tables are warm only a new channel allocates,
//! once: its key.
//!
//! Must never: look into a waiter, hold a socket, read a clock, know of other shards.
//!
//! A channel exists exactly while a request waits on it or it is busy. The calls that take the last of
//! either away close it, with two exceptions, which leave that to the caller because something follows
//! at once: after a match, of [`Registry::arrive`] or [`Registry::next_match`], comes
//! [`Registry::begin_exchange`], [`Registry::give_back`] or [`Registry::close_if_unused`], and no
//! `await` in between.
//!
//! How a request goes through:
//! ```text
//! arrives:    open ─▶ arrive ─┬─ a match ─▶ begin_exchange
//!                             └─ it waits
//! ends:       [give_back: who goes on waiting] ─▶ end_exchange ─▶ next_match ─▶ begin_exchange
//! gives up:   leave
//! ```

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use slab::Slab;
use smallvec::{SmallVec, smallvec};

pub use crate::model::channel::Side;
use crate::model::{
    channel::{Busy, Channel},
    queue::{Place, Places, Queue},
};

/// A producer and its consumers, taken out of their queues together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Match<W> {
    /// The one that brings the body.
    pub producer: W,
    /// Those that take it, at least one, first come first.
    pub consumers: SmallVec<[W; 1]>,
}

/// What came of an arrival.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Arrival<W> {
    /// It was matched, and is part of the match.
    Matches(Match<W>),
    /// It stands in its queue, at this place. Keep it for [`Registry::leave`]; it is spent when the
    /// waiter is matched.
    Waits(Place),
}

/// Names a channel of one registry, for as long as that channel exists. Whoever waits on a channel
/// or drives its exchange keeps it in existence, so its id stays good; otherwise an id is good only
/// until the next `await`, for the slot behind it is used again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct ChannelId(u32);

/// How much a registry takes in before it refuses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Channels of this shard.
    pub channels_max: usize,
    /// Requests waiting on this shard, on all its channels and both sides together.
    pub waiting_max: usize,
    /// Requests waiting on one channel, both sides together.
    pub waiting_per_channel_max: usize,
}

/// Which limit refused a request. The client hears 503 (RFC 9110, section 15.6.4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Full {
    /// [`Limits::channels_max`] channels are in use and this would be another.
    Channels,
    /// [`Limits::waiting_max`] requests wait on this shard.
    Waiting,
    /// [`Limits::waiting_per_channel_max`] requests wait on this channel.
    WaitingOnChannel,
}

/// All channels that one shard owns. `W` is how the shard calls a waiter: a small id.
pub struct Registry<W: Copy + Eq> {
    limits: Limits,
    index: HashTable<ChannelId>,
    channels: Slab<Channel<W>>,
    places: Places<W>,
    waiting: [usize; 2],
    exchanging: usize,
}

impl<W> Match<W> {
    /// One producer and one consumer.
    pub fn pair(producer: W, consumer: W) -> Self {
        let consumers = smallvec![consumer];
        Self {
            producer,
            consumers,
        }
    }
}

impl<W: Copy + Eq> Registry<W> {
    /// An empty registry. Takes memory as it is used, and keeps it.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Registry {
            limits,
            index: HashTable::new(),
            channels: Slab::new(),
            places: Places::default(),
            waiting: [0; 2],
            exchanging: 0,
        }
    }

    /// Finds the channel, or makes it. `hash` is [`KeyHasher::hash`] of the two names.
    ///
    /// A channel made here is unused: [`Registry::arrive`] follows, or [`Registry::close_if_unused`],
    /// before the caller awaits anything.
    ///
    /// # Errors
    ///
    /// [`Full::Channels`] if it had to be made and there are as many as there may be.
    pub fn open(&mut self, hash: u64, namespace: &str, name: &str) -> Result<ChannelId, Full> {
        let channels = &self.channels;
        let entry = self.index.entry(
            hash,
            |id| channels[id.slot()].is_named(hash, namespace, name),
            |id| channels[id.slot()].hash,
        );
        match entry {
            Entry::Occupied(found) => Ok(*found.get()),
            Entry::Vacant(_) if channels.len() >= self.limits.channels_max => Err(Full::Channels),
            Entry::Vacant(vacant) => {
                let slot = self.channels.insert(Channel::new(hash, namespace, name));
                let slot = u32::try_from(slot).expect("a shard has fewer than 2^32 channels");
                vacant.insert(ChannelId(slot));
                Ok(ChannelId(slot))
            }
        }
    }

    /// Finds the channel if it is in use. `hash` is [`KeyHasher::hash`] of the two names.
    #[must_use]
    pub fn find(&self, hash: u64, namespace: &str, name: &str) -> Option<ChannelId> {
        self.index
            .find(hash, |id| {
                self.channels[id.slot()].is_named(hash, namespace, name)
            })
            .copied()
    }

    /// A request arrives. If its counterpart waits and the channel is not busy, the two match: the
    /// channel stays open, even if this took its last waiter. Otherwise it waits behind all others of
    /// its side.
    ///
    /// # Errors
    ///
    /// [`Full::WaitingOnChannel`] or [`Full::Waiting`] if it would have to wait. If the channel is
    /// unused it is closed then.
    pub fn arrive(
        &mut self,
        channel: ChannelId,
        side: Side,
        waiter: W,
    ) -> Result<Arrival<W>, Full> {
        if self.channel(channel).busy == Busy::No
            && let Some(first) = self.take(channel, side.other())
        {
            return Ok(Arrival::Matches(match side {
                Side::Producer => Match::pair(waiter, first),
                Side::Consumer => Match::pair(first, waiter),
            }));
        }
        if let Err(full) = self.room_on(channel) {
            self.close_if_unused(channel);
            return Err(full);
        }
        let queue = self.channels[channel.slot()].queue_mut(side);
        let place = queue.join_back(&mut self.places, waiter);
        self.waiting[side as usize] += 1;
        Ok(Arrival::Waits(place))
    }

    /// Puts one that was matched before all others of its side, because its match moved nothing: it
    /// keeps the turn it had. Several consumers of one match are given back last first. Call before
    /// [`Registry::end_exchange`], which would close the channel under it. It is never refused: it was
    /// let in once. So the limits on waiting can be passed by as many as there are exchanges.
    pub fn give_back(&mut self, channel: ChannelId, side: Side, waiter: W) -> Place {
        let queue = self.channels[channel.slot()].queue_mut(side);
        let place = queue.join_front(&mut self.places, waiter);
        self.waiting[side as usize] += 1;
        place
    }

    /// Takes out the waiter that stands at `place` and returns it. Closes the channel if that
    /// leaves it unused.
    ///
    /// # Panics
    ///
    /// If `place` is spent: the waiter was matched, drained, or has left before.
    pub fn leave(&mut self, channel: ChannelId, side: Side, place: Place) -> W {
        let waiter = self.channels[channel.slot()]
            .queue_mut(side)
            .leave(&mut self.places, place);
        self.waiting[side as usize] -= 1;
        self.close_if_unused(channel);
        waiter
    }

    /// Marks an exchange as under way. `driver` is the one whose task moves the body.
    ///
    /// # Panics
    ///
    /// If the channel is busy: it has at most one exchange at a time.
    pub fn begin_exchange(&mut self, channel: ChannelId, driver: W) {
        let busy = &mut self.channels[channel.slot()].busy;
        assert!(*busy == Busy::No, "a second exchange on one channel");
        *busy = Busy::Exchange(driver);
        self.exchanging += 1;
    }

    /// Marks the exchange as over, and closes the channel if that leaves it unused. Others may have
    /// come to wait on both sides meanwhile: [`Registry::next_match`] follows.
    ///
    /// # Panics
    ///
    /// If no exchange is under way.
    pub fn end_exchange(&mut self, channel: ChannelId) {
        let busy = &mut self.channels[channel.slot()].busy;
        assert!(matches!(busy, Busy::Exchange(_)), "no exchange to end");
        *busy = Busy::No;
        self.exchanging -= 1;
        self.close_if_unused(channel);
    }

    /// Lets those who wait be matched in a later turn, after [`Registry::end_backlog`]; newcomers go
    /// behind them meanwhile.
    ///
    /// # Panics
    ///
    /// If the channel is busy.
    pub fn begin_backlog(&mut self, channel: ChannelId) {
        let busy = &mut self.channels[channel.slot()].busy;
        assert!(*busy == Busy::No, "a backlog on a busy channel");
        *busy = Busy::Backlog;
    }

    /// The turn has come: [`Registry::next_match`] follows.
    ///
    /// # Panics
    ///
    /// If there is no backlog.
    pub fn end_backlog(&mut self, channel: ChannelId) {
        let busy = &mut self.channels[channel.slot()].busy;
        assert!(*busy == Busy::Backlog, "no backlog to end");
        *busy = Busy::No;
    }

    /// Who drives the exchange under way on the channel; `None` if there is none.
    #[must_use]
    pub fn driver(&self, channel: ChannelId) -> Option<W> {
        match self.channel(channel).busy {
            Busy::Exchange(driver) => Some(driver),
            Busy::No | Busy::Backlog => None,
        }
    }

    /// Takes the first producer and the first consumer out of their queues if both are there and the
    /// channel is not busy. `None` otherwise, and also if the channel closed in the
    /// [`Registry::end_exchange`] just before. After it returns `None` on a channel that is not busy,
    /// at most one side has waiters.
    ///
    /// The channel stays open: [`Registry::begin_exchange`] follows. If one of the match turns out to
    /// be gone, the others are given back; then, or if all are gone, this is asked again, and after its
    /// `None` comes [`Registry::close_if_unused`].
    pub fn next_match(&mut self, channel: ChannelId) -> Option<Match<W>> {
        if !self.has_match(channel) {
            return None;
        }
        let producer = self.take(channel, Side::Producer)?;
        let consumer = self.take(channel, Side::Consumer)?;
        Some(Match::pair(producer, consumer))
    }

    /// Whether [`Registry::next_match`] would find one.
    #[must_use]
    pub fn has_match(&self, channel: ChannelId) -> bool {
        self.channels.get(channel.slot()).is_some_and(|channel| {
            channel.busy == Busy::No && !channel.queues.iter().any(Queue::is_empty)
        })
    }

    /// Closes the channel if nobody waits on it and it is not busy; no-op otherwise, and if it is closed
    /// already.
    pub fn close_if_unused(&mut self, channel: ChannelId) {
        let Some(unused) = self
            .channels
            .get(channel.slot())
            .filter(|found| !found.in_use())
        else {
            return;
        };
        let entry = self.index.find_entry(unused.hash, |id| *id == channel);
        entry.expect("every channel is in the index").remove();
        self.channels.remove(channel.slot());
    }

    /// Takes every waiter out, the producers first, each side in its order, to be told that the
    /// channel was deleted. An exchange under way stays until its driver ends it; if there is none
    /// the channel is closed. O(waiters on the channel).
    #[must_use = "the waiters hang unless they are answered"]
    pub fn drain_waiting(&mut self, channel: ChannelId) -> Vec<W> {
        let mut drained = Vec::with_capacity(self.channel(channel).waiting());
        for side in [Side::Producer, Side::Consumer] {
            drained.extend(std::iter::from_fn(|| self.take(channel, side)));
        }
        self.close_if_unused(channel);
        drained
    }

    /// The waiters of one side of a channel, from first to last.
    pub fn waiters(&self, channel: ChannelId, side: Side) -> impl Iterator<Item = W> {
        self.channel(channel)
            .queue(side)
            .iter(&self.places)
            .copied()
    }

    /// How many wait on this side, on all channels. O(1).
    #[must_use]
    pub fn waiting(&self, side: Side) -> usize {
        self.waiting[side as usize]
    }

    /// How many channels are in use. O(1).
    #[must_use]
    pub fn channels(&self) -> usize {
        self.channels.len()
    }

    /// On how many channels an exchange is under way. O(1).
    #[must_use]
    pub fn exchanging(&self) -> usize {
        self.exchanging
    }

    /// Shows `visit` the id, namespace and name of channels in use, in no particular order, in steps
    /// that are bounded so that a shard with many channels never stalls: looks at `at_most` slots
    /// from `cursor` on (0 at first) and returns the cursor of the next step, or `None` when that
    /// was all. `at_most` is not 0.
    ///
    /// Weakly consistent if other calls happen between the steps: a channel in use from the first
    /// step to the last is shown exactly once; one that opens or closes meanwhile is shown or not;
    /// one that closes and opens again can be shown twice. The ids are good until the caller awaits.
    pub fn list_from(
        &self,
        cursor: usize,
        at_most: usize,
        mut visit: impl FnMut(ChannelId, &str, &str),
    ) -> Option<usize> {
        debug_assert!(at_most > 0, "a step of no slots never gets to the end");
        // Behind the slots ever used there is only spare capacity, at most as much again.
        let slots = self.channels.capacity();
        let next = cursor.saturating_add(at_most).min(slots);
        for slot in cursor..next {
            if let Some(channel) = self.channels.get(slot) {
                debug_assert!(channel.in_use(), "an unused channel stayed open");
                let (namespace, name) = channel.key.names();
                visit(ChannelId(slot as u32), namespace, name);
            }
        }
        (next < slots).then_some(next)
    }

    fn room_on(&self, channel: ChannelId) -> Result<(), Full> {
        if self.channel(channel).waiting() >= self.limits.waiting_per_channel_max {
            return Err(Full::WaitingOnChannel);
        }
        if self.places.len() >= self.limits.waiting_max {
            return Err(Full::Waiting);
        }
        Ok(())
    }

    fn take(&mut self, channel: ChannelId, side: Side) -> Option<W> {
        let queue = self.channels[channel.slot()].queue_mut(side);
        let taken = queue.take_first(&mut self.places)?;
        self.waiting[side as usize] -= 1;
        Some(taken)
    }

    fn channel(&self, channel: ChannelId) -> &Channel<W> {
        &self.channels[channel.slot()]
    }
}

impl ChannelId {
    fn slot(self) -> usize {
        self.0 as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Side::{Consumer, Producer};

    const ROOMY: Limits = Limits {
        channels_max: 100,
        waiting_max: 100,
        waiting_per_channel_max: 100,
    };

    /// One hash for all: the names alone have to tell channels apart.
    const HASH: u64 = 7;

    fn roomy() -> Registry<u32> {
        Registry::new(ROOMY)
    }

    fn open(registry: &mut Registry<u32>, name: &str) -> ChannelId {
        registry
            .open(HASH, "ns", name)
            .expect("there is room for a channel")
    }

    fn join(registry: &mut Registry<u32>, channel: ChannelId, side: Side, waiter: u32) -> Place {
        match registry.arrive(channel, side, waiter) {
            Ok(Arrival::Waits(place)) => place,
            other => panic!("it should wait: {other:?}"),
        }
    }

    fn listed(registry: &Registry<u32>, at_most: usize) -> Vec<String> {
        let mut names = Vec::new();
        let mut cursor = Some(0);
        while let Some(from) = cursor {
            cursor = registry.list_from(from, at_most, |_, namespace, name| {
                names.push(format!("{namespace}/{name}"));
            });
        }
        names.sort();
        names
    }

    #[test]
    fn a_channel_exists_from_its_first_waiter_to_its_last() {
        let mut registry = roomy();
        assert_eq!(registry.find(HASH, "ns", "a"), None);
        let channel = open(&mut registry, "a");
        let place = join(&mut registry, channel, Producer, 1);
        assert_eq!(registry.find(HASH, "ns", "a"), Some(channel));
        assert_eq!(open(&mut registry, "a"), channel);
        assert_eq!((registry.channels(), registry.waiting(Producer)), (1, 1));
        assert_eq!(registry.leave(channel, Producer, place), 1);
        assert_eq!(registry.find(HASH, "ns", "a"), None);
        assert_eq!((registry.channels(), registry.waiting(Producer)), (0, 0));
    }

    #[test]
    fn names_that_read_the_same_when_joined_are_different_channels() {
        let mut registry = roomy();
        let one = registry.open(HASH, "a", "bc").unwrap();
        let other = registry.open(HASH, "ab", "c").unwrap();
        let prefix = registry.open(HASH, "a", "b").unwrap();
        assert!(one != other && one != prefix && other != prefix);
        assert_eq!(registry.find(HASH, "ab", "c"), Some(other));
        assert_eq!(registry.find(HASH, "abc", ""), None);
    }

    #[test]
    fn a_channel_is_found_by_its_hash_and_its_names_together() {
        let mut registry = roomy();
        let channel = open(&mut registry, "a");
        assert_eq!(registry.find(HASH, "ns", "a"), Some(channel));
        assert_eq!(registry.find(HASH + 1, "ns", "a"), None);
    }

    #[test]
    fn one_who_arrives_takes_the_counterpart_that_waited_longest() {
        let mut registry = roomy();
        let channel = open(&mut registry, "a");
        join(&mut registry, channel, Consumer, 1);
        join(&mut registry, channel, Consumer, 2);
        let arrived = registry.arrive(channel, Producer, 3);
        assert_eq!(arrived, Ok(Arrival::Matches(Match::pair(3, 1))));
        assert_eq!(registry.waiting(Consumer), 1);
        assert_eq!(registry.waiting(Producer), 0);
    }

    #[test]
    fn nobody_is_taken_while_an_exchange_is_under_way() {
        let mut registry = roomy();
        let channel = open(&mut registry, "a");
        registry.begin_exchange(channel, 1);
        join(&mut registry, channel, Producer, 2);
        join(&mut registry, channel, Consumer, 3);
        assert_eq!(registry.driver(channel), Some(1));
        assert_eq!(registry.next_match(channel), None);
        assert_eq!(registry.exchanging(), 1);
        assert_eq!(registry.waiting(Producer), 1);
    }

    #[test]
    fn newcomers_go_behind_a_backlog() {
        let mut registry = roomy();
        let channel = open(&mut registry, "a");
        registry.begin_exchange(channel, 1);
        join(&mut registry, channel, Producer, 2);
        join(&mut registry, channel, Consumer, 3);
        registry.end_exchange(channel);
        registry.begin_backlog(channel);
        assert_eq!((registry.driver(channel), registry.exchanging()), (None, 0));
        assert_eq!(registry.next_match(channel), None);
        join(&mut registry, channel, Consumer, 4);
        registry.end_backlog(channel);
        assert_eq!(registry.next_match(channel), Some(Match::pair(2, 3)));
        assert_eq!(registry.next_match(channel), None);
        assert_eq!(registry.waiting(Consumer), 1);
    }

    #[test]
    fn a_channel_stays_as_long_as_its_backlog() {
        let mut registry = roomy();
        let channel = open(&mut registry, "a");
        registry.begin_exchange(channel, 1);
        let place = join(&mut registry, channel, Producer, 2);
        registry.end_exchange(channel);
        registry.begin_backlog(channel);
        registry.leave(channel, Producer, place);
        assert_eq!(registry.channels(), 1);
        registry.end_backlog(channel);
        registry.close_if_unused(channel);
        assert_eq!(registry.channels(), 0);
    }

    #[test]
    fn the_first_of_both_sides_match_when_an_exchange_ends() {
        let mut registry = roomy();
        let channel = open(&mut registry, "a");
        registry.begin_exchange(channel, 1);
        for (side, waiter) in [(Consumer, 4), (Producer, 2), (Consumer, 5), (Producer, 3)] {
            join(&mut registry, channel, side, waiter);
        }
        registry.end_exchange(channel);
        assert_eq!(registry.next_match(channel), Some(Match::pair(2, 4)));
        registry.begin_exchange(channel, 2);
        assert_eq!(registry.next_match(channel), None);
        registry.end_exchange(channel);
        assert_eq!(registry.next_match(channel), Some(Match::pair(3, 5)));
        registry.close_if_unused(channel);
        assert_eq!(registry.channels(), 0);
    }

    #[test]
    fn a_channel_closes_with_the_exchange_that_nobody_waits_behind() {
        let mut registry = roomy();
        let channel = open(&mut registry, "a");
        registry.begin_exchange(channel, 1);
        registry.end_exchange(channel);
        assert_eq!((registry.channels(), registry.exchanging()), (0, 0));
        assert_eq!(registry.next_match(channel), None);
        registry.close_if_unused(channel);
    }

    #[test]
    fn one_whose_counterpart_left_is_matched_before_those_who_came_later() {
        let mut registry = roomy();
        let channel = open(&mut registry, "a");
        registry.begin_exchange(channel, 1);
        join(&mut registry, channel, Producer, 2);
        join(&mut registry, channel, Consumer, 3);
        registry.give_back(channel, Producer, 1);
        registry.end_exchange(channel);
        assert_eq!(registry.next_match(channel), Some(Match::pair(1, 3)));
        registry.give_back(channel, Producer, 1);
        assert_eq!(
            registry.waiters(channel, Producer).collect::<Vec<_>>(),
            [1, 2]
        );
    }

    #[test]
    fn a_new_channel_is_refused_at_the_limit_and_one_in_use_is_not() {
        let mut registry = Registry::new(Limits {
            channels_max: 1,
            ..ROOMY
        });
        let channel = open(&mut registry, "a");
        join(&mut registry, channel, Producer, 1);
        assert_eq!(registry.open(HASH, "ns", "b"), Err(Full::Channels));
        assert_eq!(registry.open(HASH, "ns", "a"), Ok(channel));
    }

    #[test]
    fn a_full_channel_refuses_whoever_arrives_but_not_whoever_returns() {
        let mut registry = Registry::new(Limits {
            waiting_per_channel_max: 2,
            ..ROOMY
        });
        let channel = open(&mut registry, "a");
        registry.begin_exchange(channel, 1);
        join(&mut registry, channel, Producer, 2);
        join(&mut registry, channel, Consumer, 3);
        let refused = registry.arrive(channel, Producer, 4);
        assert_eq!(refused, Err(Full::WaitingOnChannel));
        registry.give_back(channel, Producer, 1);
        assert_eq!(registry.waiting(Producer), 2);
    }

    #[test]
    fn a_full_shard_refuses_and_leaves_no_unused_channel_behind() {
        let mut registry = Registry::new(Limits {
            waiting_max: 1,
            ..ROOMY
        });
        let full = open(&mut registry, "a");
        join(&mut registry, full, Producer, 1);
        let fresh = open(&mut registry, "b");
        assert_eq!(registry.arrive(fresh, Consumer, 2), Err(Full::Waiting));
        assert_eq!(listed(&registry, 10), ["ns/a"]);
    }

    #[test]
    fn draining_takes_every_waiter_and_leaves_the_exchange() {
        let mut registry = roomy();
        let channel = open(&mut registry, "a");
        registry.begin_exchange(channel, 1);
        for (side, waiter) in [(Consumer, 4), (Producer, 2), (Consumer, 5), (Producer, 3)] {
            join(&mut registry, channel, side, waiter);
        }
        assert_eq!(registry.drain_waiting(channel), [2, 3, 4, 5]);
        assert_eq!(
            (registry.waiting(Producer), registry.waiting(Consumer)),
            (0, 0)
        );
        assert_eq!((registry.channels(), registry.exchanging()), (1, 1));
        registry.end_exchange(channel);
        assert_eq!(registry.channels(), 0);
    }

    #[test]
    fn draining_closes_a_channel_without_an_exchange() {
        let mut registry = roomy();
        let channel = open(&mut registry, "a");
        join(&mut registry, channel, Consumer, 1);
        assert_eq!(registry.drain_waiting(channel), [1]);
        assert_eq!(registry.channels(), 0);
    }

    #[test]
    fn a_listing_shows_every_channel_once_whatever_the_step() {
        let mut registry = roomy();
        for name in ["a", "b", "c", "d"] {
            let channel = open(&mut registry, name);
            registry.begin_exchange(channel, 0);
        }
        assert_eq!(registry.channels.capacity(), 4, "the last slot is in use");
        let gone = registry.find(HASH, "ns", "b").unwrap();
        registry.end_exchange(gone);
        for at_most in [1, 2, 3, usize::MAX] {
            assert_eq!(listed(&registry, at_most), ["ns/a", "ns/c", "ns/d"]);
        }
    }

    #[test]
    fn a_listing_step_looks_at_no_more_slots_than_it_may() {
        let mut registry = roomy();
        for name in ["a", "b", "c"] {
            let channel = open(&mut registry, name);
            registry.begin_exchange(channel, 0);
        }
        let mut shown = 0;
        assert_eq!(registry.list_from(0, 2, |_, _, _| shown += 1), Some(2));
        assert_eq!(shown, 2);
        assert_eq!(
            registry.list_from(usize::MAX, 1, |_, _, _| shown += 1),
            None
        );
        assert_eq!(roomy().list_from(0, 1, |_, _, _| shown += 1), None);
        assert_eq!(shown, 2);
    }

    #[test]
    fn slots_of_closed_channels_are_used_again() {
        let mut registry = roomy();
        for round in 0..10_000 {
            let channel = open(&mut registry, &round.to_string());
            let place = join(&mut registry, channel, Producer, round);
            registry.leave(channel, Producer, place);
        }
        assert!(
            registry.channels.capacity() <= 4,
            "{}",
            registry.channels.capacity()
        );
        assert!(
            registry.index.capacity() <= 16,
            "{}",
            registry.index.capacity()
        );
    }

    #[test]
    #[should_panic(expected = "a second exchange on one channel")]
    fn a_channel_has_at_most_one_exchange() {
        let mut registry = roomy();
        let channel = open(&mut registry, "a");
        registry.begin_exchange(channel, 1);
        registry.begin_exchange(channel, 2);
    }
}
