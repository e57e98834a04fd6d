//! Receive low-water marks (`SO_RCVLOWAT`) for fast large bodies: fewer wakeups, more bytes each.
//!
//! A mark must never delay bytes for long: it is at most the rest of the body, and it is lifted when
//! the flow pauses for [`limits::LOW_WATER_TIME`] and when the exchange ends, however it ends.

use std::{
    cell::{Cell, RefCell},
    io,
    os::fd::AsFd,
    rc::Rc,
};

use slab::Slab;

use crate::{
    io::{sys, timer::TimerFd},
    limits,
};

/// The marks that one shard has set, on sockets `S`.
pub struct LowWaters<S> {
    set: RefCell<Slab<Rc<Flow<S>>>>,
    /// Runs while any mark is set.
    timer: TimerFd,
}

/// A flow whose mark is set.
struct Flow<S> {
    socket: S,
    /// Bytes moved since the timer last fired.
    moved: Cell<bool>,
    /// The mark was lifted because no bytes moved.
    lifted: Cell<bool>,
}

/// The mark of one flow, set or not.
pub struct LowWater<S: AsFd> {
    marks: Rc<LowWaters<S>>,
    set: Option<(usize, Rc<Flow<S>>)>,
}

impl<S: AsFd> LowWaters<S> {
    /// # Errors
    /// No descriptor is free.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            set: RefCell::default(),
            timer: TimerFd::new()?,
        })
    }

    /// Waits for the timer once, then lifts the marks of paused flows.
    pub async fn lift_paused(&self) {
        self.timer.fired().await;
        let set = self.set.borrow();
        for (_, flow) in &*set {
            if !flow.moved.take() && !flow.lifted.replace(true) {
                sys::set_low_water(&flow.socket, 1);
            }
        }
        if !set.is_empty() {
            self.timer.arm(limits::LOW_WATER_TIME);
        }
    }

    fn put(&self, flow: Rc<Flow<S>>) -> usize {
        let mut set = self.set.borrow_mut();
        if set.is_empty() {
            self.timer.arm(limits::LOW_WATER_TIME);
        }
        set.insert(flow)
    }
}

impl<S: AsFd> LowWater<S> {
    pub fn new(marks: &Rc<LowWaters<S>>) -> Self {
        Self {
            marks: Rc::clone(marks),
            set: None,
        }
    }

    /// Call it after bytes were received from `socket`, `received` of them since the last wait; `left`
    /// follow. Sets the mark if the flow is fast, lifts it near the end.
    pub fn adjust(&mut self, socket: impl FnOnce() -> S, received: usize, left: u64) {
        let near_end = left < limits::LOW_WATER_BYTES as u64;
        match &self.set {
            Some((_, flow)) if flow.lifted.get() || near_end => self.lift(),
            Some((_, flow)) => flow.moved.set(true),
            None if near_end || received < limits::LOW_WATER_BYTES => {}
            None => {
                let flow = Rc::new(Flow {
                    socket: socket(),
                    moved: Cell::new(true),
                    lifted: Cell::new(false),
                });
                sys::set_low_water(&flow.socket, limits::LOW_WATER_BYTES as i32);
                let place = self.marks.put(Rc::clone(&flow));
                self.set = Some((place, flow));
            }
        }
    }

    pub fn lift(&mut self) {
        let Some((place, flow)) = self.set.take() else {
            return;
        };
        self.marks.set.borrow_mut().remove(place);
        if !flow.lifted.get() {
            sys::set_low_water(&flow.socket, 1);
        }
    }
}

impl<S: AsFd> Drop for LowWater<S> {
    fn drop(&mut self) {
        self.lift();
    }
}
