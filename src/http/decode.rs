//! [`BodyDecoder`]: one decoder for both framings of a request's body. Holds no bytes. Pure.

use super::{
    chunked::{ChunkedDecoder, ChunkedError},
    head::BodyLength,
};

/// The rest of a body (RFC 9112 §6).
#[derive(Clone, Copy, Debug)]
pub enum BodyDecoder {
    /// Bytes left of a declared length.
    Length(u64),
    Chunked(ChunkedDecoder),
}

/// The buffer after [`BodyDecoder::strip`]: payload at its front, and the start of the next request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stripped {
    /// Length of the payload.
    pub payload: usize,
    /// Offset of the next request; the buffer's length if nothing follows the body.
    pub rest: usize,
}

impl BodyDecoder {
    /// A decoder at the start of a body.
    #[must_use]
    pub const fn new(length: BodyLength) -> Self {
        match length {
            BodyLength::Exact(bytes) => Self::Length(bytes),
            BodyLength::Chunked => Self::Chunked(ChunkedDecoder::new()),
        }
    }

    /// Removes the framing from `buffer` by moving the payload to the front. Payload that is at the
    /// front already stays in place.
    ///
    /// # Errors
    /// The chunked coding is broken (RFC 9112 §7.1); the contents of `buffer` are then unspecified.
    pub fn strip(&mut self, buffer: &mut [u8]) -> Result<Stripped, ChunkedError> {
        match self {
            Self::Length(left) => {
                let payload =
                    usize::try_from(*left).map_or(buffer.len(), |left| left.min(buffer.len()));
                *left -= payload as u64;
                Ok(Stripped {
                    payload,
                    rest: payload,
                })
            }
            Self::Chunked(decoder) => {
                let (mut payload, mut at) = (0, 0);
                while at < buffer.len() && !decoder.is_end() {
                    let decoded = decoder.decode(&buffer[at..])?;
                    at += decoded.framing;
                    buffer.copy_within(at..at + decoded.payload, payload);
                    payload += decoded.payload;
                    at += decoded.payload;
                }
                Ok(Stripped { payload, rest: at })
            }
        }
    }

    /// Payload bytes that follow for certain: the caller may move them without reading them.
    #[must_use]
    pub fn payload_left(&self) -> u64 {
        match self {
            Self::Length(left) => *left,
            Self::Chunked(decoder) => decoder.payload_left(),
        }
    }

    /// Records that the caller moved `bytes` of payload, at most `payload_left`, without decoding them.
    pub fn took(&mut self, bytes: u64) {
        match self {
            Self::Length(left) => *left -= bytes,
            Self::Chunked(decoder) => decoder.took(bytes),
        }
    }

    /// Whether a chunk's payload was received, but its end was not.
    #[must_use]
    pub fn is_behind_payload(&self) -> bool {
        match self {
            Self::Length(_) => false,
            Self::Chunked(decoder) => decoder.is_behind_payload(),
        }
    }

    /// Whether the body has ended.
    #[must_use]
    pub fn is_end(&self) -> bool {
        match self {
            Self::Length(left) => *left == 0,
            Self::Chunked(decoder) => decoder.is_end(),
        }
    }
}
