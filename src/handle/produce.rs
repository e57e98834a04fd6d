//! A request that brings a body: meets a consumer that waits, or joins the queue of its channel.

use super::Target;
use crate::{
    conn::{Close, Party, Step},
    exchange::{self, Met, Offer, waiting},
    model::{refusal::Refusal, registry::ChannelId, request::ProducerRequest, route::ChannelName},
    shard::session,
};

/// `POST` or `PUT` on a channel that this shard owns.
pub fn produce(target: &Target<'_>, hash: u64, name: &ChannelName<'_>) -> Step {
    let offer = match offer(target) {
        Ok(offer) => offer,
        Err(refusal) => return target.refuse(&refusal),
    };
    let opened = target
        .shard
        .registry
        .borrow_mut()
        .open(hash, &name.namespace, &name.channel);
    match opened {
        Ok(channel) => meet_or_wait(target, channel, offer),
        Err(full) => target.refuse(&Refusal::from(full)),
    }
}

fn offer<'a>(target: &Target<'a>) -> Result<Offer<'a>, Refusal> {
    let &Target { head, bytes, .. } = target;
    match target.whole_bytes() {
        Some(end) => Ok(Offer::Arriving { head, bytes, end }),
        None => Ok(Offer::Kept(Box::new(ProducerRequest::new(head, bytes)?))),
    }
}

fn meet_or_wait(target: &Target<'_>, channel: ChannelId, mut offer: Offer<'_>) -> Step {
    let &Target { shard, conn, .. } = target;
    conn.wait_until
        .set(shard.clock.deadline_if(shard.config().timeouts.request));
    while let Some((consumer, wanted)) = waiting::take_consumer(shard, channel) {
        match exchange::meet(shard, channel, conn, offer, &consumer, wanted) {
            Met::UnderWay(step) => return step,
            Met::ConsumerLeft(again) => {
                consumer.hand(Step::Close(Close::Now));
                offer = again;
            }
            Met::Delivered(offer, next) => {
                consumer.hand(next);
                shard.registry.borrow_mut().close_if_unused(channel);
                keep_rest(target, offer);
                return session::delivered(shard, conn, target.persistence());
            }
        }
    }
    match waiting::join(shard, channel, conn, Party::Producer(offer.into_request())) {
        Ok(()) => Step::Wait,
        Err((full, _)) => target.refuse(&Refusal::from(full)),
    }
}

/// Keeps what was read behind the body for the next request.
fn keep_rest(target: &Target<'_>, offer: Offer<'_>) {
    match offer {
        Offer::Arriving { end, .. } => target.keep_rest(end),
        Offer::Kept(mut request) => target.conn.keep_unread(request.take_rest()),
    }
}
