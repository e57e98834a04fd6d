//! What is refused before anything is done for it, whatever it asks for.

use super::target::Target;
use crate::{
    http::browser::Initiator,
    model::{
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
    match (target.head.initiator, route) {
        (Initiator::Own, _) | (_, Err(_)) => Ok(()),
        (initiator, Ok(route)) => {
            let checked = initiator.check(target.head.method, route.is_safe());
            checked.map_err(Refusal::from)
        }
    }
}
