//! Statements carried out on one store, end to end.

mod statements;

use super::*;
use crate::protocol::ServerError;
use crate::schema::Schema;
use crate::storage::Store;
use crate::types::{CqlType, json};

mod functions;

/// One node without a network: what a coordinator and a replica do, in the fewest steps.
struct Lab {
    system: Schema,
    schema: Schema,
    store: Store,
    micros: i64,
    keyspace: Option<String>,
}

impl Lab {
    fn new() -> Self {
        let system = system_schema();
        let store = system_store();
        let schema = schema_from_rows(&store, &system, 0);
        let mut lab = Self { system, schema, store, micros: 1_700_000_000_000_000, keyspace: None };
        lab.run("CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}");
        lab.run("USE k");
        lab
    }

    fn options(&mut self) -> BindOptions {
        self.micros += 1000;
        BindOptions {
            timestamp: self.micros,
            clock: self.micros,
            unix_seconds: self.micros / 1_000_000,
            page_size: None,
            paging_state: None,
            entropy: self.micros as u64,
        }
    }

    fn try_run(&mut self, text: &str) -> Result<Answer, ServerError> {
        let options = self.options();
        let prepared = prepare(&self.schema, self.keyspace.as_deref(), text)?;
        let action = prepared.bind(&self.schema, &[], &options)?;
        self.carry_out(action)
    }

    fn run(&mut self, text: &str) -> Answer {
        self.try_run(text).unwrap_or_else(|error| panic!("{text}: {error:?}"))
    }

    fn refused(&mut self, text: &str) -> String {
        match self.try_run(text) {
            Err(ServerError::Invalid(m) | ServerError::Syntax(m) | ServerError::Config(m)) => m,
            Err(ServerError::AlreadyExists { message, .. }) => message,
            other => panic!("{text}: {other:?}"),
        }
    }

    /// The rows of a SELECT (or of a transaction), each as JSON texts joined by commas.
    fn rows(&mut self, text: &str) -> Vec<String> {
        match self.run(text) {
            Answer::Rows(rows) => shown(&rows),
            other => panic!("{text}: {other:?}"),
        }
    }

    fn now(&self) -> i64 {
        self.micros / 1_000_000
    }

    fn apply(&mut self, mutation: &crate::storage::Mutation) {
        let table = self.schema.table_by_id(mutation.table).expect("the table exists").clone();
        self.store.apply(&table, mutation);
    }

    fn read(&self, command: &crate::storage::ReadCommand) -> crate::storage::ReadAnswer {
        let table = self.schema.table_by_id(command.table).expect("the table exists");
        let answer = self.store.read(table, command, self.now());
        crate::storage::ReadAnswer::merge(table, vec![answer]).0
    }

    fn write(&mut self, plan: &WritePlan) {
        for mutation in &plan.mutations {
            if plan.kind == WriteKind::Counter {
                let table = self.schema.table_by_id(mutation.table).expect("the table exists").clone();
                self.store.apply_counter(&table, mutation, Uuid::nil());
            } else {
                self.apply(mutation);
            }
        }
    }

    fn carry_out(&mut self, action: Action) -> Result<Answer, ServerError> {
        let schema = self.schema.clone();
        let datacenters = ["datacenter1".to_owned()].into();
        Ok(match action {
            Action::Answer(Answer::SetKeyspace(name)) => {
                self.keyspace = Some(name.clone());
                Answer::SetKeyspace(name)
            }
            Action::Answer(answer) => answer,
            Action::Read(mut execution) => {
                while let Some(command) = execution.next_command() {
                    execution.push_answer(&schema, self.read(&command));
                }
                Answer::Rows(execution.finish()?)
            }
            Action::Write(plan) => {
                self.write(&plan);
                Answer::Void
            }
            Action::ReadThenWrite(write) => {
                let answers = write.commands().iter().map(|c| self.read(c)).collect();
                let plan = write.decide(&schema, answers)?;
                self.write(&plan);
                Answer::Void
            }
            Action::Conditional(plan) => {
                let decision = plan.decide(&schema, &self.read(&plan.read))?;
                if let Some(mutation) = decision.mutation {
                    self.apply(&mutation.with_timestamp(self.micros));
                }
                Answer::Rows(decision.rows)
            }
            Action::DescribeCluster(describe) => Answer::Rows(describe.answer(&ClusterFacts::default())),
            Action::Schema(statement) => match statement.apply(&schema, self.micros, 7, &datacenters)? {
                None => Answer::Void,
                Some((mutations, event)) => {
                    mutations.iter().for_each(|m| self.apply(m));
                    self.schema = schema_from_rows(&self.store, &self.system, self.now());
                    Answer::SchemaChange(event)
                }
            },
            Action::Truncate { table, .. } => {
                self.store.truncate(table);
                Answer::Void
            }
        })
    }
}

fn shown(rows: &ResultRows) -> Vec<String> {
    let cell = |(value, spec): (&Value, &ColumnSpec)| json::to_json(&spec.cql_type, value.as_ref()).replace('"', "");
    rows.rows.iter().map(|row| row.iter().zip(rows.columns.iter()).map(cell).collect::<Vec<_>>().join(",")).collect()
}

#[test]
fn rows_are_inserted_updated_and_deleted() {
    let mut lab = Lab::new();
    lab.run("CREATE TABLE t (k int PRIMARY KEY, a text, b text)");
    lab.run("INSERT INTO t (k, a, b) VALUES (1, 'x', 'y')");
    lab.run("UPDATE k.t SET a = 'z' WHERE k = 1");
    lab.run("DELETE b FROM t WHERE k = 1");
    assert_eq!(lab.rows("SELECT * FROM t WHERE k = 1"), ["1,z,null"]);
    lab.run("DELETE FROM t WHERE k = 1");
    assert_eq!(lab.rows("SELECT * FROM t"), [""; 0]);
    lab.run("UPDATE t SET a = 'only' WHERE k = 2");
    assert_eq!(lab.rows("SELECT k, a AS x FROM t WHERE k IN (2, 3)"), ["2,only"]);
    lab.run("DELETE a FROM t WHERE k = 2");
    assert_eq!(lab.rows("SELECT * FROM t"), [""; 0], "a row without cells or marker is gone");
    lab.run("INSERT INTO t (k) VALUES (5)");
    assert_eq!(lab.rows("SELECT * FROM t"), ["5,null,null"]);
    lab.run("TRUNCATE t");
    assert_eq!(lab.rows("SELECT * FROM t"), [""; 0]);
}

#[test]
fn clustering_rows_are_sliced_ordered_limited_and_deleted_by_range() {
    let mut lab = Lab::new();
    lab.run("CREATE TABLE t (u text, at int, v text, PRIMARY KEY (u, at)) WITH CLUSTERING ORDER BY (at DESC)");
    for i in 0..10 {
        lab.run(&format!("INSERT INTO t (u, at, v) VALUES ('u', {i}, 'v{i}')"));
    }
    assert_eq!(lab.rows("SELECT at FROM t WHERE u = 'u' LIMIT 2"), ["9", "8"]);
    assert_eq!(lab.rows("SELECT at FROM t WHERE u = 'u' AND at >= 3 AND at < 6 ORDER BY at ASC"), ["3", "4", "5"]);
    assert_eq!(lab.rows("SELECT at FROM t WHERE u = 'u' AND at IN (7, 2, 7)"), ["7", "2"]);
    assert_eq!(lab.rows("SELECT at FROM t WHERE u = 'u' AND (at) > (7)"), ["9", "8"]);
    lab.run("DELETE FROM t WHERE u = 'u' AND at < 8");
    assert_eq!(lab.rows("SELECT count(*) FROM t WHERE u = 'u'"), ["2"]);
    lab.run("INSERT INTO t (u, at) VALUES ('u', 1)");
    assert_eq!(lab.rows("SELECT at FROM t WHERE u = 'u'"), ["9", "8", "1"], "later inserts survive the range deletion");
}

#[test]
fn multi_column_relations_follow_the_order_of_the_columns() {
    let mut lab = Lab::new();
    lab.run("CREATE TABLE t (k int, a int, b int, PRIMARY KEY (k, a, b))");
    for a in 0..3 {
        for b in 0..3 {
            lab.run(&format!("INSERT INTO t (k, a, b) VALUES (1, {a}, {b})"));
        }
    }
    assert_eq!(lab.rows("SELECT a, b FROM t WHERE k = 1 AND (a, b) > (1, 1) AND (a) < (2)"), ["1,2"]);
    assert_eq!(lab.rows("SELECT a, b FROM t WHERE k = 1 AND (a, b) IN ((2, 2), (0, 1))"), ["0,1", "2,2"]);
    assert_eq!(lab.rows("SELECT a, b FROM t WHERE k = 1 AND a = 1 AND b >= 1"), ["1,1", "1,2"]);
    assert_eq!(lab.rows("SELECT a, b FROM t WHERE k = 1 AND b = 1 ALLOW FILTERING"), ["0,1", "1,1", "2,1"]);
    assert_eq!(
        lab.refused("SELECT a FROM t WHERE k = 1 AND b = 1"),
        "PRIMARY KEY column \"b\" cannot be restricted as preceding column \"a\" is not restricted"
    );
    assert_eq!(lab.rows("SELECT a, count(*) FROM t WHERE k = 1 GROUP BY a"), ["0,3", "1,3", "2,3"]);
    assert_eq!(lab.rows("SELECT a, b FROM t WHERE k = 1 PER PARTITION LIMIT 2"), ["0,0", "0,1"]);
    assert_eq!(lab.rows("SELECT a, b FROM t WHERE k = 1 ORDER BY a DESC, b DESC LIMIT 2"), ["2,2", "2,1"]);
}

#[test]
fn aggregates_skip_nulls_and_count_nothing_as_zero() {
    let mut lab = Lab::new();
    lab.run("CREATE TABLE t (g int, c int, v int, d decimal, PRIMARY KEY (g, c))");
    assert_eq!(lab.rows("SELECT count(*), sum(v), avg(v), max(v) FROM t"), ["0,0,0,null"]);
    for (c, v) in [(0, "10"), (1, "null"), (2, "12")] {
        lab.run(&format!("INSERT INTO t (g, c, v, d) VALUES (1, {c}, {v}, 1.5)"));
    }
    assert_eq!(
        lab.rows("SELECT count(*), count(v), min(v), max(v), sum(v), avg(v), sum(d), avg(cast(v as double)) FROM t WHERE g = 1"),
        ["3,2,10,12,22,11,4.5,11.0"]
    );
}

#[test]
fn static_columns_are_shared_and_stand_alone() {
    let mut lab = Lab::new();
    lab.run("CREATE TABLE t (k int, c int, s text STATIC, v int, PRIMARY KEY (k, c))");
    lab.run("INSERT INTO t (k, s) VALUES (1, 'shared')");
    assert_eq!(lab.rows("SELECT * FROM t WHERE k = 1"), ["1,null,shared,null"]);
    lab.run("INSERT INTO t (k, c, v) VALUES (1, 1, 10)");
    lab.run("UPDATE t SET s = 'other', v = 20 WHERE k = 1 AND c = 2");
    assert_eq!(lab.rows("SELECT c, s, v FROM t WHERE k = 1"), ["1,other,10", "2,other,20"]);
    assert_eq!(lab.rows("SELECT DISTINCT k, s FROM t"), ["1,other"]);
    lab.run("DELETE s FROM t WHERE k = 1");
    assert_eq!(lab.rows("SELECT c, s FROM t WHERE k = 1 AND c = 1"), ["1,null"]);
}

#[test]
fn collections_change_by_element() {
    let mut lab = Lab::new();
    lab.run("CREATE TABLE t (k int PRIMARY KEY, l list<text>, m map<text, int>, s set<int>, f frozen<list<int>>)");
    lab.run("INSERT INTO t (k, l, m, s, f) VALUES (1, ['b'], {'x': 1}, {3, 1, 3}, [3, 1])");
    lab.run("UPDATE t SET l = ['a'] + l, m['y'] = 2, s = s + {2} WHERE k = 1");
    lab.run("UPDATE t SET l = l + ['c', 'd'], m = m + {'z': 3}, s = s - {3} WHERE k = 1");
    lab.run("UPDATE t SET l[1] = 'B' WHERE k = 1");
    lab.run("DELETE m['x'], l[3] FROM t WHERE k = 1");
    assert_eq!(lab.rows("SELECT l, m, s, f FROM t"), ["[a, B, c],{y: 2, z: 3},[1, 2],[3, 1]"]);
    lab.run("UPDATE t SET l = l - ['B'], m = m - {'y'}, s = {} WHERE k = 1");
    assert_eq!(lab.rows("SELECT l, m, s, m['z'] FROM t"), ["[a, c],{z: 3},null,3"]);
    assert_eq!(lab.refused("UPDATE t SET l[5] = 'x' WHERE k = 1"), "List index 5 out of bound, list has size 2");
    assert_eq!(
        lab.refused("UPDATE t SET l[0] = 'x' WHERE k = 2"),
        "Attempted to set an element on a list which is null"
    );
    lab.run("UPDATE t SET l = ['p', 'q'] + l WHERE k = 1");
    assert_eq!(lab.rows("SELECT l FROM t"), ["[p, q, a, c]"]);
    assert_eq!(lab.rows("SELECT k FROM t WHERE m CONTAINS KEY 'z' AND l CONTAINS 'q' ALLOW FILTERING"), ["1"]);
}

#[test]
fn user_types_tuples_and_vectors_hold_their_values() {
    let mut lab = Lab::new();
    lab.run("CREATE TYPE address (street text, zip int)");
    lab.run("CREATE TABLE t (k int PRIMARY KEY, a frozen<address>, b address, c map<text, frozen<address>>, d tuple<int, text>, v vector<float, 3>)");
    lab.run("INSERT INTO t (k, a, b, c, d, v) VALUES (1, {street: 'x', zip: 5}, {zip: 6}, {'home': {zip: 7}}, (1, 'z'), [0.5, 1, -2])");
    lab.run("UPDATE t SET b.street = 'new' WHERE k = 1");
    assert_eq!(
        lab.rows("SELECT a.zip, b, c, d, v FROM t"),
        ["5,{street: new, zip: 6},{home: {street: null, zip: 7}},[1, z],[0.5, 1.0, -2.0]"]
    );
    lab.run("ALTER TYPE address ADD extra boolean");
    assert_eq!(lab.rows("SELECT a FROM t"), ["{street: x, zip: 5, extra: null}"]);
    assert!(
        lab.refused("DROP TYPE address")
            .starts_with("Cannot drop user type 'k.address' as it is still used by tables t")
    );
}

#[test]
fn transactions_answer_what_was_there() {
    let mut lab = Lab::new();
    lab.run("CREATE TABLE t (login text PRIMARY KEY, email text, age int)");
    assert_eq!(lab.rows("INSERT INTO t (login, email, age) VALUES ('j', 'a@b', 30) IF NOT EXISTS"), ["true"]);
    assert_eq!(lab.rows("INSERT INTO t (login, email) VALUES ('j', 'c@d') IF NOT EXISTS"), ["false,j,30,a@b"]);
    assert_eq!(lab.rows("UPDATE t SET email = 'x' WHERE login = 'j' IF email = 'a@b' AND age > 18"), ["true"]);
    assert_eq!(lab.rows("UPDATE t SET email = 'y' WHERE login = 'j' IF email = 'a@b'"), ["false,x"]);
    assert_eq!(lab.rows("UPDATE t SET email = 'y' WHERE login = 'n' IF email = 'a@b'"), ["false"]);
    assert_eq!(lab.rows("DELETE FROM t WHERE login = 'n' IF EXISTS"), ["false"]);
    assert_eq!(lab.rows("UPDATE t SET age = 1 WHERE login = 'j' IF age IN (29, 30)"), ["true"]);
    assert_eq!(lab.rows("DELETE FROM t WHERE login = 'j' IF EXISTS"), ["true"]);
    assert_eq!(lab.rows("SELECT * FROM t"), [""; 0]);
}

#[test]
fn conditional_batches_apply_together_or_not_at_all() {
    let mut lab = Lab::new();
    lab.run("CREATE TABLE t (k int, c int, v int, PRIMARY KEY (k, c))");
    let batch = "BEGIN BATCH INSERT INTO t (k, c, v) VALUES (1, 1, 1) IF NOT EXISTS; INSERT INTO t (k, c, v) VALUES (1, 2, 2) APPLY BATCH";
    assert_eq!(lab.rows(batch), ["true"]);
    lab.run("UPDATE t SET v = 9 WHERE k = 1 AND c = 2");
    assert_eq!(lab.rows(batch), ["false,1,1,1"]);
    assert_eq!(lab.rows("SELECT v FROM t WHERE k = 1"), ["1", "9"]);
    let across = "BEGIN BATCH UPDATE t SET v = 1 WHERE k = 1 AND c = 1 IF v = 1; UPDATE t SET v = 1 WHERE k = 2 AND c = 1 IF v = 1; APPLY BATCH";
    assert_eq!(lab.refused(across), "Batch with conditions cannot span multiple partitions");
}

#[test]
fn counters_add_up() {
    let mut lab = Lab::new();
    lab.run("CREATE TABLE t (page text PRIMARY KEY, hits counter)");
    for _ in 0..3 {
        lab.run("UPDATE t SET hits = hits + 2 WHERE page = 'home'");
    }
    lab.run("UPDATE t SET hits = hits - 1 WHERE page = 'home'");
    lab.run("BEGIN COUNTER BATCH UPDATE t SET hits += 4 WHERE page = 'home'; UPDATE t SET hits += 6 WHERE page = 'home'; APPLY BATCH");
    assert_eq!(lab.rows("SELECT hits FROM t WHERE page = 'home'"), ["15"]);
    lab.run("CREATE TABLE rows (k int, c int, n counter, PRIMARY KEY (k, c))");
    lab.run("UPDATE rows SET n = n + 2 WHERE k = 1 AND c = 1");
    lab.run("DELETE FROM rows WHERE k = 1 AND c = 1");
    assert_eq!(lab.rows("SELECT n FROM rows"), [""; 0]);
    assert_eq!(
        lab.refused("BEGIN BATCH UPDATE t SET hits = hits + 1 WHERE page = 'x' APPLY BATCH"),
        "Cannot include a counter statement in a logged batch"
    );
}

#[test]
fn timestamps_and_ttls_decide_what_is_seen() {
    let mut lab = Lab::new();
    lab.run("CREATE TABLE t (k int PRIMARY KEY, v text)");
    lab.run("INSERT INTO t (k, v) VALUES (1, 'a') USING TTL 3600 AND TIMESTAMP 1234567890");
    assert_eq!(lab.rows("SELECT writetime(v), ttl(v) FROM t"), ["1234567890,3600"]);
    lab.run("UPDATE t USING TIMESTAMP 1 SET v = 'older' WHERE k = 1");
    assert_eq!(lab.rows("SELECT v FROM t"), ["a"]);
    lab.micros += 3_601_000_000;
    assert_eq!(lab.rows("SELECT v FROM t"), [""; 0], "the row expires with its marker");
    assert_eq!(
        lab.refused("INSERT INTO t (k) VALUES (1) USING TTL -1"),
        "A TTL must be greater or equal to 0, but was -1"
    );
}

#[test]
fn functions_and_token_ranges() {
    let mut lab = Lab::new();
    lab.run("CREATE TABLE t (k int, at timeuuid, v int, PRIMARY KEY (k, at))");
    lab.run("INSERT INTO t (k, at, v) VALUES (1, now(), 1)");
    assert_eq!(lab.rows("SELECT v FROM t WHERE k = 1 AND at > maxTimeuuid('2020-01-01 03:30+0000')"), ["1"]);
    assert_eq!(lab.rows("SELECT v FROM t WHERE k = 1 AND at < minTimeuuid('2020-01-01 03:30+0000')"), [""; 0]);
    assert_eq!(lab.rows("SELECT token(k) FROM t WHERE token(k) > -4069959284402364210"), ["-4069959284402364209"]);
    assert_eq!(lab.rows("SELECT k FROM t WHERE token(k) > -4069959284402364209"), [""; 0]);
    let date = lab.rows("SELECT toDate(at), to_unix_timestamp(at), blobAsInt(intAsBlob(v)) FROM t");
    assert!(date[0].starts_with("2023-11-14,17000000000"), "{date:?}");
}

#[test]
fn json_goes_in_and_out() {
    let mut lab = Lab::new();
    lab.run("CREATE TABLE t (k int PRIMARY KEY, v text, s set<int>)");
    lab.run("INSERT INTO t JSON '{\"k\": 1, \"v\": \"x\", \"s\": [2, 1]}'");
    let Answer::Rows(rows) = lab.run("SELECT JSON * FROM t") else { panic!("rows") };
    assert_eq!(rows.rows[0][0].as_deref(), Some(&br#"{"k": 1, "s": [1, 2], "v": "x"}"#[..]));
    assert_eq!(&*rows.columns[0].name, "[json]");
}

#[test]
fn altering_a_table_keeps_its_data() {
    let mut lab = Lab::new();
    lab.run("CREATE TABLE t (k int PRIMARY KEY, a int)");
    lab.run("INSERT INTO t (k, a) VALUES (1, 2)");
    let schema = lab.schema.clone();
    let before = prepare(&schema, Some("k"), "SELECT * FROM t WHERE k = 1").expect("valid");
    lab.run("ALTER TABLE t ADD b int");
    assert_eq!(lab.rows("SELECT * FROM t"), ["1,2,null"]);
    let options = lab.options();
    let schema = lab.schema.clone();
    let action = before.bind(&schema, &[], &options).expect("checked again");
    let Ok(Answer::Rows(rows)) = lab.carry_out(action) else { panic!("rows") };
    assert_eq!(shown(&rows), ["1,2,null"], "a statement prepared before sees the new column");
    lab.run("ALTER TABLE t DROP a");
    assert_eq!(lab.rows("SELECT * FROM t"), ["1,null"]);
    lab.run("ALTER TABLE t RENAME k TO key");
    assert_eq!(lab.rows("SELECT key FROM t"), ["1"]);
    let version = lab.schema.version;
    lab.run("DROP TABLE t");
    assert_ne!(lab.schema.version, version);
    lab.run("CREATE TABLE t (k int PRIMARY KEY, a int)");
    assert_eq!(lab.rows("SELECT * FROM t"), [""; 0], "a new table begins empty");
}

#[test]
fn paging_gives_every_row_once() {
    let mut lab = Lab::new();
    lab.run("CREATE TABLE t (k int, c int, s int STATIC, PRIMARY KEY (k, c))");
    for i in 0..40 {
        lab.run(&format!("INSERT INTO t (k, c) VALUES ({}, {i})", i % 4));
    }
    lab.run("INSERT INTO t (k, s) VALUES (100, 1)");
    for (text, expected) in [
        ("SELECT k, c FROM t", 41),
        ("SELECT k, c FROM t WHERE k = 1", 10),
        ("SELECT k, c FROM t WHERE k = 1 ORDER BY c DESC", 10),
        ("SELECT k, c FROM t WHERE k IN (0, 2, 3)", 30),
        ("SELECT k, c FROM t LIMIT 17", 17),
        ("SELECT k, c FROM t PER PARTITION LIMIT 3", 13),
        ("SELECT DISTINCT k FROM t", 5),
        ("SELECT k, c FROM t WHERE c > 20 ALLOW FILTERING", 19),
    ] {
        let whole = lab.rows(text);
        assert_eq!(whole.len(), expected, "{text}");
        for size in [1, 3, 7, 100] {
            let (mut seen, mut state, mut pages) = (Vec::new(), None, 0);
            loop {
                let options = BindOptions { page_size: Some(size), paging_state: state, ..lab.options() };
                let schema = lab.schema.clone();
                let prepared = prepare(&schema, Some("k"), text).expect(text);
                let action = prepared.bind(&schema, &[], &options).expect(text);
                let Ok(Answer::Rows(rows)) = lab.carry_out(action) else { panic!("{text}") };
                assert!(rows.rows.len() <= size as usize, "{text}: a page of {}", rows.rows.len());
                seen.extend(shown(&rows));
                state = rows.paging_state;
                pages += 1;
                if state.is_none() {
                    break;
                }
                assert!(pages < 100, "{text}: no end");
            }
            assert_eq!(seen, whole, "{text} by {size}");
        }
    }
}

#[test]
fn mistakes_are_answered_in_cassandras_words() {
    let mut lab = Lab::new();
    lab.run("CREATE TABLE t (k int, c int, s text static, v int, l list<int>, PRIMARY KEY (k, c))");
    for (text, message) in [
        ("SELECT nosuch FROM t", "Undefined column name nosuch in table k.t"),
        ("SELECT * FROM k.nosuch", "table nosuch does not exist"),
        ("SELECT * FROM nosuch.t", "keyspace nosuch does not exist"),
        ("SELECT k, v FROM t WHERE v = 5", relations::FILTERING),
        ("INSERT INTO t (c) VALUES (1)", "Some partition key parts are missing: k"),
        ("INSERT INTO t (k) VALUES (1)", "Some clustering keys are missing: c"),
        ("INSERT INTO t (k, c, v) VALUES (1, 1, 'x')", "Invalid STRING constant (x) for \"v\" of type int"),
        ("INSERT INTO t (k, c, v) VALUES (1, null, 1)", "Invalid null value in condition for column c"),
        ("UPDATE t SET v = 1 WHERE k = 1", "Some clustering keys are missing: c"),
        (
            "UPDATE t SET v = 1 WHERE k = 1 AND c > 1",
            "Slice restrictions are not supported on the clustering columns in UPDATE statements",
        ),
        ("UPDATE t SET c = 1 WHERE k = 1", "PRIMARY KEY part c found in SET part"),
        ("DELETE v FROM t WHERE k = 1", "Range deletions are not supported for specific columns"),
        ("UPDATE t SET v = v + 1 WHERE k = 1 AND c = 1", "Invalid operation (v = v + 1) for non counter column v"),
        (
            "SELECT * FROM t ORDER BY c",
            "ORDER BY is only supported when the partition key is restricted by an EQ or an IN.",
        ),
        (
            "SELECT k FROM t WHERE k = 1 AND k = 2",
            "k cannot be restricted by more than one relation if it includes an Equal",
        ),
        ("SELECT * FROM t LIMIT 0", "LIMIT must be strictly positive"),
        (
            "SELECT DISTINCT v FROM t",
            "SELECT DISTINCT queries must only request partition key columns and/or static columns (not v)",
        ),
        ("SELECT * FROM t WHERE k = ?", "there were 1 markers(?) in CQL but 0 bound variables"),
        (
            "SELECT k FROM t WHERE token(k) > 'x'",
            "Invalid STRING constant (x) for \"partition key token\" of type bigint",
        ),
        (
            "INSERT INTO t (k, c, v) VALUES (now(), 1, 1)",
            "Type error: cannot assign result of function system.now (type timeuuid) to k (type int)",
        ),
        (
            "INSERT INTO t (k, c, v) VALUES (1, 1, 1) IF NOT EXISTS USING TIMESTAMP 5",
            "Cannot provide custom timestamp for conditional updates",
        ),
        ("USE nosuch", "Keyspace 'nosuch' does not exist"),
        ("DROP KEYSPACE nosuch", "Keyspace 'nosuch' doesn't exist"),
        ("DROP TABLE nosuch.t", "Table 'nosuch.t' doesn't exist"),
        ("CREATE TABLE bad (k int)", "No PRIMARY KEY specifed for table 'bad' (exactly one required)"),
        ("CREATE TABLE bad (k nosuch PRIMARY KEY)", "Unknown type k.nosuch"),
        ("CREATE TABLE bad (k int PRIMARY KEY) WITH nosuch = 1", "Unknown property 'nosuch'"),
        (
            "CREATE TABLE bad (k int PRIMARY KEY, c counter, v int)",
            "Cannot mix counter and non counter columns in the same table",
        ),
        (
            "CREATE KEYSPACE kk WITH replication = {'class': 'NoSuch'}",
            "Unable to find replication strategy class 'org.apache.cassandra.locator.NoSuch'",
        ),
        ("ALTER TABLE t ADD v int", "Column with name 'v' already exists"),
        ("ALTER TABLE t DROP k", "Cannot drop PRIMARY KEY column k"),
        ("DESCRIBE KEYSPACE nosuch", "'nosuch' not found in keyspaces"),
        ("CREATE TRIGGER t ON k.t USING 'a.b.C'", "CREATE TRIGGER is not modelled by the simulated cluster"),
    ] {
        assert_eq!(lab.refused(text), message, "{text}");
    }
}

#[test]
fn indexed_columns_need_no_filtering() {
    let mut lab = Lab::new();
    lab.run("CREATE TABLE t (k int PRIMARY KEY, v text)");
    lab.run("CREATE INDEX ti ON t (v)");
    lab.run("INSERT INTO t (k, v) VALUES (1, 'a')");
    lab.run("INSERT INTO t (k, v) VALUES (2, 'b')");
    assert_eq!(lab.rows("SELECT k FROM t WHERE v = 'b'"), ["2"]);
    assert_eq!(lab.refused("CREATE INDEX ti ON t (v)"), "Index 'ti' already exists");
    lab.run("DROP INDEX ti");
    assert_eq!(lab.refused("SELECT k FROM t WHERE v = 'b'"), relations::FILTERING);
}

#[test]
fn tables_are_described_as_cassandra_describes_them() {
    let mut lab = Lab::new();
    lab.run("CREATE TABLE t (k int, c int, s text static, v int, l list<int>, PRIMARY KEY (k, c))");
    let Answer::Rows(rows) = lab.run("DESCRIBE TABLE t") else { panic!("rows") };
    let text = String::from_utf8_lossy(rows.rows[0][3].as_deref().unwrap_or_default()).into_owned();
    let expected = "CREATE TABLE k.t (\n    k int,\n    c int,\n    s text static,\n    v int,\n    l list<int>,\n    PRIMARY KEY (k, c)\n) WITH CLUSTERING ORDER BY (c ASC)\n    AND additional_write_policy = '99p'\n    AND allow_auto_snapshot = true\n";
    assert!(text.starts_with(expected), "{text}");
    assert!(text.ends_with("    AND speculative_retry = '99p';"), "{text}");
}

#[test]
fn markers_know_their_columns_and_values_are_checked() {
    let lab = Lab::new();
    let mut lab = lab;
    lab.run("CREATE TABLE t (a int, b text, v int, PRIMARY KEY ((a, b)))");
    let schema = lab.schema.clone();
    let prepared =
        prepare(&schema, Some("k"), "INSERT INTO t (v, b, a) VALUES (?, :bee, ?) USING TTL ?").expect("valid");
    let names: Vec<_> = prepared.markers.iter().map(|m| m.name.as_str()).collect();
    assert_eq!(names, ["v", "bee", "a", "[ttl]"]);
    assert_eq!(prepared.partition_key_markers, [2, 1]);
    let value = |bytes: &'static [u8]| Bound::Value(Some(Bytes::from_static(bytes)));
    let bad = [value(&[1]), value(b"x"), value(&[0, 0, 0, 1]), Bound::Unset];
    let options = lab.options();
    let error = prepared.bind(&schema, &bad, &options).expect_err("one byte is no int");
    assert_eq!(error, ServerError::Invalid("Expected 4 or 0 byte int (1)".into()));
    let error = prepared.bind(&schema, &bad[..2], &options).expect_err("two values are too few");
    assert_eq!(error, ServerError::Invalid("there were 4 markers(?) in CQL but 2 bound variables".into()));
    let good = [Bound::Unset, value(b"x"), value(&[0, 0, 0, 1]), Bound::Unset];
    let action = prepared.bind(&schema, &good, &options).expect("valid");
    lab.carry_out(action).expect("written");
    assert_eq!(lab.rows("SELECT * FROM t"), ["1,x,null"]);
    let in_marker = prepare(&schema, None, "SELECT * FROM k.t WHERE a = 1 AND b IN ?").expect("valid");
    assert_eq!(in_marker.markers[0].cql_type, CqlType::list(CqlType::Text, true));
    assert!(in_marker.is_fully_qualified);
}
