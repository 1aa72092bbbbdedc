//! What a coordinator answers at every level while replicas are dead or silent: one table, recorded from a real ring.
//!
//! Node 1 coordinates; nodes 2, or 2 and 3, are killed (and known to be dead) or paused (and still believed alive).
//! Each cell is one statement on a key whose replicas are known, and its outcome with the numbers of the error.
//!
//! In a few cells the numbers depend on a draw: which replica leads a counter write, which of several equal replicas is
//! asked for data, or asked at all where no other is asked after it, which range a scan meets first. There the recorded table holds what was seen, and only the kind of
//! the outcome is compared; everywhere else all of it is.

use super::{Member, Needs, Outcome, Stage, Table, Test};
use helenus::policy::Fallthrough;
use helenus::{Consistency, ErrorKind, SerialConsistency, Session};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Measures the table and holds it to the recorded one. It stands beside the suite, not in it: on a real ring it takes
/// minutes (`cargo xtask cassandra distributed --check`).
pub const TEST: Test = Test {
    subject: "distributed",
    name: "every_level_answers_under_every_fault_as_recorded",
    needs: Needs::BREAKING,
    run: |stage| Box::pin(every_level_answers_under_every_fault_as_recorded(stage)),
};

async fn every_level_answers_under_every_fault_as_recorded(stage: Stage) -> Outcome {
    let measured = measure(&stage).await?;
    let differences = differences(&recorded()?, &measured);
    if differences.is_empty() {
        return Ok(());
    }
    Err(format!("{} of {} cells differ:\n{}", differences.len(), measured.len(), differences.join("\n")).into())
}

/// What real rings were seen to answer.
///
/// # Errors
///
/// If the recorded table cannot be read.
pub fn recorded() -> Result<Table, String> {
    Table::parse(RECORDED)
}

/// The first line of the file.
pub const HEADING: &str = "fault, replicas, statement, level = outcomes (one of them)";

/// The table of a real ring of three nodes of 5.0.8.
const RECORDED: &str = include_str!("../../corpus/distributed.txt");

/// Whether an outcome depends on a draw and is of a kind that was recorded for the same statement and replicas while
/// some node was dead, or silent, in the same way.
fn is_drawn(recorded: &Table, cell: &str, outcomes: &BTreeSet<String>) -> bool {
    let [fault, factor, replicas, statement] = parts(cell);
    let depends_on_a_draw = match statement {
        "counter" => fault.ends_with("paused") && factor != "1 replicas",
        // A read at EACH_QUORUM asks no replica beside those it began with (CASSANDRA-11980): a silent one among three
        // may be one of the two.
        "read" => fault.ends_with("paused") && (!replicas.contains('1') || cell.ends_with(", EACH_QUORUM")),
        "range" => fault != "whole",
        _ => false,
    };
    let way = fault.rsplit(' ').next().unwrap_or(fault);
    let is_sibling = |other: &str| parts(other)[0].ends_with(way) && parts(other)[1..] == [factor, replicas, statement];
    let siblings = recorded.cells().filter(|(other, _)| is_sibling(other));
    let kinds: BTreeSet<&str> = siblings.flat_map(|(_, recorded)| recorded.iter()).map(|o| kind(o)).collect();
    depends_on_a_draw && outcomes.iter().all(|outcome| kinds.contains(kind(outcome)))
}

/// The cells of `measured` whose outcome is none of those recorded, and those that only one of both has.
#[must_use]
pub fn differences(recorded: &Table, measured: &Table) -> Vec<String> {
    recorded.differences(measured, |cell, outcomes| is_drawn(recorded, cell, outcomes))
}

/// Fault, replication factor, replicas and statement of a cell.
fn parts(cell: &str) -> [&str; 4] {
    let (fault, rest) = cell.split_once(", ").unwrap_or((cell, ""));
    let (factor, rest) = rest.split_once(", ").unwrap_or((rest, ""));
    let (rest, _level) = rest.rsplit_once(", ").unwrap_or((rest, ""));
    let (replicas, statement) = rest.rsplit_once(", ").unwrap_or((rest, ""));
    [fault, factor, replicas, statement]
}

/// The error without its numbers.
fn kind(outcome: &str) -> &str {
    outcome.split(',').next().unwrap_or(outcome)
}

/// Breaks the cluster in every way of the table and measures every cell. Leaves the cluster whole.
///
/// # Errors
///
/// If the cluster could not be prepared, broken or mended.
pub async fn measure(stage: &Stage) -> Result<Table, Box<dyn std::error::Error + Send + Sync>> {
    let session = stage.session().await?;
    let keyspaces = Keyspaces::create(stage, &session).await?;
    let mut table = Table::default();
    let mut keys = Keys { members: stage.cluster().members(), last: 0 };
    for fault in Fault::ALL {
        for statements in fault.parts() {
            let questions = keyspaces.questions(&session, fault, statements, &mut keys)?;
            let coordinator = stage.pinned(1).await?;
            fault.begin(stage, &keyspaces).await?;
            let running: Vec<_> =
                questions.into_iter().map(|question| stage.spawn(question.ask(coordinator.clone()))).collect();
            for question in running {
                let (cell, outcome) = question.join().await?;
                table.add(cell, outcome);
            }
            fault.end(stage).await?;
        }
    }
    keyspaces.drop(&session).await?;
    Ok(table)
}

/// What is wrong with the cluster.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    Killed(&'static [u8]),
    Paused(&'static [u8]),
}

impl Fault {
    const ALL: [Self; 5] =
        [Self::None, Self::Killed(&[2]), Self::Killed(&[2, 3]), Self::Paused(&[2]), Self::Paused(&[2, 3])];

    fn name(self) -> &'static str {
        match self {
            Self::None => "whole",
            Self::Killed([_]) => "one killed",
            Self::Killed(_) => "two killed",
            Self::Paused([_]) => "one paused",
            Self::Paused(_) => "two paused",
        }
    }

    /// Statements that are asked at once: while nodes are silent no more than fit into the time for which they are
    /// still believed alive.
    fn parts(self) -> &'static [&'static [Kind]] {
        use Kind::{Batch, Counter, Range, Read, Transaction, Write};
        match self {
            Self::None | Self::Killed(_) => &[&[Range, Counter, Read, Write, Batch, Transaction]],
            Self::Paused(_) => &[&[Range], &[Counter], &[Read], &[Write], &[Batch], &[Transaction]],
        }
    }

    async fn begin(self, stage: &Stage, keyspaces: &Keyspaces) -> Outcome {
        match self {
            Self::None => {}
            Self::Killed(nodes) => {
                for &node in nodes {
                    stage.cluster().kill(node).await?;
                }
                let alive = 3 - i32::try_from(nodes.len()).unwrap_or(0);
                keyspaces.known_to_be_alive(stage, alive).await?;
            }
            Self::Paused(nodes) => {
                for &node in nodes {
                    stage.cluster().pause(node).await?;
                }
            }
        }
        Ok(())
    }

    async fn end(self, stage: &Stage) -> Outcome {
        match self {
            Self::None => return Ok(()),
            Self::Killed(nodes) => {
                for &node in nodes {
                    stage.cluster().restart(node).await?;
                }
            }
            Self::Paused(nodes) => {
                for &node in nodes {
                    stage.cluster().resume(node).await?;
                }
            }
        }
        Ok(stage.whole().await?)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Read,
    Write,
    Batch,
    Counter,
    Transaction,
    Range,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Batch => "batch",
            Self::Counter => "counter",
            Self::Transaction => "transaction",
            Self::Range => "range",
        }
    }

    /// Two keys with the same replicas: a batch on one partition would skip the batch log.
    fn text(self, keyspace: &str, [key, other]: [i32; 2]) -> String {
        let insert = |key: i32| format!("INSERT INTO {keyspace}.t (k, v) VALUES ({key}, 1)");
        match self {
            Self::Read => format!("SELECT v FROM {keyspace}.t WHERE k = {key}"),
            Self::Write => insert(key),
            Self::Batch => format!("BEGIN BATCH {}; {}; APPLY BATCH", insert(key), insert(other)),
            Self::Counter => format!("UPDATE {keyspace}.c SET n = n + 1 WHERE k = {key}"),
            Self::Transaction => insert(key) + " IF NOT EXISTS",
            Self::Range => format!("SELECT v FROM {keyspace}.t"),
        }
    }
}

const LEVELS: [(Consistency, &str); 11] = [
    (Consistency::Any, "ANY"),
    (Consistency::One, "ONE"),
    (Consistency::Two, "TWO"),
    (Consistency::Three, "THREE"),
    (Consistency::Quorum, "QUORUM"),
    (Consistency::All, "ALL"),
    (Consistency::LocalOne, "LOCAL_ONE"),
    (Consistency::LocalQuorum, "LOCAL_QUORUM"),
    (Consistency::EachQuorum, "EACH_QUORUM"),
    (Consistency::Serial, "SERIAL"),
    (Consistency::LocalSerial, "LOCAL_SERIAL"),
];

/// The sets of replicas that are asked, by replication factor: with and without the coordinator.
const REPLICAS: [(u8, &[u8]); 5] = [(1, &[1]), (1, &[2]), (2, &[1, 2]), (2, &[2, 3]), (3, &[1, 2, 3])];

/// One cell.
struct Question {
    cell: String,
    text: String,
    level: Consistency,
}

impl Question {
    async fn ask(self, coordinator: Session) -> (String, String) {
        let query = coordinator
            .query(self.text)
            .consistency(self.level)
            .serial_consistency(SerialConsistency::Serial)
            .retry(Arc::new(Fallthrough))
            .timeout(LIMIT);
        let outcome = match query.execute().await {
            Ok(_) => "ok".to_owned(),
            Err(error) => shown(error.kind()),
        };
        (self.cell, outcome)
    }
}

fn shown(kind: &ErrorKind) -> String {
    match kind {
        ErrorKind::Unavailable { required, alive } => format!("Unavailable, {required} required, {alive} alive"),
        ErrorKind::ReadTimeout { received, block_for, data_present } => {
            let data = if *data_present { "with" } else { "without" };
            format!("ReadTimeout, {received} of {block_for}, {data} data")
        }
        ErrorKind::WriteTimeout { received, block_for, write_type } => {
            format!("WriteTimeout, {received} of {block_for}, {write_type}")
        }
        ErrorKind::CasWriteUnknown { received, block_for } => format!("CasWriteUnknown, {received} of {block_for}"),
        other => other.to_string(),
    }
}

/// Keyspaces of one, two and three replicas.
struct Keyspaces {
    prefix: String,
}

impl Keyspaces {
    async fn create(stage: &Stage, session: &Session) -> Result<Self, helenus::Error> {
        let keyspaces = Self { prefix: stage.keyspace().to_owned() };
        for factor in 1..=3 {
            let name = keyspaces.name(factor);
            let replication = stage.replication(factor);
            session.query(format!("CREATE KEYSPACE {name} WITH replication = {replication}")).execute().await?;
            session.query(format!("CREATE TABLE {name}.t (k int PRIMARY KEY, v int)")).execute().await?;
            session.query(format!("CREATE TABLE {name}.c (k int PRIMARY KEY, n counter)")).execute().await?;
        }
        Ok(keyspaces)
    }

    async fn drop(&self, session: &Session) -> Result<(), helenus::Error> {
        for factor in 1..=3 {
            session.query(format!("DROP KEYSPACE {}", self.name(factor))).execute().await?;
        }
        Ok(())
    }

    fn name(&self, factor: u8) -> String {
        format!("{}_rf{factor}", self.prefix)
    }

    /// Waits until node 1 counts so many of three replicas as alive.
    async fn known_to_be_alive(&self, stage: &Stage, expected: i32) -> Outcome {
        let session = stage.pinned(1).await?;
        let probe = format!("INSERT INTO {}.t (k, v) VALUES (0, 0)", self.name(3));
        let is_known = stage.eventually(Duration::from_secs(60), "node 1 knows who is dead", async || {
            let all = session.query(probe.clone()).consistency(Consistency::All).retry(Arc::new(Fallthrough));
            let error = all.execute().await.err();
            matches!(error.map(|e| e.kind().clone()), Some(ErrorKind::Unavailable { alive, .. }) if alive == expected)
        });
        Ok(is_known.await?)
    }

    fn questions(
        &self,
        session: &Session,
        fault: Fault,
        statements: &[Kind],
        keys: &mut Keys,
    ) -> Result<Vec<Question>, String> {
        let mut questions = Vec::new();
        for kind in statements {
            for (factor, replicas) in REPLICAS {
                // A scan asks all replicas of a keyspace, once is enough.
                if *kind == Kind::Range && !replicas.contains(&1) {
                    continue;
                }
                let keyspace = self.name(factor);
                for (level, name) in LEVELS {
                    let pair = [keys.next(session, &keyspace, replicas)?, keys.next(session, &keyspace, replicas)?];
                    let of = if *kind == Kind::Range { "all".to_owned() } else { format!("{replicas:?}") };
                    let cell = format!("{}, {factor} replicas, {of}, {}, {name}", fault.name(), kind.name());
                    questions.push(Question { cell, text: kind.text(&keyspace, pair), level });
                }
            }
        }
        Ok(questions)
    }
}

/// Hands out keys, each once.
struct Keys {
    members: Vec<Member>,
    last: i32,
}

impl Keys {
    /// A key of which exactly these nodes are replicas, by the driver's token map.
    fn next(&mut self, session: &Session, keyspace: &str, nodes: &[u8]) -> Result<i32, String> {
        let snapshot = session.cluster();
        for _ in 0..KEYS_TRIED_MAX {
            self.last += 1;
            let replicas = snapshot.replicas_of_key(keyspace, &self.last.to_be_bytes()).iter();
            let mut found: Vec<u8> =
                replicas.filter_map(|&index| self.number_of(snapshot.nodes()[usize::from(index)].address)).collect();
            found.sort_unstable();
            if found == nodes {
                return Ok(self.last);
            }
        }
        Err(format!("no key of {keyspace} has the replicas {nodes:?}"))
    }

    fn number_of(&self, address: SocketAddr) -> Option<u8> {
        self.members.iter().find(|member| member.address == address).map(|member| member.number)
    }
}

/// Longer than any time limit of the coordinator.
const LIMIT: Duration = Duration::from_secs(30);
const KEYS_TRIED_MAX: u32 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_draw_decides_only_the_kind_is_compared() {
        let cell = |level: &str, outcome: &str| format!("one paused, 2 replicas, [2, 3], read, {level} = {outcome}\n");
        let recorded = cell("ONE", "ok") + &cell("TWO", "ReadTimeout, 1 of 2, with data");
        let recorded = Table::parse(&recorded).unwrap();
        let measured = |outcome: &str| Table::parse(&(cell("ONE", "ok") + &cell("TWO", outcome))).unwrap();
        assert!(differences(&recorded, &measured("ReadTimeout, 1 of 2, without data")).is_empty());
        assert_eq!(differences(&recorded, &measured("Unavailable, 2 required, 1 alive")).len(), 1);
        let all =
            |level: &str, outcome: &str| format!("one paused, 3 replicas, [1, 2, 3], read, {level} = {outcome}\n");
        let silent = "ReadTimeout, 1 of 2, with data";
        let recorded =
            all("EACH_QUORUM", "ok") + &all("QUORUM", "ok") + &all("THREE", "ReadTimeout, 2 of 3, with data");
        let measured =
            all("EACH_QUORUM", silent) + &all("QUORUM", silent) + &all("THREE", "ReadTimeout, 2 of 3, with data");
        let [recorded, measured] = [recorded, measured].map(|text| Table::parse(&text).unwrap());
        assert_eq!(differences(&recorded, &measured).len(), 1, "at QUORUM another replica is asked in time");
    }
}
