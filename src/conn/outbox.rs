//! Bytes to send that the kernel has not taken yet, and their framing.
//!
//! Bounded: nothing is received for a sink that has unsent bytes. So there is at most one piece with its
//! framing ([`crate::limits::COPY_BYTES`], more only if the kernel takes less than it had room for), or
//! what a pipe was emptied of.

use std::io::IoSlice;

use bytes::{Buf, Bytes};

use crate::{
    http::encode::Encoder,
    io::socket::{Sent, Transport},
};

/// The outgoing side of one body.
#[derive(Debug)]
pub struct Outbox {
    /// How the body is framed.
    pub encoder: Encoder,
    /// Bytes that the kernel did not take yet, framing included.
    unsent: Bytes,
    /// The kernel may hold back a short segment for bytes that follow at once: flush before a wait.
    corked: bool,
}

/// The peer's connection is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerGone;

impl Outbox {
    /// Nothing was sent yet.
    #[must_use]
    pub const fn new(encoder: Encoder) -> Self {
        Self {
            encoder,
            unsent: Bytes::new(),
            corked: false,
        }
    }

    /// Whether the kernel took everything.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.unsent.is_empty()
    }

    /// Records whether the last send announced that `more` bytes follow at once.
    pub const fn set_corked(&mut self, more: bool) {
        self.corked = more;
    }

    /// Bytes that another call tried to send and the kernel did not take.
    pub fn keep_unsent(&mut self, bytes: Bytes) {
        debug_assert!(self.unsent.is_empty(), "earlier bytes go first");
        self.unsent = bytes;
    }

    /// Sends what is unsent, as far as the kernel takes it. Returns how many bytes it took.
    ///
    /// # Errors
    /// The connection is broken.
    pub fn send_unsent(&mut self, to: &Transport) -> Result<usize, PeerGone> {
        match to.send(&self.unsent, false) {
            Sent::Bytes(sent) => {
                self.unsent.advance(sent);
                Ok(sent)
            }
            Sent::PeerGone => Err(PeerGone),
        }
    }

    /// Sends `parts` one after the other; keeps what the kernel does not take. `more`: further bytes
    /// follow at once. Call only while nothing is unsent.
    ///
    /// # Errors
    /// The connection is broken.
    pub fn send_parts(
        &mut self,
        to: &Transport,
        parts: [&[u8]; 3],
        more: bool,
    ) -> Result<(), PeerGone> {
        debug_assert!(self.unsent.is_empty(), "earlier bytes go first");
        if parts.iter().all(|part| part.is_empty()) {
            return Ok(());
        }
        let sent = to.send_parts(&parts.map(IoSlice::new), more);
        self.corked = more;
        match sent {
            Sent::Bytes(sent) => {
                self.unsent = behind(&parts, sent);
                Ok(())
            }
            Sent::PeerGone => Err(PeerGone),
        }
    }

    /// Sends what the kernel holds back, if anything.
    pub fn uncork(&mut self, to: &Transport) {
        if std::mem::take(&mut self.corked) {
            to.flush();
        }
    }
}

/// What is left of `parts` behind their first `sent` bytes.
fn behind(parts: &[&[u8]], mut sent: usize) -> Bytes {
    let mut left = Vec::new();
    for part in parts {
        let skipped = sent.min(part.len());
        left.extend_from_slice(&part[skipped..]);
        sent -= skipped;
    }
    Bytes::from(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_begins_behind_what_was_sent_whichever_part_that_ends_in() {
        let parts: [&[u8]; 3] = [b"ab", b"", b"cde"];
        for sent in 0..=5 {
            assert_eq!(behind(&parts, sent), &b"abcde"[sent..]);
        }
    }
}
