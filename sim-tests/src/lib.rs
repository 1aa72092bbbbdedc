//! The laboratory of Helenus: plans, the application under test, checkers, shrinking, campaigns, planted bugs.
//!
//! - A [`Plan`] is a run as data, generated from a [`Seed`] or read from a file.
//! - [`run_plan`] runs it and answers a [`RunOutcome`]: what failed, the trace hash, the marks it hit.
//! - [`shrink()`] makes a failing plan small; [`Campaign`] runs many seeds on several threads.
//! - [`suite`] holds integration tests that run in two worlds.
//! - [`mutants`] lists the planted bugs that must be found.
//!
//! One run is one thread, one runtime, one simulated cluster; nothing is shared between runs.

pub mod app;
pub mod bounds;
pub mod campaign;
pub mod checkers;
pub mod corpus;
pub mod history;
pub mod marks;
pub mod mutants;
pub mod plan;
pub mod run;
pub mod seed;
mod shrink;
pub mod suite;
pub mod truth;
pub mod wire;

pub use campaign::{Campaign, CampaignReport, FailedRun, Progress, run_twice};
pub use checkers::{Class, Failure};
pub use plan::{Plan, PlanError};
pub use run::{Outcome, RunOutcome, run_plan};
pub use seed::{Profile, Seed, SeedError};
pub use shrink::{Shrunk, shrink};
