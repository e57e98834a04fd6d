//! [`Batch`]: whole lines on their way to standard error, and how many of them did not get there.
//!
//! Must never: keep lines that could not be written. The disk may stay full.

use std::{
    io::{ErrorKind, Write},
    mem,
};

use crate::limits;
use memchr::memchr_iter;

/// Lines that are written together. `W` is [`crate::io::stderr::StandardError`], except in tests.
pub struct Batch<W> {
    to: W,
    lines: Vec<u8>,
    /// A line was written in part: the next one must not continue it.
    torn: bool,
}

impl<W: Write> Batch<W> {
    pub fn new(to: W) -> Self {
        Self {
            to,
            lines: Vec::with_capacity(limits::LOG_WRITE_BYTES),
            torn: false,
        }
    }

    /// Adds a line, which ends with its only line feed. Writes the batch first if the line does not fit.
    /// Returns how many lines were lost in that.
    pub fn add(&mut self, line: &[u8]) -> u64 {
        let fits = self.lines.len() + line.len() <= limits::LOG_WRITE_BYTES;
        let lost = if fits { 0 } else { self.write() };
        self.lines.extend_from_slice(line);
        lost
    }

    /// Writes the batch and empties it. Returns how many of its lines were not written whole.
    pub fn write(&mut self) -> u64 {
        let mut lines = mem::take(&mut self.lines);
        let written = self.write_from_line_start(&lines);
        let (whole, lost) = lines.split_at(written);
        self.torn |= whole.last().is_some_and(|&last| last != b'\n');
        let lost = memchr_iter(b'\n', lost).count() as u64;
        lines.clear();
        self.lines = lines;
        lost
    }

    /// Returns how many bytes of `lines` were written.
    fn write_from_line_start(&mut self, lines: &[u8]) -> usize {
        if self.torn && !lines.is_empty() {
            if write_all(&mut self.to, b"\n") == 0 {
                return 0;
            }
            self.torn = false;
        }
        write_all(&mut self.to, lines)
    }
}

/// Returns how many bytes were written before the first error.
fn write_all(to: &mut impl Write, bytes: &[u8]) -> usize {
    let mut written = 0;
    while written < bytes.len() {
        match to.write(&bytes[written..]) {
            Ok(0) => break,
            Ok(more) => written += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    /// Takes so many bytes; then the disk is full.
    struct Disk {
        room: usize,
        content: Vec<u8>,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.room == 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            let part = bytes.len().min(self.room);
            self.room -= part;
            self.content.extend_from_slice(&bytes[..part]);
            Ok(part)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn on_disk(room: usize) -> Batch<Disk> {
        let content = Vec::new();
        Batch::new(Disk { room, content })
    }

    #[test]
    fn every_line_that_is_not_written_whole_is_counted() {
        for room in 0..=9 {
            let mut batch = on_disk(room);
            for line in [b"1\n", b"2\n", b"3\n", b"4\n"] {
                assert_eq!(batch.add(line), 0);
            }
            let whole = room.min(8) / 2;
            assert_eq!(batch.write(), 4 - whole as u64, "{room}");
            assert_eq!(batch.to.content, b"1\n2\n3\n4\n"[..room.min(8)]);
            assert_eq!(batch.write(), 0, "nothing is counted twice");
        }
    }

    #[test]
    fn a_line_never_continues_one_that_was_written_in_part() {
        let mut batch = on_disk(4);
        batch.add(b"one\n");
        batch.add(b"two\n");
        assert_eq!(batch.write(), 1);
        batch.to.room = 1;
        batch.add(b"three\n");
        assert_eq!(batch.write(), 1);
        batch.to.room = 100;
        batch.add(b"four\n");
        assert_eq!(batch.write(), 0);
        assert_eq!(batch.to.content, b"one\nt\nfour\n");
    }

    #[test]
    fn a_batch_that_is_full_is_written_before_the_next_line() {
        let mut batch = on_disk(0);
        let line = [&[b'x'; 999][..], b"\n"].concat();
        let fit = limits::LOG_WRITE_BYTES / line.len();
        for _ in 0..fit {
            assert_eq!(batch.add(&line), 0);
        }
        assert_eq!(batch.add(&line), fit as u64);
        assert_eq!(batch.write(), 1);
    }
}
