//! Moving payload through the shard's buffer: for every framing, and where splicing does not pay.

use std::rc::Rc;

use super::Exchange;
use crate::{
    http::{
        encode::Framing,
        reframe::{Reframed, reframe},
    },
    io::socket::Received,
    model::verdict::Cause,
    observe::counters::Path,
};

impl Exchange {
    /// Receives one piece of the body, at most `bytes_max` long, as soon as there is one, and sends its
    /// payload on.
    pub(super) async fn copy(&mut self, bytes_max: usize) -> Result<(), Cause> {
        self.readable().await?;
        let shard = Rc::clone(&self.session.shard);
        let mut scratch = shard.scratch.borrow_mut();
        let buffer = &mut scratch[..bytes_max];
        match self.source.conn.transport.receive(buffer) {
            Received::Nothing => {
                self.source.budget.spend(0, bytes_max);
                Ok(())
            }
            Received::End | Received::PeerGone => Err(Cause::ProducerLeft),
            Received::Bytes(bytes) => {
                self.source.budget.spend(bytes, bytes_max);
                self.pass_on(&mut buffer[..bytes])?;
                self.source.adjust_low_water();
                Ok(())
            }
        }
    }

    /// Sends on the payload of what was received, framed for the consumer.
    fn pass_on(&mut self, received: &mut [u8]) -> Result<(), Cause> {
        let encoder = &mut self.sinks[0].out.encoder;
        let request = &mut self.source.request;
        let reframed = reframe(&mut request.decoder, encoder, received).map_err(Cause::BadBody)?;
        request.keep_rest(&received[reframed.rest..]);
        let splices = self.splices();
        self.count(Path::Copied, reframed.payload as u64);
        self.send_reframed(&reframed, &received[reframed.piece.clone()], splices)?;
        let framing = received.len() - reframed.payload;
        self.source
            .learn_chunk_head(framing, reframed.payload, splices);
        Ok(())
    }

    /// `splices`: payload to splice follows. Its chunk's head brings the end of the chunk before it.
    fn send_reframed(
        &mut self,
        reframed: &Reframed,
        piece: &[u8],
        splices: bool,
    ) -> Result<(), Cause> {
        let decoder = &self.source.request.decoder;
        let (last, behind_payload) = (decoder.is_end(), decoder.is_behind_payload());
        let sink = self.sink();
        let back = if splices || behind_payload {
            b""
        } else {
            sink.out.encoder.close(last)
        };
        let more = splices && sink.framing() == Framing::Chunked;
        let to = &sink.session.conn.transport;
        sink.out
            .send_parts(to, [reframed.front.as_bytes(), piece, back], more)?;
        // Framing from the producer without payload is no progress.
        if reframed.payload > 0 || last {
            self.progressed();
        }
        Ok(())
    }
}
