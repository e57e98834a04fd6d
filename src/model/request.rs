//! Requests that outlive the buffer they were read into: on their way to another shard, or waiting.
//! Pure.

use bytes::Bytes;

use crate::http::{
    chunked::ChunkedError,
    decode::BodyDecoder,
    head::{RequestHead, Version},
    reply::Persistence,
};

/// A parsed head with the bytes it was parsed from and whatever came behind it.
#[derive(Debug)]
pub struct Request {
    /// The head; its spans point into `bytes`.
    pub head: RequestHead,
    /// The head's bytes, then what was read along with them.
    pub bytes: Bytes,
}

/// What is kept of a consumer's request while it waits.
#[derive(Clone, Copy, Debug)]
pub struct ConsumerRequest {
    /// Decides on the framing of what it is sent.
    pub version: Version,
    /// What its reply says about the connection.
    pub persistence: Persistence,
}

impl ConsumerRequest {
    /// Keeps what a reply needs of `head`.
    #[must_use]
    pub const fn new(head: &RequestHead) -> Self {
        Self {
            version: head.version,
            persistence: Persistence::of(head),
        }
    }
}

/// A producer's request: its head, and its body as far as it was read and not yet sent on.
#[derive(Debug)]
pub struct ProducerRequest {
    /// The head; its spans point into `head_bytes`.
    pub head: RequestHead,
    /// The head's bytes, then the payload in hand.
    bytes: Vec<u8>,
    /// What is left of the body beyond that.
    pub decoder: BodyDecoder,
    /// What was read behind the end of the body.
    rest: Bytes,
    /// The producer was asked for its body (`100 Continue`).
    pub continued: bool,
    /// Bytes of the body were read, be it framing alone.
    begun: bool,
}

impl ProducerRequest {
    /// Takes over a request of which nothing but the head was looked at.
    ///
    /// # Errors
    /// The body's framing is broken.
    pub fn new(head: &RequestHead, bytes: &[u8]) -> Result<Self, ChunkedError> {
        let (head_bytes, behind) = bytes.split_at(usize::from(head.head_bytes));
        let mut request = Self {
            head: *head,
            bytes: Vec::with_capacity(bytes.len()),
            decoder: BodyDecoder::new(head.body),
            rest: Bytes::new(),
            continued: false,
            begun: false,
        };
        request.bytes.extend_from_slice(head_bytes);
        request.push(behind)?;
        Ok(request)
    }

    /// The bytes that the head was parsed from.
    #[must_use]
    pub fn head_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.head.head_bytes)]
    }

    /// The payload in hand.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.bytes[usize::from(self.head.head_bytes)..]
    }

    /// Whether nothing of the body lies beyond the payload in hand.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.decoder.is_end()
    }

    /// Whether the body has begun to come, or there is nothing to come.
    #[must_use]
    pub fn is_begun(&self) -> bool {
        self.begun || self.is_whole()
    }

    /// More was read; its payload joins what is in hand.
    ///
    /// # Errors
    /// The body's framing is broken.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), ChunkedError> {
        debug_assert!(
            self.rest.is_empty(),
            "nothing is read for a body that is over"
        );
        let begin = self.bytes.len();
        self.begun |= !bytes.is_empty();
        self.bytes.extend_from_slice(bytes);
        let stripped = self.decoder.strip(&mut self.bytes[begin..])?;
        let rest = Bytes::copy_from_slice(&self.bytes[begin + stripped.rest..]);
        if !rest.is_empty() {
            self.rest = rest;
        }
        self.bytes.truncate(begin + stripped.payload);
        Ok(())
    }

    /// The payload in hand was sent on.
    pub fn drop_payload(&mut self) {
        self.bytes.truncate(usize::from(self.head.head_bytes));
    }

    /// What was read behind the end of the body: it belongs to the next request.
    pub fn take_rest(&mut self) -> Bytes {
        std::mem::take(&mut self.rest)
    }

    /// More was read behind the end of the body.
    pub fn keep_rest(&mut self, rest: &[u8]) {
        if !rest.is_empty() {
            self.rest = Bytes::copy_from_slice(rest);
        }
    }
}
