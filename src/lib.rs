//! httpipe: HTTP clients pass data to each other over named channels.
//!
//! What clients can rely on is in `doc/protocol.md`. This page is for readers of the code: the path of a
//! request, then every noun, then the rules.
//!
//! # The path of a request
//!
//! The server runs one **shard** for each core: a thread that owns its connections, its share of the
//! channels and its pipes, and shares none of them. Read the files in this order and you follow one
//! request from `accept` to its reply; each step calls the next.
//!
//! ```text
//! accept ─▶ read head ─▶ route ─▶ owned here? ──no──▶ hand over to the owner, go on there
//! worker    worker       handle         │yes          shard
//!                                       ▼
//!                        arrive on the channel ─▶ match ─▶ exchange ─▶ both replies ─▶ next head
//!                        exchange, model          exchange  exchange    shard          worker
//! ```
//!
//! 1. `main.rs` turns the command line (`config/cli.rs`) into a [`Config`] and calls [`run`]
//!    (`server/mod.rs`): it opens the listeners, starts a thread for each shard, each on a runtime of
//!    its own (`io/runtime.rs`), and acts on signals.
//! 2. `worker/mod.rs` runs a shard's loops. `worker/accept.rs` accepts a connection (`conn/mod.rs`) on
//!    a socket (`io/socket.rs`) and spawns its task.
//! 3. `worker/task.rs` is the life of a connection. It waits until something can be read;
//!    `worker/heads.rs` receives it into the shard's buffer and parses it (`http/head.rs`).
//! 4. `handle/mod.rs` decides what the request asks for (`model/route.rs`) and passes it to one file a
//!    verb, which returns a step (`conn/step.rs`): a reply, or what the task does next. If another
//!    shard owns the channel, the connection goes there whole (`shard/mesh.rs`), with every byte that
//!    was read on it, and stays.
//! 5. `handle/produce.rs` and `handle/consume.rs` let the request arrive on its channel:
//!    `exchange/matching.rs`. Without a counterpart it waits in the channel's queue
//!    (`model/registry.rs`, `model/queue.rs`), and its task waits for its socket again: now to learn
//!    that its client leaves.
//! 6. With a counterpart the two match. A body that has arrived whole leaves with the consumer's head in
//!    one send, within the same turn. For any other an exchange begins (`exchange/mod.rs`), driven by
//!    the producer's task: from a source (`exchange/source.rs`) to a sink (`exchange/sink.rs`),
//!    spliced through a pipe (`exchange/splice.rs`) if it is large, copied (`exchange/copy.rs`) if not.
//! 7. `model/verdict.rs` decides how each side of a failed exchange is answered; `exchange/mod.rs`
//!    applies the ruling. When the exchange is over, `exchange/matching.rs` matches the next waiters.
//! 8. `shard/session.rs` carries out the decision: it writes the reply (`http/reply.rs`), sends, counts
//!    and logs it, and decides whether the connection reads its next head or closes.
//!
//! Periodically, `worker/sweep.rs` ends what has lasted too long (`shard/deadlines.rs`), peers that
//! vanished, and, when the server shuts down, what is left.
//!
//! # Nouns
//!
//! | file | noun |
//! | --- | --- |
//! | `server/mod.rs` | the process: start, join |
//! | `server/signals.rs` | what the process does at signals |
//! | `server/listener.rs` | **Listener**: a listening socket, bound here or inherited |
//! | `server/socket_file.rs` | **SocketFile**: the file of a Unix socket that was bound here |
//! | `server/systemd.rs` | notifications to the service manager |
//! | `worker/mod.rs` | a shard's loops, its mailbox, its end |
//! | `worker/accept.rs` | **Acceptor**: one listener of one shard |
//! | `worker/task.rs` | the life of a connection |
//! | `worker/heads.rs` | the reading of heads |
//! | `worker/linger.rs` | **Linger**: how long a client is read after its last reply |
//! | `worker/sweep.rs` | **Sweep**: what a shard does periodically |
//! | `handle/target.rs` | **Target**: a request and its connection |
//! | `handle/guard.rs` | what is refused whatever it asks for |
//! | `handle/documents.rs` | the desk: makes listings and metrics for clients of all shards |
//! | `handle/own_share.rs` | questions to all shards, and one shard's share of the answer |
//! | `handle/*.rs` | one file a verb |
//! | `exchange/mod.rs` | **Exchange**: a body on its way from one source to its sinks |
//! | `exchange/source.rs` | **Source**: where the body comes from, and its read budget |
//! | `exchange/sink.rs` | **Sink**: where it goes |
//! | `exchange/offer.rs` | **Offer**: what a producer brings to a match |
//! | `exchange/matching.rs` | arrival, match, and going on after an exchange |
//! | `exchange/waiting.rs` | leaving a queue: claimed, turned away, evicted |
//! | `shard/mod.rs` | **Shard**: what one core owns |
//! | `shard/shared.rs` | **Shared**: what all shards share |
//! | `shard/session.rs` | **Session**: a shard and one of its connections, and the replies to it |
//! | `shard/connections.rs` | **Connections**: each under its id |
//! | `shard/deadlines.rs` | **Deadlines**: time limits, in order |
//! | `shard/backlog.rs` | **Backlog**: channels that are matched further in a later turn |
//! | `shard/mesh.rs` | **Mesh**: which shard owns a channel, and the messages between shards |
//! | `shard/peak.rs` | **Peak**: a number was high and stays low |
//! | `shard/questions.rs` | **Questions** to the other shards, until they are answered |
//! | `shard/listings.rs` | **Listings**: who asked for which, and how many are unsent |
//! | `shard/wakers.rs` | **Wakers**: loops that wait for the next tick |
//! | `shard/busy_poll.rs` | **BusyPoll**: when a shard polls instead of sleeping |
//! | `conn/mod.rs` | **Conn**: a connection and what its task is doing |
//! | `conn/inbound.rs`, `conn/outbound.rs` | its two directions: **Inbound** and **Outbound** |
//! | `conn/outbox.rs` | **Outbox**: what is on its way to a peer, and how it is framed |
//! | `conn/signal.rs` | **Signal**: how other tasks reach its task |
//! | `conn/step.rs` | **Step**: what a handler decides; **Next**: what the task does next |
//! | `conn/deadline.rs` | **Deadline**: the time limit it is under |
//! | `observe/counters.rs` | **Counters**, and their sum over the shards |
//! | `observe/histogram.rs` | **Histogram**: how long things took |
//! | `observe/access.rs` | **AccessLog**, and the **Line** of the current request |
//! | `observe/log.rs`, `observe/batch.rs` | the log; **Batch**: lines on their way to standard error |
//! | `observe/escape.rs` | characters that a line of the log must not contain |
//! | `observe/process.rs`, `observe/throttle.rs` | the process, throttled lines |
//! | `model/registry.rs`, `model/channel.rs` | **Registry**: the channels that one shard owns |
//! | `model/admission.rs` | **Limits** of a registry, and which of them refused a request |
//! | `model/queue.rs`, `model/key.rs` | **Queue** of one side of a channel; **Key** and its hash |
//! | `model/namespaces.rs`, `model/names.rs` | **Namespaces**: the channels of each; **Names**, packed for a listing |
//! | `model/route.rs`, `model/audience.rs` | **Route**: what a request asks for; **Audience**: which routes a listener has |
//! | `model/request.rs` | requests that are kept: **ProducerRequest**, **ConsumerRequest** |
//! | `model/refusal.rs`, `model/reply.rs` | **Refusal**: an error response; **Reply**: any of our own |
//! | `model/verdict.rs` | the failure table: **Cause**, **Stage**, **Ruling**, **WaitEnd** |
//! | `config/*.rs` | **Config**, command line, environment, **Address**, **Host**, shares of the **Descriptors** |
//! | `io/fd.rs`, `io/socket.rs`, `io/listen.rs` | **AsyncFd**, **Transport**, **ListenSocket** |
//! | `io/bind.rs` | how listening sockets are bound, and what an inherited descriptor is |
//! | `io/pipe.rs`, `io/low_water.rs` | **Pipes** to splice through, while bodies flow; **LowWaters** of fast flows |
//! | `io/epoll.rs` | **Epoll**: watches many sockets, each for one event |
//! | `io/peer_watch.rs` | **PeerWatch**: detects that peers with unread bytes leave |
//! | `io/write_watch.rs` | **WriteWatch**: waits until sockets take more bytes, half-closed or not |
//! | `io/timer.rs`, `io/clock.rs`, `io/eventfd.rs` | **TimerFd**, **Clock**, **EventFd** |
//! | `io/runtime.rs`, `io/machine.rs`, `io/stderr.rs` | **Runtime**, **Ring**; the machine; **StandardError** |
//! | `io/sys.rs` | system calls with `unsafe` |
//! | `http/head.rs`, `http/head_error.rs` | **RequestHead**: parsed and validated; **HeadError** |
//! | `http/method.rs`, `http/host.rs` | **Method**; the syntax of a Host field |
//! | `http/browser.rs` | **Initiator**: who wants a request, as far as a browser says |
//! | `http/fields.rs`, `http/span.rs` | **Fields**: relevant fields; **Span**: a range of a head |
//! | `http/range.rs` | the rule for a `Range` field |
//! | `http/forwarded.rs` | **Forwarded**: the fields that a consumer receives from its producer |
//! | `http/chunked.rs`, `http/decode.rs`, `http/encode.rs` | **ChunkedDecoder**, **BodyDecoder**, **Encoder** |
//! | `http/reframe.rs` | a received piece of a body becomes one to send |
//! | `http/reply.rs`, `http/status.rs` | how replies are written; **Status** |
//! | `limits.rs` | every bound |
//!
//! # Rules
//!
//! - A folder imports only folders further down: `server → worker → handle → exchange → shard → conn →
//!   observe → {model, config} → {http, io} → limits`. `tests/tidy.rs` reads the `use` lines.
//! - `model` and `http` are pure: they know no runtime, no socket and no clock.
//! - A task waits for readiness, never for an operation that holds a buffer: a wait that is dropped
//!   loses nothing.
//! - What is decided for another connection is handed to it (`Conn::hand`); no task waits for another
//!   one, except for the answers of other shards to a question: the desk's documents, which are made of
//!   shares, and shares, which each shard gives without asking another.
//! - A handler returns a reply; `Session::send` sends it.
//! - Every bound is in `limits.rs`, every `unsafe` in `io/sys.rs`.

mod config;
mod conn;
mod exchange;
mod handle;
mod http;
mod io;
mod limits;
mod model;
mod observe;
mod server;
mod shard;
mod worker;

pub use config::{Config, cli::Cli};
pub use server::run;

/// What tests, fuzzers and benchmarks use. Not a public interface: it may change at any time.
#[doc(hidden)]
pub mod testing {
    pub mod config {
        pub use crate::config::{Form, HostAndPort, Keepalive, Timeouts, descriptors, host};
    }
    pub mod conn {
        pub use crate::conn::{outbound, signal};
    }
    pub mod handle {
        pub use crate::handle::documents;
    }
    pub mod http {
        pub use crate::http::{chunked, decode, encode, head, head_error, method};
    }
    pub mod io {
        pub use crate::io::eventfd;
    }
    pub mod limits {
        pub use crate::limits::*;
    }
    pub mod model {
        pub use crate::model::{
            admission, audience, key, names, queue, refusal, registry, request, route, verdict,
        };
    }
    pub mod shard {
        pub use crate::shard::mesh;
    }
}
