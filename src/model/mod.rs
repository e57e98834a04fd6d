//! The decisions of the server, without a socket, a clock or a runtime: which requests wait on which
//! channel, what a request asks for, and how each failure is answered. Pure.

pub mod admission;
pub mod audience;
pub mod channel;
pub mod key;
pub mod names;
mod namespaces;
pub mod queue;
pub mod refusal;
pub mod registry;
pub mod reply;
pub mod request;
pub mod route;
pub mod verdict;
