//! Events to registered clients.
//!
//! # Invariants
//!
//! - Of one endpoint, the same status or topology change is not told twice in a row.
//! - Nothing is told about an endpoint that has this node's own address.

use super::Node;
use super::message::{ClientId, ClientOutput, Observation, Output};
use crate::protocol::{EventMessage, encode_event};
use std::net::SocketAddr;

impl Node {
    /// Tells registered clients that an endpoint joined or left, unless that is what they were told last.
    pub(super) fn notify_topology(&mut self, change: &'static str, address: SocketAddr, outputs: &mut Vec<Output>) {
        if address != self.config.address && self.members.last_topology.insert(address, change) != Some(change) {
            self.broadcast(&EventMessage::TopologyChange(change, address), outputs);
        }
    }

    /// Tells registered clients that an endpoint came up or went down, unless that is what they were told last.
    pub(super) fn notify_status(&mut self, change: &'static str, address: SocketAddr, outputs: &mut Vec<Output>) {
        if address != self.config.address && self.members.last_status.insert(address, change) != Some(change) {
            self.broadcast(&EventMessage::StatusChange(change, address), outputs);
        }
    }

    /// Sends an event to every client that registered for its type.
    pub(super) fn broadcast(&self, event: &EventMessage, outputs: &mut Vec<Output>) {
        let registered = |client: &&ClientId| self.clients[client].events.contains(event.type_name());
        for client in self.clients.keys().filter(registered).copied() {
            let bytes = encode_event(&self.clients[&client].codec, event);
            outputs.push(Output::Observed(Observation::EventSent { client, event: event.describe() }));
            outputs.push(Output::ToClient { client, kind: ClientOutput::Event, bytes });
        }
    }
}
