//! Questions to all shards, and each shard's own share of the answer. A shard answers without asking a
//! third, so waits cannot form a cycle.

use std::rc::Rc;

use crate::{
    exchange::waiting,
    limits,
    shard::{
        Shard,
        mesh::{Answer, Question},
    },
};

/// Puts `question` to every shard, this one included, and returns all answers.
pub async fn ask_all(shard: &Rc<Shard>, question: &Question) -> Vec<Answer> {
    let mut answers = shard.questions.ask_others(question).await;
    answers.push(own_share(shard, question).await);
    answers
}

/// This shard's share of the answer to `question`.
pub async fn own_share(shard: &Rc<Shard>, question: &Question) -> Answer {
    match question {
        Question::Channels(namespace) => {
            Answer::Channels(channels(shard, namespace.as_deref()).await)
        }
        Question::DeleteNamespace(namespace) => {
            Answer::Deleted(delete_namespace(shard, namespace).await)
        }
        Question::Metrics => Answer::Metrics(Box::new(shard.snapshot())),
    }
}

/// This shard's channels, of one namespace or of all, as pairs of namespace and name. Other work
/// runs in between, so channels that open or close meanwhile may be missing.
async fn channels(shard: &Shard, namespace: Option<&str>) -> Vec<(String, String)> {
    // Room for all from the start: moving megabytes when the vector grows would make a long turn.
    let mut found = Vec::with_capacity(shard.registry.borrow().channels());
    let mut cursor = Some(0);
    while let Some(from) = cursor {
        cursor = shard
            .registry
            .borrow()
            .list_from(from, limits::LISTED_AT_ONCE, |_, of, name| {
                if namespace.is_none_or(|namespace| namespace == of) {
                    found.push((of.to_owned(), name.to_owned()));
                }
            });
        if cursor.is_some() {
            shard.yield_now().await;
        }
    }
    found
}

/// Destroys this shard's channels of `namespace` and returns their number. Other tasks run in
/// between, so a channel that is made meanwhile may or may not be among them.
async fn delete_namespace(shard: &Rc<Shard>, namespace: &str) -> usize {
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
        shard.yield_now().await;
    }
    destroyed
}
