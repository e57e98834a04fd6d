//! Three nodes behind one proxy with the shipped files: which node owns a namespace, and nodes that
//! end and start again at the same address. Must never change the proxy while it runs.

use super::proxy::{Program, Proxy, lasting_port};
use super::server::Server;
use super::{Side, until};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

const NODES: usize = 3;

/// Which node (counted from 0) serves a namespace.
pub type Owners = BTreeMap<String, usize>;

/// The proxy ends before its nodes, so that no node waits for the proxy's connections.
pub struct Cluster {
    pub program: Program,
    pub proxy: Proxy,
    nodes: Vec<Option<Server>>,
    ports: Vec<u16>,
}

impl Cluster {
    pub fn start(program: Program) -> Self {
        let ports: Vec<u16> = (0..NODES).map(|_| lasting_port()).collect();
        let nodes: Vec<_> = ports.iter().map(|&port| Some(start_node(port))).collect();
        let proxy = Proxy::start_shipped(program, &numbered(&ports));
        Self {
            program,
            proxy,
            nodes,
            ports,
        }
    }

    /// The running nodes.
    pub fn nodes(&self) -> impl Iterator<Item = &Server> {
        self.nodes.iter().flatten()
    }

    pub fn node(&self, node: usize) -> &Server {
        self.nodes[node].as_ref().expect("a node that runs")
    }

    /// The nodes' numbers in the proxy's file and their addresses.
    pub fn numbered(&self) -> Vec<(usize, SocketAddr)> {
        numbered(&self.ports)
    }

    /// Takes a node away; it runs until it is dropped.
    pub fn take(&mut self, node: usize) -> Server {
        self.nodes[node].take().expect("a node that runs")
    }

    /// Starts the node that was taken away, at its old address.
    pub fn start_again(&mut self, node: usize) {
        assert!(self.nodes[node].is_none(), "node {node} runs");
        self.nodes[node] = Some(start_node(self.ports[node]));
    }

    /// One metric, summed over all running nodes.
    pub fn sum(&self, metric: &str) -> u64 {
        self.nodes().map(|node| node.metrics().value(metric)).sum()
    }

    #[track_caller]
    pub fn until_sum(&self, metric: &str, value: u64) {
        until(&format!("{metric} to be {value} in all"), || {
            (self.sum(metric) == value).then_some(())
        });
    }

    /// Waits until this many requests of a side wait, summed over all nodes.
    #[track_caller]
    pub fn until_waiting(&self, side: Side, requests: u64) {
        self.until_sum(&waiting(side), requests);
    }

    /// Waits until no channel is in use on any node.
    #[track_caller]
    pub fn until_unused(&self) {
        for node in self.nodes() {
            node.until_unused();
        }
    }

    /// The nodes to which `proxy` sends these namespaces. No request may wait on them.
    #[track_caller]
    pub fn owners_by(&self, proxy: &Proxy, nodes: &[&Server], namespaces: &[String]) -> Owners {
        let name = |namespace: &String| format!("{namespace}/owner");
        let consumers: Vec<_> = namespaces.iter().map(|n| proxy.consume(&name(n))).collect();
        let all = u64::try_from(namespaces.len()).expect("a few");
        let metric = waiting(Side::Consumer);
        until("all to wait", || {
            let waiting: u64 = nodes.iter().map(|node| node.metrics().value(&metric)).sum();
            (waiting == all).then_some(())
        });
        let owners = owners(nodes);
        drop(consumers);
        nodes.iter().for_each(|node| node.until_unused());
        owners
    }

    /// The nodes to which the proxy sends these namespaces. No request may wait anywhere.
    #[track_caller]
    pub fn owners(&self, namespaces: &[String]) -> Owners {
        let nodes: Vec<_> = self.nodes().collect();
        self.owners_by(&self.proxy, &nodes, namespaces)
    }

    /// One namespace of each node.
    #[track_caller]
    pub fn one_of_each(&self) -> Vec<String> {
        let owners = self.owners(&names(60));
        let of = |node| owners.iter().find(|(_, owner)| **owner == node);
        (0..NODES)
            .map(|node| of(node).expect("each node owns some of 60").0.clone())
            .collect()
    }
}

/// The node of `nodes` on which each namespace in use is.
#[track_caller]
fn owners(nodes: &[&Server]) -> Owners {
    let mut owners = Owners::new();
    for (nth, node) in nodes.iter().enumerate() {
        for namespace in node.state().as_object().expect("an object").keys() {
            let before = owners.insert(namespace.clone(), nth);
            assert_eq!(before, None, "{namespace} is on two nodes");
        }
    }
    owners
}

/// Different namespaces.
pub fn names(count: usize) -> Vec<String> {
    (0..count).map(|nth| format!("team-{nth}")).collect()
}

fn waiting(side: Side) -> String {
    format!("httpipe_waiting{{side=\"{}\"}}", side.label())
}

fn numbered(ports: &[u16]) -> Vec<(usize, SocketAddr)> {
    let address = |&port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    (1..).zip(ports.iter().map(address)).collect()
}

pub fn start_node(port: u16) -> Server {
    Server::start(&["--port", &port.to_string(), "--threads", "2"])
}
