//! [`reframe`]: a received piece of a body becomes one to send, in place. Pure.
//!
//! Where producer and consumer both have chunks, the consumer gets the producer's: what was received is
//! sent as it is, apart from what the coding allows and nobody needs (extensions, trailers, zeroes in
//! front of a size). So a piece of many chunks is not moved and takes one send.

use std::ops::Range;

use super::{
    chunked::{ChunkedDecoder, ChunkedError},
    decode::{BodyDecoder, Stripped},
    encode::{Encoder, Front},
};

/// What to send of a received piece, and what not.
#[derive(Clone, Debug)]
pub struct Reframed {
    /// The framing to send before `piece`.
    pub front: Front,
    /// Where the bytes to send are: payload, with the framing between chunks.
    pub piece: Range<usize>,
    /// How many bytes of `piece` are payload.
    pub payload: usize,
    /// Offset of the next request; the buffer's length if nothing follows the body.
    pub rest: usize,
}

/// Makes of `received` what goes to the consumer, in place. The framing behind its last byte of payload
/// is left to the caller: more payload, which opens the next chunk, or [`Encoder::close`].
///
/// # Errors
/// The chunked coding is broken (RFC 9112 §7.1); the contents of `received` are then unspecified, and
/// nothing of them may be sent.
pub fn reframe(
    decoder: &mut BodyDecoder,
    encoder: &mut Encoder,
    received: &mut [u8],
) -> Result<Reframed, ChunkedError> {
    if let BodyDecoder::Chunked(decoder) = decoder {
        return chunks(decoder, encoder, received);
    }
    let Stripped { payload, rest } = decoder.strip(received)?;
    encoder.passed(payload as u64);
    Ok(Reframed {
        front: Front::NONE,
        piece: 0..payload,
        payload,
        rest,
    })
}

fn chunks(
    decoder: &mut ChunkedDecoder,
    encoder: &mut Encoder,
    received: &mut [u8],
) -> Result<Reframed, ChunkedError> {
    let mut front = Front::NONE;
    let (mut piece, mut payload, mut at) = (0..0, 0, 0);
    while at < received.len() && !decoder.is_end() {
        let decoded = decoder.decode(&received[at..])?;
        let found = at + decoded.framing..at + decoded.framing + decoded.payload;
        at = found.end;
        if found.is_empty() {
            continue;
        }
        let mut head = Front::NONE;
        if !encoder.takes_unframed() {
            head = encoder.open(decoded.payload as u64 + decoder.payload_left());
        }
        encoder.passed(decoded.payload as u64);
        payload += decoded.payload;
        if piece.is_empty() {
            (front, piece) = (head, found);
        } else {
            append(received, &mut piece, head.as_bytes(), found);
        }
    }
    Ok(Reframed {
        front,
        piece,
        payload,
        rest: at,
    })
}

/// Appends `head` and the payload `found` to `piece`. The framing in between is as long as `head` or
/// longer; where it is as long, nothing moves.
fn append(received: &mut [u8], piece: &mut Range<usize>, head: &[u8], found: Range<usize>) {
    let to = piece.end + head.len();
    received[piece.end..to].copy_from_slice(head);
    piece.end = to + found.len();
    if to != found.start {
        received.copy_within(found, to);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::http::head::{BodyLength, Version};

    /// What is sent of a body that is received in pieces that end at `cuts`.
    fn sent(wire: &[u8], cuts: &[usize], version: Version) -> Vec<u8> {
        let mut decoder = BodyDecoder::new(BodyLength::Chunked);
        let mut encoder = Encoder::new(BodyLength::Chunked, version);
        let (mut sent, mut from) = (Vec::new(), 0);
        for &cut in cuts.iter().chain([&wire.len()]) {
            let mut received = wire[from..cut].to_vec();
            let reframed =
                reframe(&mut decoder, &mut encoder, &mut received).expect("good framing");
            assert_eq!(reframed.rest, received.len());
            sent.extend_from_slice(reframed.front.as_bytes());
            sent.extend_from_slice(&received[reframed.piece]);
            if !decoder.is_behind_payload() {
                sent.extend_from_slice(encoder.close(decoder.is_end()));
            }
            from = cut;
        }
        assert_eq!(encoder.end(), Ok(()));
        sent
    }

    #[test]
    fn plain_chunks_go_out_as_they_came_wherever_the_pieces_end() {
        let wire =
            b"3\r\nabc\r\na\r\n0123456789\r\n1f\r\n0123456789012345678901234567890\r\n0\r\n\r\n";
        assert_eq!(sent(wire, &[], Version::Http11), wire);
        for first in 0..=wire.len() {
            for second in first..=wire.len() {
                assert_eq!(sent(wire, &[first, second], Version::Http11), wire);
            }
        }
    }

    #[test]
    fn what_nobody_needs_is_left_out_wherever_the_pieces_end() {
        let wire = b"003;a=b\r\nabc\r\n0A \t;x\r\n0123456789\r\n000;end\r\nName: value\r\n\r\n";
        let plain = b"3\r\nabc\r\na\r\n0123456789\r\n0\r\n\r\n";
        for first in 0..=wire.len() {
            for second in first..=wire.len() {
                assert_eq!(sent(wire, &[first, second], Version::Http11), plain);
                assert_eq!(
                    sent(wire, &[first, second], Version::Http10),
                    b"abc0123456789"
                );
            }
        }
    }

    #[test]
    fn a_chunk_ends_for_the_consumer_when_it_ends_for_the_server() {
        let mut decoder = BodyDecoder::new(BodyLength::Chunked);
        let mut encoder = Encoder::new(BodyLength::Chunked, Version::Http11);
        for (received, front, piece, back) in [
            ("5\r\nab", "5\r\n", "ab", ""),
            ("cde", "", "cde", ""),
            ("\r", "", "", ""),
            ("\n2", "", "", "\r\n"),
            ("\r\n", "", "", ""),
            ("xy\r\n1\r\nz\r\n7", "2\r\n", "xy\r\n1\r\nz", "\r\n"),
        ] {
            let mut received = received.as_bytes().to_vec();
            let reframed =
                reframe(&mut decoder, &mut encoder, &mut received).expect("good framing");
            assert_eq!(reframed.front.as_bytes(), front.as_bytes());
            assert_eq!(&received[reframed.piece], piece.as_bytes());
            let ends = !decoder.is_behind_payload();
            let closed = if ends { encoder.close(false) } else { b"" };
            assert_eq!(closed, back.as_bytes());
        }
    }

    #[test]
    fn a_declared_length_is_counted_and_the_next_request_stays() {
        let mut decoder = BodyDecoder::new(BodyLength::Exact(5));
        let mut encoder = Encoder::new(BodyLength::Exact(5), Version::Http11);
        let mut received = *b"abcdeGET /";
        let reframed = reframe(&mut decoder, &mut encoder, &mut received).expect("a length");
        assert_eq!(
            (reframed.piece, reframed.payload, reframed.rest),
            (0..5, 5, 5)
        );
        assert_eq!(encoder.end(), Ok(()));
    }

    proptest! {
        /// The decoder reads the same payload from what is sent as from what was received.
        #[test]
        fn the_payload_stays_the_same(
            chunks in prop::collection::vec((1usize..60, 0usize..3, any::<bool>()), 0..10),
            cuts in prop::collection::vec(0.0..1.0, 0..6),
        ) {
            let mut wire = Vec::new();
            for (nth, (bytes, zeroes, extension)) in chunks.into_iter().enumerate() {
                let extension = if extension { ";e=1" } else { "" };
                wire.extend_from_slice(format!("{:0>zeroes$}{bytes:X}{extension}\r\n", "").as_bytes());
                wire.extend((0..bytes).map(|at| (nth * 60 + at) as u8));
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(b"0\r\n\r\n");
            let mut cuts = Vec::from_iter(cuts.into_iter().map(|cut: f64| (cut * wire.len() as f64) as usize));
            cuts.sort_unstable();
            let payload = |mut wire: Vec<u8>| {
                let stripped = BodyDecoder::new(BodyLength::Chunked).strip(&mut wire).expect("good framing");
                wire.truncate(stripped.payload);
                wire
            };
            let out = sent(&wire, &cuts, Version::Http11);
            prop_assert_eq!(&payload(out), &payload(wire.clone()));
            prop_assert_eq!(sent(&wire, &cuts, Version::Http10), payload(wire));
        }
    }
}
