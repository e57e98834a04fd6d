//! [`Method`]: the methods that HTTP defines.

use strum::EnumIter;

/// A method (RFC 9110 §9.3, RFC 5789).
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter)]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Connect,
    Options,
    Trace,
    Patch,
}

impl Method {
    /// The token of the request line (RFC 9110 §9.1).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
            Self::Options => "OPTIONS",
            Self::Trace => "TRACE",
            Self::Patch => "PATCH",
        }
    }

    /// The method of this name, which is case-sensitive; `None` if HTTP defines no such method.
    #[must_use]
    pub fn from_token(token: &[u8]) -> Option<Self> {
        Some(match token {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"DELETE" => Self::Delete,
            b"CONNECT" => Self::Connect,
            b"OPTIONS" => Self::Options,
            b"TRACE" => Self::Trace,
            b"PATCH" => Self::Patch,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strum::IntoEnumIterator;

    #[test]
    fn every_method_is_found_by_its_name_in_upper_case_only() {
        for method in Method::iter() {
            let name = method.name();
            assert_eq!(Method::from_token(name.as_bytes()), Some(method));
            let lower = name.to_ascii_lowercase();
            assert_eq!(Method::from_token(lower.as_bytes()), None);
        }
        for token in ["", "GE", "GETT", "PROPFIND"] {
            assert_eq!(Method::from_token(token.as_bytes()), None);
        }
    }
}
