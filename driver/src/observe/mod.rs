//! What the driver counts, as plain values.
//!
//! Counters only grow; two snapshots give a rate. Nothing here decides anything.

mod activity;
mod latency;

pub(crate) use activity::NodeActivity;
pub use latency::{LatencyHistogram, LatencySnapshot};

/// What a session did with one node, since the node has its address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeCounters {
    /// Attempts sent to it.
    pub requests: u64,
    /// Attempts that ended without the answer of the request.
    pub errors: u64,
    /// Those of them that the node did not answer in time.
    pub timeouts: u64,
    /// Connections that were tried to open.
    pub dials: u64,
    /// Those of them that failed.
    pub failed_dials: u64,
}

/// What one connection did since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionStats {
    /// Requests queued for writing, heartbeats included.
    pub requests: u64,
    /// Answers read, late ones and heartbeats included.
    pub answers: u64,
    /// Bytes handed to the transport.
    pub bytes_written: u64,
    /// Bytes read from the transport.
    pub bytes_read: u64,
    /// Requests that timed out.
    pub timeouts: u64,
    /// Requests given up by their callers before an answer, other than by timeout.
    pub cancellations: u64,
    /// Answers that came after their caller had given up.
    pub late_answers: u64,
    /// Events delivered.
    pub events: u64,
    /// Heartbeats sent.
    pub heartbeats: u64,
}

impl ConnectionStats {
    /// Adds the counts of another connection.
    pub fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.answers += other.answers;
        self.bytes_written += other.bytes_written;
        self.bytes_read += other.bytes_read;
        self.timeouts += other.timeouts;
        self.cancellations += other.cancellations;
        self.late_answers += other.late_answers;
        self.events += other.events;
        self.heartbeats += other.heartbeats;
    }
}
