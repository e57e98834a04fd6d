//! Rules for every method on any target. Pure.

use httpipe::testing::{
    http::method::Method,
    limits::NAME_BYTES_MAX,
    model::{
        audience::Audience,
        route::{self, ChannelName, Route, RouteError},
    },
};
use std::borrow::Cow;

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

/// The names in a target are valid and mean the same in every way to write them, and the parts of a
/// target that have no meaning change nothing.
///
/// # Panics
/// If one of the rules does not hold.
pub fn check(target: &[u8]) {
    for method in METHODS {
        check_offers(method, target);
        match parse(method, target) {
            Ok(Route::Consume(name) | Route::Produce(name) | Route::DeleteChannel(name)) => {
                check_channel(method, target, &name);
            }
            Ok(Route::ListChannels(name) | Route::DeleteNamespace(name)) => check_name(&name),
            Ok(Route::Options(allow)) => assert_eq!(method, Method::Options, "{allow:?}"),
            Err(RouteError::Method(allow)) => check_refused(method, allow.as_str()),
            Err(RouteError::BadName(text)) => {
                assert!(text.bytes().all(|b| (b' '..0x7f).contains(&b)), "{text}");
            }
            Ok(_) => assert!(matches!(method, Method::Get | Method::Head), "{method:?}"),
            Err(RouteError::NotFound) => {}
        }
    }
    if target.starts_with(b"/") {
        check_same_in_other_words(target);
        check_same_for_all_methods(target);
    }
    if let Ok(text) = std::str::from_utf8(target) {
        check_as_name(text);
    }
}

fn check_name(name: &str) {
    assert!((1..=NAME_BYTES_MAX).contains(&name.len()), "{name:?}");
    assert!(!name.chars().any(char::is_control), "{name:?}");
}

/// The channel is the same with every byte of its names escaped.
fn check_channel(method: Method, target: &[u8], name: &ChannelName<'_>) {
    check_name(&name.namespace);
    check_name(&name.channel);
    let escaped = channel_target(&escape(&name.namespace), &escape(&name.channel));
    assert_eq!(
        parse(method, escaped.as_bytes()),
        parse(method, target),
        "{}",
        target.escape_ascii()
    );
}

fn channel_target(namespace: &str, channel: &str) -> String {
    format!("/channels/{namespace}/{channel}")
}

/// Every byte as `%XX`; the case of the digits depends on the byte, so that both cases occur.
fn escape(name: &str) -> String {
    name.bytes()
        .map(|b| {
            if b % 2 == 0 {
                format!("%{b:02x}")
            } else {
                format!("%{b:02X}")
            }
        })
        .collect()
}

/// A 405 lists methods that the path takes, and the method of the request is not among them.
fn check_refused(method: Method, allow: &str) {
    let name = format!("{method:?}").to_ascii_uppercase();
    assert!(
        allow.split(", ").all(|allowed| allowed != name),
        "{name}: {allow}"
    );
}

/// The query has no meaning, and an absolute target equals its path.
fn check_same_in_other_words(target: &[u8]) {
    let absolute = [b"http://h", target].concat();
    let queried = [target, b"?/a=%zz"].concat();
    for method in METHODS {
        if method != Method::Connect {
            assert_eq!(parse(method, &absolute), parse(method, target));
        }
        if !target.contains(&b'#') {
            assert_eq!(parse(method, &queried), parse(method, target));
        }
    }
}

/// Whether a path is known and its names are valid does not depend on the method.
fn check_same_for_all_methods(target: &[u8]) {
    let refusal = |method| match parse(method, target) {
        Err(error @ (RouteError::NotFound | RouteError::BadName(_))) => Some(error),
        Ok(_) | Err(RouteError::Method(_)) => None,
    };
    for method in METHODS {
        assert_eq!(
            refusal(method),
            refusal(Method::Get),
            "{}",
            target.escape_ascii()
        );
    }
}

/// Any valid name comes back from its escaped form; any other text is refused.
fn check_as_name(name: &str) {
    let target = channel_target(&escape(name), &escape(name));
    let parsed = parse(Method::Get, target.as_bytes());
    let valid = name.len() <= NAME_BYTES_MAX && !name.chars().any(char::is_control);
    let expected = ChannelName {
        namespace: Cow::Borrowed(name),
        channel: Cow::Borrowed(name),
    };
    match parsed {
        Ok(route) => assert!(valid && route == Route::Consume(expected), "{name:?}"),
        Err(RouteError::NotFound) => assert!(name.is_empty(), "{name:?}"),
        Err(error) => assert!(
            !valid && matches!(error, RouteError::BadName(_)),
            "{name:?}"
        ),
    }
}

/// As read by a listener for everyone.
fn parse(method: Method, target: &[u8]) -> Result<Route<'_>, RouteError> {
    route::parse(Audience::Everyone, method, target)
}

/// A listener for one group never reads a target as something else, and each of the two serves what
/// the other does not.
fn check_offers(method: Method, target: &[u8]) {
    let all = parse(method, target);
    let parts =
        [Audience::Clients, Audience::Operators].map(|offer| route::parse(offer, method, target));
    for part in &parts {
        let differs_in_methods = matches!(
            (&all, part),
            (
                Ok(Route::Options(_)) | Err(RouteError::Method(_)),
                Ok(Route::Options(_)) | Err(RouteError::Method(_))
            )
        );
        let refuses = matches!(part, Err(RouteError::NotFound | RouteError::Method(_)));
        assert!(*part == all || differs_in_methods || refuses, "{part:?}");
    }
    if let Ok(route) = &all
        && !matches!(route, Route::Options(_))
    {
        let offered = parts.iter().filter(|part| **part == all).count();
        let both = matches!(route, Route::Health);
        assert_eq!(offered, if both { 2 } else { 1 }, "{route:?}");
    }
}
