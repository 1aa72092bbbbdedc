//! The statements a session has prepared: bounded, least recently used out first.
//!
//! # Invariants
//!
//! - Of callers that prepare the same statement at the same time one asks the cluster; the others take its outcome. If
//!   that one gives up, another takes its place.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::error::Result;
use crate::statement::{Preparation, PreparedStatement};

/// Prepared statements by what they were prepared from.
pub(crate) struct PreparedCache {
    capacity: usize,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    entries: BTreeMap<Preparation, Entry>,
    /// The keys of all entries, by their last use.
    by_use: BTreeMap<u64, Preparation>,
    uses: u64,
    running: BTreeMap<Preparation, Arc<Running>>,
}

struct Entry {
    statement: PreparedStatement,
    last_use: u64,
}

/// A PREPARE under way.
#[derive(Default)]
struct Running {
    outcome: Mutex<Option<Result<PreparedStatement>>>,
    ended: Notify,
}

/// What a caller that wants a statement has to do.
enum Part {
    Known(PreparedStatement),
    Lead(Arc<Running>),
    Follow(Arc<Running>),
}

impl PreparedCache {
    /// Keeps up to `capacity` statements, at least one.
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity: capacity.max(1), inner: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The statement, prepared with `prepare` if it is not known and nobody else is preparing it.
    ///
    /// # Errors
    ///
    /// Those of `prepare`, also if another caller ran it. Failures are not kept.
    pub(crate) async fn get_or_prepare(
        &self,
        key: &Preparation,
        prepare: impl AsyncFnOnce() -> Result<PreparedStatement>,
    ) -> Result<PreparedStatement> {
        let running = loop {
            match self.part(key) {
                Part::Known(statement) => return Ok(statement),
                Part::Lead(running) => break running,
                Part::Follow(running) => {
                    if let Some(outcome) = running.outcome().await {
                        return outcome;
                    }
                }
            }
        };
        let lead = Lead { cache: self, key, running: &running };
        let outcome = prepare().await;
        if let Ok(statement) = &outcome {
            self.insert(key.clone(), statement.clone());
        }
        let shared = duplicate(&outcome);
        *running.outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(shared);
        drop(lead);
        outcome
    }

    fn part(&self, key: &Preparation) -> Part {
        let mut inner = self.lock();
        if let Some(statement) = inner.get(key) {
            return Part::Known(statement);
        }
        if let Some(running) = inner.running.get(key) {
            return Part::Follow(Arc::clone(running));
        }
        let running = Arc::new(Running::default());
        inner.running.insert(key.clone(), Arc::clone(&running));
        Part::Lead(running)
    }

    fn insert(&self, key: Preparation, statement: PreparedStatement) {
        let mut inner = self.lock();
        inner.uses += 1;
        let last_use = inner.uses;
        if let Some(replaced) = inner.entries.insert(key.clone(), Entry { statement, last_use }) {
            inner.by_use.remove(&replaced.last_use);
        }
        inner.by_use.insert(last_use, key);
        while inner.entries.len() > self.capacity
            && let Some((_, oldest)) = inner.by_use.pop_first()
        {
            inner.entries.remove(&oldest);
        }
    }

    /// All statements, the most recently used first.
    pub(crate) fn statements(&self) -> Vec<PreparedStatement> {
        let inner = self.lock();
        inner.by_use.values().rev().filter_map(|key| Some(inner.entries.get(key)?.statement.clone())).collect()
    }

    /// Forgets the statements about `keyspace`, whose schema changed: their variables may have other types.
    pub(crate) fn forget_keyspace(&self, keyspace: &str) {
        let mut inner = self.lock();
        let inner = &mut *inner;
        inner.entries.retain(|_, entry| {
            let state = entry.statement.state();
            let columns = state.variables.iter().chain(state.result_columns.iter().flat_map(|columns| columns.iter()));
            let is_about = columns.into_iter().any(|column| &*column.keyspace == keyspace);
            if is_about {
                inner.by_use.remove(&entry.last_use);
            }
            !is_about
        });
    }
}

impl Inner {
    fn get(&mut self, key: &Preparation) -> Option<PreparedStatement> {
        let entry = self.entries.get_mut(key)?;
        self.uses += 1;
        if let Some(key) = self.by_use.remove(&entry.last_use) {
            self.by_use.insert(self.uses, key);
        }
        entry.last_use = self.uses;
        Some(entry.statement.clone())
    }
}

impl Running {
    /// Waits for the end; `None` if the caller that prepared gave up.
    async fn outcome(&self) -> Option<Result<PreparedStatement>> {
        let ended = self.ended.notified();
        // The end may have come before this began to listen for it.
        if let Some(outcome) = self.taken() {
            return Some(outcome);
        }
        ended.await;
        self.taken()
    }

    fn taken(&self) -> Option<Result<PreparedStatement>> {
        let outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = outcome.as_ref()?;
        Some(duplicate(outcome))
    }
}

/// The same outcome for another caller.
fn duplicate(outcome: &Result<PreparedStatement>) -> Result<PreparedStatement> {
    match outcome {
        Ok(statement) => Ok(statement.clone()),
        Err(error) => Err(error.duplicate()),
    }
}

/// Ends the wait of the followers, also when the leader's future is dropped.
struct Lead<'a> {
    cache: &'a PreparedCache,
    key: &'a Preparation,
    running: &'a Running,
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        self.cache.lock().running.remove(self.key);
        self.running.ended.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::task::Poll;

    use super::*;
    use crate::execution::{Error, ErrorKind};
    use crate::statement::PreparedState;

    fn of(text: &str) -> Preparation {
        Preparation::new(text.into(), None)
    }

    fn statement(text: &str) -> PreparedStatement {
        let state = PreparedState {
            id: bytes::Bytes::new(),
            result_metadata_id: None,
            variables: [].into(),
            result_columns: None,
            known_columns: None,
            routing: None,
            is_counter: false,
        };
        PreparedStatement::new(of(text), state)
    }

    /// Asks for `text`; true if it had to be prepared.
    async fn is_prepared_anew(cache: &PreparedCache, keyspace: Option<&str>, text: &str) -> bool {
        let mut is_anew = false;
        let prepare = async || {
            is_anew = true;
            Ok(statement(text))
        };
        cache.get_or_prepare(&Preparation::new(text.into(), keyspace.map(Arc::from)), prepare).await.unwrap();
        is_anew
    }

    #[tokio::test]
    async fn least_recently_used_statement_leaves_a_full_cache() {
        let cache = PreparedCache::new(2);
        for text in ["a", "b"] {
            assert!(is_prepared_anew(&cache, None, text).await);
        }
        assert!(!is_prepared_anew(&cache, None, "a").await);

        assert!(is_prepared_anew(&cache, None, "c").await);

        let texts: Vec<_> = cache.statements().iter().map(|statement| statement.text().to_owned()).collect();
        assert_eq!(texts, ["c", "a"]);
        assert!(is_prepared_anew(&cache, Some("k"), "c").await, "another keyspace is another statement");
    }

    #[tokio::test]
    async fn bound_holds_however_many_statements_come() {
        let cache = PreparedCache::new(3);
        for number in 0..100 {
            is_prepared_anew(&cache, None, &number.to_string()).await;
        }
        let inner = cache.lock();
        assert_eq!((inner.entries.len(), inner.by_use.len(), inner.running.len()), (3, 3, 0));
    }

    #[tokio::test]
    async fn callers_at_the_same_time_share_one_preparation() {
        let (cache, count, gate) = (PreparedCache::new(9), AtomicU32::new(0), Notify::new());
        let text = of("text");
        let one = || {
            cache.get_or_prepare(&text, async || {
                count.fetch_add(1, Ordering::Relaxed);
                gate.notified().await;
                Ok(statement("text"))
            })
        };
        let opening = async {
            tokio::task::yield_now().await;
            gate.notify_waiters();
        };

        let (first, second, third, ()) = tokio::join!(one(), one(), one(), opening);

        assert!(first.is_ok() && second.is_ok() && third.is_ok());
        assert_eq!(count.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn failure_is_shared_by_those_who_wait_and_then_forgotten() {
        let cache = PreparedCache::new(9);
        let text = of("text");
        let fail = async || {
            tokio::task::yield_now().await;
            Err(Error::not_sent(ErrorKind::Syntax("no".to_owned())))
        };
        let (first, second) = tokio::join!(
            cache.get_or_prepare(&text, fail),
            cache.get_or_prepare(&text, async || { panic!("a follower prepares") })
        );

        assert_eq!(first.unwrap_err().kind(), second.unwrap_err().kind());
        assert!(is_prepared_anew(&cache, None, "text").await);
    }

    #[tokio::test]
    async fn another_caller_takes_the_place_of_one_that_gives_up() {
        let cache = PreparedCache::new(9);
        let text = of("text");
        {
            let mut leader = pin!(cache.get_or_prepare(&text, async || std::future::pending().await));
            let mut follower = pin!(is_prepared_anew(&cache, None, "text"));
            let polled = poll_fn(|cx| Poll::Ready((leader.as_mut().poll(cx), follower.as_mut().poll(cx)))).await;
            assert!(polled.0.is_pending() && polled.1.is_pending());
        }

        assert!(is_prepared_anew(&cache, None, "text").await);

        let mut leader = Box::pin(cache.get_or_prepare(&text, async || panic!("it is known")));
        assert!(poll_fn(|cx| Poll::Ready(leader.as_mut().poll(cx))).await.is_ready());
    }

    #[tokio::test]
    async fn waiting_caller_prepares_when_the_leader_is_dropped() {
        let cache = PreparedCache::new(9);
        let text = of("text");
        let mut leader = Box::pin(cache.get_or_prepare(&text, async || std::future::pending().await));
        let mut follower = pin!(is_prepared_anew(&cache, None, "text"));
        let polled = poll_fn(|cx| Poll::Ready((leader.as_mut().poll(cx).is_ready(), follower.as_mut().poll(cx)))).await;
        assert!(!polled.0 && polled.1.is_pending());

        drop(leader);

        assert!(follower.await);
    }

    #[tokio::test]
    async fn statements_are_told_apart_by_text_keyspace_and_payload() {
        let cache = PreparedCache::new(9);
        let plain = of("a");
        let named = Preparation { is_keyspace_named: true, ..Preparation::new("a".into(), Some("k".into())) };
        let payload = |byte: u8| {
            let payload = BTreeMap::from([("key".to_owned(), bytes::Bytes::from(vec![byte]))]);
            Preparation { custom_payload: Some(Arc::new(payload)), ..of("a") }
        };
        for _ in 0..2 {
            for preparation in [&plain, &of("b"), &named, &payload(1), &payload(2)] {
                cache.get_or_prepare(preparation, async || Ok(statement("a"))).await.unwrap();
            }
        }
        assert_eq!(cache.statements().len(), 5);
    }
}
