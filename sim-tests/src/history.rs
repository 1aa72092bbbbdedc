//! What the application did and what it was told: one record per call, as plain values.
//!
//! Checkers compare this with the cluster's ledger ([`crate::wire`]) and its data ([`crate::truth`]); they never look
//! into the driver.

use crate::plan::{Action, Level};
use std::time::Duration;

/// Identifies one call on the wire: the 8 bytes, big endian, of the custom payload's `nonce`.
///
/// Operations use their id; calls of the laboratory itself use the ranges of [`Nonce::SETUP`] and [`Nonce::PROBE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nonce(pub u64);

impl Nonce {
    /// Calls that prepare the run.
    pub const SETUP: u64 = 1 << 32;
    /// Calls after all faults are healed.
    pub const PROBE: u64 = 2 << 32;

    /// The bytes that go into the payload.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }

    /// The write time that tells the call apart where the protocol has no custom payload: far in the future, in order.
    #[must_use]
    pub fn to_stamp(self) -> i64 {
        Self::STAMPS.saturating_add_unsigned(self.0)
    }

    /// Reads it back; `None` for an ordinary write time.
    #[must_use]
    pub fn from_stamp(stamp: i64) -> Option<Self> {
        u64::try_from(stamp.checked_sub(Self::STAMPS)?).ok().map(Self)
    }

    /// The year 2096, in microseconds: no clock of a run comes near it.
    const STAMPS: i64 = 4_000_000_000_000_000;

    /// Reads it back; `None` if the bytes are not a nonce.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(u64::from_be_bytes).map(Self)
    }
}

impl std::fmt::Display for Nonce {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let low = self.0 & 0xffff_ffff;
        match self.0 & !0xffff_ffff {
            0 => write!(f, "operation {low}"),
            Self::SETUP => write!(f, "setup call {low}"),
            _ => write!(f, "probe {low}"),
        }
    }
}

/// One call of the application. Times count from the start of the simulation.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Its mark on the wire.
    pub nonce: Nonce,
    /// Which session.
    pub client: u32,
    /// What it asked for.
    pub action: Action,
    /// At which level.
    pub level: Level,
    /// When it was submitted.
    pub submitted: Duration,
    /// When it completed; `None` if it never did.
    pub completed: Option<Duration>,
    /// How often it completed; anything but one is a bug.
    pub completions: u32,
    /// The longest wait for one response: of the whole call, or of one page of it.
    pub longest_wait: Duration,
    /// The nonces that came back, one per response; `None` for a response without one.
    pub mirrored: Vec<Option<Nonce>>,
    /// Rows per page that arrived, for paged calls.
    pub pages: Vec<usize>,
    /// What the application was told.
    pub outcome: Option<Result<Answer, Failed>>,
}

impl Call {
    /// Whether the driver reported success.
    #[must_use]
    pub const fn is_ok(&self) -> bool {
        matches!(self.outcome, Some(Ok(_)))
    }

    /// Whether its effect may be in the cluster, by what the application was told.
    #[must_use]
    pub fn may_have_happened(&self) -> bool {
        match &self.outcome {
            Some(Ok(Answer::Registered { applied, .. } | Answer::Swapped { applied, .. })) => *applied,
            Some(Ok(_)) | None => true,
            Some(Err(failed)) => matches!(failed.certainty, Certainty::MaybeApplied | Certainty::Applied),
        }
    }

    /// Whether it completed before `moment`.
    #[must_use]
    pub fn completed_before(&self, moment: Duration) -> bool {
        self.completed.is_some_and(|completed| completed < moment)
    }
}

/// What a successful call brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A write was acknowledged.
    Written,
    /// A song was read: who it says it is, and which operation wrote it.
    Song(Option<SongRead>),
    /// Entries of a playlist in the order received.
    Entries(Vec<EntryRead>),
    /// A counter's value.
    Plays(i64),
    /// Which keyspace an unqualified name meant: the other one, or the application's own.
    Keyspace {
        /// Whether it is the other one.
        other: bool,
    },
    /// A table was created.
    Changed {
        /// Whether the driver says that all nodes agree.
        agreed: bool,
        /// Whether the session's metadata has the table.
        knows: bool,
    },
    /// A swap was decided.
    Swapped {
        /// Whether this call moved the account.
        applied: bool,
        /// From which version it would.
        expected: i32,
        /// Where the account is now.
        now: AccountRead,
    },
    /// An account was read.
    Account(AccountRead),
    /// All columns of a song that hold texts, by name.
    All(Vec<(String, String)>),
    /// A registration was decided.
    Registered {
        /// Whether this call registered the name.
        applied: bool,
        /// Else the operation that holds it.
        owner: Option<u32>,
    },
}

/// What an account's row says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountRead {
    /// How often it was moved; -1 if there is no row.
    pub version: i32,
    /// The operation that moved it last.
    pub operation: u32,
}

/// What a song's row says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SongRead {
    /// The song its text names; `None` if the row has only tags.
    pub song: Option<u32>,
    /// The operation its title names.
    pub title_of: Option<u32>,
    /// The operation its album names.
    pub album_of: Option<u32>,
    /// Operations that added its tags.
    pub tags: Vec<u32>,
}

/// What an entry's row says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EntryRead {
    /// The clustering column.
    pub order: i32,
    /// The playlist its text names.
    pub playlist: u32,
    /// The order its text names: the same, unless rows are mixed up.
    pub named: i32,
}

/// How sure the driver says it is about a failed call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Certainty {
    /// Nothing was sent.
    NotSent,
    /// The cluster refused it; it has no effect.
    Rejected,
    /// It may have happened, or may yet.
    MaybeApplied,
    /// It happened.
    Applied,
}

/// What a failed call reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// How sure the driver is.
    pub certainty: Certainty,
    /// What kind of error: the variant's name.
    pub kind: String,
    /// The error's text.
    pub message: String,
    /// How many attempts it lists.
    pub attempts: usize,
}

impl Failed {
    /// Whether the caller was told that time ran out on the client's side.
    #[must_use]
    pub fn is_client_timeout(&self) -> bool {
        self.kind.contains("Timeout") && !self.kind.contains("ReadTimeout") && !self.kind.contains("WriteTimeout")
    }
}
