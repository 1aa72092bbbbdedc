//! What faults do to the world: they crash, start and pause members and change what the network lets through.
//!
//! The state that the active faults demand is computed from all of them together and compared with what is, so the
//! order in which overlapping faults end does not matter.

use super::World;
use crate::engine::ledger::LedgerFact;
use crate::engine::members::Member;
use crate::fault::{CrashKind, Fault, NodeFaults};
use crate::kernel::NodeId;
use crate::network::ProcessState;
use crate::node::{ClientId, Input, Misbehaviour, Output};
use crate::trace::{Kind, Party};

impl World {
    pub(super) fn begin_fault(&mut self, fault: &Fault) {
        let node = fault.nodes().first().copied().unwrap_or(NodeId(0));
        self.record(Kind::Fault, Party::Node(node), Party::World, fault.name().as_bytes(), || {
            format!("{fault} begins")
        });
        self.note(node, self.now, LedgerFact::FaultBegan(fault.clone()));
        self.faults.begin(fault);
        self.apply_faults();
        match fault {
            Fault::ResetConnections { node } => {
                for connection in self.network.open_at_node(*node) {
                    self.close_by_engine(*node, connection, true);
                }
            }
            Fault::ForeignAnswer { node } => self.misbehave(*node, Misbehaviour::ForeignAnswer),
            Fault::ForgetPrepared { node } => self.misbehave(*node, Misbehaviour::ForgetPrepared),
            Fault::EmptyPages { node, pages } => self.misbehave(*node, Misbehaviour::EmptyPages { pages: *pages }),
            Fault::FalseStatus { node, about, up } => {
                self.misbehave(*node, Misbehaviour::FalseStatus { about: *about, up: *up });
            }
            Fault::ForceAnswers { node, answer, statements } => {
                self.misbehave(*node, Misbehaviour::ForceAnswers { answer: *answer, statements: *statements });
            }
            Fault::MisdirectAnswer { node } => self.misbehave(*node, Misbehaviour::MisdirectAnswer),
            Fault::CorruptAnswer { node } => self.misbehave(*node, Misbehaviour::CorruptAnswer),
            Fault::RejectLogins { node } => self.misbehave(*node, Misbehaviour::RejectLogins(true)),
            Fault::DirtyPeers { node, how } => self.misbehave(*node, Misbehaviour::DirtyPeers(Some(*how))),
            _ => self.change_topology(fault),
        }
        self.settle();
    }

    pub(super) fn end_fault(&mut self, fault: &Fault) {
        if !self.faults.end(fault) {
            return;
        }
        let node = fault.nodes().first().copied().unwrap_or(NodeId(0));
        self.record(Kind::Fault, Party::Node(node), Party::World, fault.name().as_bytes(), || format!("{fault} ends"));
        self.note(node, self.now, LedgerFact::FaultEnded(fault.clone()));
        self.apply_faults();
        if let Fault::RejectLogins { node } = fault
            && !self.faults.node(*node).is_some_and(|faults| faults.rejects_logins)
        {
            self.misbehave(*node, Misbehaviour::RejectLogins(false));
        }
        if let Fault::DirtyPeers { node, .. } = fault
            && self.faults.node(*node).is_none_or(|faults| faults.dirt.is_none())
        {
            self.misbehave(*node, Misbehaviour::DirtyPeers(None));
        }
        self.settle();
    }

    /// Lets nodes forget what was forced on them and has not happened yet.
    pub(super) fn behave(&mut self) {
        for node in self.members.ids() {
            self.misbehave(node, Misbehaviour::Behave);
        }
        self.settle();
    }

    fn misbehave(&mut self, node: NodeId, misbehaviour: Misbehaviour) {
        self.handle(node, Input::Misbehave(misbehaviour), self.now);
    }

    /// Brings members and network to the state that the active faults demand.
    fn apply_faults(&mut self) {
        let members = self.members.ids();
        self.network.set_cuts(self.now, self.faults.cuts(&members));
        let ordinary = NodeFaults::default();
        for node in members {
            let faults = self.faults.node(node).unwrap_or(&ordinary);
            let (crashed, is_paused) = (faults.crashed, faults.is_paused);
            self.network.set_refuses(node, faults.refuses);
            self.network.set_extra_latency(node, faults.extra_latency);
            let Some(member) = self.members.get(node) else { continue };
            let (was_running, was_paused) = (member.is_running(), member.is_paused());
            match crashed {
                Some(how) if was_running => self.crash(node, how),
                None if !was_running && !member.is_gone() => self.start(node),
                _ => {}
            }
            if is_paused != was_paused {
                self.set_paused(node, is_paused);
            }
        }
    }

    pub(super) fn crash(&mut self, node: NodeId, how: CrashKind) {
        let name: &'static str = match how {
            CrashKind::Fin => "crashes, connections closed",
            CrashKind::Rst => "crashes, connections reset",
            CrashKind::Silence => "vanishes",
            CrashKind::Drain => "is stopped in good order",
        };
        self.record(Kind::Process, Party::Node(node), Party::World, name.as_bytes(), || name.into());
        for connection in self.network.open_at_node(node) {
            self.note(node, self.now, LedgerFact::ConnectionClosed { connection: ClientId(connection.0) });
            if how != CrashKind::Silence {
                self.network.close_node_end(self.now, connection, how == CrashKind::Rst);
            }
        }
        self.note(node, self.now, LedgerFact::Crashed(how));
        let mut farewell = Vec::new();
        if let Some(member) = self.members.get_mut(node) {
            match how {
                CrashKind::Drain => member.shut_down(&mut farewell),
                CrashKind::Fin | CrashKind::Rst | CrashKind::Silence => member.crash(),
            }
        }
        // Its connections have been closed above.
        farewell.retain(|output| matches!(output, Output::ToPeer { .. }));
        self.carry_out(node, self.now, farewell);
        let process = if how == CrashKind::Silence { ProcessState::Vanished } else { ProcessState::Dead };
        self.network.set_process(self.now, node, process);
    }

    pub(super) fn start(&mut self, node: NodeId) {
        let now = self.node_clock(node);
        let Some(member) = self.members.get_mut(node) else { return };
        let mut outputs = Vec::new();
        member.start(now, &mut outputs);
        let is_restart = member.incarnation > 1;
        self.record(Kind::Process, Party::Node(node), Party::World, b"starts", || "starts".into());
        if is_restart {
            self.note(node, self.now, LedgerFact::Restarted);
        }
        let is_paused = self.members.get(node).is_some_and(Member::is_paused);
        let process = if is_paused { ProcessState::Paused } else { ProcessState::Running };
        self.network.set_process(self.now, node, process);
        self.carry_out(node, self.now, outputs);
        if self.faults.node(node).is_some_and(|faults| faults.rejects_logins) {
            self.misbehave(node, Misbehaviour::RejectLogins(true));
        }
    }

    fn set_paused(&mut self, node: NodeId, is_paused: bool) {
        let name = if is_paused { "pauses" } else { "resumes" };
        self.record(Kind::Process, Party::Node(node), Party::World, name.as_bytes(), || name.into());
        self.note(node, self.now, if is_paused { LedgerFact::Paused } else { LedgerFact::Resumed });
        let Some(member) = self.members.get_mut(node) else { return };
        let waiting = member.set_paused(is_paused);
        if member.is_running() {
            let process = if is_paused { ProcessState::Paused } else { ProcessState::Running };
            self.network.set_process(self.now, node, process);
        }
        for (input, caused_at) in waiting {
            self.handle(node, input, caused_at);
        }
    }
}
