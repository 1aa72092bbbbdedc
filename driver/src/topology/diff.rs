//! What changed between two lists of nodes.

use uuid::Uuid;

use super::Node;

/// The change from one list of nodes to the next, by host id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TopologyDiff {
    /// Nodes only the next list has.
    pub added: Vec<Uuid>,
    /// Nodes only the previous list has.
    pub removed: Vec<Uuid>,
    /// Nodes of both lists whose dialled address differs.
    pub moved: Vec<Uuid>,
}

impl TopologyDiff {
    /// Compares two lists of nodes, each with distinct host ids, in any order.
    #[must_use]
    pub fn between(previous: &[Node], next: &[Node]) -> Self {
        let find = |nodes: &[Node], host_id| nodes.iter().find(|node| node.host_id == host_id).map(|node| node.address);
        let mut diff = Self::default();
        for node in next {
            match find(previous, node.host_id) {
                None => diff.added.push(node.host_id),
                Some(address) if address != node.address => diff.moved.push(node.host_id),
                Some(_) => {}
            }
        }
        diff.removed =
            previous.iter().map(|node| node.host_id).filter(|&host_id| find(next, host_id).is_none()).collect();
        diff
    }

    /// Whether nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.moved.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::test_node as node;

    #[test]
    fn node_with_a_new_address_is_moved_and_neither_added_nor_removed() {
        let mut moved = node(1, "dc1", "r1", &[]);
        moved.address = ([127, 0, 0, 99], 9042).into();
        let previous = [node(0, "dc1", "r1", &[]), node(1, "dc1", "r1", &[])];
        let next = [moved.clone(), node(2, "dc1", "r1", &[])];

        let diff = TopologyDiff::between(&previous, &next);

        assert_eq!(diff.added, [node(2, "dc1", "r1", &[]).host_id]);
        assert_eq!(diff.removed, [previous[0].host_id]);
        assert_eq!(diff.moved, [moved.host_id]);
    }
}
