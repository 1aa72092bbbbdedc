//! The picture requests run on: nodes, distances and pools, replaced as a whole.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use uuid::Uuid;

use crate::policy::{Distance, NodeHealth};
use crate::pool::NodePool;
use crate::topology::{ClusterSnapshot, NodeIndex};

/// A snapshot with the distance and pool of each of its nodes.
pub(crate) struct ClusterView {
    pub snapshot: Arc<ClusterSnapshot>,
    /// Parallel to the nodes of the snapshot.
    pub distances: Vec<Distance>,
    /// Parallel to the nodes of the snapshot; ignored nodes have no pool.
    pub pools: Vec<Option<Arc<NodePool>>>,
}

impl ClusterView {
    pub(crate) fn pool(&self, index: NodeIndex) -> Option<&Arc<NodePool>> {
        self.pools.get(usize::from(index))?.as_ref()
    }

    pub(crate) fn health(&self, index: NodeIndex) -> NodeHealth {
        self.pool(index).map_or(NodeHealth::default(), |pool| pool.health())
    }
}

/// The current view, which node carries the control connection, and what is only heard of nodes.
pub(crate) struct ClusterState {
    view: RwLock<Arc<ClusterView>>,
    control_node: Mutex<Option<Uuid>>,
    /// Nodes without a pool that the control connection's node reported to be down and not to be up since.
    reported_down: Mutex<BTreeSet<Uuid>>,
}

impl ClusterState {
    pub(crate) fn new(view: ClusterView) -> Self {
        Self {
            view: RwLock::new(Arc::new(view)),
            control_node: Mutex::new(None),
            reported_down: Mutex::new(BTreeSet::new()),
        }
    }

    pub(crate) fn view(&self) -> Arc<ClusterView> {
        Arc::clone(&self.view.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn publish(&self, view: ClusterView) {
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(view);
    }

    pub(crate) fn control_node(&self) -> Option<Uuid> {
        *self.control_node.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_control_node(&self, host_id: Option<Uuid>) {
        *self.control_node.lock().unwrap_or_else(PoisonError::into_inner) = host_id;
    }

    /// Whether a schema change has to wait for the node. One with a pool is live until the pool misses it; of one without
    /// only reports tell, and it counts as live until there is one that it is down.
    pub(crate) fn is_thought_live(&self, host_id: Uuid) -> bool {
        let view = self.view();
        let Some(index) = view.snapshot.index_of(host_id) else { return false };
        match view.pool(index) {
            Some(pool) => !pool.is_missed(),
            None => !self.reported_down().contains(&host_id),
        }
    }

    /// A report about a node that has no pool to tell better.
    pub(super) fn handle_report(&self, host_id: Uuid, is_up: bool) {
        if is_up {
            self.reported_down().remove(&host_id);
        } else {
            self.reported_down().insert(host_id);
        }
    }

    /// Keeps only the reports about nodes for which `is_current` holds.
    pub(super) fn retain_reports(&self, is_current: impl Fn(Uuid) -> bool) {
        self.reported_down().retain(|&host_id| is_current(host_id));
    }

    fn reported_down(&self) -> MutexGuard<'_, BTreeSet<Uuid>> {
        self.reported_down.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::{Partitioner, Schema, test_node};

    #[test]
    fn a_node_without_a_pool_is_waited_for_unless_it_is_reported_down() {
        let nodes = vec![test_node(1, "dc2", "r1", &[1])];
        let host_id = nodes[0].host_id;
        let snapshot = ClusterSnapshot::build("c", Partitioner::Murmur3, nodes, Schema::default(), None);
        let view = ClusterView { snapshot: Arc::new(snapshot), distances: vec![Distance::Ignored], pools: vec![None] };
        let state = ClusterState::new(view);

        assert!(state.is_thought_live(host_id), "nothing was heard of it");
        state.handle_report(host_id, false);
        assert!(!state.is_thought_live(host_id));
        state.handle_report(host_id, true);
        assert!(state.is_thought_live(host_id), "it came back");
        state.handle_report(host_id, false);
        state.retain_reports(|_| false);
        assert!(state.is_thought_live(host_id), "the report is out of date");
        assert!(!state.is_thought_live(Uuid::from_u128(99)), "nobody of that name is known");
    }
}
