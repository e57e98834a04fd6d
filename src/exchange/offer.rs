//! What a producer brings to a match.

use bytes::Bytes;

use crate::{
    http::{head::RequestHead, reply::Persistence},
    model::request::ProducerRequest,
};

/// A body and the head that came with it.
pub enum Offer<'a> {
    /// A request that arrives with its whole body, still in the shard's buffer.
    Arriving {
        /// Its head.
        head: &'a RequestHead,
        /// Head, body and what was read behind it.
        bytes: &'a [u8],
        /// The same bytes, if they are reference-counted: keeping a part then costs no copy.
        held: Option<&'a Bytes>,
        /// Where the body ends.
        end: usize,
    },
    /// A request that has waited, or whose body is not all there.
    Kept(Box<ProducerRequest>),
}

impl Offer<'_> {
    /// The head.
    #[must_use]
    pub fn head(&self) -> &RequestHead {
        match self {
            Self::Arriving { head, .. } => head,
            Self::Kept(request) => &request.head,
        }
    }

    /// The bytes that the head's spans point into.
    #[must_use]
    pub fn head_bytes(&self) -> &[u8] {
        match self {
            Self::Arriving { bytes, .. } => bytes,
            Self::Kept(request) => request.head_bytes(),
        }
    }

    /// The body, if all of it is in hand.
    #[must_use]
    pub fn whole_body(&self) -> Option<&[u8]> {
        match self {
            Self::Arriving {
                head, bytes, end, ..
            } => Some(&bytes[usize::from(head.head_bytes)..*end]),
            Self::Kept(request) => request.is_whole().then(|| request.payload()),
        }
    }

    /// What the producer asked for its connection.
    #[must_use]
    pub fn persistence(&self) -> Persistence {
        Persistence::of(self.head())
    }

    /// The body is delivered: what was read behind it belongs to the next request, if anything was.
    #[must_use]
    pub fn into_rest(self) -> Option<Bytes> {
        match self {
            Self::Arriving { bytes, end, .. } if end == bytes.len() => None,
            Self::Arriving {
                bytes, held, end, ..
            } => Some(match held {
                Some(held) => held.slice(end..),
                None => Bytes::copy_from_slice(&bytes[end..]),
            }),
            Self::Kept(mut request) => Some(request.take_rest()),
        }
    }

    /// The request as one that can outlive this turn.
    #[must_use]
    pub fn into_request(self) -> Box<ProducerRequest> {
        match self {
            Self::Arriving { head, bytes, .. } => {
                let request = ProducerRequest::new(head, bytes);
                Box::new(request.expect("a declared length has no framing to break"))
            }
            Self::Kept(request) => request,
        }
    }
}
