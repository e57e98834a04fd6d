//! The machine: cores, limits, processes, and what else runs on it.

pub mod cores;
pub mod disturbance;
pub mod executable;
pub mod machine;
pub mod process;
pub mod sys;
