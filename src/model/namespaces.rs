//! The index of a registry's channels by namespace. Pure.
//!
//! Owns: which channels a namespace has, so that a question about one costs what is in it.
//!
//! Nearly every channel is open for one exchange and closed again before anybody asks, so a new one
//! only joins a list ([`NEW`]), from which it is taken in O(1). The list is sorted into namespaces when
//! somebody asks, and when it has [`limits::NEW_CHANNELS_MAX`] channels.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;
use slab::Slab;
use smallvec::SmallVec;

use crate::{
    limits,
    model::channel::{Channel, ChannelId, Membership, NEW},
};

/// The index. Every call must pass the channels of the same registry.
#[derive(Default)]
pub(super) struct Namespaces {
    new: Vec<ChannelId>,
    /// Slots of `lists`, by the hash of the namespace.
    table: HashTable<u32>,
    lists: Slab<Namespace>,
    hasher: RandomState,
}

/// A namespace with at least one channel. Its name is in the key of each.
struct Namespace {
    hash: u64,
    channels: SmallVec<[ChannelId; 4]>,
}

impl Namespaces {
    /// Where the channel will stand that is added next.
    #[inline]
    pub(super) fn next(&self) -> Membership {
        Membership {
            list: NEW,
            position: self.new.len() as u32,
        }
    }

    /// Adds a channel that was just opened, at [`Self::next`]. O(1), amortized.
    #[inline]
    pub(super) fn add<W: Eq>(&mut self, channels: &mut Slab<Channel<W>>, opened: ChannelId) {
        self.new.push(opened);
        if self.new.len() == limits::NEW_CHANNELS_MAX {
            self.sort_in(channels);
        }
    }

    /// Forgets a channel that closes. O(1).
    #[inline]
    pub(super) fn remove<W: Eq>(
        &mut self,
        channels: &mut Slab<Channel<W>>,
        Membership { list, position }: Membership,
    ) {
        if list == NEW {
            self.new.swap_remove(position as usize);
            moved_to(&self.new, position, channels);
        } else {
            self.remove_sorted(channels, list, position);
        }
    }

    #[inline(never)]
    fn remove_sorted<W: Eq>(&mut self, channels: &mut Slab<Channel<W>>, list: u32, position: u32) {
        let namespace = &mut self.lists[list as usize];
        namespace.channels.swap_remove(position as usize);
        moved_to(&namespace.channels, position, channels);
        if namespace.channels.is_empty() {
            let entry = self.table.find_entry(namespace.hash, |&of| of == list);
            entry.expect("every namespace is in the table").remove();
            self.lists.remove(list as usize);
        }
    }

    /// Sorts new channels into their namespaces. O(new channels).
    #[cold]
    pub(super) fn sort_in<W: Eq>(&mut self, channels: &mut Slab<Channel<W>>) {
        while let Some(id) = self.new.pop() {
            let list = self.list_for(channels, id);
            let of = &mut self.lists[list as usize].channels;
            channels[id.slot()].membership = Membership {
                list,
                position: of.len() as u32,
            };
            of.push(id);
        }
    }

    /// Finds or makes the list of the namespace of this channel.
    fn list_for<W: Eq>(&mut self, channels: &Slab<Channel<W>>, id: ChannelId) -> u32 {
        let name = channels[id.slot()].key.namespace();
        let hash = self.hasher.hash_one(name);
        if let Some(list) = self.find(channels, hash, name) {
            return list;
        }
        let namespace = Namespace {
            hash,
            channels: SmallVec::new(),
        };
        let list = self.lists.insert(namespace) as u32;
        let lists = &self.lists;
        self.table
            .insert_unique(hash, list, |&other| lists[other as usize].hash);
        list
    }

    fn find<W: Eq>(&self, channels: &Slab<Channel<W>>, hash: u64, name: &str) -> Option<u32> {
        let found = self.table.find(hash, |&list| {
            let namespace = &self.lists[list as usize];
            namespace.hash == hash && namespace.name(channels) == name
        });
        found.copied()
    }

    /// The channels of a namespace that are sorted in, in no particular order. O(1).
    pub(super) fn channels_of<W: Eq>(
        &self,
        channels: &Slab<Channel<W>>,
        name: &str,
    ) -> &[ChannelId] {
        let found = self.find(channels, self.hasher.hash_one(name), name);
        found.map_or(&[], |list| &self.lists[list as usize].channels)
    }

    /// Calls `visit` with the names of the namespaces in the next `at_most` slots from `cursor`, 0 at
    /// first, that have channels sorted in. Returns the next cursor, or `None` at the end.
    pub(super) fn list_from<W: Eq>(
        &self,
        channels: &Slab<Channel<W>>,
        cursor: usize,
        at_most: usize,
        mut visit: impl FnMut(&str),
    ) -> Option<usize> {
        // Includes spare capacity, at most as many slots again.
        let slots = self.lists.capacity();
        let next = cursor.saturating_add(at_most).min(slots);
        (cursor..next)
            .filter_map(|slot| self.lists.get(slot))
            .for_each(|namespace| visit(namespace.name(channels)));
        (next < slots).then_some(next)
    }
}

impl Namespace {
    fn name<'a, W: Eq>(&self, channels: &'a Slab<Channel<W>>) -> &'a str {
        channels[self.channels[0].slot()].key.namespace()
    }
}

/// The channel that took the place of one that was removed from `list` has to know.
#[inline]
fn moved_to<W: Eq>(list: &[ChannelId], position: u32, channels: &mut Slab<Channel<W>>) {
    if let Some(moved) = list.get(position as usize) {
        channels[moved.slot()].membership.position = position;
    }
}
