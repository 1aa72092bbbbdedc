//! Planted bugs, for measuring whether the laboratory finds them.
//!
//! A planted bug is one readable line in the code it breaks, guarded by [`is_planted`]. Without
//! the feature `mutants` the guard is constantly false and the compiler removes the line. At most
//! one bug is planted per process.

/// Every planted bug the driver knows, by id.
pub const ALL: &[&str] = &[
    "A01-stream-id-freed-at-timeout",
    "A02-full-before-it-is",
    "A09-late-answer-leaves-its-count",
    "A12-connection-loss-forgets-waiters",
    "A17-foreign-answer-ignored",
    "A20-dropped-call-stays-counted",
    "B01-non-idempotent-write-retried",
    "B03-maybe-executed-forgotten",
    "B08-retry-at-a-weaker-level",
    "B19-new-timestamp-per-attempt",
    "C01-pool-not-refilled-after-loss",
    "C07-back-off-does-not-grow",
    "D09-control-queries-without-limit",
    "D11-no-refresh-after-control-reconnect",
    "D12-register-after-reading",
    "D13-heartbeat-timeout-ignored",
    "D15-reader-waits-for-its-callers",
    "D16-missing-nodes-believed-at-once",
    "E13-removed-node-keeps-its-pool",
    "E19-schema-events-ignored",
    "F01-moved-node-keeps-its-pool",
    "G05-racks-ignored",
    "H05-agreement-not-waited-for",
    "K02-new-connections-keep-the-old-keyspace",
    "L11-cancelled-call-frees-its-stream",
    "M04-payload-checksum-ignored",
    "M09-unreadable-answer-taken-for-empty",
    "N01-empty-page-ends-scan",
    "O07-speculation-of-writes",
    "P12-executed-again-without-preparing",
    "Q01-close-leaves-control-task",
    "R04-timestamps-follow-the-clock",
];

/// Whether the bug `id` is planted in this process.
#[cfg(not(feature = "mutants"))]
#[inline(always)]
pub const fn is_planted(id: &str) -> bool {
    let _ = id;
    false
}

/// Whether the bug `id` is planted in this process.
#[cfg(feature = "mutants")]
pub fn is_planted(id: &str) -> bool {
    debug_assert!(ALL.contains(&id), "unlisted mutant {id}");
    ALL.get(planted::SELECTED.load(std::sync::atomic::Ordering::Relaxed)) == Some(&id)
}

/// Plants the bug `id` for the rest of the process, in place of any other. `None` removes it.
///
/// # Errors
///
/// [`UnknownMutant`] if `id` is not in [`ALL`]; nothing changes.
#[cfg(feature = "mutants")]
pub fn plant(id: Option<&str>) -> Result<(), UnknownMutant> {
    let index = match id {
        None => usize::MAX,
        Some(id) => ALL.iter().position(|known| *known == id).ok_or(UnknownMutant)?,
    };
    planted::SELECTED.store(index, std::sync::atomic::Ordering::Relaxed);
    Ok(())
}

/// The id given to `plant` is not one of [`ALL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownMutant;

impl std::fmt::Display for UnknownMutant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("no planted bug has this id")
    }
}

impl std::error::Error for UnknownMutant {}

#[cfg(feature = "mutants")]
mod planted {
    /// Index into `ALL`; beyond its end when nothing is planted.
    pub(super) static SELECTED: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(usize::MAX);
}
