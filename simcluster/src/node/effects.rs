//! Carries out what the coordinator wants done.
//!
//! Questions to the node itself are answered at once, without the network; all others become messages.

use super::Node;
use super::message::{Output, PeerMessage};
use crate::coordinator::{Context, Coordinator, Effect};
use crate::kernel::Now;
use crate::replica::{Question, Reply};
use std::collections::VecDeque;

impl Node {
    /// Lets the coordinator do something and carries out all that follows from it.
    pub(super) fn coordinate(
        &mut self,
        now: Now,
        outputs: &mut Vec<Output>,
        step: impl FnOnce(&mut Coordinator, &Context<'_>, &mut Vec<Effect>),
    ) {
        let mut effects = Vec::new();
        let schema = self.schema.clone();
        let me = self.config.id;
        step(
            &mut self.coordinator,
            &Context {
                now,
                me,
                ring: &self.members.ring,
                schema: &schema,
                alive: &self.members.alive,
                entropy: &self.config.entropy,
            },
            &mut effects,
        );
        let mut queue = VecDeque::from(effects);
        while let Some(effect) = queue.pop_front() {
            match effect {
                Effect::Ask { to, id, question } if to == me => {
                    let reply = self.answer_question(now, question);
                    let mut more = Vec::new();
                    let context = Context {
                        now,
                        me,
                        ring: &self.members.ring,
                        schema: &schema,
                        alive: &self.members.alive,
                        entropy: &self.config.entropy,
                    };
                    self.coordinator.handle_reply(&context, me, id, reply, &mut more);
                    queue.extend(more);
                }
                Effect::Ask { to, id, question } => {
                    let message = PeerMessage::Question { id, question: Box::new(question) };
                    outputs.push(Output::ToPeer { to, message });
                }
                Effect::WakeAt(at) => outputs.push(Output::WakeAt(at)),
                Effect::Done { id, outcome, warnings } => {
                    if let Some(pending) = self.requests.remove(&id) {
                        self.finish(now, pending, outcome, warnings, outputs);
                    }
                }
            }
        }
    }

    /// Answers a question as a replica.
    pub(super) fn answer_question(&mut self, now: Now, question: Question) -> Reply {
        self.replica.handle(now, self.config.id, self.config.host_id, &self.schema, &mut self.store, question)
    }
}
