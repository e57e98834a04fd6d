//! What all shards share. The data path uses none of it.

use std::{
    io,
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize},
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
    /// Open connections of clients, in all; changed only when one opens or closes.
    pub connections: AtomicUsize,
    /// Acceptors that still accept clients, in all: while there is one, another connection may come.
    pub accepting: AtomicUsize,
    /// How often each shard's sweep has made progress: the watchdog checks that the counts grow.
    pub heartbeats: Box<[AtomicU64]>,
    /// A peak is over: the heap has free memory to give back.
    pub heap_is_loose: AtomicBool,
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
            heap_is_loose: AtomicBool::new(false),
            port,
            config,
        })
    }
}
