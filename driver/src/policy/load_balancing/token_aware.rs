//! Replicas first, the nearer and less busy ones before the others.
//!
//! # Source
//!
//! The default policy of the Java driver 4.x (shuffled replicas, slow and fresh ones moved back, two choices by
//! requests in flight), with racks, and with a stable order for lightweight transactions.

use super::{
    Distance, LoadBalancing, NodeHealth, RankReason, RoutingFacts, append_rotated, below, distance_of, shuffle,
};
use crate::topology::{Node, NodeIndex};

/// Replicas first, then the other nodes rotated; local data centre before remote ones. The default.
///
/// Of two replicas drawn at random the one with fewer requests in flight comes first. Replicas that are slow, or have
/// just come up while others have not, come after the other replicas; nodes under suspicion after all others of their
/// data centre; nodes that are down last. Lightweight transactions ask the replicas in the order of the ring, so that
/// all clients meet at the same one.
#[derive(Debug, Clone, Default)]
pub struct TokenAware {
    local_datacenter: Option<String>,
    local_rack: Option<String>,
    is_remote_allowed: bool,
    is_remote_allowed_for_local_consistency: bool,
    remote_nodes_max: Option<usize>,
    remote_datacenters: Vec<String>,
}

impl TokenAware {
    /// Prefers the data centre of the contact point and uses others when it has no node left.
    #[must_use]
    pub fn new() -> Self {
        Self { is_remote_allowed: true, ..Self::default() }
    }

    /// Uses only this data centre, unless [`Self::allow_remote`].
    #[must_use]
    pub fn in_datacenter(name: impl Into<String>) -> Self {
        Self { local_datacenter: Some(name.into()), ..Self::default() }
    }

    /// Prefers the nodes of this rack of the local data centre, which saves traffic between racks and concentrates
    /// load if clients are spread unevenly. Default: none.
    #[must_use]
    pub fn prefer_rack(mut self, name: impl Into<String>) -> Self {
        self.local_rack = Some(name.into());
        self
    }

    /// Adds nodes of other data centres at the end of plans, except for `LOCAL_` consistency levels. Default: not
    /// when a local data centre was named.
    #[must_use]
    pub fn allow_remote(mut self, is_allowed: bool) -> Self {
        self.is_remote_allowed = is_allowed;
        self
    }

    /// Connects to at most this many nodes of each remote data centre. Default: all.
    #[must_use]
    pub fn remote_nodes_max(mut self, count: usize) -> Self {
        self.remote_nodes_max = Some(count);
        self
    }

    /// Uses only these remote data centres, in this order. Default: all, in no order.
    #[must_use]
    pub fn remote_datacenters<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.remote_datacenters = names.into_iter().map(Into::into).collect();
        self
    }

    /// Lets remote nodes coordinate `LOCAL_` consistency levels too, which then mean *their* data centre: a read may
    /// miss what was written here. Default: no.
    #[must_use]
    pub fn allow_remote_for_local_consistency(mut self, is_allowed: bool) -> Self {
        self.is_remote_allowed_for_local_consistency = is_allowed;
        self
    }

    fn is_usable(&self, facts: &RoutingFacts<'_>, distances: &[Distance], index: NodeIndex) -> bool {
        match distance_of(distances, index) {
            Distance::Local => true,
            Distance::Remote => !facts.is_local_consistency || self.is_remote_allowed_for_local_consistency,
            Distance::Ignored => false,
        }
    }

    fn is_on_local_rack(&self, facts: &RoutingFacts<'_>, index: NodeIndex) -> bool {
        let Some(rack) = &self.local_rack else { return false };
        facts.snapshot.nodes().get(usize::from(index)).is_some_and(|node| *node.rack == **rack)
    }

    /// Position of the node's data centre among the remote ones; zero if they have no order.
    fn datacenter_rank(&self, facts: &RoutingFacts<'_>, index: NodeIndex) -> usize {
        let node = &facts.snapshot.nodes()[usize::from(index)];
        self.remote_datacenters.iter().position(|name| **name == *node.datacenter).unwrap_or(0)
    }

    /// Puts replicas, given in random order, in the order to ask them.
    fn order(&self, facts: &RoutingFacts<'_>, replicas: &mut [NodeIndex]) {
        let health: Vec<_> = replicas.iter().map(|&index| (facts.health)(index)).collect();
        let is_minority = |count: usize| count * 2 < replicas.len();
        // If most are slow, the others would only be next: they keep their share.
        let avoid_slow = is_minority(health.iter().filter(|health| health.is_slow).count());
        // After a start of the session all are fresh, and that says nothing about them.
        let avoid_fresh =
            !health.iter().all(|health| health.is_just_up) && below(facts.entropy, "fresh replica", FRESH_SHARE) != 0;
        let mut ranked: Vec<_> = replicas
            .iter()
            .zip(health)
            .map(|(&index, health)| {
                let is_other_rack = self.local_rack.is_some() && !self.is_on_local_rack(facts, index);
                let is_avoided = (avoid_slow && health.is_slow) || (avoid_fresh && health.is_just_up);
                (is_other_rack, is_avoided, index, health.in_flight)
            })
            .collect();
        ranked.sort_by_key(|&(is_other_rack, is_avoided, ..)| (is_other_rack, is_avoided));
        if let [first, second, ..] = ranked.as_mut_slice()
            && (first.0, first.1) == (second.0, second.1)
            && second.3 < first.3
        {
            std::mem::swap(first, second);
        }
        for (replica, (.., index, _)) in replicas.iter_mut().zip(ranked) {
            *replica = index;
        }
    }

    /// Two random ones of the nearest usable replicas, without looking at their health.
    fn two_replicas(&self, facts: &RoutingFacts<'_>, distances: &[Distance]) -> Option<(NodeIndex, NodeIndex)> {
        let is_local = |index: &&NodeIndex| distance_of(distances, **index) == Distance::Local;
        let is_near = |index: &&NodeIndex| is_local(index) && self.is_on_local_rack(facts, **index);
        let near = if self.local_rack.is_some() { facts.replicas.iter().filter(is_near).count() } else { 0 };
        let count = if near > 0 { near } else { facts.replicas.iter().filter(is_local).count() };
        let nth = |position| {
            let mut local = facts.replicas.iter().filter(is_local);
            if near > 0 { facts.replicas.iter().filter(is_near).nth(position) } else { local.nth(position) }
        };
        match count {
            0 => None,
            1 => nth(0).map(|&only| (only, only)),
            count => {
                // One draw gives an ordered pair of distinct positions.
                let draw = below(facts.entropy, "replica choice", count * (count - 1));
                let (first, step) = (draw % count, draw / count + 1);
                Some((*nth(first)?, *nth((first + step) % count)?))
            }
        }
    }
}

/// A replica that has just come up is treated like the others once in so many times.
const FRESH_SHARE: usize = 4;

impl LoadBalancing for TokenAware {
    fn distance(&self, node: &Node, contact_datacenter: &str) -> Distance {
        let local = self.local_datacenter.as_deref().unwrap_or(contact_datacenter);
        let is_wanted = || {
            self.remote_datacenters.is_empty() || self.remote_datacenters.iter().any(|name| **name == *node.datacenter)
        };
        if *node.datacenter == *local {
            Distance::Local
        } else if self.is_remote_allowed && is_wanted() {
            Distance::Remote
        } else {
            Distance::Ignored
        }
    }

    fn distances(&self, nodes: &[Node], contact_datacenter: &str) -> Vec<Distance> {
        let mut distances: Vec<_> = nodes.iter().map(|node| self.distance(node, contact_datacenter)).collect();
        let Some(max) = self.remote_nodes_max else { return distances };
        for (position, node) in nodes.iter().enumerate() {
            let earlier = nodes[..position].iter().zip(&distances);
            let is_counted =
                |other: &Node, distance: Distance| distance == Distance::Remote && other.datacenter == node.datacenter;
            let count = earlier.filter(|(other, distance)| is_counted(other, **distance)).count();
            if distances[position] == Distance::Remote && count >= max {
                distances[position] = Distance::Ignored;
            }
        }
        distances
    }

    fn plan(&self, facts: &RoutingFacts<'_>, distances: &[Distance], plan: &mut Vec<NodeIndex>) {
        let usable = |index: NodeIndex| self.is_usable(facts, distances, index);
        plan.extend(facts.replicas.iter().copied().filter(|&index| usable(index)));
        let replicas = plan.len();
        if !facts.is_conditional {
            shuffle(plan, facts.entropy);
            // The order is that of the first pick, and needs the nearer ones in front.
            plan.sort_by_cached_key(|&index| {
                let health = (facts.health)(index);
                (!health.is_up || health.is_suspect, distance_of(distances, index))
            });
            let first_group = plan.iter().take_while(|&&index| {
                let health = (facts.health)(index);
                health.is_up && !health.is_suspect && distance_of(distances, index) == Distance::Local
            });
            let count = first_group.count();
            self.order(facts, &mut plan[..count]);
        }
        append_rotated(facts, plan, usable);
        let mut ranked: Vec<_> = plan
            .iter()
            .enumerate()
            .map(|(position, &index)| {
                let health = (facts.health)(index);
                let is_other_rack = position >= replicas && !self.is_on_local_rack(facts, index);
                let distance = distance_of(distances, index);
                let datacenter = if distance == Distance::Remote { self.datacenter_rank(facts, index) } else { 0 };
                ((!health.is_up, distance, datacenter, health.is_suspect, position >= replicas, is_other_rack), index)
            })
            .collect();
        // Stable: what was decided above stays where nothing weightier comes between.
        ranked.sort_by_key(|(key, _)| *key);
        plan.clear();
        plan.extend(ranked.into_iter().map(|(_, index)| index));
    }

    fn first(&self, facts: &RoutingFacts<'_>, distances: &[Distance]) -> Option<NodeIndex> {
        let is_usual = |health: NodeHealth| health.is_up && !health.is_suspect;
        if facts.is_conditional {
            let mut local = facts.replicas.iter().filter(|index| distance_of(distances, **index) == Distance::Local);
            return local.find(|index| is_usual((facts.health)(**index))).copied();
        }
        let (first, second) = self.two_replicas(facts, distances)?;
        let health = (facts.health)(first);
        if first == second {
            return is_usual(health).then_some(first);
        }
        let other = (facts.health)(second);
        // Anything unusual is weighed with all replicas in sight, by the plan.
        let is_plain = |health: NodeHealth| is_usual(health) && !health.is_slow && !health.is_just_up;
        if is_plain(health) && is_plain(other) {
            return Some(if other.in_flight < health.in_flight { second } else { first });
        }
        // After a start of the session all are fresh: the plan would not weigh that either.
        let is_fresh = |health: NodeHealth| is_usual(health) && !health.is_slow && health.is_just_up;
        let all_fresh = || {
            let mut local = facts.replicas.iter().filter(|index| distance_of(distances, **index) == Distance::Local);
            local.all(|index| (facts.health)(*index).is_just_up)
        };
        let is_even = is_fresh(health) && is_fresh(other) && all_fresh();
        is_even.then_some(if other.in_flight < health.in_flight { second } else { first })
    }

    fn reasons(&self, facts: &RoutingFacts<'_>, index: NodeIndex) -> Vec<RankReason> {
        if self.is_on_local_rack(facts, index) { vec![RankReason::LocalRack] } else { Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Situation, UP, cluster};
    use super::*;

    const DOWN: NodeHealth = NodeHealth { is_up: false, ..UP };
    const SUSPECT: NodeHealth = NodeHealth { is_suspect: true, ..UP };
    const SLOW: NodeHealth = NodeHealth { is_slow: true, in_flight: 10, ..UP };
    const FRESH: NodeHealth = NodeHealth { is_just_up: true, ..UP };

    fn busy(in_flight: usize) -> NodeHealth {
        NodeHealth { in_flight, ..UP }
    }

    fn local() -> TokenAware {
        TokenAware::in_datacenter("dc1")
    }

    #[test]
    fn plan_starts_with_the_replicas_and_names_every_node_once() {
        let snapshot = cluster();
        let situation = Situation::new(&snapshot).replicas(&[2, 0]);
        for _ in 0..50 {
            let mut plan = situation.plan(&TokenAware::new());
            assert!(plan[..2] == [2, 0] || plan[..2] == [0, 2], "replicas first: {plan:?}");
            assert!(plan[4..].iter().all(|index| *index >= 4), "remote data centres last: {plan:?}");
            plan.sort_unstable();
            assert_eq!(plan, [0, 1, 2, 3, 4, 5, 6, 7]);
        }
    }

    #[test]
    fn down_nodes_come_last_but_stay_in_the_plan() {
        let snapshot = cluster();
        let plan = Situation::new(&snapshot).replicas(&[1, 2]).health(1, DOWN).plan(&local());

        assert_eq!((plan[0], plan[3], plan.len()), (2, 1, 4));
    }

    #[test]
    fn suspects_come_after_all_other_nodes_of_their_data_centre() {
        let snapshot = cluster();
        let situation = Situation::new(&snapshot).replicas(&[1, 2]).health(1, SUSPECT);

        let plan = situation.plan(&TokenAware::new());
        assert_eq!((plan[0], plan[3]), (2, 1), "{plan:?}");
        assert_eq!(situation.firsts(&local()).map(|firsts| firsts.contains_key(&1)), [false, false]);
    }

    #[test]
    fn local_consistency_never_leaves_the_data_centre() {
        let snapshot = cluster();
        let plan = Situation::new(&snapshot).replicas(&[4, 1]).local_consistency().plan(&TokenAware::new());

        assert_eq!(plan[0], 1);
        assert!(plan.iter().all(|index| *index < 4), "{plan:?}");
    }

    #[test]
    fn local_consistency_leaves_the_data_centre_only_on_the_users_word() {
        let snapshot = cluster();
        let policy = TokenAware::new().allow_remote_for_local_consistency(true);
        let plan = Situation::new(&snapshot).local_consistency().plan(&policy);

        assert_eq!(plan.len(), 8);
    }

    #[test]
    fn named_data_centre_ignores_the_others() {
        let snapshot = cluster();
        let plan = Situation::new(&snapshot).replicas(&[0, 5]).plan(&TokenAware::in_datacenter("dc2"));

        assert_eq!(plan[0], 5);
        assert_eq!(plan.len(), 3);
    }

    #[test]
    fn remote_data_centres_are_limited_in_nodes_and_ordered() {
        let snapshot = cluster();
        let policy = local().allow_remote(true).remote_datacenters(["dc3", "dc2"]).remote_nodes_max(2);

        for _ in 0..20 {
            let mut plan = Situation::new(&snapshot).plan(&policy);
            assert_eq!(plan[4], 7, "the first remote data centre: {plan:?}");
            plan.sort_unstable();
            assert_eq!(plan, [0, 1, 2, 3, 4, 5, 7], "two of dc2 at most");
        }
        let only = local().allow_remote(true).remote_datacenters(["dc3"]);
        assert_eq!(Situation::new(&snapshot).plan(&only)[4..], [7]);
    }

    #[test]
    fn remote_replicas_come_before_other_remote_nodes() {
        let snapshot = cluster();
        let plan = Situation::new(&snapshot).replicas(&[6, 2]).plan(&TokenAware::new());

        assert_eq!((plan[0], plan[4]), (2, 6), "{plan:?}");
    }

    #[test]
    fn each_replica_is_first_equally_often() {
        let snapshot = cluster();
        for firsts in Situation::new(&snapshot).replicas(&[0, 1, 2]).firsts(&local()) {
            assert!([0, 1, 2].iter().all(|index| (250..420).contains(&firsts[index])), "{firsts:?}");
        }
    }

    #[test]
    fn of_two_replicas_the_less_busy_one_is_first() {
        let snapshot = cluster();
        let situation = Situation::new(&snapshot).replicas(&[0, 1]).health(0, busy(5)).health(1, busy(4));
        assert_eq!(situation.firsts(&local()).map(|firsts| firsts[&1]), [1000, 1000]);

        let situation = Situation::new(&snapshot).replicas(&[0, 1, 2]).health(0, busy(9)).health(1, busy(4));
        for firsts in situation.firsts(&local()) {
            assert!(!firsts.contains_key(&0), "the busiest of three loses to any other: {firsts:?}");
            assert!(firsts[&1] > 200, "two choices do not herd to the idlest: {firsts:?}");
        }
    }

    #[test]
    fn replicas_on_the_local_rack_come_first_and_then_other_nodes_of_the_rack() {
        let snapshot = cluster();
        let policy = local().prefer_rack("r1");
        let situation = Situation::new(&snapshot).replicas(&[0, 1, 2]).health(1, busy(99));

        let plan = situation.plan(&policy);
        assert_eq!((plan[0], plan[3]), (1, 3), "{plan:?}");
        assert_eq!(situation.firsts(&policy).map(|firsts| firsts[&1]), [1000, 1000]);

        let plan = Situation::new(&snapshot).plan(&policy);
        assert!(plan[..2].iter().all(|index| index % 2 == 1), "{plan:?}");
    }

    #[test]
    fn slow_replica_is_moved_back_unless_most_are_slow() {
        let snapshot = cluster();
        let one = Situation::new(&snapshot).replicas(&[0, 1, 2]).health(0, SLOW);
        assert_eq!(one.firsts(&local()).map(|firsts| firsts.contains_key(&0)), [false, false]);
        assert_eq!(one.plan(&local())[2], 0, "still before the nodes that are no replicas");

        let two = Situation::new(&snapshot).replicas(&[0, 1, 2]).health(0, SLOW).health(1, SLOW);
        let firsts = &two.firsts(&local())[0];
        assert!(firsts.contains_key(&0) && firsts.contains_key(&1), "{firsts:?}");
    }

    #[test]
    fn replica_that_came_up_a_moment_ago_is_first_less_often() {
        let snapshot = cluster();
        let situation = Situation::new(&snapshot).replicas(&[0, 1, 2]).health(0, FRESH);
        let fresh = situation.firsts(&local())[0].get(&0).copied().unwrap_or(0);
        assert!((30..180).contains(&fresh), "{fresh} of 1000");

        let all = Situation::new(&snapshot).replicas(&[0, 1, 2]).health(0, FRESH).health(1, FRESH).health(2, FRESH);
        for firsts in all.firsts(&local()) {
            assert!([0, 1, 2].iter().all(|index| (250..420).contains(&firsts[index])), "{firsts:?}");
        }
    }

    #[test]
    fn lightweight_transactions_ask_the_replicas_in_the_order_of_the_ring() {
        let snapshot = cluster();
        let situation = Situation::new(&snapshot).replicas(&[2, 0, 1]).conditional().health(2, busy(50));
        for _ in 0..20 {
            assert_eq!(situation.plan(&local())[..3], [2, 0, 1]);
            assert_eq!(situation.first(&local()), Some(2));
        }
        let situation = situation.health(2, DOWN);
        assert_eq!(situation.plan(&local())[..2], [0, 1]);
        assert_eq!(situation.first(&local()), Some(0));
    }

    #[test]
    fn no_node_is_picked_without_a_plan_if_all_replicas_are_unusual() {
        let snapshot = cluster();
        let situation = Situation::new(&snapshot).replicas(&[0, 1]).health(0, DOWN).health(1, SUSPECT);
        assert_eq!(situation.first(&local()), None);
        assert_eq!(Situation::new(&snapshot).first(&local()), None, "no replica is known");
    }
}
