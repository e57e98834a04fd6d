//! The channels that one shard owns: made on use, gone when unused.
//!
//! Owns: the index from namespace and name to channel; each channel's two queues and whether an
//! exchange is under way on it; the counts of all that. Every request passes here, so `open`,
//! `take_first`, `join`, `leave` and `next_match` take the same time however many channels and
//! waiters there are, and once its tables are warm only a new channel allocates, once: its key.
//!
//! Must never: look into a waiter, hold a socket, read a clock, know of other shards.
//!
//! A channel exists exactly while a request waits on it or an exchange is under way. The calls that
//! take the last of either away close it, with three exceptions, which leave that to the caller
//! because something follows at once: after [`Registry::open`], [`Registry::take_first`] and
//! [`Registry::next_match`] comes [`Registry::join`], [`Registry::begin_exchange`] or
//! [`Registry::close_if_unused`], and no `await` in between.
//!
//! How a request goes through:
//! ```text
//! arrives:    open ─▶ take_first(other side) ─┬─ a waiter ─▶ begin_exchange
//!                                             └─ None ─────▶ join(Back)
//! ends:       [join(Front) who goes on waiting] ─▶ end_exchange ─▶ next_match ─▶ begin_exchange
//! gives up:   leave
//! ```

use std::hash::{BuildHasher, Hasher, RandomState};

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use slab::Slab;

use crate::model::queue::{Place, Places, Queue};

/// What a request does on a channel: it brings a body or takes one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// Brings a body (`POST`, `PUT`).
    Producer,
    /// Takes a body (`GET`).
    Consumer,
}

/// Which end of its queue a waiter joins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// Before all others: for one that was matched and whose counterpart left before a body byte
    /// moved. It keeps the turn it had.
    Front,
    /// Behind all others: for one that arrives.
    Back,
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

/// Hashes channel keys. Keyed (SipHash with a random key) because clients choose the names: without
/// the key nobody can make many names that fall into one bucket, or all on one shard.
///
/// Seeded once a process and shared by all shards, because the hash also names the shard that owns
/// the channel, and all must agree on that.
///
/// The index of a registry goes by the lowest bits of the hash (bucket) and the highest 7 (tag).
/// Choose the shard by bits in between (`Mesh::owner` takes bits 16 to 47), or the
/// channels of a shard agree in bits that its index needs and crowd there: with 64 shards of 50,000
/// channels each, a look-up that finds nothing took 12 ns this way, 36 ns with the shard in the
/// lowest bits, 53 ns with it in the highest.
#[derive(Clone, Debug)]
pub struct KeyHasher(RandomState);

/// All channels that one shard owns. `W` is how the shard calls a waiter: a small id.
pub struct Registry<W: Copy> {
    limits: Limits,
    index: HashTable<ChannelId>,
    channels: Slab<Channel<W>>,
    places: Places<W>,
    waiting: [usize; 2],
    exchanging: usize,
}

struct Channel<W> {
    key: Key,
    hash: u64,
    queues: [Queue; 2],
    /// Who drives the exchange under way.
    exchange: Option<W>,
}

/// Namespace and name in one allocation, with a NUL in between. Names hold no control characters,
/// so no two pairs make the same key.
struct Key(Box<str>);

impl Side {
    /// The counterpart's side.
    #[must_use]
    pub fn other(self) -> Side {
        match self {
            Side::Producer => Side::Consumer,
            Side::Consumer => Side::Producer,
        }
    }
}

impl KeyHasher {
    /// A hasher with a fresh random key. Two of them disagree: make one and clone it.
    #[must_use]
    pub fn seeded() -> Self {
        KeyHasher(RandomState::new())
    }

    /// The hash of a channel's key, from names that are decoded already. Does not allocate.
    #[must_use]
    pub fn hash(&self, namespace: &str, name: &str) -> u64 {
        let mut hasher = self.0.build_hasher();
        hasher.write(namespace.as_bytes());
        hasher.write_u8(0);
        hasher.write(name.as_bytes());
        hasher.finish()
    }
}

impl<W: Copy> Registry<W> {
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
    /// A channel made here is unused: the caller joins it, begins an exchange on it, or closes it
    /// with [`Registry::close_if_unused`], before it awaits anything.
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

    /// Takes the first waiter of `side` out of its queue, for a counterpart that arrives. `None` if
    /// nobody waits there, or if an exchange is under way: then the one who arrives has to wait.
    ///
    /// The channel stays open even if this took its last waiter: [`Registry::begin_exchange`]
    /// follows, or [`Registry::close_if_unused`].
    pub fn take_first(&mut self, channel: ChannelId, side: Side) -> Option<W> {
        match self.channel(channel).exchange {
            Some(_) => None,
            None => self.take(channel, side),
        }
    }

    /// Puts `waiter` into the queue of its side. Whoever arrives ([`End::Back`]) has first been
    /// refused by [`Registry::take_first`] of the other side. The caller keeps channel, side and
    /// place for [`Registry::leave`]; they are spent when the waiter is taken.
    ///
    /// Whoever returns ([`End::Front`]) joins before [`Registry::end_exchange`], which would close
    /// the channel under it, and is never refused: it was let in once. So the limits on waiting can
    /// be passed by as many as there are exchanges.
    ///
    /// # Errors
    ///
    /// [`Full::WaitingOnChannel`] or [`Full::Waiting`]. If the channel is unused it is closed then.
    pub fn join(
        &mut self,
        channel: ChannelId,
        side: Side,
        end: End,
        waiter: W,
    ) -> Result<Place, Full> {
        if end == End::Back
            && let Err(full) = self.room_on(channel)
        {
            self.close_if_unused(channel);
            return Err(full);
        }
        let places = &mut self.places;
        let joined = &mut self.channels[channel.slot()];
        debug_assert!(
            end == End::Front || joined.exchange.is_some() || joined.queue(side.other()).is_empty(),
            "arrived to wait where its counterpart waits"
        );
        let place = match end {
            End::Front => joined.queue_mut(side).join_front(places, waiter),
            End::Back => joined.queue_mut(side).join_back(places, waiter),
        };
        self.waiting[side as usize] += 1;
        Ok(place)
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

    /// Marks an exchange as under way. `driver` is the one of the two that moves the body.
    ///
    /// # Panics
    ///
    /// If there is one already: a channel has at most one at a time.
    pub fn begin_exchange(&mut self, channel: ChannelId, driver: W) {
        let exchange = &mut self.channels[channel.slot()].exchange;
        assert!(exchange.is_none(), "a second exchange on one channel");
        *exchange = Some(driver);
        self.exchanging += 1;
    }

    /// Marks the exchange as over, and closes the channel if that leaves it unused. Others may have
    /// come to wait on both sides meanwhile: [`Registry::next_match`] follows.
    ///
    /// # Panics
    ///
    /// If no exchange is under way.
    pub fn end_exchange(&mut self, channel: ChannelId) {
        let ended = self.channels[channel.slot()].exchange.take();
        assert!(ended.is_some(), "no exchange to end");
        self.exchanging -= 1;
        self.close_if_unused(channel);
    }

    /// Who drives the exchange under way on the channel; `None` if there is none.
    #[must_use]
    pub fn exchange(&self, channel: ChannelId) -> Option<W> {
        self.channel(channel).exchange
    }

    /// Takes the first producer and the first consumer out of their queues, in that order, if both
    /// are there and no exchange is under way. `None` otherwise, and also if the channel closed in
    /// the [`Registry::end_exchange`] just before.
    ///
    /// Once this said `None` after an exchange, nobody waits for somebody who waits too.
    ///
    /// The channel stays open: [`Registry::begin_exchange`] follows. If one of the two turns out to
    /// be gone, the other joins [`End::Front`]; then, or if both are gone, this is asked again, and
    /// after its `None` comes [`Registry::close_if_unused`].
    pub fn next_match(&mut self, channel: ChannelId) -> Option<(W, W)> {
        let matching = self.channels.get(channel.slot())?;
        if matching.exchange.is_some() || matching.queues.iter().any(Queue::is_empty) {
            return None;
        }
        self.take(channel, Side::Producer)
            .zip(self.take(channel, Side::Consumer))
    }

    /// Closes the channel if nobody waits on it and no exchange is under way; no-op otherwise, and
    /// if it is closed already.
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

impl<W> Channel<W> {
    fn new(hash: u64, namespace: &str, name: &str) -> Self {
        let key = Key::new(namespace, name);
        Channel {
            key,
            hash,
            queues: Default::default(),
            exchange: None,
        }
    }

    /// The hashes first: they lie in the slot itself, the key is a cache miss away.
    fn is_named(&self, hash: u64, namespace: &str, name: &str) -> bool {
        self.hash == hash && self.key.is(namespace, name)
    }

    fn in_use(&self) -> bool {
        self.exchange.is_some() || self.waiting() > 0
    }

    fn waiting(&self) -> usize {
        self.queues.iter().map(Queue::len).sum()
    }

    fn queue(&self, side: Side) -> &Queue {
        &self.queues[side as usize]
    }

    fn queue_mut(&mut self, side: Side) -> &mut Queue {
        &mut self.queues[side as usize]
    }
}

impl Key {
    /// Sized before it is filled, so that it is allocated once and never moved.
    fn new(namespace: &str, name: &str) -> Self {
        debug_assert!(
            !namespace.contains('\0') && !name.contains('\0'),
            "a control character"
        );
        let mut key = String::with_capacity(namespace.len() + 1 + name.len());
        key.push_str(namespace);
        key.push('\0');
        key.push_str(name);
        Key(key.into_boxed_str())
    }

    fn is(&self, namespace: &str, name: &str) -> bool {
        let rest = self
            .0
            .strip_prefix(namespace)
            .and_then(|rest| rest.strip_prefix('\0'));
        rest == Some(name)
    }

    fn names(&self) -> (&str, &str) {
        self.0
            .split_once('\0')
            .expect("a key has a NUL between its names")
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
        registry
            .join(channel, side, End::Back, waiter)
            .expect("there is room to wait")
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
        assert_eq!(registry.take_first(channel, Producer), None);
        assert_eq!(registry.take_first(channel, Consumer), Some(1));
        assert_eq!(registry.waiting(Consumer), 1);
    }

    #[test]
    fn nobody_is_taken_while_an_exchange_is_under_way() {
        let mut registry = roomy();
        let channel = open(&mut registry, "a");
        registry.begin_exchange(channel, 1);
        join(&mut registry, channel, Producer, 2);
        join(&mut registry, channel, Consumer, 3);
        assert_eq!(registry.exchange(channel), Some(1));
        assert_eq!(registry.take_first(channel, Producer), None);
        assert_eq!(registry.next_match(channel), None);
        assert_eq!(registry.exchanging(), 1);
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
        assert_eq!(registry.next_match(channel), Some((2, 4)));
        registry.begin_exchange(channel, 2);
        assert_eq!(registry.next_match(channel), None);
        registry.end_exchange(channel);
        assert_eq!(registry.next_match(channel), Some((3, 5)));
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
        registry.join(channel, Producer, End::Front, 1).unwrap();
        registry.end_exchange(channel);
        assert_eq!(registry.next_match(channel), Some((1, 3)));
        registry.join(channel, Producer, End::Front, 1).unwrap();
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
        let refused = registry.join(channel, Producer, End::Back, 4);
        assert_eq!(refused, Err(Full::WaitingOnChannel));
        assert!(registry.join(channel, Producer, End::Front, 1).is_ok());
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
        assert_eq!(
            registry.join(fresh, Consumer, End::Back, 2),
            Err(Full::Waiting)
        );
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

    #[test]
    fn clones_of_a_key_hasher_agree_and_a_name_is_not_its_namespace() {
        let hasher = KeyHasher::seeded();
        assert_eq!(hasher.hash("ns", "a"), hasher.clone().hash("ns", "a"));
        assert_ne!(hasher.hash("a", "bc"), hasher.hash("ab", "c"));
        assert_ne!(hasher.hash("a", "b"), hasher.hash("b", "a"));
        assert_ne!(hasher.hash("ns", "a"), KeyHasher::seeded().hash("ns", "a"));
    }
}
