//! Questions to all shards, and each shard's own share of the answer. A shard gives its share without
//! asking another one, so waits cannot form a cycle.

use std::rc::Rc;

use crate::{
    conn::ConnId,
    exchange::waiting,
    limits,
    model::{names::Names, registry::Registry},
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
        Question::Share(Subject::State) => Answer::Names(channels(shard).await),
        Question::Share(Subject::Namespaces) => Answer::Names(namespaces(shard).await),
        Question::Share(Subject::Namespace(namespace)) => {
            Answer::Names(channels_of(shard, namespace).await)
        }
        Question::Share(Subject::Metrics) => Answer::Metrics(Box::new(shard.snapshot())),
        Question::DeleteNamespace(namespace) => {
            Answer::Deleted(delete_namespace(shard, namespace).await)
        }
        Question::Document(_) => unreachable!("a document has no shares of its own"),
    }
}

/// This shard's channels, as pairs of namespace and name.
async fn channels(shard: &Shard) -> Vec<Names> {
    in_pieces(shard, 0, |registry, from, names| {
        registry.list_from(from, limits::LISTED_AT_ONCE, |_, namespace, name| {
            names.push_pair(namespace, name);
        })
    })
    .await
}

/// The namespaces of this shard's channels.
async fn namespaces(shard: &Shard) -> Vec<Names> {
    in_pieces(shard, 0, |registry, from, names| {
        registry.list_namespaces(from, limits::LISTED_AT_ONCE, |name| names.push(name))
    })
    .await
}

/// This shard's channels of one namespace.
async fn channels_of(shard: &Shard, namespace: &str) -> Vec<Names> {
    in_pieces(shard, usize::MAX, |registry, from, names| {
        let push = |_, name: &str| names.push(name);
        registry.list_namespace(namespace, from, limits::LISTED_AT_ONCE, push)
    })
    .await
}

/// What `step` lists from the cursor `first` on, a step a turn: to move megabytes into a larger place
/// would make a long turn, so each step has its own.
async fn in_pieces(
    shard: &Shard,
    first: usize,
    mut step: impl FnMut(&mut Registry<ConnId>, usize, &mut Names) -> Option<usize>,
) -> Vec<Names> {
    let mut pieces = Vec::new();
    let mut cursor = Some(first);
    while let Some(from) = cursor {
        let mut names = Names::default();
        cursor = step(&mut shard.registry.borrow_mut(), from, &mut names);
        pieces.push(names);
        if cursor.is_some() {
            shard.yield_now().await;
        }
    }
    pieces
}

/// Deletes this shard's channels of `namespace` and returns how many they were. Other tasks run in
/// between: a channel that opens meanwhile may be among them or stay.
async fn delete_namespace(shard: &Rc<Shard>, namespace: &str) -> usize {
    let (mut deleted, mut told) = (0, 0);
    let mut cursor = Some(usize::MAX);
    while let Some(from) = cursor {
        // By name: an id may be another channel's once other tasks have run.
        let mut names = Names::default();
        cursor = shard.registry.borrow_mut().list_namespace(
            namespace,
            from,
            limits::DELETED_AT_ONCE,
            |_, name| names.push(name),
        );
        for name in names.iter() {
            deleted += 1;
            waiting::delete(shard, namespace, name, &mut told).await;
        }
        if cursor.is_some() {
            shard.yield_now().await;
        }
    }
    deleted
}
