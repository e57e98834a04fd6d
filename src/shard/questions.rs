//! The questions that a shard has asked all others, and the answers that have come.
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
