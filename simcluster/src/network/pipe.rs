//! One direction of a connection: segments on their way, in order.
//!
//! # Invariants
//!
//! - Segments arrive in the order in which they were sent, whatever latencies were drawn.
//! - `queued` is the number of data bytes in `segments`.

use super::LinkConfig;
use crate::entropy::Dice;
use crate::kernel::SimInstant;
use bytes::Bytes;
use std::collections::VecDeque;
use std::time::Duration;

/// What a segment carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Payload {
    /// The connection is accepted (to the client only).
    Accepted,
    /// The connection is refused (to the client only).
    Refused,
    /// Bytes.
    Data(Bytes),
    /// The sender sends no more.
    Fin,
    /// The sender knows nothing of this connection.
    Reset,
}

/// A segment on its way.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub arrives_at: SimInstant,
    pub sent_at: SimInstant,
    pub payload: Payload,
}

/// The segments on their way in one direction.
#[derive(Debug)]
pub(super) struct Pipe {
    segments: VecDeque<Segment>,
    queued: usize,
    last_arrival: SimInstant,
    busy_until: SimInstant,
    dice: Dice,
}

impl Pipe {
    pub fn new(dice: Dice) -> Self {
        let start = SimInstant::START;
        Self { segments: VecDeque::new(), queued: 0, last_arrival: start, busy_until: start, dice }
    }

    /// Sends a payload; returns when it (or its last part) arrives. `arrivals` gets every moment of arrival.
    pub fn send(
        &mut self,
        now: SimInstant,
        payload: Payload,
        config: &LinkConfig,
        extra: Duration,
        mut arrival: impl FnMut(SimInstant),
    ) {
        let Payload::Data(bytes) = payload else { return arrival(self.push(now, payload, config, extra)) };
        let mut rest = bytes;
        if rest.len() > 1 && self.dice.chance(config.split_chance) {
            let position = self.split_position(rest.len());
            let first = rest.split_to(position);
            arrival(self.push(now, Payload::Data(first), config, extra));
        }
        arrival(self.push(now, Payload::Data(rest), config, extra));
    }

    /// Half of all splits fall into the first bytes: that is where headers are.
    fn split_position(&mut self, len: usize) -> usize {
        let inner = len as u64 - 1;
        let bound = if self.dice.chance(0.5) { inner.min(24) } else { inner };
        1 + usize::try_from(self.dice.below(bound)).unwrap_or(0)
    }

    fn push(&mut self, now: SimInstant, payload: Payload, config: &LinkConfig, extra: Duration) -> SimInstant {
        let len = if let Payload::Data(bytes) = &payload { bytes.len() } else { 0 };
        let mut departs_at = now;
        if let Some(bandwidth) = config.bandwidth {
            let nanos = len as u64 * 1_000_000_000 / bandwidth.max(1);
            departs_at = departs_at.max(self.busy_until) + Duration::from_nanos(nanos);
            self.busy_until = departs_at;
        }
        let drawn = departs_at + config.latency(&mut self.dice) + extra;
        let arrives_at = drawn.max(self.last_arrival);
        self.last_arrival = arrives_at;
        self.queued += len;
        self.segments.push_back(Segment { arrives_at, sent_at: now, payload });
        arrives_at
    }

    /// Takes the next segment that has arrived.
    pub fn pop(&mut self, now: SimInstant) -> Option<Segment> {
        let segment = self.segments.pop_front_if(|segment| segment.arrives_at <= now)?;
        if let Payload::Data(bytes) = &segment.payload {
            self.queued -= bytes.len();
        }
        Some(segment)
    }

    /// When the next segment arrives, or has arrived without being taken.
    pub fn next_arrival(&self) -> Option<SimInstant> {
        self.segments.front().map(|segment| segment.arrives_at)
    }

    /// Data bytes sent but not arrived.
    pub const fn queued(&self) -> usize {
        self.queued
    }

    /// Forgets everything on its way.
    pub fn clear(&mut self) {
        self.segments.clear();
        self.queued = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::Entropy;

    fn pipe(seed: u64) -> Pipe {
        Pipe::new(Entropy::new(seed).dice("pipe", 0))
    }

    #[test]
    fn segments_arrive_in_order_whatever_latency_is_drawn() {
        let config = LinkConfig { split_chance: 0.5, ..LinkConfig::default() };
        for seed in 0..50 {
            let mut pipe = pipe(seed);
            let mut sent = Vec::new();
            for number in 0..20_u8 {
                let bytes = vec![number; 1 + usize::from(number)];
                sent.extend_from_slice(&bytes);
                let now = SimInstant::from_nanos(u64::from(number) * 1000);
                pipe.send(now, Payload::Data(bytes.into()), &config, Duration::ZERO, |_| {});
            }
            assert_eq!(pipe.queued(), sent.len());

            let mut received = Vec::new();
            let mut last = SimInstant::START;
            while let Some(segment) = pipe.pop(SimInstant::from_nanos(u64::MAX)) {
                assert!(segment.arrives_at >= last);
                last = segment.arrives_at;
                if let Payload::Data(bytes) = segment.payload {
                    received.extend_from_slice(&bytes);
                }
            }

            assert_eq!(received, sent, "seed {seed}");
            assert_eq!(pipe.queued(), 0);
        }
    }

    #[test]
    fn bandwidth_spaces_segments_by_their_size() {
        let config = LinkConfig {
            latency_min: Duration::ZERO,
            latency_max: Duration::ZERO,
            bandwidth: Some(1_000),
            split_chance: 0.0,
            ..LinkConfig::default()
        };
        let mut pipe = pipe(1);
        let mut arrivals = Vec::new();
        for _ in 0..2 {
            let data = Payload::Data(vec![0; 500].into());
            pipe.send(SimInstant::START, data, &config, Duration::ZERO, |at| arrivals.push(at.as_nanos()));
        }

        assert_eq!(arrivals, [500_000_000, 1_000_000_000]);
    }

    #[test]
    fn nothing_is_taken_before_it_arrives() {
        let mut pipe = pipe(1);
        let mut at = SimInstant::START;
        pipe.send(SimInstant::START, Payload::Fin, &LinkConfig::default(), Duration::ZERO, |arrival| at = arrival);

        assert!(pipe.pop(SimInstant::from_nanos(at.as_nanos() - 1)).is_none());
        assert!(pipe.pop(at).is_some());
    }
}
