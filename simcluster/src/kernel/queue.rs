//! Events in the order in which they are due.
//!
//! # Invariants
//!
//! - Events due at the same moment leave in the order in which they were scheduled.

use super::SimInstant;
use std::collections::BTreeMap;

/// An ordered map of events keyed by (time, sequence number).
#[derive(Debug)]
pub struct EventQueue<E> {
    events: BTreeMap<(SimInstant, u64), E>,
    sequence: u64,
}

impl<E> EventQueue<E> {
    /// An empty queue.
    #[must_use]
    pub const fn new() -> Self {
        Self { events: BTreeMap::new(), sequence: 0 }
    }

    /// Schedules an event.
    pub fn push(&mut self, at: SimInstant, event: E) {
        self.sequence += 1;
        self.events.insert((at, self.sequence), event);
    }

    /// When the next event is due.
    #[must_use]
    pub fn next_due(&self) -> Option<SimInstant> {
        self.events.first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes the next event that is due at `now` or earlier, with the moment it was due.
    pub fn pop_due(&mut self, now: SimInstant) -> Option<(SimInstant, E)> {
        let entry = self.events.first_entry()?;
        let at = entry.key().0;
        (at <= now).then(|| (at, entry.remove()))
    }

    /// How many events are scheduled.
    #[must_use]
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether nothing is scheduled.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }
}

impl<E> Default for EventQueue<E> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_leave_by_time_and_then_by_order_of_scheduling() {
        let at = SimInstant::from_nanos;
        let mut queue = EventQueue::new();
        queue.push(at(2), 'c');
        queue.push(at(1), 'a');
        queue.push(at(1), 'b');
        queue.push(at(3), 'd');

        let mut taken = String::new();
        while let Some((_, event)) = queue.pop_due(at(2)) {
            taken.push(event);
        }

        assert_eq!(taken, "abc", "what is due at 3 stays");
        assert_eq!(queue.next_due(), Some(at(3)));
    }
}
