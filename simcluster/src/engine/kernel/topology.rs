//! Who is a member, and where: nodes that join, leave, are replaced, or come back at another address.

use super::World;
use crate::engine::ledger::LedgerFact;
use crate::engine::members::{Member, free_address};
use crate::fault::{CrashKind, Fault};
use crate::kernel::NodeId;
use crate::node::Input;
use crate::ring::Location;
use crate::trace::{Kind, Party};
use std::net::SocketAddr;

impl World {
    /// Carries out a fault that changes the topology; all of them happen at one moment.
    pub(super) fn change_topology(&mut self, fault: &Fault) {
        match fault {
            Fault::Join { node, datacenter } => self.join(*node, datacenter),
            Fault::Decommission { node } => self.handle(*node, Input::Decommission, self.now),
            Fault::Replace { node, with, same_address } => self.replace(*node, *with, *same_address),
            Fault::ChangeAddress { node } => {
                let Some(member) = self.members.get(*node).filter(|member| !member.is_gone()) else { return };
                let address = free_address(&self.members, &member.config.location.datacenter);
                self.restart_at(&[(*node, address)]);
            }
            Fault::SwapAddresses { node, with } => {
                let pair = [self.members.get(*node), self.members.get(*with)];
                let [Some(one), Some(other)] = pair.map(|member| member.filter(|member| !member.is_gone())) else {
                    return;
                };
                let (one, other) = (one.config.address, other.config.address);
                self.restart_at(&[(*node, other), (*with, one)]);
            }
            _ => {}
        }
    }

    /// Lets nodes end together and start with other addresses; crashed ones start when their crash ends.
    pub fn restart_at(&mut self, moves: &[(NodeId, SocketAddr)]) {
        let is_running = |world: &Self, node| world.members.get(node).is_some_and(Member::is_running);
        let running: Vec<NodeId> = moves.iter().map(|(node, _)| *node).filter(|node| is_running(self, *node)).collect();
        for node in &running {
            self.crash(*node, CrashKind::Fin);
        }
        for (node, address) in moves {
            if let Some(member) = self.members.get_mut(*node) {
                member.config.address = *address;
            }
            self.network.leave_address(*node);
            let text = || format!("moves to {address}");
            self.record(Kind::Process, Party::Node(*node), Party::World, address.to_string().as_bytes(), text);
            self.note(*node, self.now, LedgerFact::Moved(*address));
        }
        for node in running {
            self.start(node);
        }
    }

    fn join(&mut self, node: NodeId, datacenter: &str) {
        let Some(like) = self.members.iter().next() else { return };
        let in_datacenter = |member: &&Member| member.config.location.datacenter == datacenter;
        let rack = self.members.iter().filter(in_datacenter).count() % RACKS + 1;
        let location = Location { datacenter: datacenter.to_owned(), rack: format!("rack{rack}") };
        let address = free_address(&self.members, datacenter);
        let config = like.config.newcomer(node, address, location, self.members.present());
        if self.members.add(config) {
            self.bootstrap(node);
        }
    }

    fn replace(&mut self, dead: NodeId, with: NodeId, same_address: bool) {
        let Some(old) = self.members.get(dead).filter(|member| !member.is_gone()) else { return };
        if self.members.get(with).is_some() {
            return;
        }
        let peers = self.members.present().into_iter().filter(|peer| *peer != dead).collect();
        let datacenter = &old.config.location.datacenter;
        let address = if same_address { old.config.address } else { free_address(&self.members, datacenter) };
        let mut config = old.config.newcomer(with, address, old.config.location.clone(), peers);
        config.tokens.clone_from(&old.config.tokens);
        config.replaces = Some(dead);
        if old.is_running() {
            // A machine with its address answers what still comes over old connections; otherwise nobody does.
            self.crash(dead, if same_address { CrashKind::Rst } else { CrashKind::Silence });
        }
        if let Some(member) = self.members.get_mut(dead) {
            member.go_for_good();
        }
        self.note(dead, self.now, LedgerFact::Gone);
        self.members.add(config);
        self.bootstrap(with);
    }

    fn bootstrap(&mut self, node: NodeId) {
        let now = self.node_clock(node);
        let mut outputs = Vec::new();
        if let Some(member) = self.members.get_mut(node) {
            member.bootstrap(now, &mut outputs);
        }
        self.record(Kind::Process, Party::Node(node), Party::World, b"joins", || "begins to join".into());
        self.note(node, self.now, LedgerFact::Joining);
        self.carry_out(node, self.now, outputs);
    }
}

/// New nodes fill this many racks in turn, as the first ones do by default.
const RACKS: usize = 3;
