//! The network between clients and nodes, and among nodes: links with latency, loss of contact and back-pressure.
//!
//! Client connections are byte streams with TCP's visible behaviour: first in first out, split and merged at will,
//! delayed (not lost) while contact is lost, and ended by FIN or RST. Messages among nodes are delayed by the same
//! latencies and dropped while contact is lost. Everything here is synchronous and pure: time comes in, scheduled
//! events go out.

mod config;
mod connection;
mod hosts;
mod pipe;
mod stream;

pub use config::LinkConfig;
pub use connection::{ConnectionId, Delivery, Event, Network};
pub use hosts::{Endpoint, ProcessState};
pub use stream::{SimStream, Wire};
