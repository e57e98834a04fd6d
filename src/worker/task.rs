//! The life of a connection: head after head, until it ends or goes to another shard.
//!
//! There is one place where it waits ([`Conn::event`]); what takes longer than a turn is a boxed
//! [`Next::Work`], so that a connection that only waits stays small.

use std::{any::Any, io, os::fd::OwnedFd, panic::AssertUnwindSafe, pin::pin, rc::Rc};

use futures_util::FutureExt;

use crate::{
    conn::{
        Conn, Doing, Event,
        deadline::Due,
        step::{Next, Step, close_behind},
    },
    exchange::waiting,
    handle::{self, target::Target},
    http::reply::Persistence,
    io::{runtime, socket::Peer},
    limits,
    model::{
        refusal::Refusal,
        reply::Reply,
        request::Request,
        verdict::{Cause, Close, WaitEnd},
    },
    observe::log,
    shard::{
        mesh::{Handover, Message},
        session::Session,
    },
    worker::{heads, linger::linger},
};

/// How a connection's task ended.
enum TaskEnd {
    Closed,
    HandedOver(usize, Box<Request>, Option<OwnedFd>),
}

/// Serves a connection in a task of its own, beginning with `first` if it came with a request.
///
/// A panic in it ends this connection and no other: it is logged and counted, the queue that the
/// connection stood in forgets it, and the exchange that it drove is cut.
pub fn spawn(session: Session, first: Option<Box<Request>>) {
    runtime::spawn(async move {
        let end = {
            // A panic leaves nothing half changed except what `after_panic` repairs.
            let task = AssertUnwindSafe(serve(&session, first));
            pin!(task.catch_unwind()).await
        };
        let Session { shard, conn } = session;
        shard.dismiss(&conn);
        match end {
            Ok(TaskEnd::Closed) => {
                shard.count_closed(conn.audience);
                Session { shard, conn }.finish_line();
            }
            Ok(TaskEnd::HandedOver(owner, request, duplicate)) => {
                hand_over(Session { shard, conn }, owner, request, duplicate);
            }
            Err(panic) => {
                shard.count_closed(conn.audience);
                after_panic(&Session { shard, conn }, &*panic);
            }
        }
    });
}

async fn serve(session: &Session, first: Option<Box<Request>>) -> TaskEnd {
    let mut next = match first {
        Some(request) => session.settle(handle::begin_request(&Target::of_request(
            session, &request,
        ))),
        None => Next::Wait,
    };
    let mut parsed = 0;
    loop {
        next = match next {
            Next::Wait => {
                parsed = 0;
                let event = session.conn.event().await;
                react(session, event)
            }
            Next::Parse if parsed == limits::PARSED_AT_ONCE => {
                parsed = 0;
                session.shard.yield_now().await;
                session.conn.take_handed().unwrap_or(Next::Parse)
            }
            Next::Parse => {
                parsed += 1;
                session.settle(heads::parse_unread(session))
            }
            Next::Work(work) => {
                session.conn.begin_work();
                session.settle(work.await)
            }
            Next::HandOver(owner, request) => match session.conn.transport.duplicate_if_held() {
                Ok(duplicate) => return TaskEnd::HandedOver(owner, request, duplicate),
                Err(error) => session.settle(refuse_handover(session, &request, &error)),
            },
            Next::Close(how) => {
                close(session, how).await;
                return TaskEnd::Closed;
            }
        }
    }
}

/// Refuses the request whose connection could not be handed over.
fn refuse_handover(session: &Session, request: &Request, error: &io::Error) -> Step {
    let shard = &session.shard;
    if let Some(times) = shard.cannot_hand_over.record(&shard.clock) {
        tracing::warn!(
            "cannot hand connections over between threads: {error}; their requests are answered with \
             503 ({times} since the last line)"
        );
    }
    Target::of_request(session, request).refuse(&Refusal::NO_DESCRIPTOR)
}

/// What to do about `event`.
fn react(session: &Session, event: Event) -> Next {
    let conn = &session.conn;
    if let Some(next) = conn.take_handed() {
        return next;
    }
    match (event, conn.doing()) {
        (Event::Readable, Doing::Reading) => session.settle(heads::receive(session)),
        (Event::Readable, Doing::Waiting | Doing::Driven) => {
            look_at_peer(session, conn.transport.peer())
        }
        (Event::Readable, Doing::Working) => {
            // Another task is about to hand over what comes next, whatever the peer has done.
            conn.ignore_readability();
            Next::Wait
        }
        _ => Next::Wait,
    }
}

/// What to do about the peer of a connection that waits for a counterpart or is sent a body. Bytes that
/// it sent stay where they are until its request is answered.
fn look_at_peer(session: &Session, peer: Peer) -> Next {
    let conn = &session.conn;
    match (conn.doing(), peer) {
        (_, Peer::There) => {}
        (Doing::Waiting, _) => {
            waiting::leave(session);
            return Next::Close(close_behind(peer));
        }
        (_, Peer::HalfClosed) => conn.consumer_half_closed(),
        (_, Peer::Gone) => conn.consumer_left(),
    }
    if conn.outbound.has_left() {
        // The driver knows; there is nothing more to see.
        conn.ignore_readability();
    } else {
        session.watch_peer();
    }
    Next::Wait
}

/// Acts on the state of a peer whose leaving readability would not show: unread bytes hide it, or its
/// host vanished.
pub fn peer_seen(session: &Session, peer: Peer) {
    if matches!(session.conn.doing(), Doing::Waiting | Doing::Driven)
        && let Next::Close(close) = look_at_peer(session, peer)
    {
        session.conn.hand(Next::Close(close));
    }
}

/// The connection's time limit is over.
pub fn expire(session: &Session) {
    match session.conn.deadline.due() {
        Due::Head | Due::KeepAlive => expire_reading(session),
        Due::Wait => waiting::expire(session),
        Due::Idle | Due::Reply | Due::Linger => session.conn.signal.stop(Cause::Expired),
        Due::Pipe => session.conn.signal.poke(),
    }
}

fn expire_reading(session: &Session) {
    let Session { shard, conn } = session;
    if conn.doing() != Doing::Reading {
        return;
    }
    if conn.inbound.has_unread() {
        conn.begin_work();
        session.answer(Reply::refuse(Persistence::Close, &Refusal::HEAD_TOO_SLOW));
    } else if conn.transport.is_readable() {
        // Its request came in time; its task has yet to see it.
        session.limit(Due::Head, shard.config().timeouts.header);
    } else {
        conn.hand(Next::Close(Close::Now));
    }
}

/// The server shuts down: an idle connection closes, a waiting request is refused, and
/// an exchange goes on. Called repeatedly, because a connection in an exchange may be idle or wait
/// later. A connection with an unread request is not closed: its client would get a reset instead of
/// a reply.
pub fn drain(session: &Session) {
    let conn = &session.conn;
    match conn.doing() {
        Doing::Reading if !conn.transport.is_readable() => conn.hand(Next::Close(Close::Now)),
        Doing::Waiting => waiting::turn_away(session, WaitEnd::Drained),
        _ => {}
    }
}

/// Whether a connection between two requests has begun no head. With `grace`, one without an
/// answered request is not idle, because its client may be about to send.
#[must_use]
pub fn is_idle(conn: &Conn, grace: bool) -> bool {
    !(conn.inbound.has_unread() || grace && conn.inbound.served_none())
}

async fn close(session: &Session, how: Close) {
    match how {
        Close::Now => {}
        // Boxed, so that the tasks of all connections have no room for it.
        Close::Linger => Box::pin(linger(session)).await,
    }
}

/// Gives the connection to the shard that owns the channel of its request.
fn hand_over(session: Session, owner: usize, request: Box<Request>, duplicate: Option<OwnedFd>) {
    let Session { shard, conn } = session;
    let audience = conn.audience;
    let Some(conn) = Rc::into_inner(conn) else {
        // Nobody but its own task holds a connection between two requests.
        tracing::error!("a connection to be handed over is still in use; it is closed");
        return shard.count_closed(audience);
    };
    shard.counters.handovers.add(1);
    let handover = Handover {
        transport: conn.transport.into_parts(duplicate),
        audience,
        request,
    };
    shard
        .shared
        .mesh
        .send(owner, Message::HandOver(Box::new(handover)));
}

/// Cleans up after a task that panicked.
fn after_panic(session: &Session, panic: &(dyn Any + Send)) {
    let Session { shard, conn } = session;
    shard.counters.panics.add(1);
    conn.line.panicked();
    session.finish_line();
    let reason = log::reason(panic);
    tracing::error!(connection = conn.id, doing = ?conn.doing(), "a connection's task panicked: {reason}");
    waiting::leave(session);
    conn.consumer_left();
    // If an exchange was handed to this task to drive, dropping it ends the exchange.
    drop(conn.take_handed());
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
        io::{
            runtime::{Driver, Pool, Runtime},
            socket::{Kind, Transport},
        },
        model::{audience::Audience, registry::Side},
        shard::{Shard, shared::Shared},
    };

    /// Long enough for anything here; a test that passes never waits that long.
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
        let shared = Shared::new(config, 0, None).expect("descriptors and a thread");
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            let runtime = Runtime::new(driver, &Pool::start());
            let runtime = runtime.expect("the kernel gives what it said it would");
            runtime.run(async {
                let shard = Shard::new(0, Arc::new(shared)).expect("descriptors");
                test(Rc::new(shard)).await;
            });
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
        let transport = Transport::new(OwnedFd::from(accepted), Kind::Tcp).expect("a socket");
        shard.shared.connections.fetch_add(1, Ordering::Relaxed);
        let conn = shard.admit(transport, Audience::Everyone, false);
        let id = conn.id as usize;
        spawn(Session::new(shard, conn), None);
        (client, id)
    }

    /// Lets the shard's tasks run until `holds`.
    async fn until(shard: &Shard, holds: impl Fn() -> bool) {
        let began = Instant::now();
        while !holds() {
            assert!(began.elapsed() < FAILURE_BOUND, "waited in vain");
            shard.yield_now().await;
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
            shard.yield_now().await;
        }
        all
    }

    /// A consumer that waits on the channel of these tests.
    async fn waiting_consumer(shard: &Rc<Shard>) -> TcpStream {
        let (mut consumer, _) = connect(shard);
        let request = b"GET /channels/a/b HTTP/1.1\r\nHost: t\r\n\r\n";
        consumer.write_all(request).expect("it is read");
        until(shard, || {
            shard.registry.borrow().waiting(Side::Consumer) == 1
        })
        .await;
        consumer
    }

    /// Checks that a request without a counterpart is answered.
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
            let conn = shard.connections.get(u32::try_from(id).expect("an id"));
            conn.hand(Next::Work(Box::pin(fault)));
            drop(conn);
            until(&shard, || shard.counters.panics.get() == 1).await;
            assert!(read_to_end(&shard, &mut unlucky).await.is_empty());
            assert_eq!(shard.connections.clients(), 1);
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
            expire(&Session::new(
                &shard,
                shard.connections.get(u32::try_from(id).expect("an id")),
            ));
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

    #[test]
    fn a_listing_that_takes_longer_than_a_head_may_is_sent_all_the_same() {
        on_a_shard(|shard| async move {
            let (mut client, id) = connect(&shard);
            // More than a megabyte of names, collected in several slices.
            for nth in 0..5000 {
                let name = format!("{nth:0250}");
                let opened = shard.registry.borrow_mut().open(nth, "a", &name);
                let channel = opened.expect("there is room");
                shard.registry.borrow_mut().begin_exchange(channel, 0);
            }
            let request = b"GET /state HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n";
            client.write_all(request).expect("it is read");
            until(&shard, || shard.counters.requests.get() == 1).await;
            let conn = shard.connections.get(u32::try_from(id).expect("an id"));
            // What the sweep does once the first head's time is over.
            if conn.deadline.due() == Due::Head {
                expire(&Session::new(&shard, Rc::clone(&conn)));
            }
            drop(conn);
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
            let mut consumer = waiting_consumer(&shard).await;
            let (mut producer, _) = connect(&shard);
            let request = b"POST /channels/a/b HTTP/1.1\r\nHost: t\r\n\
                Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n";
            producer.write_all(request).expect("it is read");
            until(&shard, || exchanging() == 1).await;
            read_until(&mut consumer, b"1\r\na\r\n");
            // The next step of the exchange finds the shard's buffer in use, and panics.
            let in_use = shard.scratch.borrow_mut();
            producer.write_all(b"1\r\nb\r\n").expect("it is read");
            until(&shard, || shard.counters.panics.get() == 1).await;
            drop(in_use);
            until(&shard, || shard.connections.clients() == 1).await;
            assert_eq!((exchanging(), shard.registry.borrow().channels()), (0, 0));
            // The consumer sees the end without the last chunk; its connection lingers until it
            // closes too.
            let rest = read_to_end(&shard, &mut consumer).await;
            assert!(rest.is_empty(), "{}", rest.escape_ascii());
            drop(consumer);
            until(&shard, || shard.connections.clients() == 0).await;
            let (mut next, _) = connect(&shard);
            check_served(&shard, &mut next).await;
        });
    }

    #[test]
    #[allow(
        clippy::await_holding_refcell_ref,
        reason = "that is what makes the driver panic"
    )]
    fn a_panic_of_an_exchange_is_no_matter_to_those_who_wait_behind_it() {
        on_a_shard(|shard| async move {
            let waiting = |side| shard.registry.borrow().waiting(side);
            let get = b"GET /channels/a/b HTTP/1.1\r\nHost: t\r\n\r\n";
            let post = b"POST /channels/a/b HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\n\r\nbody";
            let _first_consumer = waiting_consumer(&shard).await;
            let (mut first_producer, _) = connect(&shard);
            first_producer
                .write_all(&post[..post.len() - 4])
                .expect("it is read");
            until(&shard, || shard.registry.borrow().exchanging() == 1).await;
            let (mut consumer, _) = connect(&shard);
            consumer.write_all(get).expect("it is read");
            let (mut producer, _) = connect(&shard);
            producer.write_all(post).expect("it is read");
            until(&shard, || {
                waiting(Side::Consumer) == 1 && waiting(Side::Producer) == 1
            })
            .await;
            let in_use = shard.scratch.borrow_mut();
            first_producer.write_all(b"some").expect("it is read");
            until(&shard, || shard.counters.panics.get() == 1).await;
            drop(in_use);
            let reply = read_until(&mut consumer, b"\r\n\r\nbody");
            assert!(reply.starts_with(b"HTTP/1.1 200 OK\r\n"));
            let reply = read_until(&mut producer, b"\r\n\r\n");
            assert!(reply.starts_with(b"HTTP/1.1 200 OK\r\n"));
            // Both connections live on.
            check_served(&shard, &mut consumer).await;
            check_served(&shard, &mut producer).await;
        });
    }

    #[test]
    #[allow(
        clippy::await_holding_refcell_ref,
        reason = "that is what makes the driver panic"
    )]
    fn a_panic_before_the_first_byte_leaves_the_consumer_no_half_a_reply() {
        on_a_shard(|shard| async move {
            let mut consumer = waiting_consumer(&shard).await;
            let (mut producer, _) = connect(&shard);
            let request = b"POST /channels/a/b HTTP/1.1\r\nHost: t\r\nContent-Length: 9\r\n\r\n";
            producer.write_all(request).expect("it is read");
            until(&shard, || shard.registry.borrow().exchanging() == 1).await;
            let in_use = shard.scratch.borrow_mut();
            producer.write_all(b"some").expect("it is read");
            until(&shard, || shard.counters.panics.get() == 1).await;
            drop(in_use);
            until(&shard, || shard.connections.clients() == 0).await;
            let said = read_to_end(&shard, &mut consumer).await;
            assert!(said.is_empty(), "{}", said.escape_ascii());
            assert_eq!(shard.registry.borrow().channels(), 0);
        });
    }
}
