//! Reads the server's `/metrics`.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use crate::client::connection::connect;
use crate::client::poller::SILENCE_MAX;
use crate::client::target::Target;
use crate::error::Result;

/// The value of one metric; 0 if it is missing. `name` includes the labels.
pub fn value(target: &Target, name: &str) -> Result<f64> {
    let mut socket = connect(target.address)?;
    let host = target.address;
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes())?;
    let mut text = String::new();
    socket.read_to_string(&mut text)?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(line.map_or(Ok(0.0), str::parse)?)
}

/// Polls a metric until it is at least `wanted`. Fails after [`SILENCE_MAX`].
pub fn await_at_least(target: &Target, name: &str, wanted: f64) -> Result<()> {
    let deadline = Instant::now() + SILENCE_MAX;
    loop {
        let value = value(target, name)?;
        if value >= wanted {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("{name} is {value}, not {wanted}, after {SILENCE_MAX:?}").into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
