//! The questions that a shard has asked others, and the answers that have come.
//!
//! Bounded: a connection asks one question at a time.

use std::{
    cell::RefCell,
    future::poll_fn,
    mem,
    sync::Arc,
    task::{Poll, Waker},
};

use slab::Slab;

use super::{
    mesh::{Answer, Message, Question},
    shared::Shared,
};

/// The questions of one shard.
pub struct Questions {
    /// Which shard asks.
    index: usize,
    shared: Arc<Shared>,
    pending: RefCell<Slab<Gathering>>,
}

struct Gathering {
    missing: usize,
    answers: Vec<Answer>,
    waker: Option<Waker>,
    /// Its asker waits no longer.
    abandoned: bool,
}

impl Questions {
    /// The questions of shard `index`: none yet.
    #[must_use]
    pub fn new(index: usize, shared: &Arc<Shared>) -> Self {
        Self {
            index,
            shared: Arc::clone(shared),
            pending: RefCell::default(),
        }
    }

    /// Puts `question` to every other shard and waits for all of their answers.
    pub async fn ask_others(&self, question: &Question) -> Vec<Answer> {
        let others = self.shared.mesh.shards() - 1;
        let ticket = self.begin(others);
        for other in (0..=others).filter(|&other| other != self.index) {
            let ask = Message::Ask {
                from: self.index,
                ticket,
                question: question.clone(),
            };
            self.shared.mesh.send(other, ask);
        }
        self.gathered(ticket).await
    }

    /// Lets `put` put a question under this ticket to one shard, perhaps this one, and waits for its
    /// answer.
    pub async fn ask_one(&self, put: impl FnOnce(usize)) -> Answer {
        let ticket = self.begin(1);
        put(ticket);
        let answer = self.gathered(ticket).await.pop();
        answer.expect("one shard gives one answer")
    }

    /// Records an answer to the question `ticket`.
    pub fn answered(&self, ticket: usize, answer: Answer) {
        let mut questions = self.pending.borrow_mut();
        let gathering = &mut questions[ticket];
        gathering.missing -= 1;
        if !gathering.abandoned {
            gathering.answers.push(answer);
        } else if gathering.missing == 0 {
            questions.remove(ticket);
            return;
        }
        if let Some(waker) = gathering.waker.take() {
            waker.wake();
        }
    }

    fn begin(&self, missing: usize) -> usize {
        self.pending.borrow_mut().insert(Gathering {
            missing,
            answers: Vec::with_capacity(missing + 1),
            waker: None,
            abandoned: false,
        })
    }

    async fn gathered(&self, ticket: usize) -> Vec<Answer> {
        let _asked = Asked {
            questions: self,
            ticket,
        };
        poll_fn(|context| {
            let mut questions = self.pending.borrow_mut();
            let gathering = &mut questions[ticket];
            if gathering.missing == 0 {
                return Poll::Ready(mem::take(&mut gathering.answers));
            }
            gathering.waker = Some(context.waker().clone());
            Poll::Pending
        })
        .await
    }
}

/// A question whose answers its asker waits for.
struct Asked<'a> {
    questions: &'a Questions,
    ticket: usize,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        let mut questions = self.questions.pending.borrow_mut();
        if questions[self.ticket].missing == 0 {
            questions.remove(self.ticket);
        } else {
            // The answers are on their way, and nobody else may have this ticket until they are here.
            questions[self.ticket].abandoned = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        task::{Context, Waker},
    };

    use clap::Parser;

    use super::*;
    use crate::{
        config::{Config, cli::Cli},
        shard::mesh::Subject,
    };

    #[test]
    fn the_ticket_of_a_question_that_nobody_waits_for_is_free_when_all_have_answered() {
        let cli = Cli::parse_from(["httpipe", "--threads", "3"]);
        let config = Config::from_cli(cli).expect("options that can be kept");
        let shared = Shared::new(config, 0, None).expect("descriptors");
        let questions = Questions::new(0, &Arc::new(shared));
        let mut context = Context::from_waker(Waker::noop());
        {
            let asked = pin!(questions.ask_others(&Question::Share(Subject::State)));
            assert!(asked.poll(&mut context).is_pending());
        }
        let other = Question::Share(Subject::Metrics);
        let mut other = pin!(questions.ask_others(&other));
        assert!(other.as_mut().poll(&mut context).is_pending());
        questions.answered(0, Answer::Deleted(1));
        questions.answered(1, Answer::Deleted(2));
        questions.answered(0, Answer::Deleted(3));
        assert_eq!(questions.pending.borrow().len(), 1);
        questions.answered(1, Answer::Deleted(4));
        let Poll::Ready(answers) = other.poll(&mut context) else {
            panic!("all have answered");
        };
        assert!(matches!(
            answers[..],
            [Answer::Deleted(2), Answer::Deleted(4)]
        ));
        assert!(questions.pending.borrow().is_empty());
    }
}
