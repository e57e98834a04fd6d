//! What a request asks for: from method and target to [`Route`].
//!
//! Owns the paths, the methods that each takes, and the rules for names. Must never know which
//! channels are in use. Must never allocate, except for a name with an escape in it.
//!
//! Two decisions that clients can see:
//! - The fixed parts of a path are compared as sent: `/%63hannels` is not `/channels`, and
//!   `/channels/%6eamespaces` is the namespace `namespaces`, which can be listed no other way. Only
//!   names are decoded.
//! - `.` and `..` are ordinary names: nothing is resolved here, so there is one reading of a target. A
//!   client or a proxy in front may resolve them before they arrive.

use std::borrow::Cow;

use memchr::{memchr, memchr2};

use crate::{http::method::Method, limits::NAME_BYTES_MAX, model::audience::Audience};

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route<'a> {
    Produce(ChannelName<'a>),
    Consume(ChannelName<'a>),
    DeleteChannel(ChannelName<'a>),
    DeleteNamespace(Cow<'a, str>),
    ListNamespaces,
    ListChannels(Cow<'a, str>),
    /// All namespaces in use, with their channels.
    State,
    Help,
    /// For crawlers.
    Robots,
    Metrics,
    /// Liveness.
    Health,
    /// Readiness: no drain has begun.
    Ready,
    Options(Allow),
}

impl Route<'_> {
    /// Whether it consumes nothing and changes nothing, in the sense of RFC 9110 §9.2.1: a `GET` that
    /// consumes is not safe.
    #[must_use]
    pub const fn is_safe(&self) -> bool {
        match self {
            Self::Produce(_)
            | Self::Consume(_)
            | Self::DeleteChannel(_)
            | Self::DeleteNamespace(_) => false,
            Self::ListNamespaces
            | Self::ListChannels(_)
            | Self::State
            | Self::Help
            | Self::Robots
            | Self::Metrics
            | Self::Health
            | Self::Ready
            | Self::Options(_) => true,
        }
    }
}

/// The decoded, valid name of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelName<'a> {
    pub namespace: Cow<'a, str>,
    pub channel: Cow<'a, str>,
}

/// The methods that a target takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allow(&'static str);

/// Why there is no route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteError {
    /// 404: no such path, or a name is empty.
    NotFound,
    /// 405: the path does not take the method (RFC 9110 §15.5.6).
    Method(Allow),
    /// 400: the text tells what is wrong with the name or the target, and what to do.
    BadName(&'static str),
}

/// Returns the route of `method` on `target`, on a listener for `audience`. A route that the audience
/// does not have is [`RouteError::NotFound`].
///
/// Takes the target as sent, in any form (RFC 9112 §3.2): a path, `http://host/path` (the host is
/// ignored), `*`, or that of a CONNECT. Drops the query and one trailing slash.
///
/// # Errors
/// See [`RouteError`]. An unknown path is reported first, then a bad name, then the method.
pub fn parse<'a>(
    audience: Audience,
    method: Method,
    target: &'a [u8],
) -> Result<Route<'a>, RouteError> {
    let Some(path) = path(method, target)? else {
        return Ok(Route::Options(match audience {
            Audience::Everyone | Audience::Clients => Allow::SERVER,
            Audience::Operators => Allow::READ_ONLY,
        }));
    };
    match path.strip_prefix(b"/channels/") {
        Some(names) => under_channels(audience, method, without_trailing_slash(names)),
        None => fixed(audience, method, path),
    }
}

/// The path of a target; `None` for `OPTIONS *`.
fn path(method: Method, target: &[u8]) -> Result<Option<&[u8]>, RouteError> {
    let (rest, form) = match target {
        [b'/', ..] => (target, Form::Origin),
        b"*" if method == Method::Options => return Ok(None),
        // Not a proxy: there is nothing to connect to.
        _ if method == Method::Connect => return Err(RouteError::NotFound),
        _ => (behind_scheme(target)?, Form::Absolute),
    };
    // RFC 9112 §3.2: a target has no fragment, so the end of this path is ambiguous.
    let rest = match memchr2(b'?', b'#', rest) {
        None => rest,
        Some(end) if memchr(b'#', &rest[end..]).is_none() => &rest[..end],
        Some(_) => {
            return Err(RouteError::BadName(
                "the request target has a `#`: send it as %23",
            ));
        }
    };
    match form {
        Form::Origin => Ok(Some(rest)),
        Form::Absolute => behind_authority(rest).map(Some),
    }
}

enum Form {
    Origin,
    Absolute,
}

const NOT_A_TARGET: RouteError = RouteError::BadName(
    "the request target is neither a path nor an http URL: send `/channels/NAMESPACE/CHANNEL`",
);

/// What follows `http://` or `https://`; a scheme is case-insensitive (RFC 3986 §3.1).
fn behind_scheme(target: &[u8]) -> Result<&[u8], RouteError> {
    for scheme in ["http://", "https://"] {
        if let Some((front, rest)) = target.split_at_checked(scheme.len())
            && front.eq_ignore_ascii_case(scheme.as_bytes())
        {
            return Ok(rest);
        }
    }
    Err(NOT_A_TARGET)
}

/// The path after the authority, `/` if it is empty (RFC 9110 §4.2.3).
fn behind_authority(rest: &[u8]) -> Result<&[u8], RouteError> {
    match memchr(b'/', rest) {
        // RFC 9110 §4.2.1: a recipient must reject an http URI with an empty host.
        Some(0) => Err(NOT_A_TARGET),
        None if rest.is_empty() => Err(NOT_A_TARGET),
        Some(end) => Ok(&rest[end..]),
        None => Ok(b"/"),
    }
}

fn without_trailing_slash(path: &[u8]) -> &[u8] {
    path.strip_suffix(b"/").unwrap_or(path)
}

/// Routes what follows `/channels/`, without its trailing slash.
fn under_channels(
    audience: Audience,
    method: Method,
    names: &[u8],
) -> Result<Route<'_>, RouteError> {
    let Some(slash) = memchr(b'/', names) else {
        return match (method, names, audience) {
            (_, b"", _) => Err(RouteError::NotFound),
            (
                Method::Get | Method::Head,
                b"namespaces",
                Audience::Everyone | Audience::Operators,
            ) => Ok(Route::ListNamespaces),
            _ => namespace(audience, method, name(names)?),
        };
    };
    if audience == Audience::Operators {
        return Err(RouteError::NotFound);
    }
    let (namespace, channel) = (&names[..slash], &names[slash + 1..]);
    if namespace.is_empty() || channel.is_empty() || channel.contains(&b'/') {
        return Err(RouteError::NotFound);
    }
    let (namespace, channel) = (name(namespace)?, name(channel)?);
    let name = ChannelName { namespace, channel };
    match method {
        Method::Get => Ok(Route::Consume(name)),
        Method::Post | Method::Put => Ok(Route::Produce(name)),
        Method::Delete => Ok(Route::DeleteChannel(name)),
        Method::Options => Ok(Route::Options(Allow::CHANNEL)),
        _ => Err(RouteError::Method(Allow::CHANNEL)),
    }
}

fn namespace(
    audience: Audience,
    method: Method,
    name: Cow<'_, str>,
) -> Result<Route<'_>, RouteError> {
    let allow = match audience {
        Audience::Everyone => Allow::NAMESPACE,
        Audience::Clients => Allow::NAMESPACE_UNLISTED,
        Audience::Operators => Allow::READ_ONLY,
    };
    match (method, audience) {
        (Method::Get | Method::Head, Audience::Clients) => Err(RouteError::NotFound),
        (Method::Get | Method::Head, _) => Ok(Route::ListChannels(name)),
        (Method::Delete, Audience::Everyone | Audience::Clients) => {
            Ok(Route::DeleteNamespace(name))
        }
        (Method::Options, _) => Ok(Route::Options(allow)),
        _ => Err(RouteError::Method(allow)),
    }
}

/// Routes a path without names. All of them are read-only.
fn fixed(audience: Audience, method: Method, path: &[u8]) -> Result<Route<'static>, RouteError> {
    let (route, offered) = match path {
        b"/" => (Route::Help, audience.has_clients()),
        _ => match without_trailing_slash(path) {
            b"/state" => (Route::State, audience != Audience::Clients),
            b"/metrics" => (Route::Metrics, audience != Audience::Clients),
            b"/healthz" => (Route::Health, true),
            b"/robots.txt" => (Route::Robots, audience.has_clients()),
            b"/readyz" => (Route::Ready, audience != Audience::Clients),
            _ => return Err(RouteError::NotFound),
        },
    };
    if !offered {
        return Err(RouteError::NotFound);
    }
    match method {
        Method::Get | Method::Head => Ok(route),
        Method::Options => Ok(Route::Options(Allow::READ_ONLY)),
        _ => Err(RouteError::Method(Allow::READ_ONLY)),
    }
}

/// Decodes and validates a name. `segment` must not be empty.
fn name(segment: &[u8]) -> Result<Cow<'_, str>, RouteError> {
    // Names are short, and `contains` costs less on them than `memchr`: 200 instructions a pair.
    let name = match segment.contains(&b'%') {
        false => Cow::Borrowed(std::str::from_utf8(segment).map_err(|_| NOT_UTF8)?),
        true => Cow::Owned(unescape(segment)?),
    };
    if name.len() > NAME_BYTES_MAX {
        return Err(RouteError::BadName(
            "a name is over 255 bytes long: use a shorter one",
        ));
    }
    if name.chars().any(char::is_control) {
        return Err(RouteError::BadName(
            "a name has a control character in it: leave it out",
        ));
    }
    Ok(name)
}

/// Decodes percent-encoding (RFC 3986 §2.1).
fn unescape(segment: &[u8]) -> Result<String, RouteError> {
    let mut rest = segment;
    while let Some(escape) = memchr(b'%', rest) {
        // The crate leaves an invalid escape as it is.
        let Some([_, high, low]) = rest.get(escape..escape + 3) else {
            return Err(BROKEN_ESCAPE);
        };
        if !(high.is_ascii_hexdigit() && low.is_ascii_hexdigit()) {
            return Err(BROKEN_ESCAPE);
        }
        rest = &rest[escape + 3..];
    }
    let bytes = percent_encoding::percent_decode(segment).collect();
    String::from_utf8(bytes).map_err(|_| NOT_UTF8)
}

const NOT_UTF8: RouteError =
    RouteError::BadName("a name is not valid UTF-8: percent-encode the bytes of its UTF-8 form");

const BROKEN_ESCAPE: RouteError =
    RouteError::BadName("a `%` is not followed by two hex digits: send a plain `%` as %25");

impl Allow {
    /// `OPTIONS *`: the methods of all paths (RFC 9110 §9.3.7).
    const SERVER: Self = Self("GET, HEAD, POST, PUT, DELETE, OPTIONS");
    const CHANNEL: Self = Self("GET, POST, PUT, DELETE, OPTIONS");
    const NAMESPACE: Self = Self("GET, HEAD, DELETE, OPTIONS");
    const NAMESPACE_UNLISTED: Self = Self("DELETE, OPTIONS");
    const READ_ONLY: Self = Self("GET, HEAD, OPTIONS");

    /// The value of an `Allow` field (RFC 9110 §10.2.1).
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const METHODS: [Method; 9] = [
        Method::Get,
        Method::Head,
        Method::Post,
        Method::Put,
        Method::Delete,
        Method::Connect,
        Method::Options,
        Method::Trace,
        Method::Patch,
    ];

    fn channel<'a>(namespace: &'a str, channel: &'a str) -> ChannelName<'a> {
        ChannelName {
            namespace: namespace.into(),
            channel: channel.into(),
        }
    }

    fn get(target: &[u8]) -> Result<Route<'_>, RouteError> {
        parse(Audience::Everyone, Method::Get, target)
    }

    /// The channel that a GET of `target` consumes.
    fn consumed(target: &[u8]) -> ChannelName<'_> {
        match get(target) {
            Ok(Route::Consume(name)) => name,
            other => panic!("{}: {other:?}", target.escape_ascii()),
        }
    }

    #[test]
    fn every_method_on_every_path_does_what_the_contract_says() {
        use Method::{Delete, Get, Head, Options, Post, Put};
        let name = || channel("v1", "a");
        let read_only = |route: Route<'static>| {
            vec![
                (Get, route.clone()),
                (Head, route),
                (Options, Route::Options(Allow("GET, HEAD, OPTIONS"))),
            ]
        };
        let of_namespace = |name: &'static str, listed: Route<'static>| {
            let allow = Allow("GET, HEAD, DELETE, OPTIONS");
            vec![
                (Get, listed.clone()),
                (Head, listed),
                (Delete, Route::DeleteNamespace(name.into())),
                (Options, Route::Options(allow)),
            ]
        };
        let everything = Allow("GET, POST, PUT, DELETE, OPTIONS");
        let of_channel = vec![
            (Get, Route::Consume(name())),
            (Post, Route::Produce(name())),
            (Put, Route::Produce(name())),
            (Delete, Route::DeleteChannel(name())),
            (Options, Route::Options(everything)),
        ];
        let paths = [
            ("/", read_only(Route::Help)),
            ("/robots.txt", read_only(Route::Robots)),
            ("/state", read_only(Route::State)),
            ("/metrics", read_only(Route::Metrics)),
            ("/healthz", read_only(Route::Health)),
            ("/readyz", read_only(Route::Ready)),
            (
                "/channels/namespaces",
                of_namespace("namespaces", Route::ListNamespaces),
            ),
            (
                "/channels/v1",
                of_namespace("v1", Route::ListChannels("v1".into())),
            ),
            ("/channels/v1/a", of_channel),
        ];
        for (path, taken) in paths {
            let Some((_, Route::Options(allow))) = taken.last() else {
                unreachable!()
            };
            for method in METHODS {
                let expected = match taken.iter().find(|(taken, _)| *taken == method) {
                    Some((_, route)) => Ok(route.clone()),
                    None => Err(RouteError::Method(*allow)),
                };
                let forms = [
                    "{}",
                    "{}?a=/b?c",
                    "http://h{}",
                    "HTTP://h:1{}",
                    "https://h{}?x",
                ];
                for form in forms {
                    let target = form.replace("{}", path);
                    if method != Method::Connect || target.starts_with('/') {
                        assert_eq!(
                            parse(Audience::Everyone, method, target.as_bytes()),
                            expected,
                            "{method:?} {target}"
                        );
                    }
                }
                if path != "/" {
                    let target = format!("{path}/");
                    assert_eq!(
                        parse(Audience::Everyone, method, target.as_bytes()),
                        expected,
                        "{method:?} {target}"
                    );
                }
            }
        }
    }

    #[test]
    fn each_audience_has_its_own_routes() {
        use Method::{Delete, Get, Head, Options, Post, Put};
        let (public, admin) = (Some(Audience::Clients), Some(Audience::Operators));
        let cases = [
            ("/", &[Get, Head][..], public),
            ("/robots.txt", &[Get, Head], public),
            ("/state", &[Get, Head], admin),
            ("/metrics", &[Get, Head], admin),
            ("/readyz", &[Get, Head], admin),
            ("/channels/namespaces", &[Get, Head], admin),
            ("/channels/v1", &[Get, Head], admin),
            ("/channels/v1", &[Delete], public),
            ("/channels/v1/a", &[Get, Post, Put, Delete], public),
            ("/healthz", &[Get, Head], None),
        ];
        for (path, methods, only) in cases {
            for &method in methods {
                let everything = parse(Audience::Everyone, method, path.as_bytes());
                assert!(everything.is_ok(), "{method:?} {path}");
                for audience in [Audience::Clients, Audience::Operators] {
                    let found = parse(audience, method, path.as_bytes());
                    if only.is_none_or(|only| only == audience) {
                        assert_eq!(found, everything, "{audience:?} {method:?} {path}");
                    } else {
                        assert!(found.is_err(), "{audience:?} {method:?} {path}: {found:?}");
                    }
                }
            }
        }
        let methods =
            |audience, method, path: &'static str| match parse(audience, method, path.as_bytes()) {
                Ok(Route::Options(allow)) | Err(RouteError::Method(allow)) => allow.as_str(),
                other => panic!("{other:?}"),
            };
        for method in [Options, Put] {
            assert_eq!(
                methods(Audience::Clients, method, "/channels/v1"),
                "DELETE, OPTIONS"
            );
            assert_eq!(
                methods(Audience::Operators, method, "/channels/v1"),
                "GET, HEAD, OPTIONS"
            );
        }
        assert_eq!(
            methods(Audience::Operators, Options, "*"),
            "GET, HEAD, OPTIONS"
        );
        for method in METHODS {
            for (audience, path) in [
                (Audience::Clients, "/metrics"),
                (Audience::Clients, "/readyz"),
                (Audience::Clients, "/state"),
                (Audience::Operators, "/"),
                (Audience::Operators, "/channels/v1/a"),
            ] {
                let found = parse(audience, method, path.as_bytes());
                assert_eq!(
                    found,
                    Err(RouteError::NotFound),
                    "{audience:?} {method:?} {path}"
                );
            }
        }
    }

    #[test]
    fn any_other_path_is_not_found_whatever_the_method() {
        for path in [
            "//",
            "/x",
            "/state/x",
            "/state//",
            "/State",
            "/states",
            "/stat",
            "//state",
            "/%73tate",
            "/metrics/x",
            "/channels",
            "/channels/",
            "/channels//",
            "/channels///",
            "/channels//a",
            "/channels/a//",
            "/channels/a/b//",
            "/channels/a/b/c",
            "/channels/a/b/c/",
            "/channels//a/b",
            "//channels/a/b",
            "/Channels/a/b",
            "/%63hannels/a/b",
            "/channels%2Fa%2Fb",
            "/channels/?a",
            "/channels?a/b",
            "/channels/a//?b",
            "/channels/namespaces/a/b",
            "/channelsx/a/b",
        ] {
            for method in METHODS {
                let found = parse(Audience::Everyone, method, path.as_bytes());
                assert_eq!(found, Err(RouteError::NotFound), "{method:?} {path}");
            }
        }
    }

    #[test]
    fn names_are_decoded_and_otherwise_unchanged() {
        for (target, namespace, channel_name) in [
            ("/channels/v1/ab", "v1", "ab"),
            ("/channels/v1/a%62", "v1", "ab"),
            ("/channels/%761/%61b", "v1", "ab"),
            ("/channels/v1/a%2Fb", "v1", "a/b"),
            ("/channels/v1/a%2fb%2F/", "v1", "a/b/"),
            ("/channels/%2F/%2f", "/", "/"),
            ("/channels/v1/a%25b", "v1", "a%b"),
            ("/channels/v1/%2562", "v1", "%62"),
            ("/channels/v1/a+b%20c", "v1", "a+b c"),
            ("/channels/v1/a%3Fb%23c?d", "v1", "a?b#c"),
            ("/channels/v1/%C3%BC%e2%82%ac", "v1", "ü€"),
            ("/channels/v1/\u{fc}", "v1", "ü"),
            ("/channels/./..", ".", ".."),
            ("/channels/../v1", "..", "v1"),
            ("/channels/%2e/%2E%2e", ".", ".."),
            ("/channels/v1/A", "v1", "A"),
            ("/channels/namespaces/a", "namespaces", "a"),
            ("/channels/channels/channels", "channels", "channels"),
            ("/channels/v1/a;b=c&d", "v1", "a;b=c&d"),
            ("/channels/v1/%C2%A0", "v1", "\u{a0}"),
            ("http://user@h:80/channels/v1/a", "v1", "a"),
        ] {
            assert_eq!(
                consumed(target.as_bytes()),
                channel(namespace, channel_name),
                "{target}"
            );
        }
        let escaped = get(b"/channels/%6eamespaces");
        assert_eq!(escaped, Ok(Route::ListChannels("namespaces".into())));
    }

    #[test]
    fn a_name_without_an_escape_is_borrowed() {
        let name = consumed(b"http://h/channels/v1/a?%62");
        assert!(matches!(name.namespace, Cow::Borrowed("v1")));
        assert!(matches!(name.channel, Cow::Borrowed("a")));
    }

    #[test]
    fn a_name_has_at_most_255_bytes_after_decoding() {
        for unit in ["a", "%61", "%C3%BCa%62x"] {
            let unit_bytes = percent_encoding::percent_decode_str(unit).count();
            let fits = unit.repeat(NAME_BYTES_MAX / unit_bytes);
            for path in ["/channels/{}", "/channels/{}/b", "/channels/b/{}"] {
                let target = path.replace("{}", &fits);
                assert!(get(target.as_bytes()).is_ok(), "{target}");
                let target = path.replace("{}", &format!("{fits}a"));
                assert!(
                    matches!(get(target.as_bytes()), Err(RouteError::BadName(_))),
                    "{target}"
                );
            }
        }
    }

    #[test]
    fn bad_names_are_refused_on_every_path() {
        let names: [&[u8]; 24] = [
            b"%", b"a%", b"%4", b"a%4", b"%zz", b"%4z", b"%z4", b"%%41", b"%61%", b"%+1", b"% 1",
            b"%00", b"a%0Ab", b"%0D", b"%09", b"%1f", b"%7F", b"%C2%80", b"%c2%9F", b"a\x01",
            b"a\x7f", b"%FF", b"\xff", b"%C3",
        ];
        let more: [&[u8]; 4] = [b"%ED%A0%80", b"%C0%AF", b"\xc3%41", b"%F4%90%80%80"];
        for name in names.into_iter().chain(more) {
            for (before, after) in [
                ("/channels/", ""),
                ("/channels/", "/b"),
                ("/channels/b/", "/"),
            ] {
                let target = [before.as_bytes(), name, after.as_bytes()].concat();
                for method in METHODS {
                    let refused = matches!(
                        parse(Audience::Everyone, method, &target),
                        Err(RouteError::BadName(_))
                    );
                    assert!(refused, "{method:?} {}", target.escape_ascii());
                }
            }
        }
    }

    #[test]
    fn targets_of_unknown_form_are_refused() {
        for target in [
            "",
            "*",
            "channels/a/b",
            "h:80",
            "http:",
            "http:/",
            "http://",
            "http:///",
            "http:///channels/a/b",
            "http://?a",
            "https://",
            "ftp://h/channels/a/b",
            "http:/h/channels/a/b",
            "httpx://h/",
            "/channels/a/b#c",
            "/#",
            "/?a#b",
            "http://h#",
            "http://h/#a",
            "/channels/a#b/c",
        ] {
            let found = get(target.as_bytes());
            assert!(
                matches!(found, Err(RouteError::BadName(_))),
                "{target}: {found:?}"
            );
        }
    }

    #[test]
    fn an_absolute_target_without_a_path_is_the_root() {
        for target in [
            "http://h",
            "HTTP://H:80",
            "http://h?a=/state",
            "https://[::1]",
        ] {
            assert_eq!(get(target.as_bytes()), Ok(Route::Help), "{target}");
        }
    }

    #[test]
    fn options_of_the_server_is_known_and_connect_is_not_found() {
        let everything = Ok(Route::Options(Allow(
            "GET, HEAD, POST, PUT, DELETE, OPTIONS",
        )));
        assert_eq!(parse(Audience::Everyone, Method::Options, b"*"), everything);
        for target in ["h:80", "h", "*", "http://h/channels/a/b", ""] {
            let found = parse(Audience::Everyone, Method::Connect, target.as_bytes());
            assert_eq!(found, Err(RouteError::NotFound), "{target}");
        }
    }

    #[test]
    fn the_longest_useful_target_fits() {
        let name = "%ff".repeat(NAME_BYTES_MAX);
        let target = format!("/channels/{name}/{name}");
        assert_eq!(target.len(), 1541);
        assert!(target.len() <= crate::limits::TARGET_BYTES_MAX);
    }

    fn valid_name() -> impl Strategy<Value = String> {
        "[^\\p{Cc}]{1,60}"
    }

    /// Percent-encodes the bytes of `name` that must be escaped, and those that `also` selects, in either
    /// case.
    fn encode(name: &str, also: &[u8]) -> String {
        let mut out = String::new();
        for (at, &byte) in name.as_bytes().iter().enumerate() {
            match also.get(at).map_or(0, |pick| pick % 4) {
                1 => out += &format!("%{byte:02x}"),
                2 => out += &format!("%{byte:02X}"),
                _ if byte.is_ascii_graphic() && !b"/?#%".contains(&byte) => {
                    out.push(char::from(byte))
                }
                _ => out += &format!("%{byte:02X}"),
            }
        }
        out
    }

    proptest! {
        #[test]
        fn a_name_is_the_same_however_it_is_escaped(
            (namespace, other) in (valid_name(), valid_name()),
            also in proptest::collection::vec(any::<u8>(), 240),
            more in proptest::collection::vec(any::<u8>(), 240),
            absolute in any::<bool>(),
        ) {
            let host = if absolute { "http://h" } else { "" };
            let names = (encode(&namespace, &also), encode(&other, &more));
            let target = format!("{host}/channels/{}/{}", names.0, names.1);
            prop_assert_eq!(consumed(target.as_bytes()), channel(&namespace, &other));
            let target = format!("{host}/channels/{}/", encode(&namespace, &more));
            let deleted = parse(Audience::Everyone, Method::Delete, target.as_bytes());
            prop_assert_eq!(deleted, Ok(Route::DeleteNamespace(Cow::Owned(namespace))));
        }

        #[test]
        fn arbitrary_targets_never_panic_and_names_that_come_out_are_valid(
            tail in proptest::collection::vec(any::<u8>(), 0..40),
            front in proptest::sample::select(vec!["", "/", "http://", "/channels/", "/channels/a/"]),
        ) {
            let target = [front.as_bytes(), &tail].concat();
            if let Ok(Route::Consume(name)) = get(&target) {
                for part in [name.namespace, name.channel] {
                    prop_assert!((1..=NAME_BYTES_MAX).contains(&part.len()));
                    prop_assert!(!part.chars().any(char::is_control));
                }
            }
        }
    }
}
