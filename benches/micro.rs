//! Micro-benchmarks of the code that every request runs (heads, routes, chunks, matching, the mailbox) and
//! of listings, which must not delay other requests.
//!
//! ```text
//! cargo bench --bench micro                all of them
//! cargo bench --bench micro -- matching    those whose path contains a word
//! ```
//!
//! They count allocations too: only a channel's key, a name that had to be decoded, and a mailbox that
//! grows may allocate. The load harness decides what is fast; these benchmarks show where a difference
//! comes from.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use divan::counter::{BytesCount, ItemsCount};
use divan::{AllocProfiler, Bencher, black_box};
use httpipe::testing::{
    http::{chunked::ChunkedDecoder, head, method::Method},
    io::eventfd,
    model::{
        admission::Limits,
        audience::Audience,
        key::KeyHasher,
        queue::Place,
        registry::{Arrival, ChannelId, Registry, Side},
        route,
    },
    shard::mesh::{Mesh, Message, Question, Subject},
};
use rustix::event::{PollFd, PollFlags, poll};

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

mod heads {
    use super::*;

    const SMALL_GET: &str = "GET /channels/bench/pair-17 HTTP/1.1\r\nHost: 127.0.0.1:3000\r\n\r\n";

    const CURL_POST: &str = "POST /channels/v1/orders HTTP/1.1\r\nHost: 127.0.0.1:3000\r\n\
        User-Agent: curl/8.14.1\r\nAccept: */*\r\nContent-Length: 1073741824\r\n\
        Content-Type: application/x-www-form-urlencoded\r\nExpect: 100-continue\r\n\r\n";

    const BROWSER_GET: &str = "GET /channels/v1/orders HTTP/1.1\r\nHost: example.org\r\n\
        User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
        Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
        Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
        Connection: keep-alive\r\nUpgrade-Insecure-Requests: 1\r\nSec-Fetch-Dest: document\r\n\
        Sec-Fetch-Mode: navigate\r\nSec-Fetch-Site: none\r\nSec-Fetch-User: ?1\r\n\
        Priority: u=0, i\r\nPragma: no-cache\r\nCache-Control: no-cache\r\n\r\n";

    #[divan::bench(args = ["small GET", "curl's POST", "browser's GET"])]
    fn whole(bencher: Bencher, name: &str) {
        let head = match name {
            "small GET" => SMALL_GET,
            "curl's POST" => CURL_POST,
            _ => BROWSER_GET,
        };
        bencher
            .counter(BytesCount::of_str(head))
            .bench(|| head::parse(black_box(head.as_bytes())));
    }

    /// A head that arrives in two pieces is parsed twice; this is the first time.
    #[divan::bench]
    fn all_but_its_last_byte(bencher: Bencher) {
        let most = &CURL_POST.as_bytes()[..CURL_POST.len() - 1];
        bencher.bench(|| head::parse(black_box(most)));
    }

    #[divan::bench(args = ["/channels/bench/pair-17", "/channels/v1/%E2%82%AC%2Fa", "/state", "/nothing"])]
    fn routed(bencher: Bencher, target: &str) {
        bencher.bench(|| {
            route::parse(
                Audience::Everyone,
                Method::Post,
                black_box(target.as_bytes()),
            )
            .is_ok()
        });
    }
}

mod chunks {
    use super::*;

    const BODY_BYTES: usize = 1 << 20;

    #[divan::bench(args = [16, 1024, 65_536])]
    fn one_mib_in_chunks_of(bencher: Bencher, chunk_bytes: usize) {
        let line = format!("{chunk_bytes:x}\r\n");
        let payload = vec![b'.'; chunk_bytes];
        let chunk = [line.as_bytes(), &payload, b"\r\n"];
        let mut body = chunk.concat().repeat(BODY_BYTES / chunk_bytes);
        body.extend_from_slice(b"0\r\n\r\n");
        bencher
            .counter(BytesCount::new(BODY_BYTES))
            .bench(|| payload_of(black_box(&body)));
    }

    fn payload_of(mut body: &[u8]) -> usize {
        let mut decoder = ChunkedDecoder::new();
        let mut payload = 0;
        while !decoder.is_end() {
            let decoded = decoder.decode(body).expect("a whole body");
            payload += decoded.payload;
            body = &body[decoded.framing + decoded.payload..];
        }
        payload
    }
}

/// The match of two requests, from the names to the end of the exchange.
mod matching {
    use super::*;

    const LIMITS: Limits = Limits {
        channels_max: 1 << 20,
        waiting_max: 1 << 20,
        waiting_per_channel_max: 1 << 20,
    };

    struct Shard {
        hasher: KeyHasher,
        registry: Registry<u32>,
    }

    impl Shard {
        /// A shard on which a consumer waits on each of `others` channels.
        fn with_waiters(others: u32) -> Self {
            let mut shard = Self {
                hasher: KeyHasher::seeded(),
                registry: Registry::new(LIMITS),
            };
            for other in 0..others {
                let channel = shard.open(&format!("other-{other}"));
                shard
                    .registry
                    .arrive(channel, Side::Consumer, other)
                    .expect("below the limits");
            }
            shard
        }

        fn open(&mut self, name: &str) -> ChannelId {
            let hash = self.hasher.hash("bench", name);
            self.registry
                .open(hash, "bench", name)
                .expect("below the limits")
        }

        /// A consumer arrives, then its producer; the exchange ends and no request waits.
        fn pair(&mut self, name: &str) {
            let channel = self.open(name);
            self.registry
                .arrive(channel, Side::Consumer, 1)
                .expect("below the limits");
            let channel = self.open(name);
            let arrived = self.registry.arrive(channel, Side::Producer, 2);
            black_box(arrived.expect("below the limits"));
            self.registry.begin_exchange(channel, 2);
            self.registry.end_exchange(channel);
            if self.registry.next_match(channel).is_none() {
                self.registry.close_if_unused(channel);
            }
        }
    }

    #[divan::bench(args = [0, 1_000, 100_000])]
    fn a_pair_beside_waiting_channels(bencher: Bencher, others: u32) {
        let mut shard = Shard::with_waiters(others);
        bencher.bench_local(|| shard.pair(black_box("pair-17")));
    }

    /// A waiter leaves from the middle of the queue, and another joins at the back.
    #[divan::bench(args = [10, 10_000])]
    fn leave_and_join_in_a_queue_of(bencher: Bencher, waiters: u32) {
        let mut shard = Shard::with_waiters(0);
        let channel = shard.open("queue");
        let join = |shard: &mut Shard, waiter| match shard.registry.arrive(
            channel,
            Side::Producer,
            waiter,
        ) {
            Ok(Arrival::Waits(place)) => place,
            other => panic!("it should wait: {other:?}"),
        };
        let mut places: VecDeque<Place> = (0..waiters)
            .map(|waiter| join(&mut shard, waiter))
            .collect();
        bencher.bench_local(|| {
            let middle = places.len() / 2;
            let place = places
                .swap_remove_back(middle)
                .expect("a queue that is not empty");
            let waiter = shard.registry.leave(channel, Side::Producer, place);
            places.push_back(join(&mut shard, waiter));
        });
    }
}

mod mailbox {
    use super::*;

    fn message() -> Message {
        Message::Ask {
            from: 0,
            ticket: 0,
            question: Question::Share(Subject::Metrics),
        }
    }

    /// On one thread, so without a wakeup.
    #[divan::bench(args = [1, 64])]
    fn send_and_take(bencher: Bencher, messages: usize) {
        let mesh = Mesh::new(2).expect("descriptors for two bells");
        let bell = mesh.news(1).expect("a descriptor");
        bencher.counter(ItemsCount::new(messages)).bench_local(|| {
            (0..messages).for_each(|_| mesh.send(1, message()));
            eventfd::clear(&bell);
            mesh.take(1).len()
        });
    }

    /// Includes the wakeups of both threads.
    #[divan::bench]
    fn there_and_back_between_sleeping_threads(bencher: Bencher) {
        let mesh = Mesh::new(2).expect("descriptors for two bells");
        let bells = [0, 1].map(|shard| mesh.news(shard).expect("a descriptor"));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while receive(&mesh, 1, &bells[1]) {
                    mesh.send(0, message());
                }
            });
            bencher.bench_local(|| {
                mesh.send(1, message());
                receive(&mesh, 0, &bells[0])
            });
            mesh.send(1, Message::Drain);
        });
    }

    /// Sleeps until the mailbox of `shard` has messages; false at the end.
    fn receive(mesh: &Mesh, shard: usize, bell: &OwnedFd) -> bool {
        let mut waiting = [PollFd::new(bell, PollFlags::IN)];
        poll(&mut waiting, None).expect("a bell can be polled");
        eventfd::clear(bell);
        let messages = mesh.take(shard);
        !messages
            .iter()
            .any(|message| matches!(message, Message::Drain))
    }
}

/// A listing of many channels, slice by slice. The slowest slice matters, because the shard does nothing
/// else during it.
mod listings {
    use super::*;
    use httpipe::testing::{handle::documents, limits::LISTED_AT_ONCE, model::names::Names};

    const CHANNELS: u32 = 100_000;

    fn registry() -> Registry<u32> {
        let hasher = KeyHasher::seeded();
        let mut registry = Registry::new(Limits {
            channels_max: usize::MAX,
            waiting_max: usize::MAX,
            waiting_per_channel_max: usize::MAX,
        });
        for nth in 0..CHANNELS {
            let (namespace, name) = (format!("namespace-{}", nth % 100), format!("channel-{nth}"));
            let hash = hasher.hash(&namespace, &name);
            let channel = registry.open(hash, &namespace, &name);
            let channel = channel.expect("below the limits");
            let joined = registry.arrive(channel, Side::Consumer, nth);
            joined.expect("below the limits");
        }
        registry
    }

    /// Copies one slice of the channels.
    fn slice(registry: &Registry<u32>, from: usize, found: &mut Vec<Names>) -> Option<usize> {
        let mut names = Names::default();
        let next = registry.list_from(from, LISTED_AT_ONCE, |_, namespace, name| {
            names.push_pair(namespace, name);
        });
        found.push(names);
        next
    }

    #[divan::bench(
        name = "a turn of a shard with 100,000 channels",
        sample_size = 1,
        sample_count = 2000
    )]
    fn a_turn(bencher: Bencher) {
        let registry = registry();
        let (mut from, mut found) = (0, Vec::new());
        bencher.bench_local(|| match slice(&registry, from, &mut found) {
            Some(next) => from = next,
            None => {
                from = 0;
                // A server drops it on another thread.
                std::mem::forget(std::mem::take(&mut found));
            }
        });
    }

    /// Runs outside the shards, so no request waits for it.
    #[divan::bench(
        name = "100,000 channels written out, off the shards",
        sample_size = 1,
        sample_count = 10
    )]
    fn written_out(bencher: Bencher) {
        let registry = registry();
        let mut found = Vec::new();
        let mut cursor = Some(0);
        while let Some(from) = cursor {
            cursor = slice(&registry, from, &mut found);
        }
        bencher
            .with_inputs(|| found.clone())
            .bench_local_values(|names| documents::state(&names).len());
    }
}
