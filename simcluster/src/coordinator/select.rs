//! SELECT: one command after the other until the page is complete.

use super::io::Io;
use super::read::{Fetch, Fetched};
use super::{Operation, Outcome, Step};
use crate::cql::{Answer, ReadExecution};
use crate::kernel::NodeId;
use crate::protocol::{Consistency, ServerError};
use crate::replica::{QuestionId, Reply};

#[derive(Debug)]
pub(super) struct Select {
    /// Taken when the page is made.
    execution: Option<ReadExecution>,
    consistency: Consistency,
    fetch: Option<Fetch>,
}

impl Select {
    pub(super) fn new(execution: ReadExecution, consistency: Consistency) -> Self {
        Self { execution: Some(execution), consistency, fetch: None }
    }

    fn next(&mut self, io: &mut Io<'_>) -> Step {
        let Some(command) = self.execution.as_mut()?.next_command() else {
            return self.execution.take().map(make_page);
        };
        match Fetch::start(io, command, self.consistency) {
            Ok(fetch) => {
                self.fetch = Some(fetch);
                None
            }
            Err(error) => Some(Outcome::failed(error)),
        }
    }

    fn take(&mut self, io: &mut Io<'_>, fetched: Fetched) -> Step {
        match fetched? {
            Ok(answer) => {
                self.execution.as_mut()?.push_answer(io.context.schema, answer);
                self.next(io)
            }
            Err(error) => Some(Outcome::failed(error)),
        }
    }
}

impl Operation for Select {
    fn start(&mut self, io: &mut Io<'_>) -> Step {
        self.next(io)
    }

    fn handle_reply(&mut self, io: &mut Io<'_>, from: NodeId, id: QuestionId, reply: Reply) -> Step {
        let fetched = self.fetch.as_mut()?.handle_reply(io, from, id, reply);
        self.take(io, fetched)
    }

    fn handle_timeout(&mut self, io: &mut Io<'_>) -> Step {
        let fetched = self.fetch.as_mut()?.handle_timeout(io);
        self.take(io, fetched)
    }
}

/// The outcome of a SELECT whose commands are all answered.
pub(super) fn make_page(mut execution: ReadExecution) -> Outcome {
    let warnings = std::mem::take(&mut execution.warnings);
    let result: Result<Answer, ServerError> = execution.finish().map(Answer::Rows);
    Outcome { result, warnings }
}
