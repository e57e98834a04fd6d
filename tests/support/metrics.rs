//! `/metrics`, read strictly: a sample that the server does not declare is a failure, not a zero.

use std::collections::BTreeMap;

/// One reading of all samples.
pub struct Metrics {
    samples: BTreeMap<String, f64>,
    families: Vec<String>,
}

impl Metrics {
    /// Parses the Prometheus text format: comment lines, and `name{labels} value` on every other
    /// line.
    pub fn parse(text: &str) -> Self {
        let mut metrics = Self {
            samples: BTreeMap::new(),
            families: Vec::new(),
        };
        for line in text.lines().filter(|line| !line.is_empty()) {
            match line.strip_prefix('#') {
                Some(comment) => metrics.families.extend(declared(comment)),
                None => {
                    let (name, value) = sample(line);
                    let before = metrics.samples.insert(name.to_owned(), value);
                    assert!(before.is_none(), "/metrics has {name} twice");
                }
            }
        }
        metrics
    }

    /// The value of one sample, as `name` or `name{label="value"}`; 0 if its family is declared
    /// but has no such sample yet.
    pub fn value(&self, name: &str) -> u64 {
        if let Some(value) = self.samples.get(name) {
            assert!(*value >= 0.0 && value.fract() == 0.0, "{name} is {value}");
            return *value as u64;
        }
        let family = name.split('{').next().unwrap_or(name);
        assert!(
            self.declares(family),
            "/metrics declares no {family}: {:?}",
            self.families
        );
        0
    }

    /// The value of one sample, which may be a fraction.
    #[track_caller]
    pub fn number(&self, name: &str) -> f64 {
        let sample = self.samples.get(name);
        *sample.unwrap_or_else(|| panic!("/metrics has no {name}"))
    }

    /// The sum of all samples of a family, whatever their labels.
    pub fn sum(&self, family: &str) -> u64 {
        assert!(self.declares(family), "/metrics declares no {family}");
        let labelled = format!("{family}{{");
        let all = self.samples.iter();
        let values = all.filter(|(name, _)| name.starts_with(&labelled) || *name == family);
        values.map(|(_, value)| *value as u64).sum()
    }

    /// Whether a `# TYPE` line declares the family; a counter's line may omit `_total`.
    pub fn declares(&self, family: &str) -> bool {
        let short = family.strip_suffix("_total").unwrap_or(family);
        self.families
            .iter()
            .any(|declared| declared == family || declared == short)
    }
}

/// The family that a `# TYPE family kind` comment declares.
fn declared(comment: &str) -> Option<String> {
    let mut words = comment.split_whitespace();
    (words.next() == Some("TYPE")).then(|| words.next().expect("a name after TYPE").to_owned())
}

fn sample(line: &str) -> (&str, f64) {
    let (name, value) = line
        .rsplit_once(' ')
        .expect("`name value` on a line of /metrics");
    let value = value
        .parse()
        .unwrap_or_else(|_| panic!("not a number in /metrics: {line}"));
    (name, value)
}
