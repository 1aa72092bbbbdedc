//! An application that goes on while nodes fail, and what it must be able to say afterwards.

use super::{Background, Stage};
use helenus::env::{Instant, sleep};
use helenus::{Consistency, ErrorKind, PreparedStatement, Session};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Writers and readers at QUORUM, all idempotent, until they are stopped.
pub(super) struct Load {
    session: Session,
    is_over: Arc<AtomicBool>,
    workers: Vec<Background<Tally>>,
}

/// What one worker saw.
#[derive(Default)]
struct Tally {
    acknowledged: Vec<i32>,
    errors: Vec<Trouble>,
    longest: Duration,
}

/// A call that failed.
struct Trouble {
    told: String,
    /// Whether a replica refused it.
    is_refusal: bool,
}

impl Trouble {
    fn of(what: &str, error: &helenus::Error) -> Self {
        let is_refusal = matches!(error.kind(), ErrorKind::ReadFailure { .. } | ErrorKind::WriteFailure { .. });
        Self { told: format!("{what}: {error}"), is_refusal }
    }
}

/// A call may take this long: the limit given to the session, and a second of grace.
const CALL_MAX: Duration = Duration::from_secs(21);

impl Load {
    /// Begins, in the test's keyspace.
    pub(super) async fn begin(stage: &Stage) -> Result<Self, helenus::Error> {
        let settings = |builder: helenus::SessionBuilder| {
            // A coordinator that is silent must not use up the whole time of a call.
            builder.request_timeout(Duration::from_secs(20)).attempt_timeout(Duration::from_secs(3))
        };
        let session = stage.session_with(3, settings).await?;
        session.query("CREATE TABLE load (id int PRIMARY KEY, v int)").execute().await?;
        let insert = session.prepare("INSERT INTO load (id, v) VALUES (?, ?)").await?;
        let select = session.prepare("SELECT v FROM load WHERE id = ?").await?;
        let is_over = Arc::new(AtomicBool::new(false));
        let worker = |number: i32| {
            let work = work(session.clone(), insert.clone(), select.clone(), number, is_over.clone());
            stage.spawn(work)
        };
        let workers = (0..WORKERS).map(worker).collect();
        Ok(Self { session, is_over, workers })
    }

    /// The session under load.
    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    /// Stops, and checks what must hold whatever happened: every call ended in time, every acknowledged write is read
    /// back. Answers the errors of the calls that failed.
    pub(super) async fn end(self) -> Result<Vec<String>, Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.troubles().await?.into_iter().map(|trouble| trouble.told).collect())
    }

    /// As [`Self::end`], after nodes have joined or left. A replica refuses what a coordinator still sends it for a
    /// range that it no longer owns (CASSANDRA-13704): that is an answer of the cluster's, and none of the driver's.
    pub(super) async fn end_after_moves(self) -> Result<Vec<String>, Box<dyn std::error::Error + Send + Sync>> {
        let troubles = self.troubles().await?;
        Ok(troubles.into_iter().filter(|trouble| !trouble.is_refusal).map(|trouble| trouble.told).collect())
    }

    async fn troubles(self) -> Result<Vec<Trouble>, Box<dyn std::error::Error + Send + Sync>> {
        self.is_over.store(true, Ordering::Relaxed);
        let (mut acknowledged, mut errors) = (BTreeSet::new(), Vec::new());
        for worker in self.workers {
            let tally = worker.join().await?;
            if tally.longest > CALL_MAX {
                return Err(format!("a call took {:?}", tally.longest).into());
            }
            acknowledged.extend(tally.acknowledged);
            errors.extend(tally.errors);
        }
        let select = self.session.query("SELECT id FROM load").consistency(Consistency::Quorum).idempotent(true);
        let found: BTreeSet<i32> = select.page_size(500).all::<(i32,)>().await?.into_iter().map(|(id,)| id).collect();
        let lost: Vec<&i32> = acknowledged.difference(&found).collect();
        if acknowledged.is_empty() || !lost.is_empty() {
            return Err(format!("{} writes were acknowledged, lost are {lost:?}", acknowledged.len()).into());
        }
        Ok(errors)
    }
}

async fn work(
    session: Session,
    insert: PreparedStatement,
    select: PreparedStatement,
    number: i32,
    is_over: Arc<AtomicBool>,
) -> Tally {
    let mut tally = Tally::default();
    let mut id = number;
    while !is_over.load(Ordering::Relaxed) {
        let began = Instant::now();
        let write = session.query(&insert).bind((id, id)).consistency(Consistency::Quorum).idempotent(true);
        match write.execute().await {
            Ok(_) => tally.acknowledged.push(id),
            Err(error) => tally.errors.push(Trouble::of("write", &error)),
        }
        tally.longest = tally.longest.max(began.elapsed());
        let began = Instant::now();
        let read = session.query(&select).bind((id,)).consistency(Consistency::Quorum).idempotent(true);
        match read.optional::<(i32,)>().await {
            Ok(Some(_)) => {}
            // What was not acknowledged may be missing.
            Ok(None) if tally.acknowledged.last() != Some(&id) => {}
            Ok(None) => {
                let told = format!("read: the acknowledged row {id} is missing");
                tally.errors.push(Trouble { told, is_refusal: false });
            }
            Err(error) => tally.errors.push(Trouble::of("read", &error)),
        }
        tally.longest = tally.longest.max(began.elapsed());
        id += WORKERS;
        sleep(Duration::from_millis(20)).await;
    }
    tally
}

const WORKERS: i32 = 4;
