//! [`Span`]: a range of the bytes that a head was parsed from.

use crate::limits::HEAD_BYTES_MAX;

const _: () = assert!(
    HEAD_BYTES_MAX <= u16::MAX as usize,
    "offsets into a head are u16"
);

/// A range of a head's bytes. Offsets, not a slice: a head that moves to another shard takes its bytes
/// along.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    pub start: u16,
    /// The offset after the last byte.
    pub end: u16,
}

impl Span {
    /// The range of `part`, which must be a slice of `bytes`.
    #[must_use]
    pub fn locate(part: &[u8], bytes: &[u8]) -> Self {
        let start = part.as_ptr() as usize - bytes.as_ptr() as usize;
        Self {
            start: start as u16,
            end: (start + part.len()) as u16,
        }
    }

    /// The bytes of this range. `bytes` must be what the head was parsed from.
    #[must_use]
    pub fn of(self, bytes: &[u8]) -> &[u8] {
        &bytes[usize::from(self.start)..usize::from(self.end)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_gives_back_the_slice_that_it_was_located_for() {
        let bytes = b"GET / HTTP/1.1\r\n";
        for (start, end) in [(0, 3), (4, 5), (5, 5), (0, bytes.len())] {
            let span = Span::locate(&bytes[start..end], bytes);
            assert_eq!((span.start, span.end), (start as u16, end as u16));
            assert_eq!(span.of(bytes), &bytes[start..end]);
        }
    }
}
