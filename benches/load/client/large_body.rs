//! What large bodies consist of: 8-byte little-endian counters, so that every position in a body
//! tells by itself whether it holds what it should. Pure, apart from the file that holds them.
//!
//! The counters repeat after [`PERIOD_BYTES`]; a body is the stretch that begins at its own
//! `start`, so that bodies of different exchanges differ at every position.

use std::fs::File;
use std::io::Write;

use crate::error::Result;

/// How many bytes there are before the counters begin anew.
pub const PERIOD_BYTES: u64 = 64 << 20;

const WORD_BYTES: usize = 8;

/// Fills `bytes` with what a body holds from `position` on (both multiples of 8).
pub fn fill(bytes: &mut [u8], position: u64) {
    let first = position / WORD_BYTES as u64;
    for (index, word) in bytes.chunks_exact_mut(WORD_BYTES).enumerate() {
        let counter = (first + index as u64) % (PERIOD_BYTES / WORD_BYTES as u64);
        word.copy_from_slice(&counter.to_le_bytes());
    }
}

/// Fails unless `bytes` are what a body holds from `position` on; both may be odd.
/// `scratch` is room to work in.
pub fn verify(bytes: &[u8], position: u64, scratch: &mut Vec<u8>) -> Result<()> {
    let skipped = (position % WORD_BYTES as u64) as usize;
    scratch.resize((skipped + bytes.len()).next_multiple_of(WORD_BYTES), 0);
    fill(scratch, position - skipped as u64);
    if &scratch[skipped..][..bytes.len()] == bytes {
        return Ok(());
    }
    Err(format!("a body is wrong somewhere behind position {position}").into())
}

/// A nameless temporary file that holds the counters of one period, for `sendfile`. It is written
/// just now, so all of it is in the page cache; a memfd made senders and server slower (0.14 against
/// 0.11 CPU seconds a GiB of the server), because its pages come one by one.
pub fn file() -> Result<File> {
    let mut file = tempfile::tempfile()?;
    let mut block = vec![0; 1 << 20];
    for position in (0..PERIOD_BYTES).step_by(block.len()) {
        fill(&mut block, position);
        file.write_all(&block)?;
    }
    Ok(file)
}
