//! What the driver knows about the cluster, as plain values.
//!
//! Everything here is immutable once built: nodes, the token ring, replica sets and the schema are gathered into one
//! [`ClusterSnapshot`], which requests read and the control connection replaces as a whole.

mod cql_type_parser;
mod describe;
mod diff;
mod murmur3;
mod node;
mod partitioner;
mod replication;
mod ring;
mod routing_key;
mod schema;
mod snapshot;
mod token;
mod token_map;

pub use cql_type_parser::{CqlTypeParseError, parse_cql_type};
pub use diff::TopologyDiff;
pub use node::Node;
#[cfg(test)]
pub(crate) use node::test_node;
pub use partitioner::Partitioner;
pub use replication::Replication;
pub use routing_key::{RoutingKeyError, compose_routing_key};
#[cfg(test)]
pub(crate) use schema::test_table;
pub use schema::{
    AggregateMetadata, ColumnKind, ColumnMetadata, FunctionMetadata, FunctionSignature, IndexMetadata, KeyspaceFilter,
    KeyspaceMetadata, ObjectChange, Schema, SchemaChange, TableMetadata, TableOptions, TriggerMetadata,
    UserTypeMetadata, ViewMetadata,
};
pub use snapshot::ClusterSnapshot;
pub use token::{Token, Tokens};
pub use token_map::{NodeIndex, TokenMap};
