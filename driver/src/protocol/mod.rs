//! The native protocol: bytes to messages and back. No I/O, no time, no state beyond a buffer.
//!
//! From the outside in: a [`frame`] (v5 segment) holds envelopes, an [`envelope`] is a header and
//! a body, a body is a [`request`] or a [`response`] written in the [`notation`] of the
//! specification.
//!
//! # Invariants
//!
//! - Decoders never panic and never allocate more than the bytes they were given justify.
//! - Encoders append to a buffer of the caller and allocate nothing else.
//!
//! # Source
//!
//! Native protocol v3, v4 and v5.

pub mod compression;
pub mod envelope;
mod error;
pub mod frame;
pub mod notation;
pub mod request;
pub mod response;
mod version;
mod words;

pub use error::{DecodeError, EncodeError};
pub use version::ProtocolVersion;
pub use words::{BatchType, Consistency, EventKind, Opcode, SerialConsistency, WriteType};
