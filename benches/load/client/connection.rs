//! Connections of the clients.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::client::poller::SILENCE_MAX;
use crate::error::Result;

/// A blocking connection with TCP_NODELAY; its reads and writes time out after [`SILENCE_MAX`].
pub fn connect(address: SocketAddr) -> Result<TcpStream> {
    let socket = TcpStream::connect_timeout(&address, SILENCE_MAX)
        .map_err(|error| format!("no connection to {address}: {error}"))?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(SILENCE_MAX))?;
    socket.set_write_timeout(Some(SILENCE_MAX))?;
    Ok(socket)
}

/// A non-blocking connection, for use with a poller.
pub fn connect_nonblocking(address: SocketAddr) -> Result<TcpStream> {
    let socket = connect(address)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Closes with a reset, after which no port stays in TIME_WAIT: thousands of closes would use up all
/// ports.
pub fn reset_on_close(socket: &TcpStream) -> Result<()> {
    Ok(rustix::net::sockopt::set_socket_linger(
        socket,
        Some(Duration::ZERO),
    )?)
}

pub fn would_block(error: &std::io::Error) -> bool {
    error.kind() == ErrorKind::WouldBlock
}
