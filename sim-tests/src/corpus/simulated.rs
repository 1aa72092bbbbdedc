//! The simulated world: one node, virtual time, a fresh cluster for each script.

use super::client::Stream;
use super::golden::Block;
use super::runner::{Connecting, World, run_script};
use super::script::Script;
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

/// Runs a script against a cluster of its own.
///
/// # Errors
///
/// A sentence: what went wrong around the statements, or the simulation's own failure.
pub fn run(script: &Script) -> Result<Vec<Block>, String> {
    let mut config = ClusterConfig::default()
        .cluster_name("helenus")
        .datacenter("datacenter1", 1)
        .racks(1)
        .vnodes(1)
        .ledger(false)
        .mirror_custom_payload(false);
    if script.needs_users() {
        config = config.users([("cassandra".to_string(), "cassandra".to_string())]);
    }
    let script = script.clone();
    let report = simcluster::run(config, |cluster| async move { run_script(&Simulated(cluster), &script).await });
    match report.value {
        Some(Ok(blocks)) => Ok(blocks),
        Some(Err(e)) => Err(e.to_string()),
        None => Err("the simulation ended early".into()),
    }
}
