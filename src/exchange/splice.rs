//! Moving payload through a pipe, from socket to socket, without a copy.
//!
//! The only place that splices. A direct non-blocking `splice(2)` behind a wait for readiness:
//! `IORING_OP_SPLICE` would go to a kernel thread each time.

use std::rc::Rc;

use super::Exchange;
use crate::{
    conn::deadline::Due,
    io::{clock::Moment, pipe::Spliced, socket::Received},
    limits,
    model::verdict::Cause,
    observe::counters::Path,
};

impl Exchange {
    /// Moves payload that is known to follow through a pipe: all of it, or until there is no pipe for it.
    pub(super) async fn splice(&mut self) -> Result<(), Cause> {
        if !self.sink().out.encoder.takes_unframed() {
            self.announce_chunk()?;
            self.send_unsent().await?;
        }
        self.source.conn.inbound.expect_large(true);
        while self.source.request.decoder.payload_left() > 0 {
            let waits = !self.source.budget.reads_on();
            self.readable().await?;
            if !self.get_pipe() {
                return Ok(());
            }
            let filled = self.fill()?;
            if filled == 0 && waits {
                self.copy_unspliced().await?;
            }
            self.source.adjust_low_water();
            self.drain().await?;
            if !self.sink().out.is_empty() {
                return Ok(());
            }
        }
        if self.source.request.is_whole() {
            self.source.low_water.lift();
        }
        Ok(())
    }

    /// Whether there is a pipe. Not taken before there is something to move.
    fn get_pipe(&mut self) -> bool {
        if self.source.pipe.is_none() {
            self.source.pipe = self.session.shard.pipes.get();
        }
        self.source.pipe.is_some()
    }

    /// Sends the head of a chunk with all payload that is known to follow.
    fn announce_chunk(&mut self) -> Result<(), Cause> {
        let follows = self.source.request.decoder.payload_left();
        let sink = self.sink();
        let front = sink.out.encoder.open(follows);
        let to = &sink.session.conn.transport;
        sink.out
            .send_parts(to, [front.as_bytes(), b"", b""], true)?;
        self.progressed();
        Ok(())
    }

    /// Fills the pipe with what the producer's socket has, and returns how many bytes that is: 0 also at
    /// the end of the stream, which only a receive can tell from a pause.
    fn fill(&mut self) -> Result<usize, Cause> {
        let source = &mut self.source;
        let pipe = source.pipe.as_mut().expect("got before");
        let left = source.request.decoder.payload_left();
        let left = usize::try_from(left).unwrap_or(usize::MAX);
        let room = source.budget.bytes().min(left);
        match pipe.fill(&source.conn.transport, room) {
            Spliced::Bytes(bytes) => {
                source.budget.spend(bytes, room);
                source.request.decoder.took(bytes as u64);
                self.count(Path::Spliced, bytes as u64);
                self.progressed();
                Ok(bytes)
            }
            Spliced::Nothing | Spliced::End => {
                source.budget.spend(0, room);
                Ok(0)
            }
            Spliced::PeerGone => Err(Cause::ProducerLeft),
        }
    }

    /// Receives and sends on what `splice` left on a readable socket. The kernel does not splice a byte
    /// sent as urgent, nor any after it, until that byte is received; meanwhile the socket stays
    /// readable (`tcp(7)`), so waiting for it would spin.
    async fn copy_unspliced(&mut self) -> Result<(), Cause> {
        self.receive_unspliced()?;
        self.send_unsent().await
    }

    fn receive_unspliced(&mut self) -> Result<(), Cause> {
        let shard = Rc::clone(&self.session.shard);
        let mut scratch = shard.scratch.borrow_mut();
        let left = usize::try_from(self.source.request.decoder.payload_left());
        let left = left.unwrap_or(usize::MAX);
        let buffer = &mut scratch[..left.min(limits::COPY_BYTES)];
        match self.source.conn.transport.receive(buffer) {
            Received::Nothing => Ok(()),
            Received::End | Received::PeerGone => Err(Cause::ProducerLeft),
            Received::Bytes(bytes) => {
                self.source.request.decoder.took(bytes as u64);
                self.count(Path::Copied, bytes as u64);
                let sink = self.sink();
                sink.out.encoder.passed(bytes as u64);
                let (payload, to) = (&buffer[..bytes], &sink.session.conn.transport);
                sink.out.send_parts(to, [b"", payload, b""], false)?;
                self.progressed();
                Ok(())
            }
        }
    }

    /// Empties the pipe into the consumer's socket; what stands still, into the outbox.
    async fn drain(&mut self) -> Result<(), Cause> {
        let more = self.source.budget.reads_on() && !self.source.request.is_whole();
        while let Some(pipe) = self.source.pipe.as_mut().filter(|pipe| pipe.held() > 0) {
            let sink = &mut self.sinks[0];
            match pipe.drain(&sink.session.conn.transport, more) {
                Spliced::Bytes(bytes) => {
                    sink.out.encoder.passed(bytes as u64);
                    sink.out.set_corked(more);
                    self.progressed();
                }
                Spliced::Nothing => self.writable().await?,
                Spliced::End | Spliced::PeerGone => return Err(Cause::ConsumerLeft),
            }
        }
        Ok(())
    }

    /// Called before a wait. A pipe whose body has stood still for [`limits::PIPE_STILL_TIME`] is given
    /// back, and what is in it goes to the outbox. Returns whether it was.
    pub(super) fn gave_pipe_back(&mut self) -> bool {
        if self.source.pipe.is_none() {
            return false;
        }
        let idle = self.idle_until.get();
        let gave = self.source.conn.deadline.is_over(Due::Pipe) && self.empty_pipe();
        let (due, until) = if gave {
            (Due::Idle, idle)
        } else {
            let still = self.session.shard.clock.deadline(limits::PIPE_STILL_TIME);
            first_limit(still, idle)
        };
        self.session.limit_until(due, until);
        gave
    }

    /// Gives the pipe back, unless the shard keeps too much already.
    fn empty_pipe(&mut self) -> bool {
        let out = &mut self.sinks[0].out;
        let Some(pipe) = &mut self.source.pipe else {
            return false;
        };
        if pipe.held() > 0 {
            let Some(emptied) = pipe.empty() else {
                return false;
            };
            out.encoder.passed(emptied.bytes().len() as u64);
            out.keep_unsent(emptied.bytes().clone());
            self.emptied = Some(emptied);
        }
        self.source.pipe = None;
        true
    }
}

/// Of an exchange that keeps its pipe until `still` and may stand still until `idle`.
fn first_limit(still: Moment, idle: Moment) -> (Due, Moment) {
    if still < idle {
        (Due::Pipe, still)
    } else {
        (Due::Idle, idle)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_pipe_that_is_kept_never_takes_the_limit_of_its_exchange_away() {
        const STILL: Moment = Moment::BEGINNING.after(Duration::from_secs(2));
        for (idle, expected) in [
            (Moment::NEVER, (Due::Pipe, STILL)),
            (STILL.after(Duration::from_millis(1)), (Due::Pipe, STILL)),
            (STILL, (Due::Idle, STILL)),
            (Moment::BEGINNING, (Due::Idle, Moment::BEGINNING)),
        ] {
            assert_eq!(first_limit(STILL, idle), expected);
        }
    }
}
