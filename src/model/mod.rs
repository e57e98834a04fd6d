//! What the server decides by, without a socket, a clock or a runtime: who waits where, what a request
//! asks for, what a client hears when something goes wrong. Pure.

pub mod audience;
pub mod channel;
pub mod key;
pub mod queue;
pub mod refusal;
pub mod registry;
pub mod reply;
pub mod request;
pub mod route;
pub mod verdict;
