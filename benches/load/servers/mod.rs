//! Starts and stops the servers that are measured.

pub mod bare_loop;
pub mod daemon;
pub mod httpipe;
mod log;
pub mod nginx;
pub mod running;
