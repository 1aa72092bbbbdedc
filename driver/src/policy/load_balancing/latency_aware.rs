//! Moves nodes back that answer much slower than the fastest one.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{Distance, LoadBalancing, RankReason, RoutingFacts, distance_of};
use crate::topology::{Node, NodeIndex};

/// Orders nodes by another policy, and then moves those back, within their data centre, whose latency is a multiple of
/// the fastest node's.
///
/// Off by default, with reason: latencies of nodes also differ because their requests do. A node moved back is tried
/// again once its latency has not been measured for [`Self::retry_period`].
#[derive(Clone)]
pub struct LatencyAware {
    inner: Arc<dyn LoadBalancing>,
    exclusion_threshold: f64,
    samples_min: u64,
    retry_period: Duration,
}

impl LatencyAware {
    /// Moves nodes back that are twice as slow as the fastest, measured over at least 50 answers, for 10 s.
    #[must_use]
    pub fn new(inner: Arc<dyn LoadBalancing>) -> Self {
        Self { inner, exclusion_threshold: 2.0, samples_min: 50, retry_period: Duration::from_secs(10) }
    }

    /// How many times slower than the fastest node is too slow; at least 1. Default: 2.
    #[must_use]
    pub fn exclusion_threshold(mut self, times: f64) -> Self {
        self.exclusion_threshold = times.max(1.0);
        self
    }

    /// Answers of a node before its latency counts. Default: 50.
    #[must_use]
    pub fn samples_min(mut self, answers: u64) -> Self {
        self.samples_min = answers;
        self
    }

    /// How long after its latest answer a slow node is tried again. Default: 10 s.
    #[must_use]
    pub fn retry_period(mut self, period: Duration) -> Self {
        self.retry_period = period;
        self
    }

    /// The average latency of a node, if it is known well and not too old.
    fn latency(&self, facts: &RoutingFacts<'_>, index: NodeIndex) -> Option<Duration> {
        let latency = (facts.health)(index).latency?;
        (latency.samples >= self.samples_min && latency.age < self.retry_period).then_some(latency.average)
    }

    /// The latency beyond which nodes at `distance` are too slow.
    fn limit(&self, facts: &RoutingFacts<'_>, distances: &[Distance], distance: Distance) -> Option<Duration> {
        let nodes = (0..).take(facts.snapshot.nodes().len());
        let fastest = nodes
            .filter(|&index| distance_of(distances, index) == distance)
            .filter_map(|index| self.latency(facts, index))
            .min()?;
        Some(fastest.mul_f64(self.exclusion_threshold))
    }

    fn is_too_slow(&self, facts: &RoutingFacts<'_>, limit: Option<Duration>, index: NodeIndex) -> bool {
        limit.zip(self.latency(facts, index)).is_some_and(|(limit, latency)| latency > limit)
    }
}

impl LoadBalancing for LatencyAware {
    fn distance(&self, node: &Node, contact_datacenter: &str) -> Distance {
        self.inner.distance(node, contact_datacenter)
    }

    fn distances(&self, nodes: &[Node], contact_datacenter: &str) -> Vec<Distance> {
        self.inner.distances(nodes, contact_datacenter)
    }

    fn plan(&self, facts: &RoutingFacts<'_>, distances: &[Distance], plan: &mut Vec<NodeIndex>) {
        self.inner.plan(facts, distances, plan);
        let limits = [Distance::Local, Distance::Remote].map(|distance| self.limit(facts, distances, distance));
        plan.sort_by_cached_key(|&index| {
            let distance = distance_of(distances, index);
            let limit = limits[usize::from(distance != Distance::Local)];
            (!(facts.health)(index).is_up, distance, self.is_too_slow(facts, limit, index))
        });
    }

    fn first(&self, facts: &RoutingFacts<'_>, distances: &[Distance]) -> Option<NodeIndex> {
        let first = self.inner.first(facts, distances)?;
        let limit = self.limit(facts, distances, distance_of(distances, first));
        // The plan weighs all of them.
        (!self.is_too_slow(facts, limit, first)).then_some(first)
    }

    fn wants_latency(&self) -> bool {
        true
    }

    fn reasons(&self, facts: &RoutingFacts<'_>, index: NodeIndex) -> Vec<RankReason> {
        let mut reasons = self.inner.reasons(facts, index);
        reasons.extend(self.latency(facts, index).map(RankReason::HighLatency));
        reasons
    }
}

impl fmt::Debug for LatencyAware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LatencyAware").field("exclusion_threshold", &self.exclusion_threshold).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Situation, UP, cluster};
    use super::super::{NodeHealth, RecentLatency, TokenAware};
    use super::*;

    fn answering(millis: u64, samples: u64, age: u64) -> NodeHealth {
        let latency = RecentLatency { average: Duration::from_millis(millis), samples, age: Duration::from_secs(age) };
        NodeHealth { latency: Some(latency), ..UP }
    }

    fn policy() -> LatencyAware {
        LatencyAware::new(Arc::new(TokenAware::in_datacenter("dc1")))
    }

    #[test]
    fn node_much_slower_than_the_fastest_comes_after_the_others_of_its_data_centre() {
        let snapshot = cluster();
        let situation = Situation::new(&snapshot).replicas(&[0, 1]);
        let situation = situation.health(0, answering(21, 50, 0)).health(1, answering(10, 50, 0));

        assert_eq!(situation.plan(&policy())[0], 1);
        assert_eq!(situation.plan(&policy())[3], 0);
        assert!(!situation.firsts(&policy())[1].contains_key(&0));
    }

    #[test]
    fn twice_the_fastest_latency_is_still_fast_enough() {
        let snapshot = cluster();
        let situation = Situation::new(&snapshot).replicas(&[0, 1]);
        let situation = situation.health(0, answering(20, 50, 0)).health(1, answering(10, 50, 0));

        assert!(situation.firsts(&policy())[0].contains_key(&0));
    }

    #[test]
    fn few_or_old_measurements_do_not_count() {
        let snapshot = cluster();
        for unsure in [answering(500, 49, 0), answering(500, 50, 10)] {
            let situation = Situation::new(&snapshot).replicas(&[0, 1]);
            let situation = situation.health(0, unsure).health(1, answering(10, 50, 0));
            assert!(situation.firsts(&policy())[0].contains_key(&0), "{unsure:?}");
        }
    }
}
