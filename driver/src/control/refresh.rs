//! One refresh: reads over the control connection what is due of nodes and schema.
//!
//! Here and not in the task, because a refresh only reads: it gets the picture it starts from and returns what it
//! read, and the task alone decides what becomes of it.
//!
//! # Invariants
//!
//! - A list of nodes without a node we are connected to is read again before it is believed.
//! - A schema version other than the one last loaded has the whole schema read, whatever was asked for.

use std::collections::BTreeSet;
use std::time::Duration;

use uuid::Uuid;

use super::cluster_state::ClusterView;
use super::control_connection::{ControlConnection, ControlSettings};
use super::metadata_queries::{MetadataError, Topology, merge_keyspaces, read_keyspaces, read_topology};
use super::refresh_window::{DueRefresh, SchemaScope};
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
    refreshed.schema = match scope {
        None => None,
        Some(SchemaScope::All) => {
            refreshed.loaded_schema_version = version_now;
            Some(Schema { keyspaces: read_keyspaces(&control.connection, None, deadline).await? })
        }
        Some(SchemaScope::Keyspaces(names)) => Some(read_some(control, view, &names, deadline).await?),
    };
    Ok(refreshed)
}

async fn read_some(
    control: &ControlConnection,
    view: &ClusterView,
    names: &BTreeSet<String>,
    deadline: Instant,
) -> Result<Schema, MetadataError> {
    let mut read = std::collections::BTreeMap::new();
    for name in names {
        read.extend(read_keyspaces(&control.connection, Some(name), deadline).await?);
    }
    Ok(merge_keyspaces(view.snapshot.schema(), names, read))
}

/// Reads the list of nodes; one that would remove a node we are connected to is believed only if it says so twice.
async fn read_confirmed_topology(
    settings: &ControlSettings,
    control: &ControlConnection,
    view: &ClusterView,
) -> Result<Topology, MetadataError> {
    let first = read_once(settings, control).await?;
    let removes_live = view
        .pools
        .iter()
        .flatten()
        .any(|pool| pool.open_connections() > 0 && first.nodes.iter().all(|node| node.host_id != pool.host_id()));
    if !removes_live {
        return Ok(first);
    }
    sleep(REMOVAL_CONFIRMATION_DELAY).await;
    read_once(settings, control).await
}

async fn read_once(settings: &ControlSettings, control: &ControlConnection) -> Result<Topology, MetadataError> {
    let deadline = Instant::now() + settings.timeout;
    let mut use_peers_v2 = control.use_peers_v2;
    read_topology(&control.connection, control.dialled, &mut use_peers_v2, &*settings.translation, deadline).await
}

const REMOVAL_CONFIRMATION_DELAY: Duration = Duration::from_secs(1);
