//! How many channels and waiting requests a shard admits. Pure.

/// The limits of a registry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Channels in use on this shard.
    pub channels_max: usize,
    /// Requests waiting on this shard, all channels and both sides.
    pub waiting_max: usize,
    /// Requests waiting on one channel, both sides.
    pub waiting_per_channel_max: usize,
}

/// The limit that refused a request. The client receives 503 (RFC 9110 §15.6.4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Full {
    /// [`Limits::channels_max`] channels are in use.
    Channels,
    /// [`Limits::waiting_max`] requests wait on this shard.
    Waiting,
    /// [`Limits::waiting_per_channel_max`] requests wait on this channel.
    WaitingOnChannel,
}
