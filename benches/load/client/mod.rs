//! The clients' side: the server that they drive, and as little HTTP as it needs of a client, as
//! cheap as can be.

pub mod connection;
pub mod dechunker;
pub mod large_body;
pub mod metrics;
pub mod poller;
pub mod reply;
pub mod small_body;
pub mod target;
