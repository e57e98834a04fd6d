//! A request that takes a body: meets a producer that waits, or joins the queue of its channel.

use super::Target;
use crate::{
    conn::{Close, Party, Step},
    exchange::{self, Met, Offer, waiting},
    http::reply::Persistence,
    model::{refusal::Refusal, registry::ChannelId, request::ConsumerRequest, route::ChannelName},
    shard::session,
};

/// `GET` on a channel that this shard owns.
pub fn consume(target: &Target<'_>, hash: u64, name: &ChannelName<'_>) -> Step {
    let opened = target
        .shard
        .registry
        .borrow_mut()
        .open(hash, &name.namespace, &name.channel);
    match opened {
        Ok(channel) => meet_or_wait(target, channel),
        Err(full) => target.refuse(&Refusal::from(full)),
    }
}

fn meet_or_wait(target: &Target<'_>, channel: ChannelId) -> Step {
    let &Target { shard, conn, .. } = target;
    conn.wait_until
        .set(shard.clock.deadline_if(shard.config().timeouts.request));
    let wanted = ConsumerRequest::new(target.head);
    let Some((producer, request)) = waiting::take_producer(shard, channel) else {
        return match waiting::join(shard, channel, conn, Party::Consumer(wanted)) {
            Ok(()) => {
                target.keep_rest_of_bodiless();
                Step::Wait
            }
            Err((full, _)) => target.refuse(&Refusal::from(full)),
        };
    };
    target.keep_rest_of_bodiless();
    match exchange::meet(
        shard,
        channel,
        &producer,
        Offer::Kept(request),
        conn,
        wanted,
    ) {
        Met::UnderWay(step) => {
            producer.hand(step);
            Step::Wait
        }
        Met::ConsumerLeft(offer) => {
            waiting::rejoin(
                shard,
                channel,
                &producer,
                Party::Producer(offer.into_request()),
            );
            Step::Close(Close::Now)
        }
        Met::Delivered(offer, next) => {
            shard.registry.borrow_mut().close_if_unused(channel);
            let mut request = offer.into_request();
            producer.keep_unread(request.take_rest());
            producer.hand(session::delivered(
                shard,
                &producer,
                Persistence::of(&request.head),
            ));
            next
        }
    }
}
