//! The servers that are measured: started, watched, stopped.

pub mod bare_loop;
mod daemon;
pub mod httpipe;
mod log;
pub mod nginx;
pub mod running;
