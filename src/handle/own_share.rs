//! Questions to all shards, and each shard's own share of the answer. A shard gives its share without
//! asking another one, so waits cannot form a cycle.

use std::rc::Rc;

use crate::{
    exchange::waiting,
    limits,
    model::names::Names,
    shard::{
        Shard,
        mesh::{Answer, Question, Subject},
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
        Question::Share(Subject::State) => {
            Answer::Names(names(shard, |names, of, name| names.push_pair(of, name)).await)
        }
        Question::Share(Subject::Namespaces) => {
            Answer::Names(names(shard, |names, of, _| names.push(of)).await)
        }
        Question::Share(Subject::Namespace(namespace)) => {
            let push = |names: &mut Names, of: &str, name: &str| {
                if of == namespace {
                    names.push(name);
                }
            };
            Answer::Names(names(shard, push).await)
        }
        Question::Share(Subject::Metrics) => Answer::Metrics(Box::new(shard.snapshot())),
        Question::DeleteNamespace(namespace) => {
            Answer::Deleted(delete_namespace(shard, namespace).await)
        }
        Question::Document(_) => unreachable!("a document has no shares of its own"),
    }
}

/// What `push` takes of each of this shard's channels. Other work runs in between, so channels that
/// open or close meanwhile may be missing.
async fn names(shard: &Shard, push: impl Fn(&mut Names, &str, &str)) -> Vec<Names> {
    // A piece for each turn: to move megabytes into a larger place would make a long turn.
    let mut found = Vec::new();
    let mut cursor = Some(0);
    while let Some(from) = cursor {
        let mut names = Names::default();
        cursor = shard
            .registry
            .borrow()
            .list_from(from, limits::LISTED_AT_ONCE, |_, of, name| {
                push(&mut names, of, name);
            });
        found.push(names);
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
