//! Moving payload through the shard's buffer: for every framing, and where splicing does not pay.

use super::{Broken, Transfer};
use crate::{
    http::{body::BodyDecoder, reply::Framing},
    limits,
    metrics::Path,
    socket::Received,
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
            BodyDecoder::Chunked(_) if self.pipe.is_some() => limits::CHUNK_HEAD_READ_BYTES,
            BodyDecoder::Chunked(_) => usize::MAX,
        };
        let buffer = &mut scratch[..wanted.min(limits::COPY_BYTES)];
        match self.producer.socket.receive(buffer) {
            Received::Nothing => Ok(()),
            Received::End | Received::PeerGone => Err(Broken::ProducerLeft),
            Received::Bytes(bytes) => {
                let stripped = self.request.decoder.strip(&mut buffer[..bytes])?;
                self.request.keep_rest(&buffer[stripped.rest..bytes]);
                self.shard
                    .counters
                    .moved(Path::Copied, stripped.payload as u64);
                self.send_payload(&buffer[..stripped.payload], framing)?;
                if stripped.payload > 0 && !self.will_splice() {
                    // The chunks have become small: they are received many at a time.
                    self.pipe = None;
                }
                Ok(())
            }
        }
    }
}
