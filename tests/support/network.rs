//! A network in which a client can vanish without a word: neither FIN nor reset, as when a machine
//! loses its power or a NAT its memory. Must never touch the network that the tests run in.

use super::{skip, until};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind};
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::thread;

/// Where servers listen.
pub const SERVER: &str = "10.9.9.1";
/// Whose clients can vanish. Until then it is an address of this network like the other.
pub const MORTAL: Ipv4Addr = Ipv4Addr::new(10, 9, 9, 2);

/// Where packets to [`MORTAL`] go once it is no address of this network: over a wire, to a machine
/// that does not exist. They are sent without an error and never answered.
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
    /// Whoever is connected from [`MORTAL`] is never heard of again.
    pub fn vanish(&self) {
        ip(&["address", "delete", "10.9.9.2/32", "dev", "lo"]);
    }

    /// The most that the kernel takes of a sender before it lets it wait (`tcp_wmem`, `tcp(7)`), for
    /// connections of this network.
    pub fn set_send_buffer(&self, bytes: u32) {
        let file = "/proc/sys/net/ipv4/tcp_wmem";
        let sizes = format!("4096 {bytes} {bytes}");
        std::fs::write(file, sizes).expect("a setting of our own network");
    }

    /// How often the kernel sends unacknowledged bytes again before it gives the connection up
    /// (`tcp_retries2`, `tcp(7)`), for connections of this network.
    pub fn set_retries(&self, retries: u32) {
        let file = "/proc/sys/net/ipv4/tcp_retries2";
        std::fs::write(file, retries.to_string()).expect("a setting of our own network");
    }
}

/// Runs `test` on a thread in a network namespace of its own (`network_namespaces(7)`); what it
/// starts lives there too. Where that is not permitted (it takes root), the test is skipped.
#[track_caller]
pub fn in_network_of_its_own(test: impl FnOnce(&Network) + Send) {
    let holder = match hold_network() {
        Ok(holder) => holder,
        Err(why) => return skip(&format!("no network of its own: {why}")),
    };
    let network = format!("/proc/{}/ns/net", holder.0.id());
    let inside = move || {
        let network = File::open(network).expect("the holder lives");
        move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))
            .expect("who may make a network may enter it");
        test(&Network(()));
    };
    let done = thread::scope(|scope| scope.spawn(inside).join());
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

/// A process that has a network namespace until it is dropped.
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
