//! A session whose requests all go to one node.

use helenus::policy::{Distance, LoadBalancing, RoutingFacts};
use helenus::topology::{Node, NodeIndex};
use std::net::SocketAddr;

/// Sends every request to the node at one address, whoever owns the data.
#[derive(Clone, Copy, Debug)]
pub struct Pinned(pub SocketAddr);

impl LoadBalancing for Pinned {
    fn distance(&self, node: &Node, _contact_datacenter: &str) -> Distance {
        if node.address == self.0 { Distance::Local } else { Distance::Ignored }
    }

    fn plan(&self, _facts: &RoutingFacts<'_>, distances: &[Distance], plan: &mut Vec<NodeIndex>) {
        let indexes = (0..).zip(distances);
        plan.extend(indexes.filter(|(_, distance)| **distance == Distance::Local).map(|(index, _)| index));
    }
}
