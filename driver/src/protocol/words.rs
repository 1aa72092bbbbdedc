//! The protocol's enumerations: opcodes, consistency levels, batch and write types.
//!
//! # Source
//!
//! Native protocol v5, sections 2.4 (opcodes), 3 (`[consistency]`), 4.1.7 (batch), 9 (write type).

use std::fmt;

/// What an envelope contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Opcode {
    /// Response: the request failed.
    Error,
    /// Request: initialises the connection.
    Startup,
    /// Response: the connection is initialised.
    Ready,
    /// Response: credentials are wanted.
    Authenticate,
    /// Request: which options are there.
    Options,
    /// Response: these options.
    Supported,
    /// Request: a statement as text.
    Query,
    /// Response: the outcome of a statement.
    Result,
    /// Request: parse a statement and keep it.
    Prepare,
    /// Request: run a prepared statement.
    Execute,
    /// Request: subscribe to events.
    Register,
    /// From the server, unasked: something changed.
    Event,
    /// Request: several statements.
    Batch,
    /// Response: another round of authentication.
    AuthChallenge,
    /// Request: credentials.
    AuthResponse,
    /// Response: authentication succeeded.
    AuthSuccess,
    /// None of the above.
    Unknown(u8),
}

impl Opcode {
    /// The opcode with this number.
    pub fn from_wire(raw: u8) -> Self {
        match raw {
            0x00 => Self::Error,
            0x01 => Self::Startup,
            0x02 => Self::Ready,
            0x03 => Self::Authenticate,
            0x05 => Self::Options,
            0x06 => Self::Supported,
            0x07 => Self::Query,
            0x08 => Self::Result,
            0x09 => Self::Prepare,
            0x0A => Self::Execute,
            0x0B => Self::Register,
            0x0C => Self::Event,
            0x0D => Self::Batch,
            0x0E => Self::AuthChallenge,
            0x0F => Self::AuthResponse,
            0x10 => Self::AuthSuccess,
            other => Self::Unknown(other),
        }
    }

    /// The opcode's number.
    pub fn to_wire(self) -> u8 {
        match self {
            Self::Error => 0x00,
            Self::Startup => 0x01,
            Self::Ready => 0x02,
            Self::Authenticate => 0x03,
            Self::Options => 0x05,
            Self::Supported => 0x06,
            Self::Query => 0x07,
            Self::Result => 0x08,
            Self::Prepare => 0x09,
            Self::Execute => 0x0A,
            Self::Register => 0x0B,
            Self::Event => 0x0C,
            Self::Batch => 0x0D,
            Self::AuthChallenge => 0x0E,
            Self::AuthResponse => 0x0F,
            Self::AuthSuccess => 0x10,
            Self::Unknown(other) => other,
        }
    }
}

/// How many replicas must answer before a request succeeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u16)]
pub enum Consistency {
    /// Writes only: any node, even one that only stores a hint.
    Any = 0x00,
    /// One replica.
    One = 0x01,
    /// Two replicas.
    Two = 0x02,
    /// Three replicas.
    Three = 0x03,
    /// A majority of all replicas.
    Quorum = 0x04,
    /// All replicas.
    All = 0x05,
    /// A majority of the replicas in the coordinator's datacenter.
    LocalQuorum = 0x06,
    /// A majority of the replicas in every datacenter.
    EachQuorum = 0x07,
    /// Reads only: linearizable, across datacenters.
    Serial = 0x08,
    /// Reads only: linearizable, within the coordinator's datacenter.
    LocalSerial = 0x09,
    /// One replica in the coordinator's datacenter.
    LocalOne = 0x0A,
}

impl Consistency {
    /// The level with this number.
    pub fn from_wire(raw: u16) -> Option<Self> {
        Some(match raw {
            0x00 => Self::Any,
            0x01 => Self::One,
            0x02 => Self::Two,
            0x03 => Self::Three,
            0x04 => Self::Quorum,
            0x05 => Self::All,
            0x06 => Self::LocalQuorum,
            0x07 => Self::EachQuorum,
            0x08 => Self::Serial,
            0x09 => Self::LocalSerial,
            0x0A => Self::LocalOne,
            _ => return None,
        })
    }

    /// The level's number.
    pub fn to_wire(self) -> u16 {
        self as u16
    }

    /// Whether this is one of the two linearizable levels.
    pub fn is_serial(self) -> bool {
        matches!(self, Self::Serial | Self::LocalSerial)
    }

    /// The level's name in CQL tools.
    pub fn name(self) -> &'static str {
        match self {
            Self::Any => "ANY",
            Self::One => "ONE",
            Self::Two => "TWO",
            Self::Three => "THREE",
            Self::Quorum => "QUORUM",
            Self::All => "ALL",
            Self::LocalQuorum => "LOCAL_QUORUM",
            Self::EachQuorum => "EACH_QUORUM",
            Self::Serial => "SERIAL",
            Self::LocalSerial => "LOCAL_SERIAL",
            Self::LocalOne => "LOCAL_ONE",
        }
    }
}

impl fmt::Display for Consistency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The level at which the condition of a conditional statement is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SerialConsistency {
    /// Across datacenters.
    Serial,
    /// Within the coordinator's datacenter.
    LocalSerial,
}

impl From<SerialConsistency> for Consistency {
    fn from(serial: SerialConsistency) -> Self {
        match serial {
            SerialConsistency::Serial => Self::Serial,
            SerialConsistency::LocalSerial => Self::LocalSerial,
        }
    }
}

/// The kind of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BatchType {
    /// All statements take effect or none: the batch is logged on two replicas first.
    Logged,
    /// No such guarantee, and no log.
    Unlogged,
    /// Counter updates only.
    Counter,
}

impl BatchType {
    /// The type's number.
    pub fn to_wire(self) -> u8 {
        match self {
            Self::Logged => 0,
            Self::Unlogged => 1,
            Self::Counter => 2,
        }
    }
}

/// What a failed write was.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WriteType {
    /// A write to one partition.
    Simple,
    /// A logged batch, after its log was written.
    Batch,
    /// An unlogged batch.
    UnloggedBatch,
    /// A counter update.
    Counter,
    /// The log of a logged batch.
    BatchLog,
    /// The Paxos part of a conditional write.
    Cas,
    /// A materialised view.
    View,
    /// A table with change data capture whose space is full.
    Cdc,
    /// None of the above.
    Other(String),
}

impl WriteType {
    /// The type with this name.
    pub fn from_wire(name: &str) -> Self {
        match name {
            "SIMPLE" => Self::Simple,
            "BATCH" => Self::Batch,
            "UNLOGGED_BATCH" => Self::UnloggedBatch,
            "COUNTER" => Self::Counter,
            "BATCH_LOG" => Self::BatchLog,
            "CAS" => Self::Cas,
            "VIEW" => Self::View,
            "CDC" => Self::Cdc,
            other => Self::Other(other.to_owned()),
        }
    }
}

/// Events a connection can register for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventKind {
    /// Nodes joined or left.
    TopologyChange,
    /// Nodes went up or down.
    StatusChange,
    /// The schema changed.
    SchemaChange,
}

impl EventKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::TopologyChange, Self::StatusChange, Self::SchemaChange];

    /// The kind's name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::TopologyChange => "TOPOLOGY_CHANGE",
            Self::StatusChange => "STATUS_CHANGE",
            Self::SchemaChange => "SCHEMA_CHANGE",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_opcode_and_consistency_level_keeps_its_number() {
        for raw in 0..=u8::MAX {
            assert_eq!(Opcode::from_wire(raw).to_wire(), raw);
        }
        for raw in 0..=0x0A {
            assert_eq!(Consistency::from_wire(raw).map(Consistency::to_wire), Some(raw));
        }
        assert_eq!(Consistency::from_wire(0x0B), None);
    }
}
