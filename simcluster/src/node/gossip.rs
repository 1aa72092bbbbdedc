//! What a node knows of the others: gossip, the failure detector, and the ring that follows from them.
//!
//! Every round a node tells every peer about itself. What it hears decides who is alive (directly only: a peer it
//! cannot hear is down for it, whatever third nodes say) and who owns what. A node that learns something new about
//! a third node passes it on, so that ring views do not stay apart when a link is cut.
//!
//! # Invariants
//!
//! - A state is taken only if its (generation, version) is above the known one.
//! - `alive` holds the node itself and never a node that has left or has been replaced.
//! - The rows of `system.peers` are those of the peers that own tokens.

use super::config::ReleaseLine;
use super::message::{GossipState, NodeStatus, Observation, Output, PeerMessage};
use super::system_tables::{peer_deletions, peer_rows, peer_schema_version};
use super::{Node, NodeConfig};
use crate::kernel::{NodeId, Now, SimInstant};
use crate::ring::Ring;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use uuid::Uuid;

/// All nodes as this one sees them.
#[derive(Debug)]
pub(super) struct Members {
    pub(super) status: NodeStatus,
    pub(super) generation: u32,
    version: u64,
    peers: BTreeMap<NodeId, Peer>,
    pub(super) ring: Ring,
    pub(super) alive: BTreeSet<NodeId>,
    /// Nodes that others have replaced: what is still said about them is void.
    replaced: BTreeSet<NodeId>,
    next_round: SimInstant,
    /// Addresses whose nodes have left or moved, and since when nothing comes from there.
    vacated: BTreeMap<SocketAddr, SimInstant>,
    /// What clients were told last about each endpoint.
    pub(super) last_status: BTreeMap<SocketAddr, &'static str>,
    pub(super) last_topology: BTreeMap<SocketAddr, &'static str>,
}

/// One peer as this node sees it.
#[derive(Clone, Debug, Default)]
pub(super) struct Peer {
    /// What it said last; `None` if it has never been heard of.
    pub(super) state: Option<Arc<GossipState>>,
    /// When it was last heard itself; `None` if never since the start.
    last_heard: Option<SimInstant>,
    /// The foreign schema version that it showed last: seen twice, it is pulled.
    foreign_schema: Option<Uuid>,
}

impl Members {
    /// A node that knows its configured peers by name, and perhaps what they said before it restarted.
    pub(super) fn new(
        config: &NodeConfig,
        status: NodeStatus,
        generation: u32,
        saved: BTreeMap<NodeId, Arc<GossipState>>,
        now: Now,
    ) -> Self {
        let mut peers: BTreeMap<NodeId, Peer> = config.peers.iter().map(|peer| (*peer, Peer::default())).collect();
        for (node, state) in saved {
            peers.entry(node).or_default().state = Some(state);
        }
        peers.remove(&config.id);
        let done = |state: &Arc<GossipState>| state.replaces.filter(|_| owns_tokens(state.status));
        let mut replaced: BTreeSet<NodeId> = peers.values().filter_map(|peer| done(peer.state.as_ref()?)).collect();
        replaced.extend(config.replaces.filter(|_| owns_tokens(status)));
        peers.retain(|node, _| !replaced.contains(node));
        // Rounds of different nodes are apart, by a part of the interval that the seed decides.
        let interval = u64::try_from(config.gossip_interval.as_nanos()).unwrap_or(u64::MAX).max(1);
        let offset = config.entropy.draw("gossip round", u64::from(config.id.0), 0) % interval;
        let mut members = Self {
            status,
            generation,
            version: 0,
            peers,
            ring: Ring::default(),
            alive: BTreeSet::from([config.id]),
            replaced,
            next_round: now.at + std::time::Duration::from_nanos(offset),
            vacated: BTreeMap::new(),
            last_status: BTreeMap::new(),
            last_topology: BTreeMap::new(),
        };
        members.rebuild_ring(config);
        members
    }

    /// What a peer said last.
    pub(super) fn state(&self, node: NodeId) -> Option<&Arc<GossipState>> {
        self.peers.get(&node)?.state.as_ref()
    }

    /// Whether a peer has spoken to this node since it started.
    pub(super) fn has_heard(&self, node: NodeId) -> bool {
        self.peers.get(&node).is_some_and(|peer| peer.last_heard.is_some())
    }

    /// Takes another standing for the node itself.
    pub(super) fn set_status(&mut self, config: &NodeConfig, status: NodeStatus) {
        self.status = status;
        self.rebuild_ring(config);
    }

    /// What is to survive a crash.
    pub(super) fn saved(&self) -> BTreeMap<NodeId, Arc<GossipState>> {
        self.peers.iter().filter_map(|(node, peer)| Some((*node, peer.state.clone()?))).collect()
    }

    /// The peers that are to be told things, known or not.
    pub(super) fn peers(&self) -> Vec<NodeId> {
        self.peers.keys().copied().collect()
    }

    /// The peers that are believed alive.
    pub(super) fn live_peers(&self, me: NodeId) -> Vec<NodeId> {
        self.alive.iter().copied().filter(|node| *node != me).collect()
    }

    /// Peers that own tokens for good, as last heard.
    pub(super) fn owners(&self) -> impl Iterator<Item = (NodeId, &Arc<GossipState>)> {
        self.peers.iter().filter_map(|(node, peer)| {
            let state = peer.state.as_ref()?;
            owns_tokens(state.status).then_some((*node, state))
        })
    }

    /// Whether a state is of an address where another node has started since: words that were long on their way.
    fn is_of_a_predecessor(&self, state: &GossipState) -> bool {
        self.owners().any(|(node, other)| {
            node != state.node && other.address.ip() == state.address.ip() && other.generation > state.generation
        })
    }

    /// Forgets a node whose tokens another one has taken over; answers what it said last.
    fn forget(&mut self, node: NodeId) -> Option<Arc<GossipState>> {
        self.alive.remove(&node);
        self.replaced.insert(node);
        self.peers.remove(&node)?.state
    }

    /// Derives token ownership from what everybody said.
    fn rebuild_ring(&mut self, config: &NodeConfig) {
        let mut ring = Ring::default();
        let me = (config.id, self.status, &config.tokens, &config.location, config.address);
        let others = self.peers.iter().filter_map(|(node, peer)| {
            let state = peer.state.as_ref()?;
            Some((*node, state.status, &state.tokens, &state.location, state.address))
        });
        for (node, status, tokens, location, address) in std::iter::once(me).chain(others) {
            match status {
                NodeStatus::Left => continue,
                NodeStatus::Joining => ring.joining.extend(tokens.iter().map(|token| (*token, node))),
                NodeStatus::Leaving => {
                    ring.leaving.insert(node);
                    ring.tokens.extend(tokens.iter().map(|token| (*token, node)));
                }
                NodeStatus::Normal | NodeStatus::Shutdown => {
                    ring.tokens.extend(tokens.iter().map(|token| (*token, node)));
                }
            }
            ring.locations.insert(node, location.clone());
            ring.addresses.insert(node, address.ip());
        }
        self.ring = ring;
    }
}

/// Whether a node in this standing is part of the ring and has rows in `system.peers`.
fn owns_tokens(status: NodeStatus) -> bool {
    matches!(status, NodeStatus::Normal | NodeStatus::Leaving | NodeStatus::Shutdown)
}

impl Node {
    /// What this node tells others about itself, with a new version.
    pub(super) fn own_state(&mut self) -> Arc<GossipState> {
        self.members.version += 1;
        Arc::new(GossipState {
            node: self.config.id,
            generation: self.members.generation,
            version: self.members.version,
            host_id: self.config.host_id,
            address: self.config.address,
            location: self.config.location.clone(),
            tokens: self.config.tokens.clone(),
            release: self.config.release.clone(),
            schema_version: self.schema.version,
            replaces: self.config.replaces,
            status: self.members.status,
        })
    }

    /// Tells every peer about this node.
    pub(super) fn gossip_to_all(&mut self, outputs: &mut Vec<Output>) {
        let state = self.own_state();
        for to in self.members.peers() {
            outputs.push(Output::ToPeer { to, message: PeerMessage::Gossip(state.clone()) });
        }
    }

    /// Begins the rounds of gossip.
    pub(super) fn start_gossip(&mut self, outputs: &mut Vec<Output>) {
        self.gossip_to_all(outputs);
        outputs.push(Output::WakeAt(self.members.next_round));
    }

    /// Has a round, if its time has come: convicts the silent, tells everybody else.
    pub(super) fn gossip_if_due(&mut self, now: Now, outputs: &mut Vec<Output>) {
        if now.at < self.members.next_round {
            return;
        }
        self.members.next_round = now.at + self.config.gossip_interval;
        outputs.push(Output::WakeAt(self.members.next_round));
        for node in self.members.live_peers(self.config.id) {
            let last_heard =
                self.members.peers.get(&node).and_then(|peer| peer.last_heard).unwrap_or(SimInstant::START);
            if now.at.since(last_heard) > self.config.failure_detection {
                self.convict(node, outputs);
            }
        }
        self.tell_of_vacated(now, outputs);
        self.gossip_to_all(outputs);
        self.continue_streams(now, outputs);
    }

    /// The failure detector goes on watching addresses that were vacated: clients are told of their silence as of any
    /// other, after they were told what became of the node.
    fn tell_of_vacated(&mut self, now: Now, outputs: &mut Vec<Output>) {
        let limit = self.config.failure_detection;
        let (due, later): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut self.members.vacated).into_iter().partition(|(_, since)| now.at.since(*since) > limit);
        self.members.vacated = later;
        for address in due.into_keys() {
            if !self.members.owners().any(|(_, state)| state.address == address) {
                self.notify_status("DOWN", address, outputs);
            }
        }
    }

    /// A peer is down.
    fn convict(&mut self, node: NodeId, outputs: &mut Vec<Output>) {
        if !self.members.alive.remove(&node) {
            return;
        }
        outputs.push(Output::Observed(Observation::Liveness { peer: node, alive: false }));
        if let Some(state) = self.members.state(node).cloned()
            && state.status != NodeStatus::Joining
        {
            self.notify_status("DOWN", state.address, outputs);
        }
    }

    /// A peer is up.
    fn revive(&mut self, now: Now, node: NodeId, outputs: &mut Vec<Output>) {
        if !self.members.alive.insert(node) {
            return;
        }
        outputs.push(Output::Observed(Observation::Liveness { peer: node, alive: true }));
        self.coordinate(now, outputs, |coordinator, context, effects| {
            coordinator.handle_node_up(context, node, effects);
        });
    }

    /// Takes what a peer says about itself, or about a third node.
    pub(super) fn handle_gossip(
        &mut self,
        now: Now,
        from: NodeId,
        state: &Arc<GossipState>,
        outputs: &mut Vec<Output>,
    ) {
        let node = state.node;
        if node == self.config.id || self.members.replaced.contains(&node) {
            return;
        }
        let known = self.members.state(node).cloned();
        let age = |state: &GossipState| (state.generation, state.version);
        if known.as_ref().is_some_and(|known| age(known) >= age(state)) || self.members.is_of_a_predecessor(state) {
            return;
        }
        let is_news = known.as_ref().is_none_or(|known| {
            known.generation != state.generation
                || known.status != state.status
                || known.address != state.address
                || known.host_id != state.host_id
                || known.tokens != state.tokens
                || known.location != state.location
                || known.release != state.release
        });
        let is_direct = from == node;
        if !is_direct && !is_news {
            return;
        }
        let restarted = known.as_ref().is_some_and(|known| known.generation != state.generation);
        if restarted && known.as_ref().is_some_and(|known| known.address == state.address) {
            // A restart between two rounds is a failure all the same: connections to the old process are gone.
            self.convict(node, outputs);
        } else if restarted && self.members.alive.remove(&node) {
            outputs.push(Output::Observed(Observation::Liveness { peer: node, alive: false }));
        }
        let is_at_home = known.as_ref().is_some_and(|known| known.address == state.address);
        if !is_at_home && self.members.last_status.get(&state.address) == Some(&"UP") {
            // Cassandra's gossip knows addresses: a node that appears where another one was is that one, restarted.
            self.notify_status("DOWN", state.address, outputs);
        }
        let schema_changed = known.as_ref().is_none_or(|known| known.schema_version != state.schema_version);
        self.members.peers.entry(node).or_default().state = Some(state.clone());
        if let Some(dead) = state.replaces.filter(|_| owns_tokens(state.status)) {
            self.forget_replaced(now, dead, state.address, outputs);
        }
        if is_news {
            self.members.rebuild_ring(&self.config);
            self.pass_on(node, state, outputs);
        }
        if is_news {
            self.store_peer(now, known.as_deref(), state);
        } else if schema_changed && owns_tokens(state.status) {
            let timestamp = self.timestamps.next_local(now);
            for mutation in peer_schema_version(self.tables, timestamp, state) {
                self.apply_local(&mutation);
            }
        }
        self.notify_change(now, known.as_deref(), state, outputs);
        if is_direct {
            self.handle_heartbeat(now, node, state, is_news, outputs);
        }
    }

    /// Forgets a dead node, whose tokens one at `address` has taken over. Clients hear that it is down if they have not
    /// heard it before (nobody replaces a node that lives), and no more than that, as from Cassandra.
    pub(super) fn forget_replaced(&mut self, now: Now, dead: NodeId, address: SocketAddr, outputs: &mut Vec<Output>) {
        self.convict(dead, outputs);
        let Some(state) = self.members.forget(dead) else { return };
        if owns_tokens(state.status) && state.address.ip() != address.ip() {
            let timestamp = self.timestamps.next_local(now);
            for mutation in peer_deletions(self.tables, timestamp, state.address) {
                self.apply_local(&mutation);
            }
        }
    }

    /// The failure detector's side of a peer's own words.
    fn handle_heartbeat(
        &mut self,
        now: Now,
        node: NodeId,
        state: &GossipState,
        is_news: bool,
        outputs: &mut Vec<Output>,
    ) {
        if let Some(peer) = self.members.peers.get_mut(&node) {
            peer.last_heard = Some(now.at);
        }
        match state.status {
            NodeStatus::Shutdown | NodeStatus::Left => self.convict(node, outputs),
            NodeStatus::Joining => self.revive(now, node, outputs),
            NodeStatus::Normal | NodeStatus::Leaving => {
                self.revive(now, node, outputs);
                self.notify_status("UP", state.address, outputs);
            }
        }
        if is_news && self.members.status != NodeStatus::Left {
            // It does not know yet that this node is there, or has forgotten: do not let it wait for a round.
            let own = self.own_state();
            outputs.push(Output::ToPeer { to: node, message: PeerMessage::Gossip(own) });
        }
        self.pull_schema_if_foreign(node, state, is_news, outputs);
    }

    /// Asks for a peer's schema when it shows a foreign version twice (once may be a push on its way), or at once
    /// when the two have just met.
    fn pull_schema_if_foreign(&mut self, node: NodeId, state: &GossipState, at_once: bool, outputs: &mut Vec<Output>) {
        let own_version = self.schema.version;
        let Some(peer) = self.members.peers.get_mut(&node) else { return };
        // Releases describe their system tables differently, so their versions never agree.
        let is_same_line = ReleaseLine::of(&state.release) == ReleaseLine::of(&self.config.release);
        if state.schema_version == own_version || !is_same_line {
            peer.foreign_schema = None;
            return;
        }
        let seen_before = peer.foreign_schema.replace(state.schema_version) == Some(state.schema_version);
        if seen_before || at_once {
            outputs.push(Output::ToPeer { to: node, message: PeerMessage::SchemaPull });
        }
    }

    /// Tells the others what this node has just learned about a third one.
    fn pass_on(&self, about: NodeId, state: &Arc<GossipState>, outputs: &mut Vec<Output>) {
        for to in self.members.live_peers(self.config.id) {
            if to != about {
                outputs.push(Output::ToPeer { to, message: PeerMessage::Gossip(state.clone()) });
            }
        }
    }

    /// Writes or deletes the rows of a peer.
    fn store_peer(&mut self, now: Now, known: Option<&GossipState>, state: &GossipState) {
        let had_rows = known.filter(|known| owns_tokens(known.status));
        if let Some(known) = had_rows
            && (known.address.ip() != state.address.ip() || !owns_tokens(state.status))
        {
            // Another peer may have taken the address over by now: its rows are its own.
            let address = known.address;
            let is_taken =
                self.members.owners().any(|(n, other)| n != state.node && other.address.ip() == address.ip());
            if !is_taken {
                let timestamp = self.timestamps.next_local(now);
                for mutation in peer_deletions(self.tables, timestamp, address) {
                    self.apply_local(&mutation);
                }
            }
        }
        if owns_tokens(state.status) {
            let timestamp = self.timestamps.next_local(now);
            for mutation in peer_rows(self.tables, timestamp, state) {
                self.apply_local(&mutation);
            }
        }
    }

    /// Tells clients what a peer's new state means for the ring. A node that has moved is a new one for them: Cassandra
    /// forgets the old address without a word.
    fn notify_change(&mut self, now: Now, known: Option<&GossipState>, state: &GossipState, outputs: &mut Vec<Output>) {
        let old = known.filter(|known| owns_tokens(known.status));
        let is_member = owns_tokens(state.status);
        if let Some(old) = old {
            let is_same = old.address == state.address && old.host_id == state.host_id;
            if !is_member || !is_same {
                self.members.vacated.insert(old.address, now.at);
            }
            if !is_member {
                self.notify_topology("REMOVED_NODE", old.address, outputs);
            } else if !is_same {
                self.notify_topology("NEW_NODE", state.address, outputs);
            } else if old.tokens != state.tokens {
                self.notify_topology("MOVED_NODE", state.address, outputs);
            }
        } else if is_member {
            self.notify_topology("NEW_NODE", state.address, outputs);
        }
        if state.status == NodeStatus::Left {
            self.members.alive.remove(&state.node);
        }
    }
}
