//! Decodes chunked bodies.

use crate::error::Result;

/// Decodes one chunked body and stores none of it.
#[derive(Clone, Copy, Debug)]
pub struct Dechunker {
    state: Chunk,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chunk {
    Size(u64),
    Payload(u64),
    PayloadEnd,
    /// Bytes left of the empty line after the last chunk.
    Last(u8),
}

impl Dechunker {
    pub fn new() -> Self {
        Self {
            state: Chunk::Size(0),
        }
    }

    /// Decodes the next bytes of the connection, passes each run of payload to `payload`, and returns
    /// true at the end of the body. Bytes after the end are an error.
    pub fn feed(
        &mut self,
        mut bytes: &[u8],
        mut payload: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<bool> {
        while let Some((&first, rest)) = bytes.split_first() {
            (self.state, bytes) = match self.state {
                Chunk::Payload(left) => {
                    let count = bytes.len().min(usize::try_from(left)?);
                    payload(&bytes[..count])?;
                    let left = left - count as u64;
                    let next = if left == 0 {
                        Chunk::PayloadEnd
                    } else {
                        Chunk::Payload(left)
                    };
                    (next, &bytes[count..])
                }
                Chunk::Size(size) => (size_byte(size, first)?, rest),
                Chunk::PayloadEnd if first == b'\n' => (Chunk::Size(0), rest),
                Chunk::PayloadEnd if first == b'\r' => (Chunk::PayloadEnd, rest),
                Chunk::Last(left) if left > 0 && matches!(first, b'\r' | b'\n') => {
                    (Chunk::Last(left - 1), rest)
                }
                state => return Err(format!("broken chunks: byte {first} in {state:?}").into()),
            };
        }
        Ok(self.state == Chunk::Last(0))
    }
}

fn size_byte(size: u64, byte: u8) -> Result<Chunk> {
    match byte {
        b'\r' => Ok(Chunk::Size(size)),
        b'\n' if size == 0 => Ok(Chunk::Last(2)),
        b'\n' => Ok(Chunk::Payload(size)),
        digit => {
            let value = char::from(digit)
                .to_digit(16)
                .ok_or("a chunk size that is not hex")?;
            Ok(Chunk::Size(size * 16 + u64::from(value)))
        }
    }
}
