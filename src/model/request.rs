//! Requests that outlive the buffer they were received into: during a handover, or while they wait.
//! Pure.

use bytes::Bytes;

use crate::http::{
    chunked::ChunkedError,
    decode::BodyDecoder,
    head::{RequestHead, Version},
    reply::Persistence,
};

/// A parsed head with all bytes that were received with it.
#[derive(Debug)]
pub struct Request {
    /// Its spans point into `bytes`.
    pub head: RequestHead,
    /// The head's bytes, then what was received after them.
    pub bytes: Bytes,
}

/// The part of a consumer's request that its response needs.
#[derive(Clone, Copy, Debug)]
pub struct ConsumerRequest {
    /// Decides the framing of the response.
    pub version: Version,
    /// Decides the `Connection` field of the response.
    pub persistence: Persistence,
}

impl ConsumerRequest {
    #[must_use]
    pub const fn new(head: &RequestHead) -> Self {
        Self {
            version: head.version,
            persistence: Persistence::of(head),
        }
    }
}

/// A producer's request: its head, and the part of its body that was received but not sent on.
#[derive(Debug)]
pub struct ProducerRequest {
    /// Its spans point into `head_bytes`.
    pub head: RequestHead,
    /// The head's bytes, then the buffered payload.
    bytes: Vec<u8>,
    /// Decodes the rest of the body.
    pub decoder: BodyDecoder,
    /// What was received after the end of the body.
    rest: Bytes,
    /// `100 Continue` was sent.
    pub continued: bool,
    /// Bytes of the body were received, payload or framing.
    begun: bool,
}

impl ProducerRequest {
    /// `bytes`: the head, then the undecoded bytes after it.
    ///
    /// # Errors
    /// The body's framing is invalid.
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

    #[must_use]
    pub fn head_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.head.head_bytes)]
    }

    /// The buffered payload.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.bytes[usize::from(self.head.head_bytes)..]
    }

    /// Whether the whole body was received.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.decoder.is_end()
    }

    /// Whether the body has begun to arrive, or is empty.
    #[must_use]
    pub fn is_begun(&self) -> bool {
        self.begun || self.is_whole()
    }

    /// Decodes received bytes and buffers their payload.
    ///
    /// # Errors
    /// The body's framing is invalid.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), ChunkedError> {
        debug_assert!(self.rest.is_empty(), "bytes after the end of the body");
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

    /// Drops the buffered payload after it was sent on.
    pub fn drop_payload(&mut self) {
        self.bytes.truncate(usize::from(self.head.head_bytes));
    }

    /// What was received after the end of the body: the next request.
    pub fn take_rest(&mut self) -> Bytes {
        std::mem::take(&mut self.rest)
    }

    /// Keeps bytes received after the end of the body.
    pub fn keep_rest(&mut self, rest: &[u8]) {
        if !rest.is_empty() {
            self.rest = Bytes::copy_from_slice(rest);
        }
    }
}
