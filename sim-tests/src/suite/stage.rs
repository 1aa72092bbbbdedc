//! What a test holds: the cluster, a keyspace of its own, sessions, time.

use super::{Pinned, Release, TestCluster};
use helenus::env::{Instant, sleep};
use helenus::{Consistency, Error, Session, SessionBuilder};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The cluster as one test sees it. Cheap to clone; all clones are the same stage.
#[derive(Clone)]
pub struct Stage {
    inner: Arc<Inner>,
}

struct Inner {
    cluster: Arc<dyn TestCluster>,
    keyspace: String,
    credentials: Option<(String, String)>,
    seed: u64,
    clients: AtomicU64,
    sessions: Mutex<Vec<Session>>,
}

impl Stage {
    /// A stage on a cluster. `name` names its keyspace and must be a lower-case identifier; `seed` decides the random
    /// values of the test.
    #[must_use]
    pub fn new(cluster: Arc<dyn TestCluster>, name: &str, is_authenticated: bool, seed: u64) -> Self {
        // Cassandra allows 48 characters.
        let keyspace: String = name.chars().take(30).collect::<String>() + &format!("_{:08x}", seed & 0xffff_ffff);
        let credentials = is_authenticated.then(|| (SUPERUSER.to_owned(), SUPERUSER.to_owned()));
        let sessions = Mutex::default();
        Self { inner: Arc::new(Inner { cluster, keyspace, credentials, seed, clients: AtomicU64::new(0), sessions }) }
    }

    /// The cluster, to be broken.
    #[must_use]
    pub fn cluster(&self) -> &dyn TestCluster {
        &*self.inner.cluster
    }

    /// The release that the nodes run.
    #[must_use]
    pub fn release(&self) -> Release {
        self.cluster().release()
    }

    /// The name of the test's own keyspace. [`Self::session`] creates it.
    #[must_use]
    pub fn keyspace(&self) -> &str {
        &self.inner.keyspace
    }

    /// Decides the random values of the test.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.inner.seed
    }

    /// A builder with this world's environment, contact points, credentials and patience for schema agreement; everything
    /// else is the default.
    pub fn builder(&self) -> SessionBuilder {
        let members = self.cluster().members();
        self.builder_at(&members.iter().map(|member| member.address).collect::<Vec<_>>())
    }

    /// As [`Self::builder`] with these contact points only.
    pub fn builder_at(&self, contact_points: &[SocketAddr]) -> SessionBuilder {
        let client = self.inner.clients.fetch_add(1, Ordering::Relaxed);
        let builder = Session::builder()
            .environment(self.cluster().environment(&format!("client-{client}")))
            // A busy machine must not make a test see a schema that half of the nodes do not know yet, and tests beside
            // this one change the schema all the time. The limit of a call counts, too.
            .request_timeout(PATIENCE)
            .schema_agreement_timeout(PATIENCE)
            .contact_points(contact_points.iter().map(ToString::to_string));
        match &self.inner.credentials {
            Some((user, password)) => builder.credentials(user, password),
            None => builder,
        }
    }

    /// Connects, and remembers the session to close it when the test is over.
    ///
    /// # Errors
    ///
    /// As [`SessionBuilder::connect`].
    pub async fn connect(&self, builder: SessionBuilder) -> Result<Session, Error> {
        let session = builder.connect().await?;
        self.sessions().push(session.clone());
        Ok(session)
    }

    /// A session with default settings in the test's keyspace, which is created with three replicas in each data
    /// centre, or as many as there are nodes.
    ///
    /// # Errors
    ///
    /// Those of connecting and of creating the keyspace.
    pub async fn session(&self) -> Result<Session, Error> {
        self.session_with(3, |builder| builder).await
    }

    /// As [`Self::session`] with another replication factor and other settings.
    ///
    /// # Errors
    ///
    /// As [`Self::session`].
    pub async fn session_with(
        &self,
        replication_factor: u8,
        settings: impl FnOnce(SessionBuilder) -> SessionBuilder,
    ) -> Result<Session, Error> {
        let session = self.session_outside(replication_factor, settings).await?;
        session.use_keyspace(self.keyspace()).await?;
        Ok(session)
    }

    /// As [`Self::session_with`] without a keyspace of the session's own: tables are named in full. Cassandra 4.0 warns of
    /// statements prepared after USE, and cannot say so in version 3.
    ///
    /// # Errors
    ///
    /// As [`Self::session`].
    pub async fn session_outside(
        &self,
        replication_factor: u8,
        settings: impl FnOnce(SessionBuilder) -> SessionBuilder,
    ) -> Result<Session, Error> {
        let session = self.connect(settings(self.builder())).await?;
        let replication = self.replication(replication_factor);
        let create = format!("CREATE KEYSPACE IF NOT EXISTS {} WITH replication = {replication}", self.keyspace());
        session.query(create).execute().await?;
        Ok(session)
    }

    /// A session whose requests all go to one node, in the test's keyspace, which must exist.
    ///
    /// # Errors
    ///
    /// Those of connecting.
    pub async fn pinned(&self, node: u8) -> Result<Session, Error> {
        let address = self.address(node);
        let policy = Arc::new(Pinned(address));
        let builder = self.builder_at(&[address]).load_balancing(policy);
        self.connect(builder.keyspace(self.keyspace())).await
    }

    /// Where clients reach a node.
    ///
    /// # Panics
    ///
    /// If the cluster has no such node: the test is wrong.
    #[must_use]
    pub fn address(&self, node: u8) -> SocketAddr {
        let members = self.cluster().members();
        let found = members.iter().find(|member| member.number == node);
        found.unwrap_or_else(|| panic!("the cluster has no node {node}")).address
    }

    /// A replication map with as many replicas in each data centre, or as many as it has nodes.
    #[must_use]
    pub fn replication(&self, factor: u8) -> String {
        let members = self.cluster().members();
        let mut datacenters: Vec<&str> = members.iter().map(|member| &*member.datacenter).collect();
        datacenters.sort_unstable();
        datacenters.dedup();
        let mut map = "{'class': 'NetworkTopologyStrategy'".to_owned();
        for datacenter in datacenters {
            let nodes = members.iter().filter(|member| member.datacenter == datacenter).count();
            let _ = write!(map, ", '{datacenter}': {}", usize::from(factor).min(nodes)); // Cannot fail.
        }
        map + "}"
    }

    /// Runs a future beside the test. Join it: what it found is lost otherwise.
    pub fn spawn<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> Background<T> {
        let slot = Arc::new(Mutex::new(None));
        let filled = slot.clone();
        let environment = self.cluster().environment("background");
        let task = environment.spawner.spawn(
            "background",
            Box::pin(async move {
                let value = future.await;
                *filled.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
            }),
        );
        Background { task, slot }
    }

    /// Asks again and again until the answer is yes.
    ///
    /// # Errors
    ///
    /// If it was not yes within `limit`, with `what` in the sentence.
    pub async fn eventually<F>(&self, limit: Duration, what: &str, mut is_so: F) -> Result<(), String>
    where
        F: AsyncFnMut() -> bool,
    {
        let began = Instant::now();
        loop {
            if is_so().await {
                return Ok(());
            }
            if began.elapsed() >= limit {
                return Err(format!("not within {limit:?}: {what}"));
            }
            sleep(POLL).await;
        }
    }

    /// Waits until every node of the cluster runs and reaches every other one, by what they answer.
    ///
    /// # Errors
    ///
    /// If that is not so within a minute, or a node cannot be asked.
    pub async fn whole(&self) -> Result<(), String> {
        let session = self.connect(self.builder()).await.map_err(|error| error.to_string())?;
        let nodes = u8::try_from(self.cluster().members().len()).unwrap_or(u8::MAX);
        let replication = self.replication(nodes);
        for statement in [
            format!("CREATE KEYSPACE IF NOT EXISTS suite_probe WITH replication = {replication}"),
            format!("ALTER KEYSPACE suite_probe WITH replication = {replication}"),
            "CREATE TABLE IF NOT EXISTS suite_probe.probes (node int PRIMARY KEY, sequence int)".to_owned(),
        ] {
            let created = self.eventually(RECOVERY, "the probe's table", async || {
                session.query(statement.clone()).execute().await.is_ok()
            });
            created.await?;
        }
        for member in self.cluster().members() {
            let builder = self.builder().load_balancing(Arc::new(Pinned(member.address)));
            let session = self.connect(builder).await.map_err(|error| error.to_string())?;
            let what = format!("node {} reaches every other one", member.number);
            let probe = format!("INSERT INTO suite_probe.probes (node, sequence) VALUES ({}, 1)", member.number);
            self.eventually(RECOVERY, &what, async || {
                session.query(probe.clone()).consistency(Consistency::All).execute().await.is_ok()
            })
            .await?;
        }
        if nodes > NODES_USUAL {
            // As many replicas as nodes would keep every node from leaving.
            session.query("DROP KEYSPACE suite_probe").execute().await.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Drops the test's keyspace, for worlds that other tests use after it. What goes wrong is of no interest: the test
    /// may have left nodes that are dead, and a later ring is another one.
    pub async fn drop_keyspace(&self) {
        if let Ok(session) = self.connect(self.builder()).await {
            let drop = format!("DROP KEYSPACE IF EXISTS {}", self.keyspace());
            let _ = session.query(drop).execute().await;
        }
    }

    /// Closes all sessions of the stage.
    pub async fn close(&self) {
        let sessions = std::mem::take(&mut *self.sessions());
        for session in sessions {
            session.close(Duration::from_secs(5)).await;
        }
    }

    fn sessions(&self) -> MutexGuard<'_, Vec<Session>> {
        self.inner.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Something that runs beside the test.
pub struct Background<T> {
    task: helenus::env::TaskHandle,
    slot: Arc<Mutex<Option<T>>>,
}

impl<T> Background<T> {
    /// Waits for its result.
    ///
    /// # Errors
    ///
    /// If it panicked.
    pub async fn join(self) -> Result<T, String> {
        self.task.await;
        let value = self.slot.lock().unwrap_or_else(PoisonError::into_inner).take();
        value.ok_or_else(|| "what ran beside the test panicked".to_owned())
    }
}

/// The role that a Cassandra with passwords has from the start, and its password.
const SUPERUSER: &str = "cassandra";

/// What a call may take unless its test says otherwise.
const PATIENCE: Duration = Duration::from_secs(60);

/// Rings begin with at most so many nodes.
const NODES_USUAL: u8 = 3;

/// How long a cluster gets to be whole again.
const RECOVERY: Duration = Duration::from_secs(60);

/// Time between two questions of [`Stage::eventually`].
const POLL: Duration = Duration::from_millis(200);
