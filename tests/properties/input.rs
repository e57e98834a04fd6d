//! How bytes become the input of a test: the bytes, and the lengths of the pieces. Owns the format
//! that seeds, fuzzers and generators share. Pure.

/// Bytes at the beginning of an input that say how to cut it.
pub const SIZES: usize = 4;

/// An input that a reader receives in pieces.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The lengths of the pieces, repeated.
    pub sizes: [u8; SIZES],
    /// All of it, in one piece.
    pub bytes: &'a [u8],
}

impl<'a> Input<'a> {
    /// The first [`SIZES`] bytes of `data` are the lengths of the pieces, repeated; the rest is cut
    /// into pieces. `None` if `data` is shorter.
    pub fn new(data: &'a [u8]) -> Option<Self> {
        let (&sizes, bytes) = data.split_first_chunk()?;
        Some(Self { sizes, bytes })
    }

    /// The pieces; together they are `bytes`, and some may be empty. One piece if no size is above
    /// 0.
    pub fn pieces(&self) -> Vec<&'a [u8]> {
        let (mut left, mut pieces) = (self.bytes, Vec::new());
        if self.sizes == [0; SIZES] {
            return vec![left];
        }
        for size in self.sizes.into_iter().cycle() {
            let (piece, rest) = left.split_at(left.len().min(size.into()));
            pieces.push(piece);
            left = rest;
            if left.is_empty() {
                return pieces;
            }
        }
        unreachable!("a cycle has no end")
    }
}
