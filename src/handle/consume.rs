//! A request that takes a body.

use super::target::Target;
use crate::{
    conn::step::Step,
    exchange::matching::{self, Arriving},
    model::{request::ConsumerRequest, route::ChannelName},
};

/// `GET` on a channel that this shard owns.
pub fn consume(target: &Target<'_>, hash: u64, name: &ChannelName<'_>) -> Step {
    match target.open_channel(hash, name) {
        Ok(channel) => {
            target.keep_rest();
            let want = ConsumerRequest::new(target.head);
            matching::arrive(target.session, channel, Arriving::Consumer(want))
        }
        Err(refused) => refused,
    }
}
