//! The one test binary: starts the real executable, talks to it over real sockets and checks it
//! against the wire contract (`doc/protocol.md`). Owns no test itself. It must never use the
//! server's modules for what a client can see from outside; only `sim` and
//! `simulation` use them, for what no client can provoke at will. `tidy` starts no server: it
//! reads the sources.
//!
//! A test starts its own server (`support::server`), talks to it through sockets whose replies
//! are checked strictly (`support::connection`), and waits for events: a gauge in `/metrics`, a
//! byte, an end of stream. A time in a test is a bound for failure, or the server's own time limit
//! under test.

mod support;

mod access_log;
mod admin;
mod browser;
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
mod hosts;
mod listen;
mod lost_lines;
mod many;
mod memory;
mod metrics;
mod options;
mod package;
mod pipes;
mod properties;
mod proxies;
mod range;
mod readme;
mod reply;
mod restart;
mod routes;
mod scale;
mod sendfile;
mod signals;
mod sim;
mod simulation;
mod slow;
mod soak;
mod systemd;
mod tidy;
mod timeouts;
mod vanished;
mod web_pages;
