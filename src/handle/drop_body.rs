//! A body where none belongs: read and dropped, so that the connection can go on.

use super::target::Target;
use crate::{
    conn::{deadline::Due, step::Step},
    exchange::source::{ask_for_body, read_more},
    http::{
        head::{BodyLength, RequestHead},
        reply::Persistence,
    },
    limits,
    model::{refusal::Refusal, reply::Reply, request::ProducerRequest, verdict::Cause},
    shard::session::Session,
};

/// Reads the body of a request that takes none, up to 64 KiB, then calls `decide`.
pub fn drop_body(target: &Target<'_>, decide: fn(&Target<'_>) -> Step) -> Step {
    if matches!(target.head.body, BodyLength::Exact(bytes) if bytes > limits::DROPPED_BODY_BYTES_MAX)
    {
        return target.refuse(&Refusal::BODY_UNWANTED);
    }
    match ProducerRequest::new(target.head, target.bytes) {
        Ok(request) => Step::work(read_and_drop(target.session.clone(), request, decide)),
        Err(error) => target.refuse(&Refusal::from(error)),
    }
}

async fn read_and_drop(
    session: Session,
    mut request: ProducerRequest,
    decide: fn(&Target<'_>) -> Step,
) -> Step {
    session.limit(Due::Idle, session.shard.config().timeouts.header);
    if let Err(refusal) = read_body(&session, &mut request).await {
        let asked = Persistence::of(&request.head);
        let reply = Reply::refuse(asked, &refusal).closing_if(true);
        return Step::Reply(reply.to(request.head.method));
    }
    let head = RequestHead {
        body: BodyLength::Exact(0),
        ..request.head
    };
    let mut bytes = request.head_bytes().to_vec();
    bytes.extend_from_slice(&request.take_rest());
    decide(&Target {
        session: &session,
        head: &head,
        bytes: &bytes,
        held: None,
    })
}

async fn read_body(session: &Session, request: &mut ProducerRequest) -> Result<(), Refusal> {
    let mut dropped = 0;
    ask_for_body(session, request).await.map_err(refusal)?;
    loop {
        dropped += request.payload().len() as u64;
        request.drop_payload();
        if dropped > limits::DROPPED_BODY_BYTES_MAX {
            return Err(Refusal::BODY_UNWANTED);
        }
        if request.is_whole() {
            return Ok(());
        }
        read_more(session, request).await.map_err(refusal)?;
    }
}

/// The response if the body does not arrive whole.
fn refusal(cause: Cause) -> Refusal {
    match cause {
        Cause::ProducerLeft => Refusal::BODY_CUT,
        Cause::BadBody(error) => Refusal::bad_body(error),
        Cause::Expired => Refusal::BODY_TOO_SLOW,
        Cause::Drained => Refusal::DRAINED,
        Cause::ConsumerLeft
        | Cause::ConsumerStalled
        | Cause::CutUnseen
        | Cause::Deleted
        | Cause::Panicked => unreachable!("no exchange is under way"),
    }
}
