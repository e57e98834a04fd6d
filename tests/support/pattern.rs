//! Bodies: reproducible bytes in which a lost, repeated or swapped part is visible.

use std::sync::LazyLock;

/// The longest body that [`pattern`] returns.
pub const PATTERN_BYTES_MAX: usize = 32 << 20;

/// Range in which `seed` chooses the beginning of a body, so that two bodies differ from the first
/// byte on.
const SEED_ROOM_BYTES: usize = 1 << 16;

static NOISE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut noise = vec![0; PATTERN_BYTES_MAX + SEED_ROOM_BYTES];
    fastrand::Rng::with_seed(0x6874_7470_6970_6521).fill(&mut noise);
    noise
});

/// Makes the noise, which takes up to a second on a busy machine, before a server's time limit is under
/// way.
pub fn prepare() {
    LazyLock::force(&NOISE);
}

/// `bytes` (at most [`PATTERN_BYTES_MAX`]) of noise; the same for the same `seed`.
pub fn pattern(seed: usize, bytes: usize) -> &'static [u8] {
    let start = seed.wrapping_mul(7919) % SEED_ROOM_BYTES;
    &NOISE[start..start + bytes]
}

/// Fails if `received` is not `sent`, and prints the first difference instead of megabytes.
#[track_caller]
pub fn assert_same_bytes(received: &[u8], sent: &[u8]) {
    if received == sent {
        return;
    }
    let parted = received.iter().zip(sent).position(|(a, b)| a != b);
    panic!(
        "the body arrived changed: {} bytes sent, {} received, first difference at {:?}",
        sent.len(),
        received.len(),
        parted.unwrap_or(received.len().min(sent.len())),
    );
}
