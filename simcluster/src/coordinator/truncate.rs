//! TRUNCATE: every node must do it.
//!
//! # Source
//!
//! Research on cluster fidelity, section 3.6.

use super::io::Io;
use super::{Operation, Outcome, Step};
use crate::cql::Answer;
use crate::kernel::{NodeId, SimInstant};
use crate::protocol::ServerError;
use crate::replica::{Question, QuestionId, Reply};
use std::collections::BTreeSet;
use uuid::Uuid;

#[derive(Debug)]
pub(super) struct Truncation {
    table: Uuid,
    waiting: BTreeSet<QuestionId>,
    answered: usize,
    deadline: SimInstant,
}

impl Truncation {
    pub(super) fn new(table: Uuid) -> Self {
        Self { table, waiting: BTreeSet::new(), answered: 0, deadline: SimInstant::START }
    }
}

impl Operation for Truncation {
    fn start(&mut self, io: &mut Io<'_>) -> Step {
        let mut members = io.context.ring.members();
        members.insert(io.context.me);
        if members.iter().any(|node| !io.is_alive(*node)) {
            return Some(failed("Cannot achieve consistency level ALL"));
        }
        for node in members {
            self.waiting.insert(io.ask(node, Question::Truncate(self.table)));
        }
        self.deadline = io.wake_after(io.config.truncate_timeout);
        None
    }

    fn handle_reply(&mut self, io: &mut Io<'_>, from: NodeId, id: QuestionId, reply: Reply) -> Step {
        self.waiting.remove(&id);
        if !matches!(reply, Reply::Done) {
            let address = io.context.ring.address(from);
            return Some(failed(&format!("Truncate failed on replica /{address}")));
        }
        self.answered += 1;
        self.waiting.is_empty().then(|| Outcome { result: Ok(Answer::Void), warnings: Vec::new() })
    }

    fn handle_timeout(&mut self, io: &mut Io<'_>) -> Step {
        (io.now() >= self.deadline)
            .then(|| failed(&format!("Truncate timed out - received only {} responses", self.answered)))
    }
}

fn failed(cause: &str) -> Outcome {
    Outcome::failed(ServerError::Truncate(format!("Error during truncate: {cause}")))
}
