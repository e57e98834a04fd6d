//! Access to the kernel: descriptors and their readiness, pipes, time, the runtime.
//!
//! Only this folder uses monoio, the I/O of rustix, and libc.

pub mod bind;
pub mod clock;
pub mod epoll;
pub mod eventfd;
pub mod fd;
pub mod listen;
pub mod low_water;
pub mod machine;
pub mod peer_watch;
pub mod pipe;
pub mod runtime;
pub mod socket;
pub mod stderr;
pub mod sys;
pub mod timer;
pub mod write_watch;
