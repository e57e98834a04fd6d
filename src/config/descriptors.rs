//! [`Descriptors`]: how the limit of open files (`RLIMIT_NOFILE`, `getrlimit(2)`) is divided among
//! connections, pipes and the server itself. Pure.
//!
//! Connections have priority: without a pipe a body is copied, without a descriptor a client is refused.
//! So if descriptors are few, pipes get a bounded part of them, and less if `--max-connections` asks for
//! more connections.

use std::fmt;

use crate::limits::{
    CONNECTIONS_MIN, FILES_WARNED_BELOW, OVER_LIMIT_CONNECTIONS, OVER_LIMIT_PART, PIPES_MAX,
    PIPES_PART, RESERVED_FILES, RESERVED_FILES_PER_SHARD,
};

/// One descriptor for each end.
const FILES_PER_PIPE: usize = 2;

/// The parts of the limit. Together with the reserve they do not exceed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptors {
    /// The limit of open files.
    pub limit: usize,
    /// Connections of all shards. Fewer than [`CONNECTIONS_MIN`] only if asked for.
    pub connections_max: usize,
    /// Connections beyond `connections_max`, of all shards, that are accepted and receive 503.
    pub over_limit_max: usize,
    /// Pipes of each shard; may be 0.
    pub pipes_max: usize,
    pub shards: usize,
}

/// Why the limit of open files is too low.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TooFew {
    /// It does not allow [`CONNECTIONS_MIN`] connections.
    ForAny {
        /// The lowest limit at which the server starts.
        needed: usize,
    },
    /// It does not allow the connections that `--max-connections` asks for.
    ForWanted {
        /// The most connections that it allows.
        possible: usize,
    },
}

impl Descriptors {
    /// Divides `limit` descriptors among `shards` shards, at least one. `extra`: descriptors that the
    /// server needs beside its reserve. `wanted`: the value of `--max-connections`; `None`: as many
    /// connections as fit beside the pipes.
    ///
    /// # Errors
    /// The limit is too low for `wanted`, or for a useful server.
    pub fn share_out(
        limit: usize,
        shards: usize,
        extra: usize,
        wanted: Option<usize>,
    ) -> Result<Self, TooFew> {
        let for_shards = shards.saturating_mul(RESERVED_FILES_PER_SHARD);
        let reserved = RESERVED_FILES
            .saturating_add(for_shards)
            .saturating_add(extra);
        let left = limit.saturating_sub(reserved);
        let over_limit_max = (left / OVER_LIMIT_PART).min(OVER_LIMIT_CONNECTIONS);
        // For connections and pipes together.
        let left = left - over_limit_max;
        if left < CONNECTIONS_MIN {
            return Err(TooFew::ForAny {
                needed: reserved + CONNECTIONS_MIN + CONNECTIONS_MIN / (OVER_LIMIT_PART - 1),
            });
        }
        let per_pipe_each = FILES_PER_PIPE.saturating_mul(shards);
        let for_pipes = match wanted {
            Some(wanted) if wanted > left => return Err(TooFew::ForWanted { possible: left }),
            Some(wanted) => left - wanted,
            None => (left / PIPES_PART).min(left - CONNECTIONS_MIN),
        };
        let pipes_max = (for_pipes / per_pipe_each).min(PIPES_MAX);
        Ok(Self {
            limit,
            connections_max: wanted.unwrap_or(left - pipes_max * per_pipe_each),
            over_limit_max,
            pipes_max,
            shards,
        })
    }

    /// Whether the limit restricts the server so much that the operator should know.
    #[must_use]
    pub fn are_few(&self) -> bool {
        self.limit < FILES_WARNED_BELOW || self.pipes_max < PIPES_MAX
    }
}

/// How to raise the limit.
const ADVICE: &str = "raise it: LimitNOFILE= in a systemd unit, --ulimit nofile= of a container, ulimit -n in a shell";

impl fmt::Display for Descriptors {
    /// One line for the log: the limit, its consequences, and what to do.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            limit,
            connections_max,
            pipes_max,
            shards,
            ..
        } = self;
        write!(
            f,
            "few descriptors: a limit of {limit} open files leaves {connections_max} connections \
             and {pipes_max} of {PIPES_MAX} pipes on each of {shards} shards (bodies beyond them \
             are copied instead of spliced); {ADVICE}"
        )
    }
}

impl TooFew {
    /// One line for the operator.
    #[must_use]
    pub fn describe(self, limit: usize, shards: usize) -> String {
        match self {
            Self::ForAny { needed } => format!(
                "a limit of {limit} open files is too low for {shards} shards, which need {needed} \
                 at least; {ADVICE}; or use fewer --threads"
            ),
            Self::ForWanted { possible } => format!(
                "at most {possible} are possible with a limit of {limit} open files; {ADVICE}; or \
                 ask for less"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spent(descriptors: &Descriptors) -> usize {
        RESERVED_FILES
            + descriptors.shards
                * (RESERVED_FILES_PER_SHARD + FILES_PER_PIPE * descriptors.pipes_max)
            + descriptors.connections_max
            + descriptors.over_limit_max
    }

    #[test]
    fn what_is_shared_out_fits_the_limit_and_leaves_little_unused() {
        for shards in [1, 2, 3, 16, 64, 1024] {
            for limit in (0..30_000).step_by(7) {
                let Ok(descriptors) = Descriptors::share_out(limit, shards, 0, None) else {
                    continue;
                };
                assert_eq!(spent(&descriptors), limit, "{descriptors:?}");
                assert!(
                    descriptors.connections_max >= CONNECTIONS_MIN,
                    "{descriptors:?}"
                );
            }
        }
    }

    #[test]
    fn plenty_of_descriptors_go_to_connections_with_every_pipe() {
        let descriptors = Descriptors::share_out(1 << 20, 8, 0, None).expect("plenty");
        assert_eq!(
            (descriptors.pipes_max, descriptors.are_few()),
            (PIPES_MAX, false)
        );
        assert!(descriptors.connections_max > (1 << 20) - 1000);
        let endless = Descriptors::share_out(usize::MAX, 1024, 0, None).expect("no limit at all");
        assert!(endless.connections_max < usize::MAX - OVER_LIMIT_CONNECTIONS);
    }

    #[test]
    fn few_descriptors_go_to_connections_before_pipes() {
        for (limit, shards, connections_min) in [
            (256, 1, 128),
            (256, 2, 100),
            (1024, 2, 750),
            (1024, 16, 400),
        ] {
            let descriptors = Descriptors::share_out(limit, shards, 0, None).expect("enough");
            assert!(
                descriptors.connections_max >= connections_min,
                "{descriptors:?}"
            );
            assert!(
                descriptors.pipes_max > 0 && descriptors.are_few(),
                "{descriptors:?}"
            );
        }
    }

    #[test]
    fn connections_asked_for_by_name_displace_pipes_and_no_more_than_fit_are_granted() {
        let descriptors = Descriptors::share_out(256, 2, 0, Some(150)).expect("enough");
        assert_eq!(descriptors.connections_max, 150);
        assert!(
            descriptors.pipes_max < PIPES_MAX && spent(&descriptors) <= 256,
            "{descriptors:?}"
        );
        let Err(TooFew::ForWanted { possible }) = Descriptors::share_out(256, 2, 0, Some(250))
        else {
            panic!("250 connections out of 256 descriptors");
        };
        let all =
            Descriptors::share_out(256, 2, 0, Some(possible)).expect("it was said to be possible");
        assert_eq!((all.pipes_max, spent(&all)), (0, 256));
    }

    #[test]
    fn a_limit_that_leaves_nothing_useful_is_refused_with_one_that_does() {
        for shards in [1, 2, 16, 1024] {
            let Err(TooFew::ForAny { needed }) = Descriptors::share_out(32, shards, 0, None) else {
                panic!("32 descriptors for {shards} shards");
            };
            assert!(Descriptors::share_out(needed - 1, shards, 0, None).is_err());
            let fewest = Descriptors::share_out(needed, shards, 0, None).expect("enough");
            assert_eq!(fewest.connections_max, CONNECTIONS_MIN, "{fewest:?}");
        }
    }
}
