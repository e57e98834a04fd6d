//! What all rows share.

use std::fs::File;
use std::path::PathBuf;

use crate::client::large_body;
use crate::client::target::Target;
use crate::error::Result;
use crate::options::Options;
use crate::row::scale::Scale;

/// What all rows share.
pub struct Arena {
    /// The sizes.
    pub scale: Scale,
    /// True for a smoke run: figures then mean nothing and no goal is judged.
    pub smoke: bool,
    /// How often.
    pub rounds: u32,
    /// The server's executable.
    pub executable: PathBuf,
    /// Options for every server that the harness starts.
    pub server_options: Vec<String>,
    /// Other servers.
    pub attached: Vec<Target>,
    /// Whether httpipe itself is measured.
    pub own: bool,
    /// One period of counters, for zero-copy producers.
    pub file: File,
}

impl Arena {
    /// Everything that the options ask for; starts nothing.
    pub fn new(options: &Options) -> Result<Self> {
        let attached = options.attached()?;
        if options.only_attached && attached.is_empty() {
            return Err("--only-attached without --attach leaves nothing to measure".into());
        }
        let built = || PathBuf::from(env!("CARGO_BIN_EXE_httpipe"));
        Ok(Self {
            scale: if options.smoke {
                Scale::SMOKE
            } else {
                Scale::FULL
            },
            smoke: options.smoke,
            rounds: if options.smoke { 1 } else { options.rounds },
            executable: options.server.clone().unwrap_or_else(built),
            server_options: options.server_options.clone(),
            attached,
            own: !options.only_attached,
            file: large_body::file()?,
        })
    }
}
