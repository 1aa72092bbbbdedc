//! What makes nodes run: the simulated world (`kernel`) and real sockets (`tcp`).
//!
//! Both own the same members, apply the same faults to them, and keep the same ledger.

mod kernel;
mod ledger;
mod members;
mod tasks;
pub mod tcp;

pub use kernel::{Simulation, SimulationConfig};
pub use ledger::{LedgerEntry, LedgerFact};
pub use members::{Member, Members};
pub use tasks::{SeededTask, TaskPanic, Tasks};
