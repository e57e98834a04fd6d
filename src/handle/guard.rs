//! What is refused before anything is done for it, whatever it asks for.

use super::target::Target;
use crate::{
    http::{browser::Initiator, host::split_port},
    model::{
        audience::Audience,
        refusal::Refusal,
        route::{Route, RouteError},
    },
};

/// Whether the request may go on to its `route`.
///
/// # Errors
/// The error response.
#[inline]
pub fn check(target: &Target<'_>, route: &Result<Route<'_>, RouteError>) -> Result<(), Refusal> {
    let hosts = &target.session.shard.config().allowed_hosts;
    if target.head.initiator == Initiator::Own && hosts.is_empty() {
        return Ok(());
    }
    check_all(target, hosts, route)
}

#[cold]
fn check_all(
    target: &Target<'_>,
    hosts: &[String],
    route: &Result<Route<'_>, RouteError>,
) -> Result<(), Refusal> {
    if !hosts.is_empty() && !is_known_as(target, hosts) && !matches!(route, Ok(Route::Health)) {
        return Err(Refusal::OTHER_HOST);
    }
    let Ok(route) = route else {
        return Ok(());
    };
    let checked = target
        .head
        .initiator
        .check(target.head.method, route.is_safe());
    checked.map_err(Refusal::from)
}

/// Whether the client may know this server by the name in Host. A page whose name was made to resolve
/// to this server (DNS rebinding) has a Host of its own; it cannot connect to a Unix socket.
fn is_known_as(target: &Target<'_>, hosts: &[String]) -> bool {
    let conn = &target.session.conn;
    if conn.audience == Audience::Operators || conn.transport.is_local() {
        return true;
    }
    let (name, _) = split_port(target.head.host.of(target.bytes));
    hosts
        .iter()
        .any(|host| name.eq_ignore_ascii_case(host.as_bytes()))
}
