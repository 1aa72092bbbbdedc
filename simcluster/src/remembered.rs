//! Results of functions that depend on nothing but their arguments, remembered.
//!
//! Nodes of one cluster, and the clusters of a campaign, are asked the same things again and again. Whether an answer is
//! remembered or computed decides nothing but the time it takes: what is kept here must be a function of its key.

use std::borrow::Borrow;
use std::cell::RefCell;
use std::collections::BTreeMap;

/// Longer statements are not worth remembering: they are full of values and seldom come again.
pub const TEXT_LEN_MAX: usize = 1_024;

/// Results by what they are a function of; one per thread.
#[derive(Debug)]
pub struct Remembered<K, V> {
    known: RefCell<BTreeMap<K, V>>,
    max: usize,
}

impl<K: Ord, V: Clone> Remembered<K, V> {
    /// Remembers up to `max` results; then it forgets all and begins again.
    #[must_use]
    pub const fn new(max: usize) -> Self {
        Self { known: RefCell::new(BTreeMap::new()), max }
    }

    /// The result, if it is remembered.
    pub fn recall<Q: Ord + ?Sized>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.known.borrow().get(key).cloned()
    }

    /// Remembers a result.
    pub fn remember(&self, key: K, result: V) {
        let mut known = self.known.borrow_mut();
        if known.len() >= self.max {
            known.clear();
        }
        known.insert(key, result);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_remembered_until_there_are_too_many() {
        let squares = Remembered::new(2);
        for n in [2, 3] {
            assert_eq!(squares.recall(&n), None);
            squares.remember(n, n * n);
        }
        assert_eq!((squares.recall(&2), squares.recall(&3)), (Some(4), Some(9)));
        squares.remember(4, 16);
        assert_eq!((squares.recall(&2), squares.recall(&4)), (None, Some(16)));
    }
}
