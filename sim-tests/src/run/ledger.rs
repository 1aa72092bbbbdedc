//! From the simulation's ledger to the plain facts that checkers use.

use crate::history::Nonce;
use crate::wire::{Asked, Fact, Wire};
use bytes::Bytes;
use simcluster::engine::{LedgerEntry, LedgerFact};
use simcluster::fault::Fault;
use simcluster::node::Observation;
use std::collections::BTreeMap;

/// Converts a ledger.
pub(super) fn facts(entries: &[LedgerEntry]) -> Vec<Fact> {
    let mut stamped = BTreeMap::new();
    let mut facts: Vec<Fact> = entries.iter().filter_map(fact).collect();
    for fact in &mut facts {
        name_by_stamp(&mut fact.what, &mut stamped);
    }
    facts
}

/// Where the protocol has no custom payload the write time tells calls apart; an answer has its question's name.
fn name_by_stamp(what: &mut Wire, stamped: &mut BTreeMap<(u64, i16), Nonce>) {
    match what {
        Wire::Request { connection, stream, nonce, asked, .. } => {
            let stamp = asked.and_then(|asked| asked.timestamp).and_then(Nonce::from_stamp);
            if let (None, Some(stamp)) = (*nonce, stamp) {
                *nonce = Some(stamp);
                stamped.insert((*connection, *stream), stamp);
            } else if !stamped.is_empty() {
                stamped.remove(&(*connection, *stream));
            }
        }
        Wire::Response { connection, stream, nonce, .. } if nonce.is_none() && !stamped.is_empty() => {
            *nonce = stamped.get(&(*connection, *stream)).copied();
        }
        _ => {}
    }
}

fn fact(entry: &LedgerEntry) -> Option<Fact> {
    let by_client = entry.caused_at < entry.at;
    let what = match &entry.fact {
        LedgerFact::Node(observation) => observed(observation)?,
        LedgerFact::ConnectionOpened { connection, client, .. } => {
            Wire::Opened { connection: connection.0, client: client.to_string() }
        }
        LedgerFact::ConnectionClosed { connection } => Wire::Closed { connection: connection.0, by_client },
        LedgerFact::ConnectionDropped { connection } => Wire::Dropped { connection: connection.0 },
        LedgerFact::AnswerRead { connection, stream } => Wire::AnswerRead { connection: connection.0, stream: *stream },
        LedgerFact::AnswerLost { connection, stream } => {
            Wire::Note(format!("the answer on stream {stream} of connection {} is lost", connection.0))
        }
        LedgerFact::Dialled { client, address, is_known } => {
            Wire::Dialled { client: client.to_string(), address: address.to_string(), is_known: *is_known }
        }
        LedgerFact::FaultBegan(Fault::ForeignAnswer { .. }) => Wire::ForeignAnswer,
        LedgerFact::FaultBegan(fault) => Wire::Fault { begins: true, fault: fault.clone() },
        LedgerFact::FaultEnded(fault) => Wire::Fault { begins: false, fault: fault.clone() },
        other => Wire::Note(format!("{other:?}").to_lowercase()),
    };
    let since = |at: simcluster::SimInstant| at.since(simcluster::SimInstant::START);
    Some(Fact { at: since(entry.at), caused_at: since(entry.caused_at), node: entry.node.0, what })
}

fn observed(observation: &Observation) -> Option<Wire> {
    let nonce = |bytes: &Option<Bytes>| bytes.as_deref().and_then(Nonce::from_bytes);
    Some(match observation {
        Observation::Request { client, stream, opcode, nonce: mark, asked, .. } => Wire::Request {
            connection: client.0,
            stream: *stream,
            opcode: *opcode,
            nonce: nonce(mark),
            asked: asked.map(|asked| Asked { consistency: asked.consistency.code(), timestamp: asked.timestamp }),
        },
        Observation::Spoiled { client } => Wire::Spoiled { connection: client.0 },
        Observation::Malformed { client } => Wire::Malformed { connection: client.0 },
        Observation::Response { client, stream, opcode, error, nonce: mark } => {
            Wire::Response { connection: client.0, stream: *stream, opcode: *opcode, error: *error, nonce: nonce(mark) }
        }
        Observation::Registered { client } => Wire::Registered { connection: client.0 },
        Observation::EventSent { client, event } => Wire::Event { connection: client.0, event: event.clone() },
        Observation::ProtocolViolation { client, reason } => {
            Wire::Violation { connection: client.0, reason: reason.clone() }
        }
        Observation::Liveness { peer, alive } => {
            Wire::Note(format!("thinks that {peer} is {}", if *alive { "alive" } else { "dead" }))
        }
        // Facts that other floors add for themselves.
        #[allow(unreachable_patterns, reason = "the list of observations may grow")]
        _ => return None,
    })
}
