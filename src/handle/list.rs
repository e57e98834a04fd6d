//! Listings and metrics: every shard is asked for its share, and the shares are put together.
//!
//! A listing may be megabytes, and must not block a shard: shares are collected in slices,
//! sorted and written on a thread of the pool, and sent in slices. The longest turns of a listing of
//! 100,000 channels are measured by `benches/micro.rs`, in `listings`.

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::pin,
    rc::Rc,
};

use super::{own_share::ask_all, target::Target};
use crate::{
    conn::step::{Next, Step},
    http::{
        method::Method,
        reply::{MediaType, Persistence},
    },
    io::runtime,
    model::{refusal::Refusal, reply::Reply},
    observe::{counters::Snapshot, process::Process},
    shard::{
        Shard,
        listings::Listing,
        mesh::{Answer, Question},
        session::Session,
    },
};

/// A reply's media type and body, or why there is none.
pub type Document = Result<(MediaType, Vec<u8>), Refusal>;

/// Makes a document of the answers of all shards.
pub type Format = fn(Vec<Answer>) -> Document;

/// Asks all shards `question` and answers with what `format` makes of their answers. Metrics are a page
/// or two, and are not refused however many listings there are.
pub fn ask(target: &Target<'_>, question: Question, format: Format) -> Step {
    let listing = match question {
        Question::Metrics => None,
        _ => match target.session.shard.listings.begin() {
            None => return target.refuse(&Refusal::TOO_MANY_LISTINGS),
            listing => listing,
        },
    };
    Step::work(gather(
        target.session.clone(),
        (target.head.method, target.persistence()),
        question,
        format,
        listing,
    ))
}

async fn gather(
    session: Session,
    (method, asked): (Method, Persistence),
    question: Question,
    format: Format,
    _until_sent: Option<Listing>,
) -> Step {
    session.limit_reply();
    let document = pin!(document(&session.shard, question, format));
    let Ok(document) = session.conn.or_stopped(document).await else {
        return session.cut();
    };
    let reply = match document {
        Ok((media_type, body)) => Reply::document(asked, media_type, body.into()),
        Err(refusal) => Reply::refuse(asked, &refusal),
    };
    // Sent here, so that the listing counts until its last byte is sent.
    match session.say(reply.to(method)) {
        Next::Work(rest) => rest.await,
        next => Step::Next(next),
    }
}

async fn document(shard: &Rc<Shard>, question: Question, format: Format) -> Document {
    let answers = ask_all(shard, &question).await;
    match question {
        // Not worth a wait for the pool's thread.
        Question::Metrics => format(answers),
        _ => runtime::run_blocking(move || format(answers)).await,
    }
}

fn pairs(answers: Vec<Answer>) -> impl Iterator<Item = (String, String)> {
    answers.into_iter().flat_map(|answer| match answer {
        Answer::Channels(pairs) => pairs,
        Answer::Deleted(_) | Answer::Metrics(_) => unreachable!("the answer to another question"),
    })
}

fn json(value: impl Into<serde_json::Value>) -> Document {
    Ok((MediaType::Json, value.into().to_string().into_bytes()))
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
        MediaType::OpenMetrics,
        sum.into_text(Process::look()).into_bytes(),
    ))
}
