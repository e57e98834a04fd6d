//! `DELETE`: destroys a channel, or every channel of a namespace.

use super::{own_share::ask_all, target::Target};
use crate::{
    conn::step::Step,
    exchange::waiting,
    http::reply::Persistence,
    model::{refusal::Refusal, reply::Reply, route::ChannelName},
    shard::{
        mesh::{Answer, Question},
        session::Session,
    },
};

/// Destroys a channel that this shard owns.
pub fn channel(target: &Target<'_>, hash: u64, name: &ChannelName<'_>) -> Step {
    let shard = &target.session.shard;
    let found = shard
        .registry
        .borrow()
        .find(hash, &name.namespace, &name.channel);
    if found.is_none() {
        return target.refuse(&Refusal::NOT_IN_USE);
    }
    target.keep_rest();
    let (session, asked) = (target.session.clone(), target.persistence());
    session.conn.deadline.lift();
    let (namespace, name) = (name.namespace.to_string(), name.channel.to_string());
    Step::work(async move {
        waiting::delete(&session.shard, &namespace, &name, &mut 0).await;
        Step::Reply(Reply::no_content(asked, None))
    })
}

/// Destroys every channel of `namespace`, on all shards.
pub fn namespace(target: &Target<'_>, namespace: String) -> Step {
    Step::work(everywhere(
        target.session.clone(),
        target.persistence(),
        namespace,
    ))
}

async fn everywhere(session: Session, asked: Persistence, namespace: String) -> Step {
    // The rest of the header or keep-alive timeout must not limit the wait for the shards.
    session.conn.deadline.lift();
    let question = Question::DeleteNamespace(namespace);
    let answers = ask_all(&session.shard, &question).await;
    let destroyed = answers.iter().map(|answer| match answer {
        Answer::Deleted(channels) => *channels,
        _ => unreachable!("the answer to another question"),
    });
    Step::Reply(match destroyed.sum::<usize>() {
        0 => Reply::refuse(asked, &Refusal::NOT_IN_USE),
        _ => Reply::no_content(asked, None),
    })
}
