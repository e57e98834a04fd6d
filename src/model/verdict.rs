//! The failure table of the wire contract (`doc/protocol.md`, "When something goes wrong") as one
//! function: what each side of an exchange hears, and who waits on. Pure.
//!
//! Nothing else decides that; `exchange` applies what is ruled here.

use strum::{EnumCount, EnumIter, IntoStaticStr};

use crate::{
    http::{chunked::ChunkedError, encode::Framing},
    model::refusal::Refusal,
};

/// Why a request, or an exchange, does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The producer closed, half-closed or reset before its body was whole, or its host vanished.
    ProducerLeft,
    /// The producer's framing is broken.
    BadBody(ChunkedError),
    /// The consumer closed or reset, half-closed before its first byte, or its host vanished.
    ConsumerLeft,
    /// The consumer took nothing for `--idle-timeout`.
    ConsumerStalled,
    /// The consumer could not tell a cut body from a whole one.
    CutUnseen,
    /// The channel or its namespace was deleted.
    Deleted,
    /// A time limit is over: while it waits, `--request-timeout`; in an exchange, `--idle-timeout`.
    Expired,
    /// The server shuts down: at once for who waits, after `--drain-timeout` for an exchange.
    Drained,
    /// The task that drives the exchange panicked.
    Panicked,
}

/// How far it had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter)]
pub enum Stage {
    /// The request is in its channel's queue.
    Waiting,
    /// Both sides met; the consumer was sent nothing.
    Matched,
    /// The consumer was sent the start of its reply.
    Moving,
}

/// How an exchange ended, for whoever counts exchanges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumCount, EnumIter, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Outcome {
    /// The whole body was handed to the consumer's connection.
    Delivered,
    /// The producer left, or broke its framing.
    ProducerLeft,
    /// The consumer left, or cannot be sent this body.
    ConsumerLeft,
    /// The channel was deleted.
    Deleted,
    /// Nothing moved for `--idle-timeout`.
    Idle,
    /// The server shut down.
    Drained,
    /// A fault of the server.
    Panicked,
}

impl Outcome {
    /// Its label: short, stable, in lower case.
    #[must_use]
    pub fn label(self) -> &'static str {
        self.into()
    }
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// At once: everything was read, or nobody is there, or the socket resets and is meant to.
    Now,
    /// The sending direction ends, and what the peer still sends is read and dropped for a bounded
    /// time and amount, so that it can read what was sent to it (RFC 9112 §9.6).
    Linger,
}

/// What becomes of one side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It waits on, at the front of its queue.
    WaitsOn,
    /// It hears this.
    Hears(Refusal),
    /// It left: its connection ends without a reply.
    Left,
    /// Its connection ends short of the body's end.
    Cut(Close),
}

/// What follows from a cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ruling {
    /// How the exchange counts.
    pub outcome: Outcome,
    /// What becomes of the producer.
    pub producer: Fate,
    /// What becomes of the consumer.
    pub consumer: Fate,
}

/// Rules on `cause` at `stage`. `framing` is that of the body on its way to the consumer. While a
/// request waits there is one side only; the other side's fate means nothing then.
///
/// # Panics
/// The cause cannot come up at that stage: a fault of the caller.
#[must_use]
pub const fn rule(cause: Cause, stage: Stage, framing: Framing) -> Ruling {
    match stage {
        Stage::Waiting => while_waiting(cause),
        Stage::Matched => before_first_byte(cause),
        Stage::Moving => midway(cause, framing),
    }
}

/// `wait-over`, `left-waiting`, `deleted-waiting`, `drain-waiting`.
const fn while_waiting(cause: Cause) -> Ruling {
    match cause {
        Cause::Expired => both(Outcome::Idle, Refusal::WAITED_TOO_LONG),
        Cause::Deleted => both(Outcome::Deleted, Refusal::DELETED),
        Cause::Drained => both(Outcome::Drained, Refusal::DRAINING),
        Cause::ProducerLeft | Cause::ConsumerLeft => {
            ruling(Outcome::ProducerLeft, Fate::Left, Fate::Left)
        }
        Cause::BadBody(_) | Cause::ConsumerStalled | Cause::CutUnseen | Cause::Panicked => {
            panic!("only an exchange comes to this")
        }
    }
}

/// `producer-left-before`, `consumer-left-before`, `consumer-stalled-before`, `cut-unseen`,
/// `deleted-before`, `producer-stalled-before`, `drain-over-before`: nothing is lost yet, so whoever
/// stays waits on.
const fn before_first_byte(cause: Cause) -> Ruling {
    use Fate::{Cut, Hears, Left, WaitsOn};
    match cause {
        Cause::ProducerLeft => {
            let refusal = Refusal::BODY_CUT;
            ruling(Outcome::ProducerLeft, Hears(refusal), WaitsOn)
        }
        Cause::BadBody(error) => {
            let refusal = Refusal::bad_body(error);
            ruling(Outcome::ProducerLeft, Hears(refusal), WaitsOn)
        }
        Cause::ConsumerLeft => ruling(Outcome::ConsumerLeft, WaitsOn, Left),
        Cause::ConsumerStalled => ruling(Outcome::Idle, WaitsOn, Cut(Close::Linger)),
        Cause::CutUnseen => {
            let refusal = Refusal::CUT_UNSEEN;
            ruling(Outcome::ConsumerLeft, WaitsOn, Hears(refusal))
        }
        Cause::Deleted => both(Outcome::Deleted, Refusal::DELETED),
        Cause::Expired => ruling(Outcome::Idle, Hears(Refusal::STALLED), WaitsOn),
        Cause::Drained => both(Outcome::Drained, Refusal::DRAINED),
        Cause::Panicked => ruling(Outcome::Panicked, Left, Cut(Close::Now)),
    }
}

/// `producer-left-midway`, `consumer-left-midway`, `deleted-midway`, `stalled`, `drain-over-midway`:
/// the consumer sees the cut, and the producer hears why.
const fn midway(cause: Cause, framing: Framing) -> Ruling {
    let (outcome, refusal) = match cause {
        Cause::ProducerLeft => (Outcome::ProducerLeft, Refusal::BODY_CUT),
        Cause::BadBody(error) => (Outcome::ProducerLeft, Refusal::bad_body(error)),
        Cause::ConsumerLeft => (Outcome::ConsumerLeft, Refusal::CONSUMER_LEFT),
        Cause::ConsumerStalled | Cause::Expired => (Outcome::Idle, Refusal::STALLED),
        Cause::Deleted => (Outcome::Deleted, Refusal::DELETED_MIDWAY),
        Cause::Drained => (Outcome::Drained, Refusal::DRAINED),
        Cause::Panicked => return ruling(Outcome::Panicked, Fate::Left, Fate::Cut(cut(framing))),
        Cause::CutUnseen => panic!("such a body is never begun"),
    };
    ruling(outcome, Fate::Hears(refusal), Fate::Cut(cut(framing)))
}

/// How a cut is shown. Where the framing shows it, the end of the stream does, so that earlier replies
/// on the connection arrive whole; a body that ends with the connection needs a reset.
const fn cut(framing: Framing) -> Close {
    match framing {
        Framing::Length | Framing::Chunked => Close::Linger,
        Framing::Close => Close::Now,
    }
}

const fn both(outcome: Outcome, refusal: Refusal) -> Ruling {
    ruling(outcome, Fate::Hears(refusal), Fate::Hears(refusal))
}

const fn ruling(outcome: Outcome, producer: Fate, consumer: Fate) -> Ruling {
    Ruling {
        outcome,
        producer,
        consumer,
    }
}
