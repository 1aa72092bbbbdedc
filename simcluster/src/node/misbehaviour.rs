//! Deviations from what a correct node does, when a plan forces them.

use super::Node;
use super::client::Stage;
use super::message::{ClientOutput, ForcedAnswer, Misbehaviour, Observation, Output};
use crate::kernel::Now;
use crate::protocol::{
    ColumnSpec, EventMessage, ResponseEnvelope, ResponseMessage, ResultRows, ServerError, encode_response, opcode,
};
use bytes::Bytes;
use std::sync::Arc;

/// Kind 2, no flags, one column, and then the first byte of its keyspace's length.
const CUT: &[u8] = &[0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 0];
/// The same with two thousand million columns, and a name.
const HUGE: &[u8] = &[0, 0, 0, 2, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 1, b'k'];
/// A kind that does not exist.
const UNKNOWN: &[u8] = &[0, 0, 0, 99];
/// A keyspace whose name is no UTF-8.
const BROKEN: &[u8] = &[0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1, 0, 2, 0xc3, 0x28, 0, 1, b't', 0, 1, b'c', 0, 9];

/// Whether an answer is one of those that nobody can read.
pub(super) fn is_malformed(message: &ResponseMessage) -> bool {
    let ResponseMessage::Raw { body, .. } = message else { return false };
    [CUT, HUGE, UNKNOWN, BROKEN].contains(&&body[..])
}

/// A RESULT that nobody can read.
fn malformed(body: &'static [u8]) -> ResponseMessage {
    ResponseMessage::Raw { opcode: opcode::RESULT, body: Bytes::from_static(body) }
}

/// What happens to the next answer of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spoil {
    /// It is sent on another stream.
    Misdirect,
    /// One of its bits flips.
    Corrupt,
}

impl Node {
    pub(super) fn handle_misbehaviour(&mut self, now: Now, misbehaviour: Misbehaviour, outputs: &mut Vec<Output>) {
        match misbehaviour {
            Misbehaviour::DirtyPeers(None) => self.clean_peers(now),
            Misbehaviour::DirtyPeers(Some(how)) => self.soil_peers(now, how, outputs),
            Misbehaviour::ForeignAnswer => self.send_foreign_answers(outputs),
            Misbehaviour::Behave => {
                self.forced.clear();
                self.empty_pages = 0;
                self.clients.values_mut().for_each(|state| state.spoils = None);
            }
            Misbehaviour::MisdirectAnswer => self.spoil(Spoil::Misdirect),
            Misbehaviour::CorruptAnswer => self.spoil(Spoil::Corrupt),
            Misbehaviour::RejectLogins(rejects) => self.rejects_logins = rejects,
            Misbehaviour::ForgetPrepared => self.prepared.clear(),
            Misbehaviour::ForceAnswers { answer, statements } => self.forced.push_back((answer, statements)),
            Misbehaviour::EmptyPages { pages } => self.empty_pages = pages,
            Misbehaviour::FalseStatus { about, up } => {
                let address = if about == self.config.id {
                    Some(self.config.address)
                } else {
                    self.members.state(about).map(|state| state.address)
                };
                // A lie does not change what the node believes it has told.
                if let Some(address) = address {
                    self.broadcast(&EventMessage::StatusChange(if up { "UP" } else { "DOWN" }, address), outputs);
                }
            }
        }
    }

    /// An empty page in place of the next continued one, if that is forced.
    pub(super) fn take_empty_page(
        &mut self,
        columns: Option<&Arc<[ColumnSpec]>>,
        paging_state: Option<&Bytes>,
    ) -> Option<ResultRows> {
        let (columns, paging_state) = (columns?, paging_state?);
        self.empty_pages = self.empty_pages.checked_sub(1)?;
        Some(ResultRows { columns: columns.clone(), rows: Vec::new(), paging_state: Some(paging_state.clone()) })
    }

    /// What the next coordinated statement is to be answered with, if anything is forced.
    pub(super) fn take_forced_answer(&mut self) -> Option<ResponseMessage> {
        while let Some((answer, left)) = self.forced.front_mut() {
            if *left == 0 {
                self.forced.pop_front();
                continue;
            }
            *left -= 1;
            return Some(match answer {
                ForcedAnswer::Overloaded => {
                    let text = "Request breached global limit of requests in flight";
                    ResponseMessage::Error(ServerError::Overloaded(text.into()))
                }
                ForcedAnswer::ServerError => {
                    ResponseMessage::Error(ServerError::Server("java.lang.RuntimeException: forced".into()))
                }
                ForcedAnswer::IsBootstrapping => ResponseMessage::Error(ServerError::IsBootstrapping),
                ForcedAnswer::Malformed => malformed(CUT),
                ForcedAnswer::HugeCount => malformed(HUGE),
                ForcedAnswer::UnknownKind => malformed(UNKNOWN),
                ForcedAnswer::BrokenText => malformed(BROKEN),
            });
        }
        None
    }

    fn spoil(&mut self, how: Spoil) {
        for state in self.clients.values_mut().filter(|state| state.stage == Stage::Ready) {
            if how == Spoil::Misdirect || state.codec.is_checked() {
                state.spoils = Some(how);
            }
        }
    }

    fn send_foreign_answers(&self, outputs: &mut Vec<Output>) {
        for (client, state) in self.clients.iter().filter(|(_, state)| state.stage == Stage::Ready) {
            let Some(stream) = (0..=i16::MAX).rev().find(|stream| !state.busy.contains_key(stream)) else { continue };
            let message = ResponseMessage::Void;
            let bytes = encode_response(&state.codec, stream, &message, &ResponseEnvelope::default());
            let (client, opcode) = (*client, message.opcode());
            let observation = Observation::Response { client, stream, opcode, error: None, nonce: None };
            outputs.push(Output::Observed(observation));
            outputs.push(Output::ToClient { client, kind: ClientOutput::Response { stream }, bytes });
        }
    }
}
