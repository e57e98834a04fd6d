//! [`Initiator`]: who wants a request, as far as a browser says. Pure.
//!
//! A browser sends requests that no person asked for: a page's images, forms and scripts, prefetches,
//! service workers. Owns which of those may use a channel. Any other client can leave these fields out
//! or forge them: this protects people who browse, and is no login.

use memchr::memmem;

use super::{host::split_port, method::Method, span::Span};

/// Fields that browsers send, collected but not judged: the Host field may follow.
#[derive(Default)]
pub struct BrowserFields {
    agent: Agent,
    site: Option<Site>,
    /// What is known of a person's navigation of a whole tab, as bits of [`USERS_NAVIGATION`].
    navigation: u8,
    origin: Option<Span>,
}

/// Which part of the browser asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Agent {
    #[default]
    Page,
    /// What is only looked at, perhaps by nobody.
    Prefetch,
    /// The reply would see all later requests of this origin.
    ServiceWorker,
}

/// Where the page that asks is from (Fetch Metadata, `Sec-Fetch-Site`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Site {
    /// `same-origin`, or `none`: a person's address bar or bookmark.
    Ours,
    /// `same-site` is foreign too: another port, or a neighbour's host name.
    Foreign,
}

const NAVIGATE: u8 = 1;
const DOCUMENT: u8 = 2;
const USER: u8 = 4;
const USERS_NAVIGATION: u8 = NAVIGATE | DOCUMENT | USER;

/// Who wants a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Initiator {
    /// A program, a page of this origin, or a person.
    #[default]
    Own,
    /// A person who navigates here from a page of another origin.
    Visitor,
    /// A page of another origin.
    ForeignPage,
    /// A page of another origin, by its `Origin` alone: browsers send `Sec-Fetch-*` only to https and to
    /// localhost.
    ForeignOrigin,
    ServiceWorker,
    Prefetch,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unasked {
    ForeignPage,
    ServiceWorker,
    Prefetch,
}

impl Initiator {
    /// Whether this initiator may have a request. `is_safe`: it consumes and changes nothing.
    ///
    /// # Errors
    /// No person asked for it.
    pub const fn check(self, method: Method, is_safe: bool) -> Result<(), Unasked> {
        match (self, is_safe) {
            (Self::ServiceWorker, _) => Err(Unasked::ServiceWorker),
            (Self::Prefetch, _) => Err(Unasked::Prefetch),
            (Self::Own, _) | (_, true) => Ok(()),
            // A form is a navigation too, but the page has filled it in. A GET with an `Origin` is left
            // alone, since most cross-origin GETs have none.
            (Self::Visitor | Self::ForeignOrigin, false) if matches!(method, Method::Get) => Ok(()),
            (Self::Visitor | Self::ForeignOrigin | Self::ForeignPage, false) => {
                Err(Unasked::ForeignPage)
            }
        }
    }
}

impl BrowserFields {
    /// Notes a field whose name has 14 letters.
    pub fn take(&mut self, name: &str, value: &[u8]) {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        if is("service-worker") {
            self.take_agent(value == b"script", Agent::ServiceWorker);
        } else if is("sec-fetch-site") {
            self.take_site(value);
        } else if is("sec-fetch-mode") {
            self.take_navigation(value == b"navigate", NAVIGATE);
        } else if is("sec-fetch-dest") {
            self.take_navigation(value == b"document", DOCUMENT);
        } else if is("sec-fetch-user") {
            self.take_navigation(value == b"?1", USER);
        }
    }

    /// `Sec-Purpose`: `prefetch`, perhaps with parameters.
    pub fn take_purpose(&mut self, value: &[u8]) {
        let is_prefetch = memmem::find(value, b"prefetch").is_some();
        self.take_agent(is_prefetch, Agent::Prefetch);
    }

    pub const fn take_origin(&mut self, value: Span) {
        self.origin = Some(value);
    }

    fn take_agent(&mut self, is_it: bool, agent: Agent) {
        if is_it {
            self.agent = self.agent.max(agent);
        }
    }

    /// "Servers SHOULD ignore this header if it contains an invalid value" (Fetch Metadata).
    fn take_site(&mut self, value: &[u8]) {
        let site = match value {
            b"same-origin" | b"none" => Site::Ours,
            b"cross-site" | b"same-site" => Site::Foreign,
            _ => return,
        };
        self.site = self.site.max(Some(site));
    }

    const fn take_navigation(&mut self, is_it: bool, bit: u8) {
        if is_it {
            self.navigation |= bit;
        }
    }

    /// Who wants the request with these fields. `host`: the value of its Host field; `head`: what the
    /// fields were collected from.
    #[inline]
    #[must_use]
    pub fn initiator(&self, host: Option<&[u8]>, head: &[u8]) -> Initiator {
        match (self.agent, self.site, self.origin) {
            (Agent::Page, None, None) => Initiator::Own,
            _ => self.browsers_initiator(host, head),
        }
    }

    #[cold]
    fn browsers_initiator(&self, host: Option<&[u8]>, head: &[u8]) -> Initiator {
        match (self.agent, self.site, self.origin) {
            (Agent::Page, None, None) => Initiator::Own,
            (Agent::ServiceWorker, ..) => Initiator::ServiceWorker,
            (Agent::Prefetch, ..) => Initiator::Prefetch,
            // A proxy may have rewritten the Host, so an `Origin` proves nothing here.
            (Agent::Page, Some(Site::Ours), _) => Initiator::Own,
            (Agent::Page, Some(Site::Foreign), _) if self.navigation == USERS_NAVIGATION => {
                Initiator::Visitor
            }
            (Agent::Page, Some(Site::Foreign), _) => Initiator::ForeignPage,
            (Agent::Page, None, Some(origin)) if is_same_place(origin.of(head), host) => {
                Initiator::Own
            }
            (Agent::Page, None, Some(_)) => Initiator::ForeignOrigin,
        }
    }
}

/// Whether `origin` (RFC 6454 §7) has the host and the port of the Host field. Schemes may differ: a
/// proxy may have taken TLS off. A Host without a port has the default of whichever scheme the client
/// used, so the origin has to have the default of its own.
fn is_same_place(origin: &[u8], host: Option<&[u8]>) -> bool {
    let (Some(host), Some(colon)) = (host, memmem::find(origin, b"://")) else {
        return false;
    };
    let default = match &origin[..colon] {
        b"http" => 80,
        b"https" => 443,
        _ => return false,
    };
    let port = |digits: &[u8]| match digits {
        [] => Some(default),
        // `parse` would take a sign.
        [b'0'..=b'9', ..] => std::str::from_utf8(digits).ok()?.parse::<u16>().ok(),
        _ => None,
    };
    let (its_name, its_port) = split_port(&origin[colon + "://".len()..]);
    let (name, our_port) = split_port(host);
    !name.is_empty()
        && its_name.eq_ignore_ascii_case(name)
        && port(its_port).is_some_and(|its_port| Some(its_port) == port(our_port))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKER: &[(&str, &str)] = &[("Service-Worker", "script")];
    const PREFETCH: &[(&str, &str)] = &[("Sec-Purpose", "prefetch;prerender")];
    const IMAGE: &[(&str, &str)] = &[
        ("Sec-Fetch-Mode", "no-cors"),
        ("Sec-Fetch-Dest", "image"),
        ("Sec-Fetch-Site", "cross-site"),
    ];
    const CLICK: &[(&str, &str)] = &[
        ("Sec-Fetch-Mode", "navigate"),
        ("Sec-Fetch-Dest", "document"),
        ("Sec-Fetch-User", "?1"),
    ];

    fn initiator(host: Option<&str>, fields: &[(&str, &str)]) -> Initiator {
        let mut browser = BrowserFields::default();
        let mut head = Vec::new();
        for (name, value) in fields {
            match *name {
                "Origin" => {
                    let start = head.len();
                    head.extend_from_slice(value.as_bytes());
                    browser.take_origin(Span::locate(&head[start..], &head));
                }
                "Sec-Purpose" => browser.take_purpose(value.as_bytes()),
                name => browser.take(name, value.as_bytes()),
            }
        }
        browser.initiator(host.map(str::as_bytes), &head)
    }

    #[test]
    fn the_fields_of_a_browser_tell_who_wants_the_request() {
        let site = |site| [("Sec-Fetch-Site", site)];
        let origin = |origin| [("Origin", origin)];
        for (fields, expected) in [
            ([].as_slice(), Initiator::Own),
            (WORKER, Initiator::ServiceWorker),
            (PREFETCH, Initiator::Prefetch),
            (&[PREFETCH, WORKER].concat(), Initiator::ServiceWorker),
            (&[WORKER, PREFETCH].concat(), Initiator::ServiceWorker),
            (&[&site("none"), PREFETCH].concat(), Initiator::Prefetch),
            (&[("Service-Worker", "")], Initiator::Own),
            (&[("Sec-Purpose", "")], Initiator::Own),
            (&site("none"), Initiator::Own),
            (&site("same-origin"), Initiator::Own),
            (&site("same-site"), Initiator::ForeignPage),
            (&site("cross-site"), Initiator::ForeignPage),
            (&site("sideways"), Initiator::Own),
            (&site(""), Initiator::Own),
            (
                &[site("sideways"), origin("http://there")].concat(),
                Initiator::ForeignOrigin,
            ),
            (
                &[site("same-origin"), origin("http://there")].concat(),
                Initiator::Own,
            ),
            (
                &[site("cross-site"), origin("http://here")].concat(),
                Initiator::ForeignPage,
            ),
            (
                &[site("cross-site"), site("none")].concat(),
                Initiator::ForeignPage,
            ),
            (IMAGE, Initiator::ForeignPage),
            (CLICK, Initiator::Own),
            (&[CLICK, &site("cross-site")].concat(), Initiator::Visitor),
            (&[CLICK, &site("same-site")].concat(), Initiator::Visitor),
            (
                &[&CLICK[..2], &site("cross-site")].concat(),
                Initiator::ForeignPage,
            ),
            (
                &[&CLICK[1..], &site("cross-site")].concat(),
                Initiator::ForeignPage,
            ),
            (&origin("http://here"), Initiator::Own),
            (&origin("http://there"), Initiator::ForeignOrigin),
        ] {
            assert_eq!(initiator(Some("here"), fields), expected, "{fields:?}");
        }
    }

    #[test]
    fn an_origin_is_the_same_with_the_host_and_the_port() {
        for (origin, host, same) in [
            ("http://x", "x", true),
            ("https://x", "x", true),
            ("http://x:80", "x", true),
            ("https://x:443", "x", true),
            ("https://x", "x:443", true),
            ("http://x", "x:80", true),
            ("http://x", "x:", true),
            ("http://x:0080", "x", true),
            ("http://x:3000", "x:3000", true),
            ("https://x:3000", "x:3000", true),
            ("http://X.example", "x.EXAMPLE", true),
            ("http://[::1]:3000", "[::1]:3000", true),
            ("http://[::1]", "[::1]", true),
            ("http://[::1]", "[::1]:3000", false),
            ("http://[::2]", "[::1]", false),
            ("http://x", "y", false),
            ("http://x", "", false),
            ("http://", "", false),
            ("http://x.y", "x", false),
            ("http://x", "x.y", false),
            ("http://x:443", "x", false),
            ("https://x:80", "x", false),
            ("https://x", "x:80", false),
            ("http://x:3000", "x", false),
            ("http://x", "x:3000", false),
            ("http://x:3000", "x:3001", false),
            ("http://x:68536", "x:3000", false),
            ("http://x:+80", "x:80", false),
            ("http://x:80:80", "x:80", false),
            ("http://x:3000, http://x:3000", "x:3000", false),
            ("http://x/", "x", false),
            ("http://u@x", "x", false),
            ("app://x", "x", false),
            ("app://x:80", "x:80", false),
            ("x", "x", false),
            ("//x", "x", false),
            ("://x", "x", false),
            ("null", "null", false),
            ("null", "x", false),
            ("", "", false),
            ("", "x", false),
        ] {
            let found = is_same_place(origin.as_bytes(), Some(host.as_bytes()));
            assert_eq!(found, same, "{origin} at {host}");
        }
        assert!(!is_same_place(b"http://x", None));
    }

    #[test]
    fn only_what_a_person_or_a_page_of_this_origin_wants_may_use_a_channel() {
        use Method::{Delete, Get, Head, Options, Post, Put};
        let refused = Err(Unasked::ForeignPage);
        for method in [Get, Head, Post, Put, Delete, Options] {
            let get_only = if method == Get { Ok(()) } else { refused };
            for (initiator, on_channel, on_document) in [
                (Initiator::Own, Ok(()), Ok(())),
                (Initiator::Visitor, get_only, Ok(())),
                (Initiator::ForeignOrigin, get_only, Ok(())),
                (Initiator::ForeignPage, refused, Ok(())),
                (
                    Initiator::ServiceWorker,
                    Err(Unasked::ServiceWorker),
                    Err(Unasked::ServiceWorker),
                ),
                (
                    Initiator::Prefetch,
                    Err(Unasked::Prefetch),
                    Err(Unasked::Prefetch),
                ),
            ] {
                let name = format!("{initiator:?} {method:?}");
                assert_eq!(initiator.check(method, false), on_channel, "{name}");
                assert_eq!(initiator.check(method, true), on_document, "{name}");
            }
        }
    }
}
