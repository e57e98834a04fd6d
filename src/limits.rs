//! Every bound of the server, in one place.
//!
//! Owns numbers only. Each says why it has this value and what happens at it; a measured one carries
//! its measurements. Must never hold a value that a client can change, nor one that depends on the
//! machine.

use std::time::Duration;

// ---------------------------------------------------------------- heads

/// Longest request head, in bytes: from the first byte after the previous request (leading empty
/// lines included) to the end of the empty line after the fields.
///
/// Room for the longest target and as much again for fields; Node.js has the same bound by default.
/// Every offset into a head fits a `u16`. A longer head is answered with 431 and the connection
/// closes.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Most field lines in one request head.
///
/// Browsers send about 20 and proxies add about 10; the table of fields (32 bytes each) takes 2 KiB of
/// stack. One more is answered with 431 and the connection closes.
pub const HEAD_FIELDS_MAX: usize = 64;

/// Longest request target, in bytes, as sent (before percent-decoding).
///
/// RFC 9110 §4.1 asks for 8000 at least. The longest useful target (two names of 255 bytes, each byte
/// escaped) has 1,541. A longer one is answered with 414 and the connection closes, even while the
/// head is still incomplete.
pub const TARGET_BYTES_MAX: usize = 8 * 1024;

/// Longest namespace or channel name, in bytes after percent-decoding; the shortest has one.
///
/// The length of a file name on Linux, so a name can be a file's name. A longer one is answered with
/// 400; an empty one is another path and answered with 404.
pub const NAME_BYTES_MAX: usize = 255;

/// Most field lines of a producer that are passed on to its consumer.
///
/// Twice the number of field names that are passed on, so each may come in two lines; the table stays
/// small enough to be copied with the head. One more is answered with 431 and the connection closes.
pub const FORWARDED_FIELDS_MAX: usize = 8;

/// Most bytes received at once while a head is read: the head, and as much of the body as fits.
///
/// A waiting producer keeps no more of its body than this in the server's memory; the rest stays in
/// the buffers of the kernel and of the sender.
pub const HEAD_READ_BYTES: usize = HEAD_BYTES_MAX;

/// The same on a connection whose last body was spliced: the next body is likely large too, and what
/// arrives with the head must be copied. 64 KiB bodies cost 49.5 µs of CPU each instead of 56.2 with
/// [`HEAD_READ_BYTES`], medians of 5.
pub const HEAD_READ_BYTES_BEFORE_LARGE: usize = 1024;

/// Most requests of one buffer that are parsed in one turn: one read may bring several hundred.
pub const PARSED_AT_ONCE: usize = 16;

// ---------------------------------------------------------------- bodies

/// Longest line in front of a chunk, in bytes: size, extensions and CRLF.
///
/// A size has 16 digits at most and extensions are rare and dropped; the bound keeps a sender from
/// streaming an endless extension (RFC 9112 §7.1.1 asks for one). Beyond it the body is refused as
/// broken framing.
pub const CHUNK_LINE_BYTES_MAX: usize = 1024;

/// Longest trailer section, in bytes, with the empty line that ends it.
///
/// As much as a head may have: trailers are fields that came late. Beyond it the body is refused as
/// broken framing.
pub const TRAILER_BYTES_MAX: usize = 16 * 1024;

/// Most field lines in a trailer section; as many as a head may have. One more is refused as broken
/// framing.
pub const TRAILER_FIELDS_MAX: usize = 64;

/// Most bytes received at once while a body is copied, unless the consumer's socket has room for more,
/// and so the most that one exchange holds for a consumer that does not take them.
pub const COPY_BYTES: usize = 64 * 1024;

/// Most bytes received at once while a body is copied: the size of a shard's buffer.
///
/// 1 GiB in chunks of 64 KiB, CPU seconds a GiB at 64, 128, 256 and 512 KiB: 0.26, 0.23, 0.23, 0.22 under
/// reno and 0.62, 0.45, 0.42, 0.28 under BBR; medians of 7. A core's second cache level had 2 MiB.
pub const COPY_BYTES_MAX: usize = 512 * 1024;

/// Bytes of a TCP connection that wait in the kernel's send buffer before it calls the socket full
/// (`TCP_NOTSENT_LOWAT`, `tcp(7)`). What was sent and not acknowledged comes on top. Without it the kernel
/// kept up to 4 MiB for a consumer that took nothing.
pub const UNSENT_BYTES_MAX: usize = 512 * 1024;

/// As [`UNSENT_BYTES_MAX`], for the rest of a body of which [`BULK_BYTES`] have moved.
///
/// 1 GiB with a length, CPU seconds with 512 KiB, 1 MiB, 2 MiB, and without a bound: 0.054, 0.045, 0.044
/// and 0.044 under reno; 0.30, 0.31, 0.29 and 0.27 under BBR; medians of 15.
pub const UNSENT_BYTES_MAX_BULK: usize = 2 * 1024 * 1024;

/// A consumer that was sent so much of a body, in bytes, reads it: for one that takes nothing there is less
/// room, unless its receive buffer was set to megabytes.
pub const BULK_BYTES: u64 = 8 * 1024 * 1024;

/// Longest body of a request that takes none (`GET`, `DELETE`), in bytes: it is read and dropped. A
/// longer one is answered with 413 and the connection closes.
pub const DROPPED_BODY_BYTES_MAX: u64 = 64 * 1024;

/// Most bytes read and dropped after a last reply, so that the close does not destroy the reply on its
/// way (RFC 9112 §9.6). Beyond it the server reads no more, and the client blocks until it reads the
/// reply or the server closes.
///
/// Many clients read no reply before they have sent their whole body (Python's `http.client`), and lose
/// it if the server closes before that. Few bodies are longer, and no client should have to send the
/// whole of one that is, in vain.
pub const LINGER_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// Shortest payload that is spliced, in bytes; less is copied.
///
/// CPU seconds a GiB, spliced and copied, medians of 7 under reno: 0.54 and 0.72 in bodies of 32 KiB, of
/// which half comes with the head; 0.29 and 0.45 in bodies of 64 KiB; 0.18 and 0.40 in bodies of 128 KiB.
/// Under BBR, medians of 11: 0.54 and 0.72, 0.38 and 0.46, 0.24 and 0.36.
pub const SPLICE_BYTES_MIN: u64 = 16 * 1024;

/// Smallest chunk that is spliced, in KiB; smaller ones are copied, many at a time. A spliced chunk takes
/// two system calls for its head, and two for each piece of it.
///
/// Many programs send chunks of 64 KiB, some with their framing. 1 GiB of them under reno, CPU seconds and
/// GiB/s, spliced and copied, medians of 5: 0.13 at 3.5 and 0.25 at 3.8 from a sender that never pauses;
/// 0.16 at 1.4 and 0.23 at 1.5 from Node; 0.14 at 2.2 and 0.17 at 3.3 from Python. On loopback a spliced
/// body costs its producer and consumer more, because its pages go cold.
pub const SPLICE_CHUNK_KIB_MIN: u16 = 60;

/// As [`SPLICE_CHUNK_KIB_MIN`], for a consumer whose TCP paces, as BBR does.
///
/// CPU seconds a GiB and GiB/s under BBR, spliced and copied, medians of 9: in chunks of 64 KiB 0.52 at 1.2
/// and 0.31 at 1.9; of 256 KiB 0.42 at 1.4 and 0.39 at 1.9; of 512 KiB 0.40 at 1.5 and 0.38 at 2.0; of 4 MiB
/// 0.33 at 1.6 and 0.40 at 1.8.
pub const SPLICE_PACED_CHUNK_KIB_MIN: u16 = 512;

/// Fewest bytes that an exchange may splice in one turn, however many exchanges are under way.
///
/// A turn of all of them together moves [`PIPE_BYTES`]. More bytes a turn mean fewer wakeups (0.63 CPU
/// seconds a GiB at 256 KiB, 0.54 at 512 KiB, 0.40 at 1 MiB, one exchange, medians of 8); fewer bytes
/// mean that small requests wait less between the turns of many large bodies.
pub const SPLICE_BUDGET_BYTES_MIN: usize = 128 * 1024;

/// While a large body flows fast, the producer's socket wakes the server for this many bytes at a time
/// instead of for every segment (`SO_RCVLOWAT`). The flow is fast if so many bytes are received between
/// two waits.
///
/// 0.41 CPU seconds a GiB at 64 KiB, 0.40 at 128 KiB, 0.35 at 256 KiB, 0.35 at 512 KiB; medians of 8.
pub const LOW_WATER_BYTES: usize = 256 * 1024;

/// How long bytes may lie below the low-water mark, once the flow pauses, before the mark is lifted.
pub const LOW_WATER_TIME: Duration = Duration::from_millis(2);

/// Most bytes received at once to find the next chunk's head after a spliced chunk: the end of that
/// chunk and a head without extensions. Payload that arrives with it has to be copied.
pub const CHUNK_HEAD_READ_BYTES: usize = 16;

// ---------------------------------------------------------------- pipes

/// Most pipes of a shard, pooled and in use, if there are enough descriptors. Exchanges of large
/// bodies beyond them are copied: that many at once share the core anyway.
pub const PIPES_MAX: usize = 32;

/// If descriptors are few, pipes take at most one of this many, and none of those that
/// [`CONNECTIONS_MIN`] needs: a copied body costs twice the CPU, but a missing connection costs a client.
pub const PIPES_PART: usize = 4;

/// Size of a pipe, in bytes: as much as the kernel gives an ordinary user
/// (`/proc/sys/fs/pipe-max-size`, `pipe(7)`).
pub const PIPE_BYTES: usize = 1024 * 1024;

/// How long an exchange that stands still keeps its pipe. What is in it then goes to memory.
pub const PIPE_STILL_TIME: Duration = Duration::from_secs(1);

/// Most bytes in memory that a shard has emptied its pipes of. At the limit, what stands still keeps its
/// pipe.
pub const EMPTIED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Smallest pipe that is spliced through, in bytes. An ordinary user who has 64 MiB in pipes already
/// gets pipes of two pages, which cost more than a copy.
pub const PIPE_BYTES_MIN: usize = 64 * 1024;

// ---------------------------------------------------------------- time

/// Longest sleep of the sweep. A time limit never expires early, and at most this much late, plus the
/// time that the work takes when thousands expire together.
pub const SWEEP_PERIOD: Duration = Duration::from_millis(100);

/// Shortest sleep of the sweep, so that limits that expire shortly after each other share a wakeup: ten
/// wakeups a second cost 0.065 % of a core.
pub const TICK_MIN: Duration = Duration::from_millis(50);

/// How long no time limit strikes after the process was paused, so that whatever came meanwhile is read
/// first.
pub const GRACE_AFTER_PAUSE: Duration = Duration::from_millis(250);

/// Slots of connections that are visited in one turn: each may be out of the core's cache, and there
/// may be tens of thousands.
pub const SLOTS_LOOKED_AT_ONCE: usize = 512;

/// New time limits that a shard keeps unsorted until its next look; beyond them each is sorted in at
/// once, which costs 250 instructions more per connection.
pub const NEW_DEADLINES_MAX: usize = 1024;

/// Connections that are answered or closed in one turn because their time is over, their channel was
/// deleted or the server shuts down. Beside 5,000 slow heads the 99th percentile of small pairs was
/// 276 and 272 µs at 8, 249 and 257 at 2 (medians of 3, two runs each).
pub const SENT_AWAY_AT_ONCE: usize = 2;

/// Pairs matched in one turn after an exchange ends. Each pair is two sends.
pub const MATCHED_AT_ONCE: usize = 16;

/// Events of watched sockets that are reported in one turn: peers that leave, and peers that take bytes
/// again.
pub const EVENTS_AT_ONCE: usize = 64;

/// Peers whose TCP state is asked for in one turn: a system call each.
pub const LOST_ASKED_AT_ONCE: usize = 32;

/// How long a client may be silent after a last reply; then the server closes. Also how long it may send
/// in all while connections are scarce, or when `--drain-timeout` is over.
///
/// Room for three lost segments in a row; nginx grants 5 s (`lingering_timeout`).
pub const LINGER_PAUSE: Duration = Duration::from_secs(2);

/// How long a client may send after a last reply.
///
/// 64 MiB take 270 s at 2 Mbit/s. nginx grants 30 s (`lingering_time`), but by default it takes bodies of
/// 1 MiB at most; here long bodies are what clients come for.
pub const LINGER_TIME_MAX: Duration = Duration::from_secs(300);

/// Connections are scarce if more than one of this many is taken: then a client may send only for
/// [`LINGER_PAUSE`] after a last reply, so that clients who never stop keep nobody out for long.
pub const LINGER_PART: usize = 2;

/// How long a connection that has sent nothing yet is kept open when a drain begins: its client
/// connected before that and is about to send, and learns more from a reply than from a close.
/// Several round trips around the world.
pub const DRAIN_GRACE: Duration = Duration::from_secs(1);

/// How long a connection is silent before TCP asks whether the peer is still there, in seconds,
/// unless `--tcp-keepalive` says otherwise (`tcp(7)`, `TCP_KEEPIDLE`).
///
/// A minute is below the idle limits of the NATs and load balancers on the way, whose state the
/// probes keep alive: 4 minutes in Azure, 350 seconds in AWS.
pub const KEEPALIVE_IDLE_SECONDS: u16 = 60;

/// Longest value of `--tcp-keepalive`, in seconds: the kernel's own bound (`tcp(7)`).
pub const KEEPALIVE_IDLE_SECONDS_MAX: u16 = 32767;

/// How many probes go unanswered before the peer counts as gone (`TCP_KEEPCNT`). One lost packet must
/// not end a wait, nor must a few in a row.
///
/// Together the probes take as long as the silence before the first (`TCP_KEEPINTVL`, at least a
/// second): a peer that vanished is found after twice `--tcp-keepalive`.
pub const KEEPALIVE_PROBES: u32 = 6;

/// How many segments or window probes in a row have to go unanswered, besides the time that a peer
/// has been silent, before it counts as gone: one of them may be on its way, and one lost.
pub const UNANSWERED_MIN: u8 = 3;

/// How long an address in use is tried again before that is an error. A killed server's port was
/// free 6 to 15 ms after its process had ended (25 of 25 times on io_uring, never on epoll), later
/// where the kernel's workers are busy; a restart must not fail for that.
pub const BIND_PATIENCE: Duration = Duration::from_secs(1);

/// The time between two tries.
pub const BIND_PERIOD: Duration = Duration::from_millis(10);

// ---------------------------------------------------------------- admission

/// Connections accepted in one turn.
pub const ACCEPT_BATCH: usize = 16;

/// Connections that the kernel may keep waiting for `accept`; it lowers this to
/// `net.core.somaxconn` (4096 by default).
pub const LISTEN_BACKLOG: i32 = 4096;

/// Connections beyond `--max-connections` that are accepted and answered with 503, if there are enough
/// descriptors. Beyond them, new clients wait in the listen queue.
pub const OVER_LIMIT_CONNECTIONS: usize = 64;

/// If descriptors are few, those connections take one of this many.
pub const OVER_LIMIT_PART: usize = 8;

/// Addresses and inherited sockets that are listened on at once; every shard has a descriptor of
/// each. One more is an error at start.
pub const LISTENERS_MAX: usize = 16;

/// Addresses of the name in `--host`; more are an error at start. The descriptors that each shard keeps
/// ([`RESERVED_FILES_PER_SHARD`]) are enough for so many listeners.
pub const HOST_ADDRESSES_MAX: usize = 4;

/// How often the kernel is asked for a port that is free on all addresses of a name.
pub const PORT_TRIES: usize = 8;

/// Connections of operators at once, on the admin listener. They do not count against
/// `--max-connections`, so that operators can inspect a full server; beyond them, new ones wait in
/// the listen queue. A scraper and a probe need two; the rest is for people.
pub const ADMIN_CONNECTIONS_MAX: usize = 64;

/// Longest path of a Unix socket, in bytes: what `sockaddr_un` holds beside the NUL that ends it
/// (`unix(7)`). A longer one is an error at start.
pub const UNIX_PATH_BYTES_MAX: usize = 107;

/// Descriptors kept for what is neither a connection nor a shard's: standard streams, the listener,
/// signals (6 in all), and room for short-lived ones: the duplicate of a connection that is handed
/// over, the kernel's files about this process.
pub const RESERVED_FILES: usize = 32;

/// Descriptors that each shard needs for itself: ring, listener, eventfds, timers, the watches on
/// sockets (10 in all), and nearly as many again for more listeners and what a runtime may open.
pub const RESERVED_FILES_PER_SHARD: usize = 16;

/// Fewest connections that the limit of open files must allow, or the server does not start. A handful
/// of clients on each side; with fewer it would refuse nearly every client, and an error at start helps
/// more.
pub const CONNECTIONS_MIN: usize = 16;

/// Below this many descriptors the server logs at its start how many connections it can serve. More
/// than the 1024 that a shell or an old service manager sets; a higher limit was chosen on purpose.
pub const FILES_WARNED_BELOW: usize = 2048;

/// Channels that a listing looks at in one turn.
pub const LISTED_AT_ONCE: usize = 1024;

/// Channels of a shard that are not sorted into their namespaces yet. A question about a namespace has
/// to sort them in, in one turn; as many channels can be open for a moment at no such cost.
pub const NEW_CHANNELS_MAX: usize = 1024;

/// Channels of a namespace that are deleted before the next ones are looked for.
pub const DELETED_AT_ONCE: usize = 64;

/// Waiting requests of a deleted channel that leave their queues in one turn. They are answered in
/// later turns, [`SENT_AWAY_AT_ONCE`].
pub const EVICTED_AT_ONCE: usize = 512;

/// Longest listing, in bytes, that is sorted and written within a turn. A longer one goes to the thread
/// of the pool and back, which costs as much as to write this.
pub const LISTING_BYTES_IN_A_TURN: usize = 8 * 1024;

/// Listings that are made and unsent, on all shards, while another is made whatever their size. Each
/// is as large as the server is full, and is sent to all who asked for it.
pub const LISTINGS_MAX: usize = 4;

/// As long as the unsent ones have fewer bytes than this together, any number of them. Beyond both, a
/// client that asks for a listing is answered with 503. Metrics are not counted: a scraper must see a
/// server that is busy with listings, and a connection holds at most one page of them.
pub const LISTINGS_BYTES_MAX: usize = 4 * 1024 * 1024;

// ---------------------------------------------------------------- log

/// Connections, or waiting requests, of all shards that are a peak; each shard has an equal share of
/// them. After a peak the heap gives its free memory back. Each may have held a head and a part of a
/// body, 32 KiB in all, so at most 8 MiB stay without a peak. What is left of a peak when it is over
/// counts as one however few they are: a crowd may take long to go.
pub const PEAK_MIN: usize = 256;

/// Rounds of the sweep for which a number has to be low before a peak is over: a second.
pub const PEAK_OVER_LOOKS: u32 = 10;

/// Minimum interval between two times that the heap gives memory back. It takes up to 25 ms for 100 MiB,
/// on a thread of its own, and whoever allocates meanwhile may wait.
pub const HEAP_TRIM_PERIOD: Duration = Duration::from_secs(5);

/// Minimum interval between two log lines about the same persistent problem: a line for each occurrence
/// would bury the others and fill disks.
pub const THROTTLE_PERIOD: Duration = Duration::from_secs(10);

/// Log lines that wait for the log's thread. One more is dropped and counted: no shard ever waits.
///
/// What a core can log while the thread rests ([`LOG_REST`]), with room to spare; a line has 0.2 to
/// 1.5 KB, so at most 6 MB wait for a reader that has stopped.
pub const LOG_LINES_MAX: usize = 4096;

/// Most bytes of log that are written to standard error at once.
pub const LOG_WRITE_BYTES: usize = 64 * 1024;

/// How long the log's thread rests once it has written everything: no line comes later than that,
/// and no shard has to wake the thread more often.
pub const LOG_REST: Duration = Duration::from_millis(2);

/// Minimum interval between two reports of lost lines, while lines come faster than they are read.
pub const LOG_REPORT_PERIOD: Duration = Duration::from_secs(1);

// ---------------------------------------------------------------- what must hold between them

/// Every offset into a head is a `u16`.
const _: () = assert!(HEAD_BYTES_MAX <= u16::MAX as usize);
const _: () = assert!(TARGET_BYTES_MAX < HEAD_BYTES_MAX);
/// A head may be incomplete by one byte when the next read begins behind it.
const _: () = assert!(HEAD_BYTES_MAX + HEAD_READ_BYTES <= COPY_BYTES);
const _: () = assert!(HEAD_READ_BYTES_BEFORE_LARGE <= HEAD_READ_BYTES);
/// What a shard's buffer holds is sent in one piece.
const _: () = assert!(COPY_BYTES <= PIPE_BYTES_MIN);
const _: () = assert!(SPLICE_BYTES_MIN as usize <= COPY_BYTES);
const _: () =
    assert!(COPY_BYTES <= COPY_BYTES_MAX && SPLICE_BYTES_MIN <= 1024 * SPLICE_CHUNK_KIB_MIN as u64);
const _: () = assert!(SPLICE_CHUNK_KIB_MIN <= SPLICE_PACED_CHUNK_KIB_MIN);
/// A fast flow that is copied reaches its mark.
const _: () = assert!(LOW_WATER_BYTES <= COPY_BYTES_MAX);
const _: () = assert!(SPLICE_BUDGET_BYTES_MIN <= PIPE_BYTES && PIPE_BYTES_MIN <= PIPE_BYTES);
/// A mark above the pipe's size would never be reached.
const _: () = assert!(LOW_WATER_BYTES <= PIPE_BYTES);
const _: () = assert!(TICK_MIN.as_millis() > 0 && TICK_MIN.as_millis() <= SWEEP_PERIOD.as_millis());
/// The sweep needs fewer unanswered probes than keepalive does.
const _: () = assert!((UNANSWERED_MIN as u32) < KEEPALIVE_PROBES);
const _: () = assert!(KEEPALIVE_IDLE_SECONDS <= KEEPALIVE_IDLE_SECONDS_MAX);
const _: () = assert!(ACCEPT_BATCH <= LISTEN_BACKLOG as usize);
const _: () = assert!(LINGER_PAUSE.as_millis() < LINGER_TIME_MAX.as_millis());
