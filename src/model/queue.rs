//! The queue of one side of a channel: waiters in order of arrival.
//!
//! Owns: the order of the waiters. All queues of a shard are doubly linked lists in one arena,
//! [`Places`]: joining either end, taking the first and leaving from the middle are O(1), and none of
//! them allocates unless the arena grows.
//!
//! Must never: look into a waiter, know of channels or sides, read a clock or touch a socket.

use slab::Slab;

/// The place of a waiter. Returned by [`Queue::join_back`] and [`Queue::join_front`].
///
/// It is spent when its waiter leaves the queue, by [`Queue::leave`] or [`Queue::take_first`]. Using
/// a spent place is a bug of the caller and panics: otherwise it would remove the next waiter in that
/// slot, and that client would hang without a trace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    slot: u32,
    /// Tells this use of the slot from earlier and later ones. Wraps after 2^32 joins.
    generation: u32,
}

/// The arena of all queues of a shard. Free slots are reused. It never shrinks: its memory is that of
/// the highest number of waiters so far.
pub struct Places<W> {
    nodes: Slab<Node<W>>,
    generation: u32,
}

/// One queue: its two ends.
///
/// Every call must pass the [`Places`] that the first call passed.
#[derive(Default, Debug)]
pub struct Queue {
    head: Option<u32>,
    tail: Option<u32>,
    len: u32,
}

struct Node<W> {
    waiter: W,
    generation: u32,
    prev: Option<u32>,
    next: Option<u32>,
}

impl Queue {
    /// Appends `waiter`. O(1).
    pub fn join_back<W>(&mut self, places: &mut Places<W>, waiter: W) -> Place {
        let place = places.put(waiter, self.tail, None);
        match self.tail {
            Some(last) => places.node_mut(last).next = Some(place.slot),
            None => self.head = Some(place.slot),
        }
        self.tail = Some(place.slot);
        self.len += 1;
        place
    }

    /// Prepends `waiter`: it was taken before, and keeps its position. O(1).
    pub fn join_front<W>(&mut self, places: &mut Places<W>, waiter: W) -> Place {
        let place = places.put(waiter, None, self.head);
        match self.head {
            Some(first) => places.node_mut(first).prev = Some(place.slot),
            None => self.tail = Some(place.slot),
        }
        self.head = Some(place.slot);
        self.len += 1;
        place
    }

    /// Removes the waiter at `place` from this queue and returns it. O(1).
    ///
    /// # Panics
    ///
    /// If `place` is spent. The queue is unchanged then.
    pub fn leave<W>(&mut self, places: &mut Places<W>, place: Place) -> W {
        let is_current = places
            .nodes
            .get(place.slot as usize)
            .is_some_and(|node| node.generation == place.generation);
        assert!(is_current, "left from a spent {place:?}");
        self.unlink(places, place.slot)
    }

    /// Removes the first waiter and returns it; `None` if the queue is empty. O(1).
    pub fn take_first<W>(&mut self, places: &mut Places<W>) -> Option<W> {
        self.head.map(|first| self.unlink(places, first))
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The waiters, first to last.
    pub fn iter<'a, W>(&self, places: &'a Places<W>) -> impl Iterator<Item = &'a W> + use<'a, W> {
        std::iter::successors(self.head.map(|first| places.node(first)), |node| {
            node.next.map(|next| places.node(next))
        })
        .map(|node| &node.waiter)
    }

    fn unlink<W>(&mut self, places: &mut Places<W>, slot: u32) -> W {
        let node = places.nodes.remove(slot as usize);
        match node.prev {
            Some(prev) => places.node_mut(prev).next = node.next,
            None => {
                debug_assert_eq!(self.head, Some(slot), "the waiter stood in another queue");
                self.head = node.next;
            }
        }
        match node.next {
            Some(next) => places.node_mut(next).prev = node.prev,
            None => {
                debug_assert_eq!(self.tail, Some(slot), "the waiter stood in another queue");
                self.tail = node.prev;
            }
        }
        self.len -= 1;
        debug_assert_eq!(self.len == 0, self.head.is_none());
        node.waiter
    }
}

impl<W> Default for Places<W> {
    fn default() -> Self {
        Places {
            nodes: Slab::new(),
            generation: 0,
        }
    }
}

impl<W> Places<W> {
    /// The number of waiters in all queues.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Fills a slot. The caller links the neighbours to it.
    fn put(&mut self, waiter: W, prev: Option<u32>, next: Option<u32>) -> Place {
        let generation = self.generation;
        self.generation = generation.wrapping_add(1);
        let slot = self.nodes.insert(Node {
            waiter,
            generation,
            prev,
            next,
        });
        let slot = u32::try_from(slot).expect("a shard has room for fewer than 2^32 waiters");
        Place { slot, generation }
    }

    fn node(&self, slot: u32) -> &Node<W> {
        &self.nodes[slot as usize]
    }

    fn node_mut(&mut self, slot: u32) -> &mut Node<W> {
        &mut self.nodes[slot as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiters(queue: &Queue, places: &Places<u32>) -> Vec<u32> {
        queue.iter(places).copied().collect()
    }

    #[test]
    fn waiters_are_taken_in_order_of_arrival() {
        let (mut places, mut queue) = (Places::default(), Queue::default());
        for waiter in 1..=3 {
            queue.join_back(&mut places, waiter);
        }
        assert_eq!(queue.len(), 3);
        let taken: Vec<u32> = std::iter::from_fn(|| queue.take_first(&mut places)).collect();
        assert_eq!(taken, [1, 2, 3]);
        assert!(queue.is_empty() && places.is_empty());
    }

    #[test]
    fn a_waiter_that_joins_the_front_is_taken_next() {
        let (mut places, mut queue) = (Places::default(), Queue::default());
        queue.join_front(&mut places, 2);
        queue.join_back(&mut places, 3);
        queue.join_front(&mut places, 1);
        assert_eq!(waiters(&queue, &places), [1, 2, 3]);
        assert_eq!(queue.take_first(&mut places), Some(1));
    }

    #[test]
    fn the_first_the_last_a_middle_and_the_only_waiter_can_leave() {
        let (mut places, mut queue) = (Places::default(), Queue::default());
        let stood: Vec<Place> = (1..=4).map(|w| queue.join_back(&mut places, w)).collect();
        assert_eq!(queue.leave(&mut places, stood[1]), 2);
        assert_eq!(waiters(&queue, &places), [1, 3, 4]);
        assert_eq!(queue.leave(&mut places, stood[3]), 4);
        assert_eq!(waiters(&queue, &places), [1, 3]);
        assert_eq!(queue.leave(&mut places, stood[0]), 1);
        assert_eq!(waiters(&queue, &places), [3]);
        assert_eq!(queue.leave(&mut places, stood[2]), 3);
        assert!(queue.is_empty());
        assert_eq!(queue.take_first(&mut places), None);
    }

    #[test]
    fn a_queue_keeps_its_order_after_it_was_empty() {
        let (mut places, mut queue) = (Places::default(), Queue::default());
        let place = queue.join_back(&mut places, 1);
        queue.leave(&mut places, place);
        queue.join_back(&mut places, 2);
        queue.join_back(&mut places, 3);
        assert_eq!(waiters(&queue, &places), [2, 3]);
    }

    #[test]
    fn queues_share_an_arena_without_seeing_each_other() {
        let (mut places, mut one, mut other) =
            (Places::default(), Queue::default(), Queue::default());
        let place = one.join_back(&mut places, 1);
        other.join_back(&mut places, 10);
        one.join_back(&mut places, 2);
        other.join_back(&mut places, 20);
        one.leave(&mut places, place);
        assert_eq!(waiters(&one, &places), [2]);
        assert_eq!(waiters(&other, &places), [10, 20]);
        assert_eq!(places.len(), 3);
    }

    #[test]
    fn freed_slots_are_used_again_instead_of_growing_the_arena() {
        let (mut places, mut queue) = (Places::default(), Queue::default());
        for waiter in 0..4 {
            queue.join_back(&mut places, waiter);
        }
        let slots = places.nodes.capacity();
        for waiter in 4..10_000 {
            queue.take_first(&mut places);
            queue.join_back(&mut places, waiter);
        }
        assert_eq!(places.nodes.capacity(), slots);
        assert_eq!(waiters(&queue, &places), [9_996, 9_997, 9_998, 9_999]);
    }

    #[test]
    #[should_panic(expected = "left from a spent Place")]
    fn a_place_is_spent_when_its_waiter_is_taken() {
        let (mut places, mut queue) = (Places::default(), Queue::default());
        let place = queue.join_back(&mut places, 1);
        queue.take_first(&mut places);
        queue.leave(&mut places, place);
    }

    #[test]
    #[should_panic(expected = "left from a spent Place")]
    fn a_spent_place_does_not_remove_the_next_waiter_in_its_slot() {
        let (mut places, mut queue) = (Places::default(), Queue::default());
        let spent = queue.join_back(&mut places, 1);
        queue.take_first(&mut places);
        let next = queue.join_back(&mut places, 2);
        assert_eq!(spent.slot, next.slot);
        queue.leave(&mut places, spent);
    }
}
