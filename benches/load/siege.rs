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

use crate::Result;
use crate::client;
use crate::latency::micros;
use crate::machine;
use crate::mixed;
use crate::poller::{Interest, Poller};
use crate::row::{Measure, Run, Sample};
use crate::sys;

/// The server's `--header-timeout`, in seconds: shorter than the window, so that everybody who sends
/// a slow head is cut in it, and thousands come again.
pub const HEADER_TIMEOUT_SECONDS: &str = "2";
const HEADER_TIMEOUT: Duration = Duration::from_secs(2);

/// Each slow head gets its next byte this often.
const BYTE_EVERY: Duration = Duration::from_millis(500);
/// How often the besiegers look who is next.
const TICK: Duration = Duration::from_millis(10);
/// Descriptors that the harness and the server need for other things.
const FILES_SPARE: usize = 500;
/// Where a head becomes endless.
const HEAD: &[u8] = b"GET /channels/bench/siege HTTP/1.1\r\nX: ";

/// Pairs on a server that has nothing else to do.
pub fn alone(run: &Run) -> Result<Sample> {
    sys::run_before_others();
    let latencies = mixed::paced(run, 0)?;
    Ok(vec![
        (Measure::P99Micros, micros(&latencies, 0.99)),
        (Measure::MedianMicros, micros(&latencies, 0.5)),
    ])
}

/// The same pairs during a siege, and how many besiegers were cut meanwhile.
pub fn besieged(run: &Run) -> Result<Sample> {
    let over = AtomicBool::new(false);
    let (ready, begun) = channel();
    let (sample, cuts) = std::thread::scope(|scope| {
        let over = &over;
        let siege = scope.spawn(move || {
            // The thread is the siege's own, so nothing has to be undone.
            sys::run_behind_others();
            Siege::lay(run)?.go_on(&ready, over)
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
    if cuts == 0 && run.scale.window > HEADER_TIMEOUT {
        return Err("nobody was cut at the header timeout".into());
    }
    Ok([sample, vec![(Measure::Cuts, cuts as f64)]].concat())
}

struct Siege<'run> {
    run: &'run Run<'run>,
    poller: Poller,
    /// Each with how many bytes of its head were sent.
    slow: Vec<(TcpStream, usize)>,
    _idle: Vec<TcpStream>,
}

impl<'run> Siege<'run> {
    /// Connects everybody; fails unless the server has all who are idle inside. Who sends slow heads
    /// comes over the length of a header timeout, so that they are cut all the time and not in
    /// one go.
    fn lay(run: &'run Run<'run>) -> Result<Self> {
        let each = machine::open_files_max().saturating_sub(FILES_SPARE) / 2;
        let each = each.min(run.scale.besiegers);
        let idle = (0..each).map(|_| idle(run)).collect::<Result<Vec<_>>>()?;
        client::await_metric(run.target, "httpipe_connections", each as f64)?;
        let mut siege = Self {
            run,
            poller: Poller::new()?,
            slow: Vec::with_capacity(each),
            _idle: idle,
        };
        let began = Instant::now();
        for token in 0..each {
            let due = began + HEADER_TIMEOUT.mul_f64(token as f64 / each as f64);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let comer = siege.come(token)?;
            siege.slow.push((comer, 0));
        }
        Ok(siege)
    }

    /// Somebody who is about to send a slow head.
    fn come(&self, token: usize) -> Result<TcpStream> {
        let comer = client::connect_nonblocking(self.run.target.address)?;
        leave_by_reset(&comer)?;
        self.poller.add(&comer, token, Interest::Read)?;
        Ok(comer)
    }

    /// Sends bytes, and comes again when cut, until it is over; returns how many were cut.
    fn go_on(mut self, ready: &Sender<()>, over: &AtomicBool) -> Result<u64> {
        let _ = ready.send(());
        let a_tick = self.slow.len().div_ceil(ticks(BYTE_EVERY));
        let (mut cuts, mut next, mut turn) = (0, Instant::now(), 0);
        let mut tokens = Vec::new();
        while !over.load(Ordering::Relaxed) {
            let pause = next.saturating_duration_since(Instant::now());
            self.poller.wait(pause.min(TICK), &mut tokens)?;
            for &token in &tokens {
                cuts += u64::from(self.hear(token)?);
            }
            while next <= Instant::now() {
                for _ in 0..a_tick {
                    self.send_byte(turn)?;
                    turn = (turn + 1) % self.slow.len();
                }
                next += TICK;
            }
        }
        Ok(cuts)
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

    /// The server said something, which can only be that it has waited long enough. True if so; then
    /// another comes in its place.
    fn hear(&mut self, token: usize) -> Result<bool> {
        let mut reply = [0; 1024];
        match self.slow[token].0.read(&mut reply) {
            // One that had sent nothing yet is cut without a word.
            Ok(count) if count == 0 || reply.starts_with(b"HTTP/1.1 408") => {}
            Ok(count) => {
                let said = String::from_utf8_lossy(&reply[..count]);
                return Err(format!("a slow head was answered with {said}").into());
            }
            Err(error) if client::would_block(&error) => return Ok(false),
            Err(error) if is_cut(&error) => {}
            Err(error) => return Err(error.into()),
        }
        self.slow[token] = (self.come(token)?, 0);
        Ok(true)
    }
}

/// Somebody who was served once and stays.
fn idle(run: &Run) -> Result<TcpStream> {
    let mut idle = client::connect(run.target.address)?;
    leave_by_reset(&idle)?;
    let host = run.target.address;
    idle.write_all(format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes())?;
    client::read_small(&idle, &mut [0; 1024])?;
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

fn ticks(time: Duration) -> usize {
    (time.as_millis() / TICK.as_millis()) as usize
}
