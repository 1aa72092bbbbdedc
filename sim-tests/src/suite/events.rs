//! The events that clients of each node receive when nodes and schema change: one table, recorded from a real ring.
//!
//! One client per node has registered for all events. A cell is one step and one node: what the node told its client
//! until nothing more came, in order. A node that is dead or silent has no cell, and one that has just started has none
//! for its own start, since nobody could have registered before.

use super::{Capability, Needs, Outcome, Stage, Table, Test};
use crate::corpus::answer::{Answer, Message};
use crate::corpus::client::Connection;
use crate::corpus::must;
use helenus::env::Instant;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Measures the table and holds it to the recorded one. It stands beside the suite, not in it: on a real ring it takes
/// minutes (`cargo xtask cassandra events --check`).
pub const TEST: Test = Test {
    subject: "events",
    name: "clients_are_told_of_nodes_and_schema_as_recorded",
    needs: Needs::BREAKING.with(&[Capability::Partition, Capability::Resize, Capability::NewAddress]),
    run: |stage| Box::pin(clients_are_told_of_nodes_and_schema_as_recorded(stage)),
};

async fn clients_are_told_of_nodes_and_schema_as_recorded(stage: Stage) -> Outcome {
    let differences = differences(&recorded()?, &measure(&stage).await?);
    if differences.is_empty() { Ok(()) } else { Err(differences.join("\n").into()) }
}

/// What real rings were seen to send.
///
/// # Errors
///
/// If the recorded table cannot be read.
pub fn recorded() -> Result<Table, String> {
    Table::parse(include_str!("../../corpus/events.txt"))
}

/// The first line of the file.
pub const HEADING: &str = "step, node whose client listens = events in order (one of these)";

/// The cells of `measured` whose events are none of those recorded, and those that only one of both has.
#[must_use]
pub fn differences(recorded: &Table, measured: &Table) -> Vec<String> {
    recorded.differences(measured, |cell, outcomes| is_as_another_node(recorded, cell, outcomes))
}

/// Whether clients of another node were told of the same statement so: the order in which tables go with their keyspace
/// is each node's own.
fn is_as_another_node(recorded: &Table, cell: &str, outcomes: &BTreeSet<String>) -> bool {
    let statement = |cell: &str| Some(cell.rsplit_once(", node ")?.0.to_owned());
    let is_sibling = |other: &str| statement(other) == statement(cell) && cell.starts_with("DROP KEYSPACE");
    let told: BTreeSet<&String> =
        recorded.cells().filter(|(other, _)| is_sibling(other)).flat_map(|(_, o)| o).collect();
    outcomes.iter().all(|outcome| told.contains(outcome))
}

/// Stands for the test's own keyspace.
const KEYSPACE: &str = "ks";

/// Schema statements, and whether clients hear of them.
const SCHEMA: &[(&str, bool)] = &[
    ("CREATE KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 3}", true),
    ("CREATE KEYSPACE IF NOT EXISTS ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}", false),
    ("ALTER KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 2}", true),
    ("ALTER KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 2}", false),
    ("CREATE TYPE ks.street (name text)", true),
    ("CREATE TABLE ks.people (id int PRIMARY KEY, home frozen<street>)", true),
    ("CREATE TABLE IF NOT EXISTS ks.people (id int PRIMARY KEY)", false),
    ("ALTER TABLE ks.people ADD age int", true),
    ("ALTER TABLE ks.people WITH comment = 'who'", true),
    ("ALTER TABLE ks.people WITH comment = 'who'", false),
    ("ALTER TYPE ks.street ADD number int", true),
    ("ALTER TYPE ks.street RENAME number TO house", true),
    ("CREATE INDEX ages ON ks.people (age)", true),
    ("DROP INDEX ks.ages", true),
    (
        "CREATE FUNCTION ks.sum_up (state int, v int) CALLED ON NULL INPUT RETURNS int LANGUAGE java AS 'return state;'",
        true,
    ),
    ("CREATE AGGREGATE ks.total (int) SFUNC sum_up STYPE int INITCOND 0", true),
    ("DROP AGGREGATE ks.total (int)", true),
    ("DROP FUNCTION ks.sum_up (int, int)", true),
    ("TRUNCATE ks.people", false),
    ("DROP TABLE IF EXISTS ks.nobody", false),
    ("ALTER TABLE ks.people DROP home", true),
    ("DROP TYPE ks.street", true),
    ("CREATE TABLE ks.places (id int PRIMARY KEY)", true),
    ("DROP TABLE ks.places", true),
    ("CREATE TABLE ks.a (id int PRIMARY KEY, v int)", true),
    ("CREATE INDEX vs ON ks.a (v)", true),
    ("CREATE TYPE ks.b (x int)", true),
    ("CREATE TYPE ks.a (x int)", true),
    (
        "CREATE FUNCTION ks.sum_up (state int, v int) CALLED ON NULL INPUT RETURNS int LANGUAGE java AS 'return 1;'",
        true,
    ),
    ("CREATE AGGREGATE ks.total (int) SFUNC sum_up STYPE int INITCOND 0", true),
    ("DROP KEYSPACE ks", true),
];

/// Changes schema and nodes in every way of the table and writes down what clients hear. Afterwards node 3 has another
/// address.
///
/// # Errors
///
/// If the cluster could not be changed, or clients heard nothing where they must.
pub async fn measure(stage: &Stage) -> Result<Table, Box<dyn std::error::Error + Send + Sync>> {
    let mut clients = Clients::new(stage);
    settled(stage, &mut clients).await?;
    schema_changes(stage, &mut clients).await?;
    nodes_end_and_start(stage, &mut clients).await?;
    nodes_fall_silent(stage, &mut clients).await?;
    nodes_come_and_go(stage, &mut clients).await?;
    Ok(clients.table)
}

async fn schema_changes(stage: &Stage, clients: &mut Clients<'_>) -> Outcome {
    let mut author = clients.connect(1).await?;
    let mut before = "";
    for (statement, is_told) in SCHEMA {
        must(&mut author, &statement.replace(KEYSPACE, stage.keyspace())).await?;
        let step = if *statement == before { format!("again {statement}") } else { (*statement).to_owned() };
        clients.hear(&step, &[1, 2, 3], is_told.then_some("")).await?;
        before = statement;
    }
    Ok(())
}

async fn nodes_end_and_start(stage: &Stage, clients: &mut Clients<'_>) -> Outcome {
    stage.cluster().kill(3).await?;
    clients.hear("node 3 is killed", &[1, 2], Some("DOWN node 3")).await?;
    stage.cluster().restart(3).await?;
    clients.hear("node 3, killed, starts", &[1, 2], Some("UP node 3")).await?;
    settled(stage, clients).await?;
    stage.cluster().stop(3).await?;
    clients.hear("node 3 stops in good order", &[1, 2], Some("DOWN node 3")).await?;
    stage.cluster().restart(3).await?;
    clients.hear("node 3, stopped, starts", &[1, 2], Some("UP node 3")).await?;
    settled(stage, clients).await
}

async fn nodes_fall_silent(stage: &Stage, clients: &mut Clients<'_>) -> Outcome {
    stage.cluster().pause(3).await?;
    clients.hear("node 3 stands still", &[1, 2], Some("DOWN node 3")).await?;
    stage.cluster().resume(3).await?;
    clients.hear("node 3 goes on", &[1, 2], Some("UP node 3")).await?;
    settled(stage, clients).await?;
    stage.cluster().cut_off(3, false).await?;
    clients.hear("node 3 is cut off from the others", &[1, 2, 3], Some("DOWN")).await?;
    stage.cluster().heal().await?;
    clients.hear("node 3 reaches the others again", &[1, 2, 3], Some("UP")).await?;
    settled(stage, clients).await
}

async fn nodes_come_and_go(stage: &Stage, clients: &mut Clients<'_>) -> Outcome {
    let added = stage.cluster().add("datacenter1").await?;
    clients.names.insert(stage.address(added).ip().to_string(), "the new node".to_owned());
    clients.hear("a node is added", &[1, 2, 3], Some("UP the new node")).await?;
    settled(stage, clients).await?;
    stage.cluster().decommission(added).await?;
    // That it is silent is noticed last.
    clients.hear("it is decommissioned", &[1, 2, 3], Some("DOWN the new node")).await?;
    stage.cluster().kill(3).await?;
    clients.hear("node 3 is killed once more", &[1, 2], Some("DOWN node 3")).await?;
    stage.cluster().restart_elsewhere(3).await?;
    clients.names.insert(stage.address(3).ip().to_string(), "node 3 elsewhere".to_owned());
    clients.hear("node 3 starts at another address", &[1, 2], Some("UP node 3 elsewhere")).await
}

/// Waits until the cluster is whole, and lets every node have a client again. What is told meanwhile belongs to the step
/// before, which has been written down.
async fn settled(stage: &Stage, clients: &mut Clients<'_>) -> Outcome {
    stage.whole().await?;
    clients.register().await?;
    for connection in clients.connections.values_mut() {
        connection.listen(QUIET).await?;
        connection.take_events();
    }
    Ok(())
}

/// One client per node.
struct Clients<'a> {
    stage: &'a Stage,
    connections: BTreeMap<u8, Connection>,
    /// Nodes by address.
    names: BTreeMap<String, String>,
    table: Table,
}

impl<'a> Clients<'a> {
    fn new(stage: &'a Stage) -> Self {
        let members = stage.cluster().members();
        let name = |member: &super::Member| (member.address.ip().to_string(), format!("node {}", member.number));
        let names = members.iter().map(name).collect();
        Self { stage, connections: BTreeMap::new(), names, table: Table::default() }
    }

    async fn connect(&self, node: u8) -> Result<Connection, Box<dyn std::error::Error + Send + Sync>> {
        let environment = self.stage.cluster().environment(&format!("listener-{node}"));
        let stream = environment.transport.connect(self.stage.address(node)).await?;
        Ok(Connection::open(Box::new(stream), VERSION, None).await?)
    }

    /// Connects where no client is registered.
    async fn register(&mut self) -> Outcome {
        for member in self.stage.cluster().members() {
            if !self.connections.contains_key(&member.number) {
                let mut connection = self.connect(member.number).await?;
                connection.register(&["TOPOLOGY_CHANGE", "STATUS_CHANGE", "SCHEMA_CHANGE"]).await?;
                self.connections.insert(member.number, connection);
            }
        }
        Ok(())
    }

    /// Writes down what clients of these nodes hear until nothing more comes, and not before each has heard `expected`.
    /// Others lose their clients.
    async fn hear(&mut self, step: &str, nodes: &[u8], expected: Option<&str>) -> Outcome {
        self.connections.retain(|node, _| nodes.contains(node));
        let mut heard: BTreeMap<u8, Vec<String>> = nodes.iter().map(|node| (*node, Vec::new())).collect();
        let has_come = |events: &Vec<String>| expected.is_none_or(|of| events.iter().any(|event| event.contains(of)));
        let began = Instant::now();
        let mut last = began;
        while last.elapsed() < QUIET || !heard.values().all(has_come) {
            if began.elapsed() > LIMIT {
                return Err(format!("{step}: within {LIMIT:?} clients heard {heard:?}").into());
            }
            for (node, connection) in &mut self.connections {
                connection.listen(POLL).await.map_err(|e| format!("{step}: the client of node {node}: {e}"))?;
                for event in connection.take_events() {
                    let text = self.names.iter().fold(shown(&event)?, |text, (address, name)| {
                        text.strip_suffix(&format!(" {address}"))
                            .map_or(text.clone(), |change| format!("{change} {name}"))
                    });
                    heard.entry(*node).or_default().push(text.replace(self.stage.keyspace(), KEYSPACE));
                    last = Instant::now();
                }
            }
        }
        for (node, events) in heard {
            let events = if events.is_empty() { "nothing".to_owned() } else { events.join("; ") };
            self.table.add(format!("{step}, node {node}").replace(" = ", ": "), events);
        }
        Ok(())
    }
}

/// An event in words.
fn shown(event: &crate::corpus::client::Envelope) -> Result<String, String> {
    match Answer::decode(event).map_err(|e| format!("{e:?}"))?.message {
        Message::SchemaChange(change) => Ok(change),
        Message::Event(change) => Ok(change),
        other => Err(format!("{other:?} is no event")),
    }
}

/// The version whose events are recorded; those of v3 and v5 are the same.
const VERSION: u8 = 4;
/// Nothing more comes after that: gossip needs a second or two.
const QUIET: Duration = Duration::from_secs(4);
const POLL: Duration = Duration::from_millis(50);
/// A node that stands still is believed dead after about twenty seconds.
const LIMIT: Duration = Duration::from_secs(90);
