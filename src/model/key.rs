//! The key of a channel: its two names, and their hash. Pure.

use std::hash::{BuildHasher, Hasher, RandomState};

/// Hashes channel keys. Keyed (SipHash with a random key) because clients choose the names: without
/// the key nobody can make many names that fall into one bucket, or all on one shard.
///
/// Seeded once a process and shared by all shards, because the hash also names the shard that owns
/// the channel, and all must agree on that.
///
/// The index of a registry goes by the lowest bits of the hash (bucket) and the highest 7 (tag).
/// Choose the shard by bits in between (`Mesh::owner` takes bits 16 to 47), or the
/// channels of a shard agree in bits that its index needs and crowd there: with 64 shards of 50,000
/// channels each, a look-up that finds nothing took 12 ns this way, 36 ns with the shard in the
/// lowest bits, 53 ns with it in the highest.
#[derive(Clone, Debug)]
pub struct KeyHasher(RandomState);

/// Namespace and name in one allocation, with a NUL in between. Names hold no control characters,
/// so no two pairs make the same key.
pub struct Key(Box<str>);

impl KeyHasher {
    /// A hasher with a fresh random key. Two of them disagree: make one and clone it.
    #[must_use]
    pub fn seeded() -> Self {
        KeyHasher(RandomState::new())
    }

    /// The hash of a channel's key, from names that are decoded already. Does not allocate.
    #[must_use]
    pub fn hash(&self, namespace: &str, name: &str) -> u64 {
        let mut hasher = self.0.build_hasher();
        hasher.write(namespace.as_bytes());
        hasher.write_u8(0);
        hasher.write(name.as_bytes());
        hasher.finish()
    }
}

impl Key {
    /// The key of these names. Sized before it is filled, so that it is allocated once.
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        debug_assert!(
            !namespace.contains('\0') && !name.contains('\0'),
            "a control character"
        );
        let mut key = String::with_capacity(namespace.len() + 1 + name.len());
        key.push_str(namespace);
        key.push('\0');
        key.push_str(name);
        Key(key.into_boxed_str())
    }

    /// Whether it is the key of these names.
    #[must_use]
    pub fn is(&self, namespace: &str, name: &str) -> bool {
        let rest = self
            .0
            .strip_prefix(namespace)
            .and_then(|rest| rest.strip_prefix('\0'));
        rest == Some(name)
    }

    /// Namespace and name.
    #[must_use]
    pub fn names(&self) -> (&str, &str) {
        self.0
            .split_once('\0')
            .expect("a key has a NUL between its names")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_of_a_key_hasher_agree_and_a_name_is_not_its_namespace() {
        let hasher = KeyHasher::seeded();
        assert_eq!(hasher.hash("ns", "a"), hasher.clone().hash("ns", "a"));
        assert_ne!(hasher.hash("a", "bc"), hasher.hash("ab", "c"));
        assert_ne!(hasher.hash("a", "b"), hasher.hash("b", "a"));
        assert_ne!(hasher.hash("ns", "a"), KeyHasher::seeded().hash("ns", "a"));
    }
}
