//! The reading direction of a connection: what was read and is not parsed yet, and what the next read
//! may expect.

use std::cell::Cell;

use bytes::Bytes;

use crate::limits;

/// The reading direction.
pub struct Inbound {
    /// Bytes that were read and belong to the next request.
    unread: Cell<Bytes>,
    /// No request was answered on the connection yet.
    served_none: Cell<bool>,
    /// The last body was spliced, so the next one is likely large too.
    expects_large: Cell<bool>,
}

impl Inbound {
    /// A connection on which nothing was read.
    #[must_use]
    pub fn new() -> Self {
        Self {
            unread: Cell::default(),
            served_none: Cell::new(true),
            expects_large: Cell::new(false),
        }
    }

    /// Takes the bytes that were read for the next request.
    pub fn take_unread(&self) -> Bytes {
        self.unread.take()
    }

    /// Keeps bytes that were read and belong to the next request.
    pub fn keep_unread(&self, bytes: Bytes) {
        self.unread.set(bytes);
    }

    /// Whether bytes of the next request are in hand.
    #[must_use]
    pub fn has_unread(&self) -> bool {
        let unread = self.unread.take();
        let has = !unread.is_empty();
        self.unread.set(unread);
        has
    }

    /// Whether no request was answered on the connection yet.
    #[must_use]
    pub fn served_none(&self) -> bool {
        self.served_none.get()
    }

    /// A request was answered.
    pub fn served(&self) {
        self.served_none.set(false);
    }

    /// Records whether the last body was large: the next one is likely the same.
    pub fn expect_large(&self, large: bool) {
        self.expects_large.set(large);
    }

    /// Most bytes to receive at once while a head is read.
    #[must_use]
    pub fn head_read_bytes(&self) -> usize {
        if self.expects_large.get() {
            limits::HEAD_READ_BYTES_BEFORE_LARGE
        } else {
            limits::HEAD_READ_BYTES
        }
    }
}
