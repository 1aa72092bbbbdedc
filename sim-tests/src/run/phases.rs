//! The phases of a run, from boot to shutdown.

use super::{Notebook, ledger, oracle, watch};
use crate::app::{self, client::App};
use crate::bounds::Bounds;
use crate::checkers::Class;
use crate::history::{Answer, Call, Certainty, Nonce};
use crate::plan::{Action, Level, Operation, Plan};
use helenus::Session;
use helenus::env::timeout;
use simcluster::fault::Fault;
use simcluster::{SimCluster, SimInstant};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::sleep;

/// The names of the sessions' worlds: `client-0`, `client-1`, …
pub(super) const CLIENT: &str = "client-";

/// The name of the laboratory's own tasks.
const LABORATORY: &str = "laboratory";

/// What all phases share.
#[derive(Clone)]
pub(super) struct Run {
    pub(super) sim: SimCluster,
    pub(super) plan: Arc<Plan>,
    pub(super) bounds: Bounds,
    pub(super) notebook: Notebook,
}

impl Run {
    /// Time since the start of the simulation.
    pub(super) fn now(&self) -> Duration {
        self.sim.now().since(SimInstant::START)
    }

    pub(super) fn fail(&self, checker: &str, class: Class, message: String) {
        self.notebook.fail(checker, class, self.now(), message);
    }
}

/// All of them. Whatever happens, the ledger ends up in the notebook.
pub(super) async fn all(sim: SimCluster, plan: Arc<Plan>, bounds: Bounds, notebook: Notebook) {
    let run = Run { sim, plan, bounds, notebook };
    let limit = Duration::from_millis(run.plan.phases.boot_ms);
    match timeout(limit, boot(&run)).await {
        Ok(Ok(apps)) => {
            safety(&run, &apps).await;
            calm(&run, &apps).await;
            match oracle::read(&run.sim, &run.plan) {
                Ok(truth) => run.notebook.lock().truth = Some(truth),
                Err(text) => run.fail("SIM", Class::Simulator, text),
            }
            dropped_connect(&run).await;
            close(&run, apps).await;
        }
        Ok(Err(text)) => run.fail("BOOT", Class::Liveness, text),
        Err(_) => run.fail("BOOT", Class::Liveness, format!("the application was not ready after {limit:?}")),
    }
    let facts = run.sim.ledger(ledger::facts);
    run.notebook.lock().wire = facts;
}

/// Sessions, tables, prepared statements, the playlists that never change. No faults yet: any error fails the run.
async fn boot(run: &Run) -> Result<Vec<App>, String> {
    let contact_points = if run.plan.driver.contact_by_name {
        vec![CLUSTER_NAME.to_owned()]
    } else {
        run.sim.contact_points().iter().map(ToString::to_string).collect()
    };
    // The others connect to a cluster that has its tables: to watch them being created is not what runs are about.
    let first = connect(run, &contact_points, 0).await?;
    create_schema(run, &first).await?;
    let mut sessions = vec![first];
    for client in 1..run.plan.clients {
        sessions.push(connect(run, &contact_points, client).await?);
    }
    let mut apps = Vec::new();
    for (client, session) in sessions.into_iter().enumerate() {
        let app = App::prepare(session).await;
        apps.push(app.map_err(|error| format!("client {client} cannot prepare its statements: {error}"))?);
    }
    for (client, app) in apps.iter().enumerate() {
        watch::full_pools(run, app).await;
        let name = format!("{CLIENT}{client}");
        let tasks = watch::tasks(run, app, &name);
        run.notebook.lock().tasks.insert(name, tasks);
    }
    if let Some(app) = apps.first() {
        for playlist in 0..run.plan.workload.static_playlists {
            let nonce = Nonce(Nonce::SETUP + u64::from(playlist));
            let name = app::STATIC_PLAYLISTS + playlist;
            let filled = app.fill(nonce, name, run.plan.workload.static_entries).await;
            filled.map_err(|error| format!("static playlist {playlist} cannot be filled: {error}"))?;
        }
        for account in 0..run.plan.workload.accounts {
            let opened = app.open_account(account).await;
            opened.map_err(|error| format!("account {account} cannot be opened: {error}"))?;
        }
    }
    Ok(apps)
}

async fn connect(run: &Run, contact_points: &[String], client: u32) -> Result<Session, String> {
    let environment = run.sim.environment(&format!("{CLIENT}{client}"));
    let session = app::connect::connect(&run.plan, environment, contact_points).await;
    session.map_err(|error| format!("client {client} cannot connect: {error}"))
}

/// Creates keyspaces and tables, and waits until every node and the session itself know them.
async fn create_schema(run: &Run, session: &Session) -> Result<(), String> {
    let replication = replication(&run.plan);
    let mut statements = app::schema(&replication);
    if run.plan.workload.keyspaces {
        statements.extend(app::keyspaces_schema(&replication));
    }
    for statement in statements {
        let query = session.query(&statement).consistency(helenus::Consistency::All);
        query.execute().await.map_err(|error| format!("{statement}: {error}"))?;
    }
    session.wait_for_schema_agreement().await.map_err(|error| format!("schema agreement: {error}"))?;
    session.refresh_schema().await.map_err(|error| format!("schema refresh: {error}"))
}

/// The name that resolves to every node of the cluster.
const CLUSTER_NAME: &str = "cluster.sim";

fn replication(plan: &Plan) -> String {
    let rf = plan.cluster.replication_factor;
    let datacenters: Vec<String> = (1..)
        .zip(&plan.cluster.datacenters)
        .map(|(number, nodes)| format!("'dc{number}': {}", rf.min(*nodes)))
        .collect();
    format!("{{'class': 'NetworkTopologyStrategy', {}}}", datacenters.join(", "))
}

/// Operations and faults, as planned; ends when every call has completed, or must have.
async fn safety(run: &Run, apps: &[App]) {
    let began = run.now();
    run.notebook.lock().safety_began = began;
    let pending = Arc::new(Pending::default());
    let _faults = run.sim.spawn(LABORATORY, "faults", play_faults(run.clone()));
    let _watch = run.sim.spawn(LABORATORY, "watch", watch::node_states(run.clone(), apps.to_vec()));
    let mut operations: Vec<&Operation> = run.plan.operations.iter().collect();
    operations.sort_by_key(|operation| (operation.at_ms, operation.id));
    for operation in operations {
        sleep_until(run, began + Duration::from_millis(operation.at_ms)).await;
        let Some(app) = apps.get(operation.client as usize) else { continue };
        submit(run, app, operation, &pending);
    }
    sleep_until(run, began + Duration::from_millis(run.plan.phases.safety_ms)).await;
    run.sim.heal_all();
    // The pages of a scan have a deadline each, and a page per row is the worst case.
    let patience = Duration::from_millis(run.plan.driver.request_timeout_ms) * super::CALLS_IN_A_ROW;
    let _ended = timeout(patience, pending.none()).await;
}

async fn sleep_until(run: &Run, moment: Duration) {
    sleep(moment.saturating_sub(run.now())).await;
}

/// Starts one call in a task of its own: an application does not wait for one before the next.
fn submit(run: &Run, app: &App, operation: &Operation, pending: &Arc<Pending>) {
    let (task, app, pending) = (run.clone(), app.clone(), pending.clone());
    let Operation { client, level, drop_after_ms, .. } = *operation;
    let (nonce, action) = (Nonce(u64::from(operation.id)), operation.action.clone());
    pending.begin();
    let _running = run.sim.spawn(LABORATORY, "operation", async move {
        let patience = drop_after_ms.map(Duration::from_millis);
        perform(&task, &app, client, nonce, level, &action, patience).await;
        pending.end();
    });
}

/// Makes a call and writes it down; answers whether it succeeded.
async fn perform(
    run: &Run,
    app: &App,
    client: u32,
    nonce: Nonce,
    level: Level,
    action: &Action,
    patience: Option<Duration>,
) -> bool {
    let index = {
        let mut notes = run.notebook.lock();
        notes.calls.push(Call {
            nonce,
            client,
            action: action.clone(),
            level,
            submitted: run.now(),
            completed: None,
            completions: 0,
            longest_wait: Duration::ZERO,
            mirrored: Vec::new(),
            pages: Vec::new(),
            outcome: None,
        });
        notes.calls.len() - 1
    };
    let call = app.perform(nonce, level, action);
    let performed = match patience {
        None => call.await,
        // The call's future is dropped wherever it happens to wait.
        Some(patience) => timeout(patience, call).await.unwrap_or_else(|_| app::client::Performed::dropped()),
    };
    let now = run.now();
    if let (Action::CreateTable, Ok(Answer::Changed { agreed: true, .. })) = (action, &performed.outcome) {
        watch::agreement(run, nonce);
    }
    let mut notes = run.notebook.lock();
    let call = &mut notes.calls[index];
    call.completed = Some(now);
    call.completions += 1;
    call.longest_wait = performed.longest_wait;
    call.mirrored = performed.mirrored;
    call.pages = performed.pages;
    call.outcome = Some(performed.outcome);
    call.is_ok()
}

/// Begins and ends the faults of the plan.
async fn play_faults(run: Run) {
    let began = run.now();
    // Ends come before beginnings of the same moment, so that a fault can follow itself.
    let mut script: Vec<(Duration, bool, u32, &Fault)> = Vec::new();
    for planned in &run.plan.faults {
        script.push((Duration::from_millis(planned.at_ms), true, planned.id, &planned.fault));
        if !planned.fault.is_instant() {
            script.push((planned.until(), false, planned.id, &planned.fault));
        }
    }
    script.sort_by_key(|(at, begins, id, _)| (*at, *begins, *id));
    let safety = Duration::from_millis(run.plan.phases.safety_ms);
    for (at, begins, _, fault) in script {
        if at >= safety {
            // The calm phase has healed everything.
            return;
        }
        sleep_until(&run, began + at).await;
        if begins {
            run.sim.inject(fault);
        } else {
            run.sim.heal(fault);
        }
    }
}

/// Everything is healed: the driver must find back to full health within its bounds, and then serve.
async fn calm(run: &Run, apps: &[App]) {
    let deadline = run.now() + run.bounds.settle;
    let mut calm = watch::Calm::default();
    loop {
        let complaints = calm.complaints(run, apps);
        if complaints.is_empty() {
            break;
        }
        if run.now() >= deadline {
            for (checker, message) in complaints {
                let class = if checker == watch::SIMULATOR { Class::Simulator } else { Class::Liveness };
                run.fail(checker, class, format!("{message}, {:?} after the last fault", run.bounds.settle));
            }
            break;
        }
        sleep(LOOK_AGAIN).await;
    }
    // Bytes are delivered in order: what a slow link still holds back delays what is sent behind it.
    sleep(longest_delay(&run.plan)).await;
    for (client, app) in (0..).zip(apps) {
        watch::plans_and_placement(run, app, client).await;
        probe(run, app, client).await;
    }
    watch::ghosts(run).await;
}

/// The longest delay that a fault of the plan gives to bytes on their way.
fn longest_delay(plan: &Plan) -> Duration {
    let delay = |fault: &Fault| match fault {
        Fault::SlowLink { extra_ms: ms, .. }
        | Fault::LateAnswers { by_ms: ms, .. }
        | Fault::SlowSchema { by_ms: ms, .. }
        | Fault::DelayEvents { by_ms: ms, .. } => *ms,
        _ => 0,
    };
    Duration::from_millis(plan.faults.iter().map(|planned| delay(&planned.fault)).max().unwrap_or(0))
}

/// How often the calm phase looks.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// I47: with all nodes healthy, idempotent calls succeed.
async fn probe(run: &Run, app: &App, client: u32) {
    for number in 0..PROBES {
        let song = PROBE_SONGS + client * PROBES + number;
        for (part, action) in [Action::AddSong { song }, Action::ReadSong { song }].into_iter().enumerate() {
            let nonce = Nonce(Nonce::PROBE + u64::from(song) * 2 + part as u64);
            if !perform(run, app, client, nonce, Level::Quorum, &action, None).await {
                let notes = run.notebook.lock();
                let outcome = notes.calls.last().and_then(|call| call.outcome.clone());
                drop(notes);
                run.fail("I47", Class::Liveness, format!("{nonce} of client {client} failed in calm: {outcome:?}"));
                return;
            }
        }
    }
}

/// Probes per session.
const PROBES: u32 = 4;

/// Songs that no operation uses.
const PROBE_SONGS: u32 = 10_000;

/// I44: a session whose connecting is dropped half-way, or which is dropped as soon as it is there, leaves nothing.
async fn dropped_connect(run: &Run) {
    let name = format!("{CLIENT}dropped");
    let points: Vec<String> = run.sim.contact_points().iter().map(ToString::to_string).collect();
    let patience = Duration::from_millis(run.plan.seed.bits % 40);
    // Whether it was there in time does not matter.
    drop(timeout(patience, app::connect::connect(&run.plan, run.sim.environment(&name), &points)).await);
    sleep(run.bounds.slack).await;
    last_turns(run).await;
    let (tasks, sockets) = (run.sim.alive_tasks(&name), run.sim.open_client_connections(&name));
    if tasks > 0 || sockets > 0 {
        let text = format!("{tasks} tasks and {sockets} connections outlive a connect dropped after {patience:?}");
        run.fail("I44", Class::Leak, text);
    }
}

/// I43: closing ends everything, and a closed session refuses calls at once.
async fn close(run: &Run, apps: Vec<App>) {
    let limit = Duration::from_millis(run.plan.phases.close_ms);
    for (client, app) in (0_u32..).zip(&apps) {
        let asked = run.now();
        let closed = timeout(limit + run.bounds.slack, app.session().close(limit)).await;
        if closed.is_err() {
            run.fail("I43", Class::Leak, format!("client {client}: close took longer than its limit {limit:?}"));
        }
        let began = run.now();
        let late = app.perform(Nonce(Nonce::PROBE - 1), Level::One, &Action::ReadSong { song: 0 }).await;
        let refused = late.outcome.as_ref().is_err_and(|failed| failed.certainty == Certainty::NotSent);
        if !refused || run.now() > began + run.bounds.slack {
            run.fail("I43", Class::Safety, format!("client {client}: a call after close answered {:?}", late.outcome));
        }
        last_turns(run).await;
        let name = format!("{CLIENT}{client}");
        let (tasks, sockets) = (run.sim.alive_tasks(&name), run.sim.open_client_connections(&name));
        if tasks > 0 || sockets > 0 {
            run.fail(
                "I43",
                Class::Leak,
                format!("client {client}: {tasks} tasks and {sockets} connections outlive the close of {asked:?}"),
            );
        }
    }
}

/// Lets tasks that have been told to end take their last turn.
async fn last_turns(run: &Run) {
    sleep(run.bounds.latency + Duration::from_millis(1)).await;
}

/// Calls on their way.
#[derive(Debug, Default)]
struct Pending {
    count: AtomicUsize,
    ended: Notify,
}

impl Pending {
    fn begin(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    fn end(&self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
        self.ended.notify_one();
    }

    async fn none(&self) {
        while self.count.load(Ordering::Relaxed) > 0 {
            self.ended.notified().await;
        }
    }
}
