//! Listings and metrics: every shard is asked for its share, and the shares are put together.
//!
//! A listing may be megabytes, and no shard may stand still for it: shares are collected in slices,
//! sorted and written out by the scribe, and sent in slices. The longest turns of a listing of
//! 100,000 channels are measured by `benches/micro.rs`, in `listings`.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use super::Target;
use crate::{
    conn::{Conn, Step},
    http::reply::Persistence,
    io::clock::Moment,
    limits,
    model::refusal::{Refusal, Status},
    observe::{counters::Snapshot, process::Process},
    shard::{
        Listing, Shard,
        mesh::{Answer, Document, Question},
        scribe::Form,
        session,
    },
};

const JSON: &str = "application/json";

/// Asks all shards `question` and answers with what `form` makes of their answers.
pub fn ask(target: &Target<'_>, question: Question, form: Form) -> Step {
    let (shard, conn) = (Rc::clone(target.shard), Rc::clone(target.conn));
    let Some(listing) = shard.begin_listing() else {
        return target.refuse(&Refusal::TOO_MANY_LISTINGS);
    };
    Step::Work(Box::pin(gather(
        shard,
        conn,
        target.persistence(),
        question,
        form,
        listing,
    )))
}

async fn gather(
    shard: Rc<Shard>,
    conn: Rc<Conn>,
    asked: Persistence,
    question: Question,
    form: Form,
    _until_sent: Listing,
) -> Step {
    // The time that is left of its head's, or of its last pause, is no limit for the shards.
    conn.deadline.set(Moment::NEVER);
    let mut answers = shard.ask_others(&question).await;
    answers.push(match &question {
        Question::Metrics => Answer::Metrics(Box::new(shard.snapshot())),
        Question::Channels(namespace) => {
            Answer::Channels(own_channels(&shard, namespace.as_deref()).await)
        }
        Question::DeleteNamespace(_) => unreachable!("nothing is listed there"),
    });
    let document = match question {
        // A page or two, and nobody should wait for them behind somebody's listing.
        Question::Metrics => form(answers),
        _ => shard.write_out(answers, form).await,
    };
    let step = match document {
        Ok((media_type, body)) if body.len() > limits::COPY_BYTES => {
            session::long_document(&shard, &conn, asked, Status::Ok, media_type, body)
        }
        Ok((media_type, body)) => {
            session::document(&shard, &conn, asked, Status::Ok, media_type, &body)
        }
        Err(refusal) => session::refuse(&shard, &conn, asked, false, &refusal),
    };
    match step {
        Step::Work(send_rest) => send_rest.await,
        step => step,
    }
}

/// This shard's channels, of one namespace or of all, as pairs of namespace and name. Other work
/// gets its turn in between, so what comes and goes meanwhile may or may not be among them.
pub async fn own_channels(shard: &Shard, namespace: Option<&str>) -> Vec<(String, String)> {
    // Room for all at once: to move megabytes into a larger place would make a long turn.
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
            shard.turn().await;
        }
    }
    found
}

fn pairs(answers: Vec<Answer>) -> impl Iterator<Item = (String, String)> {
    answers.into_iter().flat_map(|answer| match answer {
        Answer::Channels(pairs) => pairs,
        Answer::Deleted(_) | Answer::Metrics(_) | Answer::Written(_) => Vec::new(),
    })
}

fn json(value: impl Into<serde_json::Value>) -> Document {
    Ok((JSON, value.into().to_string().into_bytes()))
}

/// The namespaces in use, sorted.
pub fn namespaces(answers: Vec<Answer>) -> Document {
    let names: BTreeSet<String> = pairs(answers).map(|(namespace, _)| namespace).collect();
    json(Vec::from_iter(names))
}

/// The channels in use of the one namespace that was asked for, sorted.
pub fn channels(answers: Vec<Answer>) -> Document {
    let names: BTreeSet<String> = pairs(answers).map(|(_, name)| name).collect();
    if names.is_empty() {
        Err(Refusal::NOT_IN_USE)
    } else {
        json(Vec::from_iter(names))
    }
}

/// Every namespace in use with its channels, sorted.
pub fn state(answers: Vec<Answer>) -> Document {
    let mut state = BTreeMap::<String, BTreeSet<String>>::new();
    for (namespace, name) in pairs(answers) {
        state.entry(namespace).or_default().insert(name);
    }
    let object = state
        .into_iter()
        .map(|(namespace, names)| (namespace, Vec::from_iter(names).into()));
    json(serde_json::Map::from_iter(object))
}

/// The sum of all counters, in the text format that Prometheus reads.
pub fn metrics(answers: Vec<Answer>) -> Document {
    let mut sum = Snapshot::default();
    for answer in answers {
        if let Answer::Metrics(share) = answer {
            sum.add(&share);
        }
    }
    Ok((
        Snapshot::MEDIA_TYPE,
        sum.to_text(Process::look()).into_bytes(),
    ))
}
