//! The audience of a listener: which clients its connections serve. Pure.

/// Decides which routes a listener and its connections offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Clients and operators on one listener: every route.
    Everyone,
    /// Clients only, because operators have a listener of their own: no listings, no metrics, no
    /// readiness.
    Clients,
    /// Operators only: listings, metrics and readiness; no channels.
    Operators,
}

impl Audience {
    #[must_use]
    pub const fn has_clients(self) -> bool {
        matches!(self, Self::Everyone | Self::Clients)
    }
}
