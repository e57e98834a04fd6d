//! The syntax of a Host field's value.

use memchr::{memchr, memrchr};

/// Whether `value` is `uri-host [ ":" port ]` (RFC 9112 §3.2, RFC 3986 §3.2.2), or empty.
///
/// RFC 3986 allows a comma in a host name. Here it is refused, because a proxy that merges two
/// Host fields into one leaves a comma.
#[must_use]
#[inline]
pub fn is_host(value: &[u8]) -> bool {
    let port = match value.strip_prefix(b"[") {
        Some(literal) => {
            let end = literal.iter().position(|&byte| !is_in_ip_literal(byte));
            match end.map(|end| literal.split_at(end)) {
                Some((address, [b']', port @ ..])) if !address.is_empty() => port,
                _ => return false,
            }
        }
        None => {
            let end = value.iter().position(|&byte| !IN_HOST_NAME[byte as usize]);
            &value[end.unwrap_or(value.len())..]
        }
    };
    match port {
        [] => true,
        [b':', digits @ ..] => digits.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

/// Splits a host with an optional port into both; without a port that is empty. A literal address keeps
/// its brackets.
#[must_use]
pub fn split_port(value: &[u8]) -> (&[u8], &[u8]) {
    let literal = memrchr(b']', value).map_or(0, |end| end + 1);
    match memchr(b':', &value[literal..]) {
        None => (value, b""),
        Some(colon) => (&value[..literal + colon], &value[literal + colon + 1..]),
    }
}

const fn is_in_ip_literal(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'.' | b'-' | b'_' | b'~' | b'%')
}

/// [`is_in_host_name`] for every byte, in a table because each request has a Host: 110 instructions a pair.
static IN_HOST_NAME: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < table.len() {
        table[byte] = is_in_host_name(byte as u8);
        byte += 1;
    }
    table
};

const fn is_in_host_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'-' | b'.' | b'_' | b'~' | b'!' | b'$'..=b'+' | b';' | b'='
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_behind_the_host_and_not_within_an_address() {
        for (value, host, port) in [
            ("", "", ""),
            ("x", "x", ""),
            ("x:", "x", ""),
            ("x:80", "x", "80"),
            ("[::1]", "[::1]", ""),
            ("[::1]:80", "[::1]", "80"),
        ] {
            let split = split_port(value.as_bytes());
            assert_eq!(split, (host.as_bytes(), port.as_bytes()), "{value}");
        }
    }

    #[test]
    fn a_host_is_a_name_or_an_address_with_an_optional_port() {
        for good in [
            "",
            "localhost:3000",
            "localhost:",
            "a_b.example",
            "127.0.0.1:80",
            "[::1]:80",
            "[fe80::1%25eth0]",
            "[v1.a]",
            "%C3%BC.example",
        ] {
            assert!(is_host(good.as_bytes()), "{good:?}");
        }
        for bad in [
            "a b", "a,b", "a/b", "a@b", "a\tb", "a?b", "a#b", "a\\b", "a\"b", "a:b", "a:1:2",
            "a:+1", "::1", "[::1", "[]", "[::1]1", "[::1]:x", "[a/b]", "http://a", "\u{fc}",
            "a\u{7f}",
        ] {
            assert!(!is_host(bad.as_bytes()), "{bad:?}");
        }
    }
}
