//! The simulated world: one node, virtual time, a fresh cluster for each script.

use super::client::Stream;
use super::frames::{self, Conversation};
use super::golden::Block;
use super::runner::{Connecting, World, run_script};
use super::script::Script;
use super::tokens::{self, Placed, Shape};
use simcluster::{ClusterConfig, SimCluster};

/// A simulated node, as near as can be to the one whose answers were recorded.
struct Simulated(SimCluster);

impl World for Simulated {
    fn connect(&self) -> Connecting<'_> {
        let cluster = &self.0;
        Box::pin(async move {
            let address = cluster.contact_points().into_iter().next().ok_or(std::io::ErrorKind::NotFound)?;
            Ok(Box::new(cluster.connect("corpus", address).await?) as Box<dyn Stream>)
        })
    }
}

/// Runs a script against a cluster of its own, which poses as a release.
///
/// # Errors
///
/// A sentence: what went wrong around the statements, or the simulation's own failure.
pub fn run(script: &Script, release: &str) -> Result<Vec<Block>, String> {
    let mut config = config().release(release);
    if script.needs_users() {
        config = config.users([("cassandra".to_string(), "cassandra".to_string())]);
    }
    let script = script.clone();
    within(config, move |world| async move { run_script(&world, &script).await })
}

/// What `token(…)` of the first keys of a shape is.
///
/// # Errors
///
/// As [`run`].
pub fn tokens(shape: &Shape, count: u32) -> Result<Vec<Placed>, String> {
    let shape = shape.clone();
    within(config(), move |world| async move { tokens::ask(&world, &shape, count).await })
}

/// What travels when a script is run in a protocol version.
///
/// # Errors
///
/// As [`run`].
pub fn frames(script: &Script, version: u8) -> Result<Vec<Conversation>, String> {
    let script = script.clone();
    within(config(), move |world| async move { frames::record(&world, &script, version).await })
}

fn config() -> ClusterConfig {
    ClusterConfig::default()
        .cluster_name("helenus")
        .datacenter("datacenter1", 1)
        .racks(1)
        .vnodes(1)
        .ledger(false)
        .mirror_custom_payload(false)
}

fn within<T: Send + 'static, F: Future<Output = std::io::Result<T>> + 'static>(
    config: ClusterConfig,
    work: impl FnOnce(Simulated) -> F + 'static,
) -> Result<T, String> {
    let report = simcluster::run(config, |cluster| work(Simulated(cluster)));
    match report.value {
        Some(outcome) => outcome.map_err(|e| e.to_string()),
        None => Err("the simulation ended early".into()),
    }
}
