//! Integration tests of the driver's public behaviour, written once and run in two worlds.
//!
//! A test is an async function over a [`Stage`]: a cluster that it may break, a keyspace of its own, sessions. The
//! simulated world ([`simulated`]) runs every test on a fresh simulated cluster in virtual time, as part of
//! `cargo test`; `cargo xtask cassandra test` runs the same list on a real Cassandra. No test knows which world it is in:
//! what only one of them can do is a [`Capability`] that the test declares, and a world without it skips the test and
//! says why.
//!
//! # Invariants
//!
//! - Time passes through `helenus::env` only, randomness comes from the stage: a run in the simulated world is
//!   reproducible.
//! - A test leaves no session open: the stage closes what was connected through it.

mod cluster;
pub mod distributed;
pub mod events;
mod execution;
mod failures;
mod load;
mod metadata;
mod misuse;
mod paging;
mod pinned;
mod protocol;
mod recorded;
mod requests;
mod restarts;
mod roles;
pub mod simulated;
mod stage;
mod statements;
mod topology;
mod values;

pub use cluster::{Capability, Change, IN_FLIGHT_BYTES_MAX, Member, Release, TestCluster, WorldError};
pub use pinned::Pinned;
pub use recorded::Table;
pub use stage::{Background, Stage};

use std::pin::Pin;

/// How a test ends. What is wrong is either an error of the driver or a failed assertion.
pub type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// One test.
#[derive(Clone, Copy)]
pub struct Test {
    /// The file it is in.
    pub subject: &'static str,
    /// A sentence that is true when it passes, with underscores.
    pub name: &'static str,
    /// What it needs.
    pub needs: Needs,
    /// The test. Its future stays on the thread that runs it; its sessions' tasks need not.
    pub run: fn(Stage) -> Pin<Box<dyn Future<Output = Outcome>>>,
}

impl Test {
    /// `subject::name`, as filters and reports know it.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{}::{}", self.subject, self.name)
    }
}

/// The ring that a test runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ring {
    /// Three nodes in one data centre, everybody may do everything.
    Plain,
    /// One node that demands a password: the user `cassandra` with the password `cassandra`.
    Password,
    /// Two data centres, `datacenter1` with two nodes and `datacenter2` with one.
    TwoDatacenters,
}

impl Ring {
    /// The data centres with their numbers of nodes.
    #[must_use]
    pub const fn datacenters(self) -> &'static [(&'static str, u8)] {
        match self {
            Self::Plain => &[("datacenter1", 3)],
            Self::Password => &[("datacenter1", 1)],
            Self::TwoDatacenters => &[("datacenter1", 2), ("datacenter2", 1)],
        }
    }

    /// Whether clients must log in.
    #[must_use]
    pub const fn is_authenticated(self) -> bool {
        matches!(self, Self::Password)
    }
}

/// What a test needs of its world.
#[derive(Clone, Copy, Debug)]
pub struct Needs {
    /// The ring.
    pub ring: Ring,
    /// Whether it kills, pauses, cuts off, adds or removes nodes: it has the ring for itself, and the ring is mended
    /// after it.
    pub is_disruptive: bool,
    /// What the world must be able to do.
    pub capabilities: &'static [Capability],
    /// The oldest release on which it holds.
    pub since: Release,
}

impl Needs {
    /// Three nodes that stay as they are.
    pub const PLAIN: Self =
        Self { ring: Ring::Plain, is_disruptive: false, capabilities: &[], since: Release::new(4, 0) };
    /// Three nodes that the test kills, pauses or restarts.
    pub const BREAKING: Self = Self { is_disruptive: true, ..Self::PLAIN };
    /// A node that demands a password.
    pub const PASSWORD: Self = Self { ring: Ring::Password, ..Self::PLAIN };
    /// Two data centres.
    pub const TWO_DATACENTERS: Self = Self { ring: Ring::TwoDatacenters, ..Self::PLAIN };

    /// The same, in a world that can do all of `capabilities`.
    #[must_use]
    pub const fn with(self, capabilities: &'static [Capability]) -> Self {
        Self { capabilities, ..self }
    }

    /// The same, for releases from `major.minor` on.
    #[must_use]
    pub const fn since(self, major: u8, minor: u8) -> Self {
        Self { since: Release::new(major, minor), ..self }
    }

    /// Why this world cannot run the test, as a sentence; `None` if it can.
    #[must_use]
    pub fn missing(&self, cluster: &dyn TestCluster) -> Option<String> {
        if cluster.release() < self.since {
            return Some(format!("needs Cassandra {} or newer", self.since));
        }
        let missing = self.capabilities.iter().find(|capability| !cluster.can(**capability))?;
        Some(format!("{missing} is not possible here"))
    }
}

/// Every test, in the order in which they are written.
#[must_use]
pub fn all() -> Vec<Test> {
    let statements =
        [statements::TESTS, values::TESTS, requests::TESTS, paging::TESTS, execution::TESTS, misuse::TESTS];
    let cluster = [protocol::TESTS, roles::TESTS, topology::TESTS, metadata::TESTS, restarts::TESTS, failures::TESTS];
    [statements.concat(), cluster.concat()].concat()
}

/// Lists the tests of a subject: `name` or `name: needs`.
macro_rules! subject {
    ($subject:literal; $($name:ident $(: $needs:expr)?),* $(,)?) => {
        /// The tests of this subject.
        pub(super) const TESTS: &[$crate::suite::Test] = &[$($crate::suite::Test {
            subject: $subject,
            name: stringify!($name),
            needs: subject!(@needs $($needs)?),
            run: |stage| Box::pin($name(stage)),
        }),*];
    };
    (@needs) => { $crate::suite::Needs::PLAIN };
    (@needs $needs:expr) => { $needs };
}
use subject;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_test_has_a_path_of_its_own() {
        let tests = all();
        let paths: BTreeSet<_> = tests.iter().map(Test::path).collect();
        assert_eq!(paths.len(), tests.len());
    }
}
