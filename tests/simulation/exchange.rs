//! An exchange: `src/exchange/mod.rs` without sockets. A unit of a body stands for bytes.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use httpipe::testing::http::encode::Framing;
use httpipe::testing::model::{
    registry::ChannelId,
    verdict::{Cause, Stage},
};

use super::client::Unit;
use super::conn::Conn;
use super::seen::BAD_BODY;

/// An exchange that takes more than one turn.
pub struct Exchange {
    pub channel: ChannelId,
    pub name: usize,
    pub flow: Rc<Flow>,
    pub run: Pin<Box<dyn Future<Output = Result<(), Cause>>>>,
}

/// A body on its way.
pub struct Flow {
    pub producer: Rc<Conn>,
    pub consumer: Rc<Conn>,
    pub framing: Framing,
    pub stage: Cell<Stage>,
    outbox: RefCell<VecDeque<Unit>>,
}

/// How far the start of a reply got.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Started {
    All,
    Part,
    Nothing,
}

impl Flow {
    pub fn new(producer: &Rc<Conn>, consumer: &Rc<Conn>) -> Rc<Self> {
        let chunked = producer.request.borrow().chunked;
        let framing = match (chunked, consumer.client.http_1_0) {
            (false, _) => Framing::Length,
            (true, false) => Framing::Chunked,
            (true, true) => Framing::Close,
        };
        Rc::new(Self {
            producer: Rc::clone(producer),
            consumer: Rc::clone(consumer),
            framing,
            stage: Cell::new(Stage::Matched),
            outbox: RefCell::default(),
        })
    }

    pub fn shows_cut(&self) -> bool {
        self.framing != Framing::Close || self.consumer.client.can_reset
    }

    pub async fn run(self: Rc<Self>) -> Result<(), Cause> {
        self.producer.check_stop()?;
        if self.stage.get() == Stage::Matched {
            if !self.shows_cut() {
                return Err(Cause::CutUnseen);
            }
            while self.producer.request.borrow().in_hand.is_empty() {
                self.receive().await?;
            }
            while self.send_start()? == Started::Nothing {
                self.writable().await?;
            }
            self.started();
        }
        loop {
            while !self.outbox.borrow().is_empty() {
                if self.send()? == 0 {
                    self.writable().await?;
                }
            }
            if self.producer.request.borrow().is_whole {
                return Ok(());
            }
            self.receive().await?;
            let received = std::mem::take(&mut self.producer.request.borrow_mut().in_hand);
            self.outbox.borrow_mut().extend(received);
        }
    }

    /// Sends the head of the reply with what is in hand.
    pub fn send_start(&self) -> Result<Started, Cause> {
        if !self.consumer.client.is_writable() {
            return Ok(Started::Nothing);
        }
        let mut start = VecDeque::from([Unit::Head]);
        start.extend(&self.producer.request.borrow().in_hand);
        self.outbox.replace(start);
        let sent = self.send();
        if sent.is_err() {
            self.outbox.borrow_mut().clear();
        }
        sent?;
        let all = self.outbox.borrow().is_empty();
        Ok(if all { Started::All } else { Started::Part })
    }

    /// The consumer was sent the start of its reply; what was in hand is on its way.
    pub fn started(&self) {
        self.producer.request.borrow_mut().in_hand.clear();
        self.consumer.outbound.mark_started();
        self.stage.set(Stage::Moving);
    }

    fn send(&self) -> Result<usize, Cause> {
        let client = &self.consumer.client;
        if client.refuses() {
            return Err(Cause::ConsumerLeft);
        }
        Ok(client.take(&mut self.outbox.borrow_mut()))
    }

    async fn writable(&self) -> Result<(), Cause> {
        let client = &self.consumer.client;
        let writable = self.producer.ready_or_stopped(|| client.is_writable());
        writable.await.map_err(|cause| match cause {
            Cause::Expired => Cause::ConsumerStalled,
            other => other,
        })
    }

    async fn receive(&self) -> Result<(), Cause> {
        let client = &self.producer.client;
        self.producer
            .ready_or_stopped(|| client.is_readable())
            .await?;
        let received = client.in_socket.borrow_mut().pop_front();
        let mut request = self.producer.request.borrow_mut();
        match received {
            Some(Unit::Broken) => return Err(BAD_BODY),
            Some(unit) => {
                request.is_whole = unit == Unit::Last;
                request.in_hand.push_back(unit);
            }
            None if client.has_left() => return Err(Cause::ProducerLeft),
            None => {}
        }
        Ok(())
    }
}
