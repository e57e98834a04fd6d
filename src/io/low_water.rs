//! Marks on the sockets of producers whose large bodies flow fast: fewer wakes, each for more bytes.
//!
//! A mark must never make bytes wait: it is no higher than what is still to come, it is lifted when
//! the flow pauses for [`limits::MARK_TIME`], and when the transfer ends, however it ends. On a Unix
//! socket the kernel's poll does not look at it (`unix_poll`), so there it saves nothing and costs a
//! system call a transfer.

use std::{
    cell::{Cell, RefCell},
    io,
    rc::Rc,
};

use slab::Slab;

use crate::{
    conn::Conn,
    io::{socket::Socket, sys},
    limits,
};

/// The marks that are set in one shard.
pub struct Marks {
    set: RefCell<Slab<Rc<Flow>>>,
    /// Runs while any mark is set.
    timer: Socket,
}

/// A flow under a mark.
struct Flow {
    producer: Rc<Conn>,
    /// It moved since the timer last fired.
    moved: Cell<bool>,
    /// The mark was lifted because it did not.
    lifted: Cell<bool>,
}

/// The mark of one transfer, set or not.
#[derive(Default)]
pub struct Mark {
    set: Option<(Rc<Marks>, usize, Rc<Flow>)>,
}

impl Marks {
    /// No marks yet.
    ///
    /// # Errors
    /// No descriptor was free.
    pub fn new() -> io::Result<Self> {
        let timer = Socket::new(sys::timer()?)?;
        Ok(Self {
            set: RefCell::default(),
            timer,
        })
    }

    /// Waits for the timer once, and lifts the marks of flows that have paused.
    pub async fn lift_stale(&self) {
        self.timer.readable().await;
        sys::silence(&self.timer);
        let set = self.set.borrow();
        for (_, flow) in &*set {
            if !flow.moved.take() && !flow.lifted.replace(true) {
                sys::set_receive_mark(&flow.producer.socket, 1);
            }
        }
        if !set.is_empty() {
            sys::arm(&self.timer, limits::MARK_TIME);
        }
    }

    fn put(&self, flow: Rc<Flow>) -> usize {
        let mut set = self.set.borrow_mut();
        if set.is_empty() {
            sys::arm(&self.timer, limits::MARK_TIME);
        }
        set.insert(flow)
    }
}

impl Mark {
    /// The producer's socket gave `filled` bytes, and `left` are known to follow: sets the mark if
    /// that is fast, lifts it near the end.
    pub fn adjust(&mut self, marks: &Rc<Marks>, producer: &Rc<Conn>, filled: usize, left: u64) {
        let near_end = left < limits::MARK_BYTES as u64;
        match &self.set {
            Some((_, _, flow)) if flow.lifted.get() || near_end => self.lift(),
            Some((_, _, flow)) => flow.moved.set(true),
            None if near_end || filled < limits::MARK_BYTES => {}
            None => {
                sys::set_receive_mark(&producer.socket, limits::MARK_BYTES as i32);
                let flow = Rc::new(Flow {
                    producer: Rc::clone(producer),
                    moved: Cell::new(true),
                    lifted: Cell::new(false),
                });
                let place = marks.put(Rc::clone(&flow));
                self.set = Some((Rc::clone(marks), place, flow));
            }
        }
    }

    fn lift(&mut self) {
        let Some((marks, place, flow)) = self.set.take() else {
            return;
        };
        marks.set.borrow_mut().remove(place);
        if !flow.lifted.get() {
            sys::set_receive_mark(&flow.producer.socket, 1);
        }
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        self.lift();
    }
}
