//! The picture requests run on: nodes, distances and pools, replaced as a whole.

use std::sync::{Arc, Mutex, PoisonError, RwLock};

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

/// The current view and which node carries the control connection.
pub(crate) struct ClusterState {
    view: RwLock<Arc<ClusterView>>,
    control_node: Mutex<Option<Uuid>>,
}

impl ClusterState {
    pub(crate) fn new(view: ClusterView) -> Self {
        Self { view: RwLock::new(Arc::new(view)), control_node: Mutex::new(None) }
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
}
