//! Moving payload through the shard's buffer: for every framing, and where splicing does not pay.

use super::{Broken, Transfer};
use crate::{
    http::{decode::BodyDecoder, reply::Framing},
    io::socket::Received,
    limits,
    observe::counters::Path,
};

impl Transfer {
    /// Receives one piece of the body as soon as there is one and sends its payload on.
    pub(super) async fn copy_piece(&mut self, framing: Framing) -> Result<(), Broken> {
        self.producer_readable().await?;
        let shard = std::rc::Rc::clone(&self.shard);
        let mut scratch = shard.scratch.borrow_mut();
        let wanted = match self.request.decoder {
            // A declared length says where the next request begins: nothing of it is read here.
            BodyDecoder::Length(left) => usize::try_from(left).unwrap_or(usize::MAX),
            // Behind a chunk that was spliced, just the next one's head is wanted.
            BodyDecoder::Chunked(_) if self.pipe.is_some() => self.chunk_head_bytes,
            BodyDecoder::Chunked(_) => usize::MAX,
        };
        let buffer = &mut scratch[..wanted.min(limits::COPY_BYTES)];
        let asked = buffer.len();
        match self.producer.socket.receive(buffer) {
            Received::Nothing => {
                self.pace.moved(0, asked);
                Ok(())
            }
            Received::End | Received::PeerGone => Err(Broken::ProducerLeft),
            Received::Bytes(bytes) => {
                self.pace.moved(bytes, asked);
                self.pass_on(&mut buffer[..bytes], framing)
            }
        }
    }

    /// Sends on the payload of what was received.
    fn pass_on(&mut self, received: &mut [u8], framing: Framing) -> Result<(), Broken> {
        let stripped = self.request.decoder.strip(received)?;
        self.request.keep_rest(&received[stripped.rest..]);
        let payload = &received[..stripped.payload];
        self.count(Path::Copied, payload.len() as u64);
        self.send_payload(payload, framing)?;
        self.chunk_head_seen += received.len() - payload.len();
        if self.will_splice() {
            self.chunk_head_bytes = self.chunk_head_seen.clamp(1, limits::CHUNK_HEAD_READ_BYTES);
            self.chunk_head_seen = 0;
        } else if !payload.is_empty() {
            // The chunks have become small: they are received many at a time.
            self.pipe = None;
            self.chunk_head_seen = 0;
        }
        Ok(())
    }
}
