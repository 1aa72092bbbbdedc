//! EVENT, and the schema change that RESULT shares with it.
//!
//! # Source
//!
//! Native protocol v5, section 4.2.6.

use std::net::SocketAddr;

use crate::protocol::DecodeError;
use crate::protocol::notation::Reader;

/// Something changed in the cluster, as one node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A node joined.
    NodeAdded(SocketAddr),
    /// A node left.
    NodeRemoved(SocketAddr),
    /// A node changed its tokens.
    NodeMoved(SocketAddr),
    /// A node accepts clients.
    NodeUp(SocketAddr),
    /// A node does not.
    NodeDown(SocketAddr),
    /// The schema changed.
    SchemaChange(SchemaChange),
    /// An event this driver does not know: its kind and what happened.
    Unknown(String, String),
}

/// A change of the schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaChange {
    /// What happened.
    pub kind: SchemaChangeKind,
    /// The keyspace it happened to, or in.
    pub keyspace: String,
    /// What it happened to.
    pub target: SchemaTarget,
}

/// What happened to a part of the schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SchemaChangeKind {
    /// It was created.
    Created,
    /// It was altered.
    Updated,
    /// It was dropped.
    Dropped,
}

/// A part of the schema.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SchemaTarget {
    /// The keyspace itself.
    Keyspace,
    /// A table or a view.
    Table(String),
    /// A user-defined type.
    Type(String),
    /// A function.
    Function {
        /// Its name.
        name: String,
        /// Types of its arguments.
        argument_types: Vec<String>,
    },
    /// An aggregate.
    Aggregate {
        /// Its name.
        name: String,
        /// Types of its arguments.
        argument_types: Vec<String>,
    },
}

impl Event {
    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let kind = reader.string()?;
        if kind == "SCHEMA_CHANGE" {
            return SchemaChange::decode(reader).map(Self::SchemaChange);
        }
        let change = reader.string()?;
        match (kind, change) {
            ("TOPOLOGY_CHANGE", "NEW_NODE") => reader.inet().map(Self::NodeAdded),
            ("TOPOLOGY_CHANGE", "REMOVED_NODE") => reader.inet().map(Self::NodeRemoved),
            ("TOPOLOGY_CHANGE", "MOVED_NODE") => reader.inet().map(Self::NodeMoved),
            ("STATUS_CHANGE", "UP") => reader.inet().map(Self::NodeUp),
            ("STATUS_CHANGE", "DOWN") => reader.inet().map(Self::NodeDown),
            _ => Ok(Self::Unknown(kind.to_owned(), change.to_owned())),
        }
    }
}

impl SchemaChange {
    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let kind = match reader.string()? {
            "CREATED" => SchemaChangeKind::Created,
            "UPDATED" => SchemaChangeKind::Updated,
            "DROPPED" => SchemaChangeKind::Dropped,
            _ => return Err(DecodeError::UnknownValue { what: "schema change", value: 0 }),
        };
        let target = reader.string()?;
        let keyspace = reader.string()?.to_owned();
        let target = match target {
            "KEYSPACE" => SchemaTarget::Keyspace,
            "TABLE" => SchemaTarget::Table(reader.string()?.to_owned()),
            "TYPE" => SchemaTarget::Type(reader.string()?.to_owned()),
            "FUNCTION" => {
                SchemaTarget::Function { name: reader.string()?.to_owned(), argument_types: reader.string_list()? }
            }
            "AGGREGATE" => {
                SchemaTarget::Aggregate { name: reader.string()?.to_owned(), argument_types: reader.string_list()? }
            }
            _ => return Err(DecodeError::UnknownValue { what: "schema change target", value: 0 }),
        };
        Ok(Self { kind, keyspace, target })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_and_topology_events_name_a_node() {
        let address = "10.0.0.1:9042".parse().unwrap();
        let decode = |body: &[u8]| Event::decode(&mut Reader::new(body));
        let up = b"\0\x0DSTATUS_CHANGE\0\x02UP\x04\x0A\0\0\x01\0\0\x23\x52";
        assert_eq!(decode(up), Ok(Event::NodeUp(address)));
        let removed = b"\0\x0FTOPOLOGY_CHANGE\0\x0CREMOVED_NODE\x04\x0A\0\0\x01\0\0\x23\x52";
        assert_eq!(decode(removed), Ok(Event::NodeRemoved(address)));
        let unknown = Event::Unknown("X".to_owned(), "Y".to_owned());
        assert_eq!(decode(b"\0\x01X\0\x01Y"), Ok(unknown));
    }

    #[test]
    fn a_schema_change_of_a_function_names_its_argument_types() {
        let body = b"\0\x07DROPPED\0\x08FUNCTION\0\x02ks\0\x01f\0\x01\0\x03int";
        let change = SchemaChange::decode(&mut Reader::new(body)).unwrap();
        let target = SchemaTarget::Function { name: "f".to_owned(), argument_types: vec!["int".to_owned()] };
        assert_eq!((change.kind, change.target), (SchemaChangeKind::Dropped, target));
    }
}
