//! Rows of `system.peers` and `system.peers_v2` that are not what they should be, while a fault holds.
//!
//! Other drivers' trackers have reports of each kind: half-written rows of a newcomer, rows left behind by nodes that
//! are gone, tables that are empty on a node that has just started.

use super::Node;
use super::message::{Dirt, GossipState, Output};
use super::system_tables::{STORAGE_PORT, inet, int, peer_deletions, peer_rows, row};
use crate::kernel::Now;
use crate::protocol::EventMessage;
use crate::storage::Mutation;
use crate::types::Value;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

impl Node {
    /// Spoils rows and tells clients that there is news of the first peer: events may precede what they announce.
    pub(super) fn soil_peers(&mut self, now: Now, how: Dirt, outputs: &mut Vec<Output>) {
        let peers: Vec<Arc<GossipState>> = self.members.owners().map(|(_, state)| state.clone()).collect();
        let Some(first) = peers.first() else { return };
        let timestamp = self.timestamps.next_local(now);
        let null = |column| vec![(column, None)];
        let mutations = match how {
            Dirt::NoHostId => self.peer_cells(timestamp, first.address, &null("host_id")),
            Dirt::NoTokens => self.peer_cells(timestamp, first.address, &null("tokens")),
            Dirt::AnyAddress => {
                let any = inet(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
                self.peer_cells(timestamp, first.address, &[("rpc_address", any.clone()), ("native_address", any)])
            }
            Dirt::NoRow => peer_deletions(self.tables, timestamp, first.address),
            Dirt::NoRows => {
                peers.iter().flat_map(|peer| peer_deletions(self.tables, timestamp, peer.address)).collect()
            }
            Dirt::OwnRow => peer_rows(self.tables, timestamp, &self.own_state()),
        };
        self.apply_all(&mutations);
        self.broadcast(&EventMessage::TopologyChange("NEW_NODE", first.address), outputs);
    }

    /// Writes every row as it should be.
    pub(super) fn clean_peers(&mut self, now: Now) {
        let timestamp = self.timestamps.next_local(now);
        let mut mutations = peer_deletions(self.tables, timestamp, self.config.address);
        let peers: Vec<Arc<GossipState>> = self.members.owners().map(|(_, state)| state.clone()).collect();
        mutations.extend(peers.iter().flat_map(|peer| peer_rows(self.tables, timestamp, peer)));
        self.apply_all(&mutations);
    }

    fn apply_all(&mut self, mutations: &[Mutation]) {
        for mutation in mutations {
            self.apply_local(mutation);
        }
    }

    /// Other cells for a peer's rows, in each table that has such columns.
    fn peer_cells(&self, timestamp: i64, peer: SocketAddr, cells: &[(&str, Value)]) -> Vec<Mutation> {
        let mut mutations = Vec::new();
        for name in ["peers", "peers_v2"] {
            let Some(table) = self.tables.table(name) else { continue };
            let mut all = vec![("peer", inet(peer.ip())), ("peer_port", int(STORAGE_PORT))];
            all.extend(cells.iter().cloned());
            mutations.push(row(table, timestamp, &all));
        }
        mutations
    }
}
