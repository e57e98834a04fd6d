//! httpipe: HTTP clients pass data to each other over named channels.
//!
//! # The life of a request
//!
//! The server runs one **shard** for each core, a thread that owns its connections, its share of the
//! channels and its pipes, and shares none of them; which core it runs on is for the scheduler. Read
//! the modules in this order and you follow one request from `accept` to its reply:
//!
//! ```text
//! accept ─▶ read head ─▶ route ─▶ owned here? ──no──▶ hand over to the owner, go on there
//! worker    serve        handle         │yes          mesh
//!                                       ▼
//!                        join the channel's queue ─▶ match ─▶ transfer ─▶ both replies ─▶ next head
//!                        wait, registry              exchange  transfer    answer          serve
//! ```
//!
//! 1. `main` turns the command line ([`config::cli`]) into a [`config`], shares out the descriptors there are
//!    ([`config::descriptors`]), and runs the [`server`]: it opens a [`server::listener`] for every [`config::address`], starts one
//!    thread a shard, each with a [`io::runtime`] on io_uring or epoll, and heeds signals. A service
//!    manager that started it hears of that ([`server::systemd`]).
//! 2. [`worker`] runs a shard: it accepts connections, reads what other shards send, and [`worker::sweep`]s
//!    over the deadlines, by the shard's own [`io::clock`]. What the shard owns is in [`shard`]. It sleeps when
//!    there is nothing to do, or looks on for a while ([`shard::busy_poll`]).
//! 3. [`worker::task`] is the task of one connection ([`conn`] on a [`io::socket`]): it waits until something
//!    can be read, receives into the shard's buffer and parses ([`http::head`]).
//! 4. [`handle`] decides what the request asks for ([`model::route`]). If another shard owns the channel,
//!    the connection goes there whole ([`shard::mesh`]), with every byte that was read on it, and stays.
//! 5. `produce` and `consume` look for a counterpart that waits. Without one, [`exchange::waiting`] puts the
//!    request ([`model::request`]) into the channel's [`model::queue`] in the shard's [`model::registry`], and the task
//!    is back where it waits for its socket: now to learn that its client leaves.
//! 6. With one, they **match**: [`exchange`]. A body that is in hand whole leaves with the
//!    consumer's head in one send, within the same turn. Any other is moved by [`exchange::transfer`], in the
//!    producer's task: spliced through a [`io::pipe`] if it is large, under a [`io::low_water`] while it flows fast,
//!    copied if not.
//! 7. [`shard::session`] sends what each side hears, written by [`http::reply`]; what went wrong is one
//!    [`model::refusal::Refusal`]. The connection reads its next head, or closes.
//!
//! What an operator sees of it: [`observe::counters`] are counted where things happen, by each shard for
//! itself, lengths of time in a [`observe::histogram`], and added up when somebody asks, with what the kernel
//! knows of the [`observe::process`]. A line of the [`observe::access`] log is written when a request is over. The
//! [`observe::log`] has a thread of its own, and so has the [`shard::scribe`], who writes out listings; no shard waits
//! for either. A trouble that lasts is a [`observe::throttle`]: said at once, then seldom.
//!
//! # Rules
//!
//! - A task waits for readiness, never for an operation that holds a buffer: a wait that is dropped
//!   loses nothing.
//! - A step that is decided for another connection is handed to it ([`conn::Conn::hand`]); no task
//!   waits for another one, except for the answers of other shards to a listing, which they give
//!   without asking a third.
//! - Modules marked *pure* in their first lines know no runtime, no socket and no clock.
//! - Every bound is in [`limits`], every `unsafe` in [`io::sys`].
#![warn(missing_docs)]

pub mod config;
pub mod conn;
pub mod exchange;
pub mod handle;
pub mod http;
pub mod io;
pub mod limits;
pub mod model;
pub mod observe;
pub mod server;
pub mod shard;
pub mod worker;
