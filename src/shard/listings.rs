//! Who asked for which document, and how many documents have yet to be sent.
//!
//! Used on the shard that makes the documents ([`crate::shard::mesh::Mesh::DESK`]). A document may be
//! megabytes, so it is made once for all who ask meanwhile, and every asker sends the same bytes.
//!
//! **Freshness.** The shares of a document are asked for after [`Listings::take_askers`] returned its
//! askers, so every channel that was in use from before a client asked until the client is answered is
//! in the client's document. A client that asks while a document is being made gets the next one.
//!
//! **Memory.** One document about each subject is in the making. Two namespaces have no channel in
//! common, so these documents have every name at most three times: for `/state`, for the namespaces, and
//! in one namespace each. Those that are made and unsent are bounded by [`Listings::has_room`].
//!
//! Must never: make a document, or send one.

use std::{
    cell::RefCell,
    collections::{HashMap, hash_map::Entry},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;

use crate::{limits, shard::mesh::Subject};

/// Where a document goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    /// The asking shard.
    pub from: usize,
    /// The asking shard's id of the question.
    pub ticket: usize,
}

/// The orders, and the listings that have been made.
#[derive(Debug, Default)]
pub struct Listings {
    /// A subject is in here while documents about it are made; its askers wait for the next one.
    orders: RefCell<HashMap<Subject, Vec<Asker>>>,
    unsent: Arc<Unsent>,
}

/// The listings that somebody has yet to send, on any shard.
#[derive(Debug, Default)]
struct Unsent {
    listings: AtomicUsize,
    bytes: AtomicUsize,
}

/// The bytes of a listing, which counts until the last connection that sends it drops it.
struct Counted {
    bytes: Box<[u8]>,
    unsent: Arc<Unsent>,
}

impl Listings {
    /// `asker` gets the next document about `subject`. Returns whether none is being made, so that the
    /// caller has to begin.
    pub fn order(&self, subject: &Subject, asker: Asker) -> bool {
        match self.orders.borrow_mut().entry(subject.clone()) {
            Entry::Occupied(mut waiting) => {
                waiting.get_mut().push(asker);
                false
            }
            Entry::Vacant(vacant) => {
                vacant.insert(vec![asker]);
                true
            }
        }
    }

    /// Those who get the next document about `subject`, which the caller makes now. `None` if there is
    /// nobody: no document about it is being made any more.
    pub fn take_askers(&self, subject: &Subject) -> Option<Vec<Asker>> {
        let mut orders = self.orders.borrow_mut();
        let askers = orders.get_mut(subject).map(std::mem::take)?;
        if askers.is_empty() {
            orders.remove(subject);
            return None;
        }
        Some(askers)
    }

    /// Whether another listing may be made: few are unsent, or they are small.
    #[must_use]
    pub fn has_room(&self) -> bool {
        // A listing is dropped on the shard that sent it. A late look refuses one listing too many.
        self.unsent.listings.load(Ordering::Relaxed) < limits::LISTINGS_MAX
            || self.unsent.bytes.load(Ordering::Relaxed) < limits::LISTINGS_BYTES_MAX
    }

    /// A listing that was made, to be shared by all who send it.
    #[must_use]
    pub fn share(&self, listing: Vec<u8>) -> Bytes {
        let (bytes, unsent) = (listing.into_boxed_slice(), Arc::clone(&self.unsent));
        unsent.listings.fetch_add(1, Ordering::Relaxed);
        unsent.bytes.fetch_add(bytes.len(), Ordering::Relaxed);
        Bytes::from_owner(Counted { bytes, unsent })
    }
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.unsent.listings.fetch_sub(1, Ordering::Relaxed);
        self.unsent
            .bytes
            .fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asker(ticket: usize) -> Asker {
        Asker { from: 0, ticket }
    }

    #[test]
    fn all_who_ask_while_a_document_is_made_share_the_next_one() {
        let (listings, other) = (Listings::default(), Subject::Namespace("a".to_owned()));
        assert!(listings.order(&Subject::State, asker(1)));
        assert_eq!(listings.take_askers(&Subject::State), Some(vec![asker(1)]));
        assert!(!listings.order(&Subject::State, asker(2)));
        assert!(!listings.order(&Subject::State, asker(3)));
        assert!(listings.order(&other, asker(4)), "another document");
        assert_eq!(
            listings.take_askers(&Subject::State),
            Some(vec![asker(2), asker(3)])
        );
        assert_eq!(listings.take_askers(&Subject::State), None);
        assert!(listings.order(&Subject::State, asker(5)));
        assert_eq!(listings.take_askers(&other), Some(vec![asker(4)]));
        assert_eq!(listings.take_askers(&other), None);
    }

    #[test]
    fn there_is_room_while_few_listings_are_unsent_or_they_are_small() {
        let listings = Listings::default();
        let small = Vec::from_iter((0..100).map(|_| listings.share(vec![b'.'; 100])));
        assert!(listings.has_room());
        let mut large = Vec::new();
        let bytes = limits::LISTINGS_BYTES_MAX;
        large.push(listings.share(vec![b'.'; bytes]));
        assert!(!listings.has_room());
        drop(small);
        large.extend((1..limits::LISTINGS_MAX - 1).map(|_| listings.share(vec![b'.'; bytes])));
        assert!(listings.has_room());
        large.push(listings.share(vec![b'.'; bytes]));
        assert!(!listings.has_room());
        let still_sent = large.pop().expect("one").slice(..1);
        assert!(!listings.has_room());
        drop(still_sent);
        assert!(listings.has_room());
    }
}
