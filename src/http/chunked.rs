//! The chunked transfer coding (RFC 9112 §7.1): [`ChunkedDecoder`] locates the payload of a body,
//! [`ChunkHead`] begins a chunk that is sent.
//!
//! Owns the syntax of the coding and its limits. Must never hold bytes (the caller moves the payload, or
//! splices it without reading it), never read past the end of the body, and accept CRLF only as the end
//! of a line.

use crate::limits::{CHUNK_LINE_BYTES_MAX, TRAILER_BYTES_MAX, TRAILER_FIELDS_MAX};

/// Decodes one body incrementally. State only: 16 bytes, `Copy`.
#[derive(Clone, Copy, Debug)]
pub struct ChunkedDecoder {
    state: State,
    /// Hex digits of the size read so far.
    digits: u8,
    /// Trailer fields read so far.
    trailer_fields: u8,
    /// Bytes read so far of the size line or of the trailer section.
    section_bytes: u16,
    /// In the size line: the size read so far. In the payload: bytes not yet reported.
    left: u64,
    /// As [`Self::chunk_kib`].
    chunk_kib: u16,
}

const _: () = assert!(
    CHUNK_LINE_BYTES_MAX < u16::MAX as usize,
    "section_bytes is u16"
);
const _: () = assert!(
    TRAILER_BYTES_MAX < u16::MAX as usize,
    "section_bytes is u16"
);
const _: () = assert!(
    TRAILER_FIELDS_MAX < u8::MAX as usize,
    "trailer_fields is u8"
);

/// The element that comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size,
    /// White space before the `;` of an extension.
    SizePadding,
    Extension,
    LineLf,
    Payload,
    PayloadCr,
    PayloadLf,
    /// The start of a trailer field, or the CR of the empty line.
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
    End,
    Broken(ChunkedError),
}

/// The front of the input: `framing` bytes of the coding, then `payload` bytes of the body. The decoder
/// has not read the bytes after them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// Bytes to skip.
    pub framing: usize,
    pub payload: usize,
    /// The last framing byte ends the body; the next request follows.
    pub end: bool,
}

/// How a body breaks the coding. Where the body ends is then unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkedError {
    /// The line does not start with a hex digit, or the size is followed by neither an extension nor
    /// the line end.
    Size,
    /// More than 16 digits, or a size of 2^63 or more.
    SizeTooLarge,
    /// A control character in an extension.
    Extension,
    /// The size line is over [`CHUNK_LINE_BYTES_MAX`].
    LineTooLong,
    /// A CR without LF, or an LF without CR.
    LineEnd,
    /// No CRLF after the payload.
    PayloadEnd,
    /// A trailer line that is not a field line, or is folded.
    Trailer,
    /// The trailer section is over [`TRAILER_BYTES_MAX`] or [`TRAILER_FIELDS_MAX`].
    TrailerTooLarge,
}

impl ChunkedDecoder {
    /// A decoder at the start of a body.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            state: State::Size,
            digits: 0,
            trailer_fields: 0,
            section_bytes: 0,
            left: 0,
            chunk_kib: 0,
        }
    }

    /// Reads framing from the front of `input`, up to the payload, the end of the body or the end of the
    /// input. The reported payload counts as consumed: pass the bytes after it to the next call. After
    /// the end of the body it reads nothing.
    ///
    /// # Errors
    /// The coding is broken. Later calls return the same error.
    pub fn decode(&mut self, input: &[u8]) -> Result<Decoded, ChunkedError> {
        let mut framing = 0;
        loop {
            match self.state {
                State::Payload => {
                    let available = (input.len() - framing) as u64;
                    let payload = self.left.min(available);
                    self.took(payload);
                    return Ok(Decoded {
                        framing,
                        payload: payload as usize,
                        end: false,
                    });
                }
                State::End => {
                    return Ok(Decoded {
                        framing,
                        payload: 0,
                        end: true,
                    });
                }
                State::Broken(error) => return Err(error),
                _ => {}
            }
            let Some(&byte) = input.get(framing) else {
                return Ok(Decoded {
                    framing,
                    payload: 0,
                    end: false,
                });
            };
            self.state = self.step(byte).unwrap_or_else(State::Broken);
            framing += 1;
        }
    }

    /// Payload bytes of the current chunk not yet reported, which the caller may move without reading
    /// them; 0 between chunks.
    #[must_use]
    pub const fn payload_left(&self) -> u64 {
        match self.state {
            State::Payload => self.left,
            _ => 0,
        }
    }

    /// Length of the last chunk that has begun, in KiB of payload, rounded down: 0 before the first one,
    /// at most [`u16::MAX`].
    #[must_use]
    pub const fn chunk_kib(&self) -> u16 {
        self.chunk_kib
    }

    /// Records that the caller moved `bytes` of payload without decoding them.
    ///
    /// # Panics
    /// `bytes` exceeds [`payload_left`](Self::payload_left): a bug of the caller.
    pub fn took(&mut self, bytes: u64) {
        assert!(
            bytes <= self.payload_left(),
            "moved more than the chunk has"
        );
        if bytes == 0 {
            return;
        }
        self.left -= bytes;
        if self.left == 0 {
            self.state = State::PayloadCr;
        }
    }

    /// Whether the payload of a chunk has been reported, but not all of the CRLF that ends the chunk
    /// been read.
    #[must_use]
    pub const fn is_behind_payload(&self) -> bool {
        matches!(self.state, State::PayloadCr | State::PayloadLf)
    }

    /// Whether the body has ended, trailers included.
    #[must_use]
    pub const fn is_end(&self) -> bool {
        matches!(self.state, State::End)
    }

    /// Consumes one byte of framing; returns the next state.
    fn step(&mut self, byte: u8) -> Result<State, ChunkedError> {
        match self.state {
            State::Size | State::SizePadding | State::Extension | State::LineLf => {
                self.step_in_line(byte)
            }
            State::PayloadCr if byte == b'\r' => Ok(State::PayloadLf),
            State::PayloadLf if byte == b'\n' => {
                self.digits = 0;
                self.section_bytes = 0;
                Ok(State::Size)
            }
            State::PayloadCr | State::PayloadLf => Err(ChunkedError::PayloadEnd),
            _ => self.step_in_trailer(byte),
        }
    }

    /// `chunk-size [ chunk-ext ] CRLF`
    fn step_in_line(&mut self, byte: u8) -> Result<State, ChunkedError> {
        self.section_bytes += 1;
        if usize::from(self.section_bytes) > CHUNK_LINE_BYTES_MAX {
            return Err(ChunkedError::LineTooLong);
        }
        match (self.state, byte) {
            (State::Size, b'0'..=b'9') => self.push_digit(byte - b'0'),
            (State::Size, b'a'..=b'f') => self.push_digit(byte - b'a' + 10),
            (State::Size, b'A'..=b'F') => self.push_digit(byte - b'A' + 10),
            (State::Size, _) if self.digits == 0 => Err(ChunkedError::Size),
            (State::Size | State::Extension, b'\r') => Ok(State::LineLf),
            (State::LineLf, b'\n') => Ok(self.after_line()),
            (State::Size | State::Extension, b'\n') | (State::LineLf, _) => {
                Err(ChunkedError::LineEnd)
            }
            // RFC 9112 §7.1.1 allows BWS before an extension; RFC 9110 §5.6.3 requires to parse and drop
            // it. White space that only pads the size is refused.
            (State::Size | State::SizePadding, b' ' | b'\t') => Ok(State::SizePadding),
            (State::Size | State::SizePadding, b';') => Ok(State::Extension),
            (State::Extension, _) if super::is_in_field_value(byte) => Ok(State::Extension),
            (State::Extension, _) => Err(ChunkedError::Extension),
            _ => Err(ChunkedError::Size),
        }
    }

    fn push_digit(&mut self, digit: u8) -> Result<State, ChunkedError> {
        self.digits += 1;
        self.left = self.left << 4 | u64::from(digit);
        // 16 digits fill 64 bits, so a shift has lost no digit yet.
        if self.digits > 16 || self.left > i64::MAX as u64 {
            return Err(ChunkedError::SizeTooLarge);
        }
        Ok(State::Size)
    }

    /// The trailer section follows the last chunk, whose size is 0.
    fn after_line(&mut self) -> State {
        if self.left > 0 {
            self.chunk_kib = u16::try_from(self.left / 1024).unwrap_or(u16::MAX);
            return State::Payload;
        }
        self.section_bytes = 0;
        State::TrailerStart
    }

    /// `*( field-line CRLF ) CRLF`
    fn step_in_trailer(&mut self, byte: u8) -> Result<State, ChunkedError> {
        self.section_bytes += 1;
        if usize::from(self.section_bytes) > TRAILER_BYTES_MAX {
            return Err(ChunkedError::TrailerTooLarge);
        }
        match (self.state, byte) {
            (State::TrailerStart, b'\r') => Ok(State::EndLf),
            (State::TrailerStart, _) if super::is_in_token(byte) => {
                self.trailer_fields += 1;
                if usize::from(self.trailer_fields) > TRAILER_FIELDS_MAX {
                    return Err(ChunkedError::TrailerTooLarge);
                }
                Ok(State::TrailerName)
            }
            (State::TrailerName, b':') => Ok(State::TrailerValue),
            (State::TrailerName, _) if super::is_in_token(byte) => Ok(State::TrailerName),
            (State::TrailerValue, b'\r') => Ok(State::TrailerLf),
            (State::TrailerValue, _) if super::is_in_field_value(byte) => Ok(State::TrailerValue),
            (State::TrailerLf, b'\n') => Ok(State::TrailerStart),
            (State::EndLf, b'\n') => Ok(State::End),
            (State::TrailerLf | State::EndLf, _) | (_, b'\n') => Err(ChunkedError::LineEnd),
            _ => Err(ChunkedError::Trailer),
        }
    }
}

impl Default for ChunkedDecoder {
    fn default() -> Self {
        Self::new()
    }
}

impl ChunkedError {
    /// One line for the client, without line end: what is wrong and what to send instead.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Size => {
                "a chunk does not start with its size in hex and CRLF: send `1f`, not ` 1f` or `0x1f`"
            }
            Self::SizeTooLarge => {
                "a chunk size has over 16 digits or is 2^63 or more: send smaller chunks"
            }
            Self::Extension => {
                "a chunk extension has a control character: leave chunk extensions out"
            }
            Self::LineTooLong => {
                "the line of a chunk size is over 1024 bytes: leave chunk extensions out"
            }
            Self::LineEnd => "a line of the chunked body does not end with CRLF: end it with CRLF",
            Self::PayloadEnd => {
                "a chunk is longer than its size says: send that many bytes and CRLF"
            }
            Self::Trailer => {
                "a trailer line is not a field line: send `Name: value`, or no trailers"
            }
            Self::TrailerTooLarge => {
                "the trailers are over 16 KiB or over 64 fields: send fewer, or none"
            }
        }
    }
}

/// The last chunk, without trailers.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// The end of every other chunk, after its payload.
pub const CHUNK_END: &[u8] = b"\r\n";

/// The head of a chunk: its size in hex and CRLF.
#[derive(Clone, Copy, Debug)]
pub struct ChunkHead {
    bytes: [u8; Self::BYTES_MAX],
    start: u8,
}

impl ChunkHead {
    /// Longest head: 16 digits and CRLF.
    pub const BYTES_MAX: usize = 18;

    /// The head of a chunk with `payload` bytes.
    ///
    /// # Panics
    /// `payload` is 0, which would end the body: a bug of the caller.
    #[must_use]
    pub const fn new(payload: u64) -> Self {
        assert!(payload > 0, "a chunk of size 0 ends the body");
        let mut bytes = [0; Self::BYTES_MAX];
        let mut start = Self::BYTES_MAX - 2;
        [bytes[start], bytes[start + 1]] = *b"\r\n";
        let mut left = payload;
        while left > 0 {
            start -= 1;
            bytes[start] = b"0123456789abcdef"[(left & 0xf) as usize];
            left >>= 4;
        }
        Self {
            bytes,
            start: start as u8,
        }
    }

    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[usize::from(self.start)..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The result of decoding a body.
    #[derive(Debug, Default, PartialEq, Eq)]
    struct Outcome {
        payload: Vec<u8>,
        end: bool,
        /// The bytes after the end.
        rest: Vec<u8>,
        error: Option<ChunkedError>,
    }

    /// Decodes `pieces`; with `splice`, payload that is known to follow bypasses the decoder.
    fn drive<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, splice: bool) -> Outcome {
        let mut decoder = ChunkedDecoder::new();
        let mut outcome = Outcome::default();
        for mut piece in pieces {
            while !piece.is_empty() && outcome.error.is_none() {
                if splice && decoder.payload_left() > 0 {
                    let moved = decoder.payload_left().min(piece.len() as u64);
                    decoder.took(moved);
                    let (payload, rest) = piece.split_at(moved as usize);
                    outcome.payload.extend_from_slice(payload);
                    piece = rest;
                    continue;
                }
                match decoder.decode(piece) {
                    Ok(decoded) => piece = take(&mut outcome, &decoder, decoded, piece),
                    Err(error) => {
                        assert_eq!(decoder.decode(b"0\r\n\r\n"), Err(error));
                        assert_eq!((decoder.is_end(), decoder.payload_left()), (false, 0));
                        outcome.error = Some(error);
                    }
                }
            }
        }
        outcome
    }

    fn take<'a>(
        outcome: &mut Outcome,
        decoder: &ChunkedDecoder,
        decoded: Decoded,
        piece: &'a [u8],
    ) -> &'a [u8] {
        let taken = decoded.framing + decoded.payload;
        assert!(taken <= piece.len(), "more than there is: {decoded:?}");
        assert_eq!(decoded.end, decoder.is_end());
        let (taken, rest) = piece.split_at(taken);
        outcome.payload.extend_from_slice(&taken[decoded.framing..]);
        if decoded.end {
            assert_eq!(decoded.payload, 0);
            outcome.end = true;
            outcome.rest.extend_from_slice(rest);
            return &[];
        }
        assert!(!taken.is_empty(), "no progress");
        rest
    }

    fn trailers(fields: usize, line_bytes: usize) -> String {
        let line = format!("X: {}\r\n", "y".repeat(line_bytes - 5));
        format!("0\r\n{}\r\n", line.repeat(fields))
    }

    fn line_of(bytes: usize) -> String {
        format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(bytes - 4))
    }

    /// Valid bodies, each with its payload.
    fn good() -> Vec<(String, &'static str)> {
        [
            ("0\r\n\r\n", ""),
            ("1\r\na\r\n0\r\n\r\n", "a"),
            ("5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", "hello world"),
            (
                "A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n",
                "01234567890123456789",
            ),
            (
                "0000000000000002\r\n\r\n\r\n0000000000000000\r\n\r\n",
                "\r\n",
            ),
            ("5\r\n0\r\n\r\n\r\n0\r\n\r\n", "0\r\n\r\n"),
            ("1;\r\na\r\n0;\r\n\r\n", "a"),
            ("1;a=b;c=\"d e\"\t\r\na\r\n0;x\r\n\r\n", "a"),
            ("1 \t;a\r\na\r\n0\t;b\r\n\r\n", "a"),
            ("1;\u{fc}\r\na\r\n0\r\n\r\n", "a"),
            ("1;0\r\na\r\n0\r\n\r\n", "a"),
            ("0\r\nX: y\r\n\r\n", ""),
            ("0\r\nX:\r\nY:\tz \u{fc}:\r\n\r\n", ""),
            ("0\r\nContent-Length: 5\r\n\r\n", ""),
        ]
        .into_iter()
        .map(|(body, payload)| (body.to_owned(), payload))
        .chain([
            (line_of(CHUNK_LINE_BYTES_MAX), "a"),
            (trailers(TRAILER_FIELDS_MAX, 20), ""),
            (trailers(1, TRAILER_BYTES_MAX - 2), ""),
        ])
        .collect()
    }

    /// Invalid bodies, each with its error.
    fn bad() -> Vec<(String, ChunkedError)> {
        use ChunkedError::*;
        [
            ("\r\n", Size),
            ("\n", Size),
            (" 1\r\n", Size),
            ("\t1\r\n", Size),
            (";a\r\n", Size),
            ("g\r\n", Size),
            ("-1\r\n", Size),
            ("+1\r\n", Size),
            ("0x1\r\n", Size),
            ("1g\r\n", Size),
            ("1_0\r\n", Size),
            ("1.\r\n", Size),
            ("1 \r\n", Size),
            ("1\t\r\n", Size),
            ("1 1\r\n", Size),
            ("1 \n", Size),
            ("1\0\r\n", Size),
            ("\0", Size),
            ("\u{661}\r\n", Size),
            ("1\r\na\r\n\r\n", Size),
            ("1\r\na\r\n 0\r\n\r\n", Size),
            ("8000000000000000\r\n", SizeTooLarge),
            ("ffffffffffffffff\r\n", SizeTooLarge),
            ("FFFFFFFFFFFFFFFFF\r\n", SizeTooLarge),
            ("00000000000000001\r\n", SizeTooLarge),
            ("00000000000000000\r\n", SizeTooLarge),
            ("10000000000000000\r\n", SizeTooLarge),
            ("1;a\0\r\n", Extension),
            ("1;\u{1}\r\n", Extension),
            ("1;\u{7f}\r\n", Extension),
            ("1;\"\u{b}\"\r\n", Extension),
            ("1\na\r\n", LineEnd),
            ("1;a\n", LineEnd),
            ("1;\n", LineEnd),
            ("1\r\r\n", LineEnd),
            ("1\ra", LineEnd),
            ("1;a\rb\r\n", LineEnd),
            ("0\r\r\n", LineEnd),
            ("0\n\r\n", LineEnd),
            ("0\r\n\n", LineEnd),
            ("0\r\n\ra", LineEnd),
            ("0\r\n\r\r\n", LineEnd),
            ("0\r\nX: y\n\r\n", LineEnd),
            ("0\r\nX: y\r\r\n", LineEnd),
            ("0\r\nX: y\rz\r\n", LineEnd),
            ("0\r\nX: y\r\n\n", LineEnd),
            ("0\r\nX\n", LineEnd),
            ("1\r\nab\r\n", PayloadEnd),
            ("1\r\na\n0\r\n\r\n", PayloadEnd),
            ("1\r\na\r0\r\n\r\n", PayloadEnd),
            ("1\r\na\r\r\n", PayloadEnd),
            ("1\r\na0\r\n\r\n", PayloadEnd),
            ("0\r\nX\r\n\r\n", Trailer),
            ("0\r\n: y\r\n\r\n", Trailer),
            ("0\r\nX : y\r\n\r\n", Trailer),
            ("0\r\nX\t: y\r\n\r\n", Trailer),
            ("0\r\n X: y\r\n\r\n", Trailer),
            ("0\r\nX: y\r\n z\r\n\r\n", Trailer),
            ("0\r\nX: y\r\n\tz\r\n\r\n", Trailer),
            ("0\r\nX: y\0\r\n\r\n", Trailer),
            ("0\r\nX:\u{7f}\r\n\r\n", Trailer),
            ("0\r\n\0: y\r\n\r\n", Trailer),
            ("0\r\n(: y\r\n\r\n", Trailer),
            ("0\r\n\u{fc}: y\r\n\r\n", Trailer),
            ("0\r\nGET / HTTP/1.1\r\n\r\n", Trailer),
        ]
        .into_iter()
        .map(|(body, error)| (body.to_owned(), error))
        .chain([
            (line_of(CHUNK_LINE_BYTES_MAX + 1), LineTooLong),
            (
                format!("1{}", " ".repeat(CHUNK_LINE_BYTES_MAX)),
                LineTooLong,
            ),
            (trailers(TRAILER_FIELDS_MAX + 1, 20), TrailerTooLarge),
            (trailers(1, TRAILER_BYTES_MAX - 1), TrailerTooLarge),
            (
                format!("0\r\n{}", "x".repeat(TRAILER_BYTES_MAX + 1)),
                TrailerTooLarge,
            ),
        ])
        .collect()
    }

    fn all() -> impl Iterator<Item = String> {
        let good = good().into_iter().map(|row| row.0);
        good.chain(bad().into_iter().map(|row| row.0))
    }

    #[test]
    fn good_bodies_decode_to_their_payload_and_leave_what_follows() {
        for (body, payload) in good() {
            for rest in ["", "GET / HTTP/1.1\r\n\r\n", "0\r\n\r\n", "\0"] {
                let outcome = drive(
                    [[body.as_bytes(), rest.as_bytes()].concat().as_slice()],
                    false,
                );
                let expected = Outcome {
                    payload: payload.into(),
                    end: true,
                    rest: rest.into(),
                    error: None,
                };
                assert_eq!(outcome, expected, "{body:?}");
            }
        }
    }

    #[test]
    fn no_good_body_ends_before_its_last_byte() {
        for (body, _) in good() {
            let outcome = drive([&body.as_bytes()[..body.len() - 1]], false);
            assert_eq!((outcome.end, outcome.error), (false, None), "{body:?}");
        }
    }

    #[test]
    fn bad_bodies_are_refused_with_how_they_break_the_coding() {
        for (body, error) in bad() {
            let outcome = drive([body.as_bytes()], false);
            assert_eq!(
                (outcome.error, outcome.end),
                (Some(error), false),
                "{body:?}"
            );
            assert!(error.as_str().is_ascii() && !error.as_str().contains(['\r', '\n']));
        }
    }

    #[test]
    fn every_split_of_a_body_in_two_gives_the_same() {
        for body in all() {
            let body = body.as_bytes();
            for splice in [false, true] {
                let whole = drive([body], splice);
                // Bodies of 16 KiB are cut at fewer places, by a step that divides no power of two.
                let step = if body.len() > 2048 { 61 } else { 1 };
                for cut in (0..=body.len()).step_by(step) {
                    let (front, back) = body.split_at(cut);
                    let split = drive([front, back], splice);
                    assert_eq!(split, whole, "{} cut at {cut}", body.escape_ascii());
                }
                let bytes = drive(body.chunks(1), splice);
                assert_eq!(bytes, whole, "{} byte by byte", body.escape_ascii());
            }
        }
    }

    #[test]
    fn every_split_of_a_short_body_in_three_gives_the_same() {
        for body in all().filter(|body| body.len() < 64) {
            let body = body.as_bytes();
            let whole = drive([body], false);
            for first in 0..=body.len() {
                for second in first..=body.len() {
                    let pieces = [&body[..first], &body[first..second], &body[second..]];
                    assert_eq!(drive(pieces, false), whole, "{}", body.escape_ascii());
                }
            }
        }
    }

    #[test]
    fn framing_and_payload_are_reported_where_they_lie() {
        let mut decoder = ChunkedDecoder::new();
        let mut report = |input: &[u8]| {
            let Decoded {
                framing,
                payload,
                end,
            } = decoder.decode(input).unwrap();
            (framing, payload, end, decoder.payload_left())
        };
        assert_eq!(report(b""), (0, 0, false, 0));
        assert_eq!(report(b"5;x\r\nab"), (5, 2, false, 3));
        assert_eq!(report(b""), (0, 0, false, 3));
        assert_eq!(report(b"c"), (0, 1, false, 2));
        assert_eq!(report(b"de\r\n1"), (0, 2, false, 0));
        assert_eq!(report(b"\r\n1"), (3, 0, false, 0));
        assert_eq!(report(b"0\r\n"), (3, 0, false, 16));
        assert_eq!(report(b"0123456789abcdef"), (0, 16, false, 0));
        assert_eq!(report(b"\r\n0\r\n\r\nGET"), (7, 0, true, 0));
        assert_eq!(report(b"GET"), (0, 0, true, 0));
    }

    #[test]
    fn the_largest_chunk_has_63_bits_and_may_be_moved_unseen() {
        let mut decoder = ChunkedDecoder::new();
        let head = b"7fffffffffffffff\r\n";
        assert_eq!(decoder.decode(head).unwrap().framing, head.len());
        assert_eq!(decoder.payload_left(), i64::MAX as u64);
        decoder.took(i64::MAX as u64 - 1);
        assert_eq!(decoder.decode(b"a\r\n0\r\n\r\n").unwrap().payload, 1);
        assert!(decoder.decode(b"\r\n0\r\n\r\n").unwrap().end);
    }

    #[test]
    #[should_panic(expected = "moved more than the chunk has")]
    fn moving_more_than_the_chunk_has_is_a_fault_of_the_caller() {
        let mut decoder = ChunkedDecoder::new();
        decoder.decode(b"1\r\n").unwrap();
        decoder.took(2);
    }

    #[test]
    fn a_decoder_is_small() {
        assert_eq!(size_of::<ChunkedDecoder>(), 16);
    }

    #[test]
    fn a_chunk_head_is_the_size_in_hex() {
        for size in [
            1,
            9,
            10,
            15,
            16,
            255,
            256,
            65_536,
            0xdead_beef,
            i64::MAX as u64,
            u64::MAX,
        ] {
            let head = ChunkHead::new(size);
            assert_eq!(head.as_bytes(), format!("{size:x}\r\n").as_bytes());
        }
    }

    #[test]
    #[should_panic(expected = "ends the body")]
    fn a_chunk_head_of_nothing_is_a_fault_of_the_caller() {
        let _ = ChunkHead::new(0);
    }

    /// A slow and simple second decoder of whole bodies: payload and rest, or `None` if invalid.
    fn reference(mut body: &[u8]) -> Option<(Vec<u8>, &[u8])> {
        fn line(body: &mut &[u8]) -> Option<String> {
            let end = body.windows(2).position(|two| two == b"\r\n")?;
            let (line, rest) = body.split_at(end);
            *body = &rest[2..];
            let ok = |byte: &u8| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f);
            let text = line.iter().map(|&byte| char::from(byte)).collect();
            line.iter().all(ok).then_some(text)
        }
        let mut payload = Vec::new();
        loop {
            let text = line(&mut body)?;
            let (size, extended) = match text.split_once(';') {
                Some((size, _)) => (size.trim_end_matches([' ', '\t']), true),
                None => (text.as_str(), false),
            };
            let digits = size.len() <= 16 && size.bytes().all(|byte| byte.is_ascii_hexdigit());
            if !digits || text.len() + 2 > CHUNK_LINE_BYTES_MAX || (!extended && text != size) {
                return None;
            }
            let size = usize::try_from(i64::from_str_radix(size, 16).ok()?).ok()?;
            if size == 0 {
                break;
            }
            payload.extend_from_slice(body.get(..size)?);
            body = body[size..].strip_prefix(b"\r\n")?;
        }
        loop {
            match line(&mut body)?.as_str() {
                "" => return Some((payload, body)),
                field => {
                    let (name, _) = field.split_once(':')?;
                    let is_token =
                        |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
                    (!name.is_empty() && name.bytes().all(is_token)).then_some(())?;
                }
            }
        }
    }

    fn check_against_reference(body: &[u8]) {
        let outcome = drive([body], false);
        match reference(body) {
            Some((payload, rest)) => {
                assert!(outcome.end, "{}: {outcome:?}", body.escape_ascii());
                assert_eq!(
                    (outcome.payload.as_slice(), outcome.rest.as_slice()),
                    (&payload[..], rest)
                );
            }
            None => assert!(!outcome.end, "{}: {outcome:?}", body.escape_ascii()),
        }
        assert_eq!(drive(body.chunks(1), false), outcome);
        assert_eq!(drive(body.chunks(3), true), outcome);
    }

    fn piece() -> impl Strategy<Value = Vec<u8>> {
        let known = [
            "\r\n",
            "\r\n",
            "0\r\n",
            "1\r\na\r\n",
            "3\r\nabc\r\n",
            "1",
            "2",
            "f",
            ";",
            ";a=b",
            " ",
            "\r",
            "\n",
            "0\r\n\r\n",
            "X: y\r\n",
            ":",
            "\t",
            "a",
            "ab",
        ];
        prop_oneof![
            15 => proptest::sample::select(known.map(|known| known.as_bytes().to_vec()).to_vec()),
            1 => proptest::collection::vec(any::<u8>(), 1..4),
        ]
    }

    proptest! {
        #[test]
        fn a_body_cut_into_chunks_and_pieces_comes_out_whole(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..300), 0..8),
            extension in "([ \t]{0,3};[ -~\u{fc}]{0,20})?",
            trailers in proptest::collection::vec("[A-Za-z-]{1,9}:[\t -~]{0,20}", 0..5),
            splits in proptest::collection::vec(1..40usize, 1..50),
            splice in any::<bool>(),
        ) {
            let mut body = Vec::new();
            for (at, chunk) in chunks.iter().enumerate() {
                if at % 2 == 0 {
                    body.extend_from_slice(ChunkHead::new(chunk.len() as u64).as_bytes());
                } else {
                    body.extend_from_slice(format!("{:06X}{extension}\r\n", chunk.len()).as_bytes());
                }
                body.extend_from_slice(chunk);
                body.extend_from_slice(CHUNK_END);
            }
            if trailers.is_empty() {
                body.extend_from_slice(LAST_CHUNK);
            } else {
                let trailers = trailers.join("\r\n");
                body.extend_from_slice(format!("0{extension}\r\n{trailers}\r\n\r\n").as_bytes());
            }
            body.extend_from_slice(b"rest");
            let mut left = body.as_slice();
            let mut pieces = Vec::new();
            for split in splits {
                let (piece, rest) = left.split_at(split.min(left.len()));
                pieces.push(piece);
                left = rest;
            }
            pieces.push(left);
            let expected = Outcome {
                payload: chunks.concat(),
                end: true,
                rest: b"rest".into(),
                error: None,
            };
            prop_assert_eq!(drive(pieces, splice), expected);
        }

        #[test]
        fn arbitrary_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..100)) {
            check_against_reference(&body);
        }

        #[test]
        fn rows_of_pieces_decode_as_a_simple_reader_says(
            pieces in proptest::collection::vec(piece(), 0..9),
        ) {
            check_against_reference(&[&pieces.concat()[..], LAST_CHUNK].concat());
        }

        #[test]
        fn mutated_good_bodies_decode_as_a_simple_reader_says(
            row in 0..14usize,
            at in any::<prop::sample::Index>(),
            replace in any::<bool>(),
            piece in piece(),
        ) {
            let mut body = good().swap_remove(row).0.into_bytes();
            let at = at.index(body.len());
            body.splice(at..at + usize::from(replace), piece);
            check_against_reference(&body);
        }
    }
}
