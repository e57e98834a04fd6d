//! [`Address`]: where to listen, as parsed and as displayed. Pure.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use crate::limits::UNIX_PATH_BYTES_MAX;

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Tcp {
        /// Port 0 lets the kernel choose one.
        at: SocketAddr,
        /// `[::]` accepts IPv4 too, as `::ffff:a.b.c.d` (`ipv6(7)`, `IPV6_V6ONLY` off).
        dual_stack: bool,
    },
    /// A Unix stream socket at an absolute path (`unix(7)`).
    Unix(PathBuf),
}

impl Address {
    /// The address of `--host` and `--port`. `::` accepts IPv4 too, whatever `net.ipv6.bindv6only`
    /// says, because it is the only address.
    #[must_use]
    pub const fn of_host(host: IpAddr, port: u16) -> Self {
        Self::Tcp {
            at: SocketAddr::new(host, port),
            dual_stack: true,
        }
    }

    /// Parses an address of `--listen` or `--admin`: `127.0.0.1:3000`, `[::1]:3000` or `unix:/path`.
    /// `[::]:3000` accepts IPv6 only, as in nginx, so that it can be used together with `0.0.0.0:3000`.
    ///
    /// # Errors
    /// What is allowed; clap puts the option and the value before it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Some(path) = text.strip_prefix("unix:") {
            return unix(path);
        }
        let at = text.parse().map_err(|_| {
            "must be ADDRESS:PORT, like 127.0.0.1:3000, [::1]:3000 or 0.0.0.0:3000, or unix:/PATH"
                .to_owned()
        })?;
        Ok(Self::Tcp {
            at,
            dual_stack: false,
        })
    }

    /// The port; `None` for a Unix socket.
    #[must_use]
    pub const fn port(&self) -> Option<u16> {
        match self {
            Self::Tcp { at, .. } => Some(at.port()),
            Self::Unix(_) => None,
        }
    }
}

fn unix(path: &str) -> Result<Address, String> {
    if !path.starts_with('/') {
        return Err(
            "the path of a Unix socket must be absolute, like unix:/run/httpipe.sock".to_owned(),
        );
    }
    if path.len() > UNIX_PATH_BYTES_MAX {
        return Err(format!(
            "the path of a Unix socket may have at most {UNIX_PATH_BYTES_MAX} bytes; this one has {}",
            path.len()
        ));
    }
    Ok(Address::Unix(path.into()))
}

/// As a URL, `http://127.0.0.1:3000`, or as `unix:/path`.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { at, .. } => write!(f, "http://{at}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_as_it_is_written() {
        for text in ["127.0.0.1:3000", "0.0.0.0:0", "[::1]:65535", "[::]:80"] {
            let address = Address::parse(text).expect(text);
            assert_eq!(address.to_string(), format!("http://{text}"));
        }
        let address = Address::parse(" unix:/run/a b.sock ").expect("a path");
        assert_eq!(address.to_string(), "unix:/run/a b.sock");
        assert_eq!(address.port(), None);
    }

    #[test]
    fn an_ipv6_wildcard_is_ipv6_alone_and_the_host_option_takes_both() {
        let dual_stack = |address| match address {
            Address::Tcp { dual_stack, .. } => dual_stack,
            Address::Unix(_) => unreachable!(),
        };
        assert!(!dual_stack(Address::parse("[::]:1").expect("valid")));
        let every = "::".parse().expect("an address");
        assert!(dual_stack(Address::of_host(every, 1)));
    }

    #[test]
    fn what_is_no_address_is_refused_with_what_is_allowed() {
        for (text, said) in [
            ("", "ADDRESS:PORT"),
            ("3000", "ADDRESS:PORT"),
            (":3000", "ADDRESS:PORT"),
            ("localhost:3000", "ADDRESS:PORT"),
            ("::1:3000x", "ADDRESS:PORT"),
            ("127.0.0.1:65536", "ADDRESS:PORT"),
            ("unix:", "absolute"),
            ("unix:run/httpipe.sock", "absolute"),
        ] {
            let refused = Address::parse(text).expect_err(text);
            assert!(refused.contains(said), "{text}: {refused}");
        }
    }

    #[test]
    fn the_path_of_a_unix_socket_fits_what_the_kernel_takes() {
        let path = |bytes: usize| format!("unix:/{}", "x".repeat(bytes - 1));
        assert!(Address::parse(&path(UNIX_PATH_BYTES_MAX)).is_ok());
        let refused = Address::parse(&path(UNIX_PATH_BYTES_MAX + 1)).expect_err("too long");
        assert!(
            refused.contains("107") && refused.contains("108"),
            "{refused}"
        );
    }
}
