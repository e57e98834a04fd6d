//! A network in which a client can vanish: no FIN and no reset, as when a machine loses power or a
//! NAT loses its state. Must never touch the network in which the tests run.

use super::{skip, until};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind};
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::thread;

/// The address of servers.
pub const SERVER: &str = "10.9.9.1";
/// The address of clients that can vanish. Until then it is an ordinary address of this network.
pub const MORTAL: Ipv4Addr = Ipv4Addr::new(10, 9, 9, 2);

/// The route for packets to [`MORTAL`] after its address is removed: a wire to a machine that does
/// not exist. They are sent without an error and never answered.
const SETUP: &str = "
    ip link set lo up
    ip link add wire type veth peer name far
    ip link set wire up
    ip link set far up
    ip address add 10.9.9.1/32 dev lo
    ip address add 10.9.9.2/32 dev lo
    ip route add 10.9.9.2/32 dev wire
    ip neighbour add 10.9.9.2 lladdr 02:00:00:00:00:99 dev wire nud permanent
    echo ready
    exec cat";

/// The network of the thread that [`in_network_of_its_own`] runs.
pub struct Network(());

impl Network {
    /// All clients at [`MORTAL`] vanish.
    pub fn vanish(&self) {
        ip(&["address", "delete", "10.9.9.2/32", "dev", "lo"]);
    }

    /// The most bytes that the kernel buffers for a sender (`tcp_wmem`, `tcp(7)`), for connections
    /// of this network.
    pub fn set_send_buffer(&self, bytes: u32) {
        let file = "/proc/sys/net/ipv4/tcp_wmem";
        let sizes = format!("4096 {bytes} {bytes}");
        std::fs::write(file, sizes).expect("a setting of our network namespace");
    }

    /// How often the kernel retransmits unacknowledged bytes before it gives up the connection
    /// (`tcp_retries2`, `tcp(7)`), for connections of this network.
    pub fn set_retries(&self, retries: u32) {
        let file = "/proc/sys/net/ipv4/tcp_retries2";
        std::fs::write(file, retries.to_string()).expect("a setting of our network namespace");
    }
}

/// Runs `test` on a thread in its own network namespace (`network_namespaces(7)`), and so does what
/// the test starts. Without permission (it takes root) the test is skipped.
#[track_caller]
pub fn in_network_of_its_own(test: impl FnOnce(&Network) + Send) {
    let holder = match hold_network() {
        Ok(holder) => holder,
        Err(why) => return skip(&format!("no network namespace: {why}")),
    };
    let network = format!("/proc/{}/ns/net", holder.0.id());
    let inside = move || {
        let network = File::open(network).expect("the holder lives");
        move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))
            .expect("permission to create a network includes entering it");
        test(&Network(()));
    };
    let done = thread::scope(|scope| scope.spawn(inside).join());
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

/// A process that holds a network namespace until it is dropped.
struct Holder(Child);

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = until("the holder of a network to end", || {
            self.0.try_wait().expect("it is our child")
        });
    }
}

fn hold_network() -> Result<Holder, String> {
    let mut command = Command::new("unshare");
    command
        .args(["--net", "sh", "-e", "-c", SETUP])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = match command.spawn() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err("unshare (util-linux) is not installed".to_owned());
        }
        child => child.expect("a process"),
    };
    let mut holder = Holder(child);
    let stdout = holder.0.stdout.take().expect("it is piped");
    let mut first = String::new();
    let _ = BufReader::new(stdout).read_line(&mut first);
    if first == "ready\n" {
        return Ok(holder);
    }
    let mut why = String::new();
    let said = holder.0.stderr.take().expect("it is piped");
    let _ = BufReader::new(said).read_line(&mut why);
    Err(why.trim().to_owned())
}

fn ip(arguments: &[&str]) {
    let status = Command::new("ip").args(arguments).status();
    let status = status.expect("ip (iproute2) made this network");
    assert!(status.success(), "ip {arguments:?}: {status}");
}
