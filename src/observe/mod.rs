//! What an operator sees: counters and their exposition, the log, the access log.

pub mod access;
mod batch;
pub mod counters;
mod escape;
pub mod histogram;
pub mod log;
pub mod process;
pub mod throttle;
