//! The rounds of paxos about one register: prepare, complete what others began, propose.
//!
//! # Invariants
//!
//! - [`Event::Ready`] is given only after a quorum has promised this ballot, shows no unfinished proposal, and knows
//!   the latest commit.
//! - A proposal that no replica accepted may be replaced by another; one that some replica may have accepted ends the
//!   request as unknown.

use super::super::consistency::{Placement, count, is_local, quorum, unavailable};
use super::super::io::Io;
use crate::kernel::{NodeId, SimInstant};
use crate::protocol::{Consistency, ServerError, WriteType};
use crate::replica::{Ballot, Promise, Proposal, Question, QuestionId, Register, Reply};
use crate::ring::Token;
use crate::storage::Mutation;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What the rounds have come to.
#[derive(Debug)]
pub(super) enum Event {
    /// Something may be proposed; until then nobody else gets through without our noticing.
    Ready,
    /// Our proposal was refused by all, and a new round was begun: whatever was decided must be decided again.
    Contended,
    /// Decided. An update must be committed by the caller.
    Accepted(Box<Proposal>),
}

type Progress = Result<Option<Event>, ServerError>;

#[derive(Debug)]
pub(super) struct Rounds {
    register: Register,
    keyspace: String,
    consistency: Consistency,
    /// No new round begins after this.
    contention_deadline: SimInstant,
    contentions: u16,
    /// The next ballot must be at least this late.
    ballot_at_least: i64,
    /// The live participants.
    contacts: Vec<NodeId>,
    required: usize,
    ballot: Option<Ballot>,
    asked: BTreeSet<QuestionId>,
    deadline: SimInstant,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Idle,
    Preparing {
        promises: BTreeMap<NodeId, Promise>,
    },
    BackingOff,
    /// Proposing another coordinator's value again under our ballot.
    Completing {
        proposal: Proposal,
        votes: Votes,
    },
    /// Making it known.
    Committing {
        acknowledged: usize,
    },
    Proposing {
        proposal: Proposal,
        votes: Votes,
    },
}

#[derive(Debug, Default)]
struct Votes {
    accepted: usize,
    refused: usize,
}

impl Rounds {
    pub(super) fn new(io: &Io<'_>, register: Register, keyspace: &str, consistency: Consistency) -> Self {
        Self {
            register,
            keyspace: keyspace.to_owned(),
            consistency,
            contention_deadline: io.now() + io.config.cas_contention_timeout,
            contentions: 0,
            ballot_at_least: i64::MIN,
            contacts: Vec::new(),
            required: 0,
            ballot: None,
            asked: BTreeSet::new(),
            deadline: io.now(),
            stage: Stage::Idle,
        }
    }

    /// How often another transaction was in the way.
    pub(super) fn contentions(&self) -> u16 {
        self.contentions
    }

    /// Begins a round.
    ///
    /// # Errors
    ///
    /// Unavailable, or the time for contention is over.
    pub(super) fn begin(&mut self, io: &mut Io<'_>) -> Progress {
        self.choose_participants(io)?;
        if io.now() >= self.contention_deadline {
            return Err(self.timeout(0));
        }
        let ballot = io.ballot(self.ballot_at_least);
        self.ballot = Some(ballot);
        let question = Question::Prepare { register: self.register.clone(), ballot };
        self.ask_all(io, &question);
        self.stage = Stage::Preparing { promises: BTreeMap::new() };
        Ok(None)
    }

    /// Proposes a change, or nothing, under the ballot that was promised. Its write times become the ballot's.
    ///
    /// # Errors
    ///
    /// None at once.
    pub(super) fn propose(&mut self, io: &mut Io<'_>, update: Option<Mutation>) -> Progress {
        let Some(ballot) = self.ballot else { return self.begin(io) };
        let update = update.map(|mutation| mutation.with_timestamp(ballot.micros));
        let proposal = Proposal { register: self.register.clone(), ballot, update };
        self.ask_all(io, &Question::Propose(proposal.clone()));
        self.stage = Stage::Proposing { proposal, votes: Votes::default() };
        Ok(None)
    }

    /// # Errors
    ///
    /// The proposal's fate is unknown, or a new round could not begin.
    pub(super) fn handle_reply(&mut self, io: &mut Io<'_>, from: NodeId, id: QuestionId, reply: Reply) -> Progress {
        if !self.asked.remove(&id) {
            return Ok(None);
        }
        match (&mut self.stage, reply) {
            (Stage::Preparing { promises }, Reply::Promise(promise)) => {
                promises.insert(from, *promise);
                self.after_promise(io)
            }
            (Stage::Completing { votes, .. } | Stage::Proposing { votes, .. }, Reply::Accepted(accepted)) => {
                if accepted {
                    votes.accepted += 1;
                } else {
                    votes.refused += 1;
                }
                self.after_vote(io)
            }
            (Stage::Committing { acknowledged }, Reply::Done) => {
                *acknowledged += 1;
                if *acknowledged >= self.required { self.begin(io) } else { Ok(None) }
            }
            // Cassandra's paxos callbacks wait for answers only: a failure is as good as silence.
            _ => Ok(None),
        }
    }

    /// # Errors
    ///
    /// A CAS timeout: the outcome is unknown.
    pub(super) fn handle_timeout(&mut self, io: &mut Io<'_>) -> Progress {
        if io.now() < self.deadline {
            return Ok(None);
        }
        match &self.stage {
            Stage::Idle => Ok(None),
            Stage::BackingOff => self.begin(io),
            Stage::Preparing { promises } => Err(self.timeout(promises.len())),
            Stage::Completing { votes, .. } | Stage::Proposing { votes, .. } => Err(self.timeout(votes.accepted)),
            Stage::Committing { acknowledged } => Err(self.timeout(*acknowledged)),
        }
    }

    fn after_promise(&mut self, io: &mut Io<'_>) -> Progress {
        let Stage::Preparing { promises } = &self.stage else { return Ok(None) };
        let latest = promises.values().map(|promise| promise.ballot.micros).max().unwrap_or(i64::MIN);
        if promises.values().any(|promise| !promise.promised) {
            // The next ballot must have a chance.
            self.ballot_at_least = latest.saturating_add(1);
            self.back_off(io);
            return Ok(None);
        }
        if promises.len() < self.required {
            return Ok(None);
        }
        let committed = promises.values().filter_map(|promise| promise.committed.as_ref());
        let last_commit = committed.max_by_key(|proposal| proposal.ballot).cloned();
        let last_ballot = last_commit.as_ref().map(|proposal| proposal.ballot);
        let unfinished = promises.values().filter_map(|promise| promise.accepted.as_ref());
        let unfinished = unfinished.max_by_key(|proposal| proposal.ballot).cloned();
        if let (Some(Proposal { ballot: begun, update: Some(update), .. }), Some(ballot)) = (unfinished, self.ballot)
            && last_ballot.is_none_or(|last| begun > last)
        {
            let update = Some(update.with_timestamp(ballot.micros));
            let proposal = Proposal { register: self.register.clone(), ballot, update };
            self.ask_all(io, &Question::Propose(proposal.clone()));
            self.stage = Stage::Completing { proposal, votes: Votes::default() };
            return Ok(None);
        }
        if let Some(commit) = last_commit {
            let is_behind = |promise: &Promise| promise.committed.as_ref().map(|p| p.ballot) < Some(commit.ballot);
            let behind: Vec<NodeId> =
                promises.iter().filter(|(_, promise)| is_behind(promise)).map(|(node, _)| *node).collect();
            if !behind.is_empty() {
                for node in behind {
                    io.ask(node, Question::Commit(commit.clone()));
                }
                // The next round follows on the heels of the commits and finds out whether they have arrived.
                return self.begin(io);
            }
        }
        self.stage = Stage::Idle;
        self.asked.clear();
        Ok(Some(Event::Ready))
    }

    fn after_vote(&mut self, io: &mut Io<'_>) -> Progress {
        match std::mem::replace(&mut self.stage, Stage::Idle) {
            Stage::Completing { proposal, votes } => {
                if votes.accepted >= self.required {
                    self.ask_all(io, &Question::Commit(proposal));
                    self.stage = Stage::Committing { acknowledged: 0 };
                } else if self.contacts.len() - votes.refused < self.required {
                    self.back_off(io);
                } else {
                    self.stage = Stage::Completing { proposal, votes };
                }
                Ok(None)
            }
            Stage::Proposing { proposal, votes } => {
                if votes.accepted >= self.required {
                    self.asked.clear();
                    return Ok(Some(Event::Accepted(Box::new(proposal))));
                }
                if votes.accepted + votes.refused < self.contacts.len() {
                    self.stage = Stage::Proposing { proposal, votes };
                    return Ok(None);
                }
                if votes.accepted == 0 {
                    self.back_off(io);
                    return Ok(Some(Event::Contended));
                }
                Err(ServerError::CasWriteUnknown {
                    consistency: self.consistency,
                    received: count(votes.accepted),
                    block_for: count(self.required),
                })
            }
            other => {
                self.stage = other;
                Ok(None)
            }
        }
    }

    /// Lets the other one finish: waits up to 100 ms.
    fn back_off(&mut self, io: &mut Io<'_>) {
        self.contentions = self.contentions.saturating_add(1);
        self.asked.clear();
        let micros = io.draw_below("cas back-off", BACK_OFF_MAX_MICROS) as u64;
        self.deadline = io.wake_after(Duration::from_micros(micros));
        self.stage = Stage::BackingOff;
    }

    fn ask_all(&mut self, io: &mut Io<'_>, question: &Question) {
        self.asked.clear();
        for node in &self.contacts {
            self.asked.insert(io.ask(*node, question.clone()));
        }
        self.deadline = io.wake_after(io.config.write_timeout);
    }

    fn choose_participants(&mut self, io: &Io<'_>) -> Result<(), ServerError> {
        let placement = Placement::of(io.context, &self.keyspace, Token::of_key(&self.register.key))?;
        let ring = io.context.ring;
        let local = ring.datacenter(io.context.me);
        let takes_part = |node: &&NodeId| !is_local(self.consistency) || ring.datacenter(**node) == local;
        let natural: Vec<NodeId> = placement.natural.iter().filter(takes_part).copied().collect();
        let pending: Vec<NodeId> = placement.pending.iter().filter(takes_part).copied().collect();
        let participants = natural.len() + pending.len();
        self.required = quorum(participants);
        self.contacts = natural.iter().chain(&pending).copied().filter(|node| io.is_alive(*node)).collect();
        // Two nodes taking over at once would make two different quorums: nothing can be decided meanwhile.
        let required = if pending.len() > 1 { participants + 1 } else { self.required };
        if self.contacts.len() < required {
            return Err(unavailable(self.consistency, required, self.contacts.len(), None));
        }
        Ok(())
    }

    fn timeout(&self, received: usize) -> ServerError {
        ServerError::WriteTimeout {
            consistency: self.consistency,
            received: count(received),
            block_for: count(self.required),
            write_type: WriteType::Cas,
            contentions: Some(self.contentions),
        }
    }
}

const BACK_OFF_MAX_MICROS: usize = 100_000;
