//! A request that brings a body.

use super::target::Target;
use crate::{
    conn::step::Step,
    exchange::{
        matching::{self, Arriving},
        offer::Offer,
    },
    model::{refusal::Refusal, request::ProducerRequest, route::ChannelName},
};

/// `POST` or `PUT` on a channel that this shard owns.
pub fn produce(target: &Target<'_>, hash: u64, name: &ChannelName<'_>) -> Step {
    let offer = match offer(target) {
        Ok(offer) => offer,
        Err(refusal) => return target.refuse(&refusal),
    };
    match target.open_channel(hash, name) {
        Ok(channel) => matching::arrive(target.session, channel, Arriving::Producer(offer)),
        Err(refused) => refused,
    }
}

fn offer<'a>(target: &Target<'a>) -> Result<Offer<'a>, Refusal> {
    let &Target {
        head, bytes, held, ..
    } = target;
    match target.whole_bytes() {
        Some(end) => Ok(Offer::Arriving {
            head,
            bytes,
            held,
            end,
        }),
        None => Ok(Offer::Kept(Box::new(ProducerRequest::new(head, bytes)?))),
    }
}
