//! The nodes to try for one request, and the explanation of that choice without sending anything.

use std::fmt;
use std::net::SocketAddr;

use uuid::Uuid;

use super::runner::{Executor, Job};
use crate::env::Instant;
use crate::policy::{Distance, NodeHealth, RankReason, RoutingFacts};
use crate::protocol::Consistency;
use crate::topology::{NodeIndex, Token};

/// Where a request would be sent, and why.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// Token of the partition, if the values determine one.
    pub token: Option<Token>,
    /// Host ids of the partition's replicas, the primary one first.
    pub replicas: Vec<Uuid>,
    /// The coordinators in the order they would be tried.
    pub plan: Vec<PlannedNode>,
}

/// One coordinator of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedNode {
    /// Identity of the node.
    pub host_id: Uuid,
    /// Address the driver dials.
    pub address: SocketAddr,
    /// How near the load-balancing policy finds it.
    pub distance: Distance,
    /// Whether it replicates the partition.
    pub is_replica: bool,
    /// Whether it has a usable connection.
    pub is_up: bool,
    /// What moved it forward or back, or would weigh on its rank.
    pub reasons: Vec<RankReason>,
}

impl fmt::Display for PlannedNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.address)?;
        for (position, reason) in self.reasons.iter().enumerate() {
            write!(f, "{}{reason}", if position == 0 { ": " } else { ", " })?;
        }
        Ok(())
    }
}

/// One line for the token, and one for each node of the plan.
impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.token {
            Some(token) => write!(f, "token {token}")?,
            None => f.write_str("no token: the values do not determine a partition")?,
        }
        for node in &self.plan {
            write!(f, "\n{node}")?;
        }
        Ok(())
    }
}

/// Runs `decide` with the facts of a request.
fn with_facts<T>(
    executor: &Executor,
    job: &Job<'_>,
    replicas: &[NodeIndex],
    now: Instant,
    decide: impl FnOnce(&RoutingFacts<'_>) -> T,
) -> T {
    let health = |index: NodeIndex| -> NodeHealth {
        let pool = job.view.pool(index);
        pool.map_or_else(NodeHealth::default, |pool| {
            if job.load_balancing.wants_latency() { pool.health_with_latency(now) } else { pool.health_at(now) }
        })
    };
    let is_local_consistency =
        matches!(job.settled.consistency, Consistency::LocalOne | Consistency::LocalQuorum | Consistency::LocalSerial);
    decide(&RoutingFacts {
        snapshot: &job.view.snapshot,
        replicas,
        is_local_consistency,
        is_conditional: job.facts.is_conditional,
        health: &health,
        entropy: &*executor.environment.entropy,
    })
}

/// The node to ask first, if it can be chosen without making a plan.
pub(super) fn first(executor: &Executor, job: &Job<'_>, replicas: &[NodeIndex]) -> Option<NodeIndex> {
    if job.pinned.is_some() {
        return job.pinned;
    }
    // Nothing was waited for since the start: the request looks at the clock once for all of this.
    with_facts(executor, job, replicas, job.started, |facts| job.load_balancing.first(facts, &job.view.distances))
}

/// The whole plan, without repetitions whatever the policy returned.
pub(super) fn plan(executor: &Executor, job: &Job<'_>, replicas: &[NodeIndex]) -> Vec<NodeIndex> {
    let view = &job.view;
    let mut plan = Vec::with_capacity(view.pools.len());
    with_facts(executor, job, replicas, Instant::now(), |facts| {
        job.load_balancing.plan(facts, &view.distances, &mut plan);
    });
    let mut seen = vec![false; view.pools.len()];
    plan.retain(|&index| {
        seen.get_mut(usize::from(index)).is_some_and(|seen| !std::mem::replace(seen, true))
            && view.pool(index).is_some()
    });
    plan
}

/// What weighs on the rank of a node.
fn reasons(job: &Job<'_>, facts: &RoutingFacts<'_>, index: NodeIndex) -> Vec<RankReason> {
    let health = (facts.health)(index);
    let replica = facts.replicas.iter().position(|replica| *replica == index);
    let distance = job.view.distances.get(usize::from(index)).copied();
    let mut reasons = Vec::new();
    let mut note = |applies: bool, reason| {
        if applies {
            reasons.push(reason);
        }
    };
    note(job.pinned == Some(index), RankReason::Pinned);
    note(replica.is_some(), RankReason::Replica(replica.unwrap_or_default()));
    note(distance == Some(Distance::Remote), RankReason::RemoteDatacenter);
    note(!health.is_up, RankReason::Down);
    note(health.is_suspect, RankReason::Suspect);
    note(health.is_slow, RankReason::Slow);
    note(health.is_just_up, RankReason::JustUp);
    note(health.in_flight > 0, RankReason::InFlight(health.in_flight));
    reasons.extend(job.load_balancing.reasons(facts, index));
    reasons
}

/// Where a request would go.
pub(super) fn explain(executor: &Executor, job: &Job<'_>) -> Explanation {
    let view = &job.view;
    let replicas = job.work.replicas(&view.snapshot);
    let order = match job.pinned {
        Some(pinned) => vec![pinned],
        None => plan(executor, job, replicas),
    };
    let nodes = view.snapshot.nodes();
    let planned = |index: NodeIndex| {
        let node = job.node(index);
        PlannedNode {
            host_id: node.host_id,
            address: node.address,
            distance: view.distances.get(usize::from(index)).copied().unwrap_or(Distance::Ignored),
            is_replica: replicas.contains(&index),
            is_up: view.health(index).is_up,
            reasons: with_facts(executor, job, replicas, Instant::now(), |facts| reasons(job, facts, index)),
        }
    };
    Explanation {
        token: job.work.partition_key().and_then(|key| view.snapshot.partitioner().token_of(&key)),
        replicas: replicas.iter().map(|&index| nodes[usize::from(index)].host_id).collect(),
        plan: order.into_iter().map(planned).collect(),
    }
}
