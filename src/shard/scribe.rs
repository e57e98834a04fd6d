//! Writes listings out, on a thread of its own: sorting and escaping 100,000 names takes longer than
//! a shard may keep its other work waiting. One thread for all shards, so listings take no more than
//! one core's share however many are asked for.
//!
//! Bounded without a count of its own: each order is a listing that a shard has let in
//! ([`crate::limits::LISTINGS_MAX`]).

use std::{
    io,
    sync::mpsc::{Sender, channel},
    thread,
};

use crate::shard::mesh::{Answer, Document};

/// Makes a document of the answers of all shards.
pub type Form = fn(Vec<Answer>) -> Document;

/// The way to the thread.
pub struct Scribe(Sender<Order>);

struct Order {
    answers: Vec<Answer>,
    form: Form,
    deliver: Box<dyn FnOnce(Document) + Send>,
}

impl Scribe {
    /// Starts the thread; it ends when this is dropped.
    ///
    /// # Errors
    /// The thread could not be started.
    pub fn start() -> io::Result<Self> {
        let (orders, received) = channel::<Order>();
        let work = move || {
            for order in received {
                (order.deliver)((order.form)(order.answers));
            }
        };
        thread::Builder::new()
            .name("listings".to_owned())
            .spawn(work)?;
        Ok(Self(orders))
    }

    /// Has `form` make a document of `answers`, then calls `deliver` with it, on the scribe's thread.
    ///
    /// # Panics
    /// If a form or a delivery panicked before.
    pub fn order(
        &self,
        answers: Vec<Answer>,
        form: Form,
        deliver: impl FnOnce(Document) + Send + 'static,
    ) {
        let deliver = Box::new(deliver);
        let sent = self.0.send(Order {
            answers,
            form,
            deliver,
        });
        assert!(sent.is_ok(), "the scribe's thread is gone");
    }
}
