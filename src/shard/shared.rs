//! What all shards share. Nothing of it is on the data path.

use std::{
    io,
    sync::atomic::{AtomicU64, AtomicUsize},
};

use crate::{config::Config, observe::access::AccessLog, shard::mesh::Mesh};

/// Shared by all shards of a server.
pub struct Shared {
    /// How the server runs.
    pub config: Config,
    /// The way to the other shards.
    pub mesh: Mesh,
    /// The access log, if there is one.
    pub access: Option<AccessLog>,
    /// Open connections of clients, in all; touched when one opens or closes.
    pub connections: AtomicUsize,
    /// Acceptors that still take in clients, in all: until there is none, no shard can know that it
    /// has seen the last connection.
    pub accepting: AtomicUsize,
    /// How many rounds each shard's sweep has made: the watchdog looks whether they go on.
    pub heartbeats: Box<[AtomicU64]>,
    /// The port of the first listener for clients that has one.
    pub port: Option<u16>,
}

impl Shared {
    /// Of a server with this many `listeners` for clients.
    ///
    /// # Errors
    /// No descriptor is free.
    pub fn new(config: Config, listeners: usize, port: Option<u16>) -> io::Result<Self> {
        Ok(Self {
            mesh: Mesh::new(config.shards)?,
            access: config.access.map(AccessLog::new),
            connections: AtomicUsize::new(0),
            accepting: AtomicUsize::new(config.shards * listeners),
            heartbeats: (0..config.shards).map(|_| AtomicU64::new(0)).collect(),
            port,
            config,
        })
    }
}
