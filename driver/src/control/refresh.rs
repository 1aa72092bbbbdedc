//! One refresh: reads over the control connection what is due of nodes and schema.
//!
//! Here and not in the task, because a refresh only reads: it gets the picture it starts from and returns what it
//! read, and the task alone decides what becomes of it.
//!
//! # Invariants
//!
//! - A list of nodes without a node we are connected to is read again before it is believed.
//! - A schema version other than the one last loaded has the whole schema read, whatever was asked for.

use std::time::Duration;

use uuid::Uuid;

use super::cluster_state::ClusterView;
use super::control_connection::{ControlConnection, ControlSettings};
use super::metadata_queries::{MetadataError, Topology, read_topology};
use super::refresh_window::DueRefresh;
use super::schema_queries::SchemaReader;
use super::schema_scope::SchemaScope;
use crate::env::mutants::is_planted;
use crate::env::{Instant, sleep};
use crate::topology::Schema;

/// What a refresh has read; what was not due is `None`.
pub(super) struct Refreshed {
    pub(super) topology: Option<Topology>,
    pub(super) schema: Option<Schema>,
    /// Version at which the whole schema was read.
    pub(super) loaded_schema_version: Option<Uuid>,
}

/// Reads what is due. The list of nodes also tells whether the schema changed behind lost events.
pub(super) async fn refresh(
    settings: &ControlSettings,
    control: &ControlConnection,
    due: DueRefresh,
    view: &ClusterView,
    loaded_schema_version: Option<Uuid>,
) -> Result<Refreshed, MetadataError> {
    let mut scope = due.schema;
    let mut refreshed = Refreshed { topology: None, schema: None, loaded_schema_version: None };
    let mut version_now = None;
    if due.topology || scope == Some(SchemaScope::All) {
        let topology = read_confirmed_topology(settings, control, view).await?;
        version_now = topology.schema_version;
        if topology.schema_version != loaded_schema_version {
            scope = Some(SchemaScope::All);
        }
        refreshed.topology = Some(topology);
    }
    let deadline = Instant::now() + settings.timeout;
    if let Some(scope) = scope {
        if scope == SchemaScope::All {
            refreshed.loaded_schema_version = version_now;
        }
        let reader = SchemaReader { connection: &control.connection, filter: &settings.keyspace_filter, deadline };
        refreshed.schema = Some(reader.read(&scope, view.snapshot.schema()).await?);
    }
    Ok(refreshed)
}

/// Reads the list of nodes; one that would remove a node we are connected to is believed only if it says so twice.
async fn read_confirmed_topology(
    settings: &ControlSettings,
    control: &ControlConnection,
    view: &ClusterView,
) -> Result<Topology, MetadataError> {
    let first = read_once(settings, control).await?;
    if !removes_live(&first, view) {
        return Ok(first);
    }
    sleep(REMOVAL_CONFIRMATION_DELAY).await;
    read_once(settings, control).await
}

/// Whether a list of nodes leaves out one to which there is a connection.
pub(super) fn removes_live(topology: &Topology, view: &ClusterView) -> bool {
    let is_listed = |host_id| topology.nodes.iter().any(|node| node.host_id == host_id);
    let mut live = view.pools.iter().flatten().filter(|pool| pool.open_connections() > 0);
    live.any(|pool| !is_listed(pool.host_id())) && !is_planted("D16-missing-nodes-believed-at-once")
}

async fn read_once(settings: &ControlSettings, control: &ControlConnection) -> Result<Topology, MetadataError> {
    let deadline = Instant::now() + settings.timeout;
    let mut use_peers_v2 = control.use_peers_v2;
    read_topology(&control.connection, control.dialled, &mut use_peers_v2, &*settings.translation, deadline).await
}

/// How long a node that lists too few gets to mend its list.
pub(super) const REMOVAL_CONFIRMATION_DELAY: Duration = Duration::from_secs(1);
