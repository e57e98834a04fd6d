//! A client: its end of a connection, what it sends, and what it received.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use fastrand::Rng;

/// Numbers requests in the order in which they arrive.
pub type Ticket = u64;

/// What travels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// The head of a consumer's reply.
    Head,
    /// A piece of the body of this request.
    Piece(Ticket, u32),
    /// What ends a body.
    Last,
    /// What no chunk begins with.
    Broken,
}

/// What the client's end of the connection looks like from the server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Peer {
    There,
    HalfClosed,
    Gone,
}

pub struct Client {
    pub peer: Cell<Peer>,
    /// Its host vanished, or its reset is on the way: only who sends to it learns that.
    pub is_lost: Cell<bool>,
    /// It takes no chunked body.
    pub http_1_0: bool,
    /// Its socket can show a cut by a reset.
    pub can_reset: bool,
    /// It asked for its connection to be closed after the reply.
    pub closes: bool,
    /// What it has yet to send of its body.
    pub unsent: RefCell<VecDeque<Unit>>,
    /// What it sent and the server has not received.
    pub in_socket: RefCell<VecDeque<Unit>>,
    /// It broke the framing of its body.
    pub broke: Cell<bool>,
    /// How many units its connection takes before it reads again.
    pub room: Cell<usize>,
    /// What it was sent for the request in hand.
    pub got: RefCell<Vec<Unit>>,
}

impl Client {
    pub fn any(rng: &mut Rng) -> Self {
        let unix = rng.u32(..4) == 0;
        Self {
            peer: Cell::new(Peer::There),
            is_lost: Cell::new(false),
            http_1_0: rng.u32(..4) == 0,
            can_reset: !unix,
            closes: rng.u32(..4) == 0,
            unsent: RefCell::default(),
            in_socket: RefCell::default(),
            broke: Cell::new(false),
            room: Cell::new(0),
            got: RefCell::default(),
        }
    }

    /// Begins a request, of whose body this is still to be sent.
    pub fn begin(&self, unsent: Vec<Unit>, room: usize) {
        *self.unsent.borrow_mut() = unsent.into();
        self.in_socket.borrow_mut().clear();
        self.got.borrow_mut().clear();
        self.broke.set(false);
        self.room.set(room);
    }

    pub fn send(&self) {
        let next = self.unsent.borrow_mut().pop_front();
        self.in_socket.borrow_mut().extend(next);
    }

    /// Sends what breaks the framing of a chunked body.
    pub fn send_broken(&self) {
        self.unsent.borrow_mut().clear();
        self.in_socket.borrow_mut().push_back(Unit::Broken);
        self.broke.set(true);
    }

    /// Reads, so that its connection takes more.
    pub fn read(&self, units: usize) {
        self.room.set(self.room.get() + units);
    }

    /// Leaves, or half-closes. Who is gone by a reset takes back what it sent.
    pub fn leave(&self, peer: Peer, resets: bool) {
        self.peer.set(peer);
        self.unsent.borrow_mut().clear();
        if resets {
            self.in_socket.borrow_mut().clear();
        }
    }

    pub fn has_left(&self) -> bool {
        self.peer.get() != Peer::There
    }

    /// Whether who sends to it learns that nobody is there.
    pub fn refuses(&self) -> bool {
        if self.is_lost.get() {
            self.peer.set(Peer::Gone);
        }
        self.peer.get() == Peer::Gone
    }

    pub fn is_readable(&self) -> bool {
        self.has_left() || !self.in_socket.borrow().is_empty()
    }

    pub fn is_writable(&self) -> bool {
        self.peer.get() == Peer::Gone || self.room.get() > 0
    }

    /// The kernel takes as many of `units` as there is room for.
    pub fn take(&self, units: &mut VecDeque<Unit>) -> usize {
        let taken = units.len().min(self.room.get());
        self.room.set(self.room.get() - taken);
        self.got.borrow_mut().extend(units.drain(..taken));
        taken
    }
}

/// A whole body.
pub fn body(ticket: Ticket, pieces: u32) -> Vec<Unit> {
    let pieces = (0..pieces).map(|nth| Unit::Piece(ticket, nth));
    pieces.chain([Unit::Last]).collect()
}
