//! Small pairs while the server is besieged: how long a body of 100 bytes is under way then.
//!
//! Thousands of connections send a head a byte at a time and never to its end. The server cuts each
//! at `--header-timeout`, with a 408, and it comes again at once. As many others made one request
//! each and say nothing more. The besiegers are one thread, which gives way to all others, the pairs
//! another, which runs before all others where that is permitted (see `mixed.rs`): what is measured is
//! what the siege costs the server's guests, not what it costs their machine.

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

/// The server's `--header-timeout` unless it is told another.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
/// A server whose slow heads are cut five times as often, thousands a second.
pub const HASTY: &[&str] = &["--header-timeout", "2"];
const HASTY_TIMEOUT: Duration = Duration::from_secs(2);

/// Each slow head gets its next byte this often.
const BYTE_EVERY: Duration = Duration::from_millis(500);
/// How often the besiegers look who is next.
const TICK: Duration = Duration::from_millis(1);
/// Descriptors that the harness and the server need for other things.
const FILES_SPARE: usize = 500;
/// Where a head becomes endless.
const HEAD: &[u8] = b"GET /channels/bench/siege HTTP/1.1\r\nX: ";

/// Pairs on a server that has nothing else to do.
pub fn alone(run: &Run) -> Result<Sample> {
    sys::run_before_others();
    let latencies = paced::pairs(run, 0)?;
    Ok(vec![
        (Measure::P99Micros, micros(&latencies, 0.99)),
        (Measure::MedianMicros, micros(&latencies, 0.5)),
    ])
}

/// The same pairs during a siege, and how many besiegers were cut meanwhile.
pub fn besieged(run: &Run) -> Result<Sample> {
    besieged_for(run, DEFAULT_TIMEOUT)
}

/// As [`besieged`], on a server with the options [`HASTY`].
pub fn besieged_in_haste(run: &Run) -> Result<Sample> {
    besieged_for(run, HASTY_TIMEOUT)
}

fn besieged_for(run: &Run, header_timeout: Duration) -> Result<Sample> {
    let over = AtomicBool::new(false);
    let (ready, begun) = channel();
    let (sample, cuts) = std::thread::scope(|scope| {
        let over = &over;
        let siege = scope.spawn(move || {
            // The thread is the siege's own, so nothing has to be undone.
            sys::run_behind_others();
            Siege::lay(run)?.go_on(header_timeout, &ready, over)
        });
        // Without a word the siege has failed, and says why when it is joined.
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
        return Err(format!("{cuts} besiegers were cut, of {expected:.0} who should be").into());
    }
    Ok([sample, vec![(Measure::Cuts, cuts as f64)]].concat())
}

struct Siege<'run> {
    run: &'run Run<'run>,
    poller: Poller,
    /// Each with how many bytes of its head were sent.
    slow: Vec<(TcpStream, usize)>,
    _idle: Vec<TcpStream>,
    /// How many of each kind it takes.
    each: usize,
    cuts: u64,
}

impl<'run> Siege<'run> {
    /// Connects everybody who is idle; fails unless the server has all of them inside.
    fn lay(run: &'run Run<'run>) -> Result<Self> {
        let each = run.scale.besiegers;
        let files_max = machine::open_files_max();
        if 2 * each + FILES_SPARE > files_max {
            return Err(format!("{files_max} open files are too few for twice {each}").into());
        }
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

    /// Sends slow heads, and comes again when cut, until it is over; returns how many were cut since
    /// it was `ready`. They begin over the length of a header timeout, so that from then on they are
    /// cut all the time and not in one go.
    fn go_on(
        mut self,
        header_timeout: Duration,
        ready: &Sender<()>,
        over: &AtomicBool,
    ) -> Result<u64> {
        let came_every = header_timeout.div_f64(self.each as f64);
        let byte_every = BYTE_EVERY.div_f64(self.each as f64);
        let began = Instant::now();
        let (mut next_byte, mut turn) = (began, 0);
        let mut tokens = Vec::new();
        let mut before = None;
        while !over.load(Ordering::Relaxed) {
            self.poller.wait(TICK, &mut tokens)?;
            for &token in &tokens {
                self.hear(token)?;
            }
            let now = Instant::now();
            while self.slow.len() < self.each && began + came_every * self.slow.len() as u32 <= now
            {
                let comer = self.come(self.slow.len())?;
                self.slow.push((comer, 0));
            }
            while next_byte <= now {
                if turn < self.slow.len() {
                    self.send_byte(turn)?;
                }
                turn = (turn + 1) % self.each;
                next_byte += byte_every;
            }
            if before.is_none() && now > began + header_timeout {
                self.check_that_all_are_inside()?;
                before = Some(self.cuts);
                let _ = ready.send(());
            }
        }
        Ok(self.cuts - before.unwrap_or(self.cuts))
    }

    /// But for those that the server has cut and that have not come again yet.
    fn check_that_all_are_inside(&self) -> Result<()> {
        let inside = metrics::value(self.run.target, "httpipe_connections")?;
        if inside < 1.98 * self.each as f64 {
            return Err(format!(
                "only {inside} besiegers are inside, not twice {}",
                self.each
            )
            .into());
        }
        Ok(())
    }

    /// Somebody who is about to send a slow head.
    fn come(&self, token: usize) -> Result<TcpStream> {
        let comer = connection::connect_nonblocking(self.run.target.address)?;
        leave_by_reset(&comer)?;
        self.poller.add(&comer, token, Interest::Read)?;
        Ok(comer)
    }

    fn send_byte(&mut self, token: usize) -> Result<()> {
        let (slow, sent) = &mut self.slow[token];
        let byte = HEAD.get(*sent).unwrap_or(&b'x');
        *sent += 1;
        match slow.write(&[*byte]) {
            Ok(_) => Ok(()),
            // It was cut, which the poller is about to tell.
            Err(error) if is_cut(&error) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The server said something, which can only be that it has waited long enough; then another
    /// comes in its place.
    fn hear(&mut self, token: usize) -> Result<()> {
        let mut reply = [0; 1024];
        match self.slow[token].0.read(&mut reply) {
            // One that had sent nothing yet is cut without a word.
            Ok(count) if count == 0 || reply.starts_with(b"HTTP/1.1 408") => {}
            Ok(count) => {
                let said = String::from_utf8_lossy(&reply[..count]);
                return Err(format!("a slow head was answered with {said}").into());
            }
            Err(error) if connection::would_block(&error) => return Ok(()),
            Err(error) if is_cut(&error) => {}
            Err(error) => return Err(error.into()),
        }
        self.slow[token] = (self.come(token)?, 0);
        self.cuts += 1;
        Ok(())
    }
}

/// Somebody who was served once and stays.
fn idle(run: &Run) -> Result<TcpStream> {
    let mut idle = connection::connect(run.target.address)?;
    leave_by_reset(&idle)?;
    let host = run.target.address;
    idle.write_all(format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes())?;
    reply::read_small(&idle, &mut [0; 1024])?;
    Ok(idle)
}

/// Thousands a second in TIME_WAIT would leave no ports.
fn leave_by_reset(socket: &TcpStream) -> Result<()> {
    Ok(rustix::net::sockopt::set_socket_linger(
        socket,
        Some(Duration::ZERO),
    )?)
}

fn is_cut(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
    )
}
