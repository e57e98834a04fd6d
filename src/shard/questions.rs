//! The questions that a shard has asked all others, and the answers that have come.
//!
//! Bounded: a connection asks one question at a time.

use std::{
    cell::RefCell,
    future::{Future, poll_fn},
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
        gathering.answers.push(answer);
        if let Some(waker) = gathering.waker.take() {
            waker.wake();
        }
    }

    fn begin(&self, missing: usize) -> usize {
        self.pending.borrow_mut().insert(Gathering {
            missing,
            answers: Vec::with_capacity(missing + 1),
            waker: None,
        })
    }

    fn gathered(&self, ticket: usize) -> impl Future<Output = Vec<Answer>> {
        poll_fn(move |context| {
            let mut questions = self.pending.borrow_mut();
            if questions[ticket].missing == 0 {
                return Poll::Ready(questions.remove(ticket).answers);
            }
            questions[ticket].waker = Some(context.waker().clone());
            Poll::Pending
        })
    }
}
