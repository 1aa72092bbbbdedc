//! The control connection: it learns the cluster, listens to its events and keeps the session's picture up to date.
//!
//! Requests never wait for it. While it is away they run on the last picture.

mod cluster_state;
mod control_connection;
mod inbox;
mod listener;
mod metadata_queries;
mod node_tracker;
mod refresh;
mod refresh_window;
mod schema_agreement;
mod schema_queries;
mod schema_rows;
mod schema_scope;
mod worker;

pub(crate) use cluster_state::{ClusterState, ClusterView};
pub(crate) use control_connection::{ContactPoint, ControlSettings, establish_first, resolve};
pub(crate) use inbox::Inbox;
pub use listener::{NodeEvent, NodeListener, SchemaListener};
pub(crate) use listener::{NodeListeners, SchemaListeners};
pub use metadata_queries::MetadataError;
pub use refresh_window::RefreshWindows;
pub(crate) use schema_agreement::wait_for_agreement;
pub(crate) use schema_scope::SchemaScope;
pub(crate) use worker::ControlWorker;
