//! Moving payload through a pipe, from socket to socket, without a copy.
//!
//! The only place that splices. A direct non-blocking `splice(2)` behind a wait for readiness:
//! `IORING_OP_SPLICE` would go to a kernel thread each time.

use std::rc::Rc;

use super::{Broken, OutChunk, Transfer};
use crate::{
    http::reply::Framing,
    io::{
        low_water::LowWater,
        pipe::{Pipe, Spliced},
        socket::Received,
    },
    limits,
    observe::counters::Path,
};

impl Transfer {
    /// Whether the payload that is known to follow is long enough to be spliced, and there is a pipe
    /// for it.
    pub(super) fn will_splice(&mut self) -> bool {
        if self.request.decoder.payload_left() < limits::SPLICE_BYTES_MIN {
            return false;
        }
        if self.pipe.is_none() {
            self.pipe = self.shard.pipes.get();
        }
        self.pipe.is_some()
    }

    /// Announces the payload that is to be spliced, where the consumer's framing asks for that.
    pub(super) async fn promise_payload(&mut self, framing: Framing) -> Result<(), Broken> {
        if framing == Framing::Chunked && self.out_chunk != OutChunk::Promised {
            self.send_payload(b"", framing)?;
            self.send_unsent().await?;
        }
        Ok(())
    }

    /// Moves all payload that is known to follow through the pipe.
    pub(super) async fn splice_payload(&mut self) -> Result<(), Broken> {
        let Some(mut pipe) = self.pipe.take() else {
            return Ok(());
        };
        let mut low_water = LowWater::new(&self.shard.low_waters);
        self.producer.bulky.set(true);
        while self.request.decoder.payload_left() > 0 {
            let waits = !self.pace.goes_on();
            self.producer_readable().await?;
            let filled = self.fill(&mut pipe)?;
            if filled == 0 && waits {
                self.copy_unspliced().await?;
            }
            if self.producer.socket.has_low_water() {
                let left = self.request.decoder.payload_left();
                low_water.adjust(|| Rc::clone(&self.producer), filled, left);
            }
            self.drain(&mut pipe).await?;
        }
        if self.out_chunk == OutChunk::Promised {
            self.out_chunk = OutChunk::Owed;
        }
        self.pipe = Some(pipe);
        Ok(())
    }

    /// Fills the pipe with what the producer's socket has, and returns how many bytes that is. None at
    /// the end of the stream either: whether there is one, a receive says.
    fn fill(&mut self, pipe: &mut Pipe) -> Result<usize, Broken> {
        let left = self.request.decoder.payload_left();
        let room = self
            .pace
            .turn_left
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        match pipe.fill(&self.producer.socket, room) {
            Spliced::Bytes(bytes) => {
                self.pace.moved(bytes, room);
                self.request.decoder.took(bytes as u64);
                self.count(Path::Spliced, bytes as u64);
                self.progressed();
                Ok(bytes)
            }
            Spliced::Nothing | Spliced::End => {
                self.pace.moved(0, room);
                Ok(0)
            }
            Spliced::PeerGone => Err(Broken::ProducerLeft),
        }
    }

    /// Receives and sends on what is there although there was nothing to splice: the kernel splices no
    /// byte that its sender marked as urgent, nor any behind it, until that one was received, and says
    /// all the while that the socket is readable (`tcp(7)`). To wait for it again would be to spin.
    async fn copy_unspliced(&mut self) -> Result<(), Broken> {
        self.receive_unspliced()?;
        self.send_unsent().await
    }

    fn receive_unspliced(&mut self) -> Result<(), Broken> {
        let shard = Rc::clone(&self.shard);
        let mut scratch = shard.scratch.borrow_mut();
        let left = usize::try_from(self.request.decoder.payload_left()).unwrap_or(usize::MAX);
        let buffer = &mut scratch[..left.min(limits::COPY_BYTES)];
        match self.producer.socket.receive(buffer) {
            Received::Nothing => Ok(()),
            Received::End | Received::PeerGone => Err(Broken::ProducerLeft),
            Received::Bytes(bytes) => {
                self.request.decoder.took(bytes as u64);
                self.count(Path::Copied, bytes as u64);
                self.send_parts(&[&buffer[..bytes]], false)
            }
        }
    }

    /// Empties the pipe into the consumer's socket.
    async fn drain(&mut self, pipe: &mut Pipe) -> Result<(), Broken> {
        let more = self.pace.goes_on() && !self.request.is_whole();
        while pipe.held() > 0 {
            match pipe.drain(&self.consumer.socket, more) {
                Spliced::Bytes(_) => {
                    self.corked.set(more);
                    self.progressed();
                }
                Spliced::Nothing => self.consumer_writable().await?,
                Spliced::End | Spliced::PeerGone => return Err(Broken::ConsumerLeft),
            }
        }
        Ok(())
    }
}
