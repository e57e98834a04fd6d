//! What all rows share: sizes, executables, attached servers.

use std::fs::File;
use std::path::PathBuf;

use crate::client::large_body;
use crate::client::target::Target;
use crate::error::Result;
use crate::options::Options;
use crate::row::scale::Scale;

pub struct Arena {
    pub scale: Scale,
    /// In a smoke run the figures mean nothing and no goal is judged.
    pub smoke: bool,
    pub rounds: u32,
    pub executable: PathBuf,
    /// A second httpipe to compare the first with.
    pub beside: Option<PathBuf>,
    pub server_options: Vec<String>,
    pub attached: Vec<Target>,
    pub own: bool,
    /// One period of counters, which zero-copy producers send.
    pub file: File,
}

impl Arena {
    /// Applies the options. Starts nothing.
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
            beside: options.beside.clone(),
            server_options: options.server_options.clone(),
            attached,
            own: !options.only_attached,
            file: large_body::file()?,
        })
    }
}
