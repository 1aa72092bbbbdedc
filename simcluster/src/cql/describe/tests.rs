//! `golden.txt` is a conversation with Apache Cassandra 5.0.8: `!` is a statement that only has to succeed, `>` a
//! DESCRIBE, followed by what was answered.

use super::*;
use crate::cql::{prepare, schema_from_rows, system_schema, system_store};
use crate::storage::Store;

/// A node's schema and what it is derived from.
struct Lab {
    system: Schema,
    schema: Schema,
    store: Store,
    keyspace: Option<String>,
    micros: i64,
}

impl Lab {
    fn new() -> Self {
        let (system, store) = (system_schema(), system_store());
        let schema = schema_from_rows(&store, &system, 0);
        Self { system, schema, store, keyspace: None, micros: 1_000_000 }
    }

    fn act(&self, text: &str, options: &BindOptions) -> Result<Action, ServerError> {
        prepare(&self.schema, self.keyspace.as_deref(), text)?.bind(&self.schema, &[], options)
    }

    fn run(&mut self, text: &str) {
        self.micros += 1000;
        match self.act(text, &options()).unwrap_or_else(|error| panic!("{text}: {error:?}")) {
            Action::Answer(Answer::SetKeyspace(name)) => self.keyspace = Some(name),
            Action::Schema(statement) => {
                let entropy = self.micros as u64;
                let change = statement
                    .apply(&self.schema, self.micros, entropy, &["datacenter1".to_owned()].into())
                    .expect(text)
                    .expect(text);
                for mutation in change.0 {
                    let table = self.system.table_by_id(mutation.table).expect("a schema table");
                    self.store.apply(table, &mutation);
                }
                self.schema = schema_from_rows(&self.store, &self.system, self.micros / 1_000_000);
            }
            other => panic!("{text}: {other:?}"),
        }
    }

    fn rows(&self, text: &str, options: &BindOptions) -> Result<ResultRows, ServerError> {
        match self.act(text, options)? {
            Action::Answer(Answer::Rows(rows)) => Ok(rows),
            other => panic!("{text}: {other:?}"),
        }
    }

    /// The answer in the notation of the golden file.
    fn shown(&self, text: &str) -> Vec<String> {
        let rows = match self.rows(text, &options()) {
            Ok(rows) => rows,
            Err(ServerError::Invalid(message)) => return vec![format!("error {message}")],
            Err(other) => panic!("{text}: {other:?}"),
        };
        let names: Vec<&str> = rows.columns.iter().map(|column| column.name.as_str()).collect();
        let mut shown = vec![format!("columns {}", names.join(" "))];
        for row in &rows.rows {
            let cells: Vec<String> =
                row.iter().map(|cell| String::from_utf8(cell.clone().expect("never null").to_vec()).unwrap()).collect();
            shown.push(format!("row {}", cells[..3].join(" ")));
            shown.extend(cells[3..].iter().flat_map(|statement| statement.lines()).map(ToOwned::to_owned));
        }
        shown
    }
}

fn options() -> BindOptions {
    BindOptions { timestamp: 0, clock: 0, unix_seconds: 0, page_size: None, paging_state: None, entropy: 0 }
}

#[test]
fn answers_are_those_of_cassandra() {
    let mut lab = Lab::new();
    let mut lines = include_str!("golden.txt").lines().peekable();
    let (mut asked, mut differences) = (0, Vec::new());
    while let Some(line) = lines.next() {
        if let Some(text) = line.strip_prefix("! ") {
            lab.run(text);
            continue;
        }
        let text = line.strip_prefix("> ").expect("a DESCRIBE");
        let mut expected = Vec::new();
        while let Some(line) = lines.next_if(|line| !line.starts_with("! ") && !line.starts_with("> ")) {
            expected.push(line.to_owned());
        }
        let shown = lab.shown(text);
        if shown != expected {
            let first = shown.iter().zip(&expected).find(|(ours, theirs)| ours != theirs);
            differences.push(format!("{text}: {} lines, not {}; {first:?}", shown.len(), expected.len()));
        }
        asked += 1;
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert!(asked > 45, "only {asked} questions");
}

#[test]
fn columns_are_text_in_the_table_describe_of_the_keyspace_system() {
    let rows = Lab::new().rows("DESCRIBE KEYSPACE system", &options()).unwrap();
    assert!(rows.columns.iter().all(|c| (c.keyspace.as_str(), c.table.as_str()) == ("system", "describe")));
    assert!(rows.columns.iter().all(|c| c.cql_type == CqlType::Text));
}

#[test]
fn pages_continue_and_a_full_page_announces_another() {
    let lab = Lab::new();
    let all = lab.rows("DESCRIBE KEYSPACES", &options()).unwrap().rows;
    let mut options = BindOptions { page_size: Some(all.len() as u32 - 1), ..options() };
    let mut seen = Vec::new();
    loop {
        let page = lab.rows("DESCRIBE KEYSPACES", &options).unwrap();
        seen.extend(page.rows);
        options.paging_state = page.paging_state;
        if options.paging_state.is_none() {
            break;
        }
    }
    assert_eq!(seen, all);
    options.page_size = Some(all.len() as u32);
    assert!(lab.rows("DESCRIBE KEYSPACES", &options).unwrap().paging_state.is_some());
}

#[test]
fn pages_do_not_span_a_schema_change_and_bad_states_are_refused() {
    let mut lab = Lab::new();
    let mut options = BindOptions { page_size: Some(2), ..options() };
    options.paging_state = lab.rows("DESCRIBE KEYSPACES", &options).unwrap().paging_state;
    lab.run("CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}");
    let error = lab.rows("DESCRIBE KEYSPACES", &options).unwrap_err();
    assert!(
        matches!(&error, ServerError::Invalid(text) if text.starts_with("The schema has changed since")),
        "{error:?}"
    );
    options.paging_state = Some(Bytes::from_static(b"nonsense"));
    let error = lab.rows("DESCRIBE KEYSPACES", &options).unwrap_err();
    assert_eq!(error, ServerError::Protocol("Invalid value for the paging state".into()));
}

#[test]
fn the_cluster_tells_who_owns_what_only_for_a_keyspace_of_the_user() {
    let mut lab = Lab::new();
    let range_ownership = [("-5", vec!["/127.0.0.1:7000"]), ("7", vec!["/127.0.0.2:7000", "/127.0.0.1:7000"])];
    let owned = |(token, replicas): &(&str, Vec<&str>)| {
        ((*token).to_owned(), replicas.iter().map(|replica| (*replica).to_owned()).collect())
    };
    let facts = ClusterFacts { name: "lab".to_owned(), range_ownership: range_ownership.iter().map(owned).collect() };
    let answer = |lab: &Lab| match lab.act("DESCRIBE CLUSTER", &options()) {
        Ok(Action::DescribeCluster(describe)) => describe.answer(&facts),
        other => panic!("{other:?}"),
    };
    lab.run("CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}");
    for system in [None, Some("system_auth"), Some("system_views")] {
        lab.keyspace = system.map(ToOwned::to_owned);
        let rows = answer(&lab);
        assert_eq!(rows.rows, [vec![text("lab"), text("Murmur3Partitioner"), text("DynamicEndpointSnitch")]]);
    }
    lab.run("USE k");
    let rows = answer(&lab);
    assert_eq!(rows.columns[3].name, "range_ownership");
    let shown = crate::types::json::to_json(&rows.columns[3].cql_type, rows.rows[0][3].as_ref());
    assert_eq!(shown, r#"{"-5": ["/127.0.0.1:7000"], "7": ["/127.0.0.2:7000", "/127.0.0.1:7000"]}"#);
}

#[test]
fn preparing_a_describe_tells_no_columns() {
    let lab = Lab::new();
    let prepared = prepare(&lab.schema, None, "DESCRIBE TABLE absent.absent").unwrap();
    assert_eq!((prepared.result_columns, prepared.markers.len()), (None, 0));
}
