//! Names of channels or namespaces, in few allocations: a listing of a large server has megabytes of
//! them. Pure.

/// Names in the order in which they were added. Names contain no control characters, so a line feed
/// can end an entry, and a NUL can stand between the two names of a channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names(String);

impl Names {
    pub fn push(&mut self, name: &str) {
        self.0.push_str(name);
        self.0.push('\n');
    }

    /// A namespace and the name of a channel in it.
    pub fn push_pair(&mut self, namespace: &str, name: &str) {
        self.0.push_str(namespace);
        self.0.push('\0');
        self.push(name);
    }

    /// The entries; a pair is an entry with a NUL.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.split_terminator('\n')
    }

    /// The entries, all of which are pairs.
    ///
    /// # Panics
    /// If one is not.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.iter()
            .map(|pair| pair.split_once('\0').expect("a pair of names"))
    }

    /// The bytes of all names, and one or two for each.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_pairs_come_out_as_they_went_in() {
        let (mut names, mut pairs) = (Names::default(), Names::default());
        assert_eq!(names.iter().count(), 0);
        for name in ["a", " ", "ä/b"] {
            names.push(name);
            pairs.push_pair(name, "x y");
        }
        assert!(names.iter().eq(["a", " ", "ä/b"]));
        assert!(
            pairs
                .pairs()
                .eq([("a", "x y"), (" ", "x y"), ("ä/b", "x y")])
        );
        assert_eq!(names.bytes(), "a\n \nä/b\n".len());
    }
}
