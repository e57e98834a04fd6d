//! The desk: makes the documents that clients of all shards ask for, listings and metrics.
//!
//! A listing may be megabytes, and no shard may stand still for it: shares are collected in slices,
//! sorted and written on a thread of the pool, and sent in slices. The longest turns of a listing of
//! 100,000 channels are measured by `benches/micro.rs`, in `listings`.

use std::{panic::AssertUnwindSafe, rc::Rc};

use bytes::Bytes;
use futures_util::FutureExt;

use super::own_share::ask_all;
use crate::{
    http::reply::MediaType,
    io::runtime,
    limits,
    model::{names::Names, refusal::Refusal},
    observe::{counters::Snapshot, log, process::Process},
    shard::{
        Shard,
        listings::Asker,
        mesh::{Answer, Document, Mesh, Message, Question, Subject},
    },
};

/// The next document about `subject`; `None` if its making panicked.
pub async fn ask(shard: &Rc<Shard>, subject: Subject) -> Option<Document> {
    let from = shard.index;
    let put = |ticket| {
        if from == Mesh::DESK {
            return order(shard, subject, Asker { from, ticket });
        }
        let question = Question::Document(subject);
        let ask = Message::Ask {
            from,
            ticket,
            question,
        };
        shard.shared.mesh.send(Mesh::DESK, ask);
    };
    match shard.questions.ask_one(put).await {
        Answer::Document(document) => document,
        _ => unreachable!("the answer to another question"),
    }
}

/// `asker` gets the next document about `subject`.
pub fn order(shard: &Rc<Shard>, subject: Subject, asker: Asker) {
    if shard.listings.order(&subject, asker) {
        runtime::spawn(make(Rc::clone(shard), subject));
    }
}

/// Makes documents about `subject`, one after the other, as long as somebody asks.
async fn make(shard: Rc<Shard>, subject: Subject) {
    while let Some(askers) = shard.listings.take_askers(&subject) {
        let made = AssertUnwindSafe(document(&shard, &subject));
        let document = match made.catch_unwind().await {
            Ok(document) => Some(document),
            Err(panic) => {
                shard.counters.panics.add(1);
                let reason = log::reason(&*panic);
                tracing::error!("the making of a listing panicked: {reason}");
                None
            }
        };
        for Asker { from, ticket } in askers {
            let answer = Answer::Document(document.clone());
            if from == shard.index {
                shard.questions.answered(ticket, answer);
            } else {
                let answer = Message::Answer { ticket, answer };
                shard.shared.mesh.send(from, answer);
            }
        }
    }
}

async fn document(shard: &Rc<Shard>, subject: &Subject) -> Document {
    if *subject == Subject::Metrics {
        let text = metrics(ask_all(shard, &Question::Share(Subject::Metrics)).await);
        return Ok((MediaType::OpenMetrics, text));
    }
    if !shard.listings.has_room() {
        return Err(Refusal::TOO_MANY_LISTINGS);
    }
    let names = names(ask_all(shard, &Question::Share(subject.clone())).await);
    let write = match subject {
        Subject::State => state,
        Subject::Namespace(_) if names.is_empty() => return Err(Refusal::NOT_IN_USE),
        Subject::Namespace(_) | Subject::Namespaces => array,
        Subject::Metrics => unreachable!("made above"),
    };
    let listing = if bytes(&names) <= limits::LISTING_BYTES_IN_A_TURN {
        write(&names)
    } else {
        runtime::run_blocking(move || write(&names)).await
    };
    Ok((MediaType::Json, shard.listings.share(listing)))
}

/// The names of all shares that have some.
fn names(answers: Vec<Answer>) -> Vec<Names> {
    let shares = answers.into_iter().flat_map(|answer| match answer {
        Answer::Names(names) => names,
        _ => unreachable!("the answer to another question"),
    });
    shares.filter(|names| names.bytes() > 0).collect()
}

fn bytes(names: &[Names]) -> usize {
    names.iter().map(Names::bytes).sum()
}

/// An array of all names, sorted, each once.
fn array(names: &[Names]) -> Vec<u8> {
    let mut sorted = Vec::from_iter(names.iter().flat_map(Names::iter));
    sorted.sort_unstable();
    sorted.dedup();
    let mut json = with_room_for(names, sorted.len());
    write_array(&mut json, sorted.into_iter());
    json
}

/// Every namespace in use with its channels, sorted.
pub fn state(names: &[Names]) -> Vec<u8> {
    let mut sorted = Vec::from_iter(names.iter().flat_map(Names::pairs));
    sorted.sort_unstable();
    sorted.dedup();
    let mut json = with_room_for(names, sorted.len());
    json.push(b'{');
    for (nth, channels) in sorted.chunk_by(|one, next| one.0 == next.0).enumerate() {
        if nth > 0 {
            json.push(b',');
        }
        write_string(&mut json, channels[0].0);
        json.push(b':');
        write_array(&mut json, channels.iter().map(|(_, name)| *name));
    }
    json.push(b'}');
    json
}

/// Enough for names without escapes, with quotes, commas and brackets.
fn with_room_for(names: &[Names], entries: usize) -> Vec<u8> {
    Vec::with_capacity(bytes(names) + 6 * entries + 2)
}

fn write_array<'a>(json: &mut Vec<u8>, names: impl Iterator<Item = &'a str>) {
    json.push(b'[');
    for (nth, name) in names.enumerate() {
        if nth > 0 {
            json.push(b',');
        }
        write_string(json, name);
    }
    json.push(b']');
}

fn write_string(json: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(json, text).expect("a string can be written into memory");
}

/// The sum of all counters, in the text format that Prometheus reads.
fn metrics(answers: Vec<Answer>) -> Bytes {
    let mut sum = Snapshot::default();
    for answer in answers {
        match answer {
            Answer::Metrics(share) => sum.add(&share),
            _ => unreachable!("the answer to another question"),
        }
    }
    sum.into_text(Process::look()).into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn names(all: &[&[&str]]) -> Vec<Names> {
        let names = all.iter().map(|share| {
            let mut names = Names::default();
            share.iter().for_each(|name| names.push(name));
            names
        });
        names.collect()
    }

    #[test]
    fn names_of_all_shares_are_sorted_and_written_once() {
        let written = array(&names(&[&["b", "\"", "a"], &[], &["ä", "a"]]));
        assert_eq!(written, r#"["\"","a","b","ä"]"#.as_bytes());
        assert_eq!(array(&[]), b"[]");
    }

    #[test]
    fn channels_are_grouped_by_namespace() {
        let written = state(&names(&[&["b\0z", "a\0y"], &["a\0x", "ab\0x", "a\0y"]]));
        let written: serde_json::Value = serde_json::from_slice(&written).expect("JSON");
        assert_eq!(written, json!({"a": ["x", "y"], "ab": ["x"], "b": ["z"]}));
        assert_eq!(state(&[]), b"{}");
    }
}
