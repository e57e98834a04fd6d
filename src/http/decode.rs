//! How a request's body is taken apart: one decoder for both framings. Holds no bytes. Pure.

use super::{
    chunked::{ChunkedDecoder, ChunkedError},
    head::BodyLength,
};

/// What is still to come of a body (RFC 9112 §6).
#[derive(Clone, Copy, Debug)]
pub enum BodyDecoder {
    /// So many bytes are left of a declared length.
    Length(u64),
    /// The chunked coding says when it is over.
    Chunked(ChunkedDecoder),
}

/// What [`BodyDecoder::strip`] made of a buffer: payload at its front, then bytes that it did not
/// look at because the body was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stripped {
    /// Bytes of payload, from the front of the buffer.
    pub payload: usize,
    /// Where the bytes begin that belong to the next request; the buffer's end if there are none.
    pub rest: usize,
}

impl BodyDecoder {
    /// A decoder for a body that was not begun.
    #[must_use]
    pub const fn new(length: BodyLength) -> Self {
        match length {
            BodyLength::Exact(bytes) => Self::Length(bytes),
            BodyLength::Chunked => Self::Chunked(ChunkedDecoder::new()),
        }
    }

    /// Takes the framing out of `buffer`: moves all its payload to the front. A single piece of
    /// payload that stands at the front already is not moved.
    ///
    /// # Errors
    /// The chunked coding is broken (RFC 9112 §7.1); `buffer` is then of no use.
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

    /// Payload bytes that are known to follow and may be moved without being looked at.
    #[must_use]
    pub fn payload_left(&self) -> u64 {
        match self {
            Self::Length(left) => *left,
            Self::Chunked(decoder) => decoder.payload_left(),
        }
    }

    /// `bytes` of payload, at most `payload_left`, were moved past the decoder.
    pub fn took(&mut self, bytes: u64) {
        match self {
            Self::Length(left) => *left -= bytes,
            Self::Chunked(decoder) => decoder.took(bytes),
        }
    }

    /// Whether the body is over.
    #[must_use]
    pub fn is_end(&self) -> bool {
        match self {
            Self::Length(left) => *left == 0,
            Self::Chunked(decoder) => decoder.is_end(),
        }
    }
}
