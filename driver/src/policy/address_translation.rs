//! Translating the addresses nodes announce into the ones this client can reach.

use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Maps announced addresses to reachable ones. Applied to every address read from system tables and events.
pub trait AddressTranslation: Send + Sync {
    /// Returns the address to dial for a node announced at `announced`.
    fn translate(&self, announced: SocketAddr) -> SocketAddr;
}

/// Dials nodes where they say they are. The default.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoTranslation;

impl AddressTranslation for NoTranslation {
    fn translate(&self, announced: SocketAddr) -> SocketAddr {
        announced
    }
}

/// Translates by a fixed table; addresses not in it are dialled as announced.
#[derive(Debug, Clone, Default)]
pub struct AddressMap {
    /// From the announced to the reachable address.
    pub reachable: BTreeMap<SocketAddr, SocketAddr>,
}

impl AddressTranslation for AddressMap {
    fn translate(&self, announced: SocketAddr) -> SocketAddr {
        self.reachable.get(&announced).copied().unwrap_or(announced)
    }
}
