//! Whom a listener serves, and so every connection that is accepted on it. Pure.

/// Who connects, and so which routes there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Clients, where operators have no listener of their own: every route.
    Everyone,
    /// Clients, where operators have one: no listings, no metrics, no readiness.
    Clients,
    /// Operators: listings, metrics and readiness; no channel.
    Operators,
}

impl Audience {
    /// Whether clients are served, perhaps beside operators.
    #[must_use]
    pub const fn has_clients(self) -> bool {
        matches!(self, Self::Everyone | Self::Clients)
    }
}
