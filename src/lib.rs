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
//! 1. `main` turns the command line ([`cli`]) into a [`config`], shares out the descriptors there are
//!    ([`files`]), and runs the [`server`]: it opens a [`listener`] for every [`address`], starts one
//!    thread a shard, each with a [`runtime`] on io_uring or epoll, and heeds signals. A service
//!    manager that started it hears of that ([`systemd`]).
//! 2. [`worker`] runs a shard: it accepts connections, reads what other shards send, and [`sweep`]s
//!    over the deadlines, by the shard's own [`clock`]. What the shard owns is in [`shard`]. It sleeps when
//!    there is nothing to do, or looks on for a while ([`busy_poll`]).
//! 3. [`serve`] is the task of one connection ([`conn`] on a [`socket`]): it waits until something
//!    can be read, receives into the shard's buffer and parses ([`http::head`]).
//! 4. [`handle`] decides what the request asks for ([`route`]). If another shard owns the channel,
//!    the connection goes there whole ([`mesh`]), with every byte that was read on it, and stays.
//! 5. `produce` and `consume` look for a counterpart that waits. Without one, [`wait`] puts the
//!    request ([`request`]) into the channel's [`queue`] in the shard's [`registry`], and the task
//!    is back where it waits for its socket: now to learn that its client leaves.
//! 6. With one, they **match**: [`exchange`]. A body that is in hand whole leaves with the
//!    consumer's head in one send, within the same turn. Any other is moved by [`transfer`], in the
//!    producer's task: spliced through a [`pipe`] if it is large, under a [`mark`] while it flows fast,
//!    copied if not.
//! 7. [`answer`] sends what each side hears, written by [`http::reply`]; what went wrong is one
//!    [`error::Refusal`]. The connection reads its next head, or closes.
//!
//! What an operator sees of it: [`metrics`] are counted where things happen, by each shard for
//! itself, lengths of time in a [`histogram`], and added up when somebody asks, with what the kernel
//! knows of the [`process`]. A line of the [`access`] log is written when a request is over. The
//! [`log`] has a thread of its own, and so has the [`scribe`], who writes out listings; no shard waits
//! for either. A trouble that lasts is a [`complaint`]: said at once, then seldom.
//!
//! # Rules
//!
//! - A task waits for readiness, never for an operation that holds a buffer: a wait that is dropped
//!   loses nothing.
//! - A step that is decided for another connection is handed to it ([`conn::Conn::hand`]); no task
//!   waits for another one, except for the answers of other shards to a listing, which they give
//!   without asking a third.
//! - Modules marked *pure* in their first lines know no runtime, no socket and no clock.
//! - Every bound is in [`limits`], every `unsafe` in [`sys`].
#![warn(missing_docs)]

pub mod access;
pub mod address;
pub mod answer;
pub mod busy_poll;
pub mod cli;
pub mod clock;
pub mod complaint;
pub mod config;
pub mod conn;
pub mod error;
pub mod exchange;
pub mod files;
pub mod handle;
pub mod histogram;
pub mod http;
pub mod limits;
pub mod listener;
pub mod log;
pub mod mark;
pub mod mesh;
pub mod metrics;
pub mod pipe;
pub mod process;
pub mod queue;
pub mod registry;
pub mod request;
pub mod route;
pub mod runtime;
pub mod scribe;
pub mod serve;
pub mod server;
pub mod shard;
pub mod socket;
pub mod sweep;
pub mod sys;
pub mod systemd;
pub mod transfer;
pub mod wait;
pub mod worker;
