//! Rules for any bytes that are parsed as a request's head. Pure.

use httpipe::testing::{
    http::{
        head::{BodyLength, Parsed, RequestHead, Version, parse},
        head_error::HeadError,
        method::Method,
    },
    limits::{HEAD_BYTES_MAX, TARGET_BYTES_MAX},
};

/// Up to this length every prefix is checked; for longer inputs, some prefixes.
const EVERY_PREFIX_BYTES_MAX: usize = 600;

/// A head parses the same however many bytes after it were read, and as in a slow and simple
/// reference parser.
///
/// # Panics
/// If one of the rules does not hold.
pub fn check(bytes: &[u8]) {
    let whole = parse(bytes);
    check_prefixes(bytes, whole);
    match whole {
        Ok(Parsed::Complete(head)) => check_complete(bytes, &head),
        Ok(Parsed::Partial) => assert!(bytes.len() < HEAD_BYTES_MAX, "partial at the bound"),
        Err(HeadError::Bad(text) | HeadError::TooLarge(text)) => {
            assert!(!text.is_empty() && text.bytes().all(|b| (b' '..0x7f).contains(&b)));
        }
        Err(HeadError::TargetTooLong) => assert!(bytes.len() > TARGET_BYTES_MAX),
        Err(
            HeadError::Method
            | HeadError::Version
            | HeadError::LengthRequired
            | HeadError::Expectation,
        ) => {}
    }
}

/// Fewer bytes give `Partial` or the result of all of them, and after that never `Partial` again.
fn check_prefixes(bytes: &[u8], whole: Result<Parsed, HeadError>) {
    let step = 1 + bytes.len() / EVERY_PREFIX_BYTES_MAX;
    let mut decided = false;
    for end in (0..bytes.len()).step_by(step) {
        let parsed = parse(&bytes[..end]);
        decided |= parsed != Ok(Parsed::Partial);
        if decided {
            assert_eq!(parsed, whole, "at {end} of {}", bytes.escape_ascii());
        }
    }
}

fn check_complete(bytes: &[u8], head: &RequestHead) {
    let end = usize::from(head.head_bytes);
    assert!(end <= bytes.len() && end <= HEAD_BYTES_MAX);
    let text = &bytes[..end];
    assert_eq!(parse(text), Ok(Parsed::Complete(*head)));
    assert_eq!(parse(&text[..end - 1]), Ok(Parsed::Partial));

    let lines = lines(text);
    let (request_line, fields) = lines.split_first().expect("a request line");
    let target = head.target.of(bytes);
    assert!(!target.is_empty() && target.len() <= TARGET_BYTES_MAX);
    assert!(target.iter().all(u8::is_ascii_graphic));
    let version = match head.version {
        Version::Http10 => "HTTP/1.0",
        Version::Http11 => "HTTP/1.1",
    };
    let method = request_line.split(|&b| b == b' ').next().expect("a method");
    let expected = [method, target, version.as_bytes()].join(&b' ');
    assert_eq!(*request_line, expected, "{}", text.escape_ascii());
    let fields: Vec<_> = fields.iter().map(|line| field(line)).collect();
    check_framing(head, &fields);
    check_forwarded(bytes, head, &fields);
}

/// The lines of a head that ends with an empty line, without the empty lines around them. Each ends
/// with CRLF, and there is no other CR, LF or NUL.
fn lines(mut head: &[u8]) -> Vec<&[u8]> {
    while let Some(rest) = head.strip_prefix(b"\r\n") {
        head = rest;
    }
    let mut lines = Vec::new();
    loop {
        let end = head.windows(2).position(|two| two == b"\r\n");
        let (line, rest) = head.split_at(end.expect("a line ends with CRLF"));
        head = &rest[2..];
        if line.is_empty() {
            assert!(head.is_empty(), "the first empty line ends the head");
            return lines;
        }
        assert!(!line.iter().any(|b| matches!(b, b'\r' | b'\n' | 0)));
        lines.push(line);
    }
}

/// The name in lower case, and the value without white space around it (RFC 9112 §5).
fn field(line: &[u8]) -> (String, &[u8]) {
    let colon = line.iter().position(|&b| b == b':');
    let (name, value) = line.split_at(colon.expect("a field line has a colon"));
    let is_token = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
    assert!(!name.is_empty() && name.iter().all(is_token));
    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
    (name, value[1..].trim_ascii())
}

/// No reader that follows RFC 9112 §6.3 can find the end of the body elsewhere.
fn check_framing(head: &RequestHead, fields: &[(String, &[u8])]) {
    let all = |name: &str| -> Vec<&[u8]> {
        let named = fields.iter().filter(|field| field.0 == name);
        named.map(|field| field.1).collect()
    };
    let (lengths, codings) = (all("content-length"), all("transfer-encoding"));
    match head.body {
        BodyLength::Chunked => {
            assert_eq!(head.version, Version::Http11);
            assert!(lengths.is_empty() && codings.len() == 1);
            assert!(codings[0].eq_ignore_ascii_case(b"chunked"));
        }
        BodyLength::Exact(bytes) => {
            assert!(codings.is_empty());
            // An HTTP/1.0 request that brings a body says how long it is (RFC 1945 §7.2.2).
            let brings_body = matches!(head.method, Method::Post | Method::Put);
            assert!(!lengths.is_empty() || head.version == Version::Http11 || !brings_body);
            // All lengths, over all lines and in lists, are the same bytes.
            let all = lengths.join(&b',');
            let mut all = all.split(|&b| b == b',').map(<[u8]>::trim_ascii);
            let digits = all.next().filter(|_| !lengths.is_empty()).unwrap_or(b"0");
            assert!(lengths.is_empty() || all.all(|other| other == digits));
            assert!(!digits.is_empty() && digits.iter().all(u8::is_ascii_digit));
            let text = std::str::from_utf8(digits).expect("digits");
            assert_eq!(i64::try_from(bytes).ok(), text.parse().ok(), "{text}");
        }
    }
    let hosts = all("host").len();
    assert!(hosts == 1 || (hosts == 0 && head.version == Version::Http10));
    let options = all("connection").join(&b',').to_ascii_lowercase();
    let mut options = options.split(|&b| b == b',').map(<[u8]>::trim_ascii);
    assert!(!head.keep_alive || options.all(|option| option != b"close"));
}

/// Each forwarded line is a line of the head and has an allowed name, and none is missing.
fn check_forwarded(bytes: &[u8], head: &RequestHead, fields: &[(String, &[u8])]) {
    const NAMES: [&str; 4] = [
        "content-type",
        "content-encoding",
        "content-language",
        "content-disposition",
    ];
    let expected: Vec<_> = fields
        .iter()
        .filter(|field| NAMES.contains(&field.0.as_str()))
        .collect();
    assert_eq!(head.forwarded.iter().count(), expected.len());
    for (forwarded, expected) in head.forwarded.iter().zip(expected) {
        assert_eq!(field(forwarded.line.of(bytes)), *expected);
        assert_eq!(forwarded.value.of(bytes), expected.1);
    }
}
