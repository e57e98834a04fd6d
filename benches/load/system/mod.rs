//! What the harness asks of the machine: cores, limits, processes, and who else is busy on it.

pub mod cores;
pub mod disturbance;
pub mod machine;
pub mod process;
pub mod sys;
