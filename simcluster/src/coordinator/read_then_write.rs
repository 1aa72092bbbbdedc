//! Writes that must read first: list elements by index.

use super::consistency::name;
use super::io::Io;
use super::read::{Fetch, Fetched};
use super::{Operation, Outcome, Step, write_operation};
use crate::cql::ReadThenWrite;
use crate::kernel::NodeId;
use crate::protocol::{Consistency, ServerError};
use crate::replica::{QuestionId, Reply};
use crate::storage::{ReadAnswer, ReadCommand};
use std::collections::VecDeque;

#[derive(Debug)]
pub(super) struct ReadThenWriteOperation {
    consistency: Consistency,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Reading { plan: ReadThenWrite, commands: VecDeque<ReadCommand>, answers: Vec<ReadAnswer>, fetch: Option<Fetch> },
    Writing(Box<dyn Operation>),
    Over,
}

impl ReadThenWriteOperation {
    pub(super) fn new(plan: ReadThenWrite, consistency: Consistency) -> Self {
        let commands = plan.commands().into();
        Self { consistency, stage: Stage::Reading { plan, commands, answers: Vec::new(), fetch: None } }
    }

    fn next(&mut self, io: &mut Io<'_>) -> Step {
        let Stage::Reading { commands, fetch, .. } = &mut self.stage else { return None };
        if let Some(command) = commands.pop_front() {
            return match Fetch::start(io, command, self.consistency) {
                Ok(started) => {
                    *fetch = Some(started);
                    None
                }
                Err(error) => Some(Outcome::failed(error)),
            };
        }
        let Stage::Reading { plan, answers, .. } = std::mem::replace(&mut self.stage, Stage::Over) else { return None };
        match plan.decide(io.context.schema, answers) {
            Ok(plan) => {
                let mut write = write_operation(plan, self.consistency);
                let step = write.start(io);
                self.stage = Stage::Writing(write);
                step
            }
            Err(error) => Some(Outcome::failed(error)),
        }
    }

    fn take(&mut self, io: &mut Io<'_>, fetched: Fetched) -> Step {
        match fetched? {
            Ok(answer) => {
                if let Stage::Reading { answers, .. } = &mut self.stage {
                    answers.push(answer);
                }
                self.next(io)
            }
            Err(error) => Some(Outcome::failed(error)),
        }
    }
}

impl Operation for ReadThenWriteOperation {
    fn start(&mut self, io: &mut Io<'_>) -> Step {
        if matches!(self.consistency, Consistency::Any | Consistency::Serial | Consistency::LocalSerial) {
            return Some(Outcome::failed(ServerError::Invalid(format!(
                "Write operation require a read but consistency {} is not supported on reads",
                name(self.consistency)
            ))));
        }
        self.next(io)
    }

    fn handle_reply(&mut self, io: &mut Io<'_>, from: NodeId, id: QuestionId, reply: Reply) -> Step {
        match &mut self.stage {
            Stage::Reading { fetch, .. } => {
                let fetched = fetch.as_mut()?.handle_reply(io, from, id, reply);
                self.take(io, fetched)
            }
            Stage::Writing(write) => write.handle_reply(io, from, id, reply),
            Stage::Over => None,
        }
    }

    fn handle_timeout(&mut self, io: &mut Io<'_>) -> Step {
        match &mut self.stage {
            Stage::Reading { fetch, .. } => {
                let fetched = fetch.as_mut()?.handle_timeout(io);
                self.take(io, fetched)
            }
            Stage::Writing(write) => write.handle_timeout(io),
            Stage::Over => None,
        }
    }
}
