//! A producer on this machine that sends a file with sendfile(2) and overwrites it after its 200. The
//! README warns of it: a spliced body is passed on by reference, down to the pages of the file.

use crate::support::connection::Connection;
use crate::support::request::post_head;
use crate::support::server::Server;
use rustix::fs::sendfile;
use std::io::Write;
use std::os::unix::fs::FileExt;
use tempfile::NamedTempFile;

/// More than is copied, and less than the sockets on the way to a consumer that does not read.
const FILE_BYTES: usize = 256 * 1024;

/// The body of a consumer that reads only after its producer has got 200 and overwritten the file.
fn read_after_rewrite(server: &Server) -> Vec<u8> {
    let mut file = NamedTempFile::new().expect("a file");
    file.write_all(&[b'a'; FILE_BYTES]).expect("a file");
    let mut consumer = server.consumer_waiting("send/file", 1);
    let mut producer = server.connect_and_send(&post_head("send/file", FILE_BYTES as u64));
    send_file(&producer, &file);
    producer.reply().assert_status(200);
    file.as_file()
        .write_all_at(&[b'b'; FILE_BYTES], 0)
        .expect("a file");
    consumer.reply().body
}

fn send_file(producer: &Connection, file: &NamedTempFile) {
    let socket = producer.sender();
    let mut sent = 0;
    while sent < FILE_BYTES as u64 {
        let left = FILE_BYTES - sent as usize;
        sendfile(&socket, file, Some(&mut sent), left).expect("it is taken");
    }
}

#[test]
fn without_splicing_a_file_that_is_overwritten_after_the_200_is_received_as_it_was_sent() {
    let server = Server::start(&["--no-splice"]);
    assert_eq!(read_after_rewrite(&server), [b'a'; FILE_BYTES]);
    let server = Server::start_with(&[], &[("NO_SPLICE", "true")]);
    assert_eq!(read_after_rewrite(&server), [b'a'; FILE_BYTES]);
}

#[test]
fn a_spliced_file_that_is_overwritten_after_the_200_is_received_as_it_is_then() {
    let server = Server::start(&[]);
    let body = read_after_rewrite(&server);
    let metrics = server.metrics();
    assert!(metrics.value("httpipe_bytes_total{path=\"spliced\"}") > 0);
    assert_eq!(body.len(), FILE_BYTES);
    let overwritten = body.iter().filter(|&&byte| byte == b'b').count();
    assert!(
        overwritten > 0,
        "this kernel copies: the README warns in vain"
    );
}
