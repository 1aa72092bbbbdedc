//! What coordinators ask of replicas, and what these answer.

use crate::kernel::NodeId;
use crate::storage::{Mutation, PartitionKey, ReadAnswer, ReadCommand};
use std::time::Duration;
use uuid::Uuid;

/// Identifies one question of a coordinator, so that the reply finds its way back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QuestionId(pub u64);

/// What a coordinator asks of a replica.
#[derive(Clone, Debug)]
pub enum Question {
    /// Merge this.
    Write(Mutation),
    /// Merge what this replica was found to lack when it was read.
    ReadRepair(Mutation),
    /// Merge a write that was kept while this replica was away.
    Hint {
        /// The write.
        mutation: Mutation,
        /// When it was kept, in microseconds since 1970: a later truncation wins.
        written_at: i64,
    },
    /// Apply increments as leader; the reply carries the resulting shards.
    CounterWrite(Mutation),
    /// Read the data.
    Read(ReadCommand),
    /// Read, but answer only a digest.
    ReadDigest(ReadCommand),
    /// Forget all data of a table.
    Truncate(Uuid),
    /// Paxos: promise to refuse everything up to this ballot.
    Prepare {
        /// The partition that is decided about.
        register: Register,
        /// The round.
        ballot: Ballot,
    },
    /// Paxos: accept this, unless something newer was promised.
    Propose(Proposal),
    /// Paxos: this was decided, apply it.
    Commit(Proposal),
    /// Keep a logged batch until it is removed, and replay it if that does not happen.
    BatchlogStore {
        /// Chosen by the coordinator.
        id: Uuid,
        /// The coordinator's clock, in microseconds since 1970: a later truncation wins.
        written_at: i64,
        /// All changes of the batch, with their timestamps.
        mutations: Vec<Mutation>,
    },
    /// The batch was applied everywhere, or somebody else sees to it.
    BatchlogRemove(Uuid),
    /// A node to itself: which batches have been kept for so long that their coordinator must have failed?
    BatchlogDue {
        /// For how long.
        older_than: Duration,
    },
}

impl Question {
    /// Roughly its size in bytes, for bandwidth.
    #[must_use]
    pub fn size(&self) -> usize {
        HEADER
            + match self {
                Self::Write(mutation) | Self::ReadRepair(mutation) | Self::CounterWrite(mutation) => mutation.size(),
                Self::Hint { mutation, .. } => 8 + mutation.size(),
                Self::Read(command) | Self::ReadDigest(command) => command_size(command),
                Self::Truncate(_) | Self::BatchlogRemove(_) => 16,
                Self::Prepare { register, .. } => 40 + register.key.len(),
                Self::Propose(proposal) | Self::Commit(proposal) => proposal.size(),
                Self::BatchlogStore { mutations, .. } => 24 + mutations.iter().map(Mutation::size).sum::<usize>(),
                Self::BatchlogDue { .. } => 8,
            }
    }
}

/// What a replica answers.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Done.
    Done,
    /// Increments applied; these shards are to be written to the other replicas.
    CounterShards(Mutation),
    /// The data.
    Data(ReadAnswer),
    /// Its digest.
    Digest([u8; 16]),
    /// Not done, and why, as one of the protocol's failure reason codes.
    Failed(u16),
    /// To [`Question::Prepare`].
    Promise(Box<Promise>),
    /// To [`Question::Propose`]: accepted or refused.
    Accepted(bool),
    /// To [`Question::BatchlogDue`].
    Batches(Vec<StoredBatch>),
}

impl Reply {
    /// Roughly its size in bytes, for bandwidth.
    #[must_use]
    pub fn size(&self) -> usize {
        HEADER
            + match self {
                Self::Done => 0,
                Self::Failed(_) => 2,
                Self::Accepted(_) => 1,
                Self::CounterShards(mutation) => mutation.size(),
                Self::Data(answer) => answer_size(answer),
                Self::Digest(digest) => digest.len(),
                Self::Promise(promise) => {
                    let proposals = promise.accepted.iter().chain(&promise.committed);
                    32 + proposals.map(Proposal::size).sum::<usize>()
                }
                Self::Batches(batches) => {
                    batches.iter().flat_map(|batch| &batch.mutations).map(Mutation::size).sum::<usize>()
                }
            }
    }
}

/// Verb, ids and checksum of a message between nodes.
const HEADER: usize = 32;

fn command_size(command: &ReadCommand) -> usize {
    use crate::storage::ReadTarget;
    let target = match &command.target {
        ReadTarget::Partition(key) => key.len(),
        ReadTarget::Range(_) => 16,
    };
    // Table id, limits and the filter; the column names are not sent.
    64 + command.keyspace.len() + target
}

fn answer_size(answer: &ReadAnswer) -> usize {
    answer.partitions.iter().map(|(key, partition)| key.len() + partition.size()).sum()
}

/// The failure reason codes of the protocol that replicas give.
pub mod reason {
    /// Nothing known.
    pub const UNKNOWN: u16 = 0;
    /// The replica did not answer in time.
    pub const TIMEOUT: u16 = 2;
    /// The replica does not know the table.
    pub const INCOMPATIBLE_SCHEMA: u16 = 3;
}

/// What paxos decides about: one partition of one table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Register {
    /// The table's id.
    pub table: Uuid,
    /// The partition.
    pub key: PartitionKey,
}

/// The number of a paxos round. The microseconds are also the write time of what the round decides.
///
/// Two coordinators may choose the same microsecond; then only one of them finds a quorum of promises (see
/// [`super::Replica`]), so that no two decided updates of a partition have the same write time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ballot {
    /// Microseconds since 1970 by the coordinator's clock, strictly increasing per coordinator.
    pub micros: i64,
    /// The coordinator.
    pub node: NodeId,
    /// Different for each round of that coordinator, also after its restart with a clock that went back.
    pub round: u64,
}

/// A value for a register, in one round.
#[derive(Clone, Debug)]
pub struct Proposal {
    /// The partition.
    pub register: Register,
    /// The round.
    pub ballot: Ballot,
    /// The change; `None` changes nothing (conditions did not hold, or a SERIAL read).
    pub update: Option<Mutation>,
}

impl Proposal {
    fn size(&self) -> usize {
        40 + self.register.key.len() + self.update.as_ref().map_or(0, Mutation::size)
    }
}

/// What a replica answers to a prepare.
#[derive(Clone, Debug)]
pub struct Promise {
    /// Whether it promised.
    pub promised: bool,
    /// The highest ballot it has promised, now or earlier.
    pub ballot: Ballot,
    /// What it has accepted since the last commit it knows.
    pub accepted: Option<Proposal>,
    /// The last commit it knows.
    pub committed: Option<Proposal>,
}

/// A logged batch as a replica keeps it.
#[derive(Clone, Debug)]
pub struct StoredBatch {
    /// Chosen by its coordinator.
    pub id: Uuid,
    /// Its coordinator's clock, in microseconds since 1970.
    pub written_at: i64,
    /// All its changes that no truncation has made void.
    pub mutations: Vec<Mutation>,
}
