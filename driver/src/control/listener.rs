//! What applications can learn about nodes and schema as it happens.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tracing::error;
use uuid::Uuid;

use crate::pool::NodeState;
use crate::topology::{Node, SchemaChange};

/// Something happened to a node, as this session sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum NodeEvent {
    /// The cluster has this node. Every node is added once, those found while connecting included.
    Added(Node),
    /// The cluster no longer has this node.
    Removed(Node),
    /// The node is dialled at another address from now on.
    Moved {
        /// The node with its new address.
        node: Node,
        /// The address it had.
        from: SocketAddr,
    },
    /// The session reached the node, or no longer does.
    StateChanged {
        /// Identity of the node.
        host_id: Uuid,
        /// What it was.
        from: NodeState,
        /// What it is.
        to: NodeState,
    },
}

/// Is told about nodes. Any `Fn(&NodeEvent)` is one.
pub trait NodeListener: Send + Sync {
    /// Takes one event. Called by the session's own tasks: return at once and never wait.
    fn on_node_event(&self, event: &NodeEvent);
}

impl<F: Fn(&NodeEvent) + Send + Sync> NodeListener for F {
    fn on_node_event(&self, event: &NodeEvent) {
        self(event);
    }
}

/// All listeners of a session, in the order they were configured.
#[derive(Clone, Default)]
pub(crate) struct NodeListeners(pub(crate) Vec<Arc<dyn NodeListener>>);

impl NodeListeners {
    /// Tells every listener. One that panics is logged and spoils nothing: the task that tells it must live on.
    pub(super) fn tell(&self, event: &NodeEvent) {
        for listener in &self.0 {
            if catch_unwind(AssertUnwindSafe(|| listener.on_node_event(event))).is_err() {
                error!(?event, "a node listener panicked");
            }
        }
    }
}

/// Is told about the schema. Any `Fn(&SchemaChange)` is one.
pub trait SchemaListener: Send + Sync {
    /// Takes one change, after [`ClusterSnapshot`](crate::ClusterSnapshot) has it. Called by the session's own tasks:
    /// return at once and never wait. The schema the session begins with is no change.
    fn on_schema_change(&self, change: &SchemaChange);
}

impl<F: Fn(&SchemaChange) + Send + Sync> SchemaListener for F {
    fn on_schema_change(&self, change: &SchemaChange) {
        self(change);
    }
}

/// All listeners of a session, in the order they were configured.
#[derive(Clone, Default)]
pub(crate) struct SchemaListeners(pub(crate) Vec<Arc<dyn SchemaListener>>);

impl SchemaListeners {
    /// Tells every listener. One that panics is logged and spoils nothing: the task that tells it must live on.
    pub(super) fn tell(&self, change: &SchemaChange) {
        for listener in &self.0 {
            if catch_unwind(AssertUnwindSafe(|| listener.on_schema_change(change))).is_err() {
                error!("a schema listener panicked");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn a_listener_that_panics_does_not_keep_the_others_from_hearing() {
        let heard: Arc<Mutex<Vec<NodeEvent>>> = Arc::default();
        let keep = Arc::clone(&heard);
        let broken = |_: &NodeEvent| panic!("a bug of the application");
        let listeners = NodeListeners(vec![
            Arc::new(broken),
            Arc::new(move |event: &NodeEvent| keep.lock().unwrap().push(event.clone())),
        ]);
        let event = NodeEvent::StateChanged { host_id: Uuid::nil(), from: NodeState::Unknown, to: NodeState::Up };

        listeners.tell(&event);

        assert_eq!(*heard.lock().unwrap(), [event]);
    }
}
