//! A body where none belongs: read and dropped, so that the connection can go on.

use std::rc::Rc;

use super::Target;
use crate::{
    conn::{Conn, Step},
    exchange::transfer,
    http::{
        head::{BodyLength, RequestHead},
        reply::Persistence,
    },
    limits,
    model::{refusal::Refusal, request::ProducerRequest},
    shard::{Shard, session},
};

/// Reads the body of a request that takes none, up to 64 KiB, and answers the request then.
pub fn drop_body(target: &Target<'_>) -> Step {
    if matches!(target.head.body, BodyLength::Exact(bytes) if bytes > limits::DROPPED_BODY_BYTES_MAX)
    {
        return target.refuse(&Refusal::BODY_UNWANTED);
    }
    match ProducerRequest::new(target.head, target.bytes) {
        Ok(request) => {
            let (shard, conn) = (Rc::clone(target.shard), Rc::clone(target.conn));
            Step::Work(Box::pin(read_and_drop(shard, conn, request)))
        }
        Err(error) => target.refuse(&Refusal::from(error)),
    }
}

async fn read_and_drop(shard: Rc<Shard>, conn: Rc<Conn>, mut request: ProducerRequest) -> Step {
    conn.deadline
        .set(shard.clock.deadline(shard.config().timeouts.header));
    if let Err(refusal) = read_body(&shard, &conn, &mut request).await {
        let asked = Persistence::of(&request.head);
        let refusal = if refusal == Refusal::STALLED {
            Refusal::BODY_TOO_SLOW
        } else {
            refusal
        };
        return session::refuse(&shard, &conn, asked, true, &refusal);
    }
    let head = RequestHead {
        body: BodyLength::Exact(0),
        ..request.head
    };
    let mut bytes = request.head_bytes().to_vec();
    bytes.extend_from_slice(&request.take_rest());
    super::dispatch(&Target {
        shard: &shard,
        conn: &conn,
        head: &head,
        bytes: &bytes,
        held: None,
    })
}

async fn read_body(
    shard: &Shard,
    conn: &Conn,
    request: &mut ProducerRequest,
) -> Result<(), Refusal> {
    let mut dropped = 0;
    transfer::ask_for_body(conn, request).await?;
    loop {
        dropped += request.payload().len() as u64;
        request.drop_payload();
        if dropped > limits::DROPPED_BODY_BYTES_MAX {
            return Err(Refusal::BODY_UNWANTED);
        }
        if request.is_whole() {
            return Ok(());
        }
        transfer::read_more(shard, conn, request).await?;
    }
}
