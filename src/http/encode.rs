//! [`Encoder`]: frames a body that is sent; the mirror of [`super::decode`]. Holds no bytes. Pure.

use std::fmt;

use super::{
    chunked::{CHUNK_END, ChunkHead, LAST_CHUNK},
    head::{BodyLength, Version},
};

/// Frames one body (RFC 9112 §6.3), and counts the bytes that its framing still promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoder {
    /// Unsent bytes of a declared length.
    Length(u64),
    /// For an HTTP/1.1 consumer, if the producer declares no length.
    Chunked(Gap),
    /// The end of the connection ends the body: for an HTTP/1.0 consumer, if the producer declares no
    /// length.
    Close,
}

/// The position in the chunked coding between two sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gap {
    /// Between two chunks.
    Closed,
    /// Inside a chunk; this many bytes of its payload follow unframed.
    Promised(u64),
    /// After the payload of a chunk. Its CRLF is sent with the next bytes, to save a send.
    Owed,
    /// After the last chunk.
    Ended,
}

/// The kind of an [`Encoder`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::EnumIter)]
pub enum Framing {
    Length,
    Chunked,
    Close,
}

/// A body ends short: this many bytes of its declared length or of a chunk are missing; if 0, the last
/// chunk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Short(pub u64);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a body ended {} bytes short of its framing", self.0)
    }
}

/// Ends the body after the payload of a chunk.
const CHUNK_END_AND_LAST: &[u8] = b"\r\n0\r\n\r\n";

/// The framing in front of a chunk's payload: the end of the chunk before it, and its head.
#[derive(Clone, Copy, Debug)]
pub struct Front {
    bytes: [u8; Self::BYTES_MAX],
    length: u8,
}

impl Front {
    const BYTES_MAX: usize = CHUNK_END.len() + ChunkHead::BYTES_MAX;

    pub const NONE: Self = Self {
        bytes: [0; Self::BYTES_MAX],
        length: 0,
    };

    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    fn push(&mut self, bytes: &[u8]) {
        let begin = usize::from(self.length);
        self.bytes[begin..begin + bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len() as u8;
    }
}

impl Encoder {
    /// The encoder for a body of `length` and a consumer of `version`.
    #[must_use]
    pub const fn new(length: BodyLength, version: Version) -> Self {
        match (length, version) {
            (BodyLength::Exact(bytes), _) => Self::Length(bytes),
            (BodyLength::Chunked, Version::Http11) => Self::Chunked(Gap::Closed),
            (BodyLength::Chunked, Version::Http10) => Self::Close,
        }
    }

    #[must_use]
    pub const fn framing(&self) -> Framing {
        match self {
            Self::Length(_) => Framing::Length,
            Self::Chunked(_) => Framing::Chunked,
            Self::Close => Framing::Close,
        }
    }

    /// Opens a chunk of `payload` bytes: what to send in front of them. They follow unframed; report them
    /// to [`Self::passed`]. A framing without chunks has nothing to open.
    ///
    /// # Panics
    /// A chunk is open, the body has ended, or `payload` is 0: bugs of the caller.
    pub fn open(&mut self, payload: u64) -> Front {
        let mut front = Front::NONE;
        let Self::Chunked(gap) = self else {
            return front;
        };
        match std::mem::replace(gap, Gap::Promised(payload)) {
            Gap::Closed => {}
            Gap::Owed => front.push(CHUNK_END),
            Gap::Promised(_) | Gap::Ended => panic!("a chunk begins only where none is open"),
        }
        front.push(ChunkHead::new(payload).as_bytes());
        front
    }

    /// Records that `bytes` of payload were sent unframed.
    ///
    /// # Panics
    /// They exceed the declared length or the promise: a bug of the caller.
    pub fn passed(&mut self, bytes: u64) {
        match self {
            Self::Length(left) => {
                *left = left.checked_sub(bytes).expect("within the declared length");
            }
            Self::Chunked(Gap::Promised(left)) => {
                *left = left.checked_sub(bytes).expect("within the promise");
                if *left == 0 {
                    *self = Self::Chunked(Gap::Owed);
                }
            }
            Self::Chunked(_) => assert!(bytes == 0, "nothing was promised"),
            Self::Close => {}
        }
    }

    /// Whether payload may be sent unframed now.
    #[must_use]
    pub const fn takes_unframed(&self) -> bool {
        match self {
            Self::Length(_) | Self::Close => true,
            Self::Chunked(gap) => matches!(gap, Gap::Promised(_)),
        }
    }

    /// Ends the chunk whose payload is sent, and with `last` the body: the bytes to send for it.
    ///
    /// # Panics
    /// `last`, but a promise is open: a bug of the caller.
    pub fn close(&mut self, last: bool) -> &'static [u8] {
        let Self::Chunked(gap) = self else {
            return b"";
        };
        let closed = if last { Gap::Ended } else { Gap::Closed };
        match (std::mem::replace(gap, closed), last) {
            (Gap::Owed, true) => CHUNK_END_AND_LAST,
            (Gap::Owed, false) => CHUNK_END,
            (Gap::Closed, true) => LAST_CHUNK,
            (Gap::Promised(_), true) => unreachable!("the last chunk is not inside another"),
            (open, _) => {
                *gap = open;
                b""
            }
        }
    }

    /// Checks that the body is complete.
    ///
    /// # Errors
    /// It is not: a reply that ended here would be cut.
    pub const fn end(&self) -> Result<(), Short> {
        match self {
            Self::Length(0) | Self::Chunked(Gap::Ended) | Self::Close => Ok(()),
            Self::Length(left) | Self::Chunked(Gap::Promised(left)) => Err(Short(*left)),
            Self::Chunked(Gap::Closed | Gap::Owed) => Err(Short(0)),
        }
    }

    /// Appends `payload` to `out`, in a chunk of its own where there are chunks; none if it is empty: a
    /// chunk of size 0 would end the body. `last`: the body ends with it.
    pub fn write(&mut self, out: &mut Vec<u8>, payload: &[u8], last: bool) {
        if !payload.is_empty() {
            out.extend_from_slice(self.open(payload.len() as u64).as_bytes());
            self.passed(payload.len() as u64);
            out.extend_from_slice(payload);
        }
        if last || !payload.is_empty() {
            out.extend_from_slice(self.close(last));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::http::decode::BodyDecoder;

    fn framed(encoder: &mut Encoder, payload: &[u8], last: bool) -> Vec<u8> {
        let mut out = Vec::new();
        encoder.write(&mut out, payload, last);
        out
    }

    #[test]
    fn a_declared_length_is_counted_down_and_its_end_is_checked() {
        let mut encoder = Encoder::new(BodyLength::Exact(5), Version::Http11);
        assert_eq!(encoder.end(), Err(Short(5)));
        assert_eq!(framed(&mut encoder, b"abc", false), b"abc");
        assert_eq!(encoder.end(), Err(Short(2)));
        encoder.passed(2);
        assert_eq!(encoder.end(), Ok(()));
    }

    #[test]
    #[should_panic(expected = "within the declared length")]
    fn more_than_the_declared_length_is_a_fault() {
        Encoder::new(BodyLength::Exact(2), Version::Http10).passed(3);
    }

    #[test]
    #[should_panic(expected = "within the promise")]
    fn more_than_was_promised_is_a_fault() {
        let mut encoder = Encoder::new(BodyLength::Chunked, Version::Http11);
        encoder.open(5);
        encoder.passed(6);
    }

    #[test]
    #[should_panic(expected = "a chunk begins only where none is open")]
    fn a_chunk_inside_a_promised_one_is_a_fault() {
        let mut encoder = Encoder::new(BodyLength::Chunked, Version::Http11);
        encoder.open(5);
        encoder.passed(1);
        encoder.open(1);
    }

    #[test]
    fn a_promised_chunk_owes_its_end_until_something_follows() {
        let mut encoder = Encoder::new(BodyLength::Chunked, Version::Http11);
        assert_eq!(encoder.open(5).as_bytes(), b"5\r\n");
        encoder.passed(2);
        assert_eq!(encoder.close(false), b"");
        assert!(encoder.takes_unframed());
        assert_eq!(encoder.end(), Err(Short(3)));
        encoder.passed(3);
        assert!(!encoder.takes_unframed());
        assert_eq!(encoder.end(), Err(Short(0)));
        assert_eq!(framed(&mut encoder, b"", false), b"");
        assert_eq!(framed(&mut encoder, b"x", false), b"\r\n1\r\nx\r\n");
        assert_eq!(framed(&mut encoder, b"", true), b"0\r\n\r\n");
        assert_eq!(encoder.end(), Ok(()));
    }

    #[test]
    fn the_last_piece_brings_the_last_chunk() {
        for (pieces, expected) in [
            (&[&b""[..]][..], &b"0\r\n\r\n"[..]),
            (&[b"ab"], b"2\r\nab\r\n0\r\n\r\n"),
            (&[b"ab", b"c"], b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"),
        ] {
            let mut encoder = Encoder::new(BodyLength::Chunked, Version::Http11);
            let mut out = Vec::new();
            for (nth, piece) in pieces.iter().enumerate() {
                encoder.write(&mut out, piece, nth + 1 == pieces.len());
            }
            assert_eq!(out, expected);
            assert_eq!(encoder.end(), Ok(()));
        }
    }

    #[test]
    fn without_a_framing_of_its_own_a_body_goes_out_as_it_is() {
        let mut encoder = Encoder::new(BodyLength::Chunked, Version::Http10);
        assert_eq!(framed(&mut encoder, b"abc", true), b"abc");
        assert_eq!(encoder.end(), Ok(()));
    }

    proptest! {
        /// The decoder reads back what was encoded, however it was cut into pieces and promises.
        #[test]
        fn what_is_encoded_is_decoded(pieces in prop::collection::vec((0usize..40, 0u64..40), 0..12)) {
            let mut encoder = Encoder::new(BodyLength::Chunked, Version::Http11);
            let (mut wire, mut sent, mut next) = (Vec::new(), Vec::new(), 0u8);
            let mut payload = |bytes: usize| {
                Vec::from_iter((0..bytes).map(|_| { next = next.wrapping_add(1); next }))
            };
            for (now, promised) in pieces {
                let now = payload(now);
                encoder.write(&mut wire, &now, false);
                sent.extend(now);
                if promised > 0 {
                    wire.extend_from_slice(encoder.open(promised).as_bytes());
                    let later = payload(promised as usize);
                    wire.extend_from_slice(&later);
                    encoder.passed(promised);
                    sent.extend(later);
                }
            }
            encoder.write(&mut wire, b"", true);
            prop_assert_eq!(encoder.end(), Ok(()));
            let mut decoder = BodyDecoder::new(BodyLength::Chunked);
            let stripped = decoder.strip(&mut wire).expect("good framing");
            prop_assert!(decoder.is_end());
            prop_assert_eq!(&wire[..stripped.payload], &sent[..]);
        }
    }
}
