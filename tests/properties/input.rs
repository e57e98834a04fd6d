//! How one run of bytes becomes a test's input: what is read in pieces, and how long each piece is.
//! Owns the layout that seeds, fuzzers and generators share. Pure.

/// Bytes in front of an input that say how it is cut.
pub const SIZES: usize = 4;

/// An input that a reader gets in pieces.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// Lengths of the pieces, over and over.
    pub sizes: [u8; SIZES],
    /// All of it, in one piece.
    pub bytes: &'a [u8],
}

impl<'a> Input<'a> {
    /// The first [`SIZES`] bytes of `data` are the lengths of the pieces, over and over; the rest is
    /// cut into them. `None` for what is shorter.
    pub fn new(data: &'a [u8]) -> Option<Self> {
        let (&sizes, bytes) = data.split_first_chunk()?;
        Some(Self { sizes, bytes })
    }

    /// The pieces. Some may be empty; together they are `bytes`. One piece if no size is above 0.
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
