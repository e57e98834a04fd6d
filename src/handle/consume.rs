//! A request that takes a body.

use super::target::Target;
use crate::{
    conn::step::Step,
    exchange::matching::{self, Arriving},
    model::{refusal::Refusal, request::ConsumerRequest, route::ChannelName},
};

/// `GET` on a channel that this shard owns.
pub fn consume(target: &Target<'_>, hash: u64, name: &ChannelName<'_>) -> Step {
    let opened =
        target
            .session
            .shard
            .registry
            .borrow_mut()
            .open(hash, &name.namespace, &name.channel);
    match opened {
        Ok(channel) => {
            target.keep_rest();
            let want = ConsumerRequest::new(target.head);
            matching::arrive(target.session, channel, Arriving::Consumer(want))
        }
        Err(full) => target.refuse(&Refusal::from(full)),
    }
}
