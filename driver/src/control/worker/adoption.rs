//! What a freshly read picture of the cluster changes: the view, the pools, and what listeners are told.

use std::sync::{Arc, PoisonError};

use tracing::info;

use super::super::cluster_state::ClusterView;
use super::super::control_connection::{build_snapshot, newest_common_version};
use super::super::listener::NodeEvent;
use super::super::metadata_queries::Topology;
use super::Worker;
use crate::env::Instant;
use crate::env::mutants::is_planted;
use crate::policy::Distance;
use crate::pool::NodePool;
use crate::topology::{ClusterSnapshot, Node, Schema, SchemaChange, TopologyDiff};

impl Worker {
    /// Takes over a freshly read list of nodes.
    pub(super) fn adopt(&mut self, topology: &Topology, schema: Schema, previous: Option<&ClusterSnapshot>) {
        let snapshot = build_snapshot(topology, schema, previous);
        let diff = TopologyDiff::between(previous.map_or(&[], ClusterSnapshot::nodes), snapshot.nodes());
        if !diff.is_empty() {
            info!(added = diff.added.len(), removed = diff.removed.len(), moved = diff.moved.len(), "nodes changed");
        }
        if let Some(previous) = previous.map(ClusterSnapshot::nodes) {
            self.tell_removed(&diff, previous);
        }
        self.tell_added(&diff, previous, &snapshot);
        // A report was about whoever was at the address.
        self.state.retain_reports(|id| snapshot.index_of(id).is_some() && !diff.moved.contains(&id));
        let now = Instant::now();
        self.refresh_at = now + self.settings.refresh_interval;
        let mut pending = self.inbox.pending.lock().unwrap_or_else(PoisonError::into_inner);
        pending.tracker.handle_refreshed(now, |address| snapshot.node_at(address).is_some());
        drop(pending);
        let common = newest_common_version(snapshot.nodes());
        self.publish(snapshot);
        if common.is_some_and(|common| self.settings.factory.lower_version(common)) {
            self.on_version_lowered();
        }
    }

    fn tell_removed(&self, diff: &TopologyDiff, previous: &[Node]) {
        for node in previous.iter().filter(|node| diff.removed.contains(&node.host_id)) {
            self.inbox.listeners.tell(&NodeEvent::Removed(node.clone()));
        }
    }

    fn tell_added(&self, diff: &TopologyDiff, previous: Option<&ClusterSnapshot>, snapshot: &ClusterSnapshot) {
        for node in snapshot.nodes() {
            let from = previous.and_then(|previous| previous.node(node.host_id)).map(|known| known.address);
            if diff.added.contains(&node.host_id) {
                self.inbox.listeners.tell(&NodeEvent::Added(node.clone()));
            } else if let Some(from) = from.filter(|_| diff.moved.contains(&node.host_id)) {
                self.inbox.listeners.tell(&NodeEvent::Moved { node: node.clone(), from });
            }
        }
    }

    /// Replaces the view: keeps pools of nodes that stayed where they are, starts new ones, retires the others.
    pub(super) fn publish(&mut self, snapshot: ClusterSnapshot) {
        let previous = self.state.view();
        let mut old: Vec<Arc<NodePool>> = previous.pools.iter().flatten().cloned().collect();
        let mut distances = self.settings.load_balancing.distances(snapshot.nodes(), &self.contact_datacenter);
        // A policy of the application may count wrong.
        distances.resize(snapshot.nodes().len(), Distance::Ignored);
        let pools =
            snapshot
                .nodes()
                .iter()
                .zip(&distances)
                .map(|(node, distance)| {
                    if *distance == Distance::Ignored {
                        return None;
                    }
                    let kept = old
                        .iter()
                        .position(|pool| {
                            let is_there = pool.address() == node.address;
                            pool.host_id() == node.host_id && (is_there || is_planted("F01-moved-node-keeps-its-pool"))
                        })
                        .map(|position| old.swap_remove(position));
                    Some(kept.unwrap_or_else(|| {
                        NodePool::start(Arc::clone(&self.pool_settings), node.host_id, node.address)
                    }))
                })
                .collect();
        let snapshot = Arc::new(snapshot);
        self.state.publish(ClusterView { snapshot: Arc::clone(&snapshot), distances, pools });
        self.retired_pools.retain(|pool| !pool.is_stopped());
        for pool in old {
            if !is_planted("E13-removed-node-keeps-its-pool") {
                pool.begin_stop();
            }
            self.retired_pools.push(pool);
        }
        self.tell_of_schema_changes(&previous.snapshot, &snapshot);
    }

    fn tell_of_schema_changes(&self, old: &ClusterSnapshot, new: &ClusterSnapshot) {
        let listeners = &self.settings.schema_listeners;
        if !listeners.0.is_empty() {
            SchemaChange::between(old.schema(), new.schema()).iter().for_each(|change| listeners.tell(change));
        }
    }
}
