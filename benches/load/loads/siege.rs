//! Latency of small pairs while thousands of slow clients are connected.
//!
//! Thousands of connections send a head byte by byte and never finish it. The server cuts each of them at
//! `--header-timeout` with a 408, and a new one takes its place. As many others have made one request and
//! are idle. The besiegers run on one thread, behind all others, the small pairs on another, before all
//! others where that is permitted (see `mixed.rs`). So the figure shows what the siege costs the other
//! clients of the server, not what it costs their machine.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use crate::client::poller::{Interest, Poller};
use crate::client::{connection, metrics, reply};
use crate::error::Result;
use crate::loads::histogram::micros;
use crate::loads::paced;
use crate::row::measure::{Measure, Sample};
use crate::row::run::Run;
use crate::system::machine;
use crate::system::sys;

/// The server's default `--header-timeout`.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
/// Cuts slow heads five times as often: thousands a second.
pub const HASTY: &[&str] = &["--header-timeout", "2"];
const HASTY_TIMEOUT: Duration = Duration::from_secs(2);

/// Interval between two bytes of a slow head.
const BYTE_EVERY: Duration = Duration::from_millis(500);
/// Longest wait of the besiegers between two looks at the clock.
const TICK: Duration = Duration::from_millis(1);
/// The start of a slow head; it never ends.
const HEAD: &[u8] = b"GET /channels/bench/siege HTTP/1.1\r\nX: ";

/// Small pairs on a server without other clients.
pub fn alone(run: &Run) -> Result<Sample> {
    sys::run_before_others();
    let latencies = paced::pairs(run, 0)?;
    Ok(vec![
        (Measure::P99Micros, micros(&latencies, 0.99)),
        (Measure::MedianMicros, micros(&latencies, 0.5)),
    ])
}

/// The same pairs during a siege, and the number of slow heads cut.
pub fn besieged(run: &Run) -> Result<Sample> {
    besieged_for(run, DEFAULT_TIMEOUT)
}

/// Like [`besieged`], for a server with the options [`HASTY`].
pub fn besieged_in_haste(run: &Run) -> Result<Sample> {
    besieged_for(run, HASTY_TIMEOUT)
}

fn besieged_for(run: &Run, header_timeout: Duration) -> Result<Sample> {
    let over = AtomicBool::new(false);
    let (ready, begun) = channel();
    let (sample, cuts) = std::thread::scope(|scope| {
        let over = &over;
        let siege = scope.spawn(move || {
            // The siege has its own thread, so this needs no undo.
            sys::run_behind_others();
            Siege::new(run)?.run(header_timeout, &ready, over)
        });
        // If the sender is gone, the siege has failed; the join returns its error.
        let sample = begun.recv().ok().map(|()| alone(run));
        over.store(true, Ordering::Relaxed);
        let cuts = siege
            .join()
            .map_err(|_| "the besiegers' thread panicked")??;
        let sample = sample.ok_or("the siege never began")??;
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>((sample, cuts))
    })?;
    let expected = run.scale.besiegers as f64 * run.scale.window.div_duration_f64(header_timeout);
    if (cuts as f64) < (expected / 2.0).floor() {
        return Err(format!("{cuts} slow heads were cut, expected {expected:.0}").into());
    }
    Ok([sample, vec![(Measure::Cuts, cuts as f64)]].concat())
}

struct Siege<'run> {
    run: &'run Run<'run>,
    poller: Poller,
    /// Each with the number of bytes sent.
    slow: Vec<(TcpStream, usize)>,
    _idle: Vec<TcpStream>,
    /// Number of slow, and of idle, connections.
    each: usize,
    cuts: u64,
}

impl<'run> Siege<'run> {
    /// Connects the idle clients. Fails unless the server has accepted all of them.
    fn new(run: &'run Run<'run>) -> Result<Self> {
        let each = run.scale.besiegers;
        machine::check_connections(2 * each)?;
        let idle = (0..each).map(|_| idle(run)).collect::<Result<Vec<_>>>()?;
        metrics::await_at_least(run.target, "httpipe_connections", each as f64)?;
        Ok(Self {
            run,
            poller: Poller::new()?,
            slow: Vec::with_capacity(each),
            _idle: idle,
            each,
            cuts: 0,
        })
    }

    /// Sends slow heads and replaces those that are cut, until `over`. Returns the number of cuts since
    /// it was `ready`. The first ones start over the length of one header timeout, so that later cuts are
    /// spread evenly.
    fn run(
        mut self,
        header_timeout: Duration,
        ready: &Sender<()>,
        over: &AtomicBool,
    ) -> Result<u64> {
        let connect_every = header_timeout.div_f64(self.each as f64);
        let byte_every = BYTE_EVERY.div_f64(self.each as f64);
        let began = Instant::now();
        let (mut next_byte, mut turn) = (began, 0);
        let mut tokens = Vec::new();
        let mut before = None;
        while !over.load(Ordering::Relaxed) {
            self.poller.wait(TICK, &mut tokens)?;
            for &token in &tokens {
                self.receive(token)?;
            }
            let now = Instant::now();
            while self.slow.len() < self.each
                && began + connect_every * self.slow.len() as u32 <= now
            {
                let client = self.connect(self.slow.len())?;
                self.slow.push((client, 0));
            }
            while next_byte <= now {
                if turn < self.slow.len() {
                    self.send_byte(turn)?;
                }
                turn = (turn + 1) % self.each;
                next_byte += byte_every;
            }
            if before.is_none() && now > began + header_timeout {
                self.check_all_connected()?;
                before = Some(self.cuts);
                let _ = ready.send(());
            }
        }
        Ok(self.cuts - before.unwrap_or(self.cuts))
    }

    /// Allows for those that were cut and whose replacement is not accepted yet.
    fn check_all_connected(&self) -> Result<()> {
        let connected = metrics::value(self.run.target, "httpipe_connections")?;
        if connected < 1.98 * self.each as f64 {
            return Err(format!(
                "the server has only {connected} connections, not twice {}",
                self.each
            )
            .into());
        }
        Ok(())
    }

    /// A client that will send a slow head.
    fn connect(&self, token: usize) -> Result<TcpStream> {
        let client = connection::connect_nonblocking(self.run.target.address)?;
        connection::reset_on_close(&client)?;
        self.poller.add(&client, token, Interest::Read)?;
        Ok(client)
    }

    fn send_byte(&mut self, token: usize) -> Result<()> {
        let (slow, sent) = &mut self.slow[token];
        let byte = HEAD.get(*sent).unwrap_or(&b'x');
        *sent += 1;
        match slow.write(&[*byte]) {
            Ok(_) => Ok(()),
            // It was cut; the poller will report that.
            Err(error) if is_cut(&error) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The only valid reply is that the header timeout has expired; a new client then takes the place.
    fn receive(&mut self, token: usize) -> Result<()> {
        let mut reply = [0; 1024];
        match self.slow[token].0.read(&mut reply) {
            // A connection that has sent nothing is closed without a reply.
            Ok(count) if count == 0 || reply.starts_with(b"HTTP/1.1 408") => {}
            Ok(count) => {
                let said = String::from_utf8_lossy(&reply[..count]);
                return Err(format!("a slow head was answered with {said}").into());
            }
            Err(error) if connection::would_block(&error) => return Ok(()),
            Err(error) if is_cut(&error) => {}
            Err(error) => return Err(error.into()),
        }
        self.slow[token] = (self.connect(token)?, 0);
        self.cuts += 1;
        Ok(())
    }
}

/// A client that made one request and stays connected.
fn idle(run: &Run) -> Result<TcpStream> {
    let mut idle = connection::connect(run.target.address)?;
    connection::reset_on_close(&idle)?;
    let host = run.target.address;
    idle.write_all(format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes())?;
    reply::read_small(&idle, &mut [0; 1024])?;
    Ok(idle)
}

fn is_cut(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
    )
}
