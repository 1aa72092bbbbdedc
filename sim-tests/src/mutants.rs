//! Planted driver bugs: what the laboratory must find, and which checkers are expected to find it.
//!
//! The bugs are compiled into the driver by the feature `mutants` and are dormant until one is planted, once per
//! process. The share of them that a campaign finds is the score of the laboratory.

use std::fmt;

/// One planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mutant {
    /// Its name on the command line; the first part names its ancestor in other drivers' trackers.
    pub id: &'static str,
    /// What goes wrong.
    pub description: &'static str,
    /// The checkers that may find it; finding it by another is luck, not coverage.
    pub expected: &'static [&'static str],
}

/// The name of the mutant that every run must fail with.
pub const CANARY: &str = "canary";

/// Every mutant.
pub const MUTANTS: [Mutant; 33] = [
    Mutant {
        id: CANARY,
        description: "nothing is wrong with the driver, the laboratory itself fails every run: the alarm works",
        expected: &["CANARY"],
    },
    Mutant {
        id: "A01-stream-id-freed-at-timeout",
        description: "a stream id returns to the free list when its caller times out, before the late answer",
        expected: &["I1", "I3"],
    },
    Mutant {
        id: "A12-connection-loss-forgets-waiters",
        description: "when a connection dies one of its waiting calls is not told",
        expected: &["I2", "I27"],
    },
    Mutant {
        id: "D13-heartbeat-timeout-ignored",
        description: "a connection whose heartbeat is not answered is kept",
        expected: &["I26"],
    },
    Mutant {
        id: "B01-non-idempotent-write-retried",
        description: "the retry policy never looks at the idempotence flag",
        expected: &["I8"],
    },
    Mutant {
        id: "B03-maybe-executed-forgotten",
        description: "after a reset the error says that nothing happened",
        expected: &["I48", "I8"],
    },
    Mutant {
        id: "C01-pool-not-refilled-after-loss",
        description: "a pool that lost its connections waits for an UP event that may never come",
        expected: &["I19", "I47"],
    },
    Mutant {
        id: "D11-no-refresh-after-control-reconnect",
        description: "a new control connection registers for events but does not read what was missed",
        expected: &["I30", "I19"],
    },
    Mutant {
        id: "N01-empty-page-ends-scan",
        description: "a page without rows is taken for the end of the scan",
        expected: &["I39"],
    },
    Mutant {
        id: "Q01-close-leaves-control-task",
        description: "closing a session leaves the task of its control connection",
        expected: &["I43"],
    },
    Mutant {
        id: "A17-foreign-answer-ignored",
        description: "an answer on a stream that nobody uses is thrown away and the connection kept",
        expected: &["I5"],
    },
    Mutant {
        id: "B08-retry-at-a-weaker-level",
        description: "a retry asks for ONE, whatever the application asked for",
        expected: &["I12", "I48"],
    },
    Mutant {
        id: "B19-new-timestamp-per-attempt",
        description: "each attempt of a call gets a timestamp of its own",
        expected: &["I14"],
    },
    Mutant {
        id: "C07-back-off-does-not-grow",
        description: "a pool dials again at once after every failure",
        expected: &["I25"],
    },
    Mutant {
        id: "D12-register-after-reading",
        description: "a control connection registers for events after it has read the nodes",
        expected: &["I29"],
    },
    Mutant {
        id: "E13-removed-node-keeps-its-pool",
        description: "the pool of a node that left is not stopped",
        expected: &["I21", "I22", "I43"],
    },
    Mutant {
        id: "E19-schema-events-ignored",
        description: "schema changes of others are not read",
        expected: &["I30"],
    },
    Mutant {
        id: "F01-moved-node-keeps-its-pool",
        description: "a node that moved keeps the pool that dials its old address",
        expected: &["I22", "I19"],
    },
    Mutant {
        id: "G05-racks-ignored",
        description: "replicas are taken in ring order, whatever their racks",
        expected: &["I17"],
    },
    Mutant {
        id: "H05-agreement-not-waited-for",
        description: "a schema change is called agreed without asking anybody",
        expected: &["I35"],
    },
    Mutant {
        id: "L11-cancelled-call-frees-its-stream",
        description: "a call that the application drops frees its stream id at once",
        expected: &["I1", "I3", "I5"],
    },
    Mutant {
        id: "M04-payload-checksum-ignored",
        description: "a segment is used although its checksum is wrong",
        expected: &["I5"],
    },
    Mutant {
        id: "O07-speculation-of-writes",
        description: "calls that are not idempotent are executed in parallel as well",
        expected: &["I8", "I15"],
    },
    Mutant {
        id: "P12-executed-again-without-preparing",
        description: "after UNPREPARED the statement is executed again without having been prepared",
        expected: &["I36"],
    },
    Mutant {
        id: "R04-timestamps-follow-the-clock",
        description: "timestamps are what the clock shows, forwards and backwards",
        expected: &["I14"],
    },
    Mutant {
        id: "A02-full-before-it-is",
        description: "a connection calls itself full while there is room for one more request",
        expected: &["I6"],
    },
    Mutant {
        id: "A09-late-answer-leaves-its-count",
        description: "a late answer frees its stream id and stays counted as owed",
        expected: &["I4"],
    },
    Mutant {
        id: "A20-dropped-call-stays-counted",
        description: "a call that the application drops stays counted as running",
        expected: &["I7"],
    },
    Mutant {
        id: "D09-control-queries-without-limit",
        description: "questions of the control connection have no limit of their own",
        expected: &["I33", "I30"],
    },
    Mutant {
        id: "D15-reader-waits-for-its-callers",
        description: "the reader of a connection pauses after each answer",
        expected: &["I34"],
    },
    Mutant {
        id: "D16-missing-nodes-believed-at-once",
        description: "a list of nodes that leaves out connected ones is believed at once",
        expected: &["I32"],
    },
    Mutant {
        id: "K02-new-connections-keep-the-old-keyspace",
        description: "connections opened after a change of the keyspace do not have it",
        expected: &["I38"],
    },
    Mutant {
        id: "M09-unreadable-answer-taken-for-empty",
        description: "an answer that cannot be read counts as one without rows",
        expected: &["I40", "I48"],
    },
];

/// Why a mutant could not be planted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlantError {
    /// There is none of that name.
    Unknown(String),
    /// The driver was compiled without planted bugs.
    NotCompiled,
}

impl fmt::Display for PlantError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(id) => {
                write!(f, "there is no mutant {id:?}: use one of")?;
                for mutant in MUTANTS {
                    write!(f, " {}", mutant.id)?;
                }
                Ok(())
            }
            Self::NotCompiled => {
                f.write_str("this build has no planted bugs: build sim-tests with the feature `mutants`")
            }
        }
    }
}

impl std::error::Error for PlantError {}

/// Looks a mutant up by its id.
#[must_use]
pub fn find(id: &str) -> Option<&'static Mutant> {
    MUTANTS.iter().find(|mutant| mutant.id == id)
}

/// Whether the canary was planted in this process.
static CANARY_PLANTED: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

pub(crate) fn is_canary_planted() -> bool {
    CANARY_PLANTED.load(std::sync::atomic::Ordering::Relaxed)
}

/// Plants a mutant for all later runs of this process, in place of any other; `None` removes it.
///
/// # Errors
///
/// [`PlantError::Unknown`], or [`PlantError::NotCompiled`] for every mutant but the canary without the feature
/// `mutants`.
pub fn plant(id: Option<&str>) -> Result<(), PlantError> {
    if let Some(id) = id
        && find(id).is_none()
    {
        return Err(PlantError::Unknown(id.to_owned()));
    }
    plant_in_driver(id.filter(|id| *id != CANARY))?;
    CANARY_PLANTED.store(id == Some(CANARY), std::sync::atomic::Ordering::Relaxed);
    Ok(())
}

#[cfg(feature = "mutants")]
fn plant_in_driver(id: Option<&str>) -> Result<(), PlantError> {
    helenus::env::mutants::plant(id).map_err(|_| PlantError::Unknown(id.unwrap_or_default().to_owned()))
}

#[cfg(not(feature = "mutants"))]
fn plant_in_driver(id: Option<&str>) -> Result<(), PlantError> {
    id.map_or(Ok(()), |_| Err(PlantError::NotCompiled))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mutant_of_the_driver_is_listed_and_the_other_way() {
        let mut listed: Vec<&str> = MUTANTS.iter().map(|mutant| mutant.id).filter(|id| *id != CANARY).collect();
        let mut known = helenus::env::mutants::ALL.to_vec();
        listed.sort_unstable();
        known.sort_unstable();
        assert_eq!(listed, known);
    }

    #[test]
    fn unknown_mutants_are_refused_with_the_list() {
        let error = plant(Some("Z99")).expect_err("no such mutant");
        assert!(error.to_string().contains("A01-stream-id-freed-at-timeout"), "{error}");
    }
}
