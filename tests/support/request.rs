//! The bytes of ordinary requests for most tests. A test about framing writes its own.

/// A request without a body, on HTTP/1.1.
pub fn request(method: &str, target: &str) -> Vec<u8> {
    format!("{method} {target} HTTP/1.1\r\nHost: test\r\n\r\n").into_bytes()
}

/// A consumer's request for `channel` (`namespace/channel`).
pub fn get(channel: &str) -> Vec<u8> {
    request("GET", &format!("/channels/{channel}"))
}

/// The head of a producer's request whose body is `bytes` long.
pub fn post_head(channel: &str, bytes: u64) -> Vec<u8> {
    post_head_with(channel, &format!("Content-Length: {bytes}\r\n"))
}

/// The head of a producer's request with these field lines, each ended by CRLF.
pub fn post_head_with(channel: &str, fields: &str) -> Vec<u8> {
    format!("POST /channels/{channel} HTTP/1.1\r\nHost: test\r\n{fields}\r\n").into_bytes()
}

/// The head of a producer's request whose body is chunked.
pub fn post_chunked_head(channel: &str) -> Vec<u8> {
    post_head_with(channel, "Transfer-Encoding: chunked\r\n")
}

/// A producer's request, head and body.
pub fn post(channel: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    [&post_head(channel, body.len() as u64), body].concat()
}

/// One chunk of the chunked coding (RFC 9112 §7.1).
pub fn chunk(payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    [
        format!("{:x}\r\n", payload.len()).as_bytes(),
        payload,
        b"\r\n",
    ]
    .concat()
}

/// The chunks of a body, each of at most `chunk_bytes`, without the last chunk.
pub fn chunks(body: &[u8], chunk_bytes: usize) -> Vec<u8> {
    let mut coded = Vec::with_capacity(body.len() + 64);
    for payload in body.chunks(chunk_bytes) {
        coded.extend_from_slice(&chunk(payload));
    }
    coded
}

/// A whole body in the chunked coding, in chunks of at most `chunk_bytes`.
pub fn chunked(body: &[u8], chunk_bytes: usize) -> Vec<u8> {
    [&chunks(body, chunk_bytes)[..], b"0\r\n\r\n"].concat()
}
