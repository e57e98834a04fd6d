//! nginx as the yardstick for small replies: one worker, a static reply, no log. Its configuration is
//! in a temporary folder; other nginx processes are not affected.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::client::small_body::BODY_BYTES;
use crate::client::target::Target;
use crate::error::Result;
use crate::servers::daemon::Daemon;
use crate::servers::running::Running;
use crate::system::cores::Cores;
use crate::system::{executable, process};

const NAME: &str = "nginx";
const START_MAX: Duration = Duration::from_secs(5);

pub fn is_installed() -> bool {
    executable::find(NAME).is_some()
}

/// The target's process is the worker, not the master.
pub fn start(label: &str, cores: Cores) -> Result<Running> {
    let executable = executable::find(NAME).ok_or("nginx is not installed")?;
    let folder = TempDir::new()?;
    let address = free_address()?;
    let config = folder.path().join("nginx.conf");
    fs::write(&config, configuration(address))?;
    let mut command = Command::new(executable);
    command
        .arg("-e")
        .arg("stderr")
        .arg("-p")
        .arg(folder.path())
        .arg("-c")
        .arg(&config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let daemon = Daemon::start(command, cores)?;
    let worker = await_worker(daemon.pid(), address)?;
    Ok(Running::started(
        Target::attached(label, address, "/", worker),
        daemon,
        Some(folder),
    ))
}

/// A port that was free just now: nginx does not report a port that the kernel chose.
fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?)
}

fn configuration(address: SocketAddr) -> String {
    let body = ".".repeat(BODY_BYTES);
    format!(
        "daemon off;
worker_processes 1;
pid nginx.pid;
error_log stderr crit;
events {{ worker_connections 1024; use epoll; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 75s;
    client_body_temp_path client_body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {{
        listen {address};
        default_type application/octet-stream;
        location / {{ return 200 \"{body}\"; }}
    }}
}}
"
    )
}

fn await_worker(master: u32, address: SocketAddr) -> Result<u32> {
    let deadline = Instant::now() + START_MAX;
    while Instant::now() < deadline {
        if let (&[worker], Ok(_)) = (&process::children(master)[..], TcpStream::connect(address)) {
            return Ok(worker);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Err(format!("nginx did not listen on {address} within {START_MAX:?}").into())
}
