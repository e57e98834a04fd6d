//! Small bodies. Each carries the number of its pair and turn, so that every one is verified.

use crate::client::target::Target;
use crate::error::Result;

pub const BODY_BYTES: usize = 100;

/// A complete producer's request; [`stamp`] its body before each use.
pub fn post(target: &Target, channel: &str) -> Vec<u8> {
    let mut request = target.post(channel, &format!("Content-Length: {BODY_BYTES}"));
    request.extend_from_slice(&[b'.'; BODY_BYTES]);
    request
}

/// Writes `pair` and `turn` into the body of a request.
pub fn stamp(request: &mut [u8], pair: usize, turn: u64) {
    let body = request.len() - BODY_BYTES;
    request[body..][..8].copy_from_slice(&(pair as u64).to_le_bytes());
    request[body + 8..][..8].copy_from_slice(&turn.to_le_bytes());
}

/// Fails unless `body` is the one that `pair` sent at `turn`.
pub fn verify(body: &[u8], pair: usize, turn: u64) -> Result<()> {
    let stamped = body.len() == BODY_BYTES
        && body[..8] == (pair as u64).to_le_bytes()
        && body[8..16] == turn.to_le_bytes()
        && body[16..].iter().all(|&byte| byte == b'.');
    if stamped {
        Ok(())
    } else {
        Err(format!("pair {pair} received a wrong body at turn {turn}").into())
    }
}
