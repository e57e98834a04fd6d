//! The one test binary: drives the real executable over real sockets and judges it by what the
//! wire contract (`doc/protocol.md`) says. Owns no test itself; it must never reach into the
//! server's modules for what a client can see from outside. Only `sim` does: it simulates what no
//! client can provoke at will.
//! `tidy` starts no server: it reads the sources.
//!
//! A test starts its own server (`support::server`), talks to it through sockets whose replies are
//! checked strictly (`support::connection`), and waits for events: a gauge in `/metrics`, a byte,
//! an end of stream. A time stands in a test as a bound for failure, or because the server's own
//! time limits are what is tested.

mod support;

mod access_log;
mod admin;
mod chaos;
mod clients;
mod closing;
mod driver;
mod exchange;
mod expect;
mod failure;
mod files;
mod framing;
mod hostile;
mod listen;
mod many;
mod metrics;
mod options;
mod package;
mod properties;
mod proxies;
mod reply;
mod restart;
mod routes;
mod scale;
mod sim;
mod soak;
mod systemd;
mod tidy;
mod timeouts;
mod vanished;
