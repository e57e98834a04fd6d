//! `DELETE`: destroys a channel, or every channel of a namespace.

use std::rc::Rc;

use super::Target;
use crate::{
    conn::{Conn, Step},
    exchange::waiting,
    http::reply::Persistence,
    io::clock::Moment,
    limits,
    model::{refusal::Refusal, route::ChannelName},
    shard::{
        Shard,
        mesh::{Answer, Question},
        session,
    },
};

/// Destroys a channel that this shard owns.
pub fn channel(target: &Target<'_>, hash: u64, name: &ChannelName<'_>) -> Step {
    let shard = target.shard;
    let found = shard
        .registry
        .borrow()
        .find(hash, &name.namespace, &name.channel);
    let Some(channel) = found else {
        return target.refuse(&Refusal::NOT_IN_USE);
    };
    target.keep_rest_of_bodiless();
    let evicted = waiting::destroy(shard, &[channel]);
    let (shard, conn) = (Rc::clone(shard), Rc::clone(target.conn));
    let asked = target.persistence();
    conn.deadline.set(Moment::NEVER);
    Step::Work(Box::pin(async move {
        evicted.tell(&shard).await;
        session::no_content(&shard, &conn, asked, None)
    }))
}

/// Destroys every channel of `namespace`, on all shards.
pub fn namespace(target: &Target<'_>, namespace: String) -> Step {
    let (shard, conn) = (Rc::clone(target.shard), Rc::clone(target.conn));
    Step::Work(Box::pin(everywhere(
        shard,
        conn,
        target.persistence(),
        namespace,
    )))
}

async fn everywhere(
    shard: Rc<Shard>,
    conn: Rc<Conn>,
    asked: Persistence,
    namespace: String,
) -> Step {
    // The time that is left of its head's, or of its last pause, is no limit for the shards.
    conn.deadline.set(Moment::NEVER);
    let question = Question::DeleteNamespace(namespace.clone());
    let answers = shard.ask_others(&question).await;
    let elsewhere = answers.iter().map(|answer| match answer {
        Answer::Deleted(channels) => *channels,
        _ => 0,
    });
    match elsewhere.sum::<usize>() + own_channels(&shard, &namespace).await {
        0 => session::refuse(&shard, &conn, asked, false, &Refusal::NOT_IN_USE),
        _ => session::no_content(&shard, &conn, asked, None),
    }
}

/// Destroys this shard's channels of `namespace` and returns how many they were. Other work gets its
/// turn in between, so a channel that is made meanwhile may or may not be among them.
pub async fn own_channels(shard: &Rc<Shard>, namespace: &str) -> usize {
    let mut destroyed = 0;
    let mut cursor = Some(0);
    while let Some(from) = cursor {
        let mut doomed = Vec::new();
        cursor = shard
            .registry
            .borrow()
            .list_from(from, limits::LISTED_AT_ONCE, |id, of, _| {
                if of == namespace {
                    doomed.push(id);
                }
            });
        destroyed += doomed.len();
        waiting::destroy(shard, &doomed).tell(shard).await;
        shard.turn().await;
    }
    destroyed
}
