//! Rules for any bytes that are read as a body in the chunked coding. Pure.

use super::input::Input;
use httpipe::testing::{
    http::{
        chunked::{ChunkedDecoder, ChunkedError},
        decode::BodyDecoder,
        head::BodyLength,
    },
    limits::{CHUNK_LINE_BYTES_MAX, TRAILER_BYTES_MAX, TRAILER_FIELDS_MAX},
};

/// What was decoded.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    payload: Vec<u8>,
    /// The body ended; `rest` was not decoded.
    end: bool,
    rest: Vec<u8>,
    error: Option<ChunkedError>,
}

/// A body decodes the same in any pieces, however its payload is moved, and as in a slow and simple
/// reference decoder.
///
/// # Panics
/// If one of the rules does not hold.
pub fn check(data: &[u8]) {
    let Some(input) = Input::new(data) else {
        return;
    };
    let pieces = input.pieces();
    let whole = decode(&[input.bytes], false);
    assert_eq!(decode(&pieces, false), whole, "decoded in pieces");
    assert_eq!(decode(&pieces, true), whole, "moved past the decoder");
    check_stripped(strip(&[input.bytes]), &whole);
    check_stripped(strip(&pieces), &whole);
    check_against_reference(input.bytes, &whole);
}

/// With `past`, payload is moved without showing it to the decoder, as a splice does.
fn decode(pieces: &[&[u8]], past: bool) -> Outcome {
    let mut decoder = ChunkedDecoder::new();
    let mut outcome = Outcome::default();
    for mut piece in pieces.iter().copied() {
        while !piece.is_empty() && !outcome.end {
            let known = usize::try_from(decoder.payload_left()).unwrap_or(usize::MAX);
            let (framing, payload) = if past && known > 0 {
                let moved = known.min(piece.len());
                decoder.took(moved as u64);
                (0, moved)
            } else {
                match decoder.decode(piece) {
                    Ok(decoded) => (decoded.framing, decoded.payload),
                    Err(error) => {
                        assert_eq!(decoder.decode(piece), Err(error), "it stays broken");
                        outcome.error = Some(error);
                        return outcome;
                    }
                }
            };
            assert!(
                framing + payload > 0,
                "no progress on {} bytes",
                piece.len()
            );
            let taken = &piece[framing..framing + payload];
            outcome.payload.extend_from_slice(taken);
            outcome.end = decoder.is_end();
            piece = &piece[framing + payload..];
        }
        outcome.rest.extend_from_slice(piece);
    }
    outcome
}

fn strip(pieces: &[&[u8]]) -> Outcome {
    let mut decoder = BodyDecoder::new(BodyLength::Chunked);
    let mut outcome = Outcome::default();
    for piece in pieces {
        let mut buffer = piece.to_vec();
        match decoder.strip(&mut buffer) {
            Ok(stripped) => {
                assert!(stripped.payload <= stripped.rest && stripped.rest <= buffer.len());
                assert!(decoder.is_end() || stripped.rest == buffer.len());
                outcome
                    .payload
                    .extend_from_slice(&buffer[..stripped.payload]);
                outcome.rest.extend_from_slice(&buffer[stripped.rest..]);
                assert_eq!(&buffer[stripped.rest..], &piece[stripped.rest..]);
            }
            Err(error) => {
                outcome.error = Some(error);
                return outcome;
            }
        }
    }
    outcome.end = decoder.is_end();
    outcome
}

/// The payload of a buffer in which the coding breaks is not used, so it is not compared.
fn check_stripped(stripped: Outcome, whole: &Outcome) {
    match whole.error {
        Some(_) => assert_eq!(stripped.error, whole.error),
        None => assert_eq!(&stripped, whole),
    }
}

fn check_against_reference(body: &[u8], outcome: &Outcome) {
    match reference(body) {
        Some((payload, rest)) => {
            assert!(outcome.end, "{}: {outcome:?}", body.escape_ascii());
            assert_eq!(
                (&outcome.payload[..], &outcome.rest[..]),
                (&payload[..], rest)
            );
        }
        None => assert!(!outcome.end, "{}: {outcome:?}", body.escape_ascii()),
    }
}

/// The payload of a whole body, and the bytes after it; `None` for other input (RFC 9112 §7.1).
fn reference(mut body: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut payload = Vec::new();
    loop {
        let head = line(&mut body)?;
        let size_end = head.iter().position(|&b| b == b';');
        let size = match size_end {
            Some(end) => trim_end(&head[..end]),
            None => head,
        };
        let hex = (1..=16).contains(&size.len()) && size.iter().all(u8::is_ascii_hexdigit);
        if !hex || head.len() + 2 > CHUNK_LINE_BYTES_MAX {
            return None;
        }
        let size = i64::from_str_radix(std::str::from_utf8(size).ok()?, 16).ok()?;
        if size == 0 {
            break;
        }
        let size = usize::try_from(size).ok()?;
        payload.extend_from_slice(body.get(..size)?);
        body = body[size..].strip_prefix(b"\r\n")?;
    }
    let trailers = body;
    for _ in 0..=TRAILER_FIELDS_MAX {
        let field = line(&mut body)?;
        if field.is_empty() {
            let bytes = trailers.len() - body.len();
            return (bytes <= TRAILER_BYTES_MAX).then_some((payload, body));
        }
        let name = &field[..field.iter().position(|&b| b == b':')?];
        let is_token = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
        (!name.is_empty() && name.iter().all(is_token)).then_some(())?;
    }
    None
}

/// The next line without its CRLF; `None` if there is no CRLF, or if the line has a control
/// character.
fn line<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let end = bytes.windows(2).position(|two| two == b"\r\n")?;
    let (line, rest) = bytes.split_at(end);
    *bytes = &rest[2..];
    let ok = |b: &u8| *b == b'\t' || (*b >= b' ' && *b != 0x7f);
    line.iter().all(ok).then_some(line)
}

fn trim_end(mut bytes: &[u8]) -> &[u8] {
    while let [front @ .., b' ' | b'\t'] = bytes {
        bytes = front;
    }
    bytes
}
