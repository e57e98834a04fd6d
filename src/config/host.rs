//! [`Host`]: the address or the name of `--host`. Pure.

use std::{fmt, net::IpAddr};

/// The longest name in the DNS (RFC 1035 §2.3.4), written out.
const NAME_BYTES_MAX: usize = 253;

/// Where to listen, without a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    Address(IpAddr),
    /// The server listens on every address of it.
    Name(String),
}

impl Host {
    /// # Errors
    /// What is allowed; clap puts the option and the value before it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let text = text.trim();
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        if is_name(text) {
            return Ok(Self::Name(text.to_owned()));
        }
        Err(
            "must be an address, like 0.0.0.0, 127.0.0.1, :: or ::1, or the name of a host, like localhost",
        )
    }
}

/// A host name (RFC 1123 §2.1), in which underscores are common too. Its last label is not a number, or
/// it would be an address with a typing error.
fn is_name(text: &str) -> bool {
    let label = |label: &str| {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        !label.is_empty() && !label.starts_with('-') && label.bytes().all(known)
    };
    let absolute = text.strip_suffix('.').unwrap_or(text);
    let last = absolute.rsplit('.').next().unwrap_or_default();
    absolute.len() <= NAME_BYTES_MAX
        && absolute.split('.').all(label)
        && !last.bytes().all(|byte| byte.is_ascii_digit())
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_an_address_and_a_name_a_name() {
        for address in [
            "0.0.0.0",
            "127.0.0.1",
            "::",
            "::1",
            "2001:db8::1",
            " 10.0.0.1 ",
        ] {
            let expected = Host::Address(address.trim().parse().expect("an address"));
            assert_eq!(Host::parse(address), Ok(expected));
        }
        for name in [
            "localhost",
            "localhost.",
            "a",
            "node-1.example.org",
            "my_service",
            "x86_64-conda-linux-gnu",
            "1.2.3.x4",
        ] {
            assert_eq!(Host::parse(name), Ok(Host::Name(name.to_owned())));
        }
    }

    #[test]
    fn what_is_neither_is_refused() {
        let long = "a.".repeat(127) + "a";
        for text in [
            "",
            " ",
            ".",
            "a..b",
            ".a",
            "not an address",
            "300.1.1.1",
            "127.0.0.1.",
            "1",
            "[::1]",
            "::x",
            "localhost:80",
            "http://localhost",
            "*",
            "-a",
            "héé",
            &long,
        ] {
            assert!(Host::parse(text).is_err(), "{text}");
        }
    }
}
