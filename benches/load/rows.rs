//! The table of goals. The numbers are promises of the project; a change to one changes a promise.

use crate::error::Result;
use crate::loads::{backlog, bulk, crowd, idle, latency, mixed, pairs, programs, siege, waiting};
use crate::row::goal::{Bound, Goal};
use crate::row::measure::{Measure, Sample};
use crate::row::run::Run;
use crate::row::{Contestant, Host, Row};

/// The defaults: what most users run.
const DEFAULT: Host = Host::Own(&[]);
const ONE_SHARD: Host = Host::Own(&["--threads", "1"]);
const TWO_SHARDS: Host = Host::Own(&["--threads", "2"]);
/// Longer than the next request takes to arrive.
const BUSY_POLL: Host = Host::Own(&["--busy-poll", "200"]);
const HASTY: Host = Host::Own(siege::HASTY);
const COPY_LOOP: Host = Host::Own(&["--no-splice"]);
const ACCESS_TEXT: Host = Host::Own(&["--threads", "1", "--access-log"]);
const ACCESS_JSON: Host = Host::Own(&["--threads", "1", "--access-log", "--log", "json"]);

const fn contestant(
    label: &'static str,
    host: Host,
    drive: fn(&Run) -> Result<Sample>,
) -> Contestant {
    Contestant {
        label,
        host,
        clients_apart: false,
        drive,
    }
}

/// A server with one thread; the last core is reserved for its clients.
const fn apart(label: &'static str, host: Host, drive: fn(&Run) -> Result<Sample>) -> Contestant {
    Contestant {
        label,
        host,
        clients_apart: true,
        drive,
    }
}

const fn goal(measure: Measure, bound: Bound) -> Goal {
    Goal { measure, bound }
}

pub static ROWS: &[Row] = &[
    Row {
        name: "pairs-1",
        work: "100-byte pairs, 64 channels, 1 shard; against two static replies of nginx",
        contestants: &[
            apart("1 shard", ONE_SHARD, pairs::steady),
            apart("nginx, two replies", Host::Nginx, pairs::replies),
        ],
        goals: &[goal(Measure::CpuMicrosEach, Bound::RatioAtMost(0.75))],
        fresh: false,
        attachable: true,
        needs: None,
    },
    Row {
        name: "pairs-2",
        work: "100-byte pairs, 64 channels, 2 shards; against 1 shard",
        contestants: &[
            contestant("2 shards", TWO_SHARDS, pairs::steady),
            apart("1 shard", ONE_SHARD, pairs::steady),
        ],
        goals: &[goal(Measure::CpuMicrosEach, Bound::RatioAtMost(1.15))],
        fresh: false,
        attachable: true,
        needs: None,
    },
    Row {
        name: "pairs-random",
        work: "100-byte pairs, a different channel each time, 2 shards; against 64 channels, 1 shard",
        contestants: &[
            contestant("2 shards, random", TWO_SHARDS, pairs::random),
            apart("1 shard, steady", ONE_SHARD, pairs::steady),
        ],
        goals: &[goal(Measure::CpuMicrosEach, Bound::RatioAtMost(1.6))],
        fresh: false,
        attachable: true,
        needs: None,
    },
    Row {
        name: "access-log",
        work: "100-byte pairs, 64 channels, 1 shard, access log on; against off",
        contestants: &[
            apart("text", ACCESS_TEXT, pairs::logged),
            apart("off", ONE_SHARD, pairs::logged),
            apart("json", ACCESS_JSON, pairs::logged),
        ],
        // No promise, for information. Compare only while no lines are lost: a lost line is not
        // written and costs less. The harness reads the log continuously.
        goals: &[],
        fresh: false,
        attachable: false,
        needs: None,
    },
    Row {
        name: "latency",
        work: "100-byte pairs on one channel, one at a time",
        contestants: &[
            contestant("--busy-poll 200", BUSY_POLL, latency::one_at_a_time),
            contestant("default", DEFAULT, latency::one_at_a_time),
        ],
        goals: &[goal(Measure::MedianMicros, Bound::AtMost(45.0))],
        fresh: false,
        attachable: true,
        needs: None,
    },
    Row {
        name: "bulk-zero-copy",
        work: "1 GiB bodies, Content-Length, zero-copy clients",
        contestants: &[
            contestant("httpipe", DEFAULT, bulk::zero_copy),
            contestant("bare splice loop", Host::BareLoop, bulk::zero_copy),
            contestant("copy loop", COPY_LOOP, bulk::zero_copy),
        ],
        goals: &[
            goal(Measure::GibPerSecond, Bound::AtLeast(2.8)),
            goal(Measure::CpuSecondsPerGib, Bound::AtMost(0.12)),
        ],
        fresh: false,
        attachable: true,
        needs: None,
    },
    Row {
        name: "bulk-ordinary",
        work: "1 GiB bodies, Content-Length, ordinary clients",
        contestants: &[
            contestant("httpipe", DEFAULT, bulk::ordinary),
            contestant("copy loop", COPY_LOOP, bulk::ordinary),
        ],
        goals: &[
            goal(Measure::CpuSecondsPerGib, Bound::AtMost(0.19)),
            goal(Measure::GibPerSecond, Bound::RatioAtLeast(1.0)),
        ],
        fresh: false,
        attachable: true,
        needs: None,
    },
    Row {
        name: "bulk-chunked",
        work: "1 GiB bodies in chunks of 64 KiB, four in a write, ordinary clients",
        contestants: &[
            contestant("httpipe", DEFAULT, bulk::chunked),
            contestant("copy loop", COPY_LOOP, bulk::chunked),
        ],
        goals: &[goal(Measure::CpuSecondsPerGib, Bound::AtMost(0.22))],
        fresh: false,
        attachable: true,
        needs: None,
    },
    Row {
        name: "chunks-8k",
        work: "1 GiB bodies in chunks of 8 KiB, one in a write, ordinary clients",
        contestants: &[contestant(
            "httpipe",
            DEFAULT,
            bulk::a_write_a_chunk::<{ 8 << 10 }>,
        )],
        goals: &[],
        fresh: false,
        attachable: true,
        needs: None,
    },
    Row {
        name: "chunks-16k",
        work: "1 GiB bodies in chunks of 16 KiB, one in a write, ordinary clients",
        contestants: &[contestant(
            "httpipe",
            DEFAULT,
            bulk::a_write_a_chunk::<{ 16 << 10 }>,
        )],
        goals: CHUNKS_GOALS,
        fresh: false,
        attachable: true,
        needs: None,
    },
    Row {
        name: "chunks-32k",
        work: "1 GiB bodies in chunks of 32 KiB, one in a write, ordinary clients",
        contestants: &[contestant(
            "httpipe",
            DEFAULT,
            bulk::a_write_a_chunk::<{ 32 << 10 }>,
        )],
        goals: &[],
        fresh: false,
        attachable: true,
        needs: None,
    },
    Row {
        name: "chunks-64k",
        work: "1 GiB bodies in chunks of 64 KiB, one in a write, ordinary clients",
        contestants: &[contestant(
            "httpipe",
            DEFAULT,
            bulk::a_write_a_chunk::<{ 64 << 10 }>,
        )],
        goals: CHUNKS_GOALS,
        fresh: false,
        attachable: true,
        needs: None,
    },
    Row {
        name: "chunks-256k",
        work: "1 GiB bodies in chunks of 256 KiB, one in a write, ordinary clients",
        contestants: &[contestant(
            "httpipe",
            DEFAULT,
            bulk::a_write_a_chunk::<{ 256 << 10 }>,
        )],
        goals: CHUNKS_GOALS,
        fresh: false,
        attachable: true,
        needs: None,
    },
    Row {
        name: "chunks-1m",
        work: "1 GiB bodies in chunks of 1 MiB, one in a write, ordinary clients",
        contestants: &[contestant(
            "httpipe",
            DEFAULT,
            bulk::a_write_a_chunk::<{ 1 << 20 }>,
        )],
        goals: &[],
        fresh: false,
        attachable: true,
        needs: None,
    },
    Row {
        name: "sent-curl",
        work: "1 GiB that curl -T - sends from a pipe",
        contestants: &[contestant("httpipe", DEFAULT, programs::curl)],
        goals: CHUNKS_GOALS,
        fresh: false,
        attachable: true,
        needs: Some("curl"),
    },
    Row {
        name: "sent-node-file",
        work: "1 GiB that Node sends from a file stream",
        contestants: &[contestant("httpipe", DEFAULT, programs::node_file)],
        goals: CHUNKS_GOALS,
        fresh: false,
        attachable: true,
        needs: Some("node"),
    },
    Row {
        name: "sent-node-64k",
        work: "1 GiB that Node sends in pieces of 64 KiB",
        contestants: &[contestant("httpipe", DEFAULT, programs::node_pieces)],
        goals: CHUNKS_GOALS,
        fresh: false,
        attachable: true,
        needs: Some("node"),
    },
    Row {
        name: "sent-python-16k",
        work: "1 GiB that Python sends in pieces of 16 KiB",
        contestants: &[contestant(
            "httpipe",
            DEFAULT,
            programs::python::<{ 16 << 10 }>,
        )],
        goals: CHUNKS_GOALS,
        fresh: false,
        attachable: true,
        needs: Some("python3"),
    },
    Row {
        name: "sent-python-64k",
        work: "1 GiB that Python sends in pieces of 64 KiB",
        contestants: &[contestant(
            "httpipe",
            DEFAULT,
            programs::python::<{ 64 << 10 }>,
        )],
        goals: CHUNKS_GOALS,
        fresh: false,
        attachable: true,
        needs: Some("python3"),
    },
    Row {
        name: "sent-go",
        work: "1 GiB that Go's net/http sends",
        contestants: &[contestant("httpipe", DEFAULT, programs::go)],
        goals: CHUNKS_GOALS,
        fresh: false,
        attachable: true,
        needs: Some("go"),
    },
    Row {
        name: "bodies-64k",
        work: "64 KiB bodies, 4 channels, zero-copy clients",
        contestants: &[
            contestant("httpipe", DEFAULT, bulk::bodies_64k),
            contestant("copy loop", COPY_LOOP, bulk::bodies_64k),
        ],
        goals: &[goal(Measure::CpuSecondsPerGib, Bound::RatioAtMost(0.5))],
        fresh: false,
        attachable: true,
        needs: None,
    },
    Row {
        name: "bodies-1m",
        work: "1 MiB bodies, 4 channels, zero-copy clients",
        contestants: &[
            contestant("httpipe", DEFAULT, bulk::bodies_1m),
            contestant("copy loop", COPY_LOOP, bulk::bodies_1m),
        ],
        goals: &[goal(Measure::CpuSecondsPerGib, Bound::RatioAtMost(0.5))],
        fresh: false,
        attachable: true,
        needs: None,
    },
    Row {
        name: "waiting",
        work: "15,000 waiting consumers, each on a channel of its own",
        contestants: &[contestant("httpipe", DEFAULT, waiting::memory)],
        goals: &[goal(Measure::ResidentKibEach, Bound::AtMost(1.5))],
        fresh: true,
        attachable: true,
        needs: None,
    },
    Row {
        name: "idle",
        work: "15,000 waiting consumers, 1 shard, while nothing happens",
        contestants: &[apart("1 shard", ONE_SHARD, idle::waiting)],
        goals: &[goal(Measure::IdlePercent, Bound::AtMost(0.2))],
        fresh: true,
        attachable: true,
        needs: None,
    },
    Row {
        name: "idle-unread",
        work: "15,000 waiting consumers, each with one unread byte, 1 shard, while nothing happens",
        contestants: &[apart("1 shard", ONE_SHARD, idle::unread)],
        goals: &[goal(Measure::IdlePercent, Bound::AtMost(1.0))],
        fresh: true,
        attachable: true,
        needs: None,
    },
    Row {
        name: "backlog",
        work: "2,000 pairs of 100 bytes that queue on one channel behind an exchange, 1 shard",
        contestants: &[apart("1 shard", ONE_SHARD, backlog::released)],
        goals: &[goal(Measure::CpuMicrosEach, Bound::BesideAtMost(0.8))],
        fresh: false,
        attachable: false,
        needs: None,
    },
    Row {
        name: "mixed",
        work: "100-byte pairs, 1,000 a second, while 8 bulk exchanges run",
        contestants: &[contestant("httpipe", DEFAULT, mixed::small_beside_bulk)],
        goals: &[goal(Measure::P99Micros, Bound::AtMost(5000.0))],
        fresh: false,
        attachable: true,
        needs: None,
    },
    Row {
        name: "siege",
        work: "100-byte pairs, 1,000 a second, beside 5,000 slow heads and 5,000 idle connections",
        contestants: &[
            contestant("besieged", DEFAULT, siege::besieged),
            contestant("alone", DEFAULT, siege::alone),
            contestant("heads cut after 2 s", HASTY, siege::besieged_in_haste),
        ],
        goals: &[goal(Measure::P99Micros, Bound::RatioAtMost(2.0))],
        fresh: false,
        attachable: false,
        needs: None,
    },
    Row {
        name: "crowd",
        work: "1,000 exchanges of 4 MiB at once",
        contestants: &[contestant("httpipe", DEFAULT, crowd::exchanges)],
        goals: CROWD_GOALS,
        fresh: true,
        attachable: true,
        needs: None,
    },
    Row {
        name: "crowd-user",
        work: "1,000 exchanges of 4 MiB at once, server run by an ordinary user",
        contestants: &[contestant(
            "httpipe",
            Host::OwnAsOrdinaryUser(&[]),
            crowd::exchanges,
        )],
        goals: CROWD_GOALS,
        fresh: true,
        attachable: false,
        needs: None,
    },
];

/// Against the first attached server, which the promise wants to be piping-server-rust.
const CHUNKS_GOALS: &[Goal] = &[
    goal(Measure::GibPerSecond, Bound::RatioAtLeast(1.2)),
    goal(Measure::CpuSecondsPerGib, Bound::RatioAtMost(0.7)),
];

/// No exchange starves; at most one pipe and 64 KiB of memory per exchange.
const CROWD_GOALS: &[Goal] = &[
    goal(Measure::LongestPauseMillis, Bound::AtMost(5000.0)),
    goal(Measure::PipesMax, Bound::AtMost(1000.0)),
    goal(Measure::GrowthMib, Bound::AtMost(64.0)),
];

/// The rows whose names start with one of `names`; all rows if `names` is empty. A name that matches
/// no row is an error.
pub fn select(names: &[String]) -> Result<Vec<&'static Row>> {
    let fits = |row: &Row, name: &String| row.name.starts_with(name.as_str());
    for name in names {
        if !ROWS.iter().any(|row| fits(row, name)) {
            return Err(format!("no row starts with {name}; see --list").into());
        }
    }
    let wanted = |row: &&Row| names.is_empty() || names.iter().any(|name| fits(row, name));
    Ok(ROWS.iter().filter(wanted).collect())
}

pub fn list() {
    for row in ROWS {
        println!("{:<16} {}", row.name, row.work);
    }
}
