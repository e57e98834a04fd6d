//! The task of a connection: head after head, until it ends or goes to another shard.
//!
//! There is one place where it waits ([`Conn::event`]); what takes longer than a turn is a boxed
//! [`Step::Work`], so that a connection that only waits is small.

use std::{
    any::Any,
    future::{Future, poll_fn},
    io,
    os::fd::OwnedFd,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    rc::Rc,
    task::Poll,
};

use bytes::Bytes;

use crate::{
    conn::{Close, Conn, Doing, Event, Standing, Step, Stop},
    exchange::waiting,
    handle::{self, Target},
    http::{
        head::{self, Parsed},
        reply::Persistence,
    },
    io::socket::{Peer, Received},
    limits,
    model::{refusal::Refusal, request::Request},
    observe::log,
    shard::{Shard, mesh::Message, session},
};

/// Where a connection went when its task ended.
enum Gone {
    Closed,
    HandedOver(usize, Box<Request>, Option<OwnedFd>),
}

/// Serves `conn` in a task of its own, beginning with `first` if it came with a request.
///
/// A panic in it ends this connection and no other: it is logged and counted, the queue that the
/// connection stood in forgets it, and the exchange that it drove is cut.
pub fn spawn(shard: Rc<Shard>, conn: Rc<Conn>, first: Option<Box<Request>>) {
    monoio::spawn(async move {
        let gone = {
            let task = pin!(serve(&shard, &conn, first));
            catch_panic(task).await
        };
        shard.dismiss(&conn);
        match gone {
            Ok(Gone::Closed) => {
                conn.line.finish(conn.arrived.get(), || shard.clock.read());
                shard.count_closed(conn.standing);
            }
            Ok(Gone::HandedOver(owner, request, duplicate)) => {
                hand_over(&shard, conn, owner, request, duplicate);
            }
            Err(panic) => {
                shard.count_closed(conn.standing);
                bury(&shard, &conn, &*panic);
            }
        }
    });
}

async fn serve(shard: &Rc<Shard>, conn: &Rc<Conn>, first: Option<Box<Request>>) -> Gone {
    let mut step = match first {
        Some(request) => begin(shard, conn, &request),
        None => Step::Wait,
    };
    let mut parsed = 0;
    loop {
        step = match step {
            Step::Wait => {
                parsed = 0;
                react(shard, conn, conn.event().await)
            }
            Step::Parse if parsed == limits::PARSED_AT_ONCE => {
                parsed = 0;
                shard.turn().await;
                conn.take_handed().unwrap_or(Step::Parse)
            }
            Step::Parse => {
                parsed += 1;
                parse(shard, conn, &conn.take_unread())
            }
            Step::Work(work) => {
                conn.begin_work();
                work.await
            }
            Step::HandOver(owner, request) => match conn.socket.duplicate_if_held() {
                Ok(duplicate) => return Gone::HandedOver(owner, request, duplicate),
                Err(error) => stay(shard, conn, &request, &error),
            },
            Step::Close(how) => {
                close(shard, conn, how).await;
                return Gone::Closed;
            }
        }
    }
}

/// Serves the request that a connection brought from another shard.
fn begin(shard: &Rc<Shard>, conn: &Rc<Conn>, request: &Request) -> Step {
    handle::take_up(&target(shard, conn, request))
}

/// Refuses the request that was to take the connection to another shard.
fn stay(shard: &Rc<Shard>, conn: &Rc<Conn>, request: &Request, error: &io::Error) -> Step {
    if let Some(times) = shard.cannot_hand_over.came_up(&shard.clock) {
        tracing::warn!(
            "cannot hand connections over between shards for now: {error}; they are answered with \
             503 ({times} since this was last said)"
        );
    }
    target(shard, conn, request).refuse(&Refusal::NO_DESCRIPTOR)
}

fn target<'a>(shard: &'a Rc<Shard>, conn: &'a Rc<Conn>, request: &'a Request) -> Target<'a> {
    Target {
        shard,
        conn,
        head: &request.head,
        bytes: &request.bytes,
        held: Some(&request.bytes),
    }
}

/// What to do about `event`.
fn react(shard: &Rc<Shard>, conn: &Rc<Conn>, event: Event) -> Step {
    if let Some(step) = conn.take_handed() {
        return step;
    }
    match (event, conn.doing()) {
        (Event::Readable, Doing::Reading) => receive(shard, conn),
        (Event::Readable, Doing::Waiting | Doing::Consuming) => {
            look_at_peer(shard, conn, conn.socket.peer())
        }
        (Event::Readable, Doing::Working) => {
            // Another task is about to hand it a step, whatever the peer has done.
            conn.watch(false);
            Step::Wait
        }
        _ => Step::Wait,
    }
}

/// Receives more of a head, and parses what there is.
fn receive(shard: &Rc<Shard>, conn: &Rc<Conn>) -> Step {
    let mut scratch = shard.scratch.borrow_mut();
    let begun = conn.take_unread();
    scratch[..begun.len()].copy_from_slice(&begun);
    let bytes_max = if conn.bulky.get() {
        limits::HEAD_READ_BYTES_BEFORE_BULK
    } else {
        limits::HEAD_READ_BYTES
    };
    let room = begun.len()..begun.len() + bytes_max;
    match conn.socket.receive(&mut scratch[room]) {
        Received::Bytes(bytes) => {
            let resumed = !begun.is_empty();
            parse_bytes(shard, conn, &scratch[..begun.len() + bytes], None, resumed)
        }
        Received::Nothing => {
            conn.keep_unread(begun);
            Step::Wait
        }
        Received::End if !begun.is_empty() => {
            session::refuse(shard, conn, Persistence::Close, true, &Refusal::HEAD_CUT)
        }
        Received::End | Received::PeerGone => Step::Close(Close::Now),
    }
}

/// Parses bytes that were read earlier.
fn parse(shard: &Rc<Shard>, conn: &Rc<Conn>, unread: &Bytes) -> Step {
    if unread.is_empty() {
        return Step::Wait;
    }
    parse_bytes(shard, conn, unread, Some(unread), false)
}

/// `held`: the same bytes, if they are shared ones. `resumed`: a part of the head came earlier.
fn parse_bytes(
    shard: &Rc<Shard>,
    conn: &Rc<Conn>,
    bytes: &[u8],
    held: Option<&Bytes>,
    resumed: bool,
) -> Step {
    match head::parse(bytes) {
        Ok(Parsed::Complete(head)) => handle::request(&Target {
            shard,
            conn,
            head: &head,
            bytes,
            held,
        }),
        Ok(Parsed::Partial) => {
            // Empty lines between two requests begin no head (RFC 9112 §2.2).
            if bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n')) && bytes.ends_with(b"\n") {
                return Step::Wait;
            }
            if !resumed {
                conn.begin_head(shard.clock.deadline(shard.config().timeouts.header));
            }
            conn.keep_unread(
                held.cloned()
                    .unwrap_or_else(|| Bytes::copy_from_slice(bytes)),
            );
            Step::Wait
        }
        Err(error) => {
            let refusal = Refusal {
                head_only: bytes.trim_ascii_start().starts_with(b"HEAD "),
                ..Refusal::from(error)
            };
            session::refuse(shard, conn, Persistence::Close, true, &refusal)
        }
    }
}

/// What to do about `peer`, which waits for a counterpart or is being sent a body. Bytes that it
/// sent stay where they are until its request is answered.
fn look_at_peer(shard: &Rc<Shard>, conn: &Rc<Conn>, peer: Peer) -> Step {
    conn.watch(false);
    match (conn.doing(), peer) {
        (_, Peer::There) => {}
        (Doing::Waiting, _) => {
            waiting::leave(shard, conn);
            return Step::Close(Close::behind(peer));
        }
        (_, Peer::HalfClosed) => conn.half_closed_while_consuming(),
        (_, Peer::Gone) => conn.stop_driver(Stop::ConsumerLeft),
    }
    Step::Wait
}

/// What the sweep saw of a peer whose leaving readability does not tell: unread bytes lie there, or it
/// vanished.
pub fn peer_seen(shard: &Rc<Shard>, conn: &Rc<Conn>, peer: Peer) {
    if let Step::Close(close) = look_at_peer(shard, conn, peer) {
        conn.hand(Step::Close(close));
    }
}

/// The connection's deadline has passed.
pub fn expire(shard: &Rc<Shard>, conn: &Rc<Conn>) {
    match conn.doing() {
        Doing::Reading if conn.has_unread() => {
            conn.begin_work();
            conn.hand(session::refuse(
                shard,
                conn,
                Persistence::Close,
                true,
                &Refusal::HEAD_TOO_SLOW,
            ));
        }
        // Its request came in time; its task has yet to see it.
        Doing::Reading if conn.socket.is_readable() => {
            let header = shard.config().timeouts.header;
            conn.deadline.set(shard.clock.deadline(header));
        }
        Doing::Reading => conn.hand(Step::Close(Close::Now)),
        Doing::Waiting => waiting::turn_away(shard, conn, &Refusal::WAITED_TOO_LONG),
        Doing::Working => conn.stop(Stop::Expired),
        Doing::Consuming | Doing::Handed => {}
    }
}

/// The server ends: `conn`, if it is idle, goes, and if it waits, is turned away; who moves a body goes
/// on. Called again and again, because who moves a body now may be idle or wait later. Nobody is
/// closed whose request has come and lies unread: a reset would be all that it hears.
pub fn drain(shard: &Rc<Shard>, conn: &Rc<Conn>) {
    match conn.doing() {
        Doing::Reading if !conn.socket.is_readable() => conn.hand(Step::Close(Close::Now)),
        Doing::Waiting => waiting::turn_away(shard, conn, &Refusal::DRAINING),
        _ => {}
    }
}

/// Whether a connection that reads heads has none begun. `greeting`: a client that has connected and
/// not yet sent anything is still given time to.
#[must_use]
pub fn is_idle(conn: &Conn, greeting: bool) -> bool {
    !(conn.has_unread() || greeting && conn.fresh.get())
}

async fn close(shard: &Rc<Shard>, conn: &Rc<Conn>, how: Close) {
    match how {
        Close::Now => {}
        Close::Linger => linger(shard, conn).await,
    }
}

/// Ends the sending direction and drops what the client still sends, for a bounded time and amount.
async fn linger(shard: &Rc<Shard>, conn: &Rc<Conn>) {
    conn.begin_work();
    conn.socket.end_sending();
    conn.deadline.set(shard.clock.deadline(limits::LINGER_TIME));
    let mut dropped = 0;
    while conn.take_stop() != Some(Stop::Expired) {
        if dropped >= limits::LINGER_BYTES_MAX {
            conn.poked().await;
            continue;
        }
        let readable = pin!(conn.socket.readable());
        if conn.poked_or(readable).await.is_none() {
            continue;
        }
        match conn.socket.receive(&mut shard.scratch.borrow_mut()) {
            Received::Bytes(bytes) => dropped += bytes,
            Received::Nothing => {}
            Received::End | Received::PeerGone => return,
        }
    }
}

/// Gives the connection to the shard that owns the channel of its request.
fn hand_over(
    shard: &Shard,
    conn: Rc<Conn>,
    owner: usize,
    request: Box<Request>,
    duplicate: Option<OwnedFd>,
) {
    let Some(conn) = Rc::into_inner(conn) else {
        // Nobody but its own task holds a connection between two requests.
        tracing::error!("a connection to be handed over is still in use; it is closed");
        return shard.count_closed(Standing::Client);
    };
    let socket = conn.socket.into_parts(duplicate);
    shard.counters.handovers.add(1);
    shard
        .shared
        .mesh
        .send(owner, Message::HandOver { socket, request });
}

/// Cleans up behind a task that panicked.
fn bury(shard: &Rc<Shard>, conn: &Rc<Conn>, panic: &(dyn Any + Send)) {
    shard.counters.panics.add(1);
    conn.line.panicked();
    conn.line.finish(conn.arrived.get(), || shard.clock.read());
    let reason = log::reason(panic);
    tracing::error!(connection = conn.id, doing = ?conn.doing(), "a connection's task panicked: {reason}");
    waiting::leave(shard, conn);
    conn.stop_driver(Stop::ConsumerLeft);
    // An exchange that it was to drive ends with the step.
    drop(conn.take_handed());
}

/// Runs `future` to its end or to its panic.
fn catch_panic<F: Future>(
    mut future: Pin<&mut F>,
) -> impl Future<Output = Result<F::Output, Box<dyn Any + Send>>> {
    poll_fn(
        move |context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Ok(Poll::Pending) => Poll::Pending,
            Err(panic) => Poll::Ready(Err(panic)),
        },
    )
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Read, Write},
        net::{TcpListener, TcpStream},
        os::fd::OwnedFd,
        sync::{Arc, Mutex, atomic::Ordering},
        time::{Duration, Instant},
    };

    use clap::Parser;

    use super::*;
    use crate::{
        config::{Config, cli::Cli},
        conn::Standing,
        io::{
            clock::Moment,
            runtime::{self, Driver},
            socket::{Kind, Transport},
        },
        model::registry::Side,
        shard::{Shared, mesh::Answer},
    };

    /// Long enough for anything here; never waited for when all goes well.
    const FAILURE_BOUND: Duration = Duration::from_secs(20);

    /// What was logged.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Runs `test` on a shard of its own with every driver that the kernel allows, and returns what
    /// was logged with each.
    fn on_a_shard<F: Future<Output = ()>>(test: impl Fn(Rc<Shard>) -> F) -> Vec<String> {
        let ring = runtime::probe().is_ok().then_some(Driver::IoUring);
        let drivers = ring.into_iter().chain([Driver::Epoll]);
        drivers.map(|driver| run_logged(driver, &test)).collect()
    }

    fn run_logged<F: Future<Output = ()>>(driver: Driver, test: impl Fn(Rc<Shard>) -> F) -> String {
        let cli = Cli::parse_from(["httpipe", "--threads", "1"]);
        let config = Config::from_cli(cli).expect("options that can be kept");
        let shared = Shared::new(config, &[]).expect("descriptors and a thread");
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            let ran = runtime::run(driver, async {
                let shard = Shard::new(0, Arc::new(shared)).expect("descriptors");
                test(Rc::new(shard)).await;
            });
            ran.expect("the kernel gives what it said it would");
        });
        let logged = log.0.lock().expect("no panic").clone();
        String::from_utf8(logged).expect("text")
    }

    /// The client's end of a connection whose task is under way, and its id.
    fn connect(shard: &Rc<Shard>) -> (TcpStream, usize) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let client = TcpStream::connect(listener.local_addr().expect("bound")).expect("accepted");
        client
            .set_read_timeout(Some(FAILURE_BOUND))
            .expect("a bound");
        let (accepted, _) = listener.accept().expect("it has connected");
        accepted.set_nonblocking(true).expect("a socket option");
        let socket = Transport::new(OwnedFd::from(accepted), Kind::Tcp).expect("a socket");
        shard.shared.connections.fetch_add(1, Ordering::Relaxed);
        let conn = shard.admit(socket, Standing::Client);
        let id = conn.id as usize;
        spawn(Rc::clone(shard), conn, None);
        (client, id)
    }

    /// Lets the shard's tasks run until `holds`.
    async fn until(shard: &Shard, holds: impl Fn() -> bool) {
        let began = Instant::now();
        while !holds() {
            assert!(began.elapsed() < FAILURE_BOUND, "waited in vain");
            shard.turn().await;
        }
    }

    /// What comes on `client` until `end`, which must have been sent.
    fn read_until(client: &mut TcpStream, end: &[u8]) -> Vec<u8> {
        let mut all = Vec::new();
        while !all.ends_with(end) {
            let mut byte = [0];
            client.read_exact(&mut byte).expect("more bytes");
            all.push(byte[0]);
        }
        all
    }

    /// All that comes on `client` until its end. The shard must go on meanwhile: it may be
    /// the ring that closes a socket.
    async fn read_to_end(shard: &Shard, client: &mut TcpStream) -> Vec<u8> {
        client.set_nonblocking(true).expect("a socket option");
        let (mut all, began) = (Vec::new(), Instant::now());
        while let Err(error) = client.read_to_end(&mut all) {
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
            assert!(began.elapsed() < FAILURE_BOUND, "no end of stream");
            shard.turn().await;
        }
        all
    }

    /// A request that needs nobody else, answered.
    async fn check_served(shard: &Rc<Shard>, client: &mut TcpStream) {
        let before = shard.counters.requests.get();
        let request = b"GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n";
        client.write_all(request).expect("it is read");
        until(shard, || shard.counters.requests.get() > before).await;
        let reply = read_until(client, b"ok\n");
        assert!(reply.starts_with(b"HTTP/1.1 200 OK\r\n"));
    }

    #[test]
    fn a_panic_ends_its_own_connection_and_no_other_and_is_logged_and_counted() {
        let logged = on_a_shard(|shard| async move {
            let (mut unlucky, id) = connect(&shard);
            let (mut other, _) = connect(&shard);
            check_served(&shard, &mut unlucky).await;
            check_served(&shard, &mut other).await;
            let fault = async { panic!("a fault made for this test") };
            let conn = shard.conn(u32::try_from(id).expect("an id"));
            conn.hand(Step::Work(Box::pin(fault)));
            drop(conn);
            until(&shard, || shard.counters.panics.get() == 1).await;
            assert!(read_to_end(&shard, &mut unlucky).await.is_empty());
            assert_eq!(shard.connections(), 1);
            assert_eq!(shard.shared.connections.load(Ordering::Relaxed), 1);
            check_served(&shard, &mut other).await;
            let (mut next, _) = connect(&shard);
            check_served(&shard, &mut next).await;
            assert_eq!(shard.counters.panics.get(), 1);
        });
        for logged in logged {
            for said in [
                "ERROR",
                "a fault made for this test",
                "connection=0",
                "doing=Working",
            ] {
                assert!(logged.contains(said), "no {said} in: {logged}");
            }
        }
    }

    #[test]
    fn a_connection_whose_request_came_in_time_is_not_given_up_as_idle() {
        on_a_shard(|shard| async move {
            let (mut client, id) = connect(&shard);
            check_served(&shard, &mut client).await;
            let request = b"GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n";
            client.write_all(request).expect("the connection is open");
            // Its time is over before its task had its turn to look.
            expire(&shard, &shard.conn(u32::try_from(id).expect("an id")));
            let served = shard.counters.requests.get() + 1;
            until(&shard, || shard.counters.requests.get() == served).await;
            let reply = read_until(&mut client, b"\r\n\r\n");
            assert!(
                reply.starts_with(b"HTTP/1.1 200"),
                "{}",
                reply.escape_ascii()
            );
        });
    }

    /// Puts `document` in the place of the one that the scribe makes, as soon as that is there.
    async fn deliver(shard: &Shard, document: Vec<u8>) {
        let mut came = Vec::new();
        let began = Instant::now();
        while came.is_empty() {
            assert!(began.elapsed() < FAILURE_BOUND, "waited in vain");
            shard.turn().await;
            came = shard.shared.mesh.take(shard.index);
        }
        let Some(Message::Answer { ticket, .. }) = came.pop() else {
            panic!("something else than the scribe's answer");
        };
        let answer = Answer::Written(Ok(("text/plain", document)));
        shard.answered(ticket, answer);
    }

    #[test]
    fn a_listing_that_takes_longer_than_a_head_may_is_sent_all_the_same() {
        on_a_shard(|shard| async move {
            let (mut client, id) = connect(&shard);
            let request = b"GET /state HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n";
            client.write_all(request).expect("it is read");
            until(&shard, || shard.counters.requests.get() == 1).await;
            let conn = shard.conn(u32::try_from(id).expect("an id"));
            // What a sweep does once the first head's time is over.
            if conn.deadline.get() < Moment::NEVER {
                expire(&shard, &conn);
            }
            drop(conn);
            deliver(&shard, vec![b'.'; 1 << 20]).await;
            let reply = read_to_end(&shard, &mut client).await;
            assert!(
                reply.starts_with(b"HTTP/1.1 200 OK\r\n"),
                "{} bytes",
                reply.len()
            );
            assert!(reply.len() > 1 << 20, "{} bytes", reply.len());
        });
    }

    #[test]
    #[allow(
        clippy::await_holding_refcell_ref,
        reason = "that is what makes the driver panic"
    )]
    fn a_panic_of_the_task_that_drives_an_exchange_cuts_the_body_and_frees_the_channel() {
        on_a_shard(|shard| async move {
            let exchanging = || shard.registry.borrow().exchanging();
            let (mut consumer, _) = connect(&shard);
            let request = b"GET /channels/a/b HTTP/1.1\r\nHost: t\r\n\r\n";
            consumer.write_all(request).expect("it is read");
            until(&shard, || {
                shard.registry.borrow().waiting(Side::Consumer) == 1
            })
            .await;
            let (mut producer, _) = connect(&shard);
            let request = b"POST /channels/a/b HTTP/1.1\r\nHost: t\r\n\
                Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n";
            producer.write_all(request).expect("it is read");
            until(&shard, || exchanging() == 1).await;
            read_until(&mut consumer, b"1\r\na\r\n");
            // The next step of the transfer finds the shard's buffer in use, which cannot be.
            let in_use = shard.scratch.borrow_mut();
            producer.write_all(b"1\r\nb\r\n").expect("it is read");
            until(&shard, || shard.counters.panics.get() == 1).await;
            drop(in_use);
            until(&shard, || shard.connections() == 1).await;
            assert_eq!((exchanging(), shard.registry.borrow().channels()), (0, 0));
            // The consumer sees the end without the last chunk; its connection lingers until it
            // closes too.
            let rest = read_to_end(&shard, &mut consumer).await;
            assert!(rest.is_empty(), "{}", rest.escape_ascii());
            drop(consumer);
            until(&shard, || shard.connections() == 0).await;
            let (mut next, _) = connect(&shard);
            check_served(&shard, &mut next).await;
        });
    }

    #[test]
    #[allow(
        clippy::await_holding_refcell_ref,
        reason = "that is what makes the driver panic"
    )]
    fn a_panic_before_the_first_byte_leaves_the_consumer_no_half_a_reply() {
        on_a_shard(|shard| async move {
            let (mut consumer, _) = connect(&shard);
            let request = b"GET /channels/a/b HTTP/1.1\r\nHost: t\r\n\r\n";
            consumer.write_all(request).expect("it is read");
            until(&shard, || {
                shard.registry.borrow().waiting(Side::Consumer) == 1
            })
            .await;
            let (mut producer, _) = connect(&shard);
            let request = b"POST /channels/a/b HTTP/1.1\r\nHost: t\r\nContent-Length: 9\r\n\r\n";
            producer.write_all(request).expect("it is read");
            until(&shard, || shard.registry.borrow().exchanging() == 1).await;
            let in_use = shard.scratch.borrow_mut();
            producer.write_all(b"some").expect("it is read");
            until(&shard, || shard.counters.panics.get() == 1).await;
            drop(in_use);
            until(&shard, || shard.connections() == 0).await;
            let said = read_to_end(&shard, &mut consumer).await;
            assert!(said.is_empty(), "{}", said.escape_ascii());
            assert_eq!(shard.registry.borrow().channels(), 0);
        });
    }
}
