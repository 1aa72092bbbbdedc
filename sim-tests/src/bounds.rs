//! How long the driver may take for what, computed from a plan's settings.
//!
//! A liveness checker without a stated bound proves nothing; one with a guessed bound cries wolf.

use crate::plan::Plan;
use std::time::Duration;

/// The bounds of one plan, in simulated time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Scheduling slack: timers have a grain of a millisecond and the driver's deadline wheel is coarse.
    pub slack: Duration,
    /// The longest one-way delay of a link.
    pub latency: Duration,
    /// Until a peer that fell silent is given up: heartbeat interval and limit.
    pub detect: Duration,
    /// Until a node that accepts connections again is connected without any hint.
    pub reconnect: Duration,
    /// Until the control connection is back.
    pub control: Duration,
    /// Until metadata equal the truth, the control connection being healthy.
    pub metadata: Duration,
    /// Until everything above has happened one after the other, including the cluster's own recovery.
    pub settle: Duration,
}

impl Bounds {
    /// The bounds of `plan`.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        let ms = Duration::from_millis;
        let driver = &plan.driver;
        let slack = ms(100);
        let latency = Duration::from_micros(plan.cluster.latency_max_us);
        let connect = ms(driver.connect_timeout_ms);
        let detect = ms(driver.heartbeat_interval_ms + driver.heartbeat_timeout_ms) + slack;
        // Jitter lengthens the longest delay by 15 %.
        let longest_delay = ms(driver.reconnect_max_ms) * 115 / 100;
        let reconnect = longest_delay + connect + slack;
        let control = longest_delay + connect * (2 * plan.nodes()) + slack;
        let window = driver.schema_window_ms.max(driver.topology_window_ms).max(driver.status_window_ms);
        // What no event tells is found by the next periodic refresh.
        let events_are_lost = plan.faults.iter().any(|planned| planned.fault.hides_changes());
        let unheard = if events_are_lost { ms(driver.metadata_refresh_ms) } else { Duration::ZERO };
        let metadata = ms(2 * window) + unheard + INTERNAL_REQUEST * 2 + slack;
        let gossip = ms(plan.cluster.failure_detection_ms) + GOSSIP * 3;
        Self {
            slack,
            latency,
            detect,
            reconnect,
            control,
            metadata,
            settle: gossip + detect + reconnect.max(control) + metadata + moving(plan),
        }
    }
}

/// How long nodes that join or leave may still take when the last fault is over: Cassandra's ring delay, and what the
/// others need to learn of it.
fn moving(plan: &Plan) -> Duration {
    let moves = plan.faults.iter().any(|planned| planned.fault.changes_topology());
    if moves { Duration::from_secs(45) } else { Duration::ZERO }
}

/// The driver's limit of one internal query.
const INTERNAL_REQUEST: Duration = Duration::from_secs(5);

/// How often nodes gossip.
const GOSSIP: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::{Profile, Seed};

    #[test]
    fn settling_takes_at_least_as_long_as_each_part() {
        for bits in 0..50 {
            let plan = Plan::generate(Seed::new(Profile::Chaos, bits)).expect("chaos");
            let bounds = Bounds::of(&plan);
            for part in [bounds.detect, bounds.reconnect, bounds.control, bounds.metadata] {
                assert!(bounds.settle > part);
            }
        }
    }
}
