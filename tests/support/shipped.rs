//! The proxies' files from `deploy/`, prepared for a test: other addresses in the places where an
//! operator sets theirs, and nothing else. Must never correct a file.
//!
//! Tests that need more call [`with_patience`] or [`forbidding`], and prove nothing about what
//! these change.

use super::proxy::{FORBIDDEN, Program, nginx_folders};
use std::fs::write;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

pub const HAPROXY: &str = include_str!("../../deploy/haproxy/haproxy.cfg");
pub const NGINX: &str = include_str!("../../deploy/nginx/httpipe.conf");
pub const NGINX_MAIN: &str = include_str!("../../deploy/nginx/nginx.conf");

/// The number of nodes in the files.
const NODES: usize = 3;

/// The main file for `program` in front of these nodes, each with its number; other numbers get a
/// line like those in the file. nginx's other files are written to `folder`.
pub fn configuration(
    program: Program,
    folder: &Path,
    address: SocketAddr,
    nodes: &[(usize, SocketAddr)],
) -> String {
    match program {
        Program::Haproxy => {
            let text = with_nodes(HAPROXY, nodes);
            replaced(&text, "bind :80", &format!("bind {address}"))
        }
        Program::Nginx => {
            let text = with_nodes(NGINX, nodes);
            let text = replaced(&text, "listen 80", &format!("listen {address}"));
            nginx_main(folder, &text)
        }
    }
}

/// The main file with `text` in place of the file that it includes, and with folders that an
/// ordinary user has.
fn nginx_main(folder: &Path, text: &str) -> String {
    let included = folder.join("httpipe.conf");
    write(&included, text).expect("a file in our folder");
    let include = format!("{} include {};", nginx_folders(folder), included.display());
    replaced(NGINX_MAIN, "include /etc/nginx/conf.d/*.conf;", &include)
}

/// What an operator does with the lines of the nodes: sets addresses, removes lines, adds lines.
fn with_nodes(text: &str, nodes: &[(usize, SocketAddr)]) -> String {
    let mut lines = Vec::new();
    for line in text.lines() {
        let Some(number) = (1..=NODES).find(|&number| line.contains(&placeholder(number))) else {
            lines.push(line.to_owned());
            continue;
        };
        let here = |&&(n, _): &&(usize, SocketAddr)| n == number || (number == NODES && n > NODES);
        for &(node, address) in nodes.iter().filter(here) {
            lines.push(node_line(line, number, node, address));
        }
    }
    lines.join("\n") + "\n"
}

/// The line of node `node`, made from that of node `number`.
fn node_line(line: &str, number: usize, node: usize, address: SocketAddr) -> String {
    replaced(line, &placeholder(number), &address.to_string())
        .replace(&format!("node{number} "), &format!("node{node} "))
        .replace(&format!("id {number}"), &format!("id {node}"))
}

fn placeholder(number: usize) -> String {
    format!("192.0.2.1{number}:3000")
}

/// The main file of a proxy whose time limit for a node's reply is `patience`.
pub fn with_patience(program: Program, text: &str, patience: Duration) -> String {
    let patience = patience.as_millis();
    match program {
        Program::Haproxy => replaced(
            text,
            "timeout server 24d",
            &format!("timeout server {patience}ms"),
        ),
        // In the included file.
        Program::Nginx => in_included(text, |included| {
            replaced(
                included,
                "proxy_read_timeout 24d;",
                &format!("proxy_read_timeout {patience}ms;"),
            )
        }),
    }
}

/// The main file of a proxy that answers paths under [`FORBIDDEN`] with 403.
pub fn forbidding(program: Program, text: &str) -> String {
    match program {
        Program::Haproxy => replaced(
            text,
            "    default_backend nodes",
            &format!(
                "    http-request deny if {{ path_beg {FORBIDDEN} }}\n    default_backend nodes"
            ),
        ),
        Program::Nginx => in_included(text, |included| {
            let rule = format!("location {FORBIDDEN} {{ return 403; }}\n    ");
            replaced(
                included,
                "location /channels/ {",
                &(rule + "location /channels/ {"),
            )
        }),
    }
}

/// Changes the file that nginx's main file includes.
fn in_included(main: &str, change: impl FnOnce(&str) -> String) -> String {
    let (_, rest) = main.rsplit_once("include ").expect("it includes a file");
    let (path, _) = rest.split_once(';').expect("a directive ends");
    let included = std::fs::read_to_string(path).expect("a file in our folder");
    write(path, change(&included)).expect("a file in our folder");
    main.to_owned()
}

/// `text` with `from` replaced, which must occur once.
#[track_caller]
fn replaced(text: &str, from: &str, to: &str) -> String {
    assert_eq!(text.matches(from).count(), 1, "`{from}` in:\n{text}");
    text.replace(from, to)
}
