//! Moving payload through the shard's buffer: for every framing, and where splicing does not pay.

use std::rc::Rc;

use super::Exchange;
use crate::{io::socket::Received, model::verdict::Cause, observe::counters::Path};

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
                self.pass_on(&mut buffer[..bytes])
            }
        }
    }

    /// Sends on the payload of what was received.
    fn pass_on(&mut self, received: &mut [u8]) -> Result<(), Cause> {
        let request = &mut self.source.request;
        let stripped = request.decoder.strip(received).map_err(Cause::BadBody)?;
        request.keep_rest(&received[stripped.rest..]);
        let payload = &received[..stripped.payload];
        self.count(Path::Copied, payload.len() as u64);
        self.send_payload(payload)?;
        let framing = received.len() - payload.len();
        let splices = self.source.get_pipe(&self.session.shard.pipes);
        self.source
            .learn_chunk_head(framing, payload.len(), splices);
        Ok(())
    }
}
