//! httpipe: HTTP clients pass data to each other over named channels.
#![deny(unsafe_code)]
#![warn(missing_docs)]

pub mod answer;
pub mod cli;
pub mod clock;
pub mod config;
pub mod conn;
pub mod error;
pub mod exchange;
pub mod handle;
pub mod http;
pub mod limits;
pub mod log;
pub mod mesh;
pub mod metrics;
pub mod pipe;
pub mod queue;
pub mod registry;
pub mod request;
pub mod route;
pub mod runtime;
pub mod serve;
pub mod server;
pub mod shard;
pub mod socket;
pub mod sys;
pub mod transfer;
pub mod wait;
pub mod worker;
