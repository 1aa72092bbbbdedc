//! How many bytes of requests a node takes in hand, and what it tells clients that send more.
//!
//! A client that said `THROW_ON_OVERLOAD` is refused; every other one is served all the same, and warned since v4.
//! (Cassandra also stops reading from the latter until it has caught up; here the network's windows do not narrow. Nor is
//! it modelled that 5.0.8 forgets to go on with v5 connections when those that gave bytes back speak an older version.)
//!
//! # Source
//!
//! Cassandra's `CQLMessageHandler` and `PreV5Handlers`; texts are theirs, seen on real nodes.

use super::Node;
use super::client::{Stage, Ticket};
use super::config::ReleaseLine;
use crate::protocol::{BODY_LEN_MAX, ServerError};

/// For requests of all addresses together: a fortieth of a heap of 8 GiB.
const ALL_ADDRESSES_MAX: u64 = (8 << 30) / 40;

impl Node {
    /// Counts the bytes of a request as taken in hand, or says why they are too many for its client.
    pub(super) fn take_in_hand(&mut self, ticket: &mut Ticket) -> Option<ServerError> {
        let client = self.clients.get(&ticket.client).filter(|client| client.stage != Stage::Established)?;
        if let Some(error) = self.oversize(ticket) {
            ticket.body_bytes = 0;
            return Some(error);
        }
        let address = client.from.ip();
        let in_hand = |of_address: bool| -> u64 {
            let clients = self.clients.values().filter(|other| !of_address || other.from.ip() == address);
            clients.map(|client| client.in_flight_bytes).sum()
        };
        let (endpoint, endpoint_max) = (in_hand(true), self.config.in_flight_bytes_max);
        let (all, all_max) = (in_hand(false), ALL_ADDRESSES_MAX);
        let is_breach = endpoint + ticket.body_bytes > endpoint_max || all + ticket.body_bytes > all_max;
        if is_breach && client.throws_on_overload {
            ticket.body_bytes = 0;
            let state = if ticket.version >= 5 {
                format!("(Endpoint: {endpoint}/{endpoint_max} bytes, Global: {all}/{all_max} bytes.)")
            } else {
                format!(
                    "(InflightEndpointRequestPayload: {endpoint}/{endpoint_max}, \
                     InflightOverallRequestPayload: {all}/{all_max})"
                )
            };
            return Some(ServerError::Overloaded(format!(
                "Request breached limit on bytes in flight. {state} Server is currently in an overloaded state and \
                 cannot accept more requests."
            )));
        }
        if is_breach && ticket.version >= 4 {
            ticket.warning = Some(format!(
                "Request breached limit(s) on bytes in flight (Endpoint: {endpoint_max}, Global: {all_max}) and \
                 triggered backpressure."
            ));
        }
        self.clients.get_mut(&ticket.client)?.in_flight_bytes += ticket.body_bytes;
        None
    }

    /// Since 4.1 a message in segments may not be longer than what is taken in hand.
    fn oversize(&self, ticket: &Ticket) -> Option<ServerError> {
        let has_limit = ticket.version >= 5 && ReleaseLine::of(&self.config.release) >= ReleaseLine::V41;
        let (bytes, max) = (ticket.body_bytes, self.config.in_flight_bytes_max.min(BODY_LEN_MAX as u64));
        let text = || format!("CQL Message of size {bytes} bytes exceeds allowed maximum of {max} bytes");
        (has_limit && bytes > max).then(|| ServerError::Invalid(text()))
    }
}
