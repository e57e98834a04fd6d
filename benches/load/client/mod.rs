//! What the clients share: the server under load, connections, replies, bodies. It implements only the
//! HTTP that the loads need, as cheaply as possible.

pub mod connection;
pub mod dechunker;
pub mod large_body;
pub mod metrics;
pub mod poller;
pub mod reply;
pub mod small_body;
pub mod target;
