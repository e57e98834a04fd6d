//! The loads: what one turn does to a server, and which figures it returns.

pub mod backlog;
pub mod bulk;
pub mod crowd;
mod histogram;
pub mod idle;
pub mod latency;
pub mod mixed;
mod paced;
pub mod pairs;
pub mod programs;
pub mod siege;
mod transfer;
mod waiters;
pub mod waiting;
