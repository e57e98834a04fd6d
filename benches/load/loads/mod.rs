//! What is done to a server in one turn, and which figures come out of it.

pub mod bulk;
pub mod crowd;
mod histogram;
pub mod latency;
pub mod mixed;
mod paced;
pub mod pairs;
pub mod siege;
mod transfer;
pub mod waiting;
