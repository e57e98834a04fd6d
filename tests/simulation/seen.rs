//! What a simulation came to: it says nothing about what it never comes to.

use std::cell::RefCell;
use std::collections::BTreeMap;

use httpipe::testing::http::chunked::ChunkedError;
use httpipe::testing::model::verdict::{Cause, Stage, WaitEnd};
use strum::{EnumIter, IntoEnumIterator};

/// What has to happen at least once, besides every end of a wait, and every cause at every stage
/// where it can come up.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, EnumIter)]
pub enum Event {
    Waited,
    RefusedFull,
    RefusedInDrain,
    Kept,
    MatchedOnArrival,
    MatchedWaiting,
    MatchedAgain,
    DeliveredAtOnce,
    StartedInPart,
    StartedNothing,
    GoneAtStart,
    ProducerGoneAtMatch,
    ConsumerGoneAtMatch,
    BothGoneAtMatch,
    DeliveredInTime,
    DeliveredToHalfClosed,
    DeliveredFromHalfClosed,
    ProducerWaitedOn,
    ConsumerWaitedOn,
    WaitedOnInDrain,
    /// A consumer's leaving came behind another cause, or was not seen yet: its task sees it later.
    WaitedOnThoughLeft,
    /// Several causes came before the driver looked; the first counted.
    LaterCauseLost,
    /// A deletion came behind another cause and counted more.
    DeletionOutranked,
    BacklogBegun,
    BacklogWentOn,
    WaitedBehindBacklog,
    DeletedWhileWaiting,
    DeletedInExchange,
    DeletedInBacklog,
    DeletedNamespace,
    LeftWhileEvicted,
    LeftWhileWaiting,
    PanickedWhileWaiting,
}

/// A body whose cut would not show is never begun.
const IMPOSSIBLE: [(Stage, Cause); 1] = [(Stage::Moving, Cause::CutUnseen)];

/// Stands for every error of the chunked coding.
pub const BAD_BODY: Cause = Cause::BadBody(ChunkedError::Size);

const CAUSES: [Cause; 9] = [
    Cause::ProducerLeft,
    BAD_BODY,
    Cause::ConsumerLeft,
    Cause::ConsumerStalled,
    Cause::CutUnseen,
    Cause::Deleted,
    Cause::Expired,
    Cause::Drained,
    Cause::Panicked,
];

#[derive(Default)]
pub struct Seen {
    /// How often each came up.
    events: RefCell<BTreeMap<Event, usize>>,
    rulings: RefCell<Vec<(Stage, Cause)>>,
    wait_ends: RefCell<Vec<WaitEnd>>,
}

impl Seen {
    pub fn saw(&self, event: Event) {
        *self.events.borrow_mut().entry(event).or_default() += 1;
    }

    pub fn ruled(&self, stage: Stage, cause: Cause) {
        let mut rulings = self.rulings.borrow_mut();
        if !rulings.contains(&(stage, cause)) {
            rulings.push((stage, cause));
        }
    }

    pub fn ruled_waiting(&self, end: WaitEnd) {
        let mut ends = self.wait_ends.borrow_mut();
        if !ends.contains(&end) {
            ends.push(end);
        }
    }

    pub fn print(&self) {
        println!("{:?}", self.events.borrow());
    }

    pub fn check_complete(&self) {
        let (events, rulings) = (self.events.borrow(), self.rulings.borrow());
        let missed = Event::iter().filter(|event| !events.contains_key(event));
        let missed = Vec::from_iter(missed);
        assert!(missed.is_empty(), "the simulation never came to {missed:?}");
        for end in WaitEnd::iter() {
            assert!(self.wait_ends.borrow().contains(&end), "{end:?}");
        }
        for stage in Stage::iter() {
            for cause in CAUSES {
                let ruled = rulings.contains(&(stage, cause));
                let possible = !IMPOSSIBLE.contains(&(stage, cause));
                assert_eq!(ruled, possible, "{stage:?}, {cause:?}");
            }
        }
    }
}
