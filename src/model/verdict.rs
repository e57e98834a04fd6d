//! The failure table of the wire contract (`doc/protocol.md`, "When something goes wrong") as one
//! function: how each side of a failed exchange is answered, and which side waits on. Pure.
//!
//! No other file decides that; `exchange` applies the ruling.

use strum::{EnumCount, EnumIter, IntoStaticStr};

use crate::{
    http::{chunked::ChunkedError, encode::Framing},
    model::refusal::Refusal,
};

/// Why a request stops waiting for its counterpart, unless its client left: then it gets no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter)]
pub enum WaitEnd {
    /// `--request-timeout` has expired.
    Expired,
    /// The same, and another exchange holds the channel.
    StayedBusy,
    /// `DELETE` of the channel or its namespace.
    Deleted,
    /// The server shuts down.
    Drained,
}

/// Why an exchange ends early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The producer closed, half-closed or reset before the end of its body, or its host vanished.
    ProducerLeft,
    /// The producer's framing is invalid.
    BadBody(ChunkedError),
    /// The consumer closed or reset, half-closed before its first byte, or its host vanished.
    ConsumerLeft,
    /// The consumer received nothing for `--idle-timeout`.
    ConsumerStalled,
    /// The consumer could not tell a cut body from a whole one.
    CutUnseen,
    /// `DELETE` of the channel or its namespace.
    Deleted,
    /// `--idle-timeout` has expired.
    Expired,
    /// The server shuts down, and `--drain-timeout` has expired.
    Drained,
    /// The task that drives the exchange panicked.
    Panicked,
}

/// The progress of an exchange when the cause occurs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter)]
pub enum Stage {
    /// Both sides are matched; nothing was sent to the consumer.
    Matched,
    /// The start of the reply was sent to the consumer.
    Moving,
}

/// How an exchange ended, for metrics and the access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumCount, EnumIter, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Outcome {
    /// The whole body was handed to the consumer's connection.
    Delivered,
    /// The producer left, or its framing is invalid.
    ProducerLeft,
    /// The consumer left, or cannot be sent this body.
    ConsumerLeft,
    Deleted,
    /// No bytes moved for `--idle-timeout`.
    Idle,
    Drained,
    /// A bug of the server.
    Panicked,
}

impl Outcome {
    #[must_use]
    pub fn label(self) -> &'static str {
        self.into()
    }
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// Immediately: all input was read, or the peer is gone, or a reset is intended.
    Now,
    /// Ends the sending direction, then reads and drops input for a bounded time and amount, so that
    /// the peer can read what was sent (RFC 9112 §9.6).
    Linger,
}

/// What happens to one side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It waits on, at the front of its queue.
    WaitsOn,
    /// It receives this error response.
    Refused(Refusal),
    /// It left: its connection ends without a reply.
    Left,
    /// Its connection ends before the body's end.
    Cut(Close),
}

/// The decision on a cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ruling {
    pub outcome: Outcome,
    pub producer: Fate,
    pub consumer: Fate,
}

/// The response to a request that stops waiting, of either side: `wait-over`, `busy-wait-over`,
/// `deleted-waiting`, `drain-waiting`.
#[must_use]
pub const fn rule_waiting(end: WaitEnd) -> Refusal {
    match end {
        WaitEnd::Expired => Refusal::WAITED_TOO_LONG,
        WaitEnd::StayedBusy => Refusal::CHANNEL_STAYED_BUSY,
        WaitEnd::Deleted => Refusal::DELETED,
        WaitEnd::Drained => Refusal::DRAINING,
    }
}

/// Rules on `cause` at `stage` of an exchange. `framing` is the framing towards the consumer.
///
/// # Panics
/// The cause is impossible at that stage: a bug of the caller.
#[must_use]
pub const fn rule(cause: Cause, stage: Stage, framing: Framing) -> Ruling {
    match stage {
        Stage::Matched => before_first_byte(cause),
        Stage::Moving => midway(cause, framing),
    }
}

/// `producer-left-before`, `consumer-left-before`, `consumer-stalled-before`, `cut-unseen`,
/// `deleted-before`, `producer-stalled-before`, `drain-over-before`: nothing is lost yet, so a side that
/// is not at fault waits on, unless the channel is deleted, the drain is over or the server panicked.
const fn before_first_byte(cause: Cause) -> Ruling {
    use Fate::{Cut, Left, Refused, WaitsOn};
    match cause {
        Cause::ProducerLeft => {
            let refusal = Refusal::BODY_CUT;
            ruling(Outcome::ProducerLeft, Refused(refusal), WaitsOn)
        }
        Cause::BadBody(error) => {
            let refusal = Refusal::bad_body(error);
            ruling(Outcome::ProducerLeft, Refused(refusal), WaitsOn)
        }
        Cause::ConsumerLeft => ruling(Outcome::ConsumerLeft, WaitsOn, Left),
        Cause::ConsumerStalled => ruling(Outcome::Idle, WaitsOn, Cut(Close::Linger)),
        Cause::CutUnseen => {
            let refusal = Refusal::CUT_UNSEEN;
            ruling(Outcome::ConsumerLeft, WaitsOn, Refused(refusal))
        }
        Cause::Deleted => both(Outcome::Deleted, Refusal::DELETED),
        Cause::Expired => ruling(Outcome::Idle, Refused(Refusal::STALLED), WaitsOn),
        Cause::Drained => both(Outcome::Drained, Refusal::DRAINED),
        Cause::Panicked => ruling(Outcome::Panicked, Left, Cut(Close::Now)),
    }
}

/// `producer-left-midway`, `consumer-left-midway`, `deleted-midway`, `stalled`, `drain-over-midway`:
/// the consumer sees the cut, and the producer receives the reason.
const fn midway(cause: Cause, framing: Framing) -> Ruling {
    let (outcome, refusal) = match cause {
        Cause::ProducerLeft => (Outcome::ProducerLeft, Refusal::BODY_CUT),
        Cause::BadBody(error) => (Outcome::ProducerLeft, Refusal::bad_body(error)),
        Cause::ConsumerLeft => (Outcome::ConsumerLeft, Refusal::CONSUMER_LEFT),
        Cause::ConsumerStalled | Cause::Expired => (Outcome::Idle, Refusal::STALLED),
        Cause::Deleted => (Outcome::Deleted, Refusal::DELETED_MIDWAY),
        Cause::Drained => (Outcome::Drained, Refusal::DRAINED),
        Cause::Panicked => return ruling(Outcome::Panicked, Fate::Left, Fate::Cut(cut(framing))),
        Cause::CutUnseen => panic!("such a body is never sent"),
    };
    ruling(outcome, Fate::Refused(refusal), Fate::Cut(cut(framing)))
}

/// How the consumer sees the cut. If the framing shows it, the stream ends normally, so that earlier
/// replies on the connection arrive whole. A body that ends with the connection needs a reset.
const fn cut(framing: Framing) -> Close {
    match framing {
        Framing::Length | Framing::Chunked => Close::Linger,
        Framing::Close => Close::Now,
    }
}

const fn both(outcome: Outcome, refusal: Refusal) -> Ruling {
    ruling(outcome, Fate::Refused(refusal), Fate::Refused(refusal))
}

const fn ruling(outcome: Outcome, producer: Fate, consumer: Fate) -> Ruling {
    Ruling {
        outcome,
        producer,
        consumer,
    }
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use Cause::{
        BadBody, ConsumerLeft, ConsumerStalled, CutUnseen, Deleted, Drained, Expired, Panicked,
        ProducerLeft,
    };
    use Stage::{Matched, Moving};
    use strum::IntoEnumIterator;

    use super::*;

    const CONTRACT: &str = include_str!("../../doc/protocol.md");
    const SOURCE: &str = include_str!("verdict.rs");

    /// Represents every error of the chunked coding.
    const BAD_BODY: Cause = BadBody(ChunkedError::Size);

    /// A bug of the server has no row in the contract.
    const NO_ROW: &str = "";

    /// A ruling, in the notation of [`said`].
    struct Row {
        /// Its name in `doc/protocol.md`.
        name: &'static str,
        stage: Stage,
        cause: Cause,
        outcome: &'static str,
        producer: &'static str,
        consumer: &'static str,
    }

    const fn row(
        name: &'static str,
        (stage, cause): (Stage, Cause),
        outcome: &'static str,
        producer: &'static str,
        consumer: &'static str,
    ) -> Row {
        Row {
            name,
            stage,
            cause,
            outcome,
            producer,
            consumer,
        }
    }

    #[rustfmt::skip]
    static TABLE: [Row; 17] = [
        row("deleted-before", (Matched, Deleted), "deleted", "410 deleted", "410 deleted"),
        row("consumer-left-before", (Matched, ConsumerLeft), "consumer_left", "waits on", "left"),
        row("producer-left-before", (Matched, ProducerLeft), "producer_left", "400 body_cut, closes", "waits on"),
        row("producer-left-before", (Matched, BAD_BODY), "producer_left", "400 bad_body, closes", "waits on"),
        row("producer-stalled-before", (Matched, Expired), "idle", "504 idle_timeout, closes", "waits on"),
        row("consumer-stalled-before", (Matched, ConsumerStalled), "idle", "waits on", "closes, no reply"),
        row("drain-over-before", (Matched, Drained), "drained", "503 drained, closes", "503 drained, closes"),
        row("cut-unseen", (Matched, CutUnseen), "consumer_left", "waits on", "505 cut_unseen"),
        row(NO_ROW, (Matched, Panicked), "panicked", "left", "closes at once, no reply"),

        row("deleted-midway", (Moving, Deleted), "deleted", "410 deleted_midway, closes", "cut"),
        row("consumer-left-midway", (Moving, ConsumerLeft), "consumer_left", "502 consumer_left, closes", "cut"),
        row("producer-left-midway", (Moving, ProducerLeft), "producer_left", "400 body_cut, closes", "cut"),
        row("producer-left-midway", (Moving, BAD_BODY), "producer_left", "400 bad_body, closes", "cut"),
        row("stalled", (Moving, Expired), "idle", "504 idle_timeout, closes", "cut"),
        row("stalled", (Moving, ConsumerStalled), "idle", "504 idle_timeout, closes", "cut"),
        row("drain-over-midway", (Moving, Drained), "drained", "503 drained, closes", "cut"),
        row(NO_ROW, (Moving, Panicked), "panicked", "left", "cut"),
    ];

    /// What either side of a row receives that has no exchange.
    const WAITING: [(&str, WaitEnd, &str); 4] = [
        ("wait-over", WaitEnd::Expired, "408 request_timeout"),
        ("busy-wait-over", WaitEnd::StayedBusy, "408 request_timeout"),
        ("deleted-waiting", WaitEnd::Deleted, "410 deleted"),
        ("drain-waiting", WaitEnd::Drained, "503 draining, closes"),
    ];

    /// A body whose cut would not show is never sent.
    const IMPOSSIBLE: [(Stage, Cause); 1] = [(Moving, CutUnseen)];

    /// One of each. A new cause does not compile until it is added here.
    fn causes() -> [Cause; 9] {
        const fn next(cause: Cause) -> Cause {
            match cause {
                ProducerLeft => BAD_BODY,
                BadBody(_) => ConsumerLeft,
                ConsumerLeft => ConsumerStalled,
                ConsumerStalled => CutUnseen,
                CutUnseen => Deleted,
                Deleted => Expired,
                Expired => Drained,
                Drained => Panicked,
                Panicked => ProducerLeft,
            }
        }
        let mut cause = Panicked;
        let causes = [(); 9].map(|()| {
            cause = next(cause);
            cause
        });
        assert_eq!(next(cause), causes[0], "one is missing");
        causes
    }

    fn chunked_errors() -> [ChunkedError; 8] {
        use ChunkedError::{
            Extension, LineEnd, LineTooLong, PayloadEnd, Size, SizeTooLarge, Trailer,
            TrailerTooLarge,
        };
        const fn next(error: ChunkedError) -> ChunkedError {
            match error {
                Size => SizeTooLarge,
                SizeTooLarge => Extension,
                Extension => LineTooLong,
                LineTooLong => LineEnd,
                LineEnd => PayloadEnd,
                PayloadEnd => Trailer,
                Trailer => TrailerTooLarge,
                TrailerTooLarge => Size,
            }
        }
        let mut error = TrailerTooLarge;
        let errors = [(); 8].map(|()| {
            error = next(error);
            error
        });
        assert_eq!(next(error), errors[0], "one is missing");
        errors
    }

    /// A fate in the notation of the table.
    fn said(fate: Fate, stage: Stage, framing: Framing) -> String {
        match fate {
            Fate::WaitsOn => "waits on".to_owned(),
            Fate::Refused(refusal) => shown(refusal),
            Fate::Left => "left".to_owned(),
            Fate::Cut(close) if stage == Moving => {
                let resets = close == Close::Now;
                assert_eq!(resets, framing == Framing::Close, "how {framing:?} is cut");
                "cut".to_owned()
            }
            Fate::Cut(Close::Linger) => "closes, no reply".to_owned(),
            Fate::Cut(Close::Now) => "closes at once, no reply".to_owned(),
        }
    }

    /// A refusal in the notation of the table.
    fn shown(refusal: Refusal) -> String {
        let closes = if refusal.closes { ", closes" } else { "" };
        format!("{} {}{closes}", refusal.status.code(), refusal.kind.label())
    }

    /// Every possible ruling.
    fn rulings() -> impl Iterator<Item = (&'static Row, Framing, Ruling)> {
        TABLE.iter().flat_map(|row| {
            let ruled = move |framing| (row, framing, rule(row.cause, row.stage, framing));
            Framing::iter().map(ruled)
        })
    }

    /// The rows of the contract's failure table: name, producer, consumer, outcome.
    fn contract() -> Vec<[&'static str; 4]> {
        let (_, section) = CONTRACT
            .split_once("## When something goes wrong")
            .expect("a section about failures");
        let table = section
            .lines()
            .skip_while(|line| !line.starts_with("| row |"))
            .skip(2)
            .take_while(|line| line.starts_with('|'));
        table
            .map(|line| {
                let cells =
                    Vec::from_iter(line.split(" | ").map(|cell| cell.trim_matches(['|', ' '])));
                let [name, _, producer, consumer, outcome] = cells[..] else {
                    panic!("not five cells: {line}")
                };
                [name.trim_matches('`'), producer, consumer, outcome]
            })
            .collect()
    }

    #[test]
    fn every_cause_is_ruled_as_the_table_says_whatever_the_framing() {
        for (row, framing, ruling) in rulings() {
            let (stage, cause) = (row.stage, row.cause);
            let case = format!("{cause:?}, {stage:?}, {framing:?}");
            assert_eq!(ruling.outcome.label(), row.outcome, "{case}");
            assert_eq!(
                said(ruling.producer, stage, framing),
                row.producer,
                "{case}"
            );
            assert_eq!(
                said(ruling.consumer, stage, framing),
                row.consumer,
                "{case}"
            );
        }
    }

    #[test]
    fn a_request_that_stops_waiting_is_refused_as_the_table_says() {
        let ends = WAITING.map(|(_, end, _)| end);
        assert!(WaitEnd::iter().eq(ends), "one is missing");
        for (name, end, expected) in WAITING {
            assert_eq!(shown(rule_waiting(end)), expected, "{name}");
        }
    }

    #[test]
    fn an_impossible_cause_panics() {
        for (stage, cause) in IMPOSSIBLE {
            for framing in Framing::iter() {
                let ruled = catch_unwind(|| rule(cause, stage, framing));
                assert!(ruled.is_err(), "{cause:?}, {stage:?}, {framing:?}");
            }
        }
    }

    #[test]
    fn each_cause_at_each_stage_is_either_in_the_table_or_impossible() {
        for stage in Stage::iter() {
            for cause in causes() {
                let in_table = TABLE
                    .iter()
                    .filter(|row| (row.stage, row.cause) == (stage, cause))
                    .count();
                let impossible = IMPOSSIBLE.contains(&(stage, cause));
                assert_eq!(
                    in_table + usize::from(impossible),
                    1,
                    "{cause:?}, {stage:?}"
                );
            }
        }
    }

    #[test]
    fn a_producer_receives_the_contracts_text_for_each_chunk_error() {
        let (_, texts) = CONTRACT
            .split_once("\nbad_body\n")
            .expect("the texts of bad_body");
        let texts = Vec::from_iter(texts.lines().map_while(|line| line.strip_prefix("    ")));
        let mut received = Vec::new();
        for error in chunked_errors() {
            for stage in [Matched, Moving] {
                for framing in Framing::iter() {
                    let ruling = rule(BadBody(error), stage, framing);
                    let like_any_other = rule(BAD_BODY, stage, framing);
                    assert_eq!(ruling.outcome, like_any_other.outcome);
                    assert_eq!(ruling.consumer, like_any_other.consumer);
                    let Fate::Refused(refusal) = ruling.producer else {
                        panic!("{error:?}, {stage:?}: {ruling:?}")
                    };
                    let expected = "400 bad_body, closes";
                    assert_eq!(said(ruling.producer, stage, framing), expected);
                    assert_eq!(refusal.text, error.as_str());
                    received.push(refusal.text);
                }
            }
        }
        received.dedup();
        assert_eq!(received, texts);
    }

    #[test]
    fn no_ruling_reports_success() {
        for (row, _, ruling) in rulings() {
            assert_ne!(ruling.outcome, Outcome::Delivered, "{:?}", row.cause);
            for fate in [ruling.producer, ruling.consumer] {
                if let Fate::Refused(refusal) = fate {
                    assert!(refusal.status.number() >= 400, "{:?}", row.cause);
                }
            }
        }
    }

    #[test]
    fn before_the_first_byte_only_a_consumer_that_stalled_or_whose_driver_panicked_gets_no_reply() {
        for (row, _, ruling) in rulings().filter(|(row, ..)| row.stage != Moving) {
            assert!(!matches!(ruling.producer, Fate::Cut(_)), "{:?}", row.cause);
            let cut = matches!(ruling.consumer, Fate::Cut(_));
            let expected = matches!(row.cause, ConsumerStalled | Panicked);
            assert_eq!(cut, expected, "{:?}, {:?}", row.cause, row.stage);
        }
    }

    #[test]
    fn before_the_first_byte_exactly_one_side_waits_on_unless_the_exchange_is_over_for_both() {
        for (row, _, ruling) in rulings().filter(|(row, ..)| row.stage == Matched) {
            let waits_on = [ruling.producer, ruling.consumer].map(|fate| fate == Fate::WaitsOn);
            let over = matches!(row.cause, Deleted | Drained | Panicked);
            // If both waited on they would match again, for ever.
            assert_ne!(waits_on, [true, true], "{:?}", row.cause);
            assert_eq!(waits_on == [false, false], over, "{:?}", row.cause);
        }
    }

    #[test]
    fn midway_neither_side_waits_on_and_every_connection_closes() {
        for (row, _, ruling) in rulings().filter(|(row, ..)| row.stage == Moving) {
            let cut = matches!(ruling.consumer, Fate::Cut(_));
            assert!(cut, "{:?}", row.cause);
            match ruling.producer {
                Fate::Refused(refusal) => assert!(refusal.closes, "{:?}", row.cause),
                fate => assert_eq!(fate, Fate::Left, "{:?}", row.cause),
            }
        }
    }

    #[test]
    fn a_body_that_ends_with_the_connection_is_cut_by_a_reset_and_no_other_is() {
        for (row, framing, ruling) in rulings().filter(|(row, ..)| row.stage == Moving) {
            let resets = ruling.consumer == Fate::Cut(Close::Now);
            assert_eq!(resets, framing == Framing::Close, "{:?}", row.cause);
        }
    }

    #[test]
    fn the_side_at_fault_never_waits_on() {
        for (row, _, ruling) in rulings() {
            let at_fault = match row.cause {
                ProducerLeft | BadBody(_) => [ruling.producer].to_vec(),
                ConsumerLeft | ConsumerStalled | CutUnseen => [ruling.consumer].to_vec(),
                Deleted | Drained | Panicked => [ruling.producer, ruling.consumer].to_vec(),
                // A stalled consumer has the cause `ConsumerStalled`.
                Expired => [ruling.producer].to_vec(),
            };
            assert!(!at_fault.contains(&Fate::WaitsOn), "{:?}", row.cause);
        }
    }

    #[test]
    fn the_table_of_this_test_agrees_with_the_contract() {
        let contract = contract();
        for row in TABLE.iter().filter(|row| row.name != NO_ROW) {
            let found = contract.iter().find(|[name, ..]| *name == row.name);
            let Some([name, producer, consumer, outcome]) = found else {
                panic!("the contract has no row {}", row.name)
            };
            assert!(agree(row.producer, producer), "{name}: {producer}");
            assert!(agree(row.consumer, consumer), "{name}: {consumer}");
            assert_eq!(*outcome, format!("`{}`", row.outcome), "{name}");
        }
        for (name, _, said) in WAITING {
            let found = contract.iter().find(|[row, ..]| *row == name);
            let Some([_, producer, consumer, outcome]) = found else {
                panic!("the contract has no row {name}")
            };
            assert!(agree(said, producer), "{name}: {producer}");
            assert!(agree(said, consumer), "{name}: {consumer}");
            assert_eq!(*outcome, "–", "{name}");
        }
    }

    /// Whether an entry of the test's table agrees with a cell of the contract.
    fn agree(said: &str, cell: &str) -> bool {
        let closes = |text: &str| text.ends_with(", closes");
        match said.split_once(' ') {
            Some((status, kind)) if status.parse::<u16>().is_ok() => {
                let kind = kind.trim_end_matches(", closes");
                cell.starts_with(status)
                    && cell.contains(&format!("`{kind}`"))
                    && closes(said) == closes(cell)
            }
            // A consumer that left does not see the cut.
            _ if said == "cut" => ["cut", "–"].contains(&cell),
            _ if said == "left" => cell == "–",
            _ if said == "waits on" => cell == "waits on, at the front of its queue",
            _ => cell == said,
        }
    }

    #[test]
    fn each_stage_names_its_rows_of_the_contract_and_no_row_of_an_exchange_is_left_out() {
        let (code, _) = SOURCE
            .split_once("#[cfg(test)]")
            .expect("code before tests");
        let waiting = WAITING.map(|(name, ..)| name).to_vec();
        let named = rows_named_above(code, "rule_waiting");
        assert_eq!(sorted(named), sorted(waiting));
        for (function, stage) in [("before_first_byte", Matched), ("midway", Moving)] {
            let named = rows_named_above(code, function);
            let rows = TABLE.iter().filter(|row| row.stage == stage);
            let mut expected =
                Vec::from_iter(rows.map(|row| row.name).filter(|name| *name != NO_ROW));
            expected.dedup();
            assert_eq!(sorted(named), sorted(expected), "above {function}");
        }
        for [name, _, _, outcome] in contract() {
            let ends_an_exchange = outcome.starts_with('`');
            let ruled = TABLE.iter().any(|row| row.name == name);
            assert!(ruled || !ends_an_exchange, "no ruling for row {name}");
        }
    }

    /// The words in backticks in the comment above `function`.
    fn rows_named_above<'a>(code: &'a str, function: &str) -> Vec<&'a str> {
        let (above, _) = code
            .split_once(&format!("const fn {function}("))
            .expect("a function of that name");
        let comment = above.trim_end().rsplit("\n\n").next().expect("a comment");
        comment.split('`').skip(1).step_by(2).collect()
    }

    fn sorted(mut names: Vec<&str>) -> Vec<&str> {
        names.sort_unstable();
        names
    }
}
