//! The end of a connection whose client may still be sending: it is sent nothing more, and what it sends
//! is read and dropped.
//!
//! A close over unread bytes would reset the connection (RFC 9112 §9.6), and a client that reads only
//! when it has sent its whole body would find an error instead of the reply.
//!
//! Must never: keep newcomers out, or a drain from ending, for a client that never stops.

use std::{future, pin::pin, sync::atomic::Ordering, time::Duration};

use crate::{
    conn::deadline::Due,
    io::{clock::Moment, socket::Received},
    limits,
    model::verdict::Cause,
    shard::session::Session,
};

/// How long a client is read after its last reply. Pure.
struct Linger {
    /// If it sends nothing more.
    silent_until: Moment,
    /// If connections are scarce.
    briefly_until: Moment,
    /// However steadily it sends.
    until: Moment,
    /// How many bytes are still read.
    bytes_left: u64,
}

impl Linger {
    const fn begin(now: Moment) -> Self {
        Self {
            silent_until: now.after(limits::LINGER_PAUSE),
            briefly_until: now.after(limits::LINGER_PAUSE),
            until: now.after(limits::LINGER_TIME_MAX),
            bytes_left: limits::LINGER_BYTES_MAX,
        }
    }

    /// The client sent `bytes`, at most as many as are left.
    const fn received(&mut self, now: Moment, bytes: u64) {
        self.silent_until = now.after(limits::LINGER_PAUSE);
        self.bytes_left -= bytes;
    }

    /// The drain has timed out.
    fn shorten(&mut self) {
        self.until = self.until.min(self.briefly_until);
    }

    /// Until when the client is read unless it sends something.
    fn ends(&self, connections_are_scarce: bool) -> Moment {
        let until = self.until.min(self.silent_until);
        if connections_are_scarce {
            until.min(self.briefly_until)
        } else {
            until
        }
    }
}

/// Ends the sending direction and drops what the client still sends, until it closes or its time is
/// over.
pub async fn linger(session: &Session) {
    let Session { shard, conn } = session;
    let now = || shard.clock.deadline(Duration::ZERO);
    conn.begin_work();
    // What stopped the task before concerned a request that has its reply.
    conn.signal.clear_stop();
    conn.transport.end_sending();
    let mut linger = Linger::begin(now());
    loop {
        let ends = linger.ends(connections_are_scarce(session));
        if ends <= shard.clock.now() {
            return;
        }
        session.limit_until(Due::Linger, ends);
        match discard(session, linger.bytes_left).await {
            Ok(Received::Bytes(bytes)) => {
                shard.counters.discarded_bytes.add(bytes as u64);
                linger.received(now(), bytes as u64);
            }
            Ok(Received::End | Received::PeerGone) | Err(Cause::Expired) => return,
            Err(Cause::Drained) => linger.shorten(),
            Ok(Received::Nothing) | Err(_) => {}
        }
    }
}

/// Drops what the client sends, as soon as it sends something, at most [`limits::COPY_BYTES`] in one turn.
///
/// # Errors
/// Why the task was stopped. If `bytes_max` is 0, nothing is read and nothing else ends this: a client
/// that cannot send on may read its reply.
async fn discard(session: &Session, bytes_max: u64) -> Result<Received, Cause> {
    let Session { shard, conn } = session;
    if bytes_max == 0 {
        return conn.or_stopped(pin!(future::pending())).await;
    }
    conn.ready_or_stopped(|| conn.transport.readable()).await?;
    let mut scratch = shard.scratch.borrow_mut();
    let most = usize::try_from(bytes_max).unwrap_or(usize::MAX);
    let most = most.min(limits::COPY_BYTES);
    Ok(conn.transport.discard(&mut scratch[..most]))
}

/// Whether more than half of the connections are taken. If so, none lingers longer than
/// [`limits::LINGER_PAUSE`]; so connections that linger longer never fill more than that half, and the
/// other one is left to newcomers.
fn connections_are_scarce(session: &Session) -> bool {
    let Session { shard, conn } = session;
    let (open, most) = if conn.audience.has_clients() {
        let shared = &shard.shared;
        let open = shared.connections.load(Ordering::Relaxed);
        (open, shared.config.descriptors.connections_max)
    } else {
        let open = shard.connections.operators();
        (open, limits::ADMIN_CONNECTIONS_MAX)
    };
    open > most / limits::LINGER_PART
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGAN: Moment = Moment::BEGINNING.after(Duration::from_secs(1000));

    fn after(seconds: u64) -> Moment {
        BEGAN.after(Duration::from_secs(seconds))
    }

    /// A client that has sent a byte a second for so long.
    fn sending_for(seconds: u64) -> Linger {
        let mut linger = Linger::begin(BEGAN);
        for second in 1..=seconds {
            linger.received(after(second), 1);
        }
        linger
    }

    #[test]
    fn a_silent_client_is_read_for_a_pause() {
        for scarce in [false, true] {
            assert_eq!(Linger::begin(BEGAN).ends(scarce), after(2));
        }
    }

    #[test]
    fn a_client_that_sends_on_is_read_on_until_its_time_is_over() {
        for seconds in [1, 2, 10, 298] {
            assert_eq!(sending_for(seconds).ends(false), after(seconds + 2));
        }
        for seconds in [299, 300, 301] {
            assert_eq!(sending_for(seconds).ends(false), after(300));
        }
    }

    #[test]
    fn a_client_that_sends_on_is_read_only_briefly_while_connections_are_scarce() {
        let linger = sending_for(100);
        assert_eq!(linger.ends(true), after(2));
        assert_eq!(linger.ends(false), after(102));
    }

    #[test]
    fn a_client_that_sends_on_is_read_only_briefly_once_a_drain_has_timed_out() {
        let mut linger = sending_for(1);
        linger.shorten();
        linger.received(after(2), 1);
        assert_eq!(linger.ends(false), after(2));
        linger.shorten();
        assert_eq!(linger.ends(true), after(2));
    }

    #[test]
    fn all_bytes_count() {
        let mut linger = sending_for(10);
        assert_eq!(linger.bytes_left, limits::LINGER_BYTES_MAX - 10);
        linger.received(after(10), linger.bytes_left);
        assert_eq!(linger.bytes_left, 0);
    }
}
