//! The channels that one shard owns. A channel is created by its first request and closed when unused.
//! Pure.
//!
//! Owns: the indexes by namespace and name, and by namespace; each channel's two queues and whether it
//! is busy; the counts. Every request passes here, so [`Registry::open`], [`Registry::arrive`],
//! [`Registry::leave`] and [`Registry::next_match`] are O(1), and unless a table grows only a new
//! channel allocates, once: its key.
//!
//! Must never: look into a waiter, hold a socket, read a clock, know of other shards.
//!
//! A channel exists exactly while a request waits on it or it is busy. A call that ends both closes it.
//! Exception: after a match, [`Registry::arrive`] and [`Registry::next_match`] leave the channel open.
//! The caller must then call [`Registry::begin_exchange`], [`Registry::give_back`] or
//! [`Registry::close_if_unused`] before its next `await`.
//!
//! The calls for one request:
//! ```text
//! arrives:    open ─▶ arrive ─┬─ matched ─▶ begin_exchange
//!                             └─ waits
//! ends:       [give_back: a side that waits again] ─▶ end_exchange ─▶ next_match ─▶ begin_exchange
//! gives up:   leave
//! ```

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use slab::Slab;
use smallvec::{SmallVec, smallvec};

pub use crate::model::channel::{ChannelId, Side};
use crate::model::{
    admission::{Full, Limits},
    channel::{Busy, Channel},
    namespaces::Namespaces,
    queue::{Place, Places, Queue},
};

/// A producer and its consumers, removed from their queues.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Match<W> {
    pub producer: W,
    /// At least one, in order of arrival.
    pub consumers: SmallVec<[W; 1]>,
}

/// The result of [`Registry::arrive`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Arrival<W> {
    /// The match, which includes the new request.
    Matches(Match<W>),
    /// It waits at this place, for [`Registry::leave`]. The place is spent when the waiter is matched.
    Waits(Place),
}

/// All channels that one shard owns. `W` is the shard's id of a waiter.
pub struct Registry<W: Copy + Eq> {
    limits: Limits,
    index: HashTable<ChannelId>,
    namespaces: Namespaces,
    channels: Slab<Channel<W>>,
    places: Places<W>,
    waiting: [usize; 2],
    exchanging: usize,
}

impl<W> Match<W> {
    pub fn pair(producer: W, consumer: W) -> Self {
        let consumers = smallvec![consumer];
        Self {
            producer,
            consumers,
        }
    }
}

impl<W: Copy + Eq> Registry<W> {
    /// An empty registry. It grows on use and never shrinks.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Registry {
            limits,
            index: HashTable::new(),
            namespaces: Namespaces::default(),
            channels: Slab::new(),
            places: Places::default(),
            waiting: [0; 2],
            exchanging: 0,
        }
    }

    /// Finds the channel, or creates it. `hash` is [`crate::model::key::KeyHasher::hash`] of the two names.
    ///
    /// A new channel is unused: the caller must call [`Registry::arrive`] or
    /// [`Registry::close_if_unused`] before its next `await`.
    ///
    /// # Errors
    ///
    /// [`Full::Channels`] if the channel does not exist and the limit is reached.
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
                let membership = self.namespaces.next();
                let channel = Channel::new(hash, namespace, name, membership);
                let slot = self.channels.insert(channel);
                let slot = u32::try_from(slot).expect("a shard has fewer than 2^32 channels");
                vacant.insert(ChannelId(slot));
                self.namespaces.add(&mut self.channels, ChannelId(slot));
                Ok(ChannelId(slot))
            }
        }
    }

    /// Finds the channel if it is in use. `hash` is [`crate::model::key::KeyHasher::hash`] of the two names.
    #[must_use]
    pub fn find(&self, hash: u64, namespace: &str, name: &str) -> Option<ChannelId> {
        self.index
            .find(hash, |id| {
                self.channels[id.slot()].is_named(hash, namespace, name)
            })
            .copied()
    }

    /// A request arrives. If a counterpart waits and the channel is not busy, the two match, and the
    /// channel stays open even without further waiters. Otherwise the request joins the back of its
    /// side's queue.
    ///
    /// # Errors
    ///
    /// [`Full::WaitingOnChannel`] or [`Full::Waiting`] if it would have to wait. An unused channel is
    /// closed then.
    pub fn arrive(
        &mut self,
        channel: ChannelId,
        side: Side,
        waiter: W,
    ) -> Result<Arrival<W>, Full> {
        let found = &mut self.channels[channel.slot()];
        if found.busy == Busy::No
            && let Some(first) = found.queue_mut(side.other()).take_first(&mut self.places)
        {
            self.waiting[side.other() as usize] -= 1;
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

    /// Returns a matched request to the front of its queue, because its exchange moved nothing. Several
    /// consumers of one match are given back last to first. Call it before
    /// [`Registry::end_exchange`], which could close the channel. It is never refused, because the
    /// request was admitted before; so waiting requests can exceed the limits by the number of
    /// exchanges.
    pub fn give_back(&mut self, channel: ChannelId, side: Side, waiter: W) -> Place {
        let queue = self.channels[channel.slot()].queue_mut(side);
        let place = queue.join_front(&mut self.places, waiter);
        self.waiting[side as usize] += 1;
        place
    }

    /// Removes the waiter at `place` and returns it. Closes the channel if it is unused then.
    ///
    /// # Panics
    ///
    /// If `place` is spent: the waiter was matched, drained, or has left.
    pub fn leave(&mut self, channel: ChannelId, side: Side, place: Place) -> W {
        let waiter = self.channels[channel.slot()]
            .queue_mut(side)
            .leave(&mut self.places, place);
        self.waiting[side as usize] -= 1;
        self.close_if_unused(channel);
        waiter
    }

    /// Marks an exchange as under way. The task of `driver` moves the body.
    ///
    /// # Panics
    ///
    /// If the channel is busy: it has at most one exchange.
    pub fn begin_exchange(&mut self, channel: ChannelId, driver: W) {
        let busy = &mut self.channels[channel.slot()].busy;
        assert!(*busy == Busy::No, "a second exchange on one channel");
        *busy = Busy::Exchange(driver);
        self.exchanging += 1;
    }

    /// Marks the exchange as over, and closes the channel if it is unused then. Requests may have
    /// queued on both sides meanwhile: call [`Registry::next_match`] next.
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

    /// Postpones matching to a later turn of the loop, until [`Registry::end_backlog`]. New requests
    /// queue behind the waiters.
    ///
    /// # Panics
    ///
    /// If the channel is busy.
    pub fn begin_backlog(&mut self, channel: ChannelId) {
        let busy = &mut self.channels[channel.slot()].busy;
        assert!(*busy == Busy::No, "a backlog on a busy channel");
        *busy = Busy::Backlog;
    }

    /// Allows matching again: call [`Registry::next_match`] next.
    ///
    /// # Panics
    ///
    /// If there is no backlog.
    pub fn end_backlog(&mut self, channel: ChannelId) {
        let busy = &mut self.channels[channel.slot()].busy;
        assert!(*busy == Busy::Backlog, "no backlog to end");
        *busy = Busy::No;
    }

    /// The driver of the exchange under way; `None` if there is none.
    #[must_use]
    pub fn driver(&self, channel: ChannelId) -> Option<W> {
        match self.channel(channel).busy {
            Busy::Exchange(driver) => Some(driver),
            Busy::No | Busy::Backlog => None,
        }
    }

    /// Removes the first producer and the first consumer from their queues, if both exist and the
    /// channel is not busy. `None` otherwise, and also if the preceding [`Registry::end_exchange`]
    /// closed the channel. After it returns `None` on a channel that is not busy, at most one side has
    /// waiters.
    ///
    /// The channel stays open: call [`Registry::begin_exchange`] next. If a peer of the match has left,
    /// give the others back and call this again; when it returns `None`, call
    /// [`Registry::close_if_unused`].
    pub fn next_match(&mut self, channel: ChannelId) -> Option<Match<W>> {
        if !self.has_match(channel) {
            return None;
        }
        let producer = self.take(channel, Side::Producer)?;
        let consumer = self.take(channel, Side::Consumer)?;
        Some(Match::pair(producer, consumer))
    }

    /// Whether [`Registry::next_match`] would return a match.
    #[must_use]
    pub fn has_match(&self, channel: ChannelId) -> bool {
        self.channels.get(channel.slot()).is_some_and(|channel| {
            channel.busy == Busy::No && !channel.queues.iter().any(Queue::is_empty)
        })
    }

    /// Closes the channel if it has no waiters and is not busy; no-op otherwise, and if it is closed
    /// already.
    pub fn close_if_unused(&mut self, channel: ChannelId) {
        let Some(unused) = self
            .channels
            .get(channel.slot())
            .filter(|found| !found.in_use())
        else {
            return;
        };
        let membership = unused.membership;
        let entry = self.index.find_entry(unused.hash, |id| *id == channel);
        entry.expect("every channel is in the index").remove();
        self.channels.remove(channel.slot());
        self.namespaces.remove(&mut self.channels, membership);
    }

    /// Removes waiters of a deleted channel, at most so many of each side: producers first, each side
    /// in its order. An exchange under way stays until its driver ends it; without one the channel is
    /// closed with its last waiter. O(waiters removed).
    #[must_use = "the waiters hang unless they are answered"]
    pub fn drain_waiting(&mut self, channel: ChannelId, at_most: [usize; 2]) -> Vec<W> {
        let mut drained = Vec::new();
        for (side, at_most) in [Side::Producer, Side::Consumer].into_iter().zip(at_most) {
            let waiters = std::iter::from_fn(|| self.take(channel, side));
            drained.extend(waiters.take(at_most));
        }
        self.close_if_unused(channel);
        drained
    }

    /// Waiters on one side of a channel. O(1).
    #[must_use]
    pub fn waiting_on(&self, channel: ChannelId, side: Side) -> usize {
        self.channel(channel).queue(side).len()
    }

    /// The waiters of one side of a channel, first to last.
    pub fn waiters(&self, channel: ChannelId, side: Side) -> impl Iterator<Item = W> {
        self.channel(channel)
            .queue(side)
            .iter(&self.places)
            .copied()
    }

    /// Waiters on this side of all channels. O(1).
    #[must_use]
    pub fn waiting(&self, side: Side) -> usize {
        self.waiting[side as usize]
    }

    /// Channels in use. O(1).
    #[must_use]
    pub fn channels(&self) -> usize {
        self.channels.len()
    }

    /// Exchanges under way. O(1).
    #[must_use]
    pub fn exchanging(&self) -> usize {
        self.exchanging
    }

    /// Calls `visit` with the id, namespace and name of channels in use, in no particular order. Each
    /// step visits at most `at_most` slots (not 0) from `cursor` (0 at first), so that many channels do
    /// not stall the shard. Returns the cursor of the next step, or `None` at the end.
    ///
    /// Weakly consistent if other calls happen between the steps: a channel in use from the first step
    /// to the last is visited exactly once, one that opens or closes meanwhile at most once, one that
    /// closes and opens again at most twice. The ids are valid until the caller's next `await`.
    pub fn list_from(
        &self,
        cursor: usize,
        at_most: usize,
        mut visit: impl FnMut(ChannelId, &str, &str),
    ) -> Option<usize> {
        debug_assert!(at_most > 0, "a step of no slots never ends");
        // Includes spare capacity, at most as many slots again.
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

    /// As [`Registry::list_from`], for the channels of one namespace: a step looks at no others, but for
    /// at most [`limits::NEW_CHANNELS_MAX`] new ones, which no later step looks at again. The first
    /// cursor is [`usize::MAX`].
    ///
    /// If other calls happen between the steps, a channel in use from the first step to the last may be
    /// visited several times. The steps end however many channels open meanwhile: those are visited only
    /// in the place of others.
    pub fn list_namespace(
        &mut self,
        namespace: &str,
        cursor: usize,
        at_most: usize,
        mut visit: impl FnMut(ChannelId, &str),
    ) -> Option<usize> {
        debug_assert!(at_most > 0, "a step of no channels never ends");
        self.namespaces.sort_in(&mut self.channels);
        let of = self.namespaces.channels_of(&self.channels, namespace);
        // From the end: when a channel closes, the last one takes its place, and was visited.
        let end = cursor.min(of.len());
        let next = end.saturating_sub(at_most);
        for &id in &of[next..end] {
            visit(id, self.channel(id).key.names().1);
        }
        (next > 0).then_some(next)
    }

    /// As [`Registry::list_from`], for the namespaces that have channels in use. If other calls happen
    /// between the steps, a namespace is visited at least once that has a channel which is in use from
    /// the first step to the last.
    pub fn list_namespaces(
        &mut self,
        cursor: usize,
        at_most: usize,
        visit: impl FnMut(&str),
    ) -> Option<usize> {
        debug_assert!(at_most > 0, "a step of no slots never ends");
        self.namespaces.sort_in(&mut self.channels);
        self.namespaces
            .list_from(&self.channels, cursor, at_most, visit)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits;
    use Side::{Consumer, Producer};

    const ROOMY: Limits = Limits {
        channels_max: 100,
        waiting_max: 100,
        waiting_per_channel_max: 100,
    };

    /// One hash for all channels, so that only the names tell them apart.
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
    fn an_arrival_matches_the_counterpart_that_waited_longest() {
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
    fn nothing_is_matched_while_an_exchange_is_under_way() {
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
    fn new_requests_queue_behind_a_backlog() {
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
    fn a_channel_stays_open_during_its_backlog() {
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
    fn a_channel_without_waiters_closes_with_its_exchange() {
        let mut registry = roomy();
        let channel = open(&mut registry, "a");
        registry.begin_exchange(channel, 1);
        registry.end_exchange(channel);
        assert_eq!((registry.channels(), registry.exchanging()), (0, 0));
        assert_eq!(registry.next_match(channel), None);
        registry.close_if_unused(channel);
    }

    #[test]
    fn a_request_whose_counterpart_left_is_matched_before_later_ones() {
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
    fn a_full_channel_refuses_arrivals_but_not_returns() {
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
        assert_eq!(registry.drain_waiting(channel, [1, 1]), [2, 4]);
        assert_eq!(registry.drain_waiting(channel, [9, 9]), [3, 5]);
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
        assert_eq!(registry.drain_waiting(channel, [9, 9]), [1]);
        assert_eq!(registry.channels(), 0);
    }

    /// The names of the channels of one namespace, and in how many steps they were visited.
    fn listed_in(
        registry: &mut Registry<u32>,
        namespace: &str,
        at_most: usize,
    ) -> (Vec<String>, u32) {
        let (mut names, mut steps) = (Vec::new(), 0);
        let mut cursor = Some(usize::MAX);
        while let Some(from) = cursor {
            steps += 1;
            cursor = registry.list_namespace(namespace, from, at_most, |_, name| {
                names.push(name.to_owned());
            });
        }
        names.sort();
        (names, steps)
    }

    fn namespaces(registry: &mut Registry<u32>) -> Vec<String> {
        let mut names = Vec::new();
        let mut cursor = Some(0);
        while let Some(from) = cursor {
            cursor = registry.list_namespaces(from, 2, |name| names.push(name.to_owned()));
        }
        names.sort();
        names
    }

    #[test]
    fn a_question_about_one_namespace_visits_no_channel_of_another() {
        let mut registry = Registry::new(Limits {
            channels_max: 10_000,
            ..ROOMY
        });
        for nth in 0..5_000 {
            let channel = registry.open(nth, "crowded", &nth.to_string()).unwrap();
            registry.begin_exchange(channel, 0);
        }
        for name in ["a", "b", "c"] {
            let channel = open(&mut registry, name);
            registry.begin_exchange(channel, 0);
        }
        let all = ["a", "b", "c"].map(str::to_owned).to_vec();
        assert_eq!(listed_in(&mut registry, "ns", 3), (all, 1));
        assert_eq!(listed_in(&mut registry, "crowd", 1), (vec![], 1));
        assert_eq!(listed_in(&mut registry, "crowded", 1_000).1, 5);
        assert_eq!(namespaces(&mut registry), ["crowded", "ns"]);
    }

    #[test]
    fn a_channel_is_found_by_its_namespace_until_it_closes_however_long_it_was_open() {
        let mut registry = Registry::new(Limits {
            channels_max: 10_000,
            waiting_max: 10_000,
            ..ROOMY
        });
        let mut waiting = Vec::new();
        // Some are sorted in because there are many, some because of the question, some not at all.
        for nth in 0..limits::NEW_CHANNELS_MAX as u64 + 10 {
            let channel = registry.open(nth, "ns", &nth.to_string()).unwrap();
            waiting.push((channel, join(&mut registry, channel, Producer, 0)));
        }
        assert_eq!(listed_in(&mut registry, "ns", 7).0.len(), waiting.len());
        let last = open(&mut registry, "last");
        waiting.push((last, join(&mut registry, last, Producer, 0)));
        // The first, the last, and from the middle.
        while !waiting.is_empty() {
            for at in [0, waiting.len() / 2, waiting.len()] {
                if at < waiting.len() {
                    let (channel, place) = waiting.swap_remove(at);
                    registry.leave(channel, Producer, place);
                }
            }
            let (names, _) = listed_in(&mut registry, "ns", 100);
            assert_eq!(names.len(), waiting.len());
        }
        assert_eq!(namespaces(&mut registry), Vec::<String>::new());
    }

    #[test]
    fn a_listing_visits_every_channel_once_whatever_the_step() {
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
    fn a_listing_step_visits_at_most_its_slots() {
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
    fn slots_of_closed_channels_are_reused() {
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
